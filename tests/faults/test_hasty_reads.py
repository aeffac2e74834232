"""A proxy, or a server that is not Redis, does not let a read wait."""
import logging
import time
from typing import Any

import pytest

from ..integration.conftest import start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers
from ..support import modes
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .fixtures import Connect, StartNodes, Unique

#: How many commands a second two servers at rest may send: two for each read
#: of the stream and one for each of the inbox, four a second of both,
#: and a few for what is done now and then.
AT_REST = 30

#: Few entries are written at rest: after each, the pauses are short again.
QUIET = {'heartbeat_interval': 30.0, 'heartbeat_timeout': 60.0}

#: For how long they are counted, in seconds.
MEASURED = 3.0


def warnings(node: NodeProcess) -> Any:
    """What a node has logged about it."""
    return [line for line in node.logs(logging.WARNING)
            if 'does not wait for entries' in line]


@pytest.mark.parametrize('recovery', [False, True])
@pytest.mark.parametrize('mode', modes.MODES)
def test_reads_that_do_not_wait(
        mode: str, redis: RedisServer, proxy: Proxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, recovery: bool) -> None:
    for module in modes.REQUIREMENTS[mode]:
        pytest.importorskip(module)
    proxy.end_waits()
    nodes = [*start_nodes(1, proxy.url, **QUIET,
                          connection_state_recovery=recovery),
             *start_nodes(1, redis.url, **QUIET,
                          connection_state_recovery=recovery)]
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    wait_until(lambda: warnings(nodes[0]), what='the warning')
    for node in nodes:
        node.handle_server_side('name', node.name)
    # From now on they read answers, too.
    for node, other in zip(nodes, nodes[::-1]):
        assert node.server_side_call('name') == [other.name]
    with redis.client() as admin:
        def count() -> int:
            return int(admin.info('stats')['total_commands_processed'])

        before, cpu = count(), nodes[0].cpu_time()
        begun = time.monotonic()
        # Not a wait: this is for how long it is measured.
        time.sleep(MEASURED)
        lasted = time.monotonic() - begun
        assert (count() - before) / lasted < AT_REST
        assert (nodes[0].cpu_time() - cpu) / lasted < 0.2
    event = unique('event')
    for node in nodes:
        node.burst(event, 300)
    for client in clients:
        client.wait_for(event, 600, timeout=BACK_WITHIN)
        assert sorted(numbers(client, event)) == sorted(2 * list(range(300)))
    check_working(nodes, clients, unique)
    assert len(warnings(nodes[0])) == 1
    assert warnings(nodes[1]) == []
