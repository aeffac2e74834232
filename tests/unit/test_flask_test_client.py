"""Flask-SocketIO's test client with our queue.

These are expectations of Flask-SocketIO's own tests (``test_socketio.py``).
"""
from typing import Any, Callable, Iterator, List

import pytest
from flask import Flask, request, session
from flask_socketio import disconnect, emit, join_room, leave_room, send

from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.testing.stream import FakeStream

QUEUE = 'redis+streams://127.0.0.1:1'


@pytest.fixture
def app() -> Flask:
    app = Flask('a')
    app.config['SECRET_KEY'] = 'x'
    return app


@pytest.fixture
def socketio(app: Flask, make_manager: Callable[..., Any],
             stream: FakeStream) -> Iterator[SocketIO]:
    socketio = SocketIO(app, message_queue=QUEUE, async_mode='threading')
    ends: List[str] = []
    socketio.ends = ends

    @socketio.on('connect')
    @socketio.on('connect', namespace='/other')
    def connect(auth: Any) -> Any:
        if auth == 'refuse':
            return False
        send('connected')

    @socketio.on('disconnect')
    def gone(reason: str) -> None:
        ends.append(request.sid)

    @socketio.on('echo')
    def echo(*args: Any) -> Any:
        emit('echoed', args)
        return args

    @socketio.on('all')
    def to_all(data: Any) -> None:
        emit('news', data, broadcast=True)

    @socketio.on('others')
    def to_others(data: Any) -> None:
        emit('news', data, broadcast=True, include_self=False)

    @socketio.on('room')
    def to_room(data: Any) -> None:
        emit('news', data, to='room')

    @socketio.on('join')
    def join() -> None:
        join_room('room')

    @socketio.on('leave')
    def leave() -> None:
        leave_room('room')

    @socketio.on('count')
    def count() -> int:
        session['count'] = session.get('count', 0) + 1
        return session['count']

    @socketio.on('end')
    def end() -> None:
        disconnect()

    yield socketio
    socketio.server.manager.close(timeout=0.2)


def news(client: Any, namespace: Any = None) -> List[Any]:
    return [each['args'] for each in client.get_received(namespace)
            if each['name'] == 'news']


def test_connection(socketio: SocketIO, app: Flask) -> None:
    client = socketio.test_client(app, auth={'a': 1})
    assert client.is_connected()
    assert client.get_received() == [
        {'name': 'message', 'args': 'connected', 'namespace': '/'}]
    assert client.get_received() == []
    assert not client.is_connected('/other')
    client.connect('/other')
    assert client.is_connected('/other')
    assert [each['args'] for each in client.get_received('/other')] == [
        'connected']
    client.disconnect('/other')
    client.disconnect()
    assert not client.is_connected()
    assert len(socketio.ends) == 1
    with pytest.raises(RuntimeError):
        client.emit('echo')


def test_refusal(socketio: SocketIO, app: Flask) -> None:
    client = socketio.test_client(app, auth='refuse')
    assert not client.is_connected()


def test_events_and_acknowledgements(socketio: SocketIO, app: Flask) -> None:
    client = socketio.test_client(app)
    client.get_received()
    for args in ([], ['x'], [1, {'a': [None, True]}], [b'x', {'b': b'y'}]):
        ack = client.emit('echo', *args, callback=True)
        assert ack == (args[0] if len(args) == 1 else args)
        received, = client.get_received()
        assert (received['name'], received['args']) == ('echoed', args)


def test_broadcasts_and_rooms(socketio: SocketIO, app: Flask) -> None:
    one, two = (socketio.test_client(app) for _ in range(2))
    one.emit('all', 1)
    one.emit('others', 2)
    one.emit('room', 3)
    two.emit('join')
    one.emit('room', 4)
    two.emit('leave')
    one.emit('room', 5)
    assert (news(one), news(two)) == ([[1]], [[1], [2], [4]])
    # From outside of a handler.
    socketio.emit('news', b'6', to=socketio.server.manager.sid_from_eio_sid(
        two.eio_sid, '/'))
    assert (news(one), news(two)) == ([], [[b'6']])
    two.disconnect()
    socketio.emit('news', 7)
    assert news(one) == [[7]]


def test_session(socketio: SocketIO, app: Flask) -> None:
    one, two = (socketio.test_client(app) for _ in range(2))
    assert [each.emit('count', callback=True)
            for each in (one, one, two)] == [1, 2, 1]


def test_disconnection_by_the_server(socketio: SocketIO, app: Flask) -> None:
    client = socketio.test_client(app)
    client.emit('end')
    assert not client.is_connected()
    assert len(socketio.ends) == 1


def test_acknowledgement_of_the_client_is_not_needed(
        socketio: SocketIO, app: Flask) -> None:
    client = socketio.test_client(app)
    client.get_received()
    socketio.emit('news', 1, callback=print)
    assert news(client) == [[1]]


def test_events_of_other_servers(socketio: SocketIO, app: Flask,
                                 make_manager: Callable[..., Any],
                                 stream: FakeStream) -> None:
    from ..support.wait import wait_until
    client = socketio.test_client(app)
    found: List[Any] = []
    make_manager(write_only=True).emit('news', 1)
    wait_until(lambda: found.extend(news(client)) or found)
    assert found == [[1]]


def test_without_redis(socketio: SocketIO, app: Flask,
                       stream: FakeStream) -> None:
    stream.go_away()
    client = socketio.test_client(app)
    client.emit('all', 1)
    assert news(client) == [[1]]


def test_recovery_is_refused(app: Flask, make_manager: Callable[..., Any],
                             stream: FakeStream) -> None:
    socketio = SocketIO(
        app, message_queue=QUEUE + '?connection_state_recovery=true',
        async_mode='threading')
    with pytest.raises(RuntimeError, match='connection state recovery'):
        socketio.test_client(app)


def test_without_a_queue(app: Flask) -> None:
    socketio = SocketIO(app, async_mode='threading')
    assert socketio.test_client(app).is_connected()
