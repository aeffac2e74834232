"""A client that moves between the servers of a cluster, and the record of
what it has to receive."""
import itertools
from typing import Any, Dict, List, NamedTuple, Sequence

import redis

from ..support.js_client import JsClient
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess
from ..support.wait import wait_for_value, wait_until
from ..support.wire_format import parse_offset, read_session
from .helpers import Server, Unique

#: The arguments after the number of an event. Bytes are encoded in another
#: way, and a client takes text at the end for an offset if there is none.
MORE: List[Any] = [(), ('text',), (b'\x00\xff',), ({'key': [None, 'Zoë 🎉']},)]


class RecoveryCluster(NamedTuple):
    """Four servers with connection state recovery.

    :param witnesses: one client of each, which stays connected.
    :param options: those of all servers, with the names that a manager
                    gives them.
    """

    python: NodeProcess
    other_python: NodeProcess
    js: JsServer
    other_js: JsServer
    witnesses: Sequence[JsClient]
    redis: redis.Redis
    options: Dict[str, Any]

    @property
    def servers(self) -> List[Server]:
        """All four."""
        return [self.python, self.other_python, self.js, self.other_js]

    def at(self, name: str) -> Server:
        """The server with this name."""
        server: Server = getattr(self, name)
        return server

    def key(self, pid: str) -> str:
        """The key of a session."""
        return f'{self.options["session_key_prefix"]}{pid}'

    def wait_session(self, pid: str, data: Any = None) -> None:
        """Wait until a session is in Redis, and check its time to live.
        Node.js does not wait until a session is written.

        :param data: wait until the session has these data.
        """
        wait_for_session(self.redis, self.key(pid), data)
        milliseconds = 1000 * self.options['connection_state_recovery'][
            'max_disconnection_duration']
        left = self.redis.pttl(self.key(pid))
        assert 0.5 * milliseconds < left <= milliseconds

    def wait_heartbeats(self, server: Server, count: int) -> None:
        """Wait until a server has sent that many more heartbeats."""
        uid, after = server.uid().encode(), self.redis.xinfo_stream(
            self.options['stream_name'])['last-generated-id'].decode()
        wait_until(lambda: sum(
            (fields[b'uid'], fields[b'type']) == (uid, b'2')
            for _, fields in self.redis.xrange(
                self.options['stream_name'], f'({after}')) >= count,
            what=f'{count} heartbeats of {server.name}')

    def settle(self, unique: Unique) -> None:
        """Wait until all that was emitted is in the stream, and each server
        has read it."""
        for server in self.servers:
            marker = unique('marker')
            server.emit(marker)
            for witness in self.witnesses:
                witness.wait_for(marker)


