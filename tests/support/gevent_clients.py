"""Clients for the tests of the queue with gevent: Engine.IO's own connections,
real sockets, and a WebSocket that only writes."""
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Optional

import gevent
import pytest
import socketio
from engineio.socket import Socket

from redis_streams_adapter.clients.delivery import Delivery, Load
from redis_streams_adapter.clients.encoding import Encoded
from redis_streams_adapter.clients.frame_socket import FrameSocket, \
    FrameWriter
from redis_streams_adapter.clients.gevent_queue import GeventQueue
from redis_streams_adapter.clients.send_queue import install
from redis_streams_adapter.concurrency.engines import GeventEvent
from redis_streams_adapter.concurrency.limiter import Limiter

from ..unit.clients.test_frames import framed, read

#: More than the buffers of a pair of sockets hold.
LARGE = 4 * 2**20


class Client:
    """A client, and its connection.

    :param upgraded: whether it has a WebSocket from the beginning.
    :param longest: the longest frame that is not left to the package.
    """

    def __init__(self, server: Any, sid: str, upgraded: bool = True,
                 longest: int = 10 * LARGE) -> None:
        from gevent import socket as gevent_socket
        near, self.far = gevent_socket.socketpair()
        near.settimeout(60.0)
        self.near = near
        #: How the frames were sent, by the hub ('now') or a task ('task').
        self.sent: List[str] = []
        #: Messages that were left to the package.
        self.left: List[Any] = []
        self.is_open = True
        self.sock: Any = Socket(server.eio, sid)
        server.eio.sockets[sid] = self.sock
        self.sock.connected = self.sock.upgraded = upgraded
        self.sock.last_ping = None
        self.frames = FrameSocket(self, Limiter(1, GeventEvent))
        self.ws = SimpleNamespace(send=self._by_package)
        self.queue: GeventQueue = self.sock.queue
        self.frames.at_once = self.send_now
        self.writer = FrameWriter(self.frames, lambda: self.is_open, True,
                                  longest, self.ws, self.sock)
        self.queue.writer = self.writer
        self.task: Any = None

    def send(self, data: bytes) -> int:
        self.sent.append('task')
        sent: int = self.near.send(data)
        return sent

    def send_now(self, data: bytes) -> int:
        self.sent.append('now')
        sent: int = self.near._sock.send(data)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.near, name)

    def _by_package(self, message: Any) -> None:
        self.left.append(message)
        self.frames.send(framed(message[1:]))

    def start(self) -> None:
        """Start Engine.IO's task that writes, as its ``writer()`` does."""
        def work() -> Optional[str]:
            while True:
                try:
                    packets = self.sock.poll()
                except Exception as exc:
                    return type(exc).__name__
                if not packets:
                    return 'end'
                try:
                    for packet in packets:
                        self.ws.send(packet.encode())
                except Exception:
                    return 'lost'

        self.task = gevent.spawn(work)
        gevent.sleep(0)

    def read_until_end(self, size: int) -> bytes:
        """This many bytes; fewer if the connection ends before."""
        data = bytearray()
        while len(data) < size:
            received = self.far.recv(min(65536, size - len(data)))
            if not received:
                break
            data += received
        return bytes(data)

    def read(self, size: int) -> bytes:
        data = self.read_until_end(size)
        assert len(data) == size, 'the connection has ended'
        return data

    def messages(self) -> List[Any]:
        """What has arrived."""
        gevent.sleep(0.01)
        self.far.setblocking(False)
        try:
            return read(self.far.recv(2 * LARGE))
        except BlockingIOError:
            return []
        finally:
            self.far.setblocking(True)


@pytest.fixture
def server() -> Iterator[Any]:
    made = socketio.Server(async_mode='gevent',
                           client_manager=socketio.Manager())
    install(made)
    yield made


@pytest.fixture
def make_client(server: Any) -> Iterator[Callable[..., Client]]:
    clients: List[Client] = []

    def make(start: bool = True, **options: Any) -> Client:
        client = Client(server, f'client {len(clients)}', **options)
        clients.append(client)
        if start:
            client.start()
        return client

    yield make
    for client in clients:
        client.near.close()
        client.far.close()
        if client.task is not None:
            client.task.kill()


@pytest.fixture
def emit(server: Any) -> Callable[..., None]:
    """Hand an event over to clients."""
    delivery = Delivery(server.manager, server, lambda: server.logger)

    def hand_over(name: str, *clients: Client) -> None:
        delivery.hand_over([Load([
            (each.sock.sid, each.sock.sid) for each in clients],
            Encoded([name], None, False))])

    return hand_over
