"""Emits to a room of the chat, from a process without clients.

    python external_emitter.py ROOM TEXT

A cron job, a worker of a task queue or a management command works in the same
way. The exit code is 0 once Redis has the message, and 1 if it does not have
it in time.
"""
import os
import sys

from redis_streams_adapter import RedisStreamsManager


def main():
    room, text = sys.argv[1:]
    url = os.environ.get('REDIS_URL', 'redis://localhost:6379/0')
    with RedisStreamsManager(url, stream_name='chat',
                             write_only=True) as manager:
        manager.emit('announcement', (room, text), room=room)
        if not manager.flush(timeout=5):
            sys.exit('Redis does not have the message: '
                     f'{manager.health()["last_error"]}')


if __name__ == '__main__':
    main()
