"""Requests over PUB/SUB in a Redis Cluster, on whichever server a channel is,
and when it moves to another."""
from typing import Any, Dict, List

import pytest

from redis_streams_adapter.protocol.routing import private_channel, \
    public_channel

from ...conftest import skip_incapable
from ...integration.conftest import STEADY
from ...integration.helpers import BACK_WITHIN
from ...support.node_process import NodeProcess, RemoteError
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value, wait_until
from ..fixtures import Connect, StartNodes, Unique


STREAM, PUBSUB, SHARDED = 'stream', 'pubsub', 'sharded-pubsub'

#: The timeout in seconds of a request that may fail.
TIMEOUT = 1.0


@pytest.fixture(autouse=True)
def require_sharded_channels(cluster: RedisCluster) -> None:
    """Skip tests if the cluster has no sharded channels."""
    if not cluster.servers[0].binary.has_sharded_channels:
        skip_incapable('no sharded channels')


class Group:
    """Nodes that answer an event with their names, and a client on each that
    answers it with its sid.

    :param transports: the request transport of each node.
    """

    def __init__(self, cluster: RedisCluster, start_nodes: StartNodes,
                 connect: Connect, unique: Unique, *transports: str,
                 **options: Any) -> None:
        self.prefix = unique('group')
        settings: Dict[str, Any] = {
            **STEADY, 'stream_name': self.prefix,
            'channel_prefix': self.prefix,
            'redis_options': {'socket_timeout': 2.0}, **options}
        self.nodes = [start_nodes(1, cluster.url, request_transport=each,
                                  **settings)[0] for each in transports]
        for node in self.nodes:
            node.start_manager()
            node.handle_server_side('name', node.name)
        self.clients = [connect(node) for node in self.nodes]
        for client in self.clients:
            client.answer('name', client.sid)
        self.wait_complete()

    def wait_complete(self) -> None:
        """Wait until each node counts all nodes."""
        for node in self.nodes:
            node.wait_server_count(len(self.nodes), timeout=BACK_WITHIN)

    @property
    def public(self) -> str:
        """The channel of requests."""
        return public_channel(self.prefix, '/')

    def private_of(self, node: NodeProcess) -> str:
        """The channel of answers to a node."""
        return private_channel(self.prefix, '/', node.uid())

    def check_requests(self) -> None:
        """The first request of each node gets all answers."""
        sids = sorted(client.sid for client in self.clients)
        for node in self.nodes:
            assert sorted(node.server_side_call('name')) == sorted(
                each.name for each in self.nodes if each is not node)
            assert sorted(node.emit_with_ack('name')) == sids
            assert sorted(each['sid'] for each in node.fetch_sockets()) \
                == sids

    def wait_working(self) -> None:
        """Wait until each node gets answers from all others."""
        def answers(node: NodeProcess) -> int:
            try:
                return len(node.server_side_call('name', timeout=TIMEOUT))
            except RemoteError as exc:
                assert exc.types[0] == 'ClusterTimeoutError'
                return -1

        for node in self.nodes:
            wait_for_value(lambda: answers(node), len(self.nodes) - 1,
                           BACK_WITHIN, f'the answers to {node.name}')


def move(cluster: RedisCluster, channel: str) -> RedisServer:
    """Move the slot of a channel to another server.

    :return: that server.
    """
    source = cluster.master_of(channel)
    target = cluster.others(source)[0]
    cluster.begin_move(channel, source, target)
    cluster.end_move(channel, source, target)
    return target


@pytest.mark.parametrize('transports', [
    (PUBSUB,) * 3, (SHARDED,) * 3, (STREAM, PUBSUB, STREAM)], ids='+'.join)
