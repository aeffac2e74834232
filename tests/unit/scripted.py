"""Fakes of redis-py's connections, whose servers send a test's replies."""
import io
import pickle
import socket
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, \
    Tuple

import hiredis
import redis

from redis_streams_adapter.stream.driver import Driver
from redis_streams_adapter.stream.link import RedisLink
from redis_streams_adapter.stream.resp import READ_SIZE

#: Seconds: the socket timeout of the driver. No fake waits.
SOCKET_TIMEOUT = 5.0

#: How many entries the streams keep.
MAX_LEN = 1000

#: The reply to CLIENT INFO.
INFO = b'id=7 addr=127.0.0.1:5 fd=8 name='


class Break(Exception):
    """The connection breaks instead of a reply."""


class Sent(NamedTuple):
    """A command and the server that received it."""

    place: Any
    command: Tuple[bytes, ...]


class ScriptedServers:
    """Servers that send the replies of a test.

    :param reply: called with the server's name and a command; returns the
                  server's reply. An exception is an error reply;
                  :class:`Break` breaks the connection.
    """

    def __init__(self, reply: Callable[..., Any] = lambda *_: b'OK') -> None:
        self.reply = reply
        self.sent: List[Sent] = []
        self.connections: List['ScriptedConnection'] = []
        #: The reply to a PING, by which a connection is checked; as ``reply``.
        self.greeting: Callable[..., Any] = lambda *_: b'PONG'
        #: The servers that were sent PING, which their script does not have.
        self.pinged: List[Any] = []
        #: The servers that refuse connections.
        self.away: List[Any] = []

    def driver(self, **options: Any) -> Driver:
        """A driver that connects to one server, which is named ``None``."""
        return Driver(redis, lambda timeout, key: self.connection(
            None, timeout, key), SOCKET_TIMEOUT)._replace(**options)

    def connection(self, place: Any = None, timeout: float = 0.0,
                   key: str = '') -> 'ScriptedConnection':
        return ScriptedConnection(self, place, timeout, key)

    def commands(self) -> List[Tuple[bytes, ...]]:
        """The commands that have arrived."""
        return [each.command for each in self.sent]


def encode(reply: Any) -> bytes:
    """A reply as a server sends it."""
    if isinstance(reply, Exception):
        return b'-%b\r\n' % str(reply).encode()
    if isinstance(reply, list):
        return b'*%d\r\n%b' % (len(reply), b''.join(map(encode, reply)))
    if isinstance(reply, int):
        return b':%d\r\n' % reply
    if reply is None:
        return b'*-1\r\n'
    return b'$%d\r\n%b\r\n' % (len(reply), reply)


class ScriptedSocket:
    """The socket of a connection. It records how it was closed."""

    def __init__(self, connection: 'ScriptedConnection') -> None:
        self._connection = connection
        self._commands = hiredis.Reader()
        self.ended_by: Optional[str] = None

    def send(self, data: bytes) -> int:
        self._commands.feed(data)
        while command := self._commands.gets():
            self._connection.receive(tuple(command))
        return len(data)

    def recv_into(self, buffer: bytearray) -> int:
        reply = self._connection.replies.popleft()
        if isinstance(reply, Break):
            self._connection.ended = True
            return 0
        data = encode(reply)
        buffer[:len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_RDWR
        if self.ended_by is not None:
            raise OSError('not connected')
        self.ended_by = 'shutdown'

    def close(self) -> None:
        self.ended_by = 'close'


class ScriptedConnection:
    """One connection.

    :param place: the name of the server.
    :param timeout: the socket timeout, in seconds.
    :param key: the key that the connection is for.
    """

    def __init__(self, servers: ScriptedServers, place: Any, timeout: float,
                 key: str) -> None:
        self._servers = servers
        self.place = place
        self.timeout = timeout
        self.key = key
        self.host = f'host of {place}'
        self.replies: Deque[Any] = deque()
        self._parser = redis.connection.DefaultParser(READ_SIZE)
        self._sock: Optional[ScriptedSocket] = None
        #: Whether the server has closed it.
        self.ended = False
        self.closed = False

    def connect(self) -> None:
        if self.place in self._servers.away:
            raise redis.ConnectionError('connection refused')
        self._sock = ScriptedSocket(self)
        self._servers.connections.append(self)

    def disconnect(self) -> None:
        self.closed = True

    def pack_command(self, *command: bytes) -> List[bytes]:
        return [pickle.dumps(command)]

    def send_packed_command(self, packed: List[bytes]) -> None:
        stream = io.BytesIO(b''.join(packed))
        while stream.tell() < len(stream.getvalue()):
            self.receive(pickle.load(stream))

    def receive(self, command: Tuple[bytes, ...]) -> None:
        """Receive a command, and prepare the reply."""
        if command == (b'PING',):
            # A connection is checked with it, whatever the test is about.
            self._servers.pinged.append(self.place)
            self.replies.append(self._servers.greeting(self.place, command))
            return
        self._servers.sent.append(Sent(self.place, command))
        self.replies.append(self._servers.reply(self.place, command))

    def can_read(self, timeout: float) -> bool:
        if self.ended:
            raise redis.ConnectionError('closed by the server')
        return bool(self.replies)

    def read_response(self) -> Any:
        reply = self.replies.popleft()
        if isinstance(reply, Break):
            self.ended = True
            raise redis.ConnectionError('closed by the server')
        if isinstance(reply, Exception):
            raise reply
        return reply


def replies(*values: Any) -> Callable[..., Any]:
    """For :class:`ScriptedServers`: these replies in turn."""
    rest = deque(values)
    return lambda place, command: rest.popleft()


def by_command(table: Dict[bytes, Any]) -> Callable[..., Any]:
    """For :class:`ScriptedServers`: a reply for each command's name."""
    return lambda place, command: table[command[0]]


def connect_link(servers: ScriptedServers, *later: Any, block: float = 0.0,
                 min_replicas: int = 0) -> RedisLink:
    """A connected link.

    :param later: the replies to later commands.
    """
    link = RedisLink(servers.driver(), 's', MAX_LEN, block, min_replicas)
    servers.reply = lambda place, command: INFO
    link.connect()
    servers.sent.clear()
    servers.reply = replies(*later)
    return link
