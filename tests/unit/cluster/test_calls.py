"""Requests to all nodes and commands to all clients, over the fake stream:
:mod:`redis_streams_adapter.cluster.calls`."""
import os
import socket
import threading
import time
from functools import partial
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import ClusterTimeoutError, OutboxFullError, \
    RedisStreamsManager
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, FetchSockets, FetchSocketsResponse, MessageType, \
    SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.cluster.remote_socket import RemoteSocket

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..fake_server import FakeClient
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Call, messages, Node

MakeNode = Callable[..., Node]
MakeCluster = Callable[..., List[Node]]
MakeManager = Callable[..., RedisStreamsManager]

#: Seconds for a wait that ends by itself: never reached.
AMPLE = DEADLINE * 3

#: Heartbeats of a cluster in which a node falls silent.
QUICK = {'heartbeat_interval': 0.1, 'heartbeat_timeout': 0.5}


@pytest.fixture
def nodes(make_cluster: MakeCluster) -> List[Node]:
    """Three nodes that know each other."""
    return make_cluster(3)


@pytest.fixture
def clients(nodes: List[Node]) -> List[FakeClient]:
    """One client on each node."""
    return [node.connect() for node in nodes]


def sids(found: List[RemoteSocket]) -> List[str]:
    return sorted(each.sid for each in found)


