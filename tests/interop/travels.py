"""A client on its way between the servers of a cluster, and what it is owed.
"""
import itertools
from typing import Any, Dict, List, NamedTuple, Sequence

import redis

from ..support.js_client import JsClient
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess
from ..support.wait import wait_for_value, wait_until
from ..support.wire_format import parse_offset, read_session
from .helpers import Server, Unique

#: What stands behind the number of an event. With bytes it is written in
#: another way; text is what a client takes for an offset where there is none.
MORE: List[Any] = [(), ('text',), (b'\x00\xff',), ({'key': [None, 'Zoë 🎉']},)]


class Recovering(NamedTuple):
    """Four servers that give clients back what they had.

    :param options: of all, as a manager has them.
    :param witnesses: a client of each, that stays.
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
        """One of them."""
        server: Server = getattr(self, name)
        return server

    def key(self, pid: str) -> str:
        """Where the session is kept."""
        return f'{self.options["session_key_prefix"]}{pid}'

    def wait_session(self, pid: str, data: Any = None) -> None:
        """Wait until a session is in Redis, for as long as it should be: in
        Node.js nobody waits until it is.

        :param data: and until it has these.
        """
        wait_for_session(self.redis, self.key(pid), data)
        milliseconds = 1000 * self.options['connection_state_recovery'][
            'max_disconnection_duration']
        left = self.redis.pttl(self.key(pid))
        assert 0.5 * milliseconds < left <= milliseconds

    def wait_heartbeats(self, server: Server, count: int) -> None:
        """Wait for so many more of a server's heartbeats."""
        uid, after = server.uid().encode(), self.redis.xinfo_stream(
            self.options['stream_name'])['last-generated-id'].decode()
        wait_until(lambda: sum(
            (fields[b'uid'], fields[b'type']) == (uid, b'2')
            for _, fields in self.redis.xrange(
                self.options['stream_name'], f'({after}')) >= count,
            what=f'{count} heartbeats of {server.name}')

    def settle(self, unique: Unique) -> None:
        """Wait until all that was emitted stands in the stream, and each
        server has read it."""
        for server in self.servers:
            marker = unique('marker')
            server.emit(marker)
            for witness in self.witnesses:
                witness.wait_for(marker)


class Traveller:
    """A client with a room and data, that is told things by all servers.

    :param client: just connected to the server called ``home``.
    """

    def __init__(self, cluster: Recovering, client: JsClient, home: str,
                 unique: Unique, data: Any, namespace: str = '/') -> None:
        self.client, self.home = client, cluster.at(home)
        self.sid, self.room = client.sids[namespace], ''
        self._cluster, self._unique = cluster, unique
        self._namespace = namespace
        self._event, self._numbers = unique('event'), itertools.count()
        #: What each server has told it, by the name of the event.
        self._owed: Dict[str, List[Any]] = {}
        self.settle_in(data)

    @property
    def pid(self) -> str:
        """What the servers call its session."""
        return str(self.client.state(self._namespace)[0])

    def settle_in(self, data: Any) -> None:
        """Get a room, another one, and data."""
        room, where = self._unique('room'), {'namespace': self._namespace}
        if self.room:
            self.home.sockets_leave([self.room], to=self.sid, **where)
        self.home.sockets_join([room], to=self.sid, **where)
        wait_for_value(lambda: self.home.rooms(self.sid, **where), [room],
                       what='the rooms')
        self.home.save_session(self.sid, data, **where)
        self.room, self._data = room, data

    def tell(self, count: int = 1) -> None:
        """Let each server tell it so much, in each way, and somebody else
        something."""
        where = {'namespace': self._namespace}
        for server in self._cluster.servers:
            for to in (self.sid, self.room, None) * count:
                self._tell(server, to)
            server.emit(self._event, 'lost', to=self._unique('room'), **where)
            server.emit(self._event, 'lost', skip_sid=self.room, **where)
            server.emit(self._event, 'lost', skip_sid=self.sid, **where)

    def tell_present(self) -> None:
        """The same, to one that is there: it has all of it in the end.

        One after the other, because a server in Node.js delivers its own
        events and those of others in no common order.
        """
        for server in self._cluster.servers:
            name = f'{self._event}-{server.name}'
            for to in (self.sid, self.room, None):
                self._tell(server, to)
                self.client.wait_for(name, len(self._owed[name]))

    def _tell(self, server: Server, to: Any) -> None:
        name = f'{self._event}-{server.name}'
        number = next(self._numbers)
        told = (number, *MORE[number % len(MORE)])
        self._owed.setdefault(name, []).append(told)
        server.emit(name, told, to=to, namespace=self._namespace)

    def leave(self, how: str = 'drop') -> None:
        """Lose the connection. When this returns, its session is in Redis.

        :param how: ``'cut'`` where its server would not notice otherwise.
        """
        before = self.losses()
        getattr(self.client, how)()
        wait_for_value(self.losses, before + 1,
                       what='the number of losses of the connection')
        self._cluster.wait_session(self.pid)

    def losses(self) -> int:
        """How many losses of its connection its server has noticed."""
        return sum(each[:2] == [self._namespace, self.sid]
                   for each in map(list, self.home.recorded('disconnect')))

    def arrive(self, home: str, alone: bool = True) -> None:
        """Come back there, as the one that it was, and have all again.

        :param alone: no server takes an older connection for alive.
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
            self.check_there()

    def check_there(self) -> None:
        """It is on one server, and each one finds it there."""
        for asker in self._cluster.servers:
            wait_for_value(lambda: [
                (each['sid'], {*each['rooms']}, each['data'])
                for each in asker.fetch_sockets(namespace=self._namespace,
                                                to=self.sid)],
                [(self.sid, {self.sid, self.room}, self._data)],
                what=f'what {asker.name} finds')

    def check_told(self) -> None:
        """It has got all it is owed, each once, in order, and nothing else;
        each with an offset behind that of the one before."""
        for name, owed in self._owed.items():
            received = self.client.wait_for(name, len(owed))
            assert [each[:-1] for each in received] == owed
        assert self.client.count(self._event) == 0
        offsets = [parse_offset(event.args[-1]) for event in self.client.log()
                   if event.name.startswith(self._event)]
        assert offsets == sorted(set(offsets))


def wait_for_session(redis_client: redis.Redis, key: str,
                     data: Any = None) -> None:
    """Wait until a session is in Redis.

    :param data: and until it has these.
    """
    def is_there() -> bool:
        session = read_session(redis_client, key)
        return session is not None and data in (None, session['data'])

    wait_until(is_there, what='the session')
