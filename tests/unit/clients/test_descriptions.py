"""The descriptions of local clients that other servers get."""
import datetime
import gc
import time
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import pytest
from bidict import bidict

from redis_streams_adapter.protocol.json_parser import MAX_DEPTH
from redis_streams_adapter.clients.descriptions import describe, ISSUED, \
    note_arrival

from ..conftest import Log
from ..fake_server import DateJSON, FakeClient
from ..nodes import Node

MakeNode = Callable[..., Node]
MakeCluster = Callable[..., List[Node]]

#: Seconds: a limit that no wait of these tests reaches.
AMPLE = 5.0


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node()


def show(node: Node, *clients: FakeClient, namespace: str = '/',
         is_sendable: Callable[[Any], bool] = lambda value: True
         ) -> List[Dict[str, Any]]:
    """The descriptions of these clients."""
    return [each for each in describe(node.server, namespace, [
        (client.sid_in(namespace), client.eio_sid) for client in clients],
        is_sendable) if each is not None]


# -- the handshake -----------------------------------------------------------

def test_unknown_client_has_empty_description(node: Node) -> None:
    client = node.connect()
    found, = show(node, client)
    assert set(found) == {'id', 'handshake', 'rooms', 'data'}
    assert found['id'] == client.sid
    # Node.js has the same keys.
    assert set(found['handshake']) == {
        'headers', 'time', 'address', 'xdomain', 'secure', 'issued', 'url',
        'query', 'auth'}
    assert found['handshake']['headers'] == found['handshake']['query'] == {}
    assert found['handshake']['secure'] is False
    assert found['handshake']['xdomain'] is False


def test_description_contains_request(node: Node) -> None:
    client = FakeClient(node.server, environ={
        'PATH_INFO': '/socket.io/', 'HTTP_X_FORWARDED_FOR': '10.0.0.9',
        'HTTP_COOKIE': 'a=b', 'HTTP_NOT_TEXT': 5, 'wsgi.input': object(),
        'QUERY_STRING': 'EIO=4&empty=&name=%C3%BC&broken=%ff&x=1&x=2'})
    handshake = show(node, client)[0]['handshake']
    assert handshake['headers'] == {
        'x-forwarded-for': '10.0.0.9', 'cookie': 'a=b'}
    assert handshake['query'] == {
        'EIO': '4', 'empty': '', 'name': 'ü', 'broken': '\ufffd', 'x': '2'}


def test_description_contains_no_credentials(node: Node) -> None:
    node.server.on('connect', lambda sid, environ, auth: None)
    client = node.connect()
    assert show(node, client)[0]['handshake']['auth'] == {}


def test_description_contains_time_of_connect(node: Node) -> None:
    before = int(time.time() * 1000)
    client = node.connect('/', '/chat')
    first, = show(node, client)
    again, = show(node, client, namespace='/chat')
    issued = first['handshake']['issued']
    # All namespaces of a connection have the same time.
    assert again['handshake']['issued'] == issued
    assert before <= issued <= time.time() * 1000


def test_time_has_format_of_javascript() -> None:
    environ: Dict[str, Any] = {ISSUED: 951782399000}
    server = SimpleNamespace(
        environ={'e': environ}, manager=SimpleNamespace(rooms={}),
        eio=SimpleNamespace(get_session=lambda eio_sid: {}))
    note_arrival(server, 'e')
    assert environ == {ISSUED: 951782399000}
    # A client that has just disconnected.
    note_arrival(server, 'gone')
    found, = describe(server, '/', [('s', 'e')], lambda value: True)
    assert found['handshake']['time'] == (
        'Mon Feb 28 2000 23:59:59 GMT+0000 (Coordinated Universal Time)')


# -- clients that disconnect -------------------------------------------------

def test_lost_client_has_no_description(node: Node) -> None:
    gone, here = node.connect(), node.connect()
    clients = [(gone.sid, gone.eio_sid), (here.sid, here.eio_sid)]
    gone.leave()
    found, = describe(node.server, '/', clients, lambda value: True)
    assert found['id'] == here.sid


def test_client_without_session_is_described(node: Node) -> None:
    client = node.connect()
    del node.server.eio.sockets[client.eio_sid]
    assert show(node, client)[0]['data'] == {}


# -- rooms -------------------------------------------------------------------

