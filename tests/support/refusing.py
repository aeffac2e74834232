"""A proxy that refuses commands, as managed services and proxies do."""
import contextlib
import socket
import threading
from types import TracebackType
from typing import BinaryIO, List, Optional, Sequence, Type

from .ports import free_port

#: How they say it. The last one closes the connection.
WORDS = {
    'unknown': "ERR unknown command '%s'",
    'unsupported': 'ERR command %s is not supported by this service',
    'no permission': "NOPERM this user has no permissions to run the '%s' "
                     'command',
    'closed': ''}


class RefusingProxy:
    """Passes on the commands for a server of the loopback interface.

    It does so at once, from its construction to :meth:`close`. Two threads
    serve each connection; they end with it.

    :param port: that of the server.
    :param command: what it refuses: a command, a command and its subcommand,
                    or ``XREAD BLOCK``, a read that waits.
    :param words: a key of :data:`WORDS`.
    """

    def __init__(self, port: int, command: str, words: str) -> None:
        self._target = port
        self._refused = command.upper().encode().split()
        self._reply = WORDS[words] % command if '%s' in WORDS[words] else ''
        #: Whether it refuses the command. Written by the test, read by the
        #: threads, in one step each.
        self.refuses = True
        #: How often it has refused it. May under-count: each thread adds.
        self.count = 0
        self._listener = socket.create_server(('127.0.0.1', free_port()))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port on which it accepts connections."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Accept no more connections."""
        # This wakes the accepting thread; close() does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> 'RefusingProxy':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]],
                 error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(('127.0.0.1', self._target))
            for serve, args in (self._pass_commands, (near, far)), (
                    _pass_replies, (far, near)):
                threading.Thread(target=serve, args=args, daemon=True).start()

    def _pass_commands(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), near.makefile('rb') as commands:
            while True:
                command = _read(commands)
                if not command:
                    break
                if self.refuses and self._is_refused(command):
                    self.count += 1
                    if not self._reply:
                        break
                    # The server itself replies, so that all replies come in
                    # their order. In a transaction it would only queue EVAL.
                    command = [b'EXEC', b'refused'] \
                        if self._refused == [b'EXEC'] else [
                            b'EVAL', b'return redis.error_reply(ARGV[1])',
                            b'0', self._reply.encode()]
                far.sendall(b'*%d\r\n%b' % (len(command), b''.join(
                    b'$%d\r\n%b\r\n' % (len(each), each)
                    for each in command)))
        _end(near, far)

    def _is_refused(self, command: Sequence[bytes]) -> bool:
        name, *more = self._refused
        if command[0].upper() != name:
            return False
        if more == [b'BLOCK']:
            return b'BLOCK' in command[:6]
        return [each.upper() for each in command[1:1 + len(more)]] == more


def _read(commands: BinaryIO) -> List[bytes]:
    """The next command; empty at the end."""
    command: List[bytes] = []
    for _ in range(int(commands.readline()[1:] or 0)):
        size = int(commands.readline()[1:])
        command.append(commands.read(size))
        commands.read(2)
    return command


def _pass_replies(far: socket.socket, near: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            piece = far.recv(1 << 16)
            if not piece:
                break
            near.sendall(piece)
    _end(near, far)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
