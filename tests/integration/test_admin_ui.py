"""What Socket.IO's admin UI is told and what it can do, in a cluster of two
servers; tests/browser/test_admin_ui.py shows its page."""
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest
import socketio.exceptions

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.wait import wait_until
from .conftest import start_managers, STEADY

AUTH = {'username': 'admin', 'password': 'open sesame'}


class Watched(NamedTuple):
    """Two servers with a client each, and who watches the first."""

    nodes: List[NodeProcess]
    clients: List[Client]
    watch: Callable[[], Client]


@pytest.fixture(params=[False, True], ids=['plain', 'recovery'])
def start_watched(request: Any, redis_server: Any, start_nodes: Any,
                  connect: Callable[..., Client],
                  unique: Callable[[str], str],
                  ) -> Iterator[Callable[..., Watched]]:
    admins: List[Client] = []

    def start(**options: Any) -> Watched:
        nodes = [start_nodes(
            1, redis_server.url, stream_name=stream,
            connection_state_recovery=request.param, admin={
                'auth': AUTH, 'server_id': f'server {number}',
                'server_stats_interval': 0.2, **options}, **STEADY)[0]
            for number in range(2)]
        start_managers(nodes)
        clients = [connect(node, '/', '/chat') for node in nodes]

        def watch() -> Client:
            admins.append(Client(nodes[0].url, '/admin', auth=AUTH))
            return admins[-1]

        return Watched(nodes, clients, watch)

    stream = unique('stream')
    yield start
    for admin in admins:
        admin.close()


def last(admin: Client, event: str) -> Any:
    """The data of the last such event."""
    return admin.wait_for(event)[-1][0]


def servers(admin: Client) -> Dict[str, Any]:
    """What was said of each server last."""
    return {data['serverId']: data for data, *_
            in admin.received('server_stats')}


def wait_servers(admin: Client) -> None:
    def both() -> bool:
        found = servers(admin)
        return set(found) == {'server 0', 'server 1'} and all({
            each['name']: each['socketsCount'] for each
            in data['namespaces']}['/'] == 1 for data in found.values())

    wait_until(both, what=lambda: f'both servers in {servers(admin)}')


@pytest.mark.parametrize('whole', [False, True])
def test_both_servers_are_listed(start_watched: Callable[..., Watched],
                                 whole: bool) -> None:
    """Also with python-socketio's own call."""
    watched = start_watched(whole=whole, **(
        {} if whole else {'mode': 'production'}))
    admin = watched.watch()
    wait_servers(admin)
    pids = {data['pid'] for data in servers(admin).values()}
    assert pids == {node.identify()[0] for node in watched.nodes}


def test_others_are_refused(start_watched: Callable[..., Watched]) -> None:
    watched = start_watched()
    with pytest.raises(socketio.exceptions.ConnectionError):
        Client(watched.nodes[0].url, '/admin',
               auth={**AUTH, 'password': 'wrong'})


def wait_sockets(admin: Client, watched: Watched,
                 check: Callable[[Dict[str, Any]], bool]) -> None:
    """Wait until what is shown of clients is right."""
    wait_until(lambda: check({
        each['id']: each for each in last(admin, 'all_sockets')}),
        what=lambda: str(admin.received('all_sockets')[-1:]))


def test_clients_of_both_servers(start_watched: Callable[..., Watched],
                                 ) -> None:
    """Their rooms, too, but nothing secret."""
    watched = start_watched(refresh=0.2)
    admin = watched.watch()
    mine, other = (client.sid for client in watched.clients)
    watched.nodes[1].enter_room(other, 'tea')
    wait_sockets(admin, watched, lambda found: {mine, other} <= set(found)
                 and 'tea' in found[other]['rooms'])
    found = {each['id']: each for each in last(admin, 'all_sockets')}
    assert found[other]['nsp'] == '/' and found[other]['data'] == {}
    assert found[other]['transport'] == 'websocket'
    assert 'auth' not in found[other]['handshake']
    assert {each['nsp'] for each in found.values()} == {
        '/', '/chat', '/admin'}
    assert {'ALL_EVENTS', 'DISCONNECT'} <= set(
        last(admin, 'config')['supportedFeatures'])


def test_buttons_reach_the_other_server(start_watched: Callable[..., Watched],
                                        ) -> None:
    watched = start_watched(refresh=0.2)
    admin = watched.watch()
    node, client = watched.nodes[1], watched.clients[1]
    admin.emit('join', '/', 'tea', client.sid, namespace='/admin')
    wait_until(lambda: node.rooms(client.sid) == ['tea'])
    admin.emit('emit', '/', 'tea', 'news', 5, {'a': 1}, namespace='/admin')
    assert client.wait_for('news')[0][:2] == (5, {'a': 1})
    admin.emit('leave', '/', 'tea', namespace='/admin')
    wait_until(lambda: node.rooms(client.sid) == [])
    admin.emit('_disconnect', '/', False, client.sid, namespace='/admin')
    client.wait_disconnected('/')
    wait_sockets(admin, watched, lambda found: client.sid not in found)
    # The other namespace, and the other client, are still there.
    assert watched.clients[0].call('echo', 1)
    assert client.call('echo', 1, namespace='/chat')
    admin.emit('_disconnect', '/chat', True, client.sids['/chat'],
               namespace='/admin')
    client.wait_disconnected('/chat')


def test_read_only(start_watched: Callable[..., Watched]) -> None:
    watched = start_watched(refresh=0.2, read_only=True)
    admin = watched.watch()
    client = watched.clients[1]
    admin.emit('_disconnect', '/', False, client.sid, namespace='/admin')
    wait_sockets(admin, watched, lambda found: client.sid in found)
    assert 'DISCONNECT' not in last(admin, 'config')['supportedFeatures']
    assert client.call('echo', 1)


def test_too_many_clients(start_watched: Callable[..., Watched]) -> None:
    """The servers are shown, their clients are not."""
    watched = start_watched(refresh=0.1, max_clients=1)
    admin = watched.watch()
    wait_servers(admin)
    requests = [node.stats()['received'] for node in watched.nodes]
    wait_until(lambda: watched.nodes[1].stats()['received']
               > requests[1] + 3)
    assert admin.received('all_sockets') == []
