"""Events that are large for the ``client-output-buffer-limit`` of Redis."""
from typing import Any, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers
from ..support.controlled import RemoteError
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, MakeRedis, StartNodes, Unique

MIB = 2**20

#: The bytes that Redis sends to a connection at once.
LIMIT = 4 * MIB

#: The sizes of events, in a cycle, and how many of them.
SIZES = [
    pytest.param([1000], 2000, id='1 KB'),
    pytest.param([100_000], 300, id='100 KB'),
    pytest.param([1_000_000], 30, id='1 MB'),
    pytest.param([10, 1_000_000, 1000, 100_000, 10, 10], 90, id='mixed'),
    pytest.param([5_000_000], 4, id='more than the limit')]

#: How often a reader may connect: once, again after a page that was too
#: large, and some more times for entries that are too large alone.
CONNECTIONS = 4

#: The user of the access control list that may run no scripts, and its rights.
USER, PASSWORD = 'node', 'secret'
RIGHTS = ('xadd', 'xread', 'xinfo|stream', 'multi', 'exec', 'time')

#: Bytes that a process may need for entries in transit, at most. See
#: ``tests/faults/test_memory.py``.
SLACK = 24 * MIB


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisServer:
    server = make_redis().start()
    with server.client() as admin:
        limit(admin, LIMIT)
    return server


def limit(admin: Any, size: int) -> None:
    admin.config_set('client-output-buffer-limit', f'normal {size} 0 0')


def emit_all(node: Any, event: str, sizes: List[int], count: int) -> None:
    for number in range(count):
        node.emit(event, (number, 'x' * sizes[number % len(sizes)]))
    assert node.flush()


@pytest.mark.parametrize('sizes, count', SIZES)
def test_node_that_was_away_gets_all(redis: RedisServer, proxy: Proxy,
                                     start_nodes: StartNodes,
                                     connect: Connect, unique: Unique,
                                     sizes: List[int], count: int) -> None:
    """All, once, in order, with few connections."""
    (writer,) = start_nodes(1, redis.url, **STEADY)
    (reader,) = start_nodes(1, proxy.url, **STEADY)
    nodes = [writer, reader]
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    check_working(nodes, clients, unique)
    proxy.cut()
    reader.wait_health('degraded')
    event = unique('event')
    emit_all(writer, event, sizes, count)
    attempts = len(proxy.accepted)
    proxy.open()
    for client in clients:
        client.wait_for(event, count, timeout=30.0)
        assert numbers(client, event) == list(range(count))
    for node in nodes:
        assert node.stats()['messages_lost'] == 0
    # The writer connects, too, and so does the listener.
    assert len(proxy.accepted) - attempts <= CONNECTIONS + 2
    check_working(nodes, clients, unique)


@pytest.mark.parametrize('sizes, count', SIZES)
def test_node_that_starts_after_them(redis: RedisServer, proxy: Proxy,
                                     start_nodes: StartNodes,
                                     connect: Connect, unique: Unique,
                                     sizes: List[int], count: int) -> None:
    """It reads back what others have written of late."""
    (writer,) = start_nodes(1, redis.url, **STEADY)
    writer.start_manager()
    writer.wait_server_count(1)
    emit_all(writer, unique('event'), sizes, count)
    (reader,) = start_nodes(1, proxy.url, **STEADY)
    reader.start_manager()

    def is_known() -> bool:
        # If a connection breaks at the start, other servers have some seconds
        # to reconnect before it says which ones there are.
        try:
            return reader.server_count() == 2
        except RemoteError:
            return False

    wait_until(is_known, BACK_WITHIN, what='the other server to be known')
    assert len(proxy.accepted) <= CONNECTIONS + 2
    nodes = [writer, reader]
    check_working(nodes, [connect(node) for node in nodes], unique)


@pytest.mark.parametrize('sizes, count', SIZES)
def test_writer_looks_for_its_events_among_them(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, sizes: List[int],
        count: int) -> None:
    """A connection breaks before the reply to an event, and others write
    before the next connection: the event is stored once."""
    (other,) = start_nodes(1, redis.url, **STEADY)
    (writer,) = start_nodes(1, proxy.url, **STEADY)
    nodes = [other, writer]
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    check_working(nodes, clients, unique)
    event, large = unique('event'), unique('large')
    holds = proxy.hold(at=b'XADD', reply=True)
    writer.emit(event, 0)
    assert holds.wait(BACK_WITHIN)
    clients[0].wait_for(event)
    emit_all(other, large, sizes, count)
    proxy.cut()
    writer.emit(event, 1)
    proxy.open()
    for client in clients:
        client.wait_for(event, 2, timeout=30.0)
        client.wait_for(large, count, timeout=30.0)
        assert numbers(client, large) == list(range(count))
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == [0, 1]
    assert all(node.stats()['duplicates'] == 0 for node in nodes)


def test_memory_of_a_reader_is_bounded(redis: RedisServer, proxy: Proxy,
                                       start_nodes: StartNodes,
                                       connect: Connect,
                                       unique: Unique) -> None:
    """It holds a few large entries at once, whatever ``read_count`` is."""
    (writer,) = start_nodes(1, redis.url, **STEADY)
    (reader,) = start_nodes(1, proxy.url, read_count=1000, **STEADY)
    nodes = [writer, reader]
    start_managers(nodes)
    client = connect(reader)
    check_working(nodes, [client], unique)
    with redis.client() as admin:
        # Without a limit of the server, there is one of the reader.
        limit(admin, 0)
    before = reader.memory()
    proxy.cut()
    event = unique('event')
    for _ in range(120):
        writer.emit(event, 'x' * MIB, to='empty')
    writer.emit(event, 'last')
    assert writer.flush()
    proxy.open()
    most = before

    def arrived() -> bool:
        nonlocal most
        most = max(most, reader.memory())
        return bool(client.received(event))

    wait_until(arrived, 30.0, what=lambda: f'the last: {reader.stats()}')
    assert most - before < SLACK


def test_node_that_may_run_no_scripts(redis: RedisServer,
                                      start_nodes: StartNodes,
                                      connect: Connect,
                                      unique: Unique) -> None:
    """It reads what fits, and reports what does not until the limit is
    raised. It skips nothing."""
    with redis.client() as admin:
        admin.execute_command(
            'ACL', 'SETUSER', USER, 'on', f'>{PASSWORD}', '~*', '&*',
            *(f'+{right}' for right in RIGHTS))
    (writer,) = start_nodes(1, redis.url, **STEADY)
    (reader,) = start_nodes(1, redis.url_of(USER, PASSWORD),
                            request_transport='stream', **STEADY)
    nodes = [writer, reader]
    start_managers(nodes)
    client = connect(reader)
    event = unique('event')
    emit_all(writer, event, [100_000], 300)
    client.wait_for(event, 300, timeout=30.0)
    assert numbers(client, event) == list(range(300))
    event = unique('event')
    emit_all(writer, event, [5_000_000], 2)

    def reports() -> bool:
        health = reader.health()
        return health['status'] == 'degraded' and \
            'permit EVAL' in (health['last_error'] or '')

    wait_until(reports, 30.0, what=lambda: f'{reader.health()}')
    assert not client.received(event)
    with redis.client() as admin:
        limit(admin, 4 * LIMIT)
    client.wait_for(event, 2, timeout=30.0)
    assert numbers(client, event) == [0, 1]
    reader.wait_health('ok', BACK_WITHIN)
    assert reader.stats()['messages_lost'] == 0
