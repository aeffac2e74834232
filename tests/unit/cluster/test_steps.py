"""Long work, in small steps."""
import logging
from typing import Callable, Iterator, List

import pytest

from redis_streams_adapter.cluster import steps as module
from redis_streams_adapter.cluster.steps import Steps
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task

from ...support.wait import DEADLINE, wait_for_value, wait_until


class Running:
    """Steps with their task."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self.steps = Steps(ThreadEngine())
        self.task = Task(
            'answers', self.steps.work, ThreadEngine(), None, logger)
        self.done: List[int] = []

    def count(self, *numbers: int) -> Iterator[bool]:
        for number in numbers:
            self.done.append(number)
            yield number % 2 == 0


@pytest.fixture
def running(logger: Callable[[], logging.Logger]) -> Iterator[Running]:
    running = Running(logger)
    yield running
    running.task.stop()
    running.steps.interrupt()
    assert not running.task.begun or running.task.join(DEADLINE)


def test_one_after_the_other(running: Running) -> None:
    running.steps.put(running.count(1, 2, 3))
    running.steps.put(running.count(4, 5))
    assert not running.steps.idle
    running.task.start()
    wait_until(lambda: running.steps.idle)
    assert running.done == [1, 2, 3, 4, 5]
    running.steps.put(running.count(6))
    wait_for_value(lambda: running.done[-1], 6)


def test_error_ends_one_piece_of_work(running: Running) -> None:
    def fail() -> Iterator[bool]:
        yield False
        raise ValueError('on purpose')

    running.steps.put(fail())
    running.steps.put(running.count(1))
    running.task.start()
    wait_for_value(lambda: running.done, [1])
    wait_until(lambda: running.steps.idle)


def test_too_much_work_is_dropped(running: Running,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'MAX_WAITING', 2)
    for number in range(3):
        running.steps.put(running.count(number))
    assert running.steps.dropped == 1
    running.task.start()
    wait_for_value(lambda: running.done, [0, 1])


def test_work_ends_with_the_task(running: Running) -> None:
    def forever() -> Iterator[bool]:
        while True:
            self_.done.append(1)
            yield True

    self_ = running
    running.steps.put(forever())
    running.task.start()
    wait_until(lambda: running.done)
