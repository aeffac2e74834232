"""A connection to Redis that can go wrong in every way, for one node alone.

==========================  ================================================
call                        what the node sees
==========================  ================================================
``open``, ``cut``           a port that accepts, or refuses, connections
``break_connections``       its connections end, and new ones are accepted
``lose_reply_to``           a command was carried out, its reply never comes
``tear_command``            a command is on its way when the connection ends
``tear_reply_to``           so is a reply
``swallow_commands``        a connection that is half dead: nothing ends, and
and ``swallow_replies``     nothing more comes through in that direction
``go_silent``               the same in both directions; the end of one side
                            is not told to the other: it looks alive
``end_commands``            the end of the bytes in one direction, while the
and ``end_replies``         other is open for as long as the other side likes
``delay_commands``          each piece takes its time
and ``delay_replies``
``hold``, ``let_go``        nothing comes through until it does, whole and in
                            order, as if Redis were frozen for this node alone
``heal``                    all is well again, for new connections
==========================  ================================================

What is set on a proxy concerns the connections that are there and those that
come, until it is taken back. A trap (``lose_reply_to``, ``tear_…``) stays
armed until it was sprung, and is sprung once.
"""
import socket
import threading
import time
from typing import List, NamedTuple, Optional, Sequence


class _Trap(NamedTuple):
    """What happens to a command, or to the reply to it.

    :param command: a part of the command's bytes.
    :param of_reply: whether it is the reply that does not get through.
    :param share: how much of it does, from 0 to 1.
    :param sprung: set when it has happened.
    """

    command: bytes
    of_reply: bool
    share: float
    sprung: threading.Event


