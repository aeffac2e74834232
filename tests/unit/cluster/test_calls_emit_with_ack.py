"""Events that each client acknowledges, over the fake stream."""
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import ClusterTimeoutError
from redis_streams_adapter.protocol.messages import MessageType

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..fake_server import FakeClient
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import answer, Call, messages, Node

MakeNode = Callable[..., Node]
MakeCluster = Callable[..., List[Node]]

pytestmark = pytest.mark.usefixtures('nothing_is_open')

#: Seconds for a wait that ends by itself: never reached.
AMPLE = DEADLINE * 3


@pytest.fixture(params=[1, 2, 3])
def nodes(request: Any, make_cluster: MakeCluster) -> List[Node]:
    return make_cluster(request.param)


@pytest.fixture
def trio(make_cluster: MakeCluster) -> List[Node]:
    return make_cluster(3)


def test_emit_to_all_clients(nodes: List[Node]) -> None:
    clients = [node.connect() for node in nodes for _ in range(2)]
    call = Call(nodes[0].manager.emit_with_ack, 'hello', ('a', 1),
                timeout=AMPLE)
    for number, client in enumerate(clients):
        assert call.waits
        answer(client, 'hello', number)
        assert client.received('hello') == [('a', 1)]
    assert sorted(call.result()) == list(range(len(clients)))
    for node in nodes:
        assert node.open_acks == 0


@pytest.mark.parametrize('args, response', [
    ((), None), ((None,), None), (('x',), 'x'), (([1, 2],), [1, 2]),
    (('x', 2), ('x', 2)), ((b'x', {'y': b'z'}), (b'x', {'y': b'z'}))])
@pytest.mark.parametrize('target', [0, 1])
def test_emit_to_one_client(trio: List[Node], target: int, args: Any,
                            response: Any) -> None:
    client = trio[target].connect()
    call = Call(trio[0].manager.emit_with_ack, 'hello', to=client.sid,
                timeout=AMPLE)
    answer(client, 'hello', *args)
    assert call.result() == [response]
    assert client.received('hello') == [()]
    assert trio[0].open_acks == trio[1].open_acks == 0


def test_targets(trio: List[Node]) -> None:
    clients = [node.connect() for node in trio]
    a, b, c = (client.sid for client in clients)
    trio[0].server.enter_room(a, 'x')
    trio[1].server.enter_room(b, 'x')
    for number, (arguments, expected) in enumerate((
            ({'to': 'x'}, [a, b]), ({'to': [b, c]}, [b, c]),
            ({'skip_sid': a}, [b, c]), ({'skip_sid': ['x']}, [c]),
            ({'to': 'x', 'skip_sid': b}, [a]))):
        call = Call(trio[0].manager.emit_with_ack, f'hello {number}',
                    timeout=AMPLE, **arguments)
        for client in clients:
            if client.sid in expected:
                answer(client, f'hello {number}', client.sid)
        assert sorted(call.result()) == sorted(expected)


@pytest.mark.parametrize('arguments', [
    {'to': 'unknown'}, {'to': []}, {'namespace': '/nowhere'},
    {'to': 'own', 'skip_sid': 'own'}, {'to': 'far', 'skip_sid': 'far'}])
def test_empty_target(nodes: List[Node], arguments: Any) -> None:
    sids = {'own': nodes[0].connect().sid, 'far': nodes[-1].connect().sid}
    arguments = {name: sids.get(str(value), value)
                 for name, value in arguments.items()}
    assert nodes[0].manager.emit_with_ack(
        'hello', timeout=AMPLE, **arguments) == []
    assert nodes[0].open_acks == 0


def test_call_without_recipients_ends_at_once(nodes: List[Node]) -> None:
    """The call ends at once, not at its timeout."""
    call = Call(nodes[0].manager.emit_with_ack, 'hello', timeout=3600)
    assert call.result() == []


def test_namespace(trio: List[Node]) -> None:
    client = trio[1].connect('/', '/chat')
    call = Call(trio[0].manager.emit_with_ack, 'hello', namespace='/chat',
                timeout=AMPLE)
    answer(client, 'hello', 'yes', namespace='/chat')
    assert call.result() == ['yes']
    assert client.received('hello') == []


@pytest.mark.parametrize('silent', [0, 1])
def test_client_that_does_not_answer(trio: List[Node], silent: int) -> None:
    clients = [node.connect() for node in trio]
    call = Call(trio[0].manager.emit_with_ack, 'hello', timeout=1.0)
    for number, client in enumerate(clients):
        if number != silent:
            answer(client, 'hello', number)
    with pytest.raises(ClusterTimeoutError) as info:
        call.result()
    assert sorted(info.value.responses) == sorted({0, 1, 2} - {silent})
    assert info.value.missing == [trio[silent].manager.uid]
    assert str(info.value) == ('timeout reached: only 2 responses received '
                               'out of 3')
    assert trio[0].open_acks == 0
    # It answers later.
    answer(clients[silent], 'hello', 'late')
    assert all(node.open_acks == 0 for node in trio)


def test_local_client_that_does_not_answer(trio: List[Node]) -> None:
    client = trio[0].connect()
    with pytest.raises(ClusterTimeoutError) as info:
        trio[0].manager.emit_with_ack('hello', to=client.sid, timeout=0.1)
    # Other nodes were not asked.
    assert info.value.missing == [trio[0].manager.uid]
    assert str(info.value) == ('timeout reached: only 0 responses received '
                               'out of 1')
    assert trio[0].open_acks == 0


