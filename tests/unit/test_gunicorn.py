"""The hooks of gunicorn."""
import os
import subprocess
import sys
import threading
from typing import Any, Callable, Iterator

import pytest

from redis_streams_adapter import gunicorn

from ..support.wait import wait_until
from .fake_server import FakeClient, make_server
from redis_streams_adapter.testing.stream import FakeStream


class Settings:
    """The settings of gunicorn, with their defaults."""

    timeout = 30
    graceful_timeout = 30


class Worker:
    """The attributes of gunicorn's worker that the hooks use."""

    def __init__(self) -> None:
        self.alive = True
        self.pid = os.getpid()
        self.ppid = os.getppid()
        self.cfg = Settings()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that exits at the end of the test."""
    monkeypatch.setattr(gunicorn, '_end', None)
    found = Worker()
    yield found
    found.alive = False
    gunicorn.worker_exit(None, found)


def leave(worker: Worker) -> None:
    worker.alive = False


def lose_master(worker: Worker) -> None:
    worker.ppid = 0


def test_worker_is_a_member_before_its_first_client(
        make_manager: Callable[..., Any], stream: FakeStream) -> None:
    manager = make_manager()
    make_server(client_manager=manager)
    # Neither of these managers belongs to a server.
    make_manager(write_only=True)
    make_manager()
    gunicorn.post_worker_init(worker=None)
    wait_until(lambda: manager.health()['connected'])
    assert stream.connections == 2
    gunicorn.post_worker_init(worker=None)
    assert stream.connections == 2


def test_worker_leaves_at_its_exit(make_manager: Callable[..., Any],
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


@pytest.mark.parametrize('end', [leave, lose_master])
def test_clients_of_an_ending_worker(make_manager: Callable[..., Any],
                                     stream: FakeStream, worker: Worker,
                                     end: Callable[[Worker], None]) -> None:
    """Clients leave at once. Events of requests in progress are sent."""
    manager = make_manager()
    server = make_server(client_manager=manager, monitor_clients=False)
    gunicorn.post_worker_init(worker)
    client = FakeClient(server)
    assert client.reply() is not None
    end(worker)
    wait_until(lambda: client.socket.closed)
    assert FakeClient(server).reply() is None
    manager.emit('hello', 1)
    assert manager.server_count() == 1
    gunicorn.worker_exit(None, worker)
    assert stream.connections == 0
    kinds = [entry.fields[5] for entry in stream.history]
    assert kinds.count(b'3') == 1
    assert kinds[-1] == b'13'


def test_worker_whose_requests_do_not_end(make_manager: Callable[..., Any],
                                          stream: FakeStream,
                                          worker: Worker) -> None:
    """The worker will be killed soon. It sends its goodbye before."""
    manager = make_manager()
    make_server(client_manager=manager, monitor_clients=False)
    worker.cfg.graceful_timeout = 1
    gunicorn.post_worker_init(worker)
    worker.alive = False
    wait_until(lambda: stream.history
               and stream.history[-1].fields[5] == b'13')


@pytest.mark.parametrize('error', [SystemExit, KeyboardInterrupt])
def test_second_signal_while_a_worker_ends(make_manager: Callable[..., Any],
                                           stream: FakeStream, worker: Worker,
                                           monkeypatch: pytest.MonkeyPatch,
                                           error: type) -> None:
    """The exception strikes the task that waits for the shutdown. The shutdown
    continues."""
    manager = make_manager()
    make_server(client_manager=manager, monitor_clients=False)
    gunicorn.post_worker_init(worker)
    assert gunicorn._end is not None
    done = gunicorn._end._done
    struck = []

    class Struck(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            if len(struck) < 3:
                struck.append(timeout)
                raise error
            return done.wait(timeout)

        def is_set(self) -> bool:
            return done.is_set()

        def set(self) -> None:
            done.set()

    monkeypatch.setattr(gunicorn._end, '_done', Struck())
    manager.emit('hello', 1)
    gunicorn.worker_exit(None, worker)
    assert stream.connections == 0
    assert len(struck) == 3


def test_child_of_a_worker_is_separate(worker: Worker) -> None:
    """The exit of the child closes no manager of its parent."""
    gunicorn.post_worker_init(worker)
    end = gunicorn._end
    assert end is not None
    end._pid += 1
    end.finish()
    assert not end._exiting.is_set()
    end._pid -= 1


def test_worker_that_died(make_manager: Callable[..., Any],
                          worker: Worker) -> None:
    """The master then calls the hook. Its managers are those that later
    workers inherit."""
    manager = make_manager()
    make_server(client_manager=manager)
    manager.start()
    worker.pid += 1
    gunicorn.worker_exit(None, worker)
    assert manager.health()['connected']
    assert not manager._lifecycle.turns_away


@pytest.mark.parametrize('name', ['redis', 'ssl', 'socketio', 'engineio'])
def test_configuration_imports_little_else(name: str) -> None:
    """gunicorn reads its configuration before a worker is patched."""
    subprocess.run([sys.executable, '-c', (
        'import sys\n'
        'before = set(sys.modules)\n'
        'import redis_streams_adapter.gunicorn\n'
        f'sys.exit({name!r} in set(sys.modules) - before)')], check=True)
