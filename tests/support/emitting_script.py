"""A script that emits numbers and exits without any wait.

``python -m tests.support.emitting_script MODE WAY REDIS_URL EVENT COUNT``;
``WAY`` is a key of :data:`WAYS`.
"""
import sys

from tests.support import modes

if __name__ == '__main__':
    modes.prepare(sys.argv[1])

from typing import Any  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402

#: For each way: whether the script is a member, and whether it uses ``with``.
WAYS = {'emitter': (False, False), 'emitter in a with': (False, True),
        'member': (True, False), 'member in a with': (True, True)}


def emit(manager: Any, event: str, count: int) -> None:
    for number in range(count):
        manager.emit(event, number)


def main(way: str, url: str, event: str, count: int) -> None:
    member, managed = WAYS[way]
    manager = RedisStreamsManager(url, write_only=not member,
                                  max_len=10 * count, publish='background')
    if managed:
        with manager:
            emit(manager, event, count)
    else:
        if member:
            manager.start()
        emit(manager, event, count)


if __name__ == '__main__':
    main(*sys.argv[2:5], count=int(sys.argv[5]))
