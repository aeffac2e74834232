"""Threads of the system emit in a server of green threads: that works, or
raises at once, and the server is not mute afterwards."""
from typing import List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers, PROMPT
from ..support import modes
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from .fixtures import Connect, StartNodes, Unique

#: How many events each kind of thread emits.
COUNT = 50


@pytest.fixture(params=['gevent', 'eventlet'])
def mode(request: pytest.FixtureRequest) -> str:
    """The modes that have green threads."""
    for module in modes.REQUIREMENTS[request.param]:
        pytest.importorskip(module)
    return str(request.param)


def emit_in_turns(node: NodeProcess, how: str, event: str) -> List[int]:
    """Emit from threads of the system, from a green thread, and again.

    :return: the numbers.
    """
    for first in range(0, 4 * COUNT, 2 * COUNT):
        found = node.emit_elsewhere(how, event, first, COUNT)
        assert (found['accepted'], found['error']) == (COUNT, ''), found
        assert found['longest'] < PROMPT
        node.emit_range(event, range(first + COUNT, first + 2 * COUNT))
    return list(range(4 * COUNT))


def check_emits(nodes: List[NodeProcess], how: str, connect: Connect,
                unique: Unique) -> None:
    """What these threads of a node emit arrives, and the node goes on."""
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emitted = emit_in_turns(nodes[0], how, event)
    for client in clients:
        client.wait_for(event, len(emitted), timeout=BACK_WITHIN)
        assert numbers(client, event) == emitted
    check_working(nodes, clients, unique)


@pytest.mark.parametrize('publish', ['background', 'sync'])
@pytest.mark.parametrize('how', ['pool', 'thread'])
@pytest.mark.parametrize('recovery', [False, True])
def test_threads_of_the_system_emit(
        redis: RedisServer, start_nodes: StartNodes, connect: Connect,
        unique: Unique, publish: str, how: str, recovery: bool) -> None:
    check_emits(start_nodes(2, redis.url, **STEADY, publish=publish,
                            connection_state_recovery=recovery),
                how, connect, unique)


@pytest.mark.parametrize('how', ['pool', 'thread'])
def test_manager_is_first_used_there(
        redis: RedisServer, start_nodes: StartNodes, connect: Connect,
        unique: Unique, how: str) -> None:
    """No green thread can be started there, which is said at once. The server
    starts all the same."""
    nodes = start_nodes(2, redis.url, **STEADY)
    found = nodes[0].emit_elsewhere(how, unique('event'), 0, 3)
    assert found['longest'] < PROMPT
    assert found['accepted'] or 'call start()' in found['error'], found
    check_emits(nodes, how, connect, unique)
