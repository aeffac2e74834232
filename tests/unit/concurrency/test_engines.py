"""Tasks and events of threads, gevent and eventlet; the latter two each in a
separate process."""
import importlib.util
import subprocess
import sys
import threading
from typing import Any, List

import pytest

from redis_streams_adapter.concurrency.engines import ServerEngine, \
    ThreadEngine

from ...conftest import skip_or_fail
from ...support.wait import DEADLINE


def test_tasks_of_the_server() -> None:
    class Eio:
        async_mode = 'threading'

        def create_event(self) -> threading.Event:
            return threading.Event()

    class Server:
        eio = Eio()

        def __init__(self) -> None:
            self.calls: List[Any] = []

        def start_background_task(self, *args: Any) -> None:
            self.calls.append(args)

        def sleep(self, seconds: float) -> None:
            self.calls.append(seconds)

    server = Server()
    engine = ServerEngine(server)
    engine.spawn(print, 'x', 1)
    engine.pause()
    engine.switch()
    assert server.calls == [(print, 'x', 1), 0]
    event = engine.event()
    assert not event.is_set()
    event.set()
    assert event.wait(0)


def test_threads_do_not_keep_the_process_alive() -> None:
    engine = ThreadEngine()
    seen: List[bool] = []
    done = engine.event()

    def work() -> None:
        seen.append(threading.current_thread().daemon)
        done.set()

    engine.spawn(work)
    assert done.wait(DEADLINE)
    assert seen == [True]
    engine.pause()
    engine.switch()


# -- events of gevent -------------------------------------------------------

#: Keeps gevent's loop from reading the clock, and then waits.
LATE_CLOCK = '''
import time
import gevent
from redis_streams_adapter.concurrency.engines import GeventEvent

gevent.sleep(0.01)
event, begun = GeventEvent(), time.monotonic()
while time.monotonic() < begun + 0.2:
    pass
begun = time.monotonic()
assert not event.wait(0.1)
print(time.monotonic() - begun)
'''


def test_gevent_wait_is_no_shorter_than_its_timeout() -> None:
    """Even if the loop has not read the clock for a while."""
    if importlib.util.find_spec('gevent') is None:
        skip_or_fail('gevent is not installed')
    waited = subprocess.run([sys.executable, '-c', LATE_CLOCK], check=True,
                            timeout=30, capture_output=True, text=True)
    assert float(waited.stdout) >= 0.099


# -- threads of the system ---------------------------------------------------

#: Runs functions in threads of the system, in a process of green threads.
REAL_THREADS = '''
import sys
import time
if sys.argv[1] == 'gevent':
    from gevent import monkey
    monkey.patch_all()
    import gevent
    spawn, execute = gevent.spawn, gevent.get_hub().threadpool.apply
else:
    import eventlet
    eventlet.monkey_patch()
    import eventlet.tpool
    spawn = eventlet.spawn

    def execute(function, args=()):
        return eventlet.tpool.execute(function, *args)

import socketio
from redis_streams_adapter.concurrency.engines import \\
    ServerEngine, ThreadEngine

for engine in (ServerEngine(socketio.Server(async_mode=sys.argv[1])),
               ThreadEngine()):
    for _ in range(20):
        # A green thread that waits is woken by another thread at once.
        event, woken, begun = engine.event(), [], time.monotonic()
        waits = spawn(lambda: woken.append(event.wait(20)))
        time.sleep(0)
        execute(event.set)
        getattr(waits, 'join', getattr(waits, 'wait', None))()
        assert woken == [True]
        # And the other way round.
        event = engine.event()
        spawn(lambda: (time.sleep(0.01), event.set()))
        assert execute(event.wait, (20,))
        assert not execute(engine.event().wait, (0.01,))
        execute(engine.pause)
        assert time.monotonic() - begun < 5, time.monotonic() - begun
    # Both threads use a lock.
    lock, count = engine.lock(), []

    def add():
        for _ in range(1000):
            with lock:
                count.append(len(count))

    working = spawn(add)
    execute(add)
    getattr(working, 'join', getattr(working, 'wait', None))()
    assert count == list(range(2000))
    # No task can be started there: it would never run.
    def start():
        # The pool has many threads: all in the same one.
        engine.pause()
        engine.switch()
        engine.start(print)

    try:
        execute(start)
    except RuntimeError as exc:
        assert 'start()' in str(exc) and 'green thread' in str(exc)
    else:
        sys.exit('a task was started')
    engine.start(lambda: print('started'))
    time.sleep(0.01)
'''


