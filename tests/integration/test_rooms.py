"""Rooms and disconnects of another node's clients."""
from typing import Callable, List

import pytest

from ..support.client import Client
from ..support.node_process import NodeProcess, Step
from ..support.wait import wait_for_value
from .conftest import Cluster

Connect = Callable[..., Client]
Unique = Callable[[str], str]


def test_enter_and_leave(cluster: Cluster, connect: Connect,
                         unique: Unique) -> None:
    client = connect(cluster.b)
    room, event, marker = unique('room'), unique('event'), unique('marker')
    cluster.a.enter_room(client.sid, room)
    cluster.a.emit(event, 1, to=room)
    client.wait_for(event)
    assert cluster.b.rooms(client.sid) == [room]
    cluster.a.leave_room(client.sid, room)
    cluster.a.emit(event, 2, to=room)
    cluster.a.emit(marker)
    client.wait_for(marker)
    assert client.received(event) == [(1,)]
    assert cluster.b.rooms(client.sid) == []


def test_enter_in_a_namespace(cluster: Cluster, connect: Connect,
                              unique: Unique) -> None:
    client = connect(cluster.b, '/', '/chat')
    room, event = unique('room'), unique('event')
    sid = client.sids['/chat']
    cluster.a.enter_room(sid, room, namespace='/chat')
    cluster.c.emit(event, to=room, namespace='/chat')
    cluster.a.emit(event, to=room, namespace='/chat')
    client.wait_for(event)
    assert cluster.b.rooms(sid, namespace='/chat') == [room]
    assert cluster.b.rooms(client.sids['/']) == []


def test_enter_of_unknown_client(cluster: Cluster, connect: Connect,
                                 unique: Unique) -> None:
    client, event = connect(cluster.b), unique('event')
    room = unique('room')
    cluster.a.enter_room(unique('sid'), room)
    cluster.a.leave_room(unique('sid'), room)
    cluster.a.leave_room(client.sid, room)
    cluster.a.emit(event)
    client.wait_for(event)
    assert cluster.b.rooms(client.sid) == []


def test_close_room(cluster: Cluster, connect: Connect,
                    unique: Unique) -> None:
    clients = [connect(node) for node in cluster]
    room, other, event = unique('room'), unique('other'), unique('event')
    for node, client in zip(cluster, clients):
        node.enter_room(client.sid, room)
        node.enter_room(client.sid, other)
    cluster.a.emit(event, 1, to=room)
    cluster.a.close_room(room)
    cluster.a.emit(event, 2, to=room)
    cluster.a.emit(event, 3, to=other)
    for node, client in zip(cluster, clients):
        client.wait_for(event, 2)
        assert client.received(event) == [(1,), (3,)]
        assert node.rooms(client.sid) == [other]


@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_disconnect(cluster: Cluster, connect: Connect, unique: Unique,
                    namespace: str) -> None:
    client, witness = connect(cluster.b, namespace), connect(cluster.b)
    assert cluster.b.disconnects_of(client.sid) == []
    cluster.a.disconnect(client.sid, namespace=namespace)
    assert client.wait_disconnected() == 'server disconnect'
    marker = unique('marker')
    cluster.a.emit(marker)
    witness.wait_for(marker)
    wait_for_value(lambda: cluster.b.disconnects_of(client.sid),
                   [(namespace, 'server disconnect')],
                   what='the calls of the disconnect handler')
    assert cluster.a.disconnects_of(client.sid) == []
    assert cluster.c.disconnects_of(client.sid) == []
    assert witness.is_connected()


def test_disconnect_twice(cluster: Cluster, connect: Connect,
                          unique: Unique) -> None:
    """Two nodes disconnect a client at once: its handler runs once."""
    client, witness = connect(cluster.b), connect(cluster.b)
    cluster.a.disconnect(client.sid)
    cluster.c.disconnect(client.sid)
    client.wait_disconnected()
    marker = unique('marker')
    for node in (cluster.a, cluster.c):
        node.emit(marker)
    witness.wait_for(marker, 2)
    assert len(cluster.b.disconnects_of(client.sid)) == 1


