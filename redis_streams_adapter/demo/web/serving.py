"""Serves the page on the loopback interface, each request on its own task."""
from __future__ import annotations

from collections.abc import Callable, Iterable
import errno
from socketserver import ThreadingMixIn
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ..errors import DemoError

HOST = '127.0.0.1'

#: The port of the page if none is given, and it is free.
PORT = 8788

#: Seconds that a client may take to send its request, or to read a part of
#: the response.
TIMEOUT = 30.0


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT

    def address_string(self) -> str:
        return HOST

    def log_message(self, *_: Any) -> None:
        """The terminal is the report's."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the name of the host.
        self.socket.bind(self.server_address)
        host, port = self.socket.getsockname()[:2]
        self.server_address = (host, port)
        self.server_name, self.server_port = host, port
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """A browser that has gone is no error."""


class Serving:
    """Serves an application once it is constructed.

    :param application: as WSGI has it.
    :param port: 0: any that is free; ``None``: :data:`PORT`, or, if it is
                 taken, any.

    Raises :class:`DemoError` if the port is not free.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]],
                 port: int | None = None) -> None:
        self._server = _bind(port)
        self._server.set_app(application)
        self.url = f'http://{HOST}:{self._server.server_port}/'
        self._task = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._task.start()

    def close(self) -> None:
        """Accept no more requests. Those in progress go on."""
        self._server.shutdown()
        self._server.server_close()


def _bind(port: int | None) -> _Server:
    for each in (PORT, 0) if port is None else (port,):
        try:
            return _Server((HOST, each), _Handler)
        except OSError as exc:
            reason = exc
            if port is None and exc.errno == errno.EADDRINUSE:
                continue
            break
    raise DemoError(f'the page cannot be served on port {port}: '
                    f'{reason.strerror}') from reason
