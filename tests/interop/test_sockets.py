"""Rooms and the end of clients, wherever they are connected: join, leave and
disconnect, ordered by any server of either generation."""
from typing import Any, Callable, List

import pytest

from ..support.client import Listener
from ..support.wait import wait_for_value
from .helpers import check_received, Party, SENDERS, Unique

Connect = Callable[..., Any]


def rooms_of(party: Party, clients: List[Listener],
             namespace: str = '/') -> List[List[str]]:
    """The rooms of one client on each server, in the servers' order."""
    return [server.rooms(client.sids[namespace], namespace=namespace)
            for server, client in zip(party.servers.values(), clients)]


@pytest.fixture
def fresh(broadcasting: Party,
          connect_js: Connect) -> Callable[..., List[Listener]]:
    """Connects one more JavaScript client to each server."""
    def connect(*namespaces: str) -> List[Listener]:
        return [connect_js(server, *namespaces)
                for server in broadcasting.servers.values()]

    return connect


@pytest.mark.parametrize('sender', SENDERS)
@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_join_and_leave(broadcasting: Party, fresh: Connect, unique: Unique,
                        sender: str, namespace: str) -> None:
    ordering = broadcasting.servers[sender]
    clients = fresh('/', '/chat')
    rooms = sorted(unique('room') for _ in range(2))
    base = unique('base')
    ordering.sockets_join(
        [base], to=[client.sids[namespace] for client in clients],
        namespace=namespace)
    ordering.sockets_join(rooms, to=base, skip_sid=clients[0].sids[namespace],
                          namespace=namespace)
    joined = [[base]] + [sorted([base, *rooms])] * (len(clients) - 1)
    wait_for_value(lambda: rooms_of(broadcasting, clients, namespace),
                   joined, what='the rooms')
    others = ({'/', '/chat'} - {namespace}).pop()
    assert rooms_of(broadcasting, clients, others) == [[]] * len(clients)

    ordering.sockets_leave(rooms[:1], to=base, namespace=namespace)
    joined = [[base]] + [sorted([base, rooms[1]])] * (len(clients) - 1)
    wait_for_value(lambda: rooms_of(broadcasting, clients, namespace),
                   joined, what='the rooms')


@pytest.mark.parametrize('sender', SENDERS)
def test_single_client(broadcasting: Party, fresh: Connect, unique: Unique,
                       sender: str) -> None:
    """What python-socketio has a call for, and Node.js ``in(sid)``."""
    ordering = broadcasting.servers[sender]
    clients, room = fresh(), unique('room')
    for client in clients:
        ordering.sockets_join([room], to=client.sid)
    wait_for_value(lambda: rooms_of(broadcasting, clients),
                   [[room]] * len(clients), what='the rooms')
    for client in clients:
        ordering.sockets_leave([room], to=client.sid)
    wait_for_value(lambda: rooms_of(broadcasting, clients),
                   [[]] * len(clients), what='the rooms')


def test_calls_of_python_socketio(broadcasting: Party, fresh: Connect,
                                  unique: Unique) -> None:
    """``enter_room``, ``leave_room``, ``close_room`` and ``disconnect``
    reach the clients of servers in Node.js."""
    python: Any = broadcasting.servers['python']
    clients = fresh()
    entered, closed = unique('room'), unique('room')
    for client in clients:
        python.enter_room(client.sid, entered)
        python.enter_room(client.sid, closed)
    wait_for_value(lambda: rooms_of(broadcasting, clients),
                   [sorted([entered, closed])] * len(clients),
                   what='the rooms')
    python.leave_room(clients[1].sid, entered)
    python.close_room(closed)
    wait_for_value(lambda: rooms_of(broadcasting, clients),
                   [[entered], [], *[[entered]] * (len(clients) - 2)],
                   what='the rooms')
    event = unique('event')
    for client in clients:
        # It still arrives: the end stands behind it in the stream.
        python.emit(event, to=client.sid)
        python.disconnect(client.sid)
    for client in clients:
        assert client.wait_disconnected() == 'io server disconnect'
        assert client.received(event) == [()]


@pytest.mark.parametrize('close', [False, True], ids=['namespace', 'close'])
@pytest.mark.parametrize('sender', SENDERS)
def test_disconnect(broadcasting: Party, fresh: Connect, unique: Unique,
                    sender: str, close: bool) -> None:
    ordering = broadcasting.servers[sender]
    leaving, staying = fresh('/', '/chat'), fresh('/', '/chat')
    room = unique('room')
    ordering.sockets_join(
        [room], to=[client.sid for client in [*leaving, *staying]])
    ordering.disconnect_sockets(
        to=room, skip_sid=[client.sid for client in staying], close=close)
    for client in leaving:
        # In Node.js a closed connection may be noticed first.
        assert client.wait_disconnected() in (
            'io server disconnect', 'transport close', 'transport error')
        if close:
            client.wait_disconnected('/chat')
    check_received(ordering, staying, unique)
    if not close:
        check_received(ordering, leaving, unique, '/chat')
    for server, client in zip(broadcasting.servers.values(), leaving):
        wait_for_value(
            lambda: [gone[0] for gone in server.recorded('disconnect')
                     if gone[1] in client.sids.values()].count('/'), 1,
            what=f'the disconnects that {server.name} has noticed')
