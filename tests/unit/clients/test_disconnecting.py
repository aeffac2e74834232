"""A command disconnects local clients."""
import threading
from typing import Any, List

import pytest
import socketio

from redis_streams_adapter.clients.delivery import Delivery
from redis_streams_adapter.protocol.messages import EVERYONE, Target

from ...support.polling_client import in_process, PollingClient
from ...support.wait import DEADLINE, wait_until
from .conftest import Connect


def test_handler_runs_in_separate_task(delivery: Delivery,
                                       server: socketio.Server,
                                       connect: Connect) -> None:
    seen: List[Any] = []
    done = threading.Event()

    @server.on('disconnect')
    def on_disconnect(sid: str, reason: str) -> None:
        seen.append((sid, threading.current_thread()))
        done.set()

    client, other = connect('/', '/chat'), connect()
    sid = client.sid
    delivery.disconnect('/', Target((sid,)), close=False)
    assert done.wait(DEADLINE)
    wait_until(lambda: not server.manager.is_connected(sid, '/'))
    (handled, thread), = seen
    assert handled == sid
    # The application's handlers may take a long time.
    assert thread is not threading.current_thread()
    assert client.was_disconnected('/')
    assert not client.was_disconnected('/chat')
    assert not client.socket.closed
    assert not other.was_disconnected()


def test_connection_is_closed(delivery: Delivery, server: socketio.Server,
                              connect: Connect) -> None:
    client, other = connect('/', '/chat'), connect()
    delivery.disconnect('/', Target((client.sid,)), close=True)
    wait_until(lambda: client.socket.closed)
    assert client.was_disconnected('/') and client.was_disconnected('/chat')
    assert not other.was_disconnected()
    wait_until(lambda: '/chat' not in server.manager.rooms)
    assert not other.socket.closed
    assert delivery.recipients('/', EVERYONE) == [
        (other.sid, other.eio_sid)]


def test_failing_handler_does_not_stop_others(
        delivery: Delivery, server: socketio.Server, connect: Connect) -> None:
    """The other clients are disconnected."""
    clients = [connect() for _ in range(3)]

    @server.on('disconnect')
    def on_disconnect(sid: str, reason: str) -> None:
        raise RuntimeError('the handler fails')

    delivery.disconnect('/', EVERYONE, close=False)
    for client in clients:
        wait_until(client.was_disconnected)


def test_disconnect_without_clients_starts_no_task(
        delivery: Delivery, server: socketio.Server,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(server), 'start_background_task')
    delivery.disconnect('/', EVERYONE, close=True)


def test_client_that_polls_gets_what_was_emitted_before(
        delivery: Delivery, server: socketio.Server) -> None:
    clients = [PollingClient(in_process(server)) for _ in range(3)]
    for client in clients:
        server.emit('last', 'words', to=client.connect())
    delivery.disconnect('/', EVERYONE, close=True)
    wait_until(lambda: not server.manager.rooms)
    for client in clients:
        assert client.poll()[0] == '42["last","words"]'
