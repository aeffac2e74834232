"""Requirements of a manager's process, checked at the start."""
import importlib.util
import subprocess
import sys

import pytest

from ..conftest import skip_or_fail
from ..support.process import ROOT
from ..support.redis_server import RedisServer


def run(code: str, *arguments: str) -> str:
    """Run a program in a new interpreter; return its output."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code,
                           *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_monkey_patching(mode: str,
                                 redis_server: RedisServer) -> None:
    """A clear error at once, instead of a server that hangs."""
    if mode == 'threading':
        pytest.skip('threads need no monkey patching')
    output = run('''
import sys
import socketio
from redis_streams_adapter import RedisStreamsManager
manager = RedisStreamsManager(sys.argv[2])
server = socketio.Server(async_mode=sys.argv[1], client_manager=manager)
try:
    manager.start()
except RuntimeError as exc:
    print(exc)
''', mode, redis_server.url)
    assert 'monkey' in output
    assert mode in output


def test_valkey_without_redis_py(redis_server: RedisServer) -> None:
    """valkey-py is enough for a URL of Valkey."""
    if importlib.util.find_spec('valkey') is None:
        skip_or_fail('valkey is not installed')
    url = f'valkey://127.0.0.1:{redis_server.port}'
    assert run('''
import sys
sys.modules['redis'] = None
from redis_streams_adapter import RedisStreamsManager
with RedisStreamsManager(sys.argv[1], 'no-redis-py') as manager:
    manager.emit('event', None)
    print(manager.flush(10), manager.health()['status'])
''', url) == 'True ok'


def test_import_loads_no_optional_package() -> None:
    """The package works without any of them. (python-socketio itself imports
    valkey where that is installed.)"""
    loaded = run('''
import sys
import socketio
before = set(sys.modules)
from redis_streams_adapter import RedisStreamsManager
RedisStreamsManager(write_only=True)
print(*set(sys.modules) - before)
''').split()
    assert 'redis_streams_adapter' in loaded
    for module in ('gevent', 'eventlet', 'flask', 'flask_socketio',
                   'gunicorn', 'valkey'):
        assert module not in loaded
