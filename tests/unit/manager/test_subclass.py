"""An application's subclass of the manager: what ends a process, or starts a
worker, calls the methods that the application has written."""
from typing import Any, Callable, List, Tuple

import pytest

from redis_streams_adapter import gunicorn, RedisStreamsManager, shutdown
from redis_streams_adapter.runtime import lifecycle
from redis_streams_adapter.testing.stream import FakeStream

from ..conftest import NOWHERE
from ..fake_server import make_server

GOODBYE = b'13'

#: What the subclass has for a default.
OWN_TIMEOUT = 4.0


class Mine(RedisStreamsManager):
    """Notes the calls, and executes them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.calls: List[Tuple[Any, ...]] = []
        super().__init__(*args, **kwargs)

    def start(self) -> None:
        self.calls.append(('start',))
        super().start()

    def close(self, timeout: float = OWN_TIMEOUT) -> None:
        self.calls.append(('close', timeout))
        super().close(timeout)


@pytest.fixture
def manager(make_manager: Callable[..., Any],
            managers: List[RedisStreamsManager]) -> Mine:
    """One with a server; over the streams of ``make_manager``."""
    mine = Mine(NOWHERE)
    managers.append(mine)
    make_server(client_manager=mine, monitor_clients=False)
    return mine


def is_gone(stream: FakeStream) -> bool:
    return stream.connections == 0 \
        and stream.history[-1].fields[5] == GOODBYE


def test_exit_calls_close_of_subclass(manager: Mine,
                                      stream: FakeStream) -> None:
    manager.start()
    lifecycle._close_all()
    assert manager.calls == [('start',), ('close', OWN_TIMEOUT)]
    assert is_gone(stream)


def test_shutdown_calls_close_of_subclass(manager: Mine,
                                          stream: FakeStream) -> None:
    manager.start()
    shutdown.close([manager._lifecycle], 1.5)
    assert manager.calls == [('start',), ('close', 1.5)]
    assert is_gone(stream)


def test_gunicorn_hooks_call_methods_of_subclass(
        manager: Mine, stream: FakeStream) -> None:
    gunicorn.post_worker_init(worker=None)
    assert manager.calls == [('start',)]
    gunicorn.worker_exit(server=None, worker=None)
    assert manager.calls == [('start',), ('close', gunicorn.CLOSE_TIMEOUT)]
    assert is_gone(stream)


def test_start_after_struck_close_calls_close_again(
        manager: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's ``close()`` is called once more."""
    manager.start()
    runtime = manager._live()

    def strike(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runtime, '_leave', strike)
        with pytest.raises(KeyboardInterrupt):
            manager.close()
    assert runtime.half_closed
    manager.start()
    assert [name for name, *_ in manager.calls] == [
        'start', 'close', 'start', 'close']
