"""What a process has to have done before a manager can work in it."""
import subprocess
import sys

import pytest

from ..support.process import ROOT
from ..support.redis_server import RedisServer


def run(code: str, *arguments: str) -> str:
    """Run a program in an interpreter of its own; return what it prints."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code,
                           *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_monkey_patching(mode: str,
                                 redis_server: RedisServer) -> None:
    """A clear word at once, rather than a server that stands still."""
    if mode == 'threading':
        pytest.skip('threads need no monkey patching')
    said = run('''
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
    assert 'monkey' in said
    assert mode in said


def test_imports() -> None:
    """Who uses one of these does not need the others."""
    loaded = run('''
import sys
from redis_streams_adapter import RedisStreamsManager
RedisStreamsManager(write_only=True)
print(*sys.modules)
''').split()
    assert 'redis_streams_adapter' in loaded
    for module in ('gevent', 'eventlet', 'flask', 'flask_socketio',
                   'gunicorn', 'valkey'):
        assert module not in loaded