def deaf(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is alive, but answers no request."""
    delivery = node.manager._live().delivery('/')
    monkeypatch.setattr(delivery, '_act', lambda act: None)


@pytest.fixture(autouse=True)
def no_request_stays_open(make_manager: Any,
                          managers: List[Any]) -> Iterator[None]:
    """However the call ends."""
    yield
    for manager in managers:
        node = Node(manager.server, manager)
        assert node.open_requests == 0
        assert node.open_acks == 0


# -- members -----------------------------------------------------------------

def test_nodes(nodes: List[Node]) -> None:
    uids = {node.manager.uid for node in nodes}
    for node in nodes:
        found = node.manager.nodes()
        assert found[0][:2] == (node.manager.uid, 0.0)
        assert {each[2:] for each in found} == {
            (socket.gethostname(), os.getpid(), 'python')}
        assert {each.uid for each in found} == uids
        assert len(found) == 3
        assert all(0 <= each.last_seen < 60 for each in found)
        assert node.manager.nodes('/nowhere') == []
    nodes[2].manager.close()
    wait_for_value(lambda: len(nodes[0].manager.nodes()), 2)


def test_nodes_of_a_lone_server(make_node: MakeNode) -> None:
    manager = make_node().manager
    own, = manager.nodes()
    assert own == (manager.uid, 0.0, socket.gethostname(), os.getpid(),
                   'python')


# -- fetch_sockets -----------------------------------------------------------

@pytest.mark.parametrize('count', [1, 2, 3])
def test_fetch_sockets(make_cluster: MakeCluster, stream: FakeStream,
                       count: int) -> None:
    nodes = make_cluster(count)
    clients = [node.connect() for node in nodes for _ in range(2)]
    for node in nodes:
        found = node.manager.fetch_sockets(timeout=AMPLE)
        assert sids(found) == sorted(client.sid for client in clients)
        assert {each.node for each in found} == {
            each.manager.uid for each in nodes}
        for each in found:
            assert each.rooms == [each.sid]
            assert each.namespace == '/'
            assert each.data == {}
    # A server that knows no other one asks as well: one may have joined
    # whose entries it has not read yet.
    assert len(messages(stream, MessageType.FETCH_SOCKETS)) == count


def test_description_of_a_socket(nodes: List[Node]) -> None:
    client = FakeClient(nodes[1].server, environ={
        'PATH_INFO': '/socket.io/', 'QUERY_STRING': 'EIO=4&x=y',
        'REMOTE_ADDR': '10.0.0.1', 'wsgi.url_scheme': 'https',
        'HTTP_USER_AGENT': 'me', 'HTTP_ORIGIN': 'https://here'})
    nodes[1].server.enter_room(client.sid, 'x')
    nodes[1].server.enter_room(client.sid, 7)
    nodes[1].server.save_session(client.sid, {'name': 'ann', 'raw': b'x'})
    before = time.time() * 1000
    for node in nodes:
        found, = node.manager.fetch_sockets(timeout=AMPLE)
        assert found.sid == client.sid
        assert found.node == nodes[1].manager.uid
        assert set(found.rooms) == {client.sid, 'x', 7}
        assert found.data == {'name': 'ann', 'raw': b'x'}
        handshake = found.handshake
        assert handshake['headers'] == {
            'user-agent': 'me', 'origin': 'https://here'}
        assert handshake['query'] == {'EIO': '4', 'x': 'y'}
        assert handshake['url'] == '/socket.io/?EIO=4&x=y'
        assert handshake['address'] == '10.0.0.1'
        assert handshake['secure'] is handshake['xdomain'] is True
        assert handshake['auth'] == {}
        assert 0 < handshake['issued'] <= before


def test_targets(nodes: List[Node], clients: List[FakeClient]) -> None:
    a, b, c = (client.sid for client in clients)
    for node, sid, room in ((nodes[0], a, 'x'), (nodes[1], b, 'x'),
                            (nodes[1], b, 'y'), (nodes[2], c, 7)):
        node.server.enter_room(sid, room)
    for arguments, expected in (
            ({}, [a, b, c]), ({'to': None}, [a, b, c]),
            ({'to': a}, [a]), ({'to': b}, [b]), ({'to': 'x'}, [a, b]),
            ({'to': 7}, [c]), ({'to': ['x', 7]}, [a, b, c]),
            ({'to': ('y', 7)}, [b, c]), ({'to': [b, c]}, [b, c]),
            ({'to': 'unknown'}, []), ({'to': []}, []), ({'to': ()}, []),
            ({'skip_sid': a}, [b, c]), ({'skip_sid': [a, b]}, [c]),
            ({'skip_sid': 'x'}, [c]), ({'skip_sid': []}, [a, b, c]),
            ({'to': 'x', 'skip_sid': 'y'}, [a]),
            ({'to': a, 'skip_sid': a}, []), ({'to': [], 'skip_sid': a}, [])):
        for node in nodes:
            found = node.manager.fetch_sockets(
                timeout=AMPLE, **arguments)  # type: ignore[arg-type]
            assert sids(found) == sorted(expected), arguments


def test_fetch_sockets_of_a_namespace(nodes: List[Node]) -> None:
    client = nodes[1].connect('/', '/chat')
    for namespace in ('/', '/chat'):
        found, = nodes[0].manager.fetch_sockets(namespace, timeout=AMPLE)
        assert found.sid == client.sid_in(namespace)
        assert found.namespace == namespace
    assert nodes[0].manager.fetch_sockets('/nowhere', timeout=AMPLE) == []


def test_local_sockets(nodes: List[Node], clients: List[FakeClient],
                       stream: FakeStream) -> None:
    stream.go_away()
    for node, client in zip(nodes, clients):
        found = node.manager.fetch_sockets(local=True, timeout=0)
        assert sids(found) == [client.sid]
        assert node.manager.fetch_sockets(
            local=True, skip_sid=client.sid) == []
    stream.come_back()
    assert nodes[0].manager.flush(DEADLINE)
    assert messages(stream) == []


def test_empty_target(nodes: List[Node], clients: List[FakeClient],
                      stream: FakeStream) -> None:
    """On the wire, an empty list of rooms would mean everyone."""
    manager = nodes[0].manager
    for nothing in ([], (), set(), frozenset()):
        assert manager.fetch_sockets(to=nothing) == []
        assert manager.emit_with_ack('hello', to=nothing) == []
        manager.sockets_join('x', to=nothing)
        manager.sockets_leave('x', to=nothing)
        manager.disconnect_sockets(to=nothing)
        manager.sockets_join(nothing)
        manager.sockets_leave(nothing)
    assert manager.flush(DEADLINE)
    assert messages(stream) == []
    assert all(client.events() == [] for client in clients)


def test_fetch_sockets_of_a_member_without_a_server(
        make_manager: MakeManager, nodes: List[Node],
        clients: List[FakeClient]) -> None:
    """It has no clients, sends requests and answers them."""
    member = make_manager()
    member.start()
    for node in nodes:
        wait_for_value(node.manager.server_count, 4)
    wait_for_value(member.server_count, 4)
    everyone = sorted(client.sid for client in clients)
    assert sids(member.fetch_sockets(timeout=AMPLE)) == everyone
    assert sids(nodes[0].manager.fetch_sockets(timeout=AMPLE)) == everyone
    assert member.fetch_sockets(local=True) == []


def test_request_makes_a_member(make_manager: MakeManager) -> None:
    manager = make_manager()
    assert manager.fetch_sockets() == []
    assert manager._live().member


def test_many_requests_at_once(nodes: List[Node],
                               clients: List[FakeClient]) -> None:
    """Every answer reaches its own request."""
    calls = [(client, Call(node.manager.fetch_sockets, to=client.sid,
                           timeout=AMPLE))
             for _ in range(10) for node in nodes for client in clients]
    for client, call in calls:
        assert sids(call.result()) == [client.sid]


def test_clients_that_connect_and_disconnect_during_requests(
        nodes: List[Node]) -> None:
    """Clients whose rooms change during their description are still
    described."""
    lasting = nodes[1].connect()
    over = threading.Event()

    def come_and_go() -> None:
        # The pause lets the nodes' tasks run, which a thread that never waits
        # would prevent.
        while not over.wait(0.001):
            client = nodes[1].connect()
            for number in range(20):
                nodes[1].server.enter_room(client.sid, f'room {number}')
            client.leave()

    # One thread: two threads conflict in python-socketio (5.18).
    thread = Call(come_and_go)
    try:
        for _ in range(100):
            found = nodes[0].manager.fetch_sockets(timeout=AMPLE)
            assert lasting.sid in sids(found)
    finally:
        over.set()
    thread.result()
    assert nodes[1].manager.stats()['failed'] == 0


# -- all_rooms ---------------------------------------------------------------

def test_all_rooms(nodes: List[Node], clients: List[FakeClient]) -> None:
    assert nodes[0].manager.all_rooms(timeout=AMPLE) == {}
    for node, client, room in zip(nodes, clients, ('x', 'x', 7)):
        node.server.enter_room(client.sid, room)
    nodes[2].server.enter_room(clients[2].sid, 'y')
    for node in nodes:
        assert node.manager.all_rooms(timeout=AMPLE) == {
            'x': 2, 7: 1, 'y': 1}
        assert node.manager.all_rooms('/chat', timeout=AMPLE) == {}


# -- commands ----------------------------------------------------------------

@pytest.mark.parametrize('sender', [0, 1])
def test_join_and_leave(nodes: List[Node], clients: List[FakeClient],
                        stream: FakeStream, sender: int) -> None:
    a, b, c = (client.sid for client in clients)
    manager = nodes[sender].manager

    def rooms() -> List[Any]:
        return [sorted(set(node.server.rooms(client.sid)) - {client.sid})
                for node, client in zip(nodes, clients)]

    manager.sockets_join('x')
    wait_for_value(rooms, [['x']] * 3)
    manager.sockets_join(['y', 'z'], to=[b, c])
    wait_for_value(rooms, [['x'], ['x', 'y', 'z'], ['x', 'y', 'z']])
    manager.sockets_leave('x', skip_sid=a)
    wait_for_value(rooms, [['x'], ['y', 'z'], ['y', 'z']])
    manager.sockets_leave(['y', 'z'], to='y', skip_sid=[b])
    wait_for_value(rooms, [['x'], ['y', 'z'], []])
    manager.sockets_join('x', to='unknown')
    manager.sockets_leave(('x', 'y', 'z'))
    wait_for_value(rooms, [[], [], []])
    assert messages(stream) == [
        SocketsJoin(Target(), ('x',)),
        SocketsJoin(Target((b, c)), ('y', 'z')),
        SocketsLeave(Target((), (a,)), ('x',)),
        SocketsLeave(Target(('y',), (b,)), ('y', 'z')),
        SocketsJoin(Target(('unknown',)), ('x',)),
        SocketsLeave(Target(), ('x', 'y', 'z'))]


def test_join_in_a_namespace(nodes: List[Node]) -> None:
    client = nodes[1].connect('/', '/chat')
    nodes[0].manager.sockets_join('x', namespace='/chat')
    sid = client.sid_in('/chat')
    wait_until(lambda: 'x' in nodes[1].server.rooms(sid, '/chat'))
    assert nodes[1].server.rooms(client.sid) == [client.sid]
    nodes[0].manager.sockets_leave('x', namespace='/chat')
    wait_for_value(lambda: nodes[1].server.rooms(sid, '/chat'), [sid])


def test_disconnect_sockets(nodes: List[Node], clients: List[FakeClient],
                            stream: FakeStream) -> None:
    a, b, c = (client.sid for client in clients)
    nodes[1].manager.disconnect_sockets(to=[a, b], skip_sid=b)
    wait_until(clients[0].was_disconnected)
    nodes[1].manager.disconnect_sockets()
    for client in clients:
        wait_until(client.was_disconnected)
    assert messages(stream) == [
        DisconnectSockets(Target((a, b), (b,)), False),
        DisconnectSockets(Target(), False)]
    for node in nodes:
        wait_for_value(
            partial(node.manager.fetch_sockets, local=True), [])


@pytest.mark.parametrize('close', [False, True])
def test_disconnect_from_a_namespace(nodes: List[Node], close: bool) -> None:
    clients = [node.connect('/', '/chat') for node in nodes]
    nodes[0].server.emit('last', namespace='/chat')
    nodes[0].manager.disconnect_sockets(namespace='/chat', close=close)
    for node, client in zip(nodes, clients):
        wait_for_value(partial(node.manager.fetch_sockets, '/chat',
                               local=True), [])
        # Earlier events have arrived.
        client.wait_for('last', namespace='/chat')
        left = node.manager.fetch_sockets(local=True)
        if close:
            wait_for_value(partial(node.manager.fetch_sockets, local=True),
                           [])
        else:
            assert sids(left) == [client.sid]


def test_commands_keep_the_order(nodes: List[Node],
                                 clients: List[FakeClient]) -> None:
    manager = nodes[0].manager
    for number in range(20):
        manager.emit('out', number, to='x')
        manager.sockets_join('x')
        manager.emit('in', number, to='x')
        manager.sockets_leave('x')
    for client in clients:
        assert client.wait_for('in', 20) == [(each,) for each in range(20)]
        assert client.received('out') == []


def test_commands_of_an_emitter(make_manager: MakeManager, nodes: List[Node],
                                clients: List[FakeClient]) -> None:
    emitter = make_manager(write_only=True)
    emitter.sockets_join('x')
    emitter.emit('in', None, to='x')
    for client in clients:
        client.wait_for('in')
    emitter.sockets_leave('x', to=clients[0].sid)
    emitter.disconnect_sockets(to='x')
    for client in clients[1:]:
        wait_until(client.was_disconnected)
    assert not clients[0].was_disconnected()


# -- failures ----------------------------------------------------------------

def test_node_that_does_not_answer(nodes: List[Node],
                                   clients: List[FakeClient],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    deaf(nodes[2], monkeypatch)
    with pytest.raises(ClusterTimeoutError) as info:
        nodes[0].manager.fetch_sockets(timeout=0.5)
    error = info.value
    assert sids(error.responses) == sorted(
        client.sid for client in clients[:2])
    assert error.missing == [nodes[2].manager.uid]
    assert str(error) == ('timeout reached: only 1 responses received out '
                          'of 2')
    assert isinstance(error, TimeoutError)
    with pytest.raises(ClusterTimeoutError) as rooms:
        nodes[0].manager.all_rooms(timeout=0.2)
    assert rooms.value.missing == [nodes[2].manager.uid]


def test_without_redis(nodes: List[Node], clients: List[FakeClient],
                       stream: FakeStream) -> None:
    """Every wait ends at its timeout."""
    stream.go_away()
    started = time.monotonic()
    for call in (nodes[0].manager.fetch_sockets, nodes[0].manager.all_rooms):
        with pytest.raises(ClusterTimeoutError) as info:
            call(timeout=0.1)
        assert sids(info.value.responses) == [clients[0].sid]
        assert info.value.missing == sorted(
            node.manager.uid for node in nodes[1:])
        assert str(info.value) == ('timeout reached: only 0 responses '
                                   'received out of 2')
    assert time.monotonic() - started < DEADLINE
    # A call with a long timeout gets the answers when Redis is back.
    call_ = Call(nodes[0].manager.fetch_sockets, timeout=AMPLE)
    wait_until(lambda: nodes[0].open_requests)
    stream.come_back()
    assert len(call_.result()) == 3


def test_late_answers(nodes: List[Node], clients: List[FakeClient],
                      stream: FakeStream) -> None:
    """No request gets them."""
    stream.go_away()
    with pytest.raises(ClusterTimeoutError):
        nodes[0].manager.fetch_sockets(timeout=0)
    stream.come_back()
    wait_for_value(lambda: len(messages(
        stream, MessageType.FETCH_SOCKETS_RESPONSE)), 2)
    assert len(nodes[0].manager.fetch_sockets(timeout=AMPLE)) == 3
    assert nodes[0].manager.stats()['failed'] == 0


def test_node_that_leaves(nodes: List[Node], clients: List[FakeClient],
                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for it ends; the others' answers are kept."""
    deaf(nodes[2], monkeypatch)
    call = Call(nodes[0].manager.fetch_sockets, timeout=AMPLE)
    wait_until(lambda: nodes[0].open_requests)
    nodes[2].manager.close()
    assert sids(call.result()) == sorted(
        client.sid for client in clients[:2])


def test_node_that_falls_silent(make_cluster: MakeCluster) -> None:
    nodes = make_cluster(3, **QUICK)
    clients = [node.connect() for node in nodes]
    nodes[2].kill()
    found = nodes[0].manager.fetch_sockets(timeout=AMPLE)
    assert sids(found) == sorted(client.sid for client in clients[:2])
    # On a busy machine the other one may have been late, too.
    wait_for_value(nodes[0].manager.server_count, 2)


def test_node_that_leaves_another_namespace(
        nodes: List[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    deaf(nodes[2], monkeypatch)
    call = Call(nodes[0].manager.fetch_sockets, timeout=AMPLE)
    wait_until(lambda: nodes[0].open_requests)
    node = nodes[2].manager._live().node
    with monkeypatch.context() as patch:
        patch.setattr(nodes[2].manager._live().membership, 'namespaces',
                      lambda: ['/'])
        nodes[2].manager._live().membership.serve()
        wait_for_value(partial(nodes[0].manager.server_count, '/chat'), 2)
        assert node.namespaces == ['/']
        assert call.waits
        nodes[2].manager.close()
    call.result()


def test_full_outbox(make_cluster: MakeCluster, stream: FakeStream) -> None:
    """A refused call has no effect, and leaves nothing open."""
    nodes = make_cluster(2, outbox_limit=2)
    clients = [node.connect() for node in nodes]
    for node in nodes:
        assert node.manager.flush(DEADLINE)
    stream.go_away()
    manager = nodes[0].manager
    while manager.stats()['outbox'] < 2:
        manager.emit('filler', None, to='unknown')
    for call in (manager.fetch_sockets, manager.all_rooms,
                 partial(manager.emit_with_ack, 'hello'),
                 partial(manager.emit_with_ack, 'hello', to=clients[1].sid),
                 partial(manager.server_side_call, 'hello'),
                 partial(manager.server_side_emit, 'hello'),
                 partial(manager.sockets_join, 'x'),
                 partial(manager.sockets_leave, clients[0].sid),
                 partial(manager.disconnect_sockets)):
        with pytest.raises(OutboxFullError):
            call()
        assert nodes[0].open_requests == 0
        assert nodes[0].open_acks == 0
    assert clients[0].events() == []
    assert not clients[0].was_disconnected()
    assert nodes[0].server.rooms(clients[0].sid) == [clients[0].sid]
    stream.come_back()
    assert manager.flush(DEADLINE)


@pytest.mark.parametrize('call', [
    lambda manager: manager.fetch_sockets(),
    lambda manager: manager.fetch_sockets(local=True),
    lambda manager: manager.all_rooms(),
    lambda manager: manager.emit_with_ack('hello'),
    lambda manager: manager.server_side_call('hello'),
    lambda manager: manager.nodes()])
def test_requests_of_an_emitter_are_refused(
        make_manager: MakeManager, stream: FakeStream,
        call: Callable[[Any], Any]) -> None:
    with pytest.raises(RuntimeError, match='write-only'):
        call(make_manager(write_only=True))
    assert stream.history == []


@pytest.mark.parametrize('call', [
    lambda manager: manager.fetch_sockets(),
    lambda manager: manager.all_rooms(),
    lambda manager: manager.emit_with_ack('hello'),
    lambda manager: manager.server_side_call('hello')])
def test_requests_in_the_readers_task_are_refused(
        nodes: List[Node], stream: FakeStream, monkeypatch: pytest.MonkeyPatch,
        call: Callable[[Any], Any]) -> None:
    """The reader receives the answers: a call there would wait for itself."""
    manager, raised = nodes[0].manager, []

    def act(_: Any) -> None:
        try:
            call(manager)
        except RuntimeError as exc:
            raised.append(str(exc))

    with monkeypatch.context() as patch:
        patch.setattr(manager._live().delivery('/'), '_act', act)
        nodes[1].manager.sockets_join('x')
        text, = wait_until(lambda: raised)
    assert 'waits for other servers' in text
    # It is allowed elsewhere, also in the manager's other tasks; calls that
    # ask no other node are allowed there, too.
    assert manager.fetch_sockets(timeout=AMPLE) == []


def test_local_calls_in_the_readers_task(
        nodes: List[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    manager, done = nodes[0].manager, []
    client = nodes[0].connect()

    def act(_: Any) -> None:
        done.append((len(manager.fetch_sockets(local=True)),
                     len(manager.nodes()),
                     manager.fetch_sockets(to=[])))
        manager.sockets_join('x')

    with monkeypatch.context() as patch:
        patch.setattr(manager._live().delivery('/'), '_act', act)
        nodes[1].manager.sockets_join('x')
        wait_for_value(lambda: done[:1], [(1, 3, [])])
    wait_until(lambda: 'x' in nodes[0].server.rooms(client.sid))


def test_request_of_node_js(nodes: List[Node], clients: List[FakeClient],
                            stream: FakeStream) -> None:
    """Requests of Node.js are answered even if it is unknown."""
    stranger = Encoder('0123456789abcdef')
    stream.put(*stranger.encode('/', FetchSockets(
        Target((clients[1].sid,)), 'r')))
    wait_for_value(lambda: len(messages(
        stream, MessageType.FETCH_SOCKETS_RESPONSE)), 3)
    answers = messages(stream, MessageType.FETCH_SOCKETS_RESPONSE)
    assert sorted(len(answer.sockets) for answer in answers) == [0, 0, 1]
    # Its answer to our request: its rooms and data are kept as they are.
    call = Call(nodes[0].manager.fetch_sockets, timeout=AMPLE)
    asked = wait_until(lambda: messages(
        stream, MessageType.FETCH_SOCKETS)[1:])[0]
    stream.put(*stranger.encode('/', FetchSocketsResponse(
        asked.request_id, ({'id': 'js', 'handshake': {'issued': 1},
                            'rooms': ['js', 'x'], 'data': 'text'},))))
    found = {each.sid: each for each in call.result()}
    assert len(found) == 4
    assert found['js'].data == 'text'
    assert found['js'].rooms == ['js', 'x']
    assert found['js'].node == '0123456789abcdef'


def test_events_are_not_mistaken_for_requests(nodes: List[Node],
                                              clients: List[FakeClient],
                                              stream: FakeStream) -> None:
    stream.put(*Encoder('x').encode('/', Broadcast(('hello',))))
    for client in clients:
        assert client.wait_for('hello') == [()]
    assert messages(stream, MessageType.FETCH_SOCKETS_RESPONSE) == []
