"""A small chat, served by threads.

Start it twice, with a different PORT each time. Clients in the same room can
talk to each other, whichever of the two servers they are connected to.

Werkzeug's server is for development. In production, run the same application
under ``gunicorn --threads 100``.
"""
import os
import signal

import socketio
from werkzeug.serving import run_simple

from redis_streams_adapter import RedisStreamsManager

manager = RedisStreamsManager(
    os.environ.get('REDIS_URL', 'redis://localhost:6379/0'),
    stream_name='chat')
sio = socketio.Server(async_mode='threading', client_manager=manager)
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
    # SIGTERM ends the server as Ctrl-C does. All handlers run in other
    # threads, which signals do not interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The server is a member of the cluster within this block.
    with manager:
        run_simple('127.0.0.1', int(os.environ.get('PORT', 5000)), app,
                   threaded=True)


if __name__ == '__main__':
    main()
