"""Redis goes away and returns: nothing is lost or duplicated, no task ends,
no handler hangs."""
import time
from typing import Callable, List, Tuple

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..support.client import Client
from ..support.node_process import NodeProcess, RemoteError
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY, start_managers
from .helpers import BACK_WITHIN, check_outage_lines, check_working, \
    log_lengths, numbers, PROMPT, wait_for_outage

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]
MakeRedis = Callable[..., RedisServer]


# -- Redis is down when a node starts ----------------------------------------

def test_redis_starts_after_the_nodes(make_redis: MakeRedis,
                                      start_nodes: StartNodes,
                                      connect: Connect,
                                      unique: Unique) -> None:
    redis = make_redis()
    nodes = start_nodes(2, redis.url, **STEADY)
    starts = [0, 0]
    clients = [connect(node) for node in nodes]
    event = unique('event')
    started = time.monotonic()
    for number in range(20):
        nodes[0].emit(event, number)
    assert time.monotonic() - started < PROMPT
    # The local clients are served at once.
    clients[0].wait_for(event, 20)
    wait_for_outage(nodes, starts)
    assert not nodes[0].flush(0.1)
    assert numbers(clients[1], event) == []

    redis.start()
    clients[1].wait_for(event, 20, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(20))
    check_outage_lines(nodes, starts)


