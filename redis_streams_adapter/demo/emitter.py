"""The external process of the demo: it emits, and has no clients.

A cron job or a task queue's worker would do the same. It reads one order
per line from its standard input, answers each with a line once Redis has
what was emitted, and ends with the input, so that it does not outlive the
process that started it.
"""
from __future__ import annotations

import json
import os
import sys

from redis_streams_adapter.flask_socketio import SocketIO

from .orders import QUEUE, STREAM, carry_out


def main() -> None:
    # Nothing here runs tasks; left to itself, Flask-SocketIO would import
    # whichever of eventlet and gevent is installed.
    socketio = SocketIO(message_queue=os.environ[QUEUE],
                        channel=os.environ[STREAM], async_mode='threading')
    for line in sys.stdin:
        answer = carry_out(socketio, json.loads(line))
        print(json.dumps({'answer': answer}), flush=True)


if __name__ == '__main__':
    main()
