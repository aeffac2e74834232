"""Processes that emit with the application's own Flask-SocketIO, and end
without a word: jobs of RQ and Celery, children of multiprocessing and of
:func:`os.fork`, workers of uWSGI.

``JOBS_REDIS_URL`` and ``JOBS_QUERY`` say where to emit to. ``JOBS_IMPORT`` is
what the module does when it is imported: nothing, ``emit``, or ``start``.
"""
import os
from typing import Any, Callable, Iterable

from celery import Celery
from flask import Flask

from redis_streams_adapter.flask_socketio import SocketIO

#: How many events each job emits.
EVENTS = 20

URL = os.environ['JOBS_REDIS_URL']

socketio = SocketIO(
    Flask(__name__), async_mode='threading',
    message_queue=URL.replace('redis://', 'redis+streams://')
    + os.environ.get('JOBS_QUERY', ''))
if os.environ.get('JOBS_IMPORT') == 'emit':
    socketio.emit('imported')
if os.environ.get('JOBS_IMPORT') == 'start':
    socketio.server.manager.start()

celery = Celery('jobs', broker=URL)


@celery.task(name='job')
def job(number: int) -> None:
    for index in range(EVENTS):
        socketio.emit('progress', f'job {number} event {index};')


def job_that_flushes(number: int) -> None:
    job(number)
    os._exit(0 if socketio.server.manager.flush(5) else 1)


def application(environ: Any, start_response: Callable[..., Any]
                ) -> Iterable[bytes]:
    """For uWSGI: a request is a job; the answer is its node."""
    job(int(environ['QUERY_STRING']))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{os.getpid()} {socketio.server.manager.uid}'.encode()]


if __name__ == '__main__':
    import multiprocessing
    import sys

    way = sys.argv[1]
    if way == 'fork':
        if os.fork() == 0:
            job(0)
            os._exit(0)
        os.wait()
    elif way == 'flush':
        if os.fork() == 0:
            job_that_flushes(0)
        os.wait()
    else:
        context: Any = multiprocessing.get_context(way)
        with context.Pool(1) as pool:
            # Its end terminates the child.
            pool.apply(job, (0,))
    os._exit(0)
