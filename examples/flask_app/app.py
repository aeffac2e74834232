"""A small chat with Flask-SocketIO.

The URL of the message queue is all that makes many processes one cluster.
"""
import os

from flask import Flask, session
from flask_socketio import emit, join_room

from redis_streams_adapter.flask_socketio import SocketIO

app = Flask(__name__)
# All workers share a port, and the kernel chooses one for each connection.
# That is fine for a WebSocket, which is one connection. Polling uses many: it
# needs a load balancer with sticky sessions.
socketio = SocketIO(
    app, async_mode='gevent', transports=['websocket'], channel='chat',
    message_queue=os.environ.get('MESSAGE_QUEUE',
                                 'redis+streams://localhost:6379/0'))


@app.get('/')
def index():
    return 'This is a Socket.IO server; see chat_client.py.\n'


@socketio.on('join')
def join(room, name):
    session['name'] = name
    join_room(room)
    emit('joined', (room, name), to=room)


@socketio.on('message')
def message(room, text):
    emit('message', (room, session['name'], text), to=room,
         include_self=False)


@app.post('/announcements/<room>')
def announce(room):
    """Emit to a room from a web request."""
    socketio.emit('announcement', (room, 'from the web'), to=room)
    return '', 204
