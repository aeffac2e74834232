"""A faulty connection between one node and Redis.

==========================  ================================================
call                        effect on the node
==========================  ================================================
``open``, ``cut``           the port accepts or refuses connections
``break_connections``       its connections end, and new ones are accepted
``lose_reply_to``           a command is executed, its reply never arrives
``tear_command``            the connection ends in the middle of a command
``tear_reply_to``           the connection ends in the middle of a reply
``swallow_commands``        a half-dead connection: it stays open, but no bytes
and ``swallow_replies``     pass in that direction
``go_silent``               the same in both directions; neither side sees that
                            the other has ended
``end_commands``            one direction ends, while the other stays open for
and ``end_replies``         as long as the other side keeps it
``delay_commands``          each piece is delayed
and ``delay_replies``
``end_waits``               XREAD does not wait for entries: its BLOCK is left
                            out
``hold``, ``let_go``        no bytes pass until they are released in order, as
                            if Redis were frozen only for this node
``heal``                    new connections work normally again
==========================  ================================================

A fault applies to existing and new connections until it is removed. A trap
(``lose_reply_to``, ``tear_…``) stays armed until it is sprung. It is sprung
once.
"""
import re
import socket
import threading
import time
from typing import List, NamedTuple, Optional, Sequence

from .client_library import REDIS_CLIENT


#: A command XREAD, up to its option BLOCK.
_READ = re.compile(rb'\*(\d+)(\r\n\$5\r\nXREAD(?:\r\n[$\w]+){0,6}?\r\n)'
                   rb'\$5\r\nBLOCK\r\n\$\d+\r\n\d+\r\n')


def _without_wait(found: 're.Match[bytes]') -> bytes:
    return b'*%d%b' % (int(found[1]) - 2, found[2])


class _Trap(NamedTuple):
    """A fault of one command or of its reply.

    :param command: a part of the command's bytes.
    :param of_reply: whether the fault is in the reply.
    :param share: the part that is passed on, from 0 to 1.
    :param sprung: set when the fault has happened.
    """

    command: bytes
    of_reply: bool
    share: float
    sprung: threading.Event


