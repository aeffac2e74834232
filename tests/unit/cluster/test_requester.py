"""Requests over the stream and over PUB/SUB, and the nodes that they wait
for."""
import time
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import ClusterTimeoutError, RedisStreamsError

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.pubsub import FakePubSub
from ..nodes import answer, Call, Node

MakeNode = Callable[..., Node]

TRANSPORTS = ['stream', 'pubsub', 'sharded-pubsub']

#: Seconds for a call that cannot be answered.
TIMEOUT = 0.3

#: Seconds: longer than any test.
AMPLE = DEADLINE * 3


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def make_cluster(make_node: MakeNode, server: FakePubSub,
                 ) -> Callable[..., List[Node]]:
    """Makes a node for each of some transports; all of them know and hear each
    other."""
    def make(*transports: str) -> List[Node]:
        nodes = [make_node(url=server.driver(socket_timeout=AMPLE),
                           request_transport=each) for each in transports]
        for node in nodes:
            node.manager.start()
        for namespace in '/', '/chat':
            channel = f'socket.io#{namespace}#'
            server.wait_listening(channel, len(nodes))
            server.wait_listening(
                channel, transports.count('sharded-pubsub'), b's')
        for node in nodes:
            wait_for_value(lambda: len(node.manager.nodes()), len(nodes))
            assert node.manager.server_count() == len(nodes)
        return nodes

    return make


MakeCluster = Callable[..., List[Node]]


@pytest.mark.parametrize('transports', [
    *([each] * 2 for each in TRANSPORTS), TRANSPORTS[:2]])
def test_every_call(make_cluster: MakeCluster,
                    transports: List[str]) -> None:
    nodes = make_cluster(*transports)
    clients = [node.connect() for node in nodes]
    sids = sorted(client.sid for client in clients)
    for number, node in enumerate(nodes):
        node.manager.on_server_side('identify', lambda number=number: number)
    for number, node in enumerate(nodes):
        manager = node.manager
        assert sorted(each.sid for each in manager.fetch_sockets()) == sids
        assert sorted(manager.server_side_call('identify')) == [
            each for each in range(len(nodes)) if each != number]
        call = Call(manager.emit_with_ack, f'event-{number}', timeout=AMPLE)
        for client in clients:
            answer(client, f'event-{number}', client.sid)
        assert sorted(call.result()) == sids
        assert manager.emit_with_ack('event', to='no such room') == []
        assert node.open_requests == node.open_acks == 0


def test_migration_to_sharded_channels(make_cluster: MakeCluster) -> None:
    """Servers that do not listen to them are missing, by name. Their own
    requests are answered by all."""
    nodes = make_cluster(*TRANSPORTS)
    clients = [node.connect() for node in nodes]
    sids = sorted(client.sid for client in clients)
    for number, node in enumerate(nodes):
        node.manager.on_server_side('identify', lambda number=number: number)
    *others, sharded = nodes
    for number, node in enumerate(others):
        assert sorted(each.sid for each in node.manager.fetch_sockets()) \
            == sids
        assert sorted(node.manager.server_side_call('identify')) == [
            each for each in range(len(nodes)) if each != number]
    unheard = sorted(node.manager.uid for node in others)
    for call in (sharded.manager.fetch_sockets, sharded.manager.all_rooms,
                 lambda timeout: sharded.manager.server_side_call(
                     'identify', timeout=timeout)):
        with pytest.raises(ClusterTimeoutError) as info:
            call(timeout=TIMEOUT)
        assert sorted(info.value.missing) == unheard
    with pytest.raises(ClusterTimeoutError) as info:
        sharded.manager.fetch_sockets(timeout=TIMEOUT)
    assert [each.sid for each in info.value.responses] == [clients[-1].sid]


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_local_client_that_does_not_answer(make_cluster: MakeCluster,
                                           transport: str) -> None:
    """No other node was asked, and none is missing."""
    nodes = make_cluster(transport, transport)
    client = nodes[0].connect()
    with pytest.raises(ClusterTimeoutError) as info:
        nodes[0].manager.emit_with_ack('event', to=client.sid,
                                       timeout=TIMEOUT)
    assert info.value.missing == [nodes[0].manager.uid]
    assert nodes[0].open_requests == nodes[0].open_acks == 0


