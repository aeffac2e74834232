"""The content of stored sessions: data and rooms."""
import threading
from typing import Any, Callable

import pytest
from engineio.socket import Socket

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.recovery.session import Outcome

from ...support.redis_server import RedisServer
from ...support.wait import wait_for_value, wait_until
from ...support.wire_format import write_session
from ...unit.conftest import Log
from ...unit.fake_server import FakeClient, make_server
from ...unit.nodes import session_writer
from .harness import hold_reader, MakeNode, Node, received, StoredSession


def test_session_from_node_js(node: Node, redis: Any, stream: str) -> None:
    """It was written by a Node.js server."""
    sender = node.connect()
    offsets = []
    for number in range(3):
        node.server.emit('event', number, to=['x', sender.sid])
    for args in sender.wait_for('event', 3):
        offsets.append(args[-1])
    write_session(redis, f'{stream}:of-node', {
        'sid': 'sid-of-node', 'pid': 'of-node', 'rooms': ['sid-of-node', 'x'],
        'data': {'a': 1}}, px=120_000)
    again = node.connect(auth={'pid': 'of-node', 'offset': offsets[0]})
    assert again.reply() == {'sid': 'sid-of-node', 'pid': 'of-node'}
    assert received(again) == [('event', 1), ('event', 2)]
    assert node.server.get_session('sid-of-node') == {'a': 1}
    # It can be recovered like any other.
    again.lose()
    third = node.reconnect(again)
    assert node.outcome(third) == Outcome(True)


def test_session_that_is_too_large(make: MakeNode,
                                   stored_session: StoredSession) -> None:
    node = make(recovery={'max_session_bytes': 600})
    client = node.connect()
    node.server.save_session(client.sid, {'a': 1})
    for value, error in (
            ('x' * 1000, ValueError), (object(), TypeError)):
        with pytest.raises(error):
            node.server.save_session(client.sid, {'a': value})
    assert node.server.get_session(client.sid) == {'a': 1}
    client.lose()
    again = node.reconnect(client)
    assert node.server.get_session(again.sid) == {'a': 1}


@pytest.mark.parametrize('value', [
    'text', '', [], [1], 0, False, True, b'', b'raw', {}], ids=repr)
def test_session_that_is_no_mapping(node: Node, other: Node,
                                    value: Any) -> None:
    client = node.connect()
    node.server.save_session(client.sid, value)
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    again = other.reconnect(client)
    found = other.server.get_session(again.sid)
    assert (type(found), found) == (type(value), value)


def test_unrecoverable_client_keeps_any_data(make: MakeNode) -> None:
    node = make(recovery={'max_session_bytes': 600,
                          'accepts': lambda *_: False})
    client = node.connect()
    value = {'a': object(), 'b': 'x' * 1000}
    node.server.save_session(client.sid, value)
    assert node.server.get_session(client.sid) is value


def test_changes_are_stored(node: Node, stored_session: StoredSession) -> None:
    client = node.connect()
    sid = client.sid

    def rooms() -> Any:
        session = stored_session(client)
        return session and set(session.rooms)

    node.server.enter_room(sid, 'x')
    node.server.enter_room(sid, 'y')
    wait_for_value(rooms, {sid, 'x', 'y'})
    node.server.leave_room(sid, 'x')
    wait_for_value(rooms, {sid, 'y'})
    node.manager.sockets_join(['a', 'b'], to='y')
    wait_for_value(rooms, {sid, 'y', 'a', 'b'})
    node.server.close_room('a')
    wait_for_value(rooms, {sid, 'y', 'b'})
    with node.server.session(sid) as session:
        session['name'] = 'x'
    wait_for_value(lambda: stored_session(client).data,  # type: ignore
                   {'name': 'x'})
    # Rooms that only Python can name are not stored.
    node.server.enter_room(sid, ('a', 'tuple'))
    node.server.enter_room(sid, 'last')
    wait_for_value(rooms, {sid, 'y', 'b', 'last'})


