"""The application that every worker of the demo serves.

gunicorn imports it after its gevent worker has patched the standard library.
It is an ordinary Flask-SocketIO application; only ``message_queue`` makes it
one of several.
"""
from __future__ import annotations

import os
from typing import Any

from flask import Flask, request
from flask_socketio import emit, join_room

from redis_streams_adapter.flask_socketio import SocketIO

from .orders import MARKER, NEWS, QUEUE, STREAM, WORKER, carry_out

app = Flask(__name__)
socketio: Any = SocketIO(
    app, message_queue=os.environ[QUEUE], channel=os.environ[STREAM],
    async_mode='gevent')


@app.get('/status')
def status() -> dict[str, Any]:
    manager = socketio.server.manager
    return {'pid': os.getpid(), 'servers': manager.server_count(),
            'health': manager.health()['status']}


@app.post('/orders')
def orders() -> dict[str, Any]:
    return {'answer': carry_out(socketio, request.get_json())}


@socketio.on('connect')
def connect() -> None:
    emit('welcome', {'worker': os.environ[WORKER], 'pid': os.getpid()})


@socketio.on('join')
def join(room: str) -> str:
    join_room(room)
    return room


@socketio.on('say')
def say(step: int, text: str, sent: float) -> None:
    """Pass on what a client says to everyone but itself."""
    emit(NEWS, {'step': step, 'text': text, 'sent': sent},
         broadcast=True, include_self=False)
    emit(MARKER, step, broadcast=True)
