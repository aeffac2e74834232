"""Connections and their end when a server shuts down."""
import contextlib
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
from engineio import packet
from engineio.socket import Socket

from redis_streams_adapter.clients.connections import AT_A_TIME, Connections

from ...support.wait import wait_until
from ..fake_server import FakeClient, make_server

HANDSHAKE = {'REQUEST_METHOD': 'GET', 'QUERY_STRING': 'EIO=4'}


class Refusing:
    """A manager that rejects clients, or admits them."""

    def __init__(self) -> None:
        self.value = False

    def __call__(self) -> bool:
        return self.value


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture
def server() -> Any:
    return make_server(monitor_clients=False)


@pytest.fixture
def connections(server: Any, refusing: Refusing) -> Connections:
    found = Connections(server, refusing)
    found.watch()
    # A second call changes nothing.
    found.watch()
    return found


def get(server: Any, query: str = 'EIO=4', **environ: Any
        ) -> Tuple[str, bytes]:
    """Send a request.

    :return: the status and the body of the response.
    """
    said: List[str] = []
    body = server.handle_request(
        {'REQUEST_METHOD': 'GET', 'QUERY_STRING': query, **environ},
        lambda status, headers: said.append(status))
    return said[0], b''.join(body)


def poll_in_thread(server: Any, sid: str, **environ: Any
                   ) -> Tuple[threading.Thread, List[Any]]:
    answers: List[Any] = []
    thread = threading.Thread(daemon=True, target=lambda: answers.append(
        get(server, f'EIO=4&sid={sid}', **environ)))
    thread.start()
    return thread, answers


def open_polling(server: Any) -> Socket:
    """Connect a polling client that has got its first response."""
    before = set(server.eio.sockets)
    status, _ = get(server)
    assert status == '200 OK'
    sid, = set(server.eio.sockets) - before
    return server.eio.sockets[sid]


def test_only_new_clients_are_refused(server: Any, connections: Connections,
                                      refusing: Refusing) -> None:
    sock = open_polling(server)
    refusing.value = True
    status, body = get(server)
    assert status.startswith('503 ')
    assert b'shutting down' in body
    assert list(server.eio.sockets) == [sock.sid]
    sock.send(packet.Packet(packet.MESSAGE, data='hello'))
    assert get(server, f'EIO=4&sid={sock.sid}') == ('200 OK', b'4hello')


def test_polling_request_is_answered(server: Any,
                                     connections: Connections) -> None:
    """The response does not end the connection for the client."""
    sock = open_polling(server)
    thread, answers = poll_in_thread(server, sock.sid)
    wait_until(lambda: connections._requests)
    assert connections.close(5.0)
    thread.join(10)
    assert answers == [('200 OK', b'')]
    assert sock.closed
    # Later requests do not end it either.
    assert get(server, f'EIO=4&sid={sock.sid}')[0].startswith('400 ')


def test_polling_client_fetches_waiting_packets(
        server: Any, connections: Connections) -> None:
    sock = open_polling(server)
    sock.send(packet.Packet(packet.MESSAGE, data='hello'))
    closing = threading.Thread(target=connections.close, args=[5.0])
    closing.start()
    wait_until(lambda: connections._ended is not None)
    assert get(server, f'EIO=4&sid={sock.sid}') == ('200 OK', b'4hello')
    closing.join(10)
    assert sock.closed


def test_client_that_does_not_poll_is_not_awaited(
        server: Any, connections: Connections) -> None:
    sock = open_polling(server)
    sock.send(packet.Packet(packet.MESSAGE, data='hello'))
    assert connections.close(5.0)
    assert sock.closed


def test_close_runs_handlers_and_sends_nothing(
        server: Any, connections: Connections) -> None:
    reasons: Dict[str, str] = {}
    server.on('disconnect', lambda sid, reason: reasons.update(
        {sid: reason}))
    clients = [FakeClient(server) for _ in range(AT_A_TIME * 3)]
    sids = [client.sid for client in clients]
    assert connections.close(10.0)
    assert reasons == dict.fromkeys(sids, 'transport close')
    for client in clients:
        assert client.socket.closed and not client.was_disconnected()


def test_client_that_connects_during_close_is_closed(
        server: Any, connections: Connections) -> None:
    """Its request was admitted before the server shut down."""
    late: List[FakeClient] = []

    def disconnect(sid: str, reason: str) -> None:
        if not late:
            late.append(FakeClient(server))

    server.on('disconnect', disconnect)
    FakeClient(server)
    assert connections.close(10.0)
    assert late[0].socket.closed


def test_wait_for_slow_handlers_is_limited(server: Any,
                                           connections: Connections) -> None:
    go_on = threading.Event()
    server.on('disconnect', lambda sid, reason: go_on.wait(20))
    FakeClient(server)
    assert not connections.close(0.3)
    go_on.set()


