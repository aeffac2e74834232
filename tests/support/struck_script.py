"""Processes that emit numbers and are struck by time limits.

``python -m tests.support.struck_script MODE REDIS_URL STREAM TRIES EMITS``
starts ``TRIES`` processes, one after the other. Each has a manager with the
stream ``STREAM-<n>``, and prints a line of JSON: ``returned`` and ``raised``,
the numbers whose ``emit`` returned or raised; ``writers``, the number of
writing tasks; and after the flush ``flushed``, ``outbox``, ``outbox_bytes``
and ``sent``. The last two numbers are emitted without a time limit.

The limits are multiples of the time that an emit takes here, which a process
with the stream ``STREAM`` measures first.
"""
import sys

from tests.support import modes

if __name__ == '__main__':
    modes.prepare(sys.argv[1])

import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from typing import Any, Callable, Dict, Iterator, List, Tuple  # noqa: E402

from redis_streams_adapter import RedisStreamsManager  # noqa: E402
from redis_streams_adapter.stream.writer import Writer  # noqa: E402

#: Seconds: the time limit of a process.
PATIENCE = 20

#: Of these each process takes one: the longest of its limits is so many times
#: as long as an emit. On a busy machine the short ones let nothing through.
FACTORS = 1.5, 3, 6, 12


class Limit(Exception):
    """The exception of a time limit, like the soft limit of a job queue."""


#: Whether a limit runs. Another thread may receive the signal, and then the
#: handler is late.
running = False


def strike(*_: Any) -> None:
    if running:
        raise Limit


def by_signal(seconds: float, call: Callable[[], Any]) -> bool:
    """Call a function with a time limit from a signal handler.

    :return: whether it returned within the limit.
    """
    global running
    done = False
    try:
        try:
            running = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            call()
            done = True
        finally:
            running = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Limit:
        pass
    return done


def by_timeout(seconds: float, call: Callable[[], Any]) -> bool:
    """Call a function with a timeout of the library of green threads."""
    if 'gevent' in sys.modules:
        from gevent import Timeout
    else:
        from eventlet import Timeout
    done = False
    try:
        with Timeout(seconds):
            call()
            done = True
    except Timeout:
        pass
    return done


def frames() -> Iterator[Any]:
    """The frames of all threads and green threads."""
    yield from sys._current_frames().values()
    greenlet = sys.modules.get('greenlet')
    if greenlet is not None:
        for each in gc.get_objects():
            if isinstance(each, greenlet.greenlet) and each.gr_frame:
                yield each.gr_frame


def count_writers() -> int:
    """The number of tasks that run the writer's work."""
    seen = set()
    for frame in list(frames()):
        while frame is not None:
            if frame.f_code is Writer.work.__code__:
                seen.add(id(frame))
            frame = frame.f_back
    return len(seen)


def measure(url: str, stream: str, emits: int) -> Tuple[float, float]:
    """Emit without a limit.

    :return: seconds: how long the first emit took, and the median of the
             others.
    """
    manager = RedisStreamsManager(url, stream, write_only=True)
    times = []
    for number in range(emits):
        started = time.perf_counter()
        manager.emit('number', number)
        times.append(time.perf_counter() - started)
    manager.close()
    return times[0], statistics.median(times[1:])


def emit_all(url: str, stream: str, emits: int, limits: List[Any],
             times: Tuple[float, float],
             rng: random.Random) -> Dict[str, Any]:
    manager = RedisStreamsManager(
        url, stream, write_only=True, max_len=100_000,
        publish=rng.choice(['background', 'sync']))
    factor = rng.choice(FACTORS)
    returned, raised = [], []
    for number in range(emits):
        limit = rng.choice(limits)
        span = factor * times[bool(number)]
        if limit(rng.uniform(1e-6, span),
                 lambda: manager.emit('number', number)):
            returned.append(number)
        else:
            raised.append(number)
    for number in (emits, emits + 1):
        manager.emit('number', number)
        returned.append(number)
    flushed = manager.flush(PATIENCE / 2)
    stats, writers = manager.stats(), count_writers()
    manager.close()
    return {'returned': returned, 'raised': raised, 'writers': writers,
            'flushed': flushed, 'left': count_writers(),
            **{name: stats[name]
               for name in ('outbox', 'outbox_bytes', 'sent')}}


def wait(child: int) -> None:
    """Wait for the end of a process, and kill it if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline += PATIENCE


def measure_in_a_child(url: str, stream: str,
                       emits: int) -> Tuple[float, float]:
    """As :func:`measure`; this process remains without tasks."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, json.dumps(measure(url, stream, emits)).encode())
        os._exit(0)
    wait(child)
    os.set_blocking(read, False)
    first, others = json.loads(os.read(read, 1000))
    return first, others


def main(mode: str, url: str, stream: str, tries: int, emits: int) -> None:
    seed = int(os.environ.get('SEED') or time.time_ns() % 1_000_000)
    limits: List[Any] = [by_timeout] if mode == 'eventlet' else [
        by_signal] if mode == 'threading' else [by_signal, by_timeout]
    times = measure_in_a_child(url, stream, emits)
    for number in range(tries):
        child = os.fork()
        if not child:
            # If the process hangs, the signal ends it before it prints a line.
            signal.signal(signal.SIGALRM, strike)
            result = emit_all(url, f'{stream}-{number}', emits, limits,
                              times, random.Random(seed + number))
            result['seed'] = seed + number
            os.write(1, json.dumps(result).encode() + b'\n')
            os._exit(0)
        wait(child)


if __name__ == '__main__':
    main(*sys.argv[1:4], tries=int(sys.argv[4]), emits=int(sys.argv[5]))