def test_description_contains_rooms(node: Node) -> None:
    a, b = node.connect(), node.connect('/', '/chat')
    for sid, room in ((a.sid, 'x'), (a.sid, 7), (b.sid, 'x')):
        node.server.enter_room(sid, room)
    node.server.enter_room(b.sid_in('/chat'), 'y', '/chat')
    first, second = show(node, a, b)
    assert set(first['rooms']) == {a.sid, 'x', 7}
    assert set(second['rooms']) == {b.sid, 'x'}
    assert len(first['rooms']) == 3
    assert set(show(node, b)[0]['rooms']) == {b.sid, 'x'}
    assert set(show(node, b, namespace='/chat')[0]['rooms']) == {
        b.sid_in('/chat'), 'y'}


def test_rooms_may_change_during_description(node: Node) -> None:
    """Threads change rooms at any time. No client is left out."""
    clients = [node.connect() for _ in range(3)]
    rooms = node.manager.rooms['/']

    class Changing(bidict):  # type: ignore[type-arg]
        def __contains__(self, sid: Any) -> bool:
            rooms[f'new {len(rooms)}'] = bidict()
            return super().__contains__(sid)

        def __len__(self) -> int:
            rooms[f'new {len(rooms)}'] = bidict()
            return super().__len__()

    rooms['changing'] = Changing()
    for client in clients:
        node.server.enter_room(client.sid, 'changing')
    for asked in (clients, clients[:1]):
        for found in show(node, *asked):
            assert set(found['rooms']) == {found['id'], 'changing'}


def test_cost_is_not_quadratic(node: Node) -> None:
    """Each client has its own room. A search of all rooms for each client
    would have quadratic cost."""
    clients = [node.connect() for _ in range(300)]
    looked: List[Any] = []

    class Counting(bidict):  # type: ignore[type-arg]
        def __contains__(self, sid: Any) -> bool:
            looked.append(sid)
            return super().__contains__(sid)

    rooms = node.manager.rooms['/']
    for room, members in list(rooms.items()):
        rooms[room] = Counting(members)
    found = show(node, *clients)
    assert [each['rooms'] for each in found] == [
        [client.sid] for client in clients]
    assert len(looked) < 10 * len(clients)


def test_nothing_is_left_to_the_garbage_collector(node: Node) -> None:
    """Objects that live as long as the description of all clients make
    CPython look at all objects of the process, now and then."""
    clients = [node.connect() for _ in range(500)]
    for client in clients:
        node.server.enter_room(client.sid, 'a')
        node.server.enter_room(client.sid, 'b')
    gc.collect()
    before = len(gc.get_objects())
    descriptions = describe(
        node.server, '/', [(client.sid, client.eio_sid)
                           for client in clients], lambda value: True)
    found = next(each for each in descriptions if each is not None)
    assert len(found['rooms']) == 3
    # It stops tracking tuples of strings when it sees them.
    gc.collect()
    # The tasks of the node go on meanwhile.
    assert len(gc.get_objects()) - before < len(clients) // 2


@pytest.mark.parametrize('room', [
    ('a', 1), 1.5, True, b'x', frozenset('x'), '\ud800', 2**70], ids=repr)
def test_a_room_that_no_other_server_can_name(make_cluster: MakeCluster,
                                              room: Any) -> None:
    """python-socketio lets a local client enter the room. The room is left out
    of the answer."""
    a, b = make_cluster(2)
    client = b.connect()
    # With bytes the whole answer is msgpack, which has no such numbers.
    b.server.save_session(client.sid, {'raw': b'x'})
    b.server.enter_room(client.sid, 'x')
    b.manager.basic_enter_room(client.sid, '/', room)
    found, = a.manager.fetch_sockets(timeout=AMPLE)
    assert set(found.rooms) == {client.sid, 'x'}
    assert a.manager.all_rooms(timeout=AMPLE) == {'x': 1}
    found, = b.manager.fetch_sockets(local=True)
    assert set(found.rooms) == {client.sid, 'x'}


# -- the session -------------------------------------------------------------

def test_description_contains_session(node: Node, log: Log) -> None:
    client = node.connect('/', '/chat')
    node.server.save_session(client.sid, {'a': 1, 'b': [2]})
    node.server.save_session(client.sid_in('/chat'), {'c': 3}, '/chat')
    assert show(node, client)[0]['data'] == {'a': 1, 'b': [2]}
    assert show(node, client, namespace='/chat')[0]['data'] == {'c': 3}
    # The description has a copy.
    show(node, client)[0]['data']['a'] = 2
    assert node.server.get_session(client.sid)['a'] == 1


@pytest.mark.parametrize('session', [
    'text', '', 'ü\u2603', 7, 0, 1.5, True, False, [], [1, {'a': ['b']}],
    b'\0\xff', [b'x', 'y'], {}], ids=repr)
