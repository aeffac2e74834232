"""A server without gunicorn, which SIGTERM ends.

``python -m tests.support.terminated_app MODE WAY REDIS_URL STREAM PORT``;
``WAY`` is ``flask`` for Flask-SocketIO's ``run()``, ``wsgi`` for
``graceful_sigterm`` around a server of the mode. A client's event ``work``
emits numbers, and may send the signal. The disconnect handler emits ``left``.
"""
import sys

from tests.support import modes

if __name__ == '__main__':
    modes.prepare(sys.argv[1])

import os  # noqa: E402
import signal  # noqa: E402
from typing import Any  # noqa: E402

import socketio  # noqa: E402
from flask import Flask  # noqa: E402

from redis_streams_adapter.flask_socketio import SocketIO  # noqa: E402
from redis_streams_adapter.termination import graceful_sigterm  # noqa: E402


def serve(mode: str, app: Any, port: int) -> None:
    if mode == 'gevent':
        from gevent.pywsgi import WSGIServer
        WSGIServer(('127.0.0.1', port), app, log=None).serve_forever()
    elif mode == 'eventlet':
        import eventlet
        import eventlet.wsgi
        eventlet.wsgi.server(eventlet.listen(('127.0.0.1', port)), app,
                             log_output=False)
    else:
        from werkzeug.serving import run_simple
        run_simple('127.0.0.1', port, app, threaded=True)


def main(mode: str, way: str, url: str, stream: str, port: int) -> None:
    flask = Flask(__name__)
    front: Any = SocketIO(
        flask, message_queue=url.replace('redis://', 'redis+streams://'),
        channel=stream, async_mode=mode)
    server = front.server

    def work(sid: str, count: int, is_last: bool) -> None:
        for number in range(count):
            server.emit('work', number)
        if is_last:
            os.kill(os.getpid(), signal.SIGTERM)

    server.on('work', work)
    server.on('disconnect', lambda sid, reason: server.emit('left', sid))
    if way == 'wsgi':
        with graceful_sigterm():
            serve(mode, socketio.WSGIApp(server), port)
    else:
        options = {'allow_unsafe_werkzeug': True} \
            if mode == 'threading' else {}
        front.run(flask, port=port, **options)


if __name__ == '__main__':
    main(*sys.argv[1:5], port=int(sys.argv[5]))
