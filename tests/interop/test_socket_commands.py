"""Commands for the sockets of any server: join, leave and disconnect, sent by
a server in Python and by either generation in Node.js."""
from typing import Any, Callable, List

import pytest

from ..support.client import Listener
from ..support.wait import wait_for_value
from .helpers import check_received, MixedCluster, SENDERS, Unique

Connect = Callable[..., Any]


def rooms_of(cluster: MixedCluster, clients: List[Listener],
             namespace: str = '/') -> List[List[str]]:
    """The rooms of one client on each server, in the servers' order."""
    return [server.rooms(client.sids[namespace], namespace=namespace)
            for server, client in zip(cluster.servers.values(), clients)]


@pytest.fixture
def fresh(mixed: MixedCluster,
          connect_js: Connect) -> Callable[..., List[Listener]]:
    """Connects one more JavaScript client to each server."""
    def connect(*namespaces: str) -> List[Listener]:
        return [connect_js(server, *namespaces)
                for server in mixed.servers.values()]

    return connect


@pytest.mark.parametrize('sender', SENDERS)
@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_join_and_leave(mixed: MixedCluster, fresh: Connect, unique: Unique,
                        sender: str, namespace: str) -> None:
    commanding = mixed.servers[sender]
    clients = fresh('/', '/chat')
    rooms = sorted(unique('room') for _ in range(2))
    base = unique('base')
    commanding.sockets_join(
        [base], to=[client.sids[namespace] for client in clients],
        namespace=namespace)
    commanding.sockets_join(
        rooms, to=base, skip_sid=clients[0].sids[namespace],
        namespace=namespace)
    joined = [[base]] + [sorted([base, *rooms])] * (len(clients) - 1)
    wait_for_value(lambda: rooms_of(mixed, clients, namespace),
                   joined, what='the rooms')
    other = ({'/', '/chat'} - {namespace}).pop()
    assert rooms_of(mixed, clients, other) == [[]] * len(clients)

    commanding.sockets_leave(rooms[:1], to=base, namespace=namespace)
    joined = [[base]] + [sorted([base, rooms[1]])] * (len(clients) - 1)
    wait_for_value(lambda: rooms_of(mixed, clients, namespace),
                   joined, what='the rooms')


@pytest.mark.parametrize('sender', SENDERS)
def test_single_client(mixed: MixedCluster, fresh: Connect, unique: Unique,
                       sender: str) -> None:
    """A sid as the room selects one client."""
    commanding = mixed.servers[sender]
    clients, room = fresh(), unique('room')
    for client in clients:
        commanding.sockets_join([room], to=client.sid)
    wait_for_value(lambda: rooms_of(mixed, clients),
                   [[room]] * len(clients), what='the rooms')
    for client in clients:
        commanding.sockets_leave([room], to=client.sid)
    wait_for_value(lambda: rooms_of(mixed, clients),
                   [[]] * len(clients), what='the rooms')


def test_calls_of_python_socketio(mixed: MixedCluster, fresh: Connect,
                                  unique: Unique) -> None:
    """``enter_room``, ``leave_room``, ``close_room`` and ``disconnect`` work
    for clients of servers in Node.js."""
    python: Any = mixed.servers['python']
    clients = fresh()
    entered, closed = unique('room'), unique('room')
    for client in clients:
        python.enter_room(client.sid, entered)
        python.enter_room(client.sid, closed)
    wait_for_value(lambda: rooms_of(mixed, clients),
                   [sorted([entered, closed])] * len(clients),
                   what='the rooms')
    python.leave_room(clients[1].sid, entered)
    python.close_room(closed)
    wait_for_value(lambda: rooms_of(mixed, clients),
                   [[entered], [], *[[entered]] * (len(clients) - 2)],
                   what='the rooms')
    event = unique('event')
    for client in clients:
        # It still arrives: the disconnect comes after it in the stream.
        python.emit(event, to=client.sid)
        python.disconnect(client.sid)
    for client in clients:
        assert client.wait_disconnected() == 'io server disconnect'
        assert client.received(event) == [()]


@pytest.mark.parametrize('close', [False, True], ids=['namespace', 'close'])
@pytest.mark.parametrize('sender', SENDERS)
def test_disconnect(mixed: MixedCluster, fresh: Connect, unique: Unique,
                    sender: str, close: bool) -> None:
    commanding = mixed.servers[sender]
    leaving, staying = fresh('/', '/chat'), fresh('/', '/chat')
    room = unique('room')
    commanding.sockets_join(
        [room], to=[client.sid for client in [*leaving, *staying]])
    commanding.disconnect_sockets(
        to=room, skip_sid=[client.sid for client in staying], close=close)
    for client in leaving:
        # In Node.js a closed connection may be noticed first.
        assert client.wait_disconnected() in (
            'io server disconnect', 'transport close', 'transport error')
        if close:
            client.wait_disconnected('/chat')
    check_received(commanding, staying, unique)
    if not close:
        check_received(commanding, leaving, unique, '/chat')
    for server, client in zip(mixed.servers.values(), leaving):
        wait_for_value(
            lambda: [gone[0] for gone in server.recorded('disconnect')
                     if gone[1] in client.sids.values()].count('/'), 1,
            what=f'the disconnects that {server.name} has noticed')
