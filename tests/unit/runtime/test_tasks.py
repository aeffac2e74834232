"""The tasks of a process, from its start to its end."""
import threading
import time
from types import SimpleNamespace
from typing import Any, List

import pytest

from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.runtime.tasks import Part, State, Tasks

from ...support.wait import DEADLINE, wait_until


class World:
    """The tasks of a process, over threads that end with the test."""

    def __init__(self, logger: Any) -> None:
        self.state = State()
        self.engine = ThreadEngine()
        self.redis = Availability('Redis', logger, str)
        self.tasks = Tasks(self.engine, logger, self.state, self.redis)
        #: The task of each call of :meth:`work`.
        self.begun: List[Task] = []
        self.goes_on = threading.Event()

    def work(self, task: Task) -> None:
        self.begun.append(task)
        while not task.stopping:
            task.rest(DEADLINE)

    def end(self) -> None:
        for task in self.tasks.by_name.values():
            task.stop()
            assert not task.begun or task.join(DEADLINE)


@pytest.fixture
def world(logger: Any) -> Any:
    world = World(logger)
    yield world
    world.end()


def test_task_is_started_once(world: World) -> None:
    first = world.tasks.start('a', world.work)
    assert world.tasks.start('a', world.work) is first
    assert list(world.tasks.by_name.values()) == [first]
    wait_until(lambda: world.begun)
    assert world.begun == [first]


def test_ended_task_frees_its_name(world: World) -> None:
    first = world.tasks.start('a', world.work)
    wait_until(lambda: world.begun)
    world.tasks.end(['a', 'unknown'])
    second = world.tasks.start('a', world.work)
    assert first is not None and first.join(DEADLINE)
    assert second is not first
    wait_until(lambda: world.begun == [first, second])


def test_parts_of_the_deliveries(world: World) -> None:
    """That which connects reports outages of its own. All try again when one
    of the streams is over."""
    _, sessions = world.tasks.others
    for part in Part('store', world.work, True), Part('writer', world.work):
        world.tasks.start_part(part)
    assert world.redis.ok and not sessions.ok
    world.tasks.by_name['store'].works()
    world.tasks.by_name['writer'].works()
    assert sessions.ok
    sessions.down('store', 'refused')
    assert world.redis.ok
    assert {'store', 'writer'} <= set(world.redis._watchers)


def test_ended_process_starts_no_task(world: World) -> None:
    world.state.ended = True
    assert world.tasks.start('a', world.work) is None
    writer: Any = SimpleNamespace(work=world.work)
    assert not world.tasks.start_writer('s', writer)
    world.tasks.start_pubsub('listener', world.work, True)
    world.tasks.start_again()
    assert not world.tasks.by_name


def test_task_struck_before_start_is_started_again(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    writer: Any = SimpleNamespace(work=world.work)
    with monkeypatch.context() as patch:
        patch.setattr(world.engine, 'start',
                      lambda loop: SimpleNamespace(dead=True))
        assert not world.tasks.start_writer('s', writer)
    world.tasks.start_again()
    wait_until(lambda: world.begun)
    assert world.tasks.start_writer('s', writer)
    assert list(world.tasks.by_name) == ['writer of s']


def test_only_needed_pubsub_task_reports_outage(world: World) -> None:
    pubsub, sessions = world.tasks.others
    world.tasks.start_pubsub('publisher', world.work, False)
    assert pubsub.ok
    world.tasks.start_pubsub('listener', world.work, True)
    assert not pubsub.ok and sessions.ok and world.redis.ok


def test_no_task_waits_for_itself(world: World) -> None:
    """Its reader handles the answers."""
    raised: List[str] = []

    def work(task: Task) -> None:
        with pytest.raises(RuntimeError) as info:
            world.tasks.refuse_on_own_task()
        raised.append(str(info.value))
        world.work(task)

    world.tasks.start('reader', work)
    wait_until(lambda: raised)
    assert 'must not be made on a task of the manager' in raised[0]
    world.tasks.refuse_on_own_task()


def test_time_of_first_client_is_known() -> None:
    state, before = State(), time.monotonic()
    state.may_have_clients()
    since = state.clients_since()
    assert before <= since <= time.monotonic()
    state.may_have_clients()
    assert state.clients_since() == since