def test_redis_is_reached_later_by_one_node(make_redis: MakeRedis,
                                            make_proxy: Callable[[int], Proxy],
                                            start_nodes: StartNodes,
                                            connect: Connect,
                                            unique: Unique) -> None:
    """Its outbox reaches the clients of an older node, and its clients, which
    have waited since they connected, get what the others sent."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    (cut_off,) = start_nodes(1, proxy.url, **STEADY)
    (there,) = start_nodes(1, redis.url, **STEADY)
    there.start_manager()
    clients = [connect(cut_off), connect(there)]
    event = unique('event')
    other = unique('other')
    for number in range(20):
        cut_off.emit(event, number)
        there.emit(other, number)
    clients[0].wait_for(event, 20)
    clients[1].wait_for(other, 20)
    assert there.flush()
    assert clients[0].received(other) == clients[1].received(event) == []
    assert there.server_count() == 1
    proxy.open()
    clients[0].wait_for(other, 20, timeout=BACK_WITHIN)
    clients[1].wait_for(event, 20, timeout=BACK_WITHIN)
    check_working([cut_off, there], clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(20))
        assert numbers(client, other) == list(range(20))


# -- Redis goes away and returns ---------------------------------------------

@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_restart(make_redis: MakeRedis, start_nodes: StartNodes,
                 connect: Connect, unique: Unique, how: str) -> None:
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    events = [unique('event') for _ in nodes]
    for node, event in zip(nodes, events):
        node.start_pulse(event)
    for event in events:
        for client in clients:
            client.wait_for(event, 20)

    starts = log_lengths(nodes)
    getattr(redis, how)()
    wait_for_outage(nodes, starts)
    # The pulses continue; the local clients get them.
    for client, event in zip(clients, events):
        client.wait_for(event, len(client.received(event)) + 50)
    redis.start()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)

    emitted = [node.stop_pulse(event) for node, event in zip(nodes, events)]
    check_working(nodes, clients, unique)
    for client in clients:
        for event, count in zip(events, emitted):
            client.wait_for(event, count)
            assert numbers(client, event) == list(range(count))
    check_outage_lines(nodes, starts)


def test_lost_reply(make_redis: MakeRedis, make_proxy: Callable[[int], Proxy],
                    start_nodes: StartNodes, connect: Connect,
                    unique: Unique) -> None:
    """Redis has stored the command whose result the node does not know."""
    redis = make_redis().start()
    proxy = make_proxy(redis.port)
    proxy.open()
    nodes = (start_nodes(1, proxy.url, **STEADY)
             + start_nodes(1, redis.url, **STEADY))
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    for start in range(0, 15, 5):
        lost = proxy.lose_reply_to(b'XADD')
        nodes[0].script(*(('server', 'emit', [event, number], {})
                          for number in range(start, start + 5)))
        wait_until(lost.is_set, what='a reply to be lost')
        assert nodes[0].flush(BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(15))
    with redis.client() as admin:
        stored = [fields for _, fields in admin.xrange('socket.io')
                  if event.encode() in fields.get(b'data', b'')]
    assert len(stored) == 15


def test_synchronous_emit_does_not_hang(make_redis: MakeRedis,
                                        start_nodes: StartNodes,
                                        connect: Connect,
                                        unique: Unique) -> None:
    """With ``publish='sync'`` an emit waits for Redis, but not for the end of
    an outage."""
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(2, redis.url, publish='sync', **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    redis.stop()
    started = time.monotonic()
    for number in range(20):
        nodes[0].emit(event, number)
    assert time.monotonic() - started < PROMPT
    assert nodes[0].health()['status'] == 'degraded'
    redis.start()
    clients[1].wait_for(event, 20, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(20))


def test_emitter_without_redis(make_redis: MakeRedis, unique: Unique,
                               ) -> None:
    redis = make_redis()
    with RedisStreamsManager(redis.url, write_only=True) as emitter:
        started = time.monotonic()
        for number in range(5):
            emitter.emit('event', number)
        assert time.monotonic() - started < PROMPT
        assert not emitter.flush(0.1)
        assert emitter.health()['status'] == 'degraded'
        redis.start()
        assert emitter.flush(BACK_WITHIN)
        with redis.client() as admin:
            data = [fields[b'data'] for _, fields
                    in admin.xrange('socket.io')]
    assert [f'["event",{number}]'.encode() in each
            for number, each in enumerate(data)] == [True] * 5


def test_close_without_redis(make_redis: MakeRedis, start_nodes: StartNodes,
                             unique: Unique) -> None:
    """Leaving takes no longer than its timeout."""
    redis = make_redis().start()
    (node,) = start_nodes(1, redis.url, **STEADY)
    node.start_manager()
    node.wait_health('ok')
    redis.stop()
    node.emit(unique('event'))
    started = time.monotonic()
    node.close_manager(timeout=0.5)
    assert time.monotonic() - started < 0.5 + PROMPT


# -- the outbox is full -----------------------------------------------------

@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_full_outbox(make_redis: MakeRedis, start_nodes: StartNodes,
                     connect: Connect, unique: Unique, publish: str) -> None:
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(2, redis.url, outbox_limit=20, publish=publish,
                        **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    redis.stop()
    for node in nodes:
        node.wait_health('degraded')
    accepted: List[int] = []
    started = time.monotonic()
    with pytest.raises(RemoteError) as info:
        for number in range(21):
            nodes[0].emit(event, number)
            accepted.append(number)
    assert info.value.types[0] == 'OutboxFullError'
    assert time.monotonic() - started < PROMPT
    # A heartbeat may have taken one place.
    assert len(accepted) > 10
    with pytest.raises(RemoteError):
        nodes[0].emit(event, 'refused')

    redis.start()
    clients[1].wait_for(event, len(accepted), timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    # Refused events reached no one, not even local clients.
    for client in clients:
        assert numbers(client, event) == accepted


def test_outbox_full_of_bytes(make_redis: MakeRedis, start_nodes: StartNodes,
                              connect: Connect, unique: Unique) -> None:
    redis = make_redis(append_only=True).start()
    nodes = start_nodes(2, redis.url, outbox_max_bytes=1_000_000, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    redis.stop()
    for node in nodes:
        node.wait_health('degraded')
    accepted: List[Tuple[int, str]] = []
    with pytest.raises(RemoteError) as info:
        for number in range(11):
            nodes[0].emit(event, (number, 'x' * 100_000))
            accepted.append((number, 'x' * 100_000))
    assert info.value.types[0] == 'OutboxFullError'
    assert 5 < len(accepted) < 10
    redis.start()
    clients[1].wait_for(event, len(accepted), timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert client.received(event) == accepted


def test_deleted_stream(make_redis: MakeRedis, start_nodes: StartNodes,
                        connect: Connect, unique: Unique) -> None:
    """What it held is reported as lost; what follows is delivered."""
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    with redis.client() as admin:
        admin.delete('socket.io')
    for number in range(10):
        nodes[0].emit(event, number)
    clients[1].wait_for(event, 10, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(10))
    with redis.client() as admin:
        wait_for_value(lambda: admin.exists('socket.io'), 1,
                       what='the stream')
