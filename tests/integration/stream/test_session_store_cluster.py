"""Session stores over a Redis Cluster, whose slots may move."""
from typing import Any, Iterator

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.session_store import DONE, Found, Swap

from ...support.client_library import library
from ...support.redis_cluster import RedisCluster
from ...unit.nodes import Call
from .conftest import Make, PREFIX, STREAM


@pytest.fixture(scope='module')
def cluster(redis_binary: str) -> Iterator[RedisCluster]:
    with RedisCluster(masters=2) as servers:
        yield servers.start()


def test_sessions_and_stream_in_a_cluster(make: Make,
                                          cluster: RedisCluster) -> None:
    """Sessions are on all masters, and the stream is on one."""
    sessions = make(cluster.url)
    pids = [f'p{number}' for number in range(60)]
    masters = {cluster.master_of(PREFIX + pid).port for pid in pids}
    assert len(masters) == 2
    for pid in pids:
        sessions.put(pid, pid.encode())
    assert sessions.swap([
        Swap(pid, b'new', [pid.encode()]) for pid in pids]) == [DONE] * 60
    assert sessions.touch([*pids, 'unknown']) == [True] * 60 + [False]
    with cluster.master_of(STREAM).client() as redis:
        redis.xadd(STREAM, {'a': 'b'}, '5-1')
    for pid in pids:
        assert sessions.find(pid, STREAM, Position(5, 1)) == Found(
            b'new', True, Position(5, 1), Position(5, 1))
    calls = [Call(sessions.swap, [
        Swap(other, other.encode(), [b'new']) for other in pids[number::6]])
        for number in range(6)]
    for call in calls:
        assert call.result() == [DONE] * 10
    assert sessions.connections == 1


@pytest.fixture(params=['URL', 'client'])
def place(request: Any, cluster: RedisCluster) -> Any:
    """The forms in which an application specifies a cluster."""
    if request.param == 'URL':
        return cluster.url
    server = cluster.servers[0]
    return library.RedisCluster(
        host='127.0.0.1', port=server.port)


def test_masters_are_found(cluster: RedisCluster, place: Any) -> None:
    driver = open_driver(place, {}, STREAM)
    looked_up = driver.cluster
    assert looked_up is not None
    masters, replicas = looked_up.servers()
    assert len(masters) == 2 and not {*masters} & {*replicas}
    place_of = looked_up.places()
    keys = [f'{number}' for number in range(20)]
    assert [place_of(key) for key in keys] == [
        ('127.0.0.1', cluster.master_of(key).port) for key in keys]
    assert {place_of(key) for key in keys} == {*masters}
    for address in masters:
        connection = looked_up.connect(1.0, address)
        connection.connect()
        assert (connection.host, connection.port) == address
        connection.disconnect()


def test_slot_that_moves(make: Make, cluster: RedisCluster,
                         place: Any) -> None:
    """Callers do not notice, before, during or after the move of the keys."""
    sessions = make(place)
    # In one slot, a different one for each key.
    tag = f'{{{type(place).__name__}}}'
    pid, late = f'moves{tag}', f'late{tag}'
    key = PREFIX + pid
    source = cluster.master_of(key)
    target, = cluster.others(source)
    sessions.put(pid, b'1')
    cluster.begin_move(key, source, target)
    assert sessions.swap([Swap(pid, b'2', [b'1'])]) == [DONE]
    cluster.move_keys(key, source, target)
    # Mixed with keys of slots that do not move.
    others = [f'other-{number}' for number in range(20)]
    assert sessions.swap([
        *(Swap(other, b'1', [b'']) for other in others),
        Swap(pid, b'3', [b'2']), Swap(late, b'1', [b''])]
    ) == [DONE] * 22
    assert sessions.touch([pid, 'unknown', late]) == [True, False, True]
    assert sessions.find(pid, STREAM, None).session == b'3'
    assert cluster.count_keys(key, source) == 0
    assert cluster.count_keys(key, target) == 2
    cluster.end_move(key, source, target)
    assert sessions.swap([Swap(pid, b'4', [b'3']),
                          *(Swap(other, b'', [b'1']) for other in others),
                          Swap(late, b'', [b'1'])]) == [DONE] * 22
    assert sessions.get(pid) == b'4'
