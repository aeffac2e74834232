"""The members of a cluster, as they come and go."""
import time
from typing import Any, Callable, List

import pytest

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .conftest import Cluster, start_managers

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

#: Heartbeats for clusters whose nodes die: quick, but slow enough for a
#: machine that is busy with something else for a second.
QUICK = {'heartbeat_interval': 0.25, 'heartbeat_timeout': 2.5}

#: Seconds until a lost node must be noticed: its timeout, the second between
#: two checks, and time for a busy machine.
MISSED_WITHIN = 8.0


def heartbeats(redis: Any, stream: str) -> List[Any]:
    """The uid and type of all entries that are only heartbeats; without
    requests to the members, which are not written under a member's uid."""
    return [(fields[b'uid'], fields[b'type'])
            for _, fields in redis.xrange(stream)
            if fields[b'type'] in (b'1', b'2', b'13')
            and fields[b'uid'] != b'emitter']


def test_server_count(cluster: Cluster) -> None:
    for node in cluster:
        assert node.server_count() == 3
        assert node.server_count('/chat') == 3


def test_start_is_idempotent(cluster: Cluster, listeners: List[Client],
                             unique: Unique) -> None:
    event, marker = unique('event'), unique('marker')
    for _ in range(3):
        cluster.a.start_manager()
    cluster.b.emit(event)
    cluster.b.emit(marker)
    for client in listeners:
        client.wait_for(marker)
        assert len(client.received(event)) == 1
    assert cluster.b.server_count() == 3


def test_node_that_leaves_and_node_that_dies(redis_server: RedisServer,
                                             unique: Unique, connect: Connect,
                                             start_nodes: StartNodes) -> None:
    nodes = start_nodes(3, redis_server.url, stream_name=unique('stream'),
                        **QUICK)
    start_managers(nodes)
    a, b, c = nodes
    b.close_manager()
    # At once, long before it would be taken for dead.
    started = time.monotonic()
    a.wait_server_count(2, timeout=QUICK['heartbeat_timeout'])
    c.wait_server_count(2, timeout=QUICK['heartbeat_timeout'])
    b.close_manager()
    assert a.server_count('/chat') == 2

    c.kill()
    killed = time.monotonic()
    assert a.server_count() == 2
    a.wait_server_count(1, timeout=MISSED_WITHIN)
    a.wait_server_count(1, '/chat')
    # Not too early: half of the timeout is left to a busy machine.
    assert time.monotonic() - killed > QUICK['heartbeat_timeout'] / 2
    assert killed - started < 60

    # The remaining nodes work.
    client, event = connect(a), unique('event')
    a.emit(event)
    client.wait_for(event)


def test_node_that_sleeps(redis_server: RedisServer, unique: Unique,
                          connect: Connect,
                          start_nodes: StartNodes) -> None:
    """It is dropped; when it wakes up it joins again, knows the others, and
    its clients get all that was sent while it slept."""
    nodes = start_nodes(2, redis_server.url, stream_name=unique('stream'),
                        **QUICK)
    start_managers(nodes)
    awake, sleeper = nodes
    client, event = connect(sleeper), unique('event')
    sleeper.freeze()
    try:
        for number in range(20):
            awake.emit(event, number)
        awake.wait_server_count(1, timeout=MISSED_WITHIN)
    finally:
        sleeper.thaw()
    awake.wait_server_count(2)
    sleeper.wait_server_count(2)
    client.wait_for(event, 20)
    marker = unique('marker')
    awake.emit(marker)
    client.wait_for(marker)
    assert client.received(event) == [(number,) for number in range(20)]


def test_idle_nodes_stay(redis_server: RedisServer, unique: Unique,
                         connect: Connect, start_nodes: StartNodes) -> None:
    """No events are sent for longer than a node may be silent, and the
    reader's wait ends many times with nothing read."""
    stream = unique('stream')
    nodes = start_nodes(2, redis_server.url, stream_name=stream,
                        block_time=0.1, **QUICK)
    start_managers(nodes)
    with redis_server.client() as redis:
        before = len(heartbeats(redis, stream))
        reads = redis.info('commandstats')['cmdstat_xread']['calls']

        def idled() -> bool:
            assert [node.server_count() for node in nodes] == [2, 2]
            calls = redis.info('commandstats')['cmdstat_xread']['calls']
            return bool(calls > reads + 60 and len(
                heartbeats(redis, stream)) > before + 12)

        wait_until(idled, 30.0, 'twelve heartbeats and sixty reads')
    client, event = connect(nodes[1]), unique('event')
    nodes[0].emit(event)
    client.wait_for(event)


def test_messages_of_a_member_on_the_wire(
        redis_server: RedisServer, unique: Unique,
        start_nodes: StartNodes) -> None:
    stream = unique('stream')
    first, second = start_nodes(2, redis_server.url, stream_name=stream,
                                heartbeat_interval=50.0,
                                heartbeat_timeout=60.0)
    with redis_server.client() as redis:
        first.start_manager()
        assert first.flush()
        wait_until(lambda: heartbeats(redis, stream), what='a first entry')
        uid = redis.xrange(stream)[0][1][b'uid']
        second.start_manager()
        first.wait_server_count(2)
        second.wait_server_count(2)
        second.close_manager()
        first.wait_server_count(1)
        said = [(writer == uid, kind)
                for writer, kind in heartbeats(redis, stream)]
        namespaces = [fields[b'nsp'] for _, fields in redis.xrange(stream)]
    # An INITIAL_HEARTBEAT of each, the HEARTBEAT in reply to the second
    # one's, and its ADAPTER_CLOSE; all of these in each namespace.
    count = len(set(namespaces))
    assert set(namespaces) == {b'/', b'/chat'}
    assert said.count((True, b'1')) == said.count((False, b'1')) == count
    assert (True, b'2') in said
    assert said.count((False, b'13')) == count
    assert said.count((True, b'13')) == 0
    assert len(uid) == 16
    int(uid, 16)


def test_context_manager(cluster: Cluster,
                         redis_server: RedisServer) -> None:
    from redis_streams_adapter import RedisStreamsManager

    manager = RedisStreamsManager(redis_server.url, heartbeat_interval=1.0,
                                  heartbeat_timeout=60.0)
    with manager as entered:
        assert entered is manager
        cluster.a.wait_server_count(4)
    for node in cluster:
        node.wait_server_count(3)
    manager.close()
    assert cluster.a.server_count() == 3


def test_health_and_stats(cluster: Cluster, listeners: List[Client],
                          unique: Unique) -> None:
    for node in cluster:
        node.wait_health('ok')
    before = cluster.b.stats()
    event = unique('event')
    for number in range(10):
        cluster.a.emit(event, number)
    listeners[1].wait_for(event, 10)
    after = cluster.b.stats()
    assert set(after) == set(before)
    assert any(after[name] - before[name] >= 10 for name in after
               if isinstance(after[name], int))


@pytest.mark.parametrize('timeout', [0.5, 5.0])
def test_flush(cluster: Cluster, redis_server: RedisServer, unique: Unique,
               timeout: float) -> None:
    event = unique('event')
    for number in range(50):
        cluster.a.emit(event, number)
    assert cluster.a.flush(timeout)
    with redis_server.client() as redis:
        stored = sum(event.encode() in fields.get(b'data', b'')
                     for _, fields in redis.xrevrange('socket.io', count=100))
    assert stored == 50