def test_failing_handler_does_not_stop_others(
        server: Any, connections: Connections,
        caplog: pytest.LogCaptureFixture) -> None:
    left: List[str] = []

    def disconnect(sid: str, reason: str) -> None:
        left.append(sid)
        raise RuntimeError('as it happens')

    server.on('disconnect', disconnect)
    socks = [open_polling(server) for _ in range(3)]
    for sock in socks:
        server._handle_eio_message(sock.sid, '0')
    assert connections.close(10.0)
    assert len(left) == 3
    assert all(sock.closed for sock in socks)


@contextlib.contextmanager
def connected() -> Iterator[Tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize('name', ['gunicorn.socket', 'gunicorn.sock',
                                  'werkzeug.socket'])
def test_blocked_websocket_is_cut(server: Any, connections: Connections,
                                  name: str) -> None:
    """The client of a WebSocket does not answer, so the server waits in
    recv()."""
    with connected() as (ours, theirs):
        def serve(environ: Any, start_response: Any) -> List[bytes]:
            return [ours.recv(1)]

        connections._serve = serve
        begun = time.monotonic()
        answers: List[Optional[List[bytes]]] = []
        thread = threading.Thread(target=lambda: answers.append(
            server.handle_request({**HANDSHAKE, name: ours}, None)))
        thread.start()
        wait_until(lambda: connections._requests)
        assert connections.close(0.2)
        thread.join(10)
        assert answers == [[b'']]
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize('upgrade', ['websocket', ''])
def test_nothing_follows_a_websocket(
        server: Any, connections: Connections, upgrade: str) -> None:
    """A WSGI server that kept the connection would wait for another request.
    It may keep other connections."""
    with connected() as (ours, theirs):
        go_on = threading.Event()

        def serve(environ: Any, start_response: Any) -> List[bytes]:
            go_on.wait(20)
            return []

        connections._serve = serve
        thread = threading.Thread(target=server.handle_request, args=[
            {**HANDSHAKE, 'gunicorn.socket': ours, 'HTTP_UPGRADE': upgrade},
            None])
        thread.start()
        wait_until(lambda: connections._requests)
        closing = threading.Thread(target=connections.close, args=[5.0])
        closing.start()
        wait_until(lambda: connections._ended is not None)
        go_on.set()
        thread.join(10)
        closing.join(10)
        theirs.setblocking(False)
        if upgrade:
            assert theirs.recv(1) == b''
        else:
            with pytest.raises(BlockingIOError):
                theirs.recv(1)


def test_request_without_socket_is_ignored(server: Any,
                                           connections: Connections) -> None:
    go_on = threading.Event()

    def serve(environ: Any, start_response: Any) -> List[bytes]:
        go_on.wait(20)
        return [b'']

    connections._serve = serve
    thread = threading.Thread(
        target=server.handle_request, args=[HANDSHAKE, None])
    thread.start()
    wait_until(lambda: connections._requests)
    assert connections.close(0.2)
    go_on.set()
    thread.join(10)
    assert not connections._requests


@pytest.mark.parametrize('recovery', [False, True])
@pytest.mark.parametrize('how', ['closed', 'shutting down'])
def test_closing_manager_rejects_clients(make_manager: Callable[..., Any],
                                         how: str, recovery: bool) -> None:
    """The clients would not get events of other servers. They get no
    CONNECT_ERROR, after which they would not retry."""
    manager = make_manager(connection_state_recovery=recovery)
    server = make_server(client_manager=manager, monitor_clients=False)
    before = FakeClient(server)
    if how == 'closed':
        manager.close()
    else:
        manager._lifecycle.turn_clients_away()
    coming = FakeClient(server)
    assert coming.socket.closed
    assert coming.reply() is None and coming.refusal() is None
    # The same holds for another namespace of an existing connection.
    server._handle_eio_message(before.eio_sid, '0/chat,')
    assert before.socket.closed
    assert before.refusal('/chat') is None
    manager.close()
    manager.start()
    assert FakeClient(server).reply() is not None


def test_ending_connection_gets_no_reply(
        make_manager: Callable[..., Any]) -> None:
    """Another task ends the connection, with a slow disconnect handler."""
    manager = make_manager()
    server = make_server(client_manager=manager, monitor_clients=False)
    runs, go_on = threading.Event(), threading.Event()

    def disconnect(sid: str, reason: str) -> None:
        runs.set()
        go_on.wait(20)

    server.on('disconnect', disconnect)
    client = FakeClient(server)
    manager._lifecycle.turn_clients_away()
    task = threading.Thread(target=client.lose)
    task.start()
    assert runs.wait(10)
    server._handle_eio_message(client.eio_sid, '0/chat,')
    go_on.set()
    task.join(10)
    assert client.refusal('/chat') is None