def test_disconnect_one_namespace(cluster: Cluster, connect: Connect,
                                  unique: Unique) -> None:
    client, event = connect(cluster.b, '/', '/chat'), unique('event')
    cluster.a.disconnect(client.sids['/chat'], namespace='/chat')
    client.wait_disconnected('/chat')
    cluster.a.emit(event)
    client.wait_for(event)
    assert client.is_connected('/')


def test_disconnect_leaves_rooms(cluster: Cluster, connect: Connect,
                                 unique: Unique) -> None:
    client = connect(cluster.b)
    room = unique('room')
    cluster.b.enter_room(client.sid, room)
    cluster.a.disconnect(client.sid)
    client.wait_disconnected()
    wait_for_value(lambda: cluster.b.rooms(client.sid), [],
                   what='the rooms of a disconnected client')


def test_disconnect_of_unknown_client(cluster: Cluster,
                                      listeners: List[Client],
                                      unique: Unique) -> None:
    event = unique('event')
    cluster.a.disconnect(unique('sid'))
    cluster.a.emit(event)
    for client in listeners:
        client.wait_for(event)
        assert client.is_connected()


def test_disconnect_ignoring_the_queue(cluster: Cluster, connect: Connect,
                                       unique: Unique) -> None:
    client, marker = connect(cluster.b), unique('marker')
    cluster.a.disconnect(client.sid, ignore_queue=True)
    cluster.a.emit(marker)
    client.wait_for(marker)
    assert client.is_connected()
    cluster.b.disconnect(client.sid, ignore_queue=True)
    client.wait_disconnected()


# -- program order: an event emitted before a change arrives before it -----

@pytest.mark.parametrize('target', [0, 1], ids=['own', 'remote'])
def test_emit_then_disconnect(publishing_pair: List[NodeProcess],
                              connect: Connect, unique: Unique,
                              target: int) -> None:
    client, event = connect(publishing_pair[target]), unique('event')
    publishing_pair[0].script(*(
        ('server', 'emit', [event, number], {'to': client.sid})
        for number in range(10)), ('server', 'disconnect', [client.sid], {}))
    client.wait_disconnected()
    assert client.received(event) == [(number,) for number in range(10)]


@pytest.mark.parametrize('target', [0, 1], ids=['own', 'remote'])
@pytest.mark.parametrize('closing', [False, True], ids=['leave', 'close'])
def test_emit_then_leave(publishing_pair: List[NodeProcess],
                         connect: Connect, unique: Unique, target: int,
                         closing: bool) -> None:
    sender, client = publishing_pair[0], connect(publishing_pair[target])
    room, event, marker = unique('room'), unique('event'), unique('marker')
    end: Step = ('server', 'leave_room', [client.sid, room], {})
    if closing:
        end = ('server', 'close_room', [room], {})
    sender.script(
        ('server', 'enter_room', [client.sid, room], {}),
        *(('server', 'emit', [event, number], {'to': room})
          for number in range(10)),
        end,
        ('server', 'emit', [event, 'too late'], {'to': room}),
        ('server', 'emit', [marker], {}))
    client.wait_for(marker)
    assert client.received(event) == [(number,) for number in range(10)]


def test_leave_enter_leave(publishing_pair: List[NodeProcess],
                           connect: Connect, unique: Unique) -> None:
    sender, client = publishing_pair[0], connect(publishing_pair[1])
    room, event, marker = unique('room'), unique('event'), unique('marker')
    steps: List[Step] = []
    for number in range(10):
        steps += [
            ('server', 'emit', [event, 'out'], {'to': room}),
            ('server', 'enter_room', [client.sid, room], {}),
            ('server', 'emit', [event, number], {'to': room}),
            ('server', 'leave_room', [client.sid, room], {})]
    sender.script(*steps, ('server', 'emit', [marker], {}))
    client.wait_for(marker)
    assert client.received(event) == [(number,) for number in range(10)]
