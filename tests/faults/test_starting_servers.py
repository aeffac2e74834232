"""Server processes that start while Redis is in trouble: a client that was
told that it is connected gets all that others emit from then on."""
import functools
from typing import Any, Callable, Dict, List, NamedTuple

import pytest

from redis_streams_adapter.losses import COUNTERS

from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN, check_working, numbers
from ..support.account import account, EXACT
from ..support.client import Client, close_all
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..unit.nodes import Call
from .fixtures import StartNodes, Unique


#: How many events are emitted at once.
BURST = 200

#: The options of the servers that start: with and without recovery.
STARTING: Dict[str, Any] = {
    'plain': STEADY, 'recovery': {
        'connection_state_recovery': True, **STEADY}}


class Trouble(NamedTuple):
    """A trouble of Redis, for the servers that start.

    :param begin: begins it.
    :param end: ends it.
    """

    begin: Callable[[], Any]
    end: Callable[[], Any]


def slow(proxy: Proxy, seconds: float) -> Trouble:
    """Delay everything, in each direction."""
    def delay(by: float) -> None:
        proxy.delay_commands(by)
        proxy.delay_replies(by)

    return Trouble(functools.partial(delay, seconds),
                   functools.partial(delay, 0.0))


#: By name. The emitting server does not use the proxy, so that it does not
#: see the troubles of the proxy.
TROUBLES: Dict[str, Callable[[RedisServer, Proxy], Trouble]] = {
    'frozen': lambda redis, proxy: Trouble(redis.freeze, redis.thaw),
    'killed': lambda redis, proxy: Trouble(redis.kill, redis.start),
    'held': lambda redis, proxy: Trouble(proxy.hold, proxy.let_go),
    'cut off': lambda redis, proxy: Trouble(proxy.cut, proxy.open),
    'slow': lambda redis, proxy: slow(proxy, 0.05),
    'very slow': lambda redis, proxy: slow(proxy, 1.0)}


@pytest.mark.parametrize('how', TROUBLES)
def test_clients_of_starting_server_miss_nothing(
        redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        unique: Unique, how: str) -> None:
    """A server gets its first client, for which its start waits, one at the
    same time, and one later."""
    emitter, = start_nodes(1, redis.url, **STEADY)
    emitter.start_manager()
    starting = [start_nodes(1, proxy.url, **options)[0]
                for options in STARTING.values()]
    trouble = TROUBLES[how](redis, proxy)
    clients: List[Client] = []
    try:
        trouble.begin()
        calls = [Call(Client, node.url) for node in starting
                 for _ in range(2)]
        clients += [call.result() for call in calls]
        event, more = unique('event'), unique('more')
        emitter.burst(event, BURST)
        clients += [Client(node.url) for node in starting]
        emitter.burst(more, BURST)
        trouble.end()
        for client in clients:
            client.wait_for(more, BURST, 2 * BACK_WITHIN)
            assert account(numbers(client, more), BURST) == EXACT
        for client in clients[:len(calls)]:
            assert account(numbers(client, event), BURST) == EXACT
        check_working([emitter, *starting], clients, unique)
        for node in starting:
            stats = node.stats()
            assert [stats[name] for name in COUNTERS.values()] == [
                0] * len(COUNTERS)
    finally:
        close_all(clients)
