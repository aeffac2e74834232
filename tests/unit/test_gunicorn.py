"""The hooks of gunicorn."""
import subprocess
import sys
from typing import Any, Callable

import pytest

from redis_streams_adapter import gunicorn

from ..support.wait import wait_until
from .fake_server import make_server
from .fake_transport import FakeStream


def test_a_worker_is_a_member_before_its_first_client(
        make_manager: Callable[..., Any], stream: FakeStream) -> None:
    manager = make_manager()
    make_server(client_manager=manager)
    # Neither of these is a server's.
    make_manager(write_only=True)
    make_manager()
    gunicorn.post_worker_init(worker=None)
    wait_until(lambda: manager.health()['connected'])
    assert stream.connections == 2
    gunicorn.post_worker_init(worker=None)
    assert stream.connections == 2


def test_a_worker_says_goodbye(make_manager: Callable[..., Any],
                               stream: FakeStream) -> None:
    manager, emitter = make_manager(), make_manager(write_only=True)
    make_server(client_manager=manager)
    gunicorn.post_worker_init(worker=None)
    manager.emit('hello', 1)
    emitter.emit('hello', 2)
    gunicorn.worker_exit(server=None, worker=None)
    assert stream.connections == 0
    kinds = [entry.fields[5] for entry in stream.history]
    assert kinds.count(b'3') == 2
    assert kinds[-1] == b'13'
    gunicorn.worker_exit(server=None, worker=None)


@pytest.mark.parametrize('name', ['redis', 'ssl', 'socketio', 'engineio'])
def test_a_configuration_that_imports_it_imports_little_else(
        name: str) -> None:
    """gunicorn reads its configuration before a worker is patched."""
    subprocess.run([sys.executable, '-c', (
        'import sys\n'
        'before = set(sys.modules)\n'
        'import redis_streams_adapter.gunicorn\n'
        f'sys.exit({name!r} in set(sys.modules) - before)')], check=True)