class MovingClient:
    """A client with a room and data, to which all servers emit.

    :param client: just connected to the server called ``home``.
    """

    def __init__(self, cluster: RecoveryCluster, client: JsClient, home: str,
                 unique: Unique, data: Any, namespace: str = '/') -> None:
        self.client, self.home = client, cluster.at(home)
        self.sid, self.room = client.sids[namespace], ''
        self._cluster, self._unique = cluster, unique
        self._namespace = namespace
        self._event, self._numbers = unique('event'), itertools.count()
        #: What it has to receive of each server, by the name of the event.
        self._expected: Dict[str, List[Any]] = {}
        self.enter_new_room(data)

    @property
    def pid(self) -> str:
        """The private id of its session."""
        return str(self.client.state(self._namespace)[0])

    def enter_new_room(self, data: Any) -> None:
        """Leave the room, enter another one, and save data."""
        room, where = self._unique('room'), {'namespace': self._namespace}
        if self.room:
            self.home.sockets_leave([self.room], to=self.sid, **where)
        self.home.sockets_join([room], to=self.sid, **where)
        wait_for_value(lambda: self.home.rooms(self.sid, **where), [room],
                       what='the rooms')
        self.home.save_session(self.sid, data, **where)
        self.room, self._data = room, data

    def emit_from_all(self, count: int = 1) -> None:
        """Let each server emit to it by sid, by room and to all, and emit
        some events that it must not receive.

        :param count: how often each server emits in each way.
        """
        where = {'namespace': self._namespace}
        for server in self._cluster.servers:
            for to in (self.sid, self.room, None) * count:
                self._emit_to(server, to)
            server.emit(self._event, 'lost', to=self._unique('room'), **where)
            server.emit(self._event, 'lost', skip_sid=self.room, **where)
            server.emit(self._event, 'lost', skip_sid=self.sid, **where)

    def emit_and_wait(self) -> None:
        """Let each server emit to it while it is connected, and wait until
        it has received everything.

        The servers emit one after the other, because a server in Node.js
        delivers its own events and those of others in no common order.
        """
        for server in self._cluster.servers:
            name = f'{self._event}-{server.name}'
            for to in (self.sid, self.room, None):
                self._emit_to(server, to)
                self.client.wait_for(name, len(self._expected[name]))

    def _emit_to(self, server: Server, to: Any) -> None:
        name = f'{self._event}-{server.name}'
        number = next(self._numbers)
        args = (number, *MORE[number % len(MORE)])
        self._expected.setdefault(name, []).append(args)
        server.emit(name, args, to=to, namespace=self._namespace)

    def lose_connection(self, how: str = 'drop') -> None:
        """Lose the connection, and wait until the session is in Redis.

        :param how: ``'cut'`` if its server would not notice a drop.
        """
        before = self.losses()
        getattr(self.client, how)()
        wait_for_value(self.losses, before + 1,
                       what='the number of losses of the connection')
        self._cluster.wait_session(self.pid)

    def losses(self) -> int:
        """How often its server has noticed that its connection was lost."""
        return sum(each[:2] == [self._namespace, self.sid]
                   for each in map(list, self.home.recorded('disconnect')))

    def come_back(self, home: str, alone: bool = True) -> None:
        """Connect to a server, and check that the state was recovered.

        :param alone: no server believes that an older connection is alive.
        """
        server = self._cluster.at(home)
        pid, times = self.pid, len(server.connected(self.sid))
        self.client.move(server.url)
        self.home = server
        connect, = [each for each in self.client.connects()[
            -len(self.client.sids):] if each.namespace == self._namespace]
        assert connect.recovered
        assert (connect.sid, self.pid) == (self.sid, pid)
        found = server.connected(self.sid)
        assert len(found) == times + 1
        assert found[-1]['namespace'] == self._namespace
        assert found[-1]['environ'] == [True, None]
        assert set(found[-1]['rooms']) == {self.sid, self.room}
        assert found[-1]['session'] == self._data
        if alone:
            self.check_found()

    def check_found(self) -> None:
        """Wait until each server finds it once, with its rooms and data."""
        for server in self._cluster.servers:
            wait_for_value(lambda: [
                (each['sid'], {*each['rooms']}, each['data'])
                for each in server.fetch_sockets(namespace=self._namespace,
                                                 to=self.sid)],
                [(self.sid, {self.sid, self.room}, self._data)],
                what=f'the socket that {server.name} finds')

    def check_received_all(self) -> None:
        """Check that it has received every event once, in order, and nothing
        else, and that each offset is higher than the one before."""
        for name, expected in self._expected.items():
            received = self.client.wait_for(name, len(expected))
            assert [each[:-1] for each in received] == expected
        assert self.client.count(self._event) == 0
        offsets = [parse_offset(event.args[-1]) for event in self.client.log()
                   if event.name.startswith(self._event)]
        assert offsets == sorted(set(offsets))


def wait_for_session(redis_client: redis.Redis, key: str,
                     data: Any = None) -> None:
    """Wait until a session is in Redis.

    :param data: wait until the session has these data.
    """
    def is_there() -> bool:
        session = read_session(redis_client, key)
        return session is not None and data in (None, session['data'])

    wait_until(is_there, what='the session')
