"""Frames are written completely, and one after the other."""
import logging
import socket
import threading
from typing import Any, Iterator, List, Tuple

import pytest
import socketio
from engineio.async_drivers import threading as upstream

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.concurrency.limiter import Limiter
from redis_streams_adapter.clients.websocket import FrameSocket, install

from ...support.wait import wait_until

#: More than the buffers of a pair of sockets hold.
LARGE = 4 * 2**20

LOGGER = logging.getLogger('test.websocket')


@pytest.fixture
def pair() -> Iterator[Tuple[FrameSocket, socket.socket]]:
    """The server's socket, and the client's end."""
    near, far = socket.socketpair()
    with near, far:
        # Engine.IO does the same. send() then may write only a part.
        near.settimeout(10.0)
        yield FrameSocket(near, Limiter(1, threading.Event)), far


def write(frames: FrameSocket, *data: bytes) -> threading.Thread:
    """Write frames in a thread, one after the other."""
    def send() -> None:
        for each in data:
            frames.send(each)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def read(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        data += sock.recv(min(65536, length - len(data)))
    return bytes(data)


def test_all_bytes_are_written(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    thread = write(frames, b'x' * LARGE)
    assert read(far, LARGE) == b'x' * LARGE
    thread.join(10.0)
    assert frames.send(b'more') == 4
    assert far.recv(100) == b'more'


def test_concurrent_frames_are_not_mixed(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """A waiting task is next."""
    frames, far = pair
    write(frames, b'x' * LARGE, b'y' * LARGE)
    far.recv(1, socket.MSG_PEEK)
    write(frames, b'pong')
    wait_until(lambda: len(frames._limiter.queue) == 2)
    assert read(far, 2 * LARGE + 4) == b''.join(
        [b'x' * LARGE, b'pong', b'y' * LARGE])


def test_partial_frame_closes_socket(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    """The other end notices that the connection is closed."""
    frames, far = pair
    frames.settimeout(0.1)
    with pytest.raises(BrokenPipeError, match='timed out'):
        frames.send(b'x' * LARGE)
    with pytest.raises(BrokenPipeError, match='gone'):
        frames.send(b'pong')
    came = b''.join(iter(lambda: far.recv(65536), b''))
    assert 0 < len(came) < LARGE
    assert set(came) == {ord('x')}
    assert frames.recv(1) == b''


def test_struck_write_closes_socket(pair: Tuple[FrameSocket, socket.socket],
                                    monkeypatch: Any) -> None:
    """A gevent timeout is not a socket error."""
    class Struck(BaseException):
        pass

    class Socket:
        def gettimeout(self) -> None:
            return None

        def send(self, data: bytes) -> int:
            return 1

        def sendall(self, data: bytes) -> None:
            raise Struck

        def shutdown(self, how: int) -> None:
            raise OSError('gone already')

    frames = FrameSocket(Socket(), Limiter(1, threading.Event))
    with pytest.raises(Struck):
        frames.send(b'frame')
    with pytest.raises(BrokenPipeError):
        frames.send(b'frame')


def test_other_attributes_are_those_of_socket(
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    far.send(b'request')
    assert frames.recv(100) == b'request'
    frames.settimeout(3.0)
    assert frames.gettimeout() == 3.0
    assert frames.fileno() > 0
    frames.close()
    assert far.recv(100) == b''


# -- installation -----------------------------------------------------------

def make_server(**options: Any) -> socketio.Server:
    return socketio.Server(async_mode='threading', client_manager=(
        RedisStreamsManager('redis://127.0.0.1:1', **options)))


class Connection:
    """A connection of simple-websocket."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock


def serve(server: socketio.Server, connection: Any,
          monkeypatch: Any) -> List[Any]:
    """Serve a WebSocket without a network.

    :return: what Engine.IO's handler was given.
    """
    def call(self: Any, environ: Any, start_response: Any) -> Any:
        self.ws = connection
        return self.app(self)

    monkeypatch.setattr(
        upstream.SimpleWebSocketWSGI, '__call__', call)
    handled: List[Any] = []
    assert server.eio._async['websocket'](handled.append, server.eio)(
        {}, None) is None
    return handled


@pytest.mark.parametrize('options', [{}, {'write_only': True}, {
    'connection_state_recovery': True}])
def test_server_gets_safe_websocket(
        options: Any, monkeypatch: Any,
        pair: Tuple[FrameSocket, socket.socket]) -> None:
    near = pair[0]._sock
    connection = Connection(near)
    ws, = serve(make_server(**options), connection, monkeypatch)
    assert isinstance(connection.sock, FrameSocket)
    assert connection.sock.fileno() == near.fileno()
    # Engine.IO sets the timeout of this attribute's socket.
    assert ws.socket is connection.sock


def test_gevent_websocket_is_made_safe(
        monkeypatch: Any, pair: Tuple[FrameSocket, socket.socket]) -> None:
    """gevent-websocket writes its frames with the socket's sendall()."""
    near = pair[0]._sock

    class Handler:
        socket = near

    class WebSocket:
        __slots__ = ('raw_write', 'handler')

        def __init__(self) -> None:
            self.raw_write = near.sendall
            self.handler = Handler()

    class Driver:
        __module__ = 'engineio.async_drivers.gevent'

        def __init__(self, handler: Any, server: Any) -> None:
            self.app = handler

        def __call__(self, environ: Any, start_response: Any) -> Any:
            self._sock = WebSocket()
            return self.app(self)

    server = socketio.Server(async_mode='threading')
    server.eio._async = {**upstream._async, 'websocket': Driver}
    install(server, LOGGER)
    handled: List[Any] = []
    server.eio._async['websocket'](handled.append, server.eio)({}, None)
    ws, = handled
    assert isinstance(ws.socket, FrameSocket)
    assert ws._sock.raw_write == ws.socket.send


def test_other_servers_are_unchanged() -> None:
    before = dict(upstream._async)
    server = make_server()
    assert server.eio._async is not upstream._async
    assert upstream._async == before
    assert socketio.Server(
        async_mode='threading').eio._async['websocket'] is before['websocket']


def test_server_gets_safe_websocket_once() -> None:
    server = make_server()
    table = server.eio._async
    install(server, LOGGER)
    assert server.eio._async is table


class Foreign:
    """Another kind of driver for WebSockets."""


@pytest.mark.parametrize('driver', [Foreign, None])
def test_other_drivers_are_unchanged(driver: Any) -> None:
    server = socketio.Server(async_mode='threading')
    table = server.eio._async = {**upstream._async, 'websocket': driver}
    install(server, LOGGER)
    assert server.eio._async is table


@pytest.mark.parametrize('table', [None, {}])
def test_unknown_python_engineio_is_logged(table: Any, caplog: Any) -> None:
    server = socketio.Server(async_mode='threading')
    server.eio._async = table
    with caplog.at_level(logging.DEBUG):
        install(server, LOGGER)
    assert server.eio._async is table
    assert [each.levelname for each in caplog.records] == ['DEBUG']


@pytest.mark.parametrize('connection', [None, Connection(object())])
def test_unknown_simple_websocket_is_logged_once(
        connection: Any, monkeypatch: Any, caplog: Any) -> None:
    """The second connection logs no line."""
    server = make_server()
    sock = getattr(connection, 'sock', None)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            ws, = serve(server, connection, monkeypatch)
            assert not hasattr(ws, 'socket')
    assert getattr(connection, 'sock', None) is sock
    assert [each.levelname for each in caplog.records] == ['DEBUG']
