"""Messages are written to the streams of their namespaces."""
import threading
import time
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter import composition
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.messages import MessageType
from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.runtime import streams
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE, wait_until
from ..driving import CountingEngine
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
    manager = make_manager(publish='background')
    stream.freeze()
    for _ in range(1024):
        manager.emit('hello', None)
    assert engine.pauses == 4


@pytest.mark.parametrize('limit', [
    {'outbox_limit': 10}, {'outbox_max_bytes': 7000}])
def test_emits_wait_while_the_outbox_is_crowded(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch, limit: Any) -> None:
    monkeypatch.setattr(streams, 'CROWD_PATIENCE', DEADLINE)
    manager = make_manager(**limit)
    manager.start()
    assert manager.flush(DEADLINE)
    stream.freeze()
    emitted: List[int] = []

    def emit() -> None:
        for number in range(50):
            manager.emit('hello', None)
            emitted.append(number)

    emits = threading.Thread(target=emit)
    emits.start()
    wait_until(lambda: len(emitted) >= 4)
    emits.join(0.05)
    assert emits.is_alive() and len(emitted) < 8
    stream.thaw()
    emits.join(DEADLINE)
    assert not emits.is_alive()
    assert manager.flush(DEADLINE)
    assert len(messages(stream, MessageType.BROADCAST)) == 50


def test_no_emit_waits_while_redis_is_away(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, 'CROWD_PATIENCE', DEADLINE)
    manager = make_manager(outbox_limit=4)
    manager.start()
    # The first heartbeats take no room from then on.
    assert manager.flush(DEADLINE)
    stream.go_away()
    wait_until(lambda: manager.health()['status'] != 'ok')
    begun = time.monotonic()
    for _ in range(4):
        manager.emit('hello', None)
    with pytest.raises(OutboxFullError):
        manager.emit('hello', None)
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize('options', [
    {'outbox_limit': 6}, {'publish': 'sync'}])
def test_no_task_of_the_manager_waits_for_its_emit(
        make_manager: MakeManager, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch, options: Any) -> None:
    """A log handler may emit on the writer's task, which would wait for
    itself."""
    monkeypatch.setattr(streams, 'CROWD_PATIENCE', DEADLINE)
    manager = make_manager(**options)
    manager.start()
    assert manager.flush(DEADLINE)
    stream.freeze()
    emitted = threading.Event()

    def work(task: Task) -> None:
        for _ in range(5):
            manager.emit('hello', None)
        emitted.set()
        task.rest(DEADLINE)

    manager._live().tasks.start('of the manager', work)
    assert emitted.wait(PATIENCE / 2)
    stream.thaw()
    assert manager.flush(DEADLINE)
    assert len(messages(stream, MessageType.BROADCAST)) == 5


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