@pytest.mark.parametrize('call', [
    lambda manager: manager.fetch_sockets(timeout=TIMEOUT),
    lambda manager: manager.all_rooms(timeout=TIMEOUT),
    lambda manager: manager.server_side_call('identify', timeout=TIMEOUT),
    lambda manager: manager.emit_with_ack('event', timeout=TIMEOUT)])
@pytest.mark.parametrize('transport', TRANSPORTS[1:])
def test_server_that_does_not_count_listeners(
        make_cluster: MakeCluster, server: FakePubSub, transport: str,
        call: Callable[[Any], Any]) -> None:
    """The call takes no longer because of that, and does not look complete."""
    one, other = make_cluster(transport, transport)
    server.frozen = True
    started = time.monotonic()
    with pytest.raises(ClusterTimeoutError) as info:
        call(one.manager)
    assert TIMEOUT <= time.monotonic() - started < DEADLINE
    assert info.value.missing == [other.manager.uid]
    assert one.open_requests == 0


def test_unknown_number_of_listeners_without_known_nodes(
        make_cluster: MakeCluster, server: FakePubSub) -> None:
    """There may be Node.js servers whose heartbeats are not heard."""
    (node,) = make_cluster('pubsub')
    client = node.connect()
    assert [each.sid for each in node.manager.fetch_sockets()] \
        == [client.sid]
    server.frozen = True
    with pytest.raises(ClusterTimeoutError) as info:
        node.manager.fetch_sockets(timeout=TIMEOUT)
    assert [each.sid for each in info.value.responses] == [client.sid]
    assert info.value.missing == []
    assert str(info.value).endswith('only 0 responses received out of 1')


def test_close_while_listeners_are_counted(make_cluster: MakeCluster,
                                           server: FakePubSub) -> None:
    """It closes at once, and a waiting call raises at its timeout."""
    one, other = make_cluster('pubsub', 'pubsub')
    server.frozen = True
    before = len(server.commands(b'PUBSUB'))
    asking = Call(one.manager.fetch_sockets, timeout=1.0)
    wait_until(lambda: len(server.commands(b'PUBSUB')) > before)
    counting = Call(one.manager.server_count)
    started = time.monotonic()
    one.manager.close()
    assert time.monotonic() - started < DEADLINE
    counting.result()
    with pytest.raises(ClusterTimeoutError):
        asking.result()
    # A node that has left cannot send requests.
    with pytest.raises(RedisStreamsError):
        one.manager.fetch_sockets(timeout=AMPLE)
    assert one.manager.server_count() == 1
    server.frozen = False
    wait_for_value(other.manager.server_count, 1)


def test_refused_channels(make_cluster: MakeCluster,
                          server: FakePubSub) -> None:
    """The refusal over PUB/SUB is reported; the stream and heartbeats
    continue."""
    import redis

    one, other = make_cluster('pubsub', 'stream')
    for name in b'SUBSCRIBE', b'SSUBSCRIBE':
        server.errors[name] = redis.exceptions.NoPermissionError(
            'no permissions to access one of the channels')
    server.break_all()
    wait_until(lambda: one.manager.health()['status'] == 'degraded')
    health = one.manager.health()
    assert health['connected'] and health['outage'] is None
    assert 'channels' in health['last_error']
    assert other.manager.health()['status'] == 'ok'
    assert other.manager.health()['last_error'] is None
    runtime = one.manager._live()
    assert runtime._redis.ok
    server.errors.clear()
    wait_until(lambda: one.manager.health()['status'] == 'ok')
    wait_for_value(one.manager.server_count, 2)
