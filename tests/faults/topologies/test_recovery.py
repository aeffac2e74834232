"""Clients return while servers of Redis fail, or keys move: sessions are on
all masters of a cluster, and the stream is on one."""
from typing import Callable, Iterator, List

import pytest

from ...integration.conftest import start_managers
from ...integration.helpers import BACK_WITHIN
from ...recovery.helpers import RECOVERING
from ...support.account import account, EXACT
from ...support.client import close_all
from ...support.node_process import NodeProcess
from ...support.redis_cluster import RedisCluster
from ...support.replicated import Replicated, SLOW
from ...support.returning_client import ReturningClient
from ...support.wait import wait_until
from ..fixtures import StartNodes, Unique

Connect = Callable[[NodeProcess], ReturningClient]

#: So many that their sessions are on several servers.
CLIENTS = 10

#: The prefix of the keys of sessions.
PREFIX = 'sio:session:'


@pytest.fixture
def connect_returning() -> Iterator[Connect]:
    clients: List[ReturningClient] = []

    def connect(node: NodeProcess) -> ReturningClient:
        clients.append(ReturningClient(node.url))
        return clients[-1]

    yield connect
    close_all(clients)


def start_pair(servers: Replicated, start_nodes: StartNodes,
               unique: Unique) -> List[NodeProcess]:
    nodes = start_nodes(2, servers.url, stream_name=unique('stream'),
                        **RECOVERING)
    start_managers(nodes)
    return nodes


def prepare(node: NodeProcess, clients: List[ReturningClient],
            event: str) -> None:
    """Let each client enter a room, and receive an event there."""
    for client in clients:
        node.enter_room(client.sid, 'room')
    node.emit_range(event, range(1), to='room')
    for client in clients:
        client.wait_for(event)


def check_recovered(node: NodeProcess, clients: List[ReturningClient],
                    event: str, count: int) -> None:
    """The clients return to a node, with their state and all events."""
    for client in clients:
        sid = client.sid
        client.connect(node.url)
        assert (client.sid, client.recovered['/']) == (sid, True), \
            node.logs()[-5:]
        client.wait_for(event, count, BACK_WITHIN)
        assert account([args[0] for args in client.received(event)],
                       count) == EXACT
        assert 'room' in node.rooms(client.sid)


def test_clients_are_recovered_after_node_is_killed(
        replicated: Replicated, start_nodes: StartNodes,
        connect_returning: Connect, unique: Unique) -> None:
    """A node is killed, and Redis works."""
    first, second = start_pair(replicated, start_nodes, unique)
    clients = [connect_returning(first) for _ in range(CLIENTS)]
    event = unique('event')
    prepare(first, clients, event)
    first.kill()
    for client in clients:
        client.drop()
    second.emit_range(event, range(1, 20), to='room')
    check_recovered(second, clients, event, 20)


def test_clients_are_recovered_after_failover(
        replicated: Replicated, start_nodes: StartNodes,
        connect_returning: Connect, unique: Unique) -> None:
    """While clients are away, the master of the stream is killed, which has
    some of the sessions, too."""
    first, second = start_pair(replicated, start_nodes, unique)
    clients = [connect_returning(first) for _ in range(CLIENTS)]
    event, name = unique('event'), first.options['stream_name']
    prepare(first, clients, event)
    for client in clients:
        client.drop()
        wait_session_written(first, client)
    second.emit_range(event, range(1, 10), to='room')
    assert second.flush()
    for master in {replicated.master_of(key) for key in [
            name, *(PREFIX + client.pids['/'] for client in clients)]}:
        replicated.wait_replicated(master)
    master = replicated.master_of(name)
    with replicated.quick_failover():
        master.kill()
        replicated.wait_new_master_of(name, master)
        for node in (first, second):
            node.wait_health('ok', SLOW)
        second.emit_range(event, range(10, 20), to='room')
        check_recovered(second, clients, event, 20)


def wait_session_written(node: NodeProcess,
                         client: ReturningClient) -> None:
    """Wait until the node has written the session of a lost client."""
    wait_until(lambda: node.disconnects_of(client.sid),
               what='the disconnect handler')
    assert node.flush()


@pytest.mark.parametrize('state', ['moving', 'moved'])
def test_client_is_recovered_while_slot_moves(
        cluster: RedisCluster, start_nodes: StartNodes,
        connect_returning: Connect, unique: Unique, state: str) -> None:
    """The slot of a session moves while its client is away. The session is
    on the new server, and nodes may still look for it on the old one."""
    first, second = start_pair(cluster, start_nodes, unique)
    client, event = connect_returning(first), unique('event')
    prepare(first, [client], event)
    client.drop()
    wait_session_written(first, client)
    first.emit_range(event, range(1, 10), to='room')
    key = PREFIX + client.pids['/']
    source = cluster.master_of(key)
    target = cluster.others(source)[0]
    cluster.begin_move(key, source, target)
    try:
        cluster.move_keys(key, source, target)
        if state == 'moving':
            check_recovered(second, [client], event, 10)
    finally:
        cluster.end_move(key, source, target)
    if state == 'moved':
        check_recovered(second, [client], event, 10)
    # The session is written on the new server.
    client.drop()
    first.emit_range(event, range(10, 20), to='room')
    check_recovered(first, [client], event, 20)
