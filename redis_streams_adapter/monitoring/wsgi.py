"""Health checks in front of a WSGI application::

    from redis_streams_adapter.monitoring.wsgi import HealthMiddleware

    app = HealthMiddleware(socketio.WSGIApp(server), server)

With Flask-SocketIO, after the object was made::

    app.wsgi_app = HealthMiddleware(app.wsgi_app, socketio)

The checks are answered before the application sees a request, so neither its
login nor its session is asked. All other requests, also WebSockets, are passed
on as they are.
"""
from typing import Any, Callable, Dict, Iterable, Optional

from .checks import Checks, paths

WSGIApplication = Callable[[Dict[str, Any], Callable[..., Any]], Iterable[Any]]


class HealthMiddleware:
    """Answers ``/livez``, ``/readyz`` and ``/healthz``, see
    :mod:`redis_streams_adapter.monitoring.checks`. No answer waits for Redis.

    :param app: the WSGI application that gets all other requests; ``None``:
                they are answered with 404.
    :param source: the manager, the ``socketio.Server`` that has it, or the
                   ``SocketIO`` of Flask-SocketIO.
    :param prefix: what the paths begin with: ``'/internal'``, for example.
    :param strict: let ``/readyz`` answer 503, too, while the server is
                   degraded. As all servers have the same Redis, an outage of
                   it then takes all of them out of the load balancer.
    :param details: let ``/healthz`` answer with all of ``manager.health()``.
                    Errors of Redis may name hosts and users.
    :raises ConfigurationError: the source has no ``RedisStreamsManager``.
    """

    def __init__(self, app: Optional[WSGIApplication], source: Any, *,
                 prefix: str = '', strict: bool = False,
                 details: bool = False) -> None:
        self._app = app
        self._paths = paths(prefix)
        self._checks = Checks(source, strict, details)

    def __call__(self, environ: Dict[str, Any],
                 start_response: Callable[..., Any]) -> Iterable[Any]:
        check = self._paths.get(environ.get('PATH_INFO', ''))
        if check is not None:
            answer = self._checks.answer(check, environ['REQUEST_METHOD'])
            start_response(answer.status, answer.headers)
            return [answer.body]
        if self._app is not None:
            return self._app(environ, start_response)
        start_response('404 Not Found', [('Content-Type', 'text/plain'),
                                         ('Content-Length', '10')])
        return [b'' if environ['REQUEST_METHOD'] == 'HEAD' else b'not found\n']
