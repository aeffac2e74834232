"""Waiting for a socket, and being woken: in threads, and in green threads in a
separate process."""
import importlib.util
import os
import resource
import socket
import subprocess
import sys
import time
from typing import Iterator, Tuple

import pytest

from redis_streams_adapter.concurrency.wakeup import Wakeup

from ...conftest import skip_or_fail
from ...support.wait import DEADLINE
from ..nodes import Call

#: Longer than any of these tests waits.
LONG = 3 * DEADLINE

Pair = Tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_wait_ends_with_data(pair: Pair) -> None:
    wakeup = Wakeup()
    waiting = Call(wakeup.wait, pair[0].fileno(), LONG)
    pair[1].send(b'1')
    assert waiting.result() is True
    assert wakeup.wait(pair[0].fileno(), LONG) is True


def test_wait_ends_with_the_connection(pair: Pair) -> None:
    """Of this side, by another task."""
    waiting = Call(Wakeup().wait, pair[0].fileno(), LONG)
    pair[0].shutdown(socket.SHUT_RDWR)
    assert waiting.result() is True


def test_wait_ends_at_its_timeout(pair: Pair) -> None:
    begun = time.monotonic()
    assert Wakeup().wait(pair[0].fileno(), 0.1) is False
    assert time.monotonic() - begun >= 0.099


def test_wait_ends_when_set(pair: Pair) -> None:
    """Before and after the wait begins; each wait ends once."""
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.set()
    assert wakeup.wait(pair[0].fileno(), LONG) is False
    waiting = Call(wakeup.wait, pair[0].fileno(), LONG)
    assert waiting.waits
    wakeup.set()
    assert waiting.result() is False
    assert wakeup.wait(pair[0].fileno(), 0.01) is False


def test_set_while_nothing_waits(pair: Pair) -> None:
    """More often than the pipe has room for."""
    wakeup = Wakeup()
    for _ in range(100_000):
        wakeup.set()
    assert wakeup.wait(pair[0].fileno(), LONG) is False


def test_files_are_closed() -> None:
    wakeup = Wakeup()
    ends = wakeup._ends
    for _ in range(2):
        wakeup.close()
        for end in ends:
            with pytest.raises(OSError):
                os.fstat(end)


def test_closed_wakeup_writes_nothing() -> None:
    """The number of its file may belong to another connection by now."""
    wakeup = Wakeup()
    ends = wakeup._ends
    wakeup.close()
    read, write = os.pipe()
    try:
        assert {read, write} == set(ends)
        wakeup.set()
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
    finally:
        os.close(read)
        os.close(write)


def test_child_process_closes_its_copy_despite_a_held_lock() -> None:
    wakeup = Wakeup()
    with wakeup._lock:
        child = os.fork()
        if not child:
            code = 1
            try:
                # Another thread has the lock, as far as this call can know.
                Call(wakeup.close).result()
                code = len(wakeup._ends)
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert wakeup._ends


def test_high_file_numbers(pair: Pair) -> None:
    """A server may have more than 1024 files open."""
    wanted = 1100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= wanted:
        pytest.skip('this process may not open so many files')
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 1), hard))
    high = os.dup2(pair[0].fileno(), wanted)
    try:
        pair[1].send(b'1')
        assert Wakeup().wait(high, LONG) is True
    finally:
        os.close(high)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_child_process_does_not_use_the_pipe(pair: Pair) -> None:
    wakeup = Wakeup()
    wakeup.set()
    child = os.fork()
    if not child:
        # It reads nothing from the pipe, and writes nothing.
        woken = not wakeup.wait(pair[0].fileno(), LONG)
        wakeup.set()
        os._exit(0 if woken else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert wakeup.wait(pair[0].fileno(), LONG) is False
    assert wakeup.wait(pair[0].fileno(), 0.01) is False


#: One green thread waits, another one works and then wakes it; so does
#: a thread of the system, and data.
SCRIPT = '''
import sys
if sys.argv[1] == 'gevent':
    from gevent import monkey
    monkey.patch_all()
    import gevent
    spawn, join = gevent.spawn, lambda task: task.get(timeout=20)
    from gevent.monkey import get_original
    start = get_original('_thread', 'start_new_thread')
else:
    import eventlet
    eventlet.monkey_patch()
    spawn, join = eventlet.spawn, lambda task: task.wait()
    from eventlet.patcher import original
    start = original('_thread').start_new_thread
import socket
import time
from redis_streams_adapter.concurrency import wakeup as module
from redis_streams_adapter.concurrency.wakeup import Wakeup

wakeup = Wakeup()
one, other = socket.socketpair()
for begin, wake, expected in (
        (spawn, wakeup.set, False),
        (lambda function: start(function, ()), wakeup.set, False),
        (spawn, lambda: other.send(b'1'), True)):
    task = spawn(wakeup.wait, one.fileno(), 60)
    # The others run during the pause.
    time.sleep(0.05)
    begin(wake)
    assert join(task) is expected
one.recv(1)
begun = time.monotonic()
assert wakeup.wait(one.fileno(), 0.1) is False
assert 0.09 < time.monotonic() - begun < 10
task = spawn(wakeup.wait, one.fileno(), 60)
time.sleep(0.05)
one.shutdown(socket.SHUT_RDWR)
assert join(task) is True
# After a fork, the hub of eventlet also hears of the files of other processes.
module.wait_readable = lambda files, timeout: files[1:]
assert wakeup.wait(one.fileno(), 60) is False
'''


@pytest.mark.parametrize('library', ['gevent', 'eventlet'])
def test_green_threads(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        skip_or_fail(f'{library} is not installed')
    subprocess.run([sys.executable, '-c', SCRIPT, library], check=True,
                   timeout=60)
