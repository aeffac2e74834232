"""Tells a room of the chat something, from a process that serves nobody.

    python external_emitter.py ROOM TEXT

A cron job, a task queue's worker or a management command does the same. It
returns once Redis has the message.
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


if __name__ == '__main__':
    main()
