"""The limit for sending: redis-py's pipelined XADD, and nothing else.

Run as ``python -m benchmarks.xadd URL STREAM``. It executes the commands
``cpu`` and ``burst`` of :mod:`.node`. The entries have the fields and about
the size of those that the managers write; they are packed one by one, as
redis-py does.
"""
import json
import sys
import time
from typing import Any

import redis

from . import channel, payload

BATCH, BATCH_SIZE = 500, 1 << 19
"""Entries of a pipeline, and characters: as many as the manager's writer sends
at once."""

LENGTH = 10_000
"""Entries to which the stream is trimmed."""


class Sender:
    """Writes entries to a stream.

    :param url: of the Redis.
    :param stream: the stream's name.
    """
    def __init__(self, url: str, stream: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.stream = stream

    def do_cpu(self) -> dict[str, Any]:
        return {'cpu': time.process_time()}

    def do_burst(self, to: str, first: int, count: int,
                 size: int = payload.SIZE) -> dict[str, Any]:
        """Write ``count`` entries, a batch in a pipeline."""
        batch = min(BATCH, max(1, BATCH_SIZE // size))
        cpu = time.process_time()
        started = time.monotonic_ns()
        for start in range(first, first + count, batch):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(start, min(start + batch, first + count)):
                data = {'opts': {'rooms': [to], 'except': [], 'flags': {}},
                        'packet': {'type': 2, 'nsp': '/', 'data': [
                            payload.EVENT, payload.make(number, size)]}}
                pipeline.xadd(self.stream, {
                    'uid': 'benchmark', 'nsp': '/', 'type': '3',
                    'data': json.dumps(data)}, maxlen=LENGTH)
            pipeline.execute()
        ended = time.monotonic_ns()
        return {'cpu': cpu, 'started': started, 'ended': ended}

    def run(self) -> None:
        """Execute commands until the parent closes its end."""
        for line in sys.stdin:
            command = json.loads(line)
            name = command.pop('command')
            try:
                answer = getattr(self, f'do_{name}')(**command)
            except Exception as exc:
                answer = {'error': f'{type(exc).__name__}: {exc}'}
            channel.answer(**answer)


if __name__ == '__main__':
    Sender(*sys.argv[1:]).run()
