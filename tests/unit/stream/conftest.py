"""A reader and a writer of the fake stream, and tasks of the fake PUB/SUB."""
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter.stream import reader as reader_module
from redis_streams_adapter.stream.outbox import Capacity
from redis_streams_adapter.stream.writer import Writer
from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.testing.pubsub import FakePubSub
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import DEADLINE
from ..readings import BLOCK, Clock, Readings
from .writers import Logger, Make, unexpected


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens a reader's wait after a failure."""
    monkeypatch.setattr(reader_module, 'PROBE', BLOCK)


@pytest.fixture
def readings(stream: FakeStream) -> Readings:
    """A reader of the stream."""
    return Readings(stream)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The reader's clock."""
    clock = Clock()
    monkeypatch.setattr(reader_module, 'time', clock)
    return clock


@pytest.fixture
def make_writer(stream: FakeStream, logger: Logger) -> Make:
    """Makes a writer for the stream."""
    def make(limit: int = 10_000, max_bytes: int = 1 << 30,
             patience: float = DEADLINE,
             vanished: Callable[[int], None] = unexpected,
             **options: Any) -> Writer:
        return Writer(stream.link, ThreadEngine(), logger,
                      capacity=Capacity(limit, max_bytes),
                      patience=patience, vanished=vanished, **options)

    return make


@pytest.fixture
def writer(make_writer: Make) -> Writer:
    return make_writer()


@pytest.fixture
def start_writer(logger: Logger, writer: Writer) -> Any:
    """Starts the writer's task, and ends it after the test."""
    task = Task('writer', writer.work, ThreadEngine(), None, logger)
    yield task.start
    task.stop()
    writer.interrupt()
    assert task.join(DEADLINE)


@pytest.fixture
def server() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def condition(logger: Logger) -> Availability:
    return Availability('PUB/SUB', logger, str)


@pytest.fixture
def run(logger: Logger, condition: Availability
        ) -> Iterator[Callable[..., Task]]:
    """Runs the task of a listener or a publisher, and ends it after the
    test."""
    running: List[Any] = []

    def start(part: Any) -> Task:
        task = Task(f'task {len(running)}', part.work, ThreadEngine(),
                    condition, logger)
        running.append((task, part))
        task.start()
        return task

    yield start
    for task, part in running:
        task.stop()
        part.interrupt()
        assert task.join(DEADLINE)
