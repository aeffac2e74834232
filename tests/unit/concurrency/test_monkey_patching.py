"""gevent and eventlet, each in a process of its own."""
import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from ...conftest import skip_or_fail

#: Makes a server that uses a library, and starts its manager in one of
#: three ways. Nobody listens on that port.
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
def test_without_it(library: str, way: str) -> None:
    """The error says what to do."""
    done = run(library, 'plain', way)
    assert done.returncode == 1
    assert 'monkey patched' in done.stderr
    assert {'gevent': 'gevent.monkey.patch_all()',
            'eventlet': 'eventlet.monkey_patch()'}[library] in done.stderr
    assert 'Traceback' not in done.stderr


def test_with_it(library: str) -> None:
    done = run(library, 'patched', 'start')
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr


#: A pause lets a task run whose socket has something for it.
PAUSE = '''
from gevent import monkey
monkey.patch_all()
import socket
import sys
import threading
import socketio
from redis_streams_adapter.concurrency.tasks import ServerEngine, ThreadEngine

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
def test_a_pause_lets_gevent_poll(engine: str) -> None:
    if importlib.util.find_spec('gevent') is None:
        skip_or_fail('gevent is not installed')
    subprocess.run([sys.executable, '-c', PAUSE, engine], check=True,
                   timeout=30)
