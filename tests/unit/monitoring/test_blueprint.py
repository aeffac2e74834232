"""The health checks of a Flask application."""
from typing import Any, Callable

import flask
import pytest

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.monitoring.blueprint import health_blueprint

MakeManager = Callable[..., RedisStreamsManager]


@pytest.fixture
def app() -> flask.Flask:
    return flask.Flask(__name__)


@pytest.fixture
def manager(make_manager: MakeManager) -> RedisStreamsManager:
    """A member of a cluster."""
    made = make_manager()
    made.start()
    return made


def test_checks_are_answered(app: flask.Flask,
                             manager: RedisStreamsManager) -> None:
    app.register_blueprint(health_blueprint(manager))
    for check in ('livez', 'readyz', 'healthz'):
        answer = app.test_client().get(f'/{check}')
        assert (answer.status_code, answer.json) == (200, {'status': 'ok'})
        assert answer.headers['Cache-Control'] == 'no-store'
        assert answer.headers['Content-Type'] == 'application/json'


def test_before_the_join(app: flask.Flask, make_manager: MakeManager) -> None:
    """With a SocketIO that gets its application after the blueprint."""
    front = SocketIO()
    app.register_blueprint(health_blueprint(front))
    client = app.test_client()
    assert client.get('/readyz').status_code == 503
    front.init_app(app, async_mode='threading', client_manager=make_manager())
    assert client.get('/readyz').status_code == 503
    front.server.manager.start()
    assert client.get('/readyz').status_code == 200


def test_head(app: flask.Flask, manager: RedisStreamsManager) -> None:
    app.register_blueprint(health_blueprint(manager))
    answer = app.test_client().head('/readyz')
    assert (answer.status_code, answer.data) == (200, b'')
    assert answer.headers['Content-Length'] == '17'


@pytest.mark.parametrize('method', ['POST', 'PUT', 'OPTIONS', 'BREW'])
def test_other_methods(app: flask.Flask, manager: RedisStreamsManager,
                       method: str) -> None:
    app.register_blueprint(health_blueprint(manager))
    answer = app.test_client().open('/readyz', method=method)
    assert answer.status_code == 405
    assert {'GET', 'HEAD'} <= set(answer.headers['Allow'].split(', '))


def test_options(app: flask.Flask, manager: RedisStreamsManager) -> None:
    app.register_blueprint(health_blueprint(
        manager, prefix='/internal', details=True, name='state'))
    assert 'outbox' in app.test_client().get('/internal/healthz').json
    assert app.test_client().get('/healthz').status_code == 404
    with app.test_request_context():
        assert flask.url_for('state.readyz') == '/internal/readyz'


def test_strict(app: flask.Flask, manager: RedisStreamsManager,
                stream: Any) -> None:
    stream.go_away()
    manager.emit('event', None)
    manager.flush(0.5)
    app.register_blueprint(health_blueprint(manager, strict=True))
    assert app.test_client().get('/readyz').status_code == 503


def test_wrong_source() -> None:
    with pytest.raises(ConfigurationError):
        health_blueprint('redis://localhost')
