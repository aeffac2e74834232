"""A small chat, served by gevent.

Start it twice, with another PORT each time. Whoever is in a room hears what
is said there, whichever of the two they are connected to.
"""
from gevent import monkey
monkey.patch_all()

import os  # noqa: E402
import signal  # noqa: E402

import gevent  # noqa: E402
from gevent import pywsgi  # noqa: E402
from gevent.event import Event  # noqa: E402
import socketio  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402

manager = RedisStreamsManager(
    os.environ.get('REDIS_URL', 'redis://localhost:6379/0'),
    stream_name='chat')
sio = socketio.Server(async_mode='gevent', client_manager=manager)
app = socketio.WSGIApp(sio)


@sio.event
def connect(sid, environ, auth):
    print('connected:', sid)


@sio.event
def join(sid, room, name):
    sio.enter_room(sid, room)
    sio.save_session(sid, {'name': name})
    sio.emit('joined', (room, name), to=room)


@sio.event
def message(sid, room, text):
    name = sio.get_session(sid)['name']
    sio.emit('message', (room, name, text), to=room, skip_sid=sid)


@sio.event
def disconnect(sid, reason):
    print('disconnected:', sid, reason)


def main():
    # An exception, as from Ctrl-C, would be raised in whatever task runs just
    # then; in one that python-socketio runs it would be taken for an error of
    # a handler, and the server would go on.
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopped.set)
    server = pywsgi.WSGIServer(
        ('127.0.0.1', int(os.environ.get('PORT', 5000))), app)
    # Member of the cluster from here on, and no longer behind it.
    with manager:
        server.start()
        stopped.wait()


if __name__ == '__main__':
    main()
