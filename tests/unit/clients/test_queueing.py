"""Packets to connections that end, and the log lines about them."""
import threading
import time
from typing import Any, List

import socketio
from engineio.exceptions import SocketIsClosedError

from redis_streams_adapter.clients.delivery import Delivery
from redis_streams_adapter.protocol.messages import Broadcast

from ...support.wait import wait_until
from .conftest import Connect


def test_client_that_just_left_is_skipped(delivery: Delivery,
                                          connect: Connect) -> None:
    gone, closed, here = connect(), connect(), connect()
    loads = delivery.pack('/', Broadcast(('hello',)))
    gone.leave()
    closed.socket.closed = True
    delivery.hand_over(loads)
    assert here.received('hello') == [()]
    assert gone.received('hello') == closed.received('hello') == []


def test_socket_that_closes_during_send_is_skipped(
        delivery: Delivery, connect: Connect) -> None:
    closing, here = connect(), connect()
    closing.socket.send = raise_closed  # type: ignore[method-assign]
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    assert here.received('hello') == [()]


def raise_closed(packet: Any) -> None:
    raise SocketIsClosedError()


def test_silent_client_is_closed(delivery: Delivery, connect: Connect,
                                 server: socketio.Server) -> None:
    """Engine.IO closes the connection at the next send, and runs the
    application's disconnect handler in that call."""
    silent, here = connect(), connect()
    silent.socket.last_ping = time.time() - server.eio.ping_timeout - 1
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    assert here.received('hello') == [()]
    wait_until(lambda: silent.received('hello'))
    assert threading.current_thread() is not silent.socket.senders[-1]
    assert threading.current_thread() is here.socket.senders[-1]
    # It is closed only once.
    silent.socket.closing = True
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    assert here.received('hello') == [(), ()]
    assert silent.received('hello') == [()]


def test_client_that_answers_during_check_stays(
        delivery: Delivery, connect: Connect) -> None:
    """The connection's task records the answer while another task checks."""
    answering, here = connect(), connect()

    class Socket(type(answering.socket)):  # type: ignore[misc]
        times = [time.time()]
        last_ping = property(lambda self: (self.times or [None]).pop())

    answering.socket.__dict__.pop('last_ping')
    answering.socket.__class__ = Socket
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    assert here.received('hello') == answering.received('hello') == [()]


def test_partial_logger_suffices(delivery: Delivery, connect: Connect,
                                 server: socketio.Server) -> None:
    """Engine.IO calls only these methods."""
    lines: List[str] = []

    class Plain:
        def info(self, text: str, *args: Any) -> None:
            lines.append(text % args)

        warning = info

    client = connect()
    server.eio.logger = Plain()
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    server.eio.sockets.clear()
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    delivery.log_lines(threading.RLock())
    assert client.received('hello') == [()]
    assert lines == [
        f'{client.eio_sid}: Sending packet MESSAGE data 2["hello"]',
        f'Cannot send to sid {client.eio_sid}']


def test_client_within_ping_timeout_gets_event(
        delivery: Delivery, connect: Connect) -> None:
    client = connect()
    client.socket.last_ping = time.time()
    delivery.hand_over(delivery.pack('/', Broadcast(('hello',))))
    assert client.received('hello') == [()]
    assert threading.current_thread() is client.socket.senders[-1]
