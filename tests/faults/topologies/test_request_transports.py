"""Requests over PUB/SUB in a Redis Cluster: whatever server a channel is on,
and when it moves to another."""
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter.protocol.routing import private_channel, \
    public_channel

from ...conftest import skip_or_fail
from ...integration.conftest import STEADY
from ...integration.helpers import BACK_WITHIN
from ...support.client import Client
from ...support.node_process import NodeProcess, RemoteError
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value, wait_until

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

STREAM, PUBSUB, SHARDED = 'stream', 'pubsub', 'sharded-pubsub'

#: Seconds that a request may take which may fail.
PATIENCE = 1.0


@pytest.fixture(autouse=True)
def sharding(cluster: RedisCluster) -> None:
    """A cluster that has sharded channels."""
    version = ask(cluster.servers[0], 'INFO', 'server').partition(
        'redis_version:')[2]
    if int(version.partition('.')[0]) < 7:
        skip_or_fail('the redis-server is older than 7.0')


class Party:
    """Nodes that answer an event with their names, and a client on each
    that does so with its sid.

    :param transports: of each of them.
    """

    def __init__(self, cluster: RedisCluster, start_nodes: StartNodes,
                 connect: Connect, unique: Unique, *transports: str,
                 **options: Any) -> None:
        self.prefix = unique('party')
        settings: Dict[str, Any] = {
            **STEADY, 'stream_name': self.prefix,
            'channel_prefix': self.prefix,
            'redis_options': {'socket_timeout': 2.0}, **options}
        self.nodes = [start_nodes(1, cluster.url, request_transport=each,
                                  **settings)[0] for each in transports]
        for node in self.nodes:
            node.start_manager()
            node.handle_server_side('who', node.name)
        self.clients = [connect(node) for node in self.nodes]
        for client in self.clients:
            client.answer('who', client.sid)
        self.wait_complete()

    def wait_complete(self) -> None:
        """Wait until each counts all."""
        for node in self.nodes:
            node.wait_server_count(len(self.nodes), timeout=BACK_WITHIN)

    @property
    def public(self) -> str:
        """Where requests are published."""
        return public_channel(self.prefix, '/')

    def private_of(self, node: NodeProcess) -> str:
        """Where answers to a node are."""
        return private_channel(self.prefix, '/', node.uid())

    def check_requests(self) -> None:
        """Each asks all others, and gets all answers, at once."""
        sids = sorted(client.sid for client in self.clients)
        for node in self.nodes:
            assert sorted(node.server_side_call('who')) == sorted(
                each.name for each in self.nodes if each is not node)
            assert sorted(node.emit_with_ack('who')) == sids
            assert sorted(each['sid'] for each in node.fetch_sockets()) \
                == sids

    def wait_working(self) -> None:
        """Wait until each gets an answer of all others."""
        def answers(node: NodeProcess) -> int:
            try:
                return len(node.server_side_call('who', timeout=PATIENCE))
            except RemoteError as exc:
                assert exc.types[0] == 'ClusterTimeoutError'
                return -1

        for node in self.nodes:
            wait_for_value(lambda: answers(node), len(self.nodes) - 1,
                           BACK_WITHIN, f'the answers to {node.name}')


def move(cluster: RedisCluster, channel: str) -> RedisServer:
    """The slot of a channel goes to another server.

    :return: which.
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
    party = Party(cluster, start_nodes, connect, unique, *transports)
    party.check_requests()
    *guests, member = party.nodes
    member.handle_server_side('who', member.name, namespace='/elsewhere')
    for node in guests:
        if node.options['request_transport'] != STREAM:
            node.wait_server_count(1, '/elsewhere')
            assert node.server_side_call(
                'who', namespace='/elsewhere') == [member.name]
            assert node.server_count('/elsewhere') == 1
    for node in party.nodes:
        assert node.health()['status'] == 'ok'
        stats = node.stats()
        assert stats['requests_dropped'] == stats['malformed'] == 0


def test_listener_on_any_master_is_counted(cluster: RedisCluster,
                                           start_nodes: StartNodes,
                                           connect: Connect,
                                           unique: Unique) -> None:
    """A server in Node.js may be connected to any master."""
    party = Party(cluster, start_nodes, connect, unique, PUBSUB, PUBSUB)
    servers = [each for each in cluster.servers
               if each.port in cluster.owners(each).values()]
    assert len(servers) == 3
    for server in servers:
        with server.client() as client, client.pubsub() as listener:
            listener.subscribe(party.public)
            party.nodes[0].wait_server_count(3)
        party.nodes[0].wait_server_count(2)


def test_requests_follow_slot_of_channel(cluster: RedisCluster,
                                         start_nodes: StartNodes,
                                         connect: Connect,
                                         unique: Unique) -> None:
    """The server ends the subscriptions, and no connection."""
    party = Party(cluster, start_nodes, connect, unique, SHARDED, SHARDED)
    party.check_requests()
    for channel in (party.public, party.private_of(party.nodes[0]),
                    party.public):
        target = move(cluster, channel)
        wait_until(lambda: ask(target, 'PUBSUB', 'SHARDNUMSUB', channel)[1],
                   BACK_WITHIN, 'a subscription at the new place')
        party.wait_complete()
        party.check_requests()
    for node in party.nodes:
        node.wait_health('ok', BACK_WITHIN)


def test_plain_channels_ignore_slot_move(cluster: RedisCluster,
                                         start_nodes: StartNodes,
                                         connect: Connect,
                                         unique: Unique) -> None:
    """Plain channels are everywhere."""
    party = Party(cluster, start_nodes, connect, unique, PUBSUB, PUBSUB)
    move(cluster, party.public)
    party.wait_complete()
    party.check_requests()


@pytest.mark.parametrize('transport', [PUBSUB, SHARDED])
def test_requests_work_after_failover(cluster: RedisCluster,
                                      start_nodes: StartNodes,
                                      connect: Connect, unique: Unique,
                                      transport: str) -> None:
    """The one that has the requests' channel, or that plain listeners are
    connected to."""
    party = Party(cluster, start_nodes, connect, unique, transport,
                  transport)
    party.check_requests()
    key = party.public if transport == SHARDED else ''
    with cluster.quick_failover():
        old = cluster.master_of(key)
        old.kill()
        for node in party.nodes:
            # It ends, whatever comes of it.
            try:
                node.fetch_sockets(timeout=PATIENCE)
            except RemoteError as exc:
                assert exc.types[0] == 'ClusterTimeoutError'
        cluster.wait_new_master_of(key, old)
        party.wait_complete()
        party.wait_working()
        party.check_requests()
    for node in party.nodes:
        node.wait_health('ok', BACK_WITHIN)
    party.wait_complete()
    party.check_requests()
