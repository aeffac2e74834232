"""The recipients of an event: exactly those that it was addressed to."""
from typing import Any, Callable, List

import pytest

from ..support.client import Client
from ..support.node_process import NodeProcess, RemoteError
from ..support.wait import DEADLINE
from .conftest import Cluster, STEADY, start_managers

Connect = Callable[..., Client]
Unique = Callable[[str], str]


def receivers(emitting: Any, clients: List[Client], marker: str,
              event: str) -> List[int]:
    """The clients that received an event, once all received a later one.

    A client that received it twice is listed twice.
    """
    emitting.emit(marker)
    found = []
    for index, client in enumerate(clients):
        client.wait_for(marker)
        found += [index] * len(client.received(event))
    return found


def test_broadcast_reaches_each_client_once(cluster: Cluster,
                                            listeners: List[Client],
                                            unique: Unique) -> None:
    event, marker = unique('everyone'), unique('marker')
    for sender, node in enumerate(cluster):
        for number in range(20):
            node.emit(event, (sender, number))
    for node in cluster:
        node.flush()
        node.emit(marker)
    for client in listeners:
        client.wait_for(marker, 3)
        received = client.received(event)
        assert sorted(received) == [(sender, number) for sender in range(3)
                                    for number in range(20)]
        for sender in range(3):
            numbers = [number for emitter, number in received
                       if emitter == sender]
            assert numbers == list(range(20))


def test_emit_to_one_client(cluster: Cluster, listeners: List[Client],
                            unique: Unique) -> None:
    for target in range(3):
        event, marker = unique('one'), unique('marker')
        cluster.a.emit(event, to=listeners[target].sid)
        assert receivers(cluster.a, listeners, marker, event) == [target]


