"""What an outage and its end cost a process at most."""
import statistics
import time
from typing import Any, Dict, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers, \
    outage_lines
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, MakeProxy, StartNodes, Unique


#: The socket timeout in seconds: a command that does not block ends after it.
SOCKET_TIMEOUT = 1.0

#: How long a read waits for entries, in seconds.
BLOCK_TIME = 0.5

#: Options of nodes that notice an outage soon.
QUICK: Dict[str, Any] = {
    **STEADY, 'block_time': BLOCK_TIME,
    'redis_options': {'socket_timeout': SOCKET_TIMEOUT}}

#: Seconds beyond its block time after which a read ends.
READ_MARGIN = 5.0

#: Seconds that a busy machine may add to a measured time.
NOISE = 1.0

#: The number of rounds of a measurement that other processes can spoil. The
#: best round counts.
ROUNDS = 8

#: Ways in which Redis goes away: its port refuses connections, or it does not
#: answer.
WAYS = ['kill', 'freeze']


def go_away(redis: RedisServer, how: str) -> None:
    """Begin an outage."""
    getattr(redis, how)()


def come_back(redis: RedisServer, how: str) -> None:
    """End it."""
    if how == 'freeze':
        redis.thaw()
    else:
        redis.start()


# -- while Redis is away ----------------------------------------------------

@pytest.mark.parametrize('how', WAYS)
def test_outage_takes_little_cpu(redis: RedisServer, start_nodes: StartNodes,
                                 connect: Connect, unique: Unique,
                                 how: str) -> None:
    """Two nodes that only wait for Redis take less than 2 % of a CPU."""
    measured, most = 6.0, 0.02
    nodes = start_nodes(2, redis.url, **QUICK)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    go_away(redis, how)
    for node in nodes:
        # So that its writer notices the outage, too.
        node.emit(unique('event'))
    for node in nodes:
        wait_until(lambda: outage_lines(node),
                   what=f'{node.name} to log the outage')
    before = [node.cpu_time() for node in nodes]
    # No condition to wait for: this is the time of the measurement.
    time.sleep(measured)
    used = [node.cpu_time() - start
            for node, start in zip(nodes, before)]
    come_back(redis, how)
    assert max(used) < measured * most
    check_working(nodes, clients, unique)


@pytest.mark.parametrize('publish', ['background', 'sync'])
@pytest.mark.parametrize('how', WAYS)
def test_emit_returns_soon_during_outage(redis: RedisServer,
                                         start_nodes: StartNodes,
                                         connect: Connect, unique: Unique,
                                         how: str, publish: str) -> None:
    """No emit takes longer than the socket timeout, and once the outage is
    noticed they take under a millisecond."""
    nodes = start_nodes(2, redis.url, publish=publish, **QUICK)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    first, second = unique('event'), unique('event')
    go_away(redis, how)
    gone = time.monotonic()
    at_first = nodes[0].time_emits(first, 1)
    nodes[0].wait_health('degraded')
    noticed = time.monotonic() - gone
    at_first['longest'] = max(
        at_first['longest'], nodes[0].time_emits(second, 1)['longest'])
    wait_until(lambda: outage_lines(nodes[0]), what='a logged outage')
    third = unique('event')
    then = nodes[0].time_emits(third, 500)
    come_back(redis, how)
    assert at_first['longest'] < SOCKET_TIMEOUT + NOISE
    assert noticed < SOCKET_TIMEOUT + NOISE
    assert then['median'] < 0.001
    clients[1].wait_for(third, 500, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, first) == numbers(client, second) == [0]
        assert numbers(client, third) == list(range(500))


# -- when it is back --------------------------------------------------------

def test_long_outbox_blocks_no_task(mode: str, redis: RedisServer,
                                    start_nodes: StartNodes) -> None:
    """While one node sends 30,000 messages and another reads them, no other
    task of either node waits for longer than 20 ms."""
    if mode == 'threading':
        pytest.skip('threads do not wait for each other')
    messages, longest = 30_000, 0.020
    nodes = start_nodes(2, redis.url, **STEADY)
    start_managers(nodes)
    gaps: List[List[float]] = []
    for _ in range(ROUNDS):
        redis.stop()
        nodes[0].wait_health('degraded')
        nodes[0].time_emits('event', messages, room='empty')
        goal = nodes[1].stats()['received'] + messages
        for node in nodes:
            node.start_watch()
        redis.start()
        assert nodes[0].flush(60.0)
        wait_until(lambda: nodes[1].stats()['received'] >= goal, 60.0,
                   what='all entries to be read')
        gaps.append([node.stop_watch() for node in nodes])
        for node in nodes:
            node.wait_health('ok', BACK_WITHIN)
            assert node.stats()['messages_lost'] == 0
        if max(map(min, zip(*gaps))) < longest:
            break
    # The best round of each node: the machine has other processes.
    assert max(map(min, zip(*gaps))) < longest, gaps


def test_silent_reader_reconnects(redis: RedisServer, make_proxy: MakeProxy,
                                  start_nodes: StartNodes, connect: Connect,
                                  unique: Unique) -> None:
    """Its connection seems to work, but no reply arrives: it takes a new
    connection."""
    proxy = make_proxy(redis.port)
    proxy.open()
    nodes = (start_nodes(1, proxy.url, **QUICK)
             + start_nodes(1, redis.url, **QUICK))
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    before = nodes[0].stats()['reader_restarts']
    swallowed = proxy.swallow_replies(to=b'BLOCK')
    wait_until(swallowed.is_set, what='a reply to be swallowed')
    event = unique('event')
    started = time.monotonic()
    for number in range(20):
        nodes[1].emit(event, number)
    clients[0].wait_for(event, 20, timeout=BACK_WITHIN)
    took = time.monotonic() - started
    assert took < BLOCK_TIME + READ_MARGIN + NOISE
    assert nodes[0].stats()['reader_restarts'] == before + 1
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(20))


def test_reader_and_writer_return_together(redis: RedisServer,
                                           make_proxy: MakeProxy,
                                           start_nodes: StartNodes,
                                           connect: Connect,
                                           unique: Unique) -> None:
    """The first task of a node that connects wakes the other one."""
    proxy = make_proxy(redis.port)
    proxy.open()
    nodes = start_nodes(1, proxy.url, **QUICK)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    apart: List[float] = []
    # Five times on a quiet machine.
    while len(apart) < 5 or statistics.median(apart) >= 0.1 \
            and len(apart) < 15:
        lines = len(outage_lines(nodes[0]))
        proxy.cut()
        nodes[0].emit(unique('event'))
        wait_until(lambda: len(outage_lines(nodes[0])) > lines,
                   what='a logged outage')
        restarts = nodes[0].stats()['reader_restarts']
        # By then it pauses for half a second or more.
        wait_until(
            lambda: nodes[0].stats()['reader_restarts'] >= restarts + 5,
            what='the pauses to be long')
        proxy.accepted.clear()
        proxy.open()
        nodes[0].wait_health('ok', BACK_WITHIN)
        apart.append(proxy.accepted[1] - proxy.accepted[0])
    # Independent tasks would return a quarter of a second apart on average.
    assert statistics.median(apart) < 0.1, apart
    check_working(nodes, clients, unique)
