"""The page of the demo, as a WSGI application.

================== ======================================================
``/``              the page
``/page.css``      its style; ``/page.js``: its script
``/events``        the state, again and again, as server-sent events
``/state``         the state, once, as JSON
``/press/NAME``    ``POST``: press a button
``/dashboard/``    the dashboard
================== ======================================================

Other pages in the same browser cannot use it. A request must name this
machine as its host, which a name that an attacker has moved to 127.0.0.1 does
not. Pressing a button takes a token from the page, which no other page can
read, and an ``Origin`` of this server.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import hmac
from importlib.resources import files
import json
import secrets
import threading
from typing import Any
from wsgiref.util import shift_path_info

from .actions import Actions, Refused
from .board import Board

#: Hosts under which this machine is asked. The port may be any: of a tunnel.
HOSTS = ('127.0.0.1', 'localhost')

#: What the page may load: all from this server.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; "
          "img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

HEADERS = [
    ('Content-Security-Policy', POLICY), ('Cache-Control', 'no-store'),
    ('X-Content-Type-Options', 'nosniff'), ('Referrer-Policy', 'no-referrer'),
    ('Cross-Origin-Resource-Policy', 'same-origin')]

#: The files of the page.
FILES = {'/': ('page.html', 'text/html'),
         '/page.css': ('page.css', 'text/css'),
         '/page.js': ('page.js', 'text/javascript')}

#: What stands for the token in the page.
PLACE = '{{ token }}'

#: Seconds between two states at least, and at most.
SHORTEST, LONGEST = 0.2, 10.0

#: How many pages may be open at once. Each takes a thread.
STREAMS = 20

Start = Callable[[str, list[tuple[str, str]]], Any]


class Page:
    """The application.

    :param board: the state.
    :param actions: the buttons.
    :param dashboard: the one of the package, or another WSGI application.
    """

    def __init__(self, board: Board, actions: Actions,
                 dashboard: Any) -> None:
        self.token = secrets.token_urlsafe(24)
        self._board = board
        self._actions = actions
        self._dashboard = dashboard
        # Set by the main thread. Ends the streams of events.
        self._closed = threading.Event()
        # One for each stream that may still be opened.
        self._streams = threading.BoundedSemaphore(STREAMS)

    def close(self) -> None:
        """End all streams, after the state that they have not sent yet."""
        self._closed.set()

    def __call__(self, environ: dict[str, Any],
                 start_response: Start) -> Iterable[bytes]:
        host = environ.get('HTTP_HOST', '')
        if host.rpartition(':')[0] not in HOSTS and host not in HOSTS:
            return _answer(start_response, '403 Forbidden',
                           'this host is not served')
        path = environ.get('PATH_INFO') or '/'
        if path.startswith('/dashboard/'):
            shift_path_info(environ)
            dashboard: Iterable[bytes] = self._dashboard(
                environ, start_response)
            return dashboard
        if environ['REQUEST_METHOD'] == 'POST':
            return self._post(path, environ, start_response)
        if environ['REQUEST_METHOD'] != 'GET':
            return _answer(start_response, '405 Method Not Allowed', 'GET')
        return self._get(path, start_response)

    def _get(self, path: str, start_response: Start) -> Iterable[bytes]:
        if path in FILES:
            name, kind = FILES[path]
            text = (files(__package__) / 'static' / name).read_text('utf-8')
            return _answer(start_response, '200 OK',
                           text.replace(PLACE, self.token), kind)
        if path == '/state':
            return _answer(start_response, '200 OK', self._state(),
                           'application/json')
        if path == '/events':
            if not self._streams.acquire(blocking=False):
                return _answer(start_response, '503 Service Unavailable',
                               'too many pages are open')
            start_response('200 OK', [
                ('Content-Type', 'text/event-stream'), *HEADERS])
            return Stream(self._events(), self._streams.release)
        return _answer(start_response, '404 Not Found', 'there is no such '
                       'page')

    def _post(self, path: str, environ: dict[str, Any],
              start_response: Start) -> Iterable[bytes]:
        origin = environ.get('HTTP_ORIGIN')
        token = environ.get('HTTP_X_DEMO_TOKEN', '')
        if origin not in (None, f'http://{environ["HTTP_HOST"]}') \
                or not hmac.compare_digest(token.encode(),
                                           self.token.encode()):
            return _answer(start_response, '403 Forbidden',
                           'only the page can press its buttons')
        before, _, name = path.rpartition('/')
        if before != '/press':
            return _answer(start_response, '404 Not Found',
                           'there is no such button')
        try:
            self._actions.press(name)
        except Refused as exc:
            return _answer(start_response, '409 Conflict', str(exc))
        return _answer(start_response, '202 Accepted', 'in progress')

    def _state(self) -> str:
        return json.dumps({**self._board.snapshot(),
                           'buttons': self._actions.available()})

    def _events(self) -> Iterator[bytes]:
        version = -1
        while True:
            closed = self._closed.is_set()
            version = self._board.wait_for_change(
                version, 0.0 if closed else LONGEST)
            yield f'data: {self._state()}\n\n'.encode()
            if closed:
                return
            self._closed.wait(SHORTEST)


class Stream:
    """The body of a response that goes on.

    :param states: its parts.
    :param release: called once, when the server closes it.
    """

    def __init__(self, states: Iterator[bytes],
                 release: Callable[[], None]) -> None:
        self._states = states
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        return self._states

    def close(self) -> None:
        # wsgiref calls it again after some errors.
        release, self._release = self._release, _nothing
        release()


def _nothing() -> None:
    pass


def _answer(start_response: Start, status: str, text: str,
            kind: str = 'text/plain') -> Iterable[bytes]:
    body = text.encode()
    start_response(status, [
        ('Content-Type', f'{kind}; charset=utf-8'),
        ('Content-Length', str(len(body))), *HEADERS])
    return [body]