class _Connection:
    """One connection of the node, and the one to Redis that belongs to it.

    The attributes are written under the proxy's lock.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        #: It has stepped into this one, which is not sprung yet.
        self.trap: Optional[_Trap] = None
        #: Nothing of the replies comes through any more.
        self.mute = False
        #: Something was withheld: what came later would make no sense.
        self.maimed = False
        #: Nothing comes through any more, not even the end.
        self.silent = False

    def close(self) -> None:
        """Close both ends. Idempotent."""
        for each in (self.near, self.far):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed before, or by the other side
            each.close()


class Proxy:
    """Passes bytes on between its own port and another one.

    It refuses connections until :meth:`open` and after :meth:`cut`.

    :param target_port: a port of the loopback interface; it may be set to
                        another one, for connections that come after.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.target_port = target_port
        self._listener: Optional[socket.socket] = None
        #: Protects all below, which the threads use too.
        self._lock = threading.Lock()
        self._connections: List[_Connection] = []
        #: When each connection was accepted, by the monotonic clock.
        self.accepted: List[float] = []
        self._trap: Optional[_Trap] = None
        self._deaf = False
        #: No reply comes through.
        self._mute = False
        #: Nor on the connection that sends this next.
        self._mute_next: Optional[bytes] = None
        self._swallowed = threading.Event()
        self._command_delay = 0.0
        self._reply_delay = 0.0
        #: Cleared while everything is held.
        self._flows = threading.Event()
        self._flows.set()
        #: What makes it so: a part of the command's bytes, and whether that
        #: command itself still comes through.
        self._hold_at: Optional[bytes] = None
        self._hold_behind = False
        self._holds = threading.Event()

    @property
    def url(self) -> str:
        """The URL of the Redis behind it."""
        return f'redis://127.0.0.1:{self.port}/0'

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
            # Wakes the thread that accepts, which close() does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.break_connections()
        # The threads that hold something are to end.
        self._flows.set()

    def break_connections(self) -> None:
        """Close every connection."""
        with self._lock:
            connections = list(self._connections)
        for each in connections:
            self._end(each)

    def heal(self) -> None:
        """Swallow and delay nothing more, and take back the trap; close the
        connections on which something was withheld."""
        with self._lock:
            self._trap = None
            self._deaf, self._mute, self._mute_next = False, False, None
            self._command_delay = self._reply_delay = 0.0
            maimed = [each for each in self._connections
                      if each.maimed or each.mute]
        for each in maimed:
            self._end(each)

    # -- traps --------------------------------------------------------------

    def lose_reply_to(self, command: bytes) -> threading.Event:
        """Let the next command of this name through, once; cut all
        connections before its reply is passed on.

        :return: set when that has happened.
        """
        return self._set_trap(command, of_reply=True, share=0.0)

    def tear_reply_to(self, command: bytes,
                      share: float = 0.5) -> threading.Event:
        """The same, with a part of the reply passed on.

        :param share: how much of it, at least one byte.
        """
        return self._set_trap(command, of_reply=True, share=share)

    def tear_command(self, command: bytes,
                     share: float = 0.5) -> threading.Event:
        """Pass on a part of the next command of this name, and of what is
        sent with it; then cut all connections.

        :param share: how much of what follows the name.
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
        """Let no command through.

        :return: set when something was swallowed.
        """
        with self._lock:
            self._deaf, self._swallowed = True, threading.Event()
            return self._swallowed

    def swallow_replies(self, to: bytes = b'') -> threading.Event:
        """Let commands through, and no reply.

        :param to: on that connection only, from now on, that is the next to
                   send such a command.
        :return: set when something was swallowed.
        """
        with self._lock:
            self._mute, self._mute_next = not to, to or None
            self._swallowed = threading.Event()
            return self._swallowed

    def go_silent(self) -> None:
        """Let nothing through on the connections that are there, and tell
        neither side when the other one ends; new ones are well."""
        with self._lock:
            for each in self._connections:
                each.silent = each.maimed = True

    def end_commands(self) -> None:
        """Tell Redis that no more commands come."""
        with self._lock:
            self._shut_down([each.far for each in self._connections])

    def end_replies(self) -> None:
        """Tell the node that no more replies come."""
        with self._lock:
            self._shut_down([each.near for each in self._connections])

    @staticmethod
    def _shut_down(sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has just ended

    def hold(self, at: bytes = b'', reply: bool = False) -> threading.Event:
        """Let nothing through in either direction, until :meth:`let_go`.

        :param at: from the next command of this name on; empty: from now on.
        :param reply: from its reply on; that command comes through.
        :return: set from then on.
        """
        with self._lock:
            self._holds = threading.Event()
            self._hold_at, self._hold_behind = at or None, reply
            if not at:
                self._flows.clear()
                self._holds.set()
            return self._holds

    def let_go(self) -> None:
        """Let through what was held, and all that comes."""
        with self._lock:
            self._hold_at = None
            self._flows.set()

    def _await_flow(self, chunk: bytes = b'') -> None:
        """Before something is passed on.

        :param chunk: commands.
        """
        with self._lock:
            begins = self._hold_at is not None and self._hold_at in chunk
            if begins:
                self._hold_at = None
                self._flows.clear()
                self._holds.set()
            passes = begins and self._hold_behind
        if not passes:
            self._flows.wait()

    def delay_commands(self, seconds: float) -> None:
        """Pass on each piece of what the node sends so much later."""
        with self._lock:
            self._command_delay = seconds

    def delay_replies(self, seconds: float) -> None:
        """Pass on each piece of what Redis sends so much later."""
        with self._lock:
            self._reply_delay = seconds

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
                # It was cut meanwhile.
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
                    self._lead(connection, chunk)
                    if self._mute_next and self._mute_next in chunk:
                        self._mute_next, connection.mute = None, True
                    if self._deaf:
                        connection.maimed = True
                        self._swallowed.set()
                        continue
                    trap = connection.trap
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
                        connection.maimed = True
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

    def _lead(self, connection: _Connection, chunk: bytes) -> None:
        """Into the trap, if this is what it waits for; under the lock."""
        if self._trap is not None and self._trap.command in chunk:
            connection.trap, self._trap = self._trap, None

    def _spring(self, connection: _Connection, trap: _Trap) -> None:
        with self._lock:
            connection.trap = None
        self.break_connections()
        trap.sprung.set()

    def _ended(self, connection: _Connection) -> None:
        """One of its sides has."""
        with self._lock:
            if connection.silent and connection in self._connections:
                return
        self._end(connection)

    def _end(self, connection: _Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
            if connection.trap is not None:
                # It ended by itself: the trap waits for the next one.
                self._trap, connection.trap = connection.trap, None
        connection.close()
