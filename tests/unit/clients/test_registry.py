"""The registry of local clients and their rooms. The tests of recovery check
which task may disconnect a client."""
import sys
import threading
from typing import Any, Callable, Iterator, List

import pytest
import socketio

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.clients.registry import HAS_PRE_CONNECT

from ..conftest import NOWHERE
from ..fake_server import FakeClient, make_server
from ..nodes import Call, Node


@pytest.fixture
def server() -> Iterator[socketio.Server]:
    with RedisStreamsManager(NOWHERE) as manager:
        yield make_server(client_manager=manager)


@pytest.fixture
def at_any_line() -> Iterator[None]:
    """Threads switch after nearly every line."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_version_of_python_socketio_is_known() -> None:
    assert HAS_PRE_CONNECT == hasattr(socketio.Manager, 'pre_connect')


def test_client_is_registered(server: socketio.Server) -> None:
    manager = server.manager
    connection, other = (FakeClient(server, '/chat') for _ in range(2))
    assert manager.register('s', connection.eio_sid, '/', ['x', 7])
    assert set(server.rooms('s')) == {'s', 'x', 7}
    assert manager.eio_sid_from_sid('s', '/') == connection.eio_sid
    if HAS_PRE_CONNECT:
        assert not manager.is_connected('s', '/')
        assert manager.connect('s', '/') == 's'
    assert manager.is_connected('s', '/')
    # It is in the namespace only once.
    assert not manager.register('t', connection.eio_sid, '/', ['x'])
    assert manager.eio_sid_from_sid('t', '/') is None
    assert server.rooms('t') == []
    assert not manager.register('s', other.eio_sid, '/', ['x'])
    assert manager.eio_sid_from_sid('s', '/') == connection.eio_sid
    # A requested room may be another client's own room by now.
    assert manager.register('u', other.eio_sid, '/', ['s', 'x'])
    assert set(server.rooms('u')) >= {'u', 'x'}


def test_concurrent_room_changes_are_safe(server: socketio.Server,
                                          at_any_line: None) -> None:
    """A client enters a room while its last client leaves it."""
    clients = [FakeClient(server) for _ in range(3)]

    def move(sid: str) -> None:
        for _ in range(3000):
            server.enter_room(sid, 'x')
            assert 'x' in server.rooms(sid)
            server.leave_room(sid, 'x')

    for call in [Call(move, client.sid) for client in clients]:
        call.result()
    assert 'x' not in server.manager.rooms['/']


def test_concurrent_connects_and_disconnects_are_safe(
        server: socketio.Server, at_any_line: None) -> None:
    """A client connects while the last one leaves the server."""
    def connect_and_disconnect() -> None:
        for _ in range(300):
            client = FakeClient(server)
            assert client.reply()['sid'] == client.sid
            assert server.manager.is_connected(client.sid, '/')
            client.lose()

    for call in [Call(connect_and_disconnect) for _ in range(3)]:
        call.result()
    remains: Any = server.manager
    assert not remains.rooms and not remains.pending_disconnect
    assert not getattr(remains, 'pending_connect', ())


def test_a_client_that_is_not_here_enters_no_room(
        server: socketio.Server) -> None:
    """The room is removed."""
    for sid in ('nobody', None):
        with pytest.raises((KeyError, ValueError)):
            server.manager.basic_enter_room(sid, '/', 'x')
    assert not server.manager.rooms
    client = FakeClient(server)
    with pytest.raises((KeyError, ValueError)):
        server.manager.basic_enter_room('nobody', '/', 'x')
    assert set(server.manager.rooms['/']) == {None, client.sid}


@pytest.mark.parametrize('what', ['connect', 'disconnect'])
def test_hooks_may_emit(make_node: Callable[..., Node], what: str,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks of python-socketio's admin UI emit whenever a client enters or
    leaves a room. No task that emits or closes a room waits forever."""
    node, closes = make_node(), threading.Event()
    server, manager = node.server, node.manager
    client = FakeClient(server)
    close_room = manager.basic_close_room
    calls: List[Call] = []

    def close(*args: Any) -> None:
        closes.set()
        close_room(*args)

    def emitting(name: str) -> Callable[..., Any]:
        method = getattr(manager, name)

        def hook(sid: str, namespace: str, room: Any,
                 eio_sid: Any = None) -> Any:
            if not calls:
                calls.append(Call(manager.close_room, 'room', namespace))
                # That task may have to wait for this one.
                closes.wait(0.2)
                server.emit('moved', room)
            return method(sid, namespace, room,
                          *([] if eio_sid is None else [eio_sid]))

        return hook

    server.enter_room(client.sid, 'room')
    monkeypatch.setattr(manager, 'basic_close_room', close)
    for name in ('basic_enter_room', 'basic_leave_room'):
        monkeypatch.setattr(manager, name, emitting(name))
    Call(client.lose if what == 'disconnect'
         else lambda: FakeClient(server)).result()
    calls[0].result()


def test_rooms_may_be_listed_during_changes(server: socketio.Server,
                                            at_any_line: None) -> None:
    """python-socketio searches all rooms for one client."""
    client, other = FakeClient(server), FakeClient(server)
    sid, rooms = client.sid, [f'room-{number}' for number in range(200)]
    for room in rooms:
        server.enter_room(sid, room)

    def move() -> None:
        for number in range(200):
            server.enter_room(other.sid, f'other-{number}')
        for number in range(200):
            server.leave_room(other.sid, f'other-{number}')

    mover = Call(move)
    while mover.waits:
        assert set(server.rooms(sid)) == {sid, *rooms}
    mover.result()
