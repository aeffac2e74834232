"""A cluster under load loses nothing when its Redis or the connections to it
fail: every client gets every message once, in the order of the emits."""
from typing import Callable, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN
from ..support.entries import add_entry, entry, MALFORMED
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique
from .load import CATCH_UP_WITHIN, check_pairs, Load, RATE, start_load

MakeLoad = Callable[..., Load]

#: The number of connections of two nodes: a reader and a writer each.
CONNECTIONS = 4


@pytest.fixture
def make_load(proxy: Proxy, start_nodes: StartNodes, connect: Connect,
              unique: Unique) -> MakeLoad:
    """Starts the load on a URL."""
    # It needs the proxy only to be ended before it.
    def make(url: str) -> Load:
        return start_load(start_nodes, connect, unique, url, url)

    return make


def check_one_outage(load: Load) -> None:
    """Each node has logged one outage."""
    for node in load.nodes:
        check_pairs(node, 1)


def test_load_survives_killed_redis(redis: RedisServer,
                                    make_load: MakeLoad) -> None:
    load = make_load(redis.url)
    redis.kill()
    load.wait_seconds(3.0)
    redis.start()
    load.wait_emitted(RATE)
    load.check()
    check_one_outage(load)


def test_load_survives_killed_connections(redis: RedisServer,
                                          make_load: MakeLoad) -> None:
    """All connections are killed twenty times in six seconds."""
    load = make_load(redis.url)
    kills = 20
    with redis.client() as admin:
        def connected() -> bool:
            # The connection that asks counts, too.
            return int(admin.info('clients')['connected_clients']) \
                > CONNECTIONS

        for _ in range(kills):
            wait_until(connected, what='all nodes to be connected')
            assert int(admin.execute_command(
                'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
            ) >= CONNECTIONS
            load.wait_emitted(6 * RATE // kills)
    load.check()
    for name in ('reader_restarts', 'writer_restarts'):
        assert min(load.stats(name)) >= kills


def test_load_survives_frozen_redis(redis: RedisServer,
                                    make_load: MakeLoad) -> None:
    """Redis is frozen for longer than a node needs to notice it."""
    load = make_load(redis.url)
    redis.freeze()
    load.wait_seconds(12.0)
    redis.thaw()
    load.wait_emitted(RATE)
    load.check()
    check_one_outage(load)


def test_load_survives_swallowed_replies(proxy: Proxy,
                                         make_load: MakeLoad) -> None:
    """Redis stores messages, and the reply is lost, ten times for each node.
    """
    load = make_load(proxy.url)
    times = [0 for _ in load.nodes]

    def have_sent(before: List[int]) -> bool:
        return all(now > were for now, were in zip(load.stats('sent'), before))

    for _ in range(40):
        # A writer that is just connecting has nothing in doubt.
        sent = load.stats('sent')
        wait_until(lambda: have_sent(sent), BACK_WITHIN, 'both to send')
        before = load.stats('found_after_break')
        swallowed = proxy.swallow_replies()
        load.wait_emitted(RATE // 5)
        assert swallowed.is_set()
        proxy.heal()
        proxy.break_connections()
        load.wait_emitted(RATE // 5)
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
            load.wait_emitted(RATE // 50)
        # Their sender counts as a node until it sends ADAPTER_CLOSE.
        add_entry(admin, 'socket.io', entry(kind=13))
    load.check(malformed=len(MALFORMED))


def test_load_survives_long_outage(redis: RedisServer,
                                   make_load: MakeLoad) -> None:
    """Redis is away for half a minute; each outbox holds 15,000 messages."""
    load = make_load(redis.url)
    redis.kill()
    load.wait_seconds(30.0)
    assert min(load.stats('outbox')) >= 29 * RATE
    redis.start()
    load.wait_emitted(RATE)
    load.check()
    check_one_outage(load)


@pytest.mark.parametrize('sender_is', ['member', 'no member yet', 'emitter'])
def test_load_survives_outbox_longer_than_stream(
        redis: RedisServer, make_load: MakeLoad, start_nodes: StartNodes,
        unique: Unique, sender_is: str) -> None:
    """A process has more to send than the stream keeps (10,000), and connects
    before the readers do, which have been retrying for a while."""
    load = make_load(redis.url)
    (sender,) = start_nodes(1, redis.url, **STEADY)
    if sender_is == 'member':
        start_managers([*load.nodes, sender])
    sender.make_emitter(publish='background')
    target = 'emitter' if sender_is == 'emitter' else 'server'
    redis.kill()
    load.wait_seconds(3.0)
    event, messages = unique('event'), 15_000
    sender.time_emits(event, messages, target=target)
    load.add(event, messages)
    redis.start()
    load.wait_emitted(RATE)
    manager = 'emitter' if sender_is == 'emitter' else 'manager'
    assert sender.invoke(manager, 'flush', CATCH_UP_WITHIN,
                         timeout=CATCH_UP_WITHIN + 10)
    sender.close_manager()
    load.check()


@pytest.mark.parametrize('command', [b'XADD', b'XREAD'])
def test_load_survives_torn_commands_and_replies(
        proxy: Proxy, make_load: MakeLoad, command: bytes) -> None:
    """Connections end in the middle of a command or of a reply."""
    load = make_load(proxy.url)
    traps = 0
    for share in (0.01, 0.5, 0.99):
        for set_trap in (proxy.tear_command, proxy.tear_reply_to):
            # All are connected, so the trap cuts off all.
            for node in load.nodes:
                node.wait_health('ok', BACK_WITHIN)
            sprung = set_trap(command, share)
            traps += 1
            wait_until(sprung.is_set, what='the trap to be sprung')
            load.wait_emitted(RATE // 10)
            wait_until(lambda: min(load.stats('reader_restarts')) >= traps,
                       what='all readers to start again')
    load.check()


def test_load_survives_one_broken_direction(proxy: Proxy,
                                            make_load: MakeLoad) -> None:
    """One direction ends before the other, is silent, or is slow."""
    load = make_load(proxy.url)
    ends: List[Callable[[], None]] = [proxy.end_commands, proxy.end_replies]
    for end in 3 * ends:
        end()
        load.wait_emitted(RATE // 5)
    swallowed = proxy.swallow_commands()
    load.wait_emitted(RATE // 5)
    assert swallowed.is_set()
    proxy.heal()
    load.wait_emitted(RATE // 5)
    for delay in (proxy.delay_commands, proxy.delay_replies):
        delay(0.2)
        load.wait_emitted(RATE)
        proxy.heal()
    load.check()
    assert min(load.stats('reader_restarts')) >= 6
