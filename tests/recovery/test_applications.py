"""Two applications keep their sessions in one database, under one prefix. A
client of one is never taken for a client of the other."""
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from ..conftest import running
from ..integration.conftest import start_managers
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.client import close_all
from ..support.returning_client import ReturningClient
from ..support.wait import wait_for_value, wait_until
from ..support.wire_format import read_session, write_session
from .helpers import check_reason, RECOVERING, Unique

PREFIX = 'shared:'


class Application(NamedTuple):
    """Two nodes, and a client that stays connected."""

    nodes: List[NodeProcess]
    witness: ReturningClient


Applications = Dict[str, Application]


@pytest.fixture(scope='module')
def applications(mode: str, redis_server: RedisServer,
                 ) -> Iterator[Applications]:
    """The applications by the names of their streams."""
    with running([NodeProcess(mode, redis_server.url, {
            **RECOVERING, 'stream_name': name, 'session_key_prefix': PREFIX})
            for name in ('one', 'one', 'other', 'other')]) as nodes:
        found = {}
        for name, members in ('one', nodes[:2]), ('other', nodes[2:]):
            start_managers(members)
            found[name] = Application(members,
                                      ReturningClient(members[0].url))
        yield found
        close_all([each.witness for each in found.values()])


Connect = Callable[[str], ReturningClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    clients: List[ReturningClient] = []

    def connect_to(url: str) -> ReturningClient:
        clients.append(ReturningClient(url))
        return clients[-1]

    yield connect_to
    close_all(clients)


class LostClient:
    """A client with a room and data, which has lost its connection. Events
    for it were emitted since."""

    def __init__(self, home: Application, connect: Connect, redis: Any,
                 unique: Unique) -> None:
        self.home, self.redis = home, redis
        self.event, self.room = unique('event'), unique('room')
        node, other = home.nodes
        self.client = connect(node.url)
        self.sid, self.pid = self.client.sid, self.client.pids['/']
        node.enter_room(self.sid, self.room)
        node.save_session(self.sid, {'user': self.room})
        node.emit(self.event, 0, to=self.room)
        self.client.wait_for(self.event)
        self.client.drop()
        wait_for_value(lambda: len(node.disconnects_of(self.sid)), 1,
                       what='the end of the connection')
        wait_for_value(lambda: self.room in self.session()['rooms'], True,
                       what='the last session')
        other.emit_range(self.event, range(1, 4), to=self.room)
        assert other.flush(10)

    @property
    def key(self) -> str:
        return f'{PREFIX}{self.pid}'

    def session(self) -> Dict[str, Any]:
        """The session in Redis."""
        session = read_session(self.redis, self.key)
        assert session is not None
        return session

    def rewrite(self, *keys: str) -> None:
        """Keep only these keys of the session; without any, remove only
        ``app``."""
        session = self.session()
        write_session(self.redis, self.key, {
            key: session[key] for key in keys or session
            if keys or key != 'app'}, keepttl=True)

    def connect(self, url: str, offset: str) -> ReturningClient:
        """Connect to a server with its pid."""
        self.client.pids['/'], self.client.offsets['/'] = self.pid, offset
        self.client.connect(url)
        return self.client

    def check_recovered_at_home(self, offset: str) -> None:
        """Check that it is recovered in its own application, with what it
        has missed."""
        node = self.home.nodes[1]
        client = self.connect(node.url, offset)
        assert client.recovered['/'] and client.sid == self.sid
        check_reason(node, self.sid, None)
        assert self.room in node.rooms(self.sid)
        client.wait_for(self.event, 4)
        assert [args[0] for args in client.received(self.event)] == [
            0, 1, 2, 3]


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture(params=['one', 'other'])
def lost(request: Any, applications: Applications, connect: Connect,
         redis: Any, unique: Unique) -> LostClient:
    """A client of one application, and then of the other."""
    return LostClient(applications[request.param], connect, redis, unique)


@pytest.fixture
def strangers(lost: LostClient, applications: Applications) -> Application:
    """The application that is not the client's."""
    found, = [each for each in applications.values() if each != lost.home]
    return found


def offset_at(application: Application, unique: Unique) -> str:
    """The offset of an event that all clients of an application have."""
    event = unique('event')
    application.nodes[0].emit(event, 0)
    application.witness.wait_for(event)
    return application.witness.offsets['/']


@pytest.mark.parametrize('origin', ['at home', 'there'])
def test_pid_is_unknown_to_another_application(
        lost: LostClient, strangers: Application, unique: Unique,
        origin: str) -> None:
    """The client is a new one there, with its last offset and with an offset
    that exists there. Its session stays, and does not live any longer."""
    last = lost.client.offsets['/']
    offset = last if origin == 'at home' else offset_at(strangers, unique)
    before, left = lost.redis.get(lost.key), lost.redis.pttl(lost.key)
    node = strangers.nodes[0]
    client = lost.connect(node.url, offset)
    assert not client.recovered['/']
    assert client.sid != lost.sid and client.pids['/'] != lost.pid
    check_reason(node, client.sid, 'unknown-session')
    assert node.rooms(client.sid) == []
    # Neither what was emitted at home nor what is emitted here arrives.
    node.emit(lost.event, 9, to=lost.room)
    node.emit(lost.event, 10, to=lost.sid)
    node.emit(f'end of {lost.event}')
    client.wait_for(f'end of {lost.event}')
    assert [args[0] for args in client.received(lost.event)] == [0]
    assert lost.redis.get(lost.key) == before
    assert 0 < lost.redis.pttl(lost.key) <= left
    client.drop()
    lost.check_recovered_at_home(last)
    for each in (*lost.home.nodes, *strangers.nodes):
        assert [line for line in each.logs() if lost.pid in line] == []


@pytest.mark.parametrize('keys', [(), ('sid', 'pid', 'rooms', 'data')],
                         ids=['an older version', 'Node.js'])
def test_session_without_an_application(
        lost: LostClient, strangers: Application, keys: List[str]) -> None:
    """Its client is only recovered if its offset is that of an event in the
    stream."""
    offset = lost.client.offsets['/']
    lost.rewrite(*keys)
    before = lost.redis.get(lost.key)
    node = strangers.nodes[0]
    client = lost.connect(node.url, offset)
    assert not client.recovered['/'] and client.sid != lost.sid
    check_reason(node, client.sid, 'offset-not-found')
    assert lost.redis.get(lost.key) == before
    client.drop()
    lost.check_recovered_at_home(offset)
    # The node that recovered it has added the application.
    wait_for_value(lambda: lost.session().get('app'),
                   f'0:{lost.home.nodes[0].options["stream_name"]}',
                   what='the application of the session')


@pytest.mark.parametrize('fields', [
    {b'type': b'2'}, {b'type': b'3', b'nsp': b'/chat'}],
    ids=['a heartbeat', 'an event in another namespace'])
def test_offset_of_no_event_in_the_namespace(
        lost: LostClient, strangers: Application, unique: Unique,
        fields: Dict[bytes, bytes]) -> None:
    """The id of another kind of entry is no valid offset."""
    node, last = strangers.nodes[0], lost.client.offsets['/']
    node.emit(unique('event'), 0, namespace='/chat')
    stream = node.options['stream_name']
    found = wait_until(lambda: [
        offset.decode() for offset, entry in lost.redis.xrange(stream)
        if fields.items() <= entry.items()], what='an entry of that kind')
    lost.rewrite('sid', 'pid', 'rooms', 'data')
    before = lost.redis.get(lost.key)
    client = lost.connect(node.url, found[-1])
    assert not client.recovered['/'] and client.sid != lost.sid
    check_reason(node, client.sid, 'offset-not-found')
    assert lost.redis.get(lost.key) == before
    client.drop()
    lost.check_recovered_at_home(last)
