"""Time limits that strike at any point: each message is stored once, and the
process keeps working.

Under threads the limit is a signal handler's exception; with gevent that, or
its timeout; with eventlet its timeout: a signal may strike within eventlet's
own locks and queues, which are written in Python.
"""
import json
import os
import subprocess
import sys
from typing import Any, Callable, Dict, List

from redis_streams_adapter.protocol.codec import decode, open_envelope

from ..support.redis_server import RedisServer

#: How many processes there are, and how many emits of each may be struck after
#: the first.
TRIES, EMITS = 12, 30

#: Seconds that all processes together may take.
PATIENCE = 120.0


def stored(redis: RedisServer, stream: str) -> List[int]:
    """The numbers in a stream, in order."""
    entries: List[Any] = redis.client().xrange(stream)
    found = []
    for _, fields in entries:
        message: Any = decode(open_envelope(
            [part for pair in fields.items() for part in pair]))
        found.append(message.args[1])
    return found


def test_time_limits_lose_and_duplicate_nothing(
        mode: str, redis_server: RedisServer,
        unique: Callable[[str], str]) -> None:
    stream = unique('struck')
    output = subprocess.run(
        [sys.executable, '-m', 'tests.support.struck_script', mode,
         redis_server.url, stream, str(TRIES), str(EMITS)],
        # A limit that strikes the hub while it passes on a name that a thread
        # of gevent has resolved makes the caller wait for ever (gevent 26.9).
        env={**os.environ, 'GEVENT_RESOLVER': 'block'},
        capture_output=True, timeout=PATIENCE, check=True)
    results: List[Dict[str, Any]] = [
        json.loads(line) for line in output.stdout.splitlines()]
    assert len(results) == TRIES, output.stderr.decode()[-3000:]
    for number, result in enumerate(results):
        numbers = stored(redis_server, f'{stream}-{number}')
        assert numbers == sorted(set(numbers)), result
        assert set(result['returned']) <= set(numbers) \
            <= {*result['returned'], *result['raised']}, result
        assert result['flushed'], result
        assert (result['outbox'], result['outbox_bytes']) == (0, 0), result
        assert result['sent'] == len(numbers), result
        assert (result['writers'], result['left']) == (1, 0), result
    # Otherwise the limits are too long, or too short.
    assert any(result['raised'] for result in results)
    assert any(len(result['returned']) > 2 for result in results)
