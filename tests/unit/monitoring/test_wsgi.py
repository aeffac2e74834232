"""The health checks in front of a WSGI application."""
import json
from typing import Any, Callable, Dict, List, Optional, Tuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
import socketio

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.monitoring.wsgi import HealthMiddleware

MakeManager = Callable[..., RedisStreamsManager]


def request(app: Any, path: str, method: str = 'GET',
            **environ: Any) -> Tuple[str, Dict[str, str], bytes]:
    """Status, headers and body, from a server that is strict about WSGI."""
    environ = {'SCRIPT_NAME': '', **environ, 'PATH_INFO': path,
               'REQUEST_METHOD': method, 'QUERY_STRING': ''}
    setup_testing_defaults(environ)
    begun: List[Any] = []

    def start_response(status: str, headers: Any,
                       exc_info: Any = None) -> Callable[[bytes], None]:
        begun.append((status, dict(headers)))
        return lambda data: None

    result = validator(app)(environ, start_response)
    body = b''.join(result)
    result.close()  # type: ignore
    (status, headers), = begun
    return status, headers, body


def inner(environ: Dict[str, Any], start_response: Any) -> List[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [environ['PATH_INFO'].encode()]


@pytest.fixture
def manager(make_manager: MakeManager) -> RedisStreamsManager:
    """A member of a cluster."""
    made = make_manager()
    made.start()
    return made


def test_checks_are_answered(manager: RedisStreamsManager) -> None:
    app = HealthMiddleware(inner, manager)
    for check in ('livez', 'readyz', 'healthz'):
        status, headers, body = request(app, f'/{check}')
        assert (status, body) == ('200 OK', b'{"status": "ok"}\n')
        assert headers == {
            'Content-Type': 'application/json', 'Content-Length': '17',
            'Cache-Control': 'no-store'}


@pytest.mark.parametrize('path', [
    '/', '', '/livez/', '/livezz', '/readyz/x', '/x/healthz', '/LIVEZ',
    '/socket.io/'])
def test_other_paths_are_passed_on(manager: RedisStreamsManager,
                                   path: str) -> None:
    app = HealthMiddleware(inner, manager)
    assert request(app, path, SCRIPT_NAME='/mounted')[2] == path.encode()


def test_prefix(manager: RedisStreamsManager) -> None:
    app = HealthMiddleware(inner, manager, prefix='/internal')
    assert request(app, '/internal/readyz')[2] == b'{"status": "ok"}\n'
    assert request(app, '/readyz')[2] == b'/readyz'


def test_mounted_application(manager: RedisStreamsManager) -> None:
    """The path within the mount point counts."""
    app = HealthMiddleware(inner, manager)
    assert request(app, '/livez', SCRIPT_NAME='/app')[0] == '200 OK'


def test_head_has_no_body(manager: RedisStreamsManager) -> None:
    status, headers, body = request(HealthMiddleware(inner, manager),
                                    '/readyz', 'HEAD')
    assert (status, headers['Content-Length'], body) == ('200 OK', '17', b'')


@pytest.mark.parametrize('method', ['POST', 'OPTIONS', 'BREW'])
def test_other_methods(manager: RedisStreamsManager, method: str) -> None:
    with pytest.warns() if method == 'BREW' else pytest.MonkeyPatch.context():
        status, headers, _ = request(HealthMiddleware(inner, manager),
                                     '/readyz', method)
    assert status == '405 Method Not Allowed'
    assert headers['Allow'] == 'GET, HEAD'
    assert headers['Cache-Control'] == 'no-store'


def test_without_an_application(manager: RedisStreamsManager) -> None:
    app = HealthMiddleware(None, manager)
    assert request(app, '/readyz')[0] == '200 OK'
    assert request(app, '/')[0] == '404 Not Found'
    assert request(app, '/', 'HEAD')[2] == b''


@pytest.mark.parametrize('options, expected', [
    ({}, {'status': 'ok'}), ({'details': True}, None)])
def test_details(manager: RedisStreamsManager, options: Dict[str, Any],
                 expected: Optional[Dict[str, Any]]) -> None:
    content = json.loads(request(HealthMiddleware(
        inner, manager, **options), '/healthz')[2])
    assert content == expected if expected else 'outbox' in content


def test_in_front_of_socketio(make_manager: MakeManager) -> None:
    """Socket.IO answers its own path, and not these, which it does not
    know."""
    server = socketio.Server(async_mode='threading',
                             client_manager=make_manager())
    app = HealthMiddleware(socketio.WSGIApp(server), server)
    assert request(app, '/readyz')[0] == '503 Service Unavailable'
    server.manager.start()
    assert request(app, '/readyz')[0] == '200 OK'
    assert request(app, '/other')[0].startswith('404')
    environ: Dict[str, Any] = {'PATH_INFO': '/socket.io/', 'QUERY_STRING':
                               'transport=polling&EIO=4'}
    setup_testing_defaults(environ)
    body = b''.join(app(environ, lambda *args: None))
    assert b'"sid"' in body


def test_in_front_of_flask(make_manager: MakeManager) -> None:
    """Its login is not asked."""
    flask_app = flask.Flask(__name__)
    flask_app.before_request(lambda: flask.abort(401))
    front = SocketIO(flask_app, async_mode='threading',
                     client_manager=make_manager())
    flask_app.wsgi_app = HealthMiddleware(  # type: ignore
        flask_app.wsgi_app, front)
    front.server.manager.start()
    client = flask_app.test_client()
    assert client.get('/readyz').status_code == 200
    assert client.get('/').status_code == 401


def test_strict(manager: RedisStreamsManager, stream: Any) -> None:
    stream.go_away()
    manager.emit('event', None)
    app = HealthMiddleware(inner, manager, strict=True)
    manager.flush(0.5)
    assert request(app, '/readyz')[0] == '503 Service Unavailable'


def test_wrong_source() -> None:
    with pytest.raises(ConfigurationError):
        HealthMiddleware(inner, object())
