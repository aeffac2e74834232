"""PUB/SUB in memory, with connections like those of redis-py."""
import os
import threading
from typing import Any, Callable, Deque, Dict, List, NamedTuple, \
    Optional, Set, Tuple
from zlib import crc32

from ..protocol.routing import slot_key
from ..stream.driver import Driver, open_driver
from ..stream.topology import Address, Cluster, Present

#: Seconds that anything may take in a test. Generous: only a test that fails
#: waits that long.
PATIENCE = 10.0

#: redis-py: its errors are raised here as by its connections.
_redis = open_driver('redis://', {}, '').module

#: The kind of a channel, see :data:`KINDS`, and its name.
Place = Tuple[bytes, bytes]

#: The kind of channel of each command: plain or sharded.
KINDS = {b'SUBSCRIBE': b'', b'UNSUBSCRIBE': b'', b'PUBLISH': b'',
         b'NUMSUB': b'', b'SSUBSCRIBE': b's', b'SUNSUBSCRIBE': b's',
         b'SPUBLISH': b's', b'SHARDNUMSUB': b's'}


def error_reply(text: str) -> Exception:
    """An error reply of the server."""
    error: Exception = _redis.ResponseError(text)
    return error


class Sent(NamedTuple):
    """A command as it arrived, and the key that its connection is for."""

    key: str
    command: Tuple[bytes, ...]


class FakePubSub:
    """One server, or the servers of a cluster as if they were one."""

    def __init__(self) -> None:
        #: Protects everything, and is notified of every change.
        self.changed = threading.Condition(threading.RLock())
        self.connections: List['FakeConnection'] = []
        #: The masters of a cluster, and the master of each slot that was
        #: moved. A checksum assigns the other slots, see :meth:`master_of`.
        self.masters: List[Address] = [('one', 1), ('two', 2), ('three', 3)]
        self.replicas: List[Address] = []
        self.moved: Dict[str, Address] = {}
        #: How often the cluster was asked where channels are.
        self.asked = 0
        self.sent: List[Sent] = []
        #: Error replies by the names of commands.
        self.errors: Dict[bytes, Exception] = {}
        #: Makes the replies to other commands, by their names.
        self.handlers: Dict[bytes, Callable[..., Any]] = {}
        #: Whether connections are refused.
        self.away = False
        #: How often a connection was checked for replies. Updated without a
        #: lock; exact if one task does so.
        self.reads = 0
        #: Whether nothing is answered, though connections stay open.
        self.frozen = False

    def driver(self, cluster: bool = False,
               socket_timeout: float = PATIENCE) -> Driver:
        """How to connect to it."""
        def make(timeout: float, key: str) -> Any:
            return FakeConnection(self, key, timeout)

        if not cluster:
            return Driver(_redis, make, socket_timeout)

        def places() -> Any:
            self.asked += 1
            if self.away:
                raise _redis.ConnectionError('no server at this address')
            # As it is now.
            state = list(self.masters), dict(self.moved)
            return lambda channel: self.master_of(channel, *state)

        return Driver(
            _redis, make, socket_timeout,
            Cluster(lambda: Present([('master', 0)], self.replicas), places,
                    lambda timeout, address: FakeConnection(
                        self, address[0], timeout, address)))

    def master_of(self, channel: str,
                  masters: Optional[List[Address]] = None,
                  moved: Optional[Dict[str, Address]] = None) -> Address:
        """Which master of a cluster has a channel.

        :param masters: all masters; by default, the present ones.
        :param moved: the slots that were moved; by default, up to now.
        """
        key = slot_key(channel)
        some = self.masters if masters is None else masters
        return (self.moved if moved is None else moved).get(key) or some[
            crc32(key.encode()) % len(some)]

    def move(self, channel: str, address: Address) -> None:
        """The slot of a channel goes to another master, which ends the
        subscriptions."""
        with self.changed:
            self.moved[slot_key(channel)] = address
            for each in self.connections:
                for place in list(each.places):
                    kind, name = place
                    if kind == b's' and each.address not in (
                            None, self.master_of(name.decode())):
                        each.places.remove(place)
                        each.replies.append(
                            [b'sunsubscribe', name, len(each.places)])
            self.changed.notify_all()

    def on_masters(self) -> List[str]:
        """The masters that connections listen to, by their names."""
        with self.changed:
            return sorted(each.address[0] for each in self.connections
                          if each.address is not None and each.places)

    def listening(self, channel: str, kind: bytes = b'') -> int:
        """The number of connections that listen to a channel."""
        with self.changed:
            return sum((kind, channel.encode()) in each.places
                       for each in self.connections)

    def wait_listening(self, channel: str, count: int = 1,
                       kind: bytes = b'') -> None:
        """Wait until this many connections listen to a channel.

        :raises TimeoutError: they do not in time.
        """
        with self.changed:
            if not self.changed.wait_for(
                    lambda: self.listening(channel, kind) == count, PATIENCE):
                raise TimeoutError(
                    f'expected {count} listeners at {channel}; all listeners: '
                    f'{[each.places for each in self.connections]}')

    def publish(self, channel: str, message: bytes,
                kind: bytes = b'') -> int:
        """Send a message to the connections that listen."""
        with self.changed:
            found = [each for each in self.connections
                     if (kind, channel.encode()) in each.places]
            for each in found:
                each.replies.append(
                    [kind + b'message', channel.encode(), message])
            self.changed.notify_all()
            return len(found)

    def pause(self, timeout: float) -> None:
        """Let others run until something happens on a connection.

        :param timeout: seconds.
        """
        with self.changed:
            self.changed.wait(timeout)

    def break_all(self) -> None:
        """End all connections."""
        with self.changed:
            for each in list(self.connections):
                each.end()

    def commands(self, *names: bytes) -> List[Sent]:
        """The commands of these names that arrived, in order."""
        with self.changed:
            return [each for each in self.sent if each.command[0] in names]


