"""Servers at their limit of clients: connections that they refuse back off
together, and ``health()`` names the reason."""
import logging
import time
from typing import Any, List

import pytest
import redis

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.node_process import NodeProcess, RemoteError
from ...support.redis_server import RedisServer
from ...support.wait import wait_until
from ..fixtures import StartNodes, Unique
from .conftest import skip_if_incapable

#: The number of streams: each has a reader and a writer in each node.
STREAMS = 8

#: Seconds for which attempts are counted, once the pauses have grown.
WINDOW = 5.0

#: The largest number of attempts of a process in a second at one server: the
#: pause is at least half a second by then, and two tasks may try at the same
#: moment.
RATE = 4

NAMESPACES = [f'/namespace-{number}' for number in range(10)]


@pytest.fixture
def single(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.mark.parametrize('which, transport', [
    ('single', 'pubsub'), ('cluster', 'stream'),
    ('cluster', 'sharded-pubsub')])
def test_full_servers(request: Any, which: str, transport: str,
                      start_nodes: StartNodes, unique: Unique) -> None:
    topology = request.getfixturevalue(which)
    servers = getattr(topology, 'servers', [topology])
    skip_if_incapable(transport, servers[0])
    name = unique('stream')
    nodes = start_nodes(
        2, topology.url, stream_name=name, channel_prefix=name,
        stream_count=STREAMS, request_transport=transport,
        redis_options={'client_name': name}, **STEADY)
    start_managers(nodes)
    for node in nodes:
        node.handle_server_side('name', node.name)
        for namespace in NAMESPACES:
            node.handle_server_side('name', namespace=namespace)
    for node in nodes:
        node.wait_server_count(2, NAMESPACES[-1])
    # Connected before the servers are full.
    admins = [server.client() for server in servers]
    limits = [each.config_get('maxclients')['maxclients'] for each in admins]
    starts = [len(node.logs(logging.WARNING)) for node in nodes]
    try:
        for each in admins:
            each.config_set('maxclients', 1)
        for each in admins:
            end_connections(each, name)
        for node in nodes:
            node.wait_health('degraded', BACK_WITHIN)
            wait_until(lambda: 'max number of clients' in str(
                node.health()['last_error']), BACK_WITHIN, 'the reason')
        counts = refused_within(WINDOW, admins)
    finally:
        for each, limit in zip(admins, limits):
            each.config_set('maxclients', limit)
            each.close()
    assert max(counts) <= 2 * RATE * WINDOW, counts
    for node, start in zip(nodes, starts):
        node.wait_health('ok', BACK_WITHIN)
        lines = node.logs(logging.WARNING, start)
        # Of the streams, and of PUB/SUB: one each.
        away = [line for line in lines if 'cannot be used' in line]
        assert 1 <= len(away) <= 2, lines
        assert len(lines) <= 2 * len(away), lines
    for node, other in zip(nodes, nodes[::-1]):
        wait_until(lambda: answers(node) == [other.name], BACK_WITHIN,
                   f'an answer to {node.name}')


def end_connections(admin: 'redis.Redis[Any]', name: str) -> None:
    """End the connections of this name."""
    for each in admin.client_list():
        if each['name'] == name:
            admin.client_kill_filter(_id=each['id'])


def refused_within(seconds: float, admins: List[Any]) -> List[int]:
    """How many connections each server refuses in this time."""
    def count() -> List[int]:
        return [int(each.info('stats')['rejected_connections'])
                for each in admins]

    # Nothing is waited for: what happens in a given time is counted. The first
    # time is not: the pauses still grow.
    time.sleep(seconds)
    before = count()
    time.sleep(seconds)
    return [after - was for after, was in zip(count(), before)]


def answers(node: NodeProcess) -> Any:
    """The answers to a request of a node; ``None``: it failed."""
    try:
        return node.server_side_call('name', timeout=1.0)
    except RemoteError:
        return None
