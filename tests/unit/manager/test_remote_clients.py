"""Rooms and disconnects of clients on any server."""
import pytest

from redis_streams_adapter.protocol.messages import DisconnectSockets, \
    SocketsJoin, SocketsLeave, Target

from ...support.wait import wait_until
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages, Pair


def test_remote_clients_enter_and_leave_rooms(
        pair: Pair, stream: FakeStream) -> None:
    client = pair.b.connect()
    pair.a.server.enter_room(client.sid, 'x')
    wait_until(lambda: 'x' in pair.b.server.rooms(client.sid))
    pair.a.server.emit('in', to='x')
    client.wait_for('in')
    pair.a.server.leave_room(client.sid, 'x')
    wait_until(lambda: 'x' not in pair.b.server.rooms(client.sid))
    target = Target((client.sid,))
    assert messages(stream)[0] == SocketsJoin(target, ('x',))
    assert messages(stream)[-1] == SocketsLeave(target, ('x',))


def test_local_clients_enter_and_leave_rooms(
        pair: Pair, stream: FakeStream) -> None:
    client = pair.a.connect()
    pair.a.server.enter_room(client.sid, 'x')
    assert 'x' in pair.a.server.rooms(client.sid)
    pair.a.server.leave_room(client.sid, 'x')
    assert 'x' not in pair.a.server.rooms(client.sid)
    assert messages(stream) == []


def test_close_room_reaches_all_servers(pair: Pair) -> None:
    a, b = pair.connect()
    for client, node in ((a, pair.a), (b, pair.b)):
        node.server.enter_room(client.sid, 'x')
    pair.a.server.emit('last', to='x')
    pair.a.server.close_room('x')
    assert 'x' not in pair.a.server.rooms(a.sid)
    wait_until(lambda: 'x' not in pair.b.server.rooms(b.sid))
    # What was emitted before has arrived.
    for client in (a, b):
        client.wait_for('last')


def test_close_of_no_room_sends_nothing(pair: Pair,
                                        stream: FakeStream) -> None:
    for nothing in (None, []):
        pair.a.manager.close_room(nothing)
    assert messages(stream) == []


def test_sid_is_no_room_to_close(pair: Pair, stream: FakeStream) -> None:
    """Since python-socketio 5.17; nothing is sent to other servers."""
    client = pair.a.connect()
    if hasattr(pair.a.manager, 'is_sid_room'):
        with pytest.raises(ValueError, match='sid room'):
            pair.a.server.close_room(client.sid)
        assert messages(stream) == []
        assert client.sid in pair.a.server.rooms(client.sid)


def test_disconnect_reaches_other_server(pair: Pair,
                                         stream: FakeStream) -> None:
    a, b = pair.connect()
    for client, node in ((a, pair.a), (b, pair.b)):
        sid = client.sid
        pair.a.server.emit('last', to=sid)
        pair.a.server.disconnect(sid)
        wait_until(client.was_disconnected)
        wait_until(lambda: not node.manager.is_connected(sid, '/'))
        client.wait_for('last')
    assert [type(message) for message in messages(stream)].count(
        DisconnectSockets) == 1


def test_disconnect_of_leaving_client_is_ignored(
        pair: Pair, stream: FakeStream) -> None:
    client = pair.a.connect()
    assert pair.a.manager.can_disconnect(client.sid, '/')
    pair.a.manager.pre_disconnect(client.sid, '/')
    assert not pair.a.manager.can_disconnect(client.sid, '/')
    pair.a.server.disconnect(client.sid)
    assert not client.was_disconnected()
    # No other server has it.
    assert messages(stream) == []


def test_manager_disconnects_local_client(pair: Pair) -> None:
    a, b = pair.connect()
    for client in (a, b):
        sid = client.sid
        pair.a.manager.disconnect(sid, '/')
        wait_until(client.was_disconnected)


def test_client_that_leaves_is_forgotten(pair: Pair,
                                         stream: FakeStream) -> None:
    client = pair.a.connect()
    client.leave()
    assert '/' not in pair.a.manager.rooms
    assert messages(stream) == []