class _Connection:
    """A connection of the node, paired with its connection to Redis.

    The proxy's lock protects the attributes.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        #: The trap that it has triggered and that is not sprung yet.
        self.trap: Optional[_Trap] = None
        #: Whether replies are withheld.
        self.mute = False
        #: Whether bytes were withheld. Later ones would be incomplete.
        self.damaged = False
        #: Whether all bytes and the end are withheld.
        self.silent = False

    def close(self) -> None:
        """Close both ends. Idempotent."""
        for each in (self.near, self.far):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed, possibly by the other side
            each.close()


class Proxy:
    """Passes bytes between its own port and another one.

    It refuses connections before :meth:`open` and after :meth:`cut`.

    :param target_port: a port of the loopback interface. A change applies
                        to later connections.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.target_port = target_port
        self._listener: Optional[socket.socket] = None
        #: The lock protects the attributes below, which the threads share.
        self._lock = threading.Lock()
        self._connections: List[_Connection] = []
        #: The monotonic times at which connections were accepted.
        self.accepted: List[float] = []
        self._trap: Optional[_Trap] = None
        self._deaf = False
        #: Whether all replies are withheld.
        self._mute = False
        #: Replies are withheld on the connection that sends this command
        #: next.
        self._mute_next: Optional[bytes] = None
        self._swallowed = threading.Event()
        self._command_delay = 0.0
        self._reply_delay = 0.0
        #: Whether reads do not wait.
        self._hasty = False
        #: Cleared while all bytes are held.
        self._flows = threading.Event()
        self._flows.set()
        #: The command that starts a hold (a part of its bytes). The second
        #: attribute is whether the command itself is passed on.
        self._hold_at: Optional[bytes] = None
        self._hold_after = False
        self._holds = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the Redis server reached through the proxy."""
        return f'{REDIS_CLIENT}://127.0.0.1:{self.port}/0'

    def __enter__(self) -> 'Proxy':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()

    # -- whole connections --------------------------------------------------

    def open(self) -> None:
        """Accept connections."""
        self._listener = socket.create_server(('127.0.0.1', self.port))
        threading.Thread(target=self._accept, args=(self._listener,),
                         daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return self._listener is not None

    def cut(self) -> None:
        """Close every connection, and accept no more."""
        if self._listener is not None:
            # This wakes the accepting thread; close() does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.break_connections()
        # Threads that hold bytes can end.
        self._flows.set()

    def break_connections(self) -> None:
        """Close every connection."""
        with self._lock:
            connections = list(self._connections)
        for each in connections:
            self._end(each)

    def heal(self) -> None:
        """Stop swallowing and delaying, remove the trap, and close the
        connections on which bytes were withheld."""
        with self._lock:
            self._trap = None
            self._deaf, self._mute, self._mute_next = False, False, None
            self._command_delay = self._reply_delay = 0.0
            damaged = [each for each in self._connections
                       if each.damaged or each.mute]
        for each in damaged:
            self._end(each)

    # -- traps --------------------------------------------------------------

    def lose_reply_to(self, command: bytes) -> threading.Event:
        """Pass on the next command of this name, and break all connections
        before its reply is passed on.

        :return: set when that has happened.
        """
        return self._set_trap(command, of_reply=True, share=0.0)

    def tear_reply_to(self, command: bytes,
                      share: float = 0.5) -> threading.Event:
        """Do the same, but pass on a part of the reply.

        :param share: the part of the reply, at least one byte.
        """
        return self._set_trap(command, of_reply=True, share=share)

    def tear_command(self, command: bytes,
                     share: float = 0.5) -> threading.Event:
        """Pass on a part of the next command of this name and of the commands
        sent with it; then break all connections.

        :param share: the part of the bytes after the name.
        :return: set when that has happened.
        """
        return self._set_trap(command, of_reply=False, share=share)

    def _set_trap(self, command: bytes, of_reply: bool,
                  share: float) -> threading.Event:
        trap = _Trap(command, of_reply, share, threading.Event())
        with self._lock:
            self._trap = trap
        return trap.sprung

    # -- one direction ------------------------------------------------------

    def swallow_commands(self) -> threading.Event:
        """Pass on no commands.

        :return: set when bytes were swallowed.
        """
        with self._lock:
            self._deaf, self._swallowed = True, threading.Event()
            return self._swallowed

    def swallow_replies(self, to: bytes = b'') -> threading.Event:
        """Pass on commands, but no replies.

        :param to: affect only the connection that next sends this command.
        :return: set when bytes were swallowed.
        """
        with self._lock:
            self._mute, self._mute_next = not to, to or None
            self._swallowed = threading.Event()
            return self._swallowed

    def go_silent(self) -> None:
        """Pass on no bytes on existing connections, and hide the end of either
        side from the other. New connections work normally."""
        with self._lock:
            for each in self._connections:
                each.silent = each.damaged = True

    def end_commands(self) -> None:
        """End the stream of commands to Redis."""
        with self._lock:
            self._shut_down([each.far for each in self._connections])

    def end_replies(self) -> None:
        """End the stream of replies to the node."""
        with self._lock:
            self._shut_down([each.near for each in self._connections])

    @staticmethod
    def _shut_down(sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the connection has just ended

    def hold(self, at: bytes = b'', reply: bool = False) -> threading.Event:
        """Pass on no bytes in either direction until :meth:`let_go`.

        :param at: start at the next command of this name; if empty, start now.
        :param reply: start at the command's reply; the command is passed on.
        :return: set when the hold has started.
        """
        with self._lock:
            self._holds = threading.Event()
            self._hold_at, self._hold_after = at or None, reply
            if not at:
                self._flows.clear()
                self._holds.set()
            return self._holds

    def let_go(self) -> None:
        """Pass on the held bytes and all later ones."""
        with self._lock:
            self._hold_at = None
            self._flows.set()

    def _await_flow(self, chunk: bytes = b'') -> None:
        """Wait while all bytes are held.

        :param chunk: the commands to pass on.
        """
        with self._lock:
            begins = self._hold_at is not None and self._hold_at in chunk
            if begins:
                self._hold_at = None
                self._flows.clear()
                self._holds.set()
            passes = begins and self._hold_after
        if not passes:
            self._flows.wait()

    def delay_commands(self, seconds: float) -> None:
        """Delay each chunk of bytes that the node sends."""
        with self._lock:
            self._command_delay = seconds

    def delay_replies(self, seconds: float) -> None:
        """Delay each chunk of bytes that Redis sends."""
        with self._lock:
            self._reply_delay = seconds

    def end_waits(self) -> None:
        """Let no XREAD wait for entries, as some proxies do."""
        with self._lock:
            self._hasty = True

    # -- threads ------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(
                    ('127.0.0.1', self.target_port))
            except OSError:
                near.close()
                continue
            connection = _Connection(near, far)
            with self._lock:
                self._connections.append(connection)
                self.accepted.append(time.monotonic())
            if self._listener is not listener:
                # The port was cut by then.
                self._end(connection)
                return
            for target in (self._pass_commands, self._pass_replies):
                threading.Thread(target=target, args=(connection,),
                                 daemon=True).start()

    def _pass_commands(self, connection: _Connection) -> None:
        try:
            while chunk := connection.near.recv(65536):
                time.sleep(self._command_delay)
                self._await_flow(chunk)
                with self._lock:
                    if connection.silent:
                        continue
                    self._trigger(connection, chunk)
                    if self._mute_next and self._mute_next in chunk:
                        self._mute_next, connection.mute = None, True
                    if self._deaf:
                        connection.damaged = True
                        self._swallowed.set()
                        continue
                    trap = connection.trap
                    if self._hasty:
                        chunk = _READ.sub(_without_wait, chunk)
                if trap is None or trap.of_reply:
                    connection.far.sendall(chunk)
                    continue
                start = chunk.index(trap.command) + len(trap.command)
                kept = start + int(trap.share * (len(chunk) - start))
                connection.far.sendall(chunk[:kept])
                self._spring(connection, trap)
        except OSError:
            pass  # cut
        self._ended(connection)

    def _pass_replies(self, connection: _Connection) -> None:
        try:
            while chunk := connection.far.recv(65536):
                time.sleep(self._reply_delay)
                self._await_flow()
                with self._lock:
                    if connection.silent:
                        continue
                    if self._mute or connection.mute:
                        connection.damaged = True
                        self._swallowed.set()
                        continue
                    trap = connection.trap
                if trap is None or not trap.of_reply:
                    connection.near.sendall(chunk)
                    continue
                if trap.share:
                    kept = max(1, int(trap.share * len(chunk)))
                    connection.near.sendall(chunk[:kept])
                self._spring(connection, trap)
        except OSError:
            pass  # cut
        self._ended(connection)

    def _trigger(self, connection: _Connection, chunk: bytes) -> None:
        """Trigger the trap if it is for this command. The caller holds the
        lock."""
        if self._trap is not None and self._trap.command in chunk:
            connection.trap, self._trap = self._trap, None

    def _spring(self, connection: _Connection, trap: _Trap) -> None:
        with self._lock:
            connection.trap = None
        self.break_connections()
        trap.sprung.set()

    def _ended(self, connection: _Connection) -> None:
        """One side of a connection has ended."""
        with self._lock:
            if connection.silent and connection in self._connections:
                return
        self._end(connection)

    def _end(self, connection: _Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
            if connection.trap is not None:
                # The connection ended by itself, so the trap stays armed.
                self._trap, connection.trap = connection.trap, None
        connection.close()