def test_threads_of_the_system(library: str) -> None:
    """``tpool.execute`` of eventlet, and the pool of threads of gevent."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', REAL_THREADS, library],
        capture_output=True, text=True, timeout=60)
    # gevent's pool reports what is raised in it.
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['started', 'started']


# -- monkey patching ---------------------------------------------------------

#: Makes a server with a library, and starts its manager in one of three ways.
#: No server listens on that port.
SCRIPT = '''
import sys
mode, patched, way = sys.argv[1:]
if patched == 'patched':
    if mode == 'gevent':
        from gevent import monkey
        monkey.patch_all()
    else:
        import eventlet
        eventlet.monkey_patch()
import socketio
from redis_streams_adapter import RedisStreamsManager

manager = RedisStreamsManager('redis://127.0.0.1:1')
server = socketio.Server(async_mode=mode, client_manager=manager)
try:
    if way == 'start':
        manager.start()
    elif way == 'initialize':
        manager.initialize()
    else:
        server.emit('hello')
except RuntimeError as exc:
    sys.exit(str(exc))
manager.close(timeout=0)
'''


@pytest.fixture(params=['gevent', 'eventlet'])
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        skip_or_fail(f'{name} is not installed')
    return name


def run(*args: str) -> Any:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SCRIPT, *args],
        stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.parametrize('way', ['start', 'initialize', 'emit'])
def test_without_monkey_patching(library: str, way: str) -> None:
    """The error says what to do."""
    done = run(library, 'plain', way)
    assert done.returncode == 1
    assert 'monkey patched' in done.stderr
    assert {'gevent': 'gevent.monkey.patch_all()',
            'eventlet': 'eventlet.monkey_patch()'}[library] in done.stderr
    assert 'Traceback' not in done.stderr


def test_with_monkey_patching(library: str) -> None:
    done = run(library, 'patched', 'start')
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr


#: A pause lets a task run whose socket has data.
PAUSE = '''
from gevent import monkey
monkey.patch_all()
import socket
import sys
import threading
import socketio
from redis_streams_adapter.concurrency.engines import \
    ServerEngine, ThreadEngine

engine = (ServerEngine(socketio.Server(async_mode='gevent'))
          if sys.argv[1] == 'server' else ThreadEngine())
near, far = socket.socketpair()
received = []
threading.Thread(target=lambda: received.append(far.recv(1))).start()
engine.pause()
near.send(b'x')
assert not received
engine.pause()
assert received == [b'x']
'''


@pytest.mark.parametrize('engine', ['server', 'thread'])
def test_pause_lets_gevent_poll(engine: str) -> None:
    if importlib.util.find_spec('gevent') is None:
        skip_or_fail('gevent is not installed')
    subprocess.run([sys.executable, '-c', PAUSE, engine], check=True,
                   timeout=30)


#: A switch lets a task run that can run.
SWITCH = '''
import sys
if sys.argv[1] == 'gevent':
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()
import threading
import socketio
from redis_streams_adapter.concurrency.engines import \
    ServerEngine, ThreadEngine

for engine in (ServerEngine(socketio.Server(async_mode=sys.argv[1])),
               ThreadEngine()):
    run = []
    threading.Thread(target=lambda: run.append(1)).start()
    engine.spawn(run.append, 2)
    engine.switch()
    assert sorted(run) == [1, 2], run
'''


@pytest.mark.parametrize('library', ['gevent', 'eventlet'])
def test_switch_lets_green_threads_run(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        skip_or_fail(f'{library} is not installed')
    subprocess.run([sys.executable, '-c', SWITCH, library], check=True,
                   timeout=30)
