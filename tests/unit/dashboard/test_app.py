"""The page, as a WSGI application. Nothing listens where its Redis is."""
import io
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

import redis_streams_adapter.dashboard
from redis_streams_adapter.dashboard import Dashboard
from redis_streams_adapter.dashboard import app as module
from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.shutdown import disconnect_clients

NOWHERE = 'redis://:secret@127.0.0.1:1/3'

STATIC = Path(redis_streams_adapter.dashboard.__file__).parent / 'static'


class Reply:
    """What the application has sent."""

    def __init__(self, app: Any, environ: Dict[str, Any]) -> None:
        self.status = 0
        self.headers: Dict[str, str] = {}
        self.iterable = app(environ, self._start)

    def _start(self, status: str, headers: List[Tuple[str, str]]) -> None:
        self.status = int(status.split()[0])
        self.headers = dict(headers)

    @property
    def body(self) -> bytes:
        return b''.join(self.iterable)


def ask(app: Any, path: str = '/', method: str = 'GET', body: bytes = b'',
        **values: str) -> Reply:
    return Reply(app, {
        'PATH_INFO': path, 'REQUEST_METHOD': method, 'SCRIPT_NAME': '',
        'QUERY_STRING': '', 'SERVER_PORT': '80', 'wsgi.url_scheme': 'http',
        'wsgi.input': io.BytesIO(body), 'CONTENT_LENGTH': str(len(body)),
        **values})


@pytest.fixture
def make() -> Iterator[Callable[..., Dashboard]]:
    made: List[Dashboard] = []

    def start(**options: Any) -> Dashboard:
        made.append(Dashboard(NOWHERE, **options))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def dashboard(make: Callable[..., Dashboard]) -> Dashboard:
    return make()


@pytest.mark.parametrize('path, kind, part', [
    ('/', 'text/html; charset=utf-8', b'dashboard.js'),
    ('/dashboard.js', 'text/javascript; charset=utf-8', b'EventSource'),
    ('/dashboard.css', 'text/css; charset=utf-8', b'prefers-color-scheme')])
def test_files(dashboard: Dashboard, path: str, kind: str,
               part: bytes) -> None:
    reply = ask(dashboard, path)
    assert reply.status == 200
    assert reply.headers['Content-Type'] == kind
    assert part in reply.body
    assert int(reply.headers['Content-Length']) == len(reply.body)
    head = ask(dashboard, path, 'HEAD')
    assert (head.status, head.headers, head.body) == (
        200, reply.headers, b'')


def test_policy(dashboard: Dashboard) -> None:
    policy = ask(dashboard).headers['Content-Security-Policy'].split('; ')
    assert "default-src 'none'" in policy
    assert not any('unsafe' in each or 'http' in each or '*' in each
                   for each in policy)


@pytest.mark.parametrize('name', ['index.html', 'login.html', 'dashboard.js',
                                  'dashboard.css'])
def test_files_name_nothing_elsewhere(name: str) -> None:
    """All addresses are relative, so that it can be mounted anywhere, and no
    text becomes HTML."""
    content = (STATIC / name).read_text('utf-8').replace(
        'http://www.w3.org/2000/svg', '')
    assert not re.search(
        r'//\w|url\(|@import|innerHTML|outerHTML|insertAdjacentHTML|'
        r'document\.write|\beval\b|(?:href|src|action)="/', content)


@pytest.mark.parametrize('path', ['/other', '/static/index.html',
                                  '/../app.py', '//', '/login.html'])
def test_other_paths(dashboard: Dashboard, path: str) -> None:
    assert ask(dashboard, path).status == 404


@pytest.mark.parametrize('method, path', [
    ('PUT', '/'), ('DELETE', '/events'), ('POST', '/events')])
def test_other_methods(dashboard: Dashboard, method: str, path: str) -> None:
    reply = ask(dashboard, path, method)
    assert reply.status == 405
    assert reply.headers['Allow'] == 'GET, HEAD'


@pytest.mark.parametrize('place, target', [
    ('/watch', './watch/'), ('/a/b', './b/'), ('', './'),
    ('//elsewhere', './elsewhere/'), ('/\u00c3\u00a9', './%C3%A9/'),
    ('/a:b', './a%3Ab/')])
