"""A process stays small, however long Redis is away and however much there is
to read afterwards."""
from typing import Any

import pytest

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, Target

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique


STREAM = 'socket.io'

MIB = 2**20

#: What ``outbox_max_bytes`` is by default.
OUTBOX = 64 * MIB

#: The bytes that a process may need beyond those that are counted: what the
#: allocator keeps, and what a request of the test takes.
SLACK = 24 * MIB


@pytest.mark.parametrize(('option', 'value', 'padding'), [
    ('outbox_limit', 500, 0), ('outbox_max_bytes', 1_000_000, 2000)])
def test_full_outbox_refuses_every_task(redis: RedisServer,
                                        start_nodes: StartNodes,
                                        connect: Connect, unique: Unique,
                                        option: str, value: int,
                                        padding: int) -> None:
    """Accepted messages arrive in order, refused ones do not arrive."""
    nodes = start_nodes(2, redis.url, **{option: value}, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    redis.stop()
    for node in nodes:
        node.wait_health('degraded')
    accepted = nodes[0].storm(event, 5, 200, padding)
    total = sum(map(len, accepted))
    assert 300 < total <= 500
    assert all(accepted)
    stats = nodes[0].stats()
    assert stats['outbox'] <= 500
    assert stats['outbox_bytes'] <= (value if padding else OUTBOX)
    # It refuses other tasks, too.
    assert nodes[0].storm(event, 2, 50, padding) == [[], []]

    redis.start()
    clients[1].wait_for(event, total, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        arrived = client.received(event)
        assert len(arrived) == total
        for emitter, numbers in enumerate(accepted):
            assert [args[1] for args in arrived
                    if args[0] == emitter] == numbers


@pytest.mark.parametrize(('each', 'padding'), [(5000, 10_000), (60_000, 0)],
                         ids=['large', 'small'])
def test_full_outbox_has_bounded_memory(redis: RedisServer,
                                        start_nodes: StartNodes,
                                        unique: Unique, each: int,
                                        padding: int) -> None:
    """It holds 64 MiB of large messages or 100,000 small ones."""
    (node,) = start_nodes(1, redis.url, **STEADY)
    node.start_manager()
    redis.stop()
    node.wait_health('degraded')
    event = unique('event')
    before = node.memory()
    accepted = sum(map(len, node.storm(event, 2, each, padding)))
    assert accepted < 2 * each
    full = node.memory()
    stats = node.stats()
    assert stats['outbox'] >= accepted
    assert 0.8 * OUTBOX < stats['outbox_bytes'] <= OUTBOX
    assert full - before < OUTBOX + SLACK
    # Refused messages take no memory.
    assert node.storm(event, 2, 5000, padding) == [[], []]
    assert node.memory() - full < SLACK / 2


def test_reader_catches_up_in_bounded_memory(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """The reader reads page by page, however much there is."""
    (node,) = start_nodes(1, proxy.url, max_len=1_000_000, **STEADY)
    node.start_manager()
    client = connect(node)
    before = node.memory()
    proxy.cut()
    count, event = 100_000, unique('event')
    # Of 1,000 bytes each, to an empty room; the last one is to all clients.
    encoder = Encoder('f' * 16)
    fields = encoder.encode('/', Broadcast(
        (event, 'x' * 1000), Target(('empty',))))
    with redis.client() as admin:
        pipeline: Any = admin.pipeline(transaction=False)
        for number in range(1, count + 1):
            if number == count:
                fields = encoder.encode('/', Broadcast((event, number)))
            pipeline.execute_command(
                'XADD', STREAM, '*', *fields, b'wid', b'e' * 16, b'seq',
                b'%d' % number, b'since', b'0-0')
            if number % 1000 == 0:
                pipeline.execute()
    received = node.stats()['received']
    proxy.open()
    most = before

    def arrived() -> bool:
        nonlocal most
        most = max(most, node.memory())
        return bool(client.received(event))

    wait_until(arrived, 60.0, lambda: f'the last one: {node.stats()}')
    assert client.received(event) == [(count,)]
    stats = node.stats()
    assert stats['received'] >= received + count
    assert stats['messages_lost'] == 0
    assert most - before < SLACK
