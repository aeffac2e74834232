"""A chat client for the terminal, for any of the servers here.

    python chat_client.py http://localhost:5000 ROOM NAME

It sends each line that you type to the room, and exits at the end of input.
"""
import sys

import socketio

sio = socketio.Client()


@sio.event
def joined(room, name):
    print(f'[{room}] {name} is here', flush=True)


@sio.event
def message(room, name, text):
    print(f'[{room}] {name}: {text}', flush=True)


@sio.event
def announcement(room, text):
    print(f'[{room}] * {text}', flush=True)


def main():
    url, room, name = sys.argv[1:]
    sio.connect(url, transports=['websocket'])
    # Unlike emit(), call() waits until the server has the event: one that is
    # still under way would be lost with the connection.
    sio.call('join', (room, name))
    for line in sys.stdin:
        sio.call('message', (room, line.rstrip()))
    sio.disconnect()


if __name__ == '__main__':
    main()