def test_links_are_relative_to_a_slash(dashboard: Dashboard, place: str,
                                       target: str) -> None:
    reply = ask(dashboard, '', SCRIPT_NAME=place)
    assert (reply.status, reply.headers['Location']) == (303, target)


# -- the token ---------------------------------------------------------------

def cookie_of(reply: Reply) -> str:
    return reply.headers['Set-Cookie'].split(';')[0]


@pytest.mark.parametrize('path', ['/', '', '/events', '/dashboard.js',
                                  '/other'])
def test_without_the_token(make: Callable[..., Dashboard],
                           path: str) -> None:
    dashboard = make(token='the token')
    for reply in (ask(dashboard, path),
                  ask(dashboard, path, QUERY_STRING='token=other')):
        assert reply.status == 401
        assert 'Set-Cookie' not in reply.headers
        assert (b'<form' in reply.body) == (path in ('', '/'))


def test_token_in_the_url(make: Callable[..., Dashboard]) -> None:
    dashboard = make(token='the token')
    reply = ask(dashboard, QUERY_STRING='token=the+token',
                SCRIPT_NAME='/watch')
    assert (reply.status, reply.headers['Location']) == (303, './')
    cookie = cookie_of(reply)
    assert ask(dashboard, HTTP_COOKIE=cookie).status == 200
    assert ask(dashboard, '/dashboard.js', HTTP_COOKIE=cookie).status == 200
    events = ask(dashboard, '/events', QUERY_STRING='token=the+token')
    assert events.status == 200
    assert 'Set-Cookie' not in events.headers


def test_token_in_the_form(make: Callable[..., Dashboard]) -> None:
    dashboard = make(token='the token')
    reply = ask(dashboard, '/', 'POST', b'token=the+token')
    assert reply.status == 303
    assert ask(dashboard, HTTP_COOKIE=cookie_of(reply)).status == 200
    assert ask(dashboard, '/', 'POST', b'token=other').status == 401
    assert ask(dashboard, '/', 'POST', b'\xff\x00').status == 401
    assert ask(dashboard, '/', 'POST', b'x' * 5000).status == 413
    assert ask(dashboard, '/', 'POST', CONTENT_LENGTH='x').status == 413


# -- events -----------------------------------------------------------------

def test_events(dashboard: Dashboard) -> None:
    reply = ask(dashboard, '/events')
    assert reply.headers['Content-Type'].startswith('text/event-stream')
    assert reply.headers['X-Accel-Buffering'] == 'no'
    assert 'Content-Length' not in reply.headers
    events = iter(reply.iterable)
    assert next(events).startswith(b'retry: ')
    assert next(events).startswith(b'event: hello\n')
    message = next(events)
    assert message.startswith(b'event: sample\n')
    assert b'refused' in message
    assert b'secret' not in message
    reply.iterable.close()
    # It may be closed before anything was read of it.
    ask(dashboard, '/events').iterable.close()


def test_viewers_are_told_that_it_lives(
        make: Callable[..., Dashboard],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a write shows a server that the viewer has left."""
    monkeypatch.setattr(module, 'PING', 0.01)
    events = iter(ask(make(interval=3600), '/events').iterable)
    for _ in range(10_000):
        if next(events) == module.PING_MESSAGE:
            break
    else:
        pytest.fail('no comment')


def test_head_of_events_begins_nothing(dashboard: Dashboard) -> None:
    reply = ask(dashboard, '/events', 'HEAD')
    assert (reply.status, reply.body) == (200, b'')


def test_close_ends_the_events(make: Callable[..., Dashboard]) -> None:
    dashboard = make()
    events = iter(ask(dashboard, '/events').iterable)
    next(events)
    dashboard.close()
    dashboard.close()
    assert list(events) == []
    assert ask(dashboard, '/events').status == 503
    assert ask(dashboard).status == 200


def test_shutdown_of_the_server_ends_the_events(
        dashboard: Dashboard) -> None:
    events = iter(ask(dashboard, '/events').iterable)
    next(events)
    disconnect_clients([])
    assert list(events) == []


@pytest.mark.parametrize('options, text', [
    ({'interval': 0}, 'interval: must be above 0'),
    ({'token': ''}, 'token: must be'), ({'max_lne': 3}, 'max_lne')])
def test_wrong_options(options: Dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as raised:
        Dashboard(NOWHERE, **options)
    assert 'secret' not in str(raised.value)
