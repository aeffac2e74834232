"""Another server takes over behind the same name: no connection stays with the
old one, even if that still answers."""
from typing import Any, Dict, List

import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN, check_working
from ...support.redis_server import RedisServer
from ...support.wait import wait_until
from ..fixtures import Connect, MakeProxy, MakeRedis, StartNodes, Unique

#: The last command on the connections of the writer and of the reader.
COMMANDS = {'writer': ('xadd', 'exec'), 'reader': ('xread',)}


def connections(server: RedisServer, name: str) -> List[Dict[str, str]]:
    """The connections of this name."""
    with server.client() as admin:
        return [each for each in admin.client_list()
                if each['name'] == name]


def take_over(new: RedisServer) -> None:
    """Let a replica that has everything become a master. The old one does not
    know."""
    with new.client() as admin:
        admin.replicaof('no', 'one')


def replicate(new: RedisServer, old: RedisServer) -> None:
    with new.client() as admin:
        admin.replicaof('127.0.0.1', old.port)
        wait_until(lambda: admin.info('replication')[
            'master_link_status'] == 'up', what='the replica')


@pytest.mark.parametrize('cut', COMMANDS)
@pytest.mark.parametrize('transport', ['stream', 'pubsub'])
def test_all_connections_follow_the_first(
        make_redis: MakeRedis, make_proxy: MakeProxy, start_nodes: StartNodes,
        connect: Connect, unique: Unique, transport: str, cut: str) -> None:
    """One connection of each node was cut, and finds the new server."""
    old, new = make_redis().start(), make_redis().start()
    replicate(new, old)
    line = make_proxy(old.port)
    line.open()
    name = unique('node')
    nodes = start_nodes(
        2, line.url, request_transport=transport,
        connection_state_recovery=True,
        redis_options={'client_name': name}, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    check_working(nodes, clients, unique)
    with old.client() as master, new.client() as replica:
        wait_until(lambda: 0 < master.xlen('socket.io') == replica.xlen(
            'socket.io'), what='the replica to have the stream')
    line.target_port = new.port
    take_over(new)
    with old.client() as admin:
        for each in connections(old, name):
            if each['cmd'].split('|')[0] in COMMANDS[cut]:
                admin.client_kill_filter(_id=each['id'])
    wait_until(lambda: not connections(old, name), BACK_WITHIN, lambda: (
        f'no connection to stay: {connections(old, name)}'))
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    check_working(nodes, clients, unique)
    for node in nodes:
        node.handle_server_side('name', node.name)
    for node, other in zip(nodes, nodes[::-1]):
        answers: Any = node.server_side_call('name', timeout=5.0)
        assert answers == [other.name]
