"""Connections are killed a hundred times: afterwards there are as many as
before, on the servers of Redis, on the Sentinels, and in the nodes."""
from typing import Any, Dict, List

import psutil
import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.node_process import NodeProcess, RemoteError
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value, wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import Pulses


@pytest.fixture
def single(redis_server: RedisServer) -> RedisServer:
    """A server without replicas and Sentinels."""
    return redis_server


def connections(server: Any, name: str) -> List[Dict[str, str]]:
    """The connections of this name to a server."""
    lines = ask(server, 'CLIENT', 'LIST').splitlines()
    found = [dict(pair.partition('=')[::2] for pair in line.split())
             for line in lines]
    return [each for each in found if each['name'] == name]


#: The number of a node's connections: one each of the reader, the writer and
#: the listener, and one of the publisher if the node sends requests over
#: PUB/SUB. In a cluster, sharded channels add a connection of the listener
#: to each master that has one of them, and a connection of the publisher to
#: each master to which something was sent.
CONNECTIONS = {
    ('single', 'stream'): 3, ('sentinels', 'stream'): 3,
    ('cluster', 'stream'): 3, ('single', 'pubsub'): 4,
    ('cluster', 'pubsub'): 4}

#: The limit of a node's connections in a cluster with three masters.
MOST = 4 + 3 + 3

#: So many that each master has channels of some of them.
NAMESPACES = [f'/namespace-{number}' for number in range(25)]


@pytest.mark.parametrize('which, transport', CONNECTIONS)
def test_no_connection_is_left_over(
        request: Any, which: str, transport: str, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    topology = request.getfixturevalue(which)
    stream = name = unique('stream')
    nodes = start_nodes(
        2, topology.url, stream_name=stream, channel_prefix=name,
        request_transport=transport, redis_options={
            'client_name': name,
            **({'sentinel_kwargs': {'client_name': name}}
               if hasattr(topology, 'sentinels') else {})}, **STEADY)
    start_managers(nodes)
    for node in nodes:
        node.handle_server_side('name')
    pulses = Pulses(nodes, [connect(node) for node in nodes], unique)
    pulses.wait_flow()
    servers = getattr(topology, 'servers', [topology])
    sentinels = getattr(topology, 'sentinels', [])

    def count() -> List[int]:
        return [sum(len(connections(each, name)) for each in some)
                for some in (servers, sentinels)]

    def wait_answer(node: NodeProcess) -> None:
        """Wait until a request of the node is answered."""
        def answered() -> bool:
            try:
                return node.server_side_call('name', timeout=1.0) == [None]
            except RemoteError:
                return False

        wait_until(answered, BACK_WITHIN, f'an answer to {node.name}')

    expected = [2 * CONNECTIONS[which, transport], 0]
    for node in nodes:
        wait_answer(node)
    wait_for_value(count, expected, what='connections before')
    files = [psutil.Process(node.process.pid).num_fds() for node in nodes]
    killed = 0
    while killed < 100:
        for server in servers:
            for each in connections(server, name):
                # It may have ended by itself.
                killed += ask(server, 'CLIENT', 'KILL', 'ID', each['id'])
        pulses.wait_flow(1)
        for node in nodes:
            wait_answer(node)
        wait_for_value(count, expected, BACK_WITHIN, 'connections')
    wait_until(lambda: [psutil.Process(node.process.pid).num_fds()
                        for node in nodes] <= files,
               what=lambda: f'{files} files, there are more')


@pytest.mark.parametrize('transport', ['stream', 'pubsub', 'sharded-pubsub'])
def test_namespaces_add_no_connections_in_cluster(
        cluster: Any, transport: str, start_nodes: StartNodes,
        unique: Unique) -> None:
    """The number of masters limits the connections, not that of namespaces.
    """
    name = unique('stream')
    nodes = start_nodes(
        2, cluster.url, stream_name=name, channel_prefix=name,
        request_transport=transport,
        redis_options={'client_name': name}, **STEADY)
    start_managers(nodes)

    def count() -> int:
        return sum(len(connections(each, name)) for each in cluster.servers)

    def ask_everywhere() -> None:
        for namespace in NAMESPACES:
            for node, other in zip(nodes, nodes[::-1]):
                assert node.server_side_call(
                    'name', namespace=namespace) == [other.name]

    for node in nodes:
        for namespace in NAMESPACES:
            node.handle_server_side('name', node.name, namespace=namespace)
    for node in nodes:
        for namespace in NAMESPACES:
            node.wait_server_count(2, namespace)
    ask_everywhere()
    each = CONNECTIONS.get(('cluster', transport), MOST)
    wait_for_value(count, 2 * each, BACK_WITHIN, 'connections')
    files = [psutil.Process(node.process.pid).num_fds() for node in nodes]
    killed = 0
    while killed < 100:
        for server in cluster.servers:
            for one in connections(server, name):
                killed += ask(server, 'CLIENT', 'KILL', 'ID', one['id'])
        for node in nodes:
            for namespace in NAMESPACES:
                node.wait_server_count(2, namespace, timeout=BACK_WITHIN)
    ask_everywhere()
    wait_for_value(count, 2 * each, BACK_WITHIN, 'connections')
    wait_until(lambda: [psutil.Process(node.process.pid).num_fds()
                        for node in nodes] <= files,
               what=lambda: f'{files} files, there are more')
