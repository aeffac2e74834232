"""The page as a WSGI application, without processes."""
import io
import json
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple
from wsgiref.util import setup_testing_defaults

import pytest

from redis_streams_adapter.demo.cluster import Cluster
from redis_streams_adapter.demo.report import Report
from redis_streams_adapter.demo.signals import Signals
from redis_streams_adapter.demo.web.actions import Actions
from redis_streams_adapter.demo.web.board import Board
from redis_streams_adapter.demo.web.page import Page, STREAMS

Answer = Tuple[str, Dict[str, str], Iterable[bytes]]


def dashboard(environ: Dict[str, Any],
              start_response: Callable[..., Any]) -> List[bytes]:
    start_response('200 OK', [])
    return [environ['SCRIPT_NAME'].encode(), b' ',
            environ['PATH_INFO'].encode()]


@pytest.fixture
def board() -> Board:
    return Board(('ana',))


@pytest.fixture
def page(board: Board) -> Iterator[Page]:
    """With a dashboard, and without a Redis of its own."""
    cluster = Cluster(Report(io.StringIO()), Signals())
    page = Page(board, Actions(cluster, [], board, 1.0), dashboard)
    yield page
    page.close()


def ask(page: Page, path: str, method: str = 'GET', **more: str) -> Answer:
    environ: Dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update({'REQUEST_METHOD': method, 'PATH_INFO': path,
                    'HTTP_HOST': '127.0.0.1:8788', **more})
    given: List[Any] = []
    body = page(environ, lambda status, headers: given.extend(
        (status, dict(headers))))
    return given[0], given[1], body


def text_of(answer: Answer) -> str:
    return b''.join(answer[2]).decode()


@pytest.mark.parametrize('path, kind', [
    ('/', 'text/html'), ('/page.css', 'text/css'),
    ('/page.js', 'text/javascript'), ('/state', 'application/json')])
def test_files(page: Page, path: str, kind: str) -> None:
    status, headers, body = ask(page, path)
    assert status == '200 OK'
    assert headers['Content-Type'] == f'{kind}; charset=utf-8'
    assert int(headers['Content-Length']) == len(b''.join(body))
    policy = headers['Content-Security-Policy']
    assert policy.startswith("default-src 'none'")
    assert 'unsafe' not in policy
    assert headers['Cache-Control'] == 'no-store'


def test_nothing_is_fetched_from_elsewhere(page: Page) -> None:
    for path in ('/', '/page.css', '/page.js'):
        text = text_of(ask(page, path))
        assert '//' not in text.replace('// ', '')
        assert 'innerHTML' not in text


def test_only_the_page_has_the_token(page: Page) -> None:
    assert page.token in text_of(ask(page, '/'))
    assert page.token not in text_of(ask(page, '/state'))
    assert '{{' not in text_of(ask(page, '/'))


@pytest.mark.parametrize('host, status', [
    ('127.0.0.1:8788', '200 OK'), ('localhost:9000', '200 OK'),
    ('localhost', '200 OK'), ('evil.test:8788', '403 Forbidden'),
    ('127.0.0.1.evil.test', '403 Forbidden'), ('', '403 Forbidden'),
    ('evil.test:localhost', '403 Forbidden')])
def test_host(page: Page, host: str, status: str) -> None:
    assert ask(page, '/', HTTP_HOST=host)[0] == status
    assert ask(page, '/dashboard/', HTTP_HOST=host)[0] == status


def test_unknown_pages(page: Page) -> None:
    token = {'HTTP_X_DEMO_TOKEN': page.token}
    assert ask(page, '/more')[0] == '404 Not Found'
    assert ask(page, '/../page.py')[0] == '404 Not Found'
    assert ask(page, '/', 'POST', **token)[0] == '404 Not Found'
    assert ask(page, '/', 'PUT')[0] == '405 Method Not Allowed'
    assert ask(page, '/press/drop-client')[0] == '404 Not Found'
    assert ask(page, '/press/more', 'POST', **token)[0] == '409 Conflict'


def test_buttons_that_others_would_notice(page: Page) -> None:
    state = json.loads(text_of(ask(page, '/state')))
    assert state['buttons'] == ['kill-server', 'drop-client']
    assert ask(page, '/press/freeze-redis', 'POST',
               HTTP_X_DEMO_TOKEN=page.token)[0] == '409 Conflict'


def test_dashboard_is_mounted(page: Page) -> None:
    assert text_of(ask(page, '/dashboard/events')) == '/dashboard /events'


def test_stream_ends_with_the_last_state(page: Page, board: Board) -> None:
    states = iter(ask(page, '/events')[2])
    assert json.loads(next(states)[6:])['verdict'] == ''
    board.conclude('PASS')
    page.close()
    assert json.loads(next(states)[6:])['verdict'] == 'PASS'
    assert list(states) == []


def test_streams_are_limited(page: Page) -> None:
    streams: List[Any] = [ask(page, '/events')[2] for _ in range(STREAMS)]
    assert ask(page, '/events')[0] == '503 Service Unavailable'
    # Twice, as wsgiref does after an error.
    streams[0].close()
    streams[0].close()
    assert ask(page, '/events')[0] == '200 OK'
    assert ask(page, '/events')[0] == '503 Service Unavailable'
