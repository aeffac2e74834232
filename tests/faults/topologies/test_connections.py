"""Connections are killed a hundred times: afterwards there are as many as
before, on the servers of Redis, on the Sentinels, and in the nodes."""
from typing import Any, Callable, Dict, List, Sequence

import psutil
import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.node_process import NodeProcess, RemoteError
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import Pulses
from .conftest import skip_if_incapable


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
#: each master to which something was sent.
#:
#: Over the stream, a node that asks has a connection to its inbox, and one
#: that answers has one to the inbox of the other node, in a cluster also one
#: to look up where that is. Both are opened when they are needed, so there may
#: be fewer.
CONNECTIONS = {
    ('single', 'stream'): (3, 5), ('sentinels', 'stream'): (3, 5),
    ('cluster', 'stream'): (3, 6), ('single', 'pubsub'): (4, 4),
    ('cluster', 'pubsub'): (4, 4)}

#: The limit of a node's connections in a cluster with three masters.
MOST = 4 + 3 + 3


def wait_connections(count: Callable[[], List[int]], fewest: int, most: int,
                     timeout: float, files: Sequence[int] = (),
                     nodes: Sequence[NodeProcess] = ()) -> None:
    """Wait until two nodes have as many connections as they may have, and none
    to Sentinels.

    :param files: how many open files each node had with that, if known.
    """
    wait_until(lambda: 2 * fewest <= count()[0] <= 2 * most
               and not any(count()[1:]), timeout,
               lambda: f'{fewest} to {most} connections a node, there are '
                       f'{count()}')
    open_files = [psutil.Process(each.process.pid).num_fds for each in nodes]
    wait_until(lambda: all(
        now() <= before + most - fewest
        for now, before in zip(open_files, files)),
        what=lambda: f'{files} files, there are more')


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

    fewest, most = CONNECTIONS[which, transport]
    for node in nodes:
        wait_answer(node)
    wait_connections(count, fewest, most, BACK_WITHIN)
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
        wait_connections(count, fewest, most, BACK_WITHIN)
    wait_connections(count, fewest, most, BACK_WITHIN, files, nodes)


@pytest.mark.parametrize('transport', ['stream', 'pubsub', 'sharded-pubsub'])
def test_namespaces_add_no_connections_in_cluster(
        cluster: Any, transport: str, start_nodes: StartNodes,
        unique: Unique) -> None:
    """The number of masters limits the connections, not that of namespaces.
    """
    skip_if_incapable(transport, cluster.servers[0])
    name = unique('stream')
    nodes = start_nodes(
        2, cluster.url, stream_name=name, channel_prefix=name,
        request_transport=transport,
        redis_options={'client_name': name}, **STEADY)
    start_managers(nodes)

    def count() -> List[int]:
        return [sum(len(connections(each, name)) for each in cluster.servers)]

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
    fewest, most = CONNECTIONS.get(('cluster', transport), (MOST, MOST))
    wait_connections(count, fewest, most, BACK_WITHIN)
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
    wait_connections(count, fewest, most, BACK_WITHIN, files, nodes)
