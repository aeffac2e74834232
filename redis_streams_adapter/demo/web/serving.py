"""Serves the page on the loopback interface, each request on its own task."""
from __future__ import annotations

from collections.abc import Callable, Iterable
import errno
import threading
from wsgiref.simple_server import WSGIServer

from ...dashboard.server import make_server
from ..errors import DemoError

HOST = '127.0.0.1'

#: The port of the page if none is given, and it is free.
PORT = 8788


class Serving:
    """Serves an application once it is constructed.

    :param application: as WSGI has it.
    :param port: 0: any that is free; ``None``: :data:`PORT`, or, if it is
                 taken, any.

    Raises :class:`DemoError` if the port is not free.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]],
                 port: int | None = None) -> None:
        self._server = _listen(application, port)
        self.url = f'http://{HOST}:{self._server.server_port}/'
        self._task = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._task.start()

    def close(self) -> None:
        """Accept no more requests. Those in progress go on."""
        self._server.shutdown()
        self._server.server_close()


def _listen(application: Callable[..., Iterable[bytes]],
            port: int | None) -> WSGIServer:
    try:
        return make_server(application, HOST, PORT if port is None else port)
    except OSError as exc:
        if port is None and exc.errno == errno.EADDRINUSE:
            return _listen(application, 0)
        raise DemoError(f'the page cannot be served on port {port or PORT}: '
                        f'{exc.strerror}') from exc
