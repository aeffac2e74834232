"""However long Redis is away, and however much has come meanwhile: does a
process stay small?"""
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.messages import Broadcast, Target

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]
MakeProxy = Callable[[int], Proxy]

STREAM = 'socket.io'

MIB = 2**20

#: What ``outbox_max_bytes`` is by default.
OUTBOX = 64 * MIB

#: What a process may need besides what is counted, in bytes: what the
#: allocator holds back, and what a request of the test takes.
SLACK = 24 * MIB


@pytest.mark.parametrize(('option', 'value', 'padding'), [
    ('outbox_limit', 500, 0), ('outbox_max_bytes', 1_000_000, 2000)])
def test_full_outbox_refuses_every_task(make_redis: MakeRedis,
                                        start_nodes: StartNodes,
                                        connect: Connect, unique: Unique,
                                        option: str, value: int,
                                        padding: int) -> None:
    """What was accepted arrives in order, what was refused nowhere."""
    redis = make_redis(append_only=True).start()
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
    # Full is full, whoever asks.
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
def test_full_outbox_has_bounded_memory(make_redis: MakeRedis,
                                        start_nodes: StartNodes,
                                        unique: Unique, each: int,
                                        padding: int) -> None:
    """64 MiB of large messages, or 100,000 small ones, and no more."""
    redis = make_redis(append_only=True).start()
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
    # What is refused leaves nothing behind.
    assert node.storm(event, 2, 5000, padding) == [[], []]
    assert node.memory() - full < SLACK / 2


def test_reader_catches_up_in_bounded_memory(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """It reads page by page, however much is there."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
    (node,) = start_nodes(1, proxy.url, max_len=1_000_000, **STEADY)
    node.start_manager()
    client = connect(node)
    before = node.memory()
    proxy.cut()
    count, event = 100_000, unique('event')
    # Of 1,000 bytes each, to nobody; the last one is to everybody.
    encoder = Encoder('f' * 16)
    fields = encoder.encode('/', Broadcast(
        (event, 'x' * 1000), Target(('nobody',))))
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