def test_without_redis(trio: List[Node], stream: FakeStream) -> None:
    clients = [node.connect() for node in trio]
    stream.go_away()
    call = Call(trio[0].manager.emit_with_ack, 'hello', timeout=0.5)
    answer(clients[0], 'hello', 'own')
    with pytest.raises(ClusterTimeoutError) as info:
        call.result()
    assert info.value.responses == ['own']
    assert info.value.missing == sorted(
        node.manager.uid for node in trio[1:])
    assert trio[0].open_acks == 0


def test_node_that_leaves(trio: List[Node]) -> None:
    """Its clients are not waited for any longer."""
    clients = [node.connect() for node in trio]
    call = Call(trio[0].manager.emit_with_ack, 'hello', timeout=AMPLE)
    for client in clients[:2]:
        answer(client, 'hello', client.sid)
    clients[2].wait_for('hello')
    trio[2].manager.close()
    assert sorted(call.result()) == sorted(
        client.sid for client in clients[:2])


def test_node_that_falls_silent(make_cluster: MakeCluster) -> None:
    nodes = make_cluster(3, heartbeat_interval=0.1, heartbeat_timeout=0.5)
    clients = [node.connect() for node in nodes]
    nodes[2].kill()
    call = Call(nodes[0].manager.emit_with_ack, 'hello', timeout=AMPLE)
    for client in clients[:2]:
        answer(client, 'hello', client.sid)
    assert sorted(call.result()) == sorted(
        client.sid for client in clients[:2])


@pytest.mark.parametrize('data, options', [
    (object(), {}), ({'x': {1, 2}}, {}), ((b'x', object()), {}),
    # The stream could carry it, the clients' packets cannot.
    (2**70, {'serializer': 'msgpack'})])
def test_unserialisable_values(make_cluster: MakeCluster, stream: FakeStream,
                               data: Any, options: Any) -> None:
    """It raises in the caller, and no client receives anything."""
    nodes = make_cluster(2, server=options)
    clients: List[FakeClient] = []
    if not options:
        clients = [node.connect() for node in nodes]
        with pytest.raises((TypeError, ValueError, OverflowError)):
            nodes[0].manager.emit_with_ack('hello', data, timeout=AMPLE)
    else:
        # The fake client could not read its packets.
        nodes[0].manager.basic_enter_room('s', '/', None, eio_sid='e')
        for call in (lambda: nodes[0].manager.emit_with_ack(
                         'hello', data, timeout=AMPLE),
                     lambda: nodes[0].manager.emit(
                         'hello', data, callback=print),
                     lambda: nodes[0].manager.emit('hello', data)):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                call()
        nodes[0].manager.basic_leave_room('s', '/', None)
    assert nodes[0].open_acks == nodes[0].open_requests == 0
    assert nodes[0].manager.flush(DEADLINE)
    assert messages(stream, MessageType.BROADCAST) == []
    assert all(client.events() == [] for client in clients)


@pytest.mark.parametrize('wrong', [
    {'event': None}, {'to': 1.5}, {'skip_sid': object()},
    {'namespace': '\ud800'}])
def test_wrong_arguments(trio: List[Node], stream: FakeStream,
                         wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        trio[0].manager.emit_with_ack(**{'event': 'hello', **wrong})
    assert messages(stream) == []


def test_handlers_that_run_in_sequence(make_cluster: MakeCluster,
                                       stream: FakeStream) -> None:
    """They would block the answers of the local clients."""
    nodes = make_cluster(2, server={'async_handlers': False})
    client = nodes[1].connect()
    with pytest.raises(RuntimeError, match='async_handlers'):
        nodes[0].manager.emit_with_ack('hello')
    assert messages(stream) == []
    # Other servers answer, which needs no local client.
    found, = nodes[0].manager.fetch_sockets(timeout=AMPLE)
    assert found.sid == client.sid


def test_many_calls_at_once(trio: List[Node]) -> None:
    """Every answer reaches its own request."""
    clients = [node.connect() for node in trio]
    calls = [Call(trio[0].manager.emit_with_ack, f'hello {number}',
                  timeout=AMPLE) for number in range(20)]
    for client in clients:
        wait_for_value(lambda: len(client.events()), 20)
        for event in client.events():
            client.acknowledge(event, event.name)
    for number, call in enumerate(calls):
        assert call.result() == [f'hello {number}'] * 3


def test_remote_socket(trio: List[Node]) -> None:
    """All operations on a client, on any server."""
    client = trio[1].connect()
    for node in trio:
        socket, = node.manager.fetch_sockets(timeout=AMPLE)
        name = f'hello {node.manager.uid}'
        socket.emit(name, ('x', 1))
        assert client.wait_for(name) == [('x', 1)]
        call = Call(socket.call, f'call {name}', 'x', timeout=AMPLE)
        answer(client, f'call {name}', 'yes', 2)
        assert call.result() == ('yes', 2)
        for rooms in ('y', ['y', 'z']):
            socket.enter_room(rooms)
            wait_until(lambda: 'y' in trio[1].server.rooms(client.sid))
            socket.leave_room(rooms)
            wait_for_value(lambda: trio[1].server.rooms(client.sid),
                           [client.sid])
    socket.disconnect()
    wait_until(client.was_disconnected)
    # It is disconnected: no client answers.
    wait_until(lambda: trio[1].manager.fetch_sockets(local=True) == [])
    with pytest.raises(ClusterTimeoutError) as info:
        socket.call('hello', timeout=AMPLE)
    assert info.value.missing == [trio[1].manager.uid]
