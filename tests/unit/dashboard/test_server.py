"""The server of the command."""
import contextlib
import http.client
import socket
import struct
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

from redis_streams_adapter.dashboard.server import is_loopback, LocalOnly, \
    make_server

from ...support.wait import wait_until


@pytest.mark.parametrize('host, expected', [
    ('127.0.0.1', True), ('127.1.2.3', True), ('::1', True),
    ('localhost', True), ('0.0.0.0', False), ('::', False), ('', False),
    ('10.0.0.1', False), ('localhost.example', False), ('web', False)])
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def hello(environ: Dict[str, Any], start_response: Any) -> List[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello']


@pytest.mark.parametrize('host, status', [
    ('127.0.0.1:8787', 200), ('localhost', 200), ('LOCALHOST:80', 200),
    ('[::1]:8787', 200), ('elsewhere.example:8787', 403), ('', 403),
    ('127.0.0.1.example', 403), ('[elsewhere]', 403)])
def test_only_this_machine(host: str, status: int) -> None:
    seen: List[str] = []
    body = LocalOnly(hello)(
        {'HTTP_HOST': host, 'REQUEST_METHOD': 'GET'},
        lambda line, headers: seen.append(line))
    assert int(seen[0].split()[0]) == status
    assert b''.join(body) == (
        b'hello' if status == 200 else b'only for this machine\n')


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Serves an application: ``serve(app)`` returns a connection."""
    with contextlib.ExitStack() as stack:
        def start(app: Any) -> Any:
            server = make_server(app, '127.0.0.1', 0)
            thread = threading.Thread(
                target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            connection = http.client.HTTPConnection(
                '127.0.0.1', server.server_port, timeout=30)
            stack.callback(connection.close)
            return connection

        yield start


def test_requests_are_not_logged(serve: Callable[..., Any],
                                 capfd: pytest.CaptureFixture[str]) -> None:
    connection = serve(hello)
    connection.request('GET', '/?token=secret')
    assert connection.getresponse().read() == b'hello'
    connection.request('GET', '/?' + 'x' * 70_000)
    assert connection.getresponse().status == 414
    assert capfd.readouterr() == ('', '')


def test_viewer_that_leaves(serve: Callable[..., Any],
                            capfd: pytest.CaptureFixture[str]) -> None:
    """The iterable is closed, and nothing is logged."""
    closed = threading.Event()

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response('200 OK', [('Content-Type', 'text/event-stream')])

        def parts() -> Iterator[bytes]:
            try:
                while True:
                    yield b'x' * 10_000
            finally:
                closed.set()

        return parts()

    connection = serve(endless)
    connection.request('GET', '/')
    response = connection.getresponse()
    assert response.read(10) == b'x' * 10
    # It breaks: nothing is finished.
    response.fp.raw._sock.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    response.close()
    connection.close()
    wait_until(closed.is_set)
    assert capfd.readouterr() == ('', '')


def test_errors_of_the_application_are_shown(
        serve: Callable[..., Any],
        capfd: pytest.CaptureFixture[str]) -> None:
    def fail(environ: Any, start_response: Any) -> List[bytes]:
        raise RuntimeError('a bug')

    connection = serve(fail)
    connection.request('GET', '/')
    assert connection.getresponse().status == 500
    wait_until(lambda: 'a bug' in capfd.readouterr().err)


def test_port_that_is_taken(serve: Callable[..., Any]) -> None:
    connection = serve(hello)
    with pytest.raises(OSError):
        make_server(hello, '127.0.0.1', connection.port)
