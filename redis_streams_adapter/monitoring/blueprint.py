"""Health checks of a Flask application::

    from redis_streams_adapter.monitoring.blueprint import health_blueprint

    app.register_blueprint(health_blueprint(socketio))

What the application does before each of its requests, it does before these,
too: a login that it asks for, for example.
:class:`~redis_streams_adapter.monitoring.wsgi.HealthMiddleware` answers before
that.
"""
from typing import Any

from flask import Blueprint, request, Response

from .checks import Checks, paths

#: The methods that are answered here; Flask itself refuses others.
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')


def health_blueprint(source: Any, *, prefix: str = '', strict: bool = False,
                     details: bool = False, name: str = 'health'
                     ) -> Blueprint:
    """A blueprint that answers ``/livez``, ``/readyz`` and ``/healthz``, see
    :mod:`redis_streams_adapter.monitoring.checks`. No answer waits for Redis.

    :param source: the ``SocketIO`` of Flask-SocketIO, also before it has got
                   its application; or the manager.
    :param prefix: what the paths begin with: ``'/internal'``, for example.
    :param strict: as for :class:`~redis_streams_adapter.monitoring.wsgi.\
HealthMiddleware`.
    :param details: as there.
    :param name: of the blueprint.
    :raises ConfigurationError: the source has no ``RedisStreamsManager``.
    """
    checks = Checks(source, strict, details)
    blueprint = Blueprint(name, __name__)

    def view(check: str) -> Response:
        # Flask leaves the body of an answer to HEAD out, and needs it for
        # its length.
        answer = checks.answer(check, 'GET' if request.method == 'HEAD'
                               else request.method)
        return Response(answer.body, answer.code.value, answer.headers)

    for path, check in paths(prefix).items():
        blueprint.add_url_rule(
            path, check, view, defaults={'check': check}, methods=METHODS,
            provide_automatic_options=False)
    return blueprint
