"""Messages are written to the streams of their namespaces."""
import time
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter import composition
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.protocol.messages import MessageType
from redis_streams_adapter.runtime import streams

from ...support.wait import DEADLINE
from ..driving import CountingEngine
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import messages

MakeManager = Callable[..., RedisStreamsManager]

#: How long a synchronous emit waits for Redis at most, in seconds.
PATIENCE = 5.0


@pytest.mark.parametrize('count', [1, 3])
def test_namespace_has_one_stream(make_manager: MakeManager,
                                  count: int) -> None:
    runtime = make_manager(stream_count=count)._live()
    for namespace in '/', '/chat', '/a', '/b':
        channel = runtime.channel(namespace)
        assert [each for each in runtime.channels
                if each.carried([namespace])] == [channel]
        assert runtime.channel(namespace) is channel
        assert runtime.delivery(namespace) is channel.delivery
        assert runtime.stream(namespace) == channel.key


def test_unused_names_take_no_memory(make_manager: MakeManager,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """A task can emit to any name."""
    monkeypatch.setattr(streams, 'MAX_ROUTES', 2)
    manager = make_manager(stream_count=3)
    for number in range(5):
        manager.emit('hello', None, f'/{number}')
    runtime = manager._live()
    assert len(runtime.streams._routes) == 2


def test_other_tasks_run_during_many_emits(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Under gevent nothing would be sent before the loop is over."""
    engine = CountingEngine()
    monkeypatch.setattr(composition, 'ThreadEngine', lambda: engine)
    manager = make_manager()
    stream.freeze()
    for _ in range(1024):
        manager.emit('hello', None)
    assert engine.pauses == 4


def test_unstartable_task_is_started_later(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have as many threads as it is allowed."""
    class Engine(CountingEngine):
        spawned = 0

        def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
            self.spawned += 1
            if self.spawned == 1:
                raise RuntimeError("can't start new thread")
            return super().spawn(work, *args)

    monkeypatch.setattr(composition, 'ThreadEngine', Engine)
    manager = make_manager()
    with pytest.raises(RuntimeError, match='thread'):
        manager.emit('hello', 1)
    manager.emit('hello', 2)
    assert manager.flush(DEADLINE)
    # What was accepted is not lost.
    assert [each.args for each in messages(stream)] == [
        ('hello', 1), ('hello', 2)]


def test_struck_writer_of_sync_emit_is_started_again(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is started again at once, not with the next emit."""
    start = ThreadEngine.start
    struck = [SimpleNamespace(dead=True) for _ in range(3)]
    monkeypatch.setattr(
        ThreadEngine, 'start',
        lambda self, loop: struck.pop() if struck else start(self, loop))
    manager = make_manager(write_only=True)
    begun = time.monotonic()
    manager.emit('hello', None)
    assert time.monotonic() - begun < PATIENCE
    assert len(messages(stream, MessageType.BROADCAST)) == 1