def test_emit_to_room(cluster: Cluster, connect: Connect,
                      unique: Unique) -> None:
    clients = [connect(node) for node in cluster for _ in range(2)]
    room, event, marker = unique('room'), unique('event'), unique('marker')
    for index in (1, 2, 4):
        cluster[index // 2].enter_room(clients[index].sid, room)
    for node in cluster:
        node.emit(event, to=room)
        node.flush()
        assert receivers(node, clients, marker, event) == [1, 2, 4]
        event, marker = unique('event'), unique('marker')


def test_emit_to_rooms(cluster: Cluster, connect: Connect,
                       unique: Unique) -> None:
    clients = [connect(node) for node in cluster for _ in range(2)]
    red, blue, event = unique('red'), unique('blue'), unique('event')
    for index, room in ((0, red), (3, red), (3, blue), (4, blue)):
        cluster[index // 2].enter_room(clients[index].sid, room)
    cluster.b.emit(event, to=[red, blue])
    # Number 3 is in both, and receives it once.
    assert receivers(cluster.b, clients, unique('marker'), event) == [0, 3, 4]


def test_emit_to_rooms_and_sids(cluster: Cluster, connect: Connect,
                                unique: Unique) -> None:
    clients = [connect(node) for node in cluster]
    room, event = unique('room'), unique('event')
    cluster.a.enter_room(clients[0].sid, room)
    cluster.b.emit(event, to=[room, clients[2].sid])
    assert receivers(cluster.b, clients, unique('marker'), event) == [0, 2]


def test_unknown_recipient(cluster: Cluster, listeners: List[Client],
                           unique: Unique) -> None:
    event = unique('event')
    cluster.a.emit(event, to=unique('empty room'))
    cluster.a.emit(event, to=[unique('empty room'), unique('another')])
    assert receivers(cluster.a, listeners, unique('marker'), event) == []


def test_skip_one_client(cluster: Cluster, listeners: List[Client],
                         unique: Unique) -> None:
    for skipped in range(3):
        event, marker = unique('event'), unique('marker')
        cluster.a.emit(event, skip_sid=listeners[skipped].sid)
        assert receivers(cluster.a, listeners, marker, event) == [
            index for index in range(3) if index != skipped]


def test_skip_several_clients(cluster: Cluster, connect: Connect,
                              unique: Unique) -> None:
    clients = [connect(node) for node in cluster for _ in range(2)]
    event = unique('event')
    cluster.a.emit(event, skip_sid=[clients[index].sid
                                    for index in (0, 2, 5)])
    assert receivers(cluster.a, clients, unique('marker'), event) == [1, 3, 4]


def test_skip_room(cluster: Cluster, connect: Connect,
                   unique: Unique) -> None:
    clients = [connect(node) for node in cluster for _ in range(2)]
    room, skipped, event = unique('room'), unique('skipped'), unique('event')
    for index in (0, 1, 3, 4, 5):
        cluster[index // 2].enter_room(clients[index].sid, room)
    for index in (1, 2, 3, 5):
        cluster[index // 2].enter_room(clients[index].sid, skipped)
    cluster.a.emit(event, to=room, skip_sid=skipped)
    assert receivers(cluster.a, clients, unique('marker'), event) == [0, 4]
    event = unique('event')
    cluster.b.emit(event, to=room, skip_sid=[skipped, clients[0].sid])
    assert receivers(cluster.b, clients, unique('marker'), event) == [4]


def test_emit_to_namespace(cluster: Cluster, connect: Connect,
                           unique: Unique) -> None:
    root = connect(cluster.b)
    chat = [connect(node, '/chat') for node in cluster]
    both = connect(cluster.c, '/', '/chat')
    event, marker = unique('event'), unique('marker')
    cluster.a.emit(event, 1, namespace='/chat')
    cluster.a.emit(event, 2)
    cluster.a.emit(marker, namespace='/chat')
    cluster.a.emit(marker)
    for client in (root, *chat):
        client.wait_for(marker)
    both.wait_for(marker, 2)
    assert root.received(event) == [(2,)]
    for client in chat:
        assert client.received(event) == [(1,)]
    assert [(each.namespace, each.args) for each in both.events()
            if each.name == event] == [('/chat', (1,)), ('/', (2,))]


def test_emit_to_room_of_a_namespace(cluster: Cluster, connect: Connect,
                                     unique: Unique) -> None:
    """Rooms of the same name in other namespaces are different rooms."""
    both = connect(cluster.b, '/', '/chat')
    room, event, marker = unique('room'), unique('event'), unique('marker')
    cluster.b.enter_room(both.sids['/chat'], room, namespace='/chat')
    cluster.a.emit(event, 1, to=room)
    cluster.a.emit(event, 2, to=room, namespace='/chat')
    cluster.a.emit(marker, namespace='/chat')
    both.wait_for(marker)
    assert both.received(event) == [(2,)]


def test_ignore_queue(cluster: Cluster, listeners: List[Client],
                      unique: Unique) -> None:
    event = unique('event')
    cluster.b.emit(event, ignore_queue=True)
    assert receivers(cluster.b, listeners, unique('marker'), event) == [1]


def test_send(cluster: Cluster, connect: Connect, unique: Unique) -> None:
    clients = [connect(node) for node in cluster]
    text = unique('text')
    cluster.a.send(text, to=clients[1].sid)
    assert clients[1].wait_for('message') == [(text,)]
    cluster.a.send((text, 2), skip_sid=clients[1].sid)
    marker = unique('marker')
    cluster.a.emit(marker)
    for client in clients:
        client.wait_for(marker)
    assert [client.received('message') for client in clients] == [
        [(text, 2)], [(text,)], [(text, 2)]]


def test_emit_from_an_event_handler(cluster: Cluster, connect: Connect,
                                    listeners: List[Client],
                                    unique: Unique) -> None:
    """Most applications emit when a client has sent something."""
    client, event = connect(cluster.a), unique('event')
    client.call('invoke', 'server', 'emit', [event, 'hello'],
                {'skip_sid': client.sid})
    for listener in listeners:
        assert listener.wait_for(event) == [('hello',)]
    marker = unique('marker')
    cluster.a.emit(marker)
    client.wait_for(marker)
    assert client.received(event) == []


def test_polling_client(cluster: Cluster, connect: Connect,
                        unique: Unique) -> None:
    client, event = connect(cluster.b, transport='polling'), unique('event')
    for number in range(20):
        cluster.a.emit(event, number)
    client.wait_for(event, 20)
    marker = unique('marker')
    cluster.a.emit(marker)
    client.wait_for(marker)
    assert client.received(event) == [(number,) for number in range(20)]


def test_first_client_of_an_idle_node(
        cluster: Cluster, redis_server: Any, connect: Connect,
        unique: Unique, start_nodes: Callable[..., List[NodeProcess]],
        ) -> None:
    """A node that joins because of a client misses nothing afterwards."""
    stream = unique('stream')
    old, new = start_nodes(2, redis_server.url, stream_name=stream)
    old.start_manager()
    client = connect(new)
    event = unique('event')
    for number in range(10):
        old.emit(event, number)
    client.wait_for(event, 10)
    assert client.received(event) == [(number,) for number in range(10)]


def test_streams_are_separate(
        cluster: Cluster, redis_server: Any, connect: Connect,
        listeners: List[Client], unique: Unique,
        start_nodes: Callable[..., List[NodeProcess]]) -> None:
    """Clusters with different streams do not affect each other."""
    (other,) = start_nodes(1, redis_server.url, channel=unique('stream'))
    client = connect(other)
    event, marker = unique('event'), unique('marker')
    other.emit(event)
    client.wait_for(event)
    assert other.flush()
    cluster.a.emit(marker)
    for listener in listeners:
        listener.wait_for(marker)
        assert listener.received(event) == []
    assert other.server_count() == 1
    assert cluster.a.server_count() == 3


@pytest.mark.parametrize('limit', [
    {'outbox_limit': 100}, {'outbox_max_bytes': 1 << 20}])
@pytest.mark.parametrize('emitters', [1, 10])
def test_emits_in_a_loop_keep_the_pace_of_redis(
        redis_server: Any, connect: Connect, unique: Unique,
        start_nodes: Callable[..., List[NodeProcess]], emitters: int,
        limit: Any) -> None:
    """They send ten times as much as the outbox holds."""
    stream, event = unique('stream'), unique('event')
    nodes = start_nodes(2, redis_server.url, stream_name=stream, **STEADY,
                        **limit)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    nodes[0].storm(event, emitters, 1000 // emitters, 10_000)
    # None of them if the outbox was full.
    for client in clients:
        client.wait_for(event, 1000, timeout=3 * DEADLINE)


@pytest.mark.parametrize('wrong', [
    {'to': {'a': 1}}, {'namespace': 7}, {'skip_sid': [None, {}]}])
def test_wrong_arguments_affect_only_their_call(cluster: Cluster,
                                                listeners: List[Client],
                                                unique: Unique,
                                                wrong: Any) -> None:
    """Whether they raise or not, later events are delivered."""
    try:
        cluster.a.emit(unique('event'), **wrong)
    except RemoteError:
        pass  # the caller gets the error
    event = unique('event')
    for node in cluster:
        node.emit(event)
    for client in listeners:
        client.wait_for(event, 3)
