"""A small chat, served by eventlet.

Start it twice, with a different PORT each time. Clients in the same room can
talk to each other, whichever of the two servers they are connected to.
"""
import eventlet
eventlet.monkey_patch()

import os  # noqa: E402
import signal  # noqa: E402

from eventlet import wsgi  # noqa: E402
import socketio  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402

manager = RedisStreamsManager(
    os.environ.get('REDIS_URL', 'redis://localhost:6379/0'),
    stream_name='chat')
sio = socketio.Server(async_mode='eventlet', client_manager=manager)
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
    # An exception such as KeyboardInterrupt would be raised in the task that
    # runs at that moment. If that is a task of python-socketio, it takes the
    # exception for an error of a handler, and the server continues. The event
    # takes effect within a second: eventlet looks at it when the manager's
    # heartbeat wakes it.
    stopped = eventlet.Event()

    def stop(number, frame):
        if not stopped.ready():
            stopped.send()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    listener = eventlet.listen(
        ('127.0.0.1', int(os.environ.get('PORT', 5000))))
    # The server is a member of the cluster within this block.
    with manager:
        eventlet.spawn(wsgi.server, listener, app)
        stopped.wait()


if __name__ == '__main__':
    main()
