"""With ``min_replicas``, exactly the messages that the replicas have are
acknowledged."""
from typing import Any, Iterator, List

import pytest

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN, check_working, numbers
from ..support.node_process import NodeProcess
from ..support.proxy import Proxy
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .fixtures import Connect, MakeProxy, MakeRedis, StartNodes, Unique


STREAM = 'socket.io'

#: A node waits half the socket timeout for a replica. Heartbeats are rare,
#: because one that no replica has would hold up the messages after it.
OPTIONS = {**STEADY, 'min_replicas': 1,
           'redis_options': {'socket_timeout': 1.0},
           'heartbeat_interval': 50.0}


class Pair:
    """A master, its replica, and the address under which nodes find them."""

    def __init__(self, master: RedisServer, replica: RedisServer,
                 address: Proxy, replication: Proxy) -> None:
        self.master = master
        self.replica = replica
        self.address = address
        #: The replica connects to its master through it.
        self.replication = replication

    def fail_over(self) -> None:
        """Kill the master. The replica takes over its address, and the old
        master becomes the replica."""
        self.address.cut()
        self.replication.cut()
        self.master.kill()
        self.replica.promote()
        self.master.start()
        self.replication.target_port = self.replica.port
        self.replication.open()
        self.master.follow(self.replication.port)
        self.address.target_port = self.replica.port
        self.address.open()


@pytest.fixture
def pair(make_redis: MakeRedis, make_proxy: MakeProxy) -> Iterator[Pair]:
    master, replica = make_redis().start(), make_redis().start()
    address, replication = (make_proxy(master.port) for _ in range(2))
    address.open()
    replication.open()
    replica.follow(replication.port)
    yield Pair(master, replica, address, replication)


def stored(server: RedisServer, event: str) -> List[int]:
    """The numbers of an event in a server's stream."""
    mark = f'"{event}",'.encode()
    with server.client() as admin:
        return [int(rest.partition(b']')[0]) for _, _, rest in (
            fields.get(b'data', b'').partition(mark)
            for _, fields in admin.xrange(STREAM)) if rest]


def stats_of(node: NodeProcess, *names: str) -> List[int]:
    """Some of a node's counters."""
    stats = node.stats()
    return [stats[name] for name in names]


def emit_range(node: NodeProcess, event: str, *numbers: int) -> None:
    node.script(*(('server', 'emit', [event, number], {})
                  for number in range(*numbers)))


@pytest.mark.parametrize('publish', ['sync', 'background'])
def test_replica_has_acknowledged_messages(pair: Pair, start_nodes: StartNodes,
                                           connect: Connect, unique: Unique,
                                           publish: str) -> None:
    """It has them even if the master dies just after."""
    nodes = start_nodes(2, pair.address.url, publish=publish, **OPTIONS)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emit_range(nodes[0], event, 40)
    if publish == 'background':
        assert nodes[0].flush()
    pair.master.kill()
    assert stored(pair.replica, event) == list(range(40))

    pair.fail_over()
    emit_range(nodes[0], event, 40, 60)
    clients[1].wait_for(event, 60, timeout=BACK_WITHIN)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(60))
    assert stored(pair.replica, event) == list(range(60))
    for node in nodes:
        stats = node.stats()
        assert stats['messages_lost'] == stats['messages_vanished'] == 0
        assert stats['stream_setbacks'] == stats['streams_deleted'] == 0


@pytest.mark.parametrize('how', ['frozen', 'cut off'])
def test_nothing_is_acknowledged_without_replica(
        pair: Pair, start_nodes: StartNodes, connect: Connect, unique: Unique,
        how: str) -> None:
    nodes = start_nodes(2, pair.address.url, **OPTIONS)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emit_range(nodes[0], event, 10)
    assert nodes[0].flush()
    if how == 'frozen':
        pair.replica.freeze()
    else:
        pair.replication.cut()
    emit_range(nodes[0], event, 10, 60)

    def reports_replicas() -> Any:
        health = nodes[0].health()
        return health['status'] == 'degraded' \
            and 'replicas' in (health['last_error'] or '')

    wait_until(reports_replicas, BACK_WITHIN, lambda: (
        f'the health to report replicas: {nodes[0].health()}'))
    assert not nodes[0].flush(2.0)
    assert nodes[0].stats()['outbox'] >= 50
    if how == 'frozen':
        pair.replica.thaw()
    else:
        pair.replication.open()
    wait_until(lambda: nodes[0].flush(1.0), BACK_WITHIN,
               'all to be acknowledged')
    emit_range(nodes[0], event, 60, 70)
    clients[1].wait_for(event, 70)
    check_working(nodes, clients, unique)
    for client in clients:
        assert numbers(client, event) == list(range(70))
    for server in pair.master, pair.replica:
        assert stored(server, event) == list(range(70))
    for node in nodes:
        assert node.stats()['duplicates'] == 0
        assert node.stats()['messages_lost'] == 0


def test_sync_emit_returns_without_replica(pair: Pair, start_nodes: StartNodes,
                                           unique: Unique) -> None:
    """The emit ends, and the outbox keeps what is not acknowledged."""
    (node,) = start_nodes(1, pair.address.url, publish='sync', **OPTIONS)
    node.start_manager()
    event = unique('event')
    node.emit(event, 0)
    assert node.stats()['outbox'] == 0
    pair.replica.freeze()
    emit_range(node, event, 1, 5)
    assert node.stats()['outbox'] >= 4
    pair.replica.thaw()
    wait_until(lambda: node.flush(1.0), BACK_WITHIN,
               'all to be acknowledged')
    assert stored(pair.replica, event) == list(range(5))


def test_unacknowledged_messages_survive_failover(
        pair: Pair, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique) -> None:
    """Two nodes have read messages that were not acknowledged, and one has
    not. They are sent again, and every client gets them once."""
    early = make_proxy(pair.master.port)
    early.open()
    nodes = (start_nodes(2, pair.address.url, **OPTIONS)
             + start_nodes(1, early.url, **OPTIONS))
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    emit_range(nodes[0], event, 10)
    assert nodes[0].flush()
    clients[2].wait_for(event, 10)
    # A node that has answered this has answered all requests of the start,
    # and sends nothing by itself.
    for node in nodes:
        assert node.flush()
        assert len(node.fetch_sids()) == 3
    assert nodes[0].flush()
    early.cut()
    pair.replication.cut()
    emit_range(nodes[0], event, 10, 60)
    clients[1].wait_for(event, 60)
    assert nodes[0].stats()['outbox'] >= 50
    pair.fail_over()
    early.target_port = pair.replica.port
    early.open()
    clients[2].wait_for(event, 60, timeout=BACK_WITHIN)
    for client in clients:
        assert numbers(client, event) == list(range(60))
    assert stored(pair.replica, event) == list(range(60))
    for node in nodes:
        stats = node.stats()
        assert stats['messages_lost'] == stats['messages_vanished'] == 0
    # A node that had read them all reports the setback and the duplicates.
    for node, seen in (nodes[1], [1, 50]), (nodes[2], [0, 0]):
        wait_for_value(
            lambda: stats_of(node, 'stream_setbacks', 'duplicates'), seen,
            BACK_WITHIN, f'the setbacks and duplicates of {node.name}')