def test_session_may_be_any_value(make_cluster: MakeCluster,
                                  session: Any) -> None:
    """Any node gets the value that was saved."""
    a, b = make_cluster(2)
    client = b.connect()
    b.server.save_session(client.sid, session)
    for found in (a.manager.fetch_sockets(timeout=AMPLE),
                  b.manager.fetch_sockets(local=True)):
        assert [each.data for each in found] == [session]
        assert type(found[0].data) is type(session)


def test_session_none_counts_as_empty(node: Node) -> None:
    """None counts as an empty session."""
    client = node.connect()
    node.server.save_session(client.sid, None)
    found, = node.manager.fetch_sockets(local=True)
    assert found.data == {}


def test_session_list_is_copied(node: Node) -> None:
    client = node.connect()
    node.server.save_session(client.sid, [1])
    show(node, client)[0]['data'].append(2)
    assert node.server.get_session(client.sid) == [1]


def test_unsendable_items_are_left_out(node: Node) -> None:
    client = node.connect()
    node.server.save_session(client.sid, {'a': 1, 'b': 2, 'c': 3})
    found, = show(node, client, is_sendable=lambda value: 'b' not in value)
    assert found['data'] == {'a': 1, 'c': 3}


def nested(levels: int) -> Any:
    value: Any = 'x'
    for _ in range(levels):
        value = [value]
    return value


def circular() -> Any:
    value: List[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize('bad', [
    object(), {1, 2}, {(1, 2): 3}, datetime.date(2024, 2, 29), memoryview(
        b'x'), 2**70, '\ud800', nested(5000), circular(),
    nested(MAX_DEPTH), nested(MAX_DEPTH + 1), nested(MAX_DEPTH + 2),
    lambda: None], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize('neighbour', [{}, {'raw': b'x'}, {'nan': 1e999}],
                         ids=['plain', 'bytes', 'infinity'])
def test_unserializable_items_of_session_are_left_out(
        make_cluster: MakeCluster, bad: Any, neighbour: Any) -> None:
    """Any node gets the other items and all other sessions. Two items may also
    be serializable alone, but not together."""
    a, b = make_cluster(2)
    one, other = b.connect(), b.connect()
    b.server.save_session(one.sid, {'good': 1, 'bad': bad})
    b.server.save_session(other.sid, {'good': 2, **neighbour})
    for node in (a, b):
        found = {each.sid: each.data for each in
                 node.manager.fetch_sockets(timeout=AMPLE)}
        assert found[one.sid].pop('bad', None) in (None, bad)
        assert found == {one.sid: {'good': 1},
                         other.sid: {'good': 2, **neighbour}}
    assert b.manager.stats()['failed'] == 0
    assert a.manager.stats()['malformed'] == 0


@pytest.mark.parametrize('session', [
    object(), {1, 2}, datetime.date(2024, 2, 29), 2**70, '\ud800',
    ['good', {'bad': object()}], circular(), nested(MAX_DEPTH + 1)],
    ids=lambda value: type(value).__name__)
def test_unserializable_list_is_left_out(make_cluster: MakeCluster,
                                         session: Any) -> None:
    """Only a mapping has keys that can be left out. A list without some of its
    items would be another list."""
    a, b = make_cluster(2)
    one, other = b.connect(), b.connect()
    b.server.save_session(one.sid, session)
    b.server.save_session(other.sid, ['good'])
    for found in (a.manager.fetch_sockets(timeout=AMPLE),
                  b.manager.fetch_sockets(local=True)):
        assert {each.sid: each.data for each in found} == {
            one.sid: {}, other.sid: ['good']}
    assert b.manager.stats()['failed'] == 0
    assert a.manager.stats()['malformed'] == 0


def test_any_error_of_json_module_is_caught(
        make_cluster: MakeCluster, default_json_module: None) -> None:
    a, b = make_cluster(2, server={'json': DateJSON})
    client = b.connect()
    b.server.save_session(client.sid, {
        'bad': object(), 'day': datetime.date(2024, 2, 29)})
    found, = a.manager.fetch_sockets(timeout=AMPLE)
    assert found.data == {'day': '2024-02-29'}


def test_bytes_are_left_out_of_json(make_cluster: MakeCluster) -> None:
    a, b = make_cluster(2, only_plaintext=True)
    client = b.connect()
    b.server.save_session(client.sid, {'raw': b'x', 'good': 1})
    found, = a.manager.fetch_sockets(timeout=AMPLE)
    assert found.data == {'good': 1}
