"""A WebSocket of python-engineio gets our socket and our frames."""
import logging
import socket
import sys
import threading
from typing import Any, Iterator, List, Tuple

import pytest
import socketio
from engineio.async_drivers import threading as upstream

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.clients.frame_socket import FrameSocket
from redis_streams_adapter.clients.frames import Joined
from redis_streams_adapter.clients.send_queue import SendQueue
from redis_streams_adapter.clients.websocket import install
from redis_streams_adapter.concurrency.limiter import Limiter

LOGGER = logging.getLogger('test.websocket')


@pytest.fixture
def pair() -> Iterator[Tuple[FrameSocket, socket.socket]]:
    """The server's socket, and the client's end."""
    near, far = socket.socketpair()
    with near, far:
        yield FrameSocket(near, Limiter(1, threading.Event)), far


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


# -- frames ------------------------------------------------------------------

class Handler:
    """python-engineio's connection, and its handler of a WebSocket."""

    upgraded = True

    def __init__(self, struck: bool = False) -> None:
        self.queue = SendQueue()
        self.struck = struck
        #: The writer that the queue has while the WebSocket is served.
        self.writer: Any = None

    def handle(self, ws: Any) -> List[Any]:
        self.writer = self.queue.writer
        if self.struck:
            raise Struck()
        return []


class Struck(Exception):
    """Strikes a handler."""


class Agreed:
    """What wsproto shows of the extensions that both ends have agreed on."""

    def __init__(self, *extensions: Any) -> None:
        self.connection = self._proto = self
        self.extensions = list(extensions)


@pytest.mark.parametrize('protocol, longest', [
    (Agreed(), sys.maxsize), (Agreed('deflate'), 1024), (None, 1024)])
def test_queue_writes_frames_while_websocket_is_served(
        monkeypatch: Any, pair: Tuple[FrameSocket, socket.socket],
        protocol: Any, longest: int) -> None:
    """Long messages are left to the package if it compresses, or may do."""
    server, connection = make_server(), Connection(pair[0]._sock)
    connection.ws = protocol  # type: ignore[attr-defined]
    connection.connected = True  # type: ignore[attr-defined]

    def call(self: Any, environ: Any, start_response: Any) -> Any:
        self.ws = connection
        return self.app(self)

    monkeypatch.setattr(upstream.SimpleWebSocketWSGI, '__call__', call)
    handler = Handler()
    server.eio._async['websocket'](handler.handle, server.eio)({}, None)
    assert handler.writer.longest == longest
    assert handler.writer.state() is handler.writer.is_open
    connection.connected = False  # type: ignore[attr-defined]
    assert handler.writer.state() is not handler.writer.is_open
    assert handler.queue.writer is None
    assert not handler.writer.is_used


def test_struck_handler_leaves_writer_to_task_that_sends(
        monkeypatch: Any, pair: Tuple[FrameSocket, socket.socket]) -> None:
    """gevent's server strikes the handlers when it stops. The other task
    may have taken frames; the package would send their ``str()``."""
    server, connection = make_server(), Connection(pair[0]._sock)
    connection.connected = True  # type: ignore[attr-defined]
    served: List[Any] = []

    def call(self: Any, environ: Any, start_response: Any) -> Any:
        self.ws = connection
        served.append(self)
        return self.app(self)

    monkeypatch.setattr(upstream.SimpleWebSocketWSGI, '__call__', call)
    handler = Handler(struck=True)
    with pytest.raises(Struck):
        server.eio._async['websocket'](handler.handle, server.eio)({}, None)
    assert handler.queue.writer is handler.writer and handler.writer.is_used
    served[0].send(Joined(b'frames'))
    assert pair[1].recv(100) == b'frames'
