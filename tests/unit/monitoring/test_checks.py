"""What health checks answer, in each phase of a manager."""
import json
import threading
from typing import Any, Callable, Dict, Tuple

import flask
import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.monitoring.checks import Checks, CHECKS, paths
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import wait_for_value, wait_until
from ..nodes import Node

MakeManager = Callable[..., RedisStreamsManager]


def ask(checks: Checks, check: str) -> Tuple[int, Dict[str, Any]]:
    """The code of an answer, and its content."""
    answer = checks.answer(check, 'GET')
    return answer.code.value, json.loads(answer.body)


def status(checks: Checks, check: str = 'readyz') -> Tuple[int, str]:
    code, content = ask(checks, check)
    return code, content['status']


# -- the phases --------------------------------------------------------------

def test_before_the_join(make_node: Callable[..., Node],
                         stream: FakeStream) -> None:
    node = make_node()
    checks = Checks(node.manager, details=True)
    assert status(checks, 'livez') == (200, 'ok')
    code, content = ask(checks, 'readyz')
    assert (code, content['status']) == (503, 'starting')
    assert 'start()' in content['hint']
    assert ask(checks, 'healthz') == (200, {'status': 'starting'})
    # A check has joined nothing, and made nothing.
    assert stream.connections == 0
    assert node.manager._lifecycle.current is None


def test_member(make_node: Callable[..., Node]) -> None:
    node = make_node()
    checks = Checks(node.manager)
    node.manager.start()
    for check in CHECKS:
        assert ask(checks, check) == (200, {'status': 'ok'})


def test_first_client_makes_it_ready(make_node: Callable[..., Node]) -> None:
    node = make_node()
    checks = Checks(node.manager)
    node.connect()
    wait_for_value(lambda: status(checks), (200, 'ok'))


def test_emit_of_a_process_that_has_not_joined(
        make_node: Callable[..., Node]) -> None:
    node = make_node()
    node.manager.emit('event', None)
    assert status(Checks(node.manager)) == (503, 'starting')


def test_redis_that_hangs_at_the_start(make_node: Callable[..., Node],
                                       stream: FakeStream) -> None:
    """It is not ready until an attempt to follow the stream has failed: a
    client would miss what is emitted meanwhile."""
    node = make_node()
    checks = Checks(node.manager)
    stream.freeze()
    joining = threading.Thread(target=node.manager.start)
    joining.start()
    wait_until(lambda: node.manager._lifecycle.current is not None
               and node.manager._lifecycle.current.member)
    assert status(checks) == (503, 'starting')
    stream.thaw()
    joining.join()
    assert status(checks) == (200, 'ok')


def test_redis_away(make_node: Callable[..., Node],
                    stream: FakeStream) -> None:
    """The server is ready all the same, unless that was chosen."""
    node = make_node()
    stream.go_away()
    node.manager.start()
    for checks, code in ((Checks(node.manager), 200),
                         (Checks(node.manager, strict=True), 503)):
        assert status(checks, 'livez') == (200, 'ok')
        assert status(checks) == (code, 'degraded')
        assert status(checks, 'healthz') == (200, 'degraded')
    stream.come_back()
    wait_for_value(lambda: status(Checks(node.manager, strict=True)),
                   (200, 'ok'))


def test_close_has_begun(make_node: Callable[..., Node],
                         stream: FakeStream) -> None:
    node = make_node()
    checks = Checks(node.manager, details=True)
    node.manager.start()
    stream.freeze()
    node.manager.emit('event', None)
    closing = threading.Thread(target=node.manager.close, args=[5.0])
    closing.start()
    wait_for_value(lambda: status(checks), (503, 'closing'))
    assert closing.is_alive()
    assert ask(checks, 'healthz') == (200, {'status': 'closing'})
    assert status(checks, 'livez') == (200, 'ok')
    stream.thaw()
    closing.join()
    assert status(checks) == (503, 'closing')
    node.manager.start()
    assert status(checks) == (200, 'ok')


def test_shutdown_has_begun(make_node: Callable[..., Node]) -> None:
    """Under gunicorn, new clients are turned away before the close."""
    node = make_node()
    node.manager.start()
    node.manager._lifecycle.turn_clients_away()
    assert status(Checks(node.manager)) == (503, 'closing')


def test_write_only_manager_does_not_join(make_manager: MakeManager) -> None:
    manager = make_manager(write_only=True)
    checks = Checks(manager)
    assert status(checks) == (200, 'ok')
    manager.emit('event', None)
    manager.close()
    assert status(checks) == (503, 'closing')


# -- what is shown -----------------------------------------------------------

def test_details(make_node: Callable[..., Node]) -> None:
    node = make_node()
    node.manager.start()
    code, content = ask(Checks(node.manager, details=True), 'healthz')
    assert code == 200
    assert set(content) == set(node.manager.health())
    # Only there.
    assert ask(Checks(node.manager, details=True), 'readyz') == (
        200, {'status': 'ok'})


def test_a_login_is_not_shown(make_manager: MakeManager,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    manager = make_manager()
    manager.start()
    error = 'no answer from redis://ana:geheim@127.0.0.1:6379/0, give up'
    monkeypatch.setattr(manager, 'health', lambda: {
        'status': 'degraded', 'last_error': error, 'stalled': [],
        'last_outage': {'ended': 1.0, 'reason': error}})
    _, content = ask(Checks(manager, details=True), 'healthz')
    shown = 'no answer from redis://***@127.0.0.1:6379/0, give up'
    assert content == {
        'status': 'degraded', 'last_error': shown, 'stalled': [],
        'last_outage': {'ended': 1.0, 'reason': shown}}


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'POST', 'DELETE', 'ANY'])
def test_methods(make_manager: MakeManager, check: str, method: str) -> None:
    manager = make_manager()
    manager.start()
    answer = Checks(manager).answer(check, method)
    headers = dict(answer.headers)
    assert headers['Cache-Control'] == 'no-store'
    assert headers['Content-Type'] == 'application/json'
    if method in ('GET', 'HEAD'):
        assert answer.status == '200 OK'
        assert headers['Content-Length'] == '17'
        assert answer.body == (
            b'' if method == 'HEAD' else b'{"status": "ok"}\n')
    else:
        assert answer.status == '405 Method Not Allowed'
        assert headers['Allow'] == 'GET, HEAD'
        assert json.loads(answer.body) == {'error': 'method not allowed'}


# -- the source --------------------------------------------------------------

def test_source_is_a_server(make_node: Callable[..., Node]) -> None:
    node = make_node()
    checks = Checks(node.server)
    node.manager.start()
    assert status(checks) == (200, 'ok')


def test_source_is_a_flask_socketio(make_manager: MakeManager) -> None:
    """It may get its application, and so its manager, later."""
    front = SocketIO()
    checks = Checks(front)
    assert status(checks, 'livez') == (200, 'ok')
    assert status(checks) == (503, 'starting')
    front.init_app(flask.Flask(__name__), async_mode='threading',
                   client_manager=make_manager())
    assert status(checks) == (503, 'starting')
    front.server.manager.start()
    assert status(checks) == (200, 'ok')


# -- the paths ---------------------------------------------------------------

@pytest.mark.parametrize('prefix, start', [
    ('', '/'), ('/', '/'), ('/internal', '/internal/'),
    ('internal/', '/internal/'), ('/a/b', '/a/b/')])
def test_prefix(prefix: str, start: str) -> None:
    assert paths(prefix) == {f'{start}livez': 'livez',
                             f'{start}readyz': 'readyz',
                             f'{start}healthz': 'healthz'}
