"""The page, as a WSGI application.

======================  =====================================================
path                    answer
======================  =====================================================
``/``                   the page
``/events``             server-sent events for it
``/dashboard.js``,      its script and its style
``/dashboard.css``
======================  =====================================================

They are relative to where it is mounted, and all links are relative. The
policy of the page forbids the browser to load anything from elsewhere, and to
run anything within the page.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import quote

from ..concurrency.engines import ThreadEngine
from ..errors import ConfigurationError
from ..shutdown import ENDLESS
from ..version import VERSION
from .access import Access, in_form
from .feed import Feed
from .source import place_of, seconds, Source
from .watcher import Watcher

#: Seconds between two questions by default.
INTERVAL = 2.0

#: How often a viewer gets something, in seconds: a server only notices that a
#: viewer has left when it writes.
PING = 5.0

#: What is sent then: a comment.
PING_MESSAGE = b': still here\n\n'

#: After how many milliseconds a browser asks again that was cut off.
RETRY = b'retry: 2000\n\n'

#: The longest form that is read, in bytes.
LONGEST_FORM = 4096

#: Nothing from elsewhere, no script or style within the page.
POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'",
    "connect-src 'self'", "img-src 'self' data:", "base-uri 'none'",
    "form-action 'self'", "frame-ancestors 'self'"))

HEADERS = [
    ('Content-Security-Policy', POLICY), ('Cache-Control', 'no-store'),
    ('Referrer-Policy', 'no-referrer'), ('X-Content-Type-Options', 'nosniff')]

#: The files by path, and their types.
FILES = {'/': ('index.html', 'text/html; charset=utf-8'),
         '/dashboard.js': ('dashboard.js', 'text/javascript; charset=utf-8'),
         '/dashboard.css': ('dashboard.css', 'text/css; charset=utf-8')}

#: The page of a request without the token.
REFUSAL = ('login.html', 'text/html; charset=utf-8')

StartResponse = Callable[..., Any]


class _Answer(NamedTuple):
    """What is sent back."""

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


def _answer(status: str, kind: str, body: bytes,
            *more: tuple[str, str]) -> _Answer:
    return _Answer(status, [
        ('Content-Type', kind), ('Content-Length', str(len(body))),
        *HEADERS, *more], [body])


def _plain(status: str, *more: tuple[str, str]) -> _Answer:
    return _answer(status, 'text/plain', f'{status[4:].lower()}\n'.encode(),
                   *more)


def _file(name: str) -> bytes:
    return (resources.files(__package__) / 'static' / name).read_bytes()


class Dashboard:
    """A WSGI application that shows a cluster. Mount it where only those get
    who may see it, or give a ``token``.

    Nothing is connected until somebody looks, and for 20 seconds after the
    last one has left. It works under threads, gevent and eventlet, where
    :mod:`threading` and :mod:`socket` must be monkey patched. Each viewer
    takes a task of the WSGI server.

    :param url: where Redis is, as for the manager.
    :param stream_name: the key of the stream of the cluster.
    :param interval: seconds between two questions to the servers.
    :param token: what viewers have to show; ``None``: nothing.
    :param namespace: the one whose rooms are shown.
    :param options: further options of an
                    :class:`~redis_streams_adapter.observer.Observer`.
    :raises ConfigurationError: an option is unknown or wrong; it is named.
    """

    def __init__(self, url: Any = 'redis://localhost:6379/0',
                 stream_name: str = 'socket.io', *,
                 interval: float = INTERVAL, token: str | None = None,
                 namespace: str = '/', **options: Any) -> None:
        try:
            self._interval = seconds(interval)
        except ValueError as exc:
            raise ConfigurationError(f'interval: {exc}') from None
        self._access = Access(token)
        self._source = Source(
            place_of(url, stream_name, options), namespace)
        engine = ThreadEngine()
        self._feed = Feed(engine, {
            **self._source.about, 'interval': self._interval,
            'version': VERSION})
        self._watcher = Watcher(
            self._source, self._feed, engine, self._interval)
        ENDLESS.add(self)

    def end_answers(self) -> None:
        """Let all viewers go, at once: a server that shuts down does not
        have to wait for them. Later requests for events get 503."""
        self._feed.close()

    def close(self) -> None:
        """Let all viewers go, and end the task and the connections.
        Idempotent. Later requests for events get 503."""
        self._feed.close()
        self._watcher.close()

    def __call__(self, environ: dict[str, Any],
                 start_response: StartResponse) -> Iterable[bytes]:
        answer = self._respond(environ)
        start_response(answer.status, answer.headers)
        return [] if environ['REQUEST_METHOD'] == 'HEAD' else answer.body

    def _respond(self, environ: dict[str, Any]) -> _Answer:
        path, method = environ.get('PATH_INFO', ''), environ['REQUEST_METHOD']
        if method == 'POST' and path in ('', '/'):
            return self._log_in(environ)
        if method not in ('GET', 'HEAD'):
            return _plain('405 Method Not Allowed', ('Allow', 'GET, HEAD'))
        if not self._access.allows(environ):
            return self._refuse(environ)
        given = self._access.in_query(environ)
        if path == '' or path == '/' and self._access.is_token(given):
            return self._redirect(environ, self._access.is_token(given))
        if path == '/events':
            return self._events(environ, method)
        if path not in FILES:
            return _plain('404 Not Found')
        name, kind = FILES[path]
        return _answer('200 OK', kind, _file(name))

    def _redirect(self, environ: dict[str, Any], cookie: bool) -> _Answer:
        """To the page, at an address to which links are relative and that
        has no token."""
        # Relative: a proxy may have taken a part of the path away.
        place = '' if environ.get('PATH_INFO') else str(
            environ.get('SCRIPT_NAME', '')).rpartition('/')[2]
        target = './' + quote(place and place + '/', encoding='latin-1')
        return _plain('303 See Other', ('Location', target), *(
            [('Set-Cookie', self._access.cookie(environ))] if cookie else []))

    def _refuse(self, environ: dict[str, Any]) -> _Answer:
        if environ.get('PATH_INFO', '') not in ('', '/'):
            return _plain('401 Unauthorized',
                          ('WWW-Authenticate', 'Bearer'))
        name, kind = REFUSAL
        return _answer('401 Unauthorized', kind, _file(name),
                       ('WWW-Authenticate', 'Bearer'))

    def _log_in(self, environ: dict[str, Any]) -> _Answer:
        try:
            length = int(environ.get('CONTENT_LENGTH') or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= LONGEST_FORM:
            return _plain('413 Content Too Large')
        form = environ['wsgi.input'].read(length).decode('latin-1')
        if self._access.is_token(in_form(form)):
            return self._redirect(environ, True)
        return self._refuse(environ)

    def _events(self, environ: dict[str, Any], method: str) -> _Answer:
        if self._feed.closed:
            return _plain('503 Service Unavailable')
        # eventlet's server would keep them until it has 4 KB.
        environ['eventlet.minimum_write_chunk_size'] = 0
        headers = [
            ('Content-Type', 'text/event-stream; charset=utf-8'), *HEADERS,
            # nginx would keep them until it has a page full.
            ('X-Accel-Buffering', 'no')]
        return _Answer('200 OK', headers,
                       self._stream() if method == 'GET' else [])

    def _stream(self) -> Iterator[bytes]:
        """The events for a viewer, on a task of the WSGI server. That closes
        it when the viewer has left: then a write fails."""
        feed, viewer = self._feed, self._feed.join()
        try:
            self._watcher.ensure()
            self._watcher.wake()
            yield RETRY
            while not feed.closed:
                viewer.event.clear()
                message = feed.take(viewer)
                if message:
                    yield message
                    continue
                if not viewer.event.wait(PING):
                    yield PING_MESSAGE
                # It may have died, or ended when this viewer came.
                self._watcher.ensure()
        finally:
            feed.leave(viewer)
