"""A process that only writes."""
from typing import Callable, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..support.client import Client
from ..support.json_values import Callback
from ..support.node_process import RemoteError
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value
from .conftest import Cluster

Connect = Callable[..., Client]
Unique = Callable[[str], str]


@pytest.fixture
def emitter(redis_server: RedisServer) -> Iterator[RedisStreamsManager]:
    """A write-only manager in this process, without a server."""
    with RedisStreamsManager(redis_server.url, write_only=True) as manager:
        yield manager


def test_broadcast(cluster: Cluster, listeners: List[Client],
                   emitter: RedisStreamsManager, unique: Unique) -> None:
    event = unique('event')
    for number in range(20):
        emitter.emit(event, (number, b'bytes', {'a': None}))
    for client in listeners:
        client.wait_for(event, 20)
    marker = unique('marker')
    emitter.emit(marker, None)
    for client in listeners:
        assert client.wait_for(marker) == [()]
        assert client.received(event) == [
            (number, b'bytes', {'a': None}) for number in range(20)]


def test_recipients(cluster: Cluster, connect: Connect,
                    emitter: RedisStreamsManager, unique: Unique) -> None:
    clients = [connect(node) for node in cluster]
    chat = connect(cluster.b, '/chat')
    room, event, marker = unique('room'), unique('event'), unique('marker')
    emitter.enter_room(clients[0].sid, '/', room)
    emitter.enter_room(clients[1].sid, '/', room)
    emitter.emit(event, 'room', to=room)
    emitter.emit(event, 'one', room=clients[2].sid)
    emitter.emit(event, 'not one', skip_sid=clients[1].sid)
    emitter.emit(event, 'not the room', skip_sid=[room])
    emitter.emit(event, 'chat', namespace='/chat')
    emitter.leave_room(clients[0].sid, '/', room)
    emitter.emit(event, 'left', to=room)
    emitter.close_room(room, '/')
    emitter.emit(event, 'closed', to=room)
    emitter.emit(marker, None, namespace='/chat')
    emitter.emit(marker, None)
    for client in (*clients, chat):
        client.wait_for(marker)
    assert [client.received(event) for client in (*clients, chat)] == [
        [('room',), ('not one',)],
        [('room',), ('left',)],
        [('one',), ('not one',), ('not the room',)],
        [('chat',)]]


def test_disconnect(cluster: Cluster, connect: Connect,
                    emitter: RedisStreamsManager, unique: Unique) -> None:
    client, event = connect(cluster.b), unique('event')
    emitter.emit(event, 'goodbye', to=client.sid)
    emitter.disconnect(client.sid, '/')
    client.wait_disconnected()
    assert client.received(event) == [('goodbye',)]
    wait_for_value(lambda: cluster.b.disconnects_of(client.sid),
                   [('/', 'server disconnect')],
                   what='the calls of the disconnect handler')


def test_stored_when_emit_returns(redis_server: RedisServer,
                                  unique: Unique) -> None:
    stream = unique('stream')
    with RedisStreamsManager(redis_server.url, stream,
                             write_only=True) as emitter, \
            redis_server.client() as redis:
        for number in range(5):
            emitter.emit('event', f'number {number}')
            entries = redis.xrange(stream)
            assert len(entries) == number + 1
            fields = entries[-1][1]
            assert fields[b'uid'] == b'emitter'
            assert fields[b'nsp'] == b'/'
            assert fields[b'type'] == b'3'
            assert f'number {number}'.encode() in fields[b'data']


def test_emitter_is_never_counted(cluster: Cluster, listeners: List[Client],
                                  redis_server: RedisServer,
                                  unique: Unique) -> None:
    event = unique('event')
    with RedisStreamsManager(redis_server.url, write_only=True) as emitter:
        emitter.emit(event, None)
        for client in listeners:
            client.wait_for(event)
        for node in cluster:
            assert node.server_count() == 3
    # Nor is its end mistaken for a node's.
    cluster.a.emit(event)
    for client in listeners:
        client.wait_for(event, 2)
    for node in cluster:
        assert node.server_count() == 3


def test_several_emitters(cluster: Cluster, listeners: List[Client],
                          redis_server: RedisServer,
                          unique: Unique) -> None:
    """They share a uid, but none of their messages is taken for a copy."""
    event = unique('event')
    emitters = [RedisStreamsManager(redis_server.url, write_only=True)
                for _ in range(3)]
    for number in range(5):
        for index, emitter in enumerate(emitters):
            emitter.emit(event, (index, number))
    for emitter in emitters:
        emitter.close()
    for client in listeners:
        client.wait_for(event, 15)
        assert client.received(event) == [
            (index, number) for number in range(5) for index in range(3)]


def test_stream_does_not_grow(redis_server: RedisServer,
                              unique: Unique) -> None:
    stream = unique('stream')
    with RedisStreamsManager(redis_server.url, stream, write_only=True,
                             publish='background', max_len=200) as emitter, \
            redis_server.client() as redis:
        for number in range(2000):
            emitter.emit('event', number)
        assert emitter.flush(10)
        # Redis trims whole nodes of a hundred.
        assert 200 <= redis.xlen(stream) <= 400


def test_callback_is_refused(emitter: RedisStreamsManager) -> None:
    with pytest.raises(RuntimeError):
        emitter.emit('event', None, to='somebody', callback=print)


def test_unserialisable_data_are_refused(emitter: RedisStreamsManager) -> None:
    with pytest.raises(TypeError):
        emitter.emit('event', object())


def test_emitter_in_the_process_of_a_node(cluster: Cluster,
                                          listeners: List[Client],
                                          unique: Unique) -> None:
    """An emitter in a server's process runs under that server's tasks. Its
    messages also reach the local clients of that server."""
    event = unique('event')
    cluster.a.make_emitter()
    for number in range(10):
        cluster.a.invoke('emitter', 'emit', event, number)
    for client in listeners:
        client.wait_for(event, 10)
        assert client.received(event) == [(number,) for number in range(10)]
    cluster.a.invoke('emitter', 'close')


def test_manager_without_a_server(cluster: Cluster,
                                  listeners: List[Client],
                                  connect: Connect, unique: Unique,
                                  redis_server: RedisServer) -> None:
    """It is a member without clients, and may do all that members do."""
    event, room = unique('event'), unique('room')
    client = connect(cluster.b)
    with RedisStreamsManager(
            redis_server.url, heartbeat_interval=1.0,
            heartbeat_timeout=60.0) as manager:
        for node in cluster:
            node.wait_server_count(4)
        wait_for_value(manager.server_count, 4, what='its server_count')
        manager.enter_room(client.sid, '/', room)
        manager.emit(event, 'room', to=room)
        manager.emit(event, 'all')
        for each in (client, *listeners):
            each.wait_for(event)
        client.wait_for(event, 2)
        assert client.received(event) == [('room',), ('all',)]
    for node in cluster:
        node.wait_server_count(3)


def test_emitter_in_a_node_refuses_callbacks(cluster: Cluster) -> None:
    cluster.b.make_emitter()
    with pytest.raises(RemoteError) as info:
        cluster.b.invoke('emitter', 'emit', 'event', None, to='somebody',
                         callback=Callback('tag'))
    assert 'RuntimeError' in info.value.types
    cluster.b.invoke('emitter', 'close')