@pytest.mark.parametrize('how', ['lost', 'killed', 'at once'])
def test_room_that_is_closed_and_entered_again(
        node: Node, other: Node, stored_session: StoredSession, how: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the node has read back its own close: the client is in the room
    after its return."""
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'game')
    # The reader waits, as if busy with others' messages.
    gate = hold_reader(node, monkeypatch)
    node.server.close_room('game')
    node.manager.disconnect_sockets(to='game')
    node.server.enter_room(sid, 'game')
    node.server.enter_room(sid, 'seen')
    wait_until(lambda: 'seen' in stored_session(client).rooms)  # type: ignore
    target = other
    if how == 'killed':
        gate.set()
        wait_until(lambda: not node.remains()['waiting'])
        node.crash()
    else:
        client.lose()
        if how == 'at once':
            # It connects while the reader waits, after everything was read.
            target, found = node, session_writer(node.manager).sessions
            monkeypatch.setattr(found, 'find', without_end(found.find))
        else:
            gate.set()
    again = target.reconnect(client)
    gate.set()
    assert set(target.server.rooms(sid)) == {sid, 'game', 'seen'}
    assert target.outcome(again) == Outcome(True)
    wait_until(lambda: not target.remains()['waiting'])
    assert set(target.server.rooms(sid)) == {sid, 'game', 'seen'}


def test_commands_before_the_last_write(
        node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns to the same node before Redis has its last session."""
    client = node.connect()
    sid, writer = client.sid, session_writer(node.manager)
    node.server.enter_room(sid, 'x')
    write = writer._write_changed  # type: ignore[union-attr]
    monkeypatch.setattr(writer, '_write_changed', lambda: None)
    client.lose()
    node.manager.sockets_join('y', to='x')
    node.manager.flush()
    other.manager.sockets_join('z', to='y')
    other.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    assert node.remains()['leaving']
    again = node.reconnect(client)
    assert node.outcome(again) == Outcome(True)
    assert set(node.server.rooms(sid)) == {sid, 'x', 'y', 'z'}
    monkeypatch.setattr(writer, '_write_changed', write)


def without_end(find: Callable[..., Any]) -> Callable[..., Any]:
    """Make a client wait for nothing that the reader has not read."""
    return lambda *args: find(*args)._replace(last=None)


def test_with_the_admin_ui(make: MakeNode,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('handle_post_request', '_websocket_handler', '_send_ping'):
        monkeypatch.setattr(Socket, name, getattr(Socket, name))
    node = make()
    node.server.instrument(auth=False)
    admin = node.connect('/admin', auth={'username': 'x'})
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    client.lose()
    node.server.emit('missed', to='x')
    node.manager.flush()
    again = node.reconnect(client)
    again.wait_for('missed')
    assert again.reply()['sid'] == sid
    wait_until(lambda: len(admin.received(
        'socket_connected', '/admin')) == 3)
    wait_until(lambda: admin.received('socket_disconnected', '/admin'))
    # The other events are sent in a separate task.
    wait_until(lambda: not any(
        '(config)' in each.name for each in threading.enumerate()))


def test_manager_without_recovery(redis_server: RedisServer, stream: str,
                                  log: Log) -> None:
    """Nothing is different."""
    with RedisStreamsManager(redis_server.url, stream) as manager:
        server = make_server(client_manager=manager)

        @server.on('connect')
        def connect(sid: str, environ: Any, auth: Any) -> None:
            log(auth, environ.get('socketio.recovery'))

        shown = {'pid': 'p', 'offset': '5-0'}
        client = FakeClient(server, auth=shown)
        assert log.calls == [(shown, None)]
        assert client.reply() == {'sid': client.sid}
        assert manager.recovery(client.sid) is None
        server.emit('hello', 'text')
        assert client.wait_for('hello') == [('text',)]
        client.lose()
        assert 'recovered' not in manager.stats()
