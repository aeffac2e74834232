"""What goes wrong between a cluster under load and its Redis costs nothing:
every client has every message once, in the order in which it was emitted."""
from typing import Callable, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..support.entries import add_entry, entry, MALFORMED
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .load import CATCH_UP_WITHIN, check_pairs, Connect, Load, RATE, \
    start_load, StartNodes, Unique

MakeRedis = Callable[..., RedisServer]
MakeLoad = Callable[..., Load]

#: How many connections two nodes have: a reader's and a writer's each.
CONNECTIONS = 4


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisServer:
    """A server that keeps its data when it is killed."""
    return make_redis(append_only=True).start()


@pytest.fixture
def proxy(redis: RedisServer, make_proxy: Callable[[int], Proxy]) -> Proxy:
    """What stands between it and both nodes."""
    proxy = make_proxy(redis.port)
    proxy.open()
    return proxy


@pytest.fixture
def make_load(proxy: Proxy, start_nodes: StartNodes, connect: Connect,
              unique: Unique) -> MakeLoad:
    """Starts the load on a URL."""
    # It needs the proxy only to be ended before it.
    def make(url: str) -> Load:
        return start_load(start_nodes, connect, unique, url, url)

    return make


def check_one_outage(load: Load) -> None:
    """Each node has told of one outage."""
    for node in load.nodes:
        check_pairs(node, 1)


def test_load_survives_killed_redis(redis: RedisServer,
                                    make_load: MakeLoad) -> None:
    load = make_load(redis.url)
    redis.kill()
    load.last(3.0)
    redis.start()
    load.go_on(RATE)
    load.check()
    check_one_outage(load)


def test_load_survives_killed_connections(redis: RedisServer,
                                          make_load: MakeLoad) -> None:
    """Twenty times in six seconds."""
    load = make_load(redis.url)
    kills = 20
    with redis.client() as admin:
        def connected() -> bool:
            # One of them is the one that asks.
            return int(admin.info('clients')['connected_clients']) \
                > CONNECTIONS

        for _ in range(kills):
            wait_until(connected, what='all nodes to be connected')
            assert int(admin.execute_command(
                'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
            ) >= CONNECTIONS
            load.go_on(6 * RATE // kills)
    load.check()
    for name in ('reader_restarts', 'writer_restarts'):
        assert min(load.stats(name)) >= kills


def test_load_survives_frozen_redis(redis: RedisServer,
                                    make_load: MakeLoad) -> None:
    """For longer than it takes to notice."""
    load = make_load(redis.url)
    redis.freeze()
    load.last(12.0)
    redis.thaw()
    load.go_on(RATE)
    load.check()
    check_one_outage(load)


def test_load_survives_swallowed_replies(proxy: Proxy,
                                         make_load: MakeLoad) -> None:
    """What was stored is not known to be, ten times for each node."""
    load = make_load(proxy.url)
    times = [0 for _ in load.nodes]
    for _ in range(20):
        before = load.stats('found_after_break')
        swallowed = proxy.swallow_replies()
        load.go_on(RATE // 5)
        assert swallowed.is_set()
        proxy.heal()
        proxy.break_connections()
        load.go_on(RATE // 5)
        # A writer may have been on its way back: then nothing of its node
        # was in doubt.
        times = [count + (found > were) for count, found, were in zip(
            times, load.stats('found_after_break'), before)]
        if min(times) >= 10:
            break
    assert min(times) >= 10
    load.check()


def test_load_survives_malformed_entries(redis: RedisServer,
                                         make_load: MakeLoad) -> None:
    load = make_load(redis.url)
    assert len(MALFORMED) >= 51
    with redis.client() as admin:
        for fields in MALFORMED.values():
            add_entry(admin, 'socket.io', fields)
            load.go_on(RATE // 50)
        # Their sender counts as a node until it takes its leave.
        add_entry(admin, 'socket.io', entry(kind=13))
    load.check(malformed=len(MALFORMED))


def test_load_survives_long_outage(redis: RedisServer,
                                   make_load: MakeLoad) -> None:
    """For half a minute; the outboxes hold 15,000 messages each."""
    load = make_load(redis.url)
    redis.kill()
    load.last(30.0)
    assert min(load.stats('outbox')) >= 29 * RATE
    redis.start()
    load.go_on(RATE)
    load.check()
    check_one_outage(load)


@pytest.mark.parametrize('who', ['member', 'not yet', 'emitter'])
def test_load_survives_outbox_longer_than_stream(
        redis: RedisServer, make_load: MakeLoad, start_nodes: StartNodes,
        unique: Unique, who: str) -> None:
    """A process has more to send than the stream keeps (10,000), and comes
    back before the readers do, which have been trying for a while."""
    load = make_load(redis.url)
    (sender,) = start_nodes(1, redis.url, **STEADY)
    if who == 'member':
        start_managers([*load.nodes, sender])
    sender.make_emitter(publish='background')
    target = 'emitter' if who == 'emitter' else 'server'
    redis.kill()
    load.last(3.0)
    event, messages = unique('event'), 15_000
    sender.time_emits(event, messages, target=target)
    load.add(event, messages)
    redis.start()
    load.go_on(RATE)
    manager = 'emitter' if who == 'emitter' else 'manager'
    assert sender.invoke(manager, 'flush', CATCH_UP_WITHIN,
                         timeout=CATCH_UP_WITHIN + 10)
    sender.close_manager()
    load.check()


@pytest.mark.parametrize('command', [b'XADD', b'XREAD'])
def test_load_survives_torn_commands_and_replies(
        proxy: Proxy, make_load: MakeLoad, command: bytes) -> None:
    """Connections end in the middle of a command, or of a reply."""
    load = make_load(proxy.url)
    traps = 0
    for share in (0.01, 0.5, 0.99):
        for set_trap in (proxy.tear_command, proxy.tear_reply_to):
            sprung = set_trap(command, share)
            traps += 1
            wait_until(sprung.is_set, what='the trap to be sprung')
            load.go_on(RATE // 10)
    load.check()
    assert min(load.stats('reader_restarts')) >= traps


def test_load_survives_one_broken_direction(proxy: Proxy,
                                            make_load: MakeLoad) -> None:
    """One direction ends before the other, or is silent, or slow."""
    load = make_load(proxy.url)
    ends: List[Callable[[], None]] = [proxy.end_commands, proxy.end_replies]
    for end in 3 * ends:
        end()
        load.go_on(RATE // 5)
    swallowed = proxy.swallow_commands()
    load.go_on(RATE // 5)
    assert swallowed.is_set()
    proxy.heal()
    load.go_on(RATE // 5)
    for delay in (proxy.delay_commands, proxy.delay_replies):
        delay(0.2)
        load.go_on(RATE)
        proxy.heal()
    load.check()
    assert min(load.stats('reader_restarts')) >= 6