class Replies(Deque[Any]):
    """What a connection has to read, and a file that is readable as long as
    there is something. Used under the server's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._ends = os.pipe()
        self.file = self._ends[0]

    def append(self, reply: Any) -> None:
        super().append(reply)
        os.write(self._ends[1], b'.')

    def popleft(self) -> Any:
        os.read(self._ends[0], 1)
        return super().popleft()

    def end(self) -> None:
        """Be readable from now on."""
        os.write(self._ends[1], b'.')

    def __del__(self) -> None:
        for end in self._ends:
            os.close(end)


class FakeConnection:
    """Stands for a connection of redis-py."""

    def __init__(self, server: FakePubSub, key: str, timeout: float,
                 address: Optional[Address] = None) -> None:
        self._server = server
        self._key = key
        #: Of the master that it is connected to, if it is one of those.
        self.address = address
        self._timeout = timeout
        self._ended = False
        self.replies = Replies()
        self.places: Set[Place] = set()
        self._sock: Optional['FakeConnection'] = None

    # -- as redis-py has it -------------------------------------------------

    def connect(self) -> None:
        with self._server.changed:
            if self._server.away:
                raise _redis.ConnectionError('connection refused')
            self._server.connections.append(self)
            self._sock = self

    def disconnect(self) -> None:
        self.end()

    def pack_command(self, *command: bytes) -> List[Tuple[bytes, ...]]:
        return [command]

    def send_packed_command(self, commands: Any) -> None:
        with self._server.changed:
            if self._ended:
                raise _redis.ConnectionError('the connection is closed')
            for command in commands:
                self._server.sent.append(Sent(self._key, command))
                if not self._server.frozen:
                    self._answer(*command)
            self._server.changed.notify_all()

    def can_read(self, timeout: float) -> bool:
        self._server.reads += 1
        with self._server.changed:
            self._server.changed.wait_for(
                lambda: self.replies or self._ended, timeout)
            if self._ended and not self.replies:
                raise _redis.ConnectionError('the connection is closed')
            return bool(self.replies)

    def read_response(self) -> Any:
        if not self.can_read(self._timeout):
            raise _redis.TimeoutError('no reply')
        with self._server.changed:
            reply = self.replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply

    # -- as its socket ------------------------------------------------------

    def fileno(self) -> int:
        return self.replies.file

    def shutdown(self, how: int) -> None:
        self.end()

    def close(self) -> None:
        """Called in the child process of a fork, which has its own copy; a
        task of the parent may hold the lock."""

    def end(self) -> None:
        with self._server.changed:
            self._ended = True
            self.replies.end()
            self.places.clear()
            if self in self._server.connections:
                self._server.connections.remove(self)
            self._server.changed.notify_all()

    # -- the server's part --------------------------------------------------

    def _elsewhere(self, name: bytes, args: Tuple[bytes, ...]) -> Any:
        """How the server of a cluster replies to commands for channels that
        it does not have; ``None``: it has them."""
        if self.address is None or KINDS.get(name) != b's' \
                or name == b'SHARDNUMSUB':
            return None
        channels = [each.decode() for each in (
            args[:1] if name == b'SPUBLISH' else args)]
        if len({slot_key(each) for each in channels}) > 1:
            return _redis.exceptions.ClusterCrossSlotError('not in one slot')
        place = self._server.master_of(channels[0])
        if place == self.address:
            return None
        return _redis.exceptions.MovedError(f'1 {place[0]}:{place[1]}')

    def _answer(self, name: bytes, *args: bytes) -> None:
        if name == b'PUBSUB':
            name, *rest = args
            args = tuple(rest)
        error = self._elsewhere(name, args)
        if error is not None:
            self.replies.append(error)
        elif name in self._server.errors:
            self.replies.append(self._server.errors[name])
        elif name in self._server.handlers:
            self.replies.append(self._server.handlers[name](*args))
        elif name == b'PING':
            self.replies.append([b'pong', b''] if self.places else b'PONG')
        elif name.endswith(b'PUBLISH'):
            self.replies.append(self._server.publish(
                args[0].decode(), args[1], KINDS[name]))
        elif name.endswith(b'NUMSUB'):
            self.replies.append([each for channel in args for each in (
                channel, self._server.listening(
                    channel.decode(), KINDS[name]))])
        else:
            for channel in args:
                place = KINDS[name], channel
                (self.places.discard if b'UNSUB' in name
                 else self.places.add)(place)
                self.replies.append(
                    [name.lower(), channel, len(self.places)])
