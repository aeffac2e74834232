"""The demo's worker with a defect, which the demo has to find.

``FALSIFY`` names the defect. All of them are in worker 2, and concern its
emits to the room.
"""
import os
import signal

from redis_streams_adapter.demo.orders import MARKER, ROOM, WORKER
from redis_streams_adapter.demo.scenario import LAST
from redis_streams_adapter.demo.worker import app, socketio

__all__ = ['app']

manager = socketio.server.manager
emit = manager.emit
unfinished = []


def muted(event, data, room, **kwargs):
    """Local clients get the event, those of other workers do not."""
    kwargs['ignore_queue'] = True
    emit(event, data, room=room, **kwargs)


def twice(event, data, room, **kwargs):
    """Every client in the room gets the event twice."""
    emit(event, data, room=room, **kwargs)
    emit(event, data, room=room, **kwargs)


def astray(event, data, room, **kwargs):
    """Every client gets the event, in the room or not."""
    emit(event, data, room=None, **kwargs)


def late(event, data, room, **kwargs):
    """The event arrives a second time, after its step was judged."""
    emit(event, data, room=room, **kwargs)
    unfinished.append(lambda: emit(event, data, room=room, **kwargs))


def dead(event, data, room, **kwargs):
    """The emit kills the worker, and its gunicorn with it."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


DEFECTS = {each.__name__: each for each in (
    muted, twice, astray, late, dead)}
# An unknown name is a defect at the start.
defect = {**DEFECTS, 'none': None, 'all muted': None}[os.environ['FALSIFY']]


def falsified_emit(event, data, namespace=None, room=None, to=None, **kwargs):
    send = emit
    room = to or room
    if event == MARKER and data >= LAST:
        for finish in unfinished:
            finish()
    if room == ROOM and defect is not None:
        send = defect
    return send(event, data, namespace=namespace, room=room, **kwargs)


def mute_all(event, data, namespace=None, **kwargs):
    kwargs['ignore_queue'] = True
    return emit(event, data, namespace=namespace, **kwargs)


if os.environ[WORKER] == 'worker 2':
    manager.emit = (mute_all if os.environ['FALSIFY'] == 'all muted'
                    else falsified_emit)
