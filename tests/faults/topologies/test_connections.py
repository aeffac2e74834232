"""Connections are killed a hundred times: afterwards there are as many as
before, on the servers, on those that are asked for them, and in the nodes.
"""
from typing import Any, Callable, Dict, List

import psutil
import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.client import Client
from ...support.node_process import NodeProcess
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value, wait_until
from .accounts import Pulses

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

#: How often connections are killed, all four of the two nodes each time.
ROUNDS = 25


@pytest.fixture
def single(redis_server: RedisServer) -> RedisServer:
    """One server that has neither replicas nor Sentinels."""
    return redis_server


def connections(server: Any, name: str) -> List[Dict[str, str]]:
    """The connections of this name to a server."""
    lines = ask(server, 'CLIENT', 'LIST').splitlines()
    found = [dict(pair.partition('=')[::2] for pair in line.split())
             for line in lines]
    return [each for each in found if each['name'] == name]


@pytest.mark.parametrize('topology', ['single', 'cluster', 'sentinels'])
def test_no_connection_is_left_over(
        request: Any, topology: str, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    topology = request.getfixturevalue(topology)
    stream = name = unique('stream')
    nodes = start_nodes(2, topology.url, stream_name=stream, redis_options={
        'client_name': name,
        **({'sentinel_kwargs': {'client_name': name}}
           if hasattr(topology, 'sentinels') else {})}, **STEADY)
    start_managers(nodes)
    pulses = Pulses(nodes, [connect(node) for node in nodes], unique)
    pulses.wait_flow()
    servers = getattr(topology, 'servers', [topology])
    master = topology.master_of(stream) if len(servers) > 1 else topology
    sentinels = getattr(topology, 'sentinels', [])
    everywhere = [*servers, *sentinels]

    def count() -> List[int]:
        return [len(connections(each, name)) for each in everywhere]

    expected = [4 if each is master else 0 for each in everywhere]
    wait_for_value(count, expected, what='connections before')
    files = [psutil.Process(node.process.pid).num_fds() for node in nodes]
    for _ in range(ROUNDS):
        killed = connections(master, name)
        assert len(killed) == 4
        for each in killed:
            assert ask(master, 'CLIENT', 'KILL', 'ID', each['id']) == 1
        pulses.wait_flow(1)
        wait_for_value(lambda: len(connections(master, name)), 4,
                       BACK_WITHIN, 'connections')
    wait_for_value(count, expected, what='connections afterwards')
    wait_until(lambda: [psutil.Process(node.process.pid).num_fds()
                        for node in nodes] <= files,
               what=lambda: f'{files} files, there are more')
    pulses.check_all_arrived()