def test_requests_reach_all_nodes(cluster: RedisCluster,
                                  start_nodes: StartNodes, connect: Connect,
                                  unique: Unique,
                                  transports: List[str]) -> None:
    group = Group(cluster, start_nodes, connect, unique, *transports)
    group.check_requests()
    *guests, member = group.nodes
    member.handle_server_side('name', member.name, namespace='/elsewhere')
    for node in guests:
        if node.options['request_transport'] != STREAM:
            node.wait_server_count(1, '/elsewhere')
            assert node.server_side_call(
                'name', namespace='/elsewhere') == [member.name]
            assert node.server_count('/elsewhere') == 1
    for node in group.nodes:
        assert node.health()['status'] == 'ok'
        stats = node.stats()
        assert stats['requests_dropped'] == stats['malformed'] == 0


def test_listener_on_any_server_is_counted(cluster: RedisCluster,
                                           start_nodes: StartNodes,
                                           connect: Connect,
                                           unique: Unique) -> None:
    """A server in Node.js may listen on any server: one with ioredis chooses
    among masters and replicas."""
    group = Group(cluster, start_nodes, connect, unique, PUBSUB, PUBSUB)
    assert len(cluster.servers) == 6
    for server in cluster.servers:
        with server.client() as client, client.pubsub() as listener:
            listener.subscribe(group.public)
            group.nodes[0].wait_server_count(3)
        group.nodes[0].wait_server_count(2)


def test_requests_do_not_need_replicas(cluster: RedisCluster,
                                       start_nodes: StartNodes,
                                       connect: Connect,
                                       unique: Unique) -> None:
    """The cluster still lists one that is frozen."""
    group = Group(cluster, start_nodes, connect, unique, PUBSUB, PUBSUB)
    replica = cluster.replica_of(cluster.master_of(group.prefix))
    replica.freeze()
    try:
        group.check_requests()
        group.wait_complete()
    finally:
        replica.thaw()
        cluster.wait_healthy()
    group.check_requests()


def test_requests_follow_slot_of_channel(cluster: RedisCluster,
                                         start_nodes: StartNodes,
                                         connect: Connect,
                                         unique: Unique) -> None:
    """Redis ends the subscriptions, but no connection."""
    group = Group(cluster, start_nodes, connect, unique, SHARDED, SHARDED)
    group.check_requests()
    for channel in (group.public, group.private_of(group.nodes[0]),
                    group.public):
        target = move(cluster, channel)
        wait_until(lambda: ask(target, 'PUBSUB', 'SHARDNUMSUB', channel)[1],
                   BACK_WITHIN, 'a subscription on the new server')
        group.wait_complete()
        group.check_requests()
    for node in group.nodes:
        node.wait_health('ok', BACK_WITHIN)


def test_plain_channels_ignore_slot_move(cluster: RedisCluster,
                                         start_nodes: StartNodes,
                                         connect: Connect,
                                         unique: Unique) -> None:
    """Plain channels are on all servers."""
    group = Group(cluster, start_nodes, connect, unique, PUBSUB, PUBSUB)
    move(cluster, group.public)
    group.wait_complete()
    group.check_requests()


@pytest.mark.parametrize('transport', [PUBSUB, SHARDED])
def test_requests_work_after_failover(cluster: RedisCluster,
                                      start_nodes: StartNodes,
                                      connect: Connect, unique: Unique,
                                      transport: str) -> None:
    """The master of the channel of requests is killed, or the one to which
    plain listeners are connected."""
    group = Group(cluster, start_nodes, connect, unique, transport,
                  transport)
    group.check_requests()
    key = group.public if transport == SHARDED else ''
    with cluster.quick_failover():
        old = cluster.master_of(key)
        old.kill()
        for node in group.nodes:
            # It ends, with or without an error.
            try:
                node.fetch_sockets(timeout=TIMEOUT)
            except RemoteError as exc:
                assert exc.types[0] == 'ClusterTimeoutError'
        cluster.wait_new_master_of(key, old)
        group.wait_complete()
        group.wait_working()
        group.check_requests()
    for node in group.nodes:
        node.wait_health('ok', BACK_WITHIN)
    group.wait_complete()
    group.check_requests()
