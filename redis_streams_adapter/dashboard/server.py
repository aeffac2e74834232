"""Serves the dashboard, with nothing but the standard library.

A viewer takes a thread. No request is logged: its URL may contain the token.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
import ipaddress
import socket
import socketserver
import sys
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, \
    WSGIServer

#: After so many seconds without progress a connection is closed.
TIMEOUT = 60.0

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]],
                           Iterable[bytes]]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host's name or address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LocalOnly:
    """Refuses requests for other hosts than this machine.

    A page from elsewhere could let the name of its own host point to this
    machine, and read what is served here (DNS rebinding). Its requests name
    that host.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any],
                 start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = str(environ.get('HTTP_HOST', ''))
        if host.startswith('['):
            name = host[1:].partition(']')[0]
        else:
            name = host.partition(':')[0]
        if is_loopback(name.lower()):
            return self._app(environ, start_response)
        start_response('403 Forbidden', [('Content-Type', 'text/plain')])
        return [b'' if environ['REQUEST_METHOD'] == 'HEAD'
                else b'only for this machine\n']


class _Handler(ServerHandler):
    """Answers one request."""

    def log_exception(self, exc_info: Any) -> None:
        # A viewer that has left, or no longer reads.
        if not isinstance(exc_info[1], OSError):
            super().log_exception(exc_info)


class _RequestHandler(WSGIRequestHandler):
    """Reads one request."""

    timeout = TIMEOUT

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ''
            self.send_error(414)
        elif self.parse_request():
            # Typeshed names another class than socketserver for the files.
            rfile: Any = self.rfile
            wfile: Any = self.wfile
            handler = _Handler(
                rfile, wfile, sys.stderr, self.get_environ())
            # wsgiref looks for it there.
            handler.request_handler = self  # type: ignore[attr-defined]
            # Typeshed does not know that the server is a WSGIServer.
            handler.run(self.server.get_app())  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a URL may contain the token."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks up the name of the host.
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def make_server(app: WSGIApplication, host: str, port: int) -> WSGIServer:
    """A server that listens, and serves when its ``serve_forever`` is called.

    :param port: 0: one that is free.
    :raises OSError: it cannot listen there.
    """
    class Server(_Server):
        address_family = socket.AF_INET6 if ':' in host else socket.AF_INET

    server = Server((host, port), _RequestHandler)
    server.set_app(app)
    return server
