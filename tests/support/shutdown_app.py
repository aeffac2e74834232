"""An application for gunicorn whose disconnect handler emits.

``gunicorn tests.support.shutdown_app:application`` has its parameters in the
environment. It handles these events and requests:

==============  ============================================================
``identify``    returns the worker's process id and the id of its node
``echo``        returns its arguments
``/pid``        returns the worker's process id
``/slow``       emits ``begun``, waits, then emits ``slow``
``/readyz``     and the other health checks
==============  ============================================================

The disconnect handler waits for ``HANDLER_SECONDS``, then emits ``left``.
"""
import os

from tests.support import modes

modes.prepare(os.environ['NODE_MODE'])

import json  # noqa: E402
from typing import Any, Callable, Dict, Iterable, Tuple  # noqa: E402

import socketio  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402
from redis_streams_adapter.monitoring.wsgi import \
    HealthMiddleware  # noqa: E402

#: Seconds: the duration of ``/slow``.
SLOW = 1.5

HANDLER_SECONDS = float(os.environ.get('HANDLER_SECONDS', '0'))

manager = RedisStreamsManager(os.environ['NODE_REDIS_URL'],
                              **json.loads(os.environ['NODE_OPTIONS']))
server = socketio.Server(async_mode=os.environ['NODE_MODE'],
                         client_manager=manager)


@server.event  # type: ignore
def identify(sid: str) -> Tuple[int, str]:
    return os.getpid(), manager.uid


@server.event  # type: ignore
def echo(sid: str, *args: Any) -> Any:
    return args


@server.event  # type: ignore
def disconnect(sid: str, reason: str) -> None:
    server.sleep(HANDLER_SECONDS)
    server.emit('left', (sid, reason))


def pages(environ: Dict[str, Any],
          start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ['PATH_INFO'] == '/slow':
        server.emit('begun', os.getpid())
        server.sleep(SLOW)
        server.emit('slow', os.getpid())
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]


application = HealthMiddleware(socketio.WSGIApp(server, pages), server)
