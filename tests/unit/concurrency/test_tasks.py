"""The supervised loop, its pauses, and the caller's task."""
import importlib.util
import logging
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Optional

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.concurrency import tasks
from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import BACKOFF_CAP, \
    BACKOFF_CAP_LATER, BACKOFF_FIRST, BACKOFF_PATIENCE, compute_backoff, Task
from redis_streams_adapter.protocol.transport import Unavailable

from ...conftest import skip_or_fail
from ...support.wait import DEADLINE, wait_until

Logged = Callable[[int], List[str]]
Logger = Callable[[], logging.Logger]


# -- pauses ------------------------------------------------------------------

def test_first_failure_is_retried_at_once() -> None:
    assert compute_backoff(1, 0.0) == 0.0
    assert compute_backoff(1, 1e6) == 0.0


def test_pauses_double() -> None:
    pauses = [compute_backoff(attempt, 0.0, lambda: 1.0)
              for attempt in range(2, 7)]
    assert pauses == [BACKOFF_FIRST * 2 ** power for power in range(5)]


def test_pauses_are_longer_later() -> None:
    def longest(elapsed: float) -> float:
        return compute_backoff(1000, elapsed, lambda: 1.0)

    assert longest(0.0) == longest(BACKOFF_PATIENCE - 1) == BACKOFF_CAP
    assert longest(BACKOFF_PATIENCE) == longest(1e9) == BACKOFF_CAP_LATER


@given(st.integers(2, 10**12), st.floats(0, 1e12),
       st.floats(0, 1, exclude_max=True))
def test_bounds(attempt: int, elapsed: float, chance: float) -> None:
    pause = compute_backoff(attempt, elapsed, lambda: chance)
    cap = BACKOFF_CAP if elapsed < BACKOFF_PATIENCE else BACKOFF_CAP_LATER
    assert BACKOFF_FIRST / 2 <= pause <= cap
    # Half of it is random.
    assert pause >= compute_backoff(attempt, elapsed, lambda: 1.0) / 2


def test_nodes_do_not_reconnect_together() -> None:
    assert len({compute_backoff(5, 0.0) for _ in range(20)}) > 1


# -- the loop ----------------------------------------------------------------

class Rounds:
    """A task's work that fails as planned, then waits for its end.

    :param troubles: the exception of each round; ``None``: it reports success
                     first.
    """

    def __init__(self, *troubles: Any) -> None:
        self.troubles = list(troubles)
        self.done = 0
        self.at_rest = threading.Event()

    def __call__(self, task: Task) -> None:
        self.done += 1
        while self.troubles:
            trouble = self.troubles.pop(0)
            if trouble is not None:
                raise trouble
            task.works()
        task.works()
        self.at_rest.set()
        while not task.stopping:
            task.rest(DEADLINE)


@pytest.fixture
def start(logger: Logger) -> Iterator[Callable[..., Task]]:
    """Starts a task; stops it at the end."""
    started: List[Task] = []

    def start_task(work: Any,
                   availability: Optional[Availability] = None) -> Task:
        task = Task('worker', work, ThreadEngine(), availability, logger)
        started.append(task)
        task.start()
        return task

    yield start_task
    for task in started:
        task.stop()
        assert task.join(DEADLINE)


def test_task_runs_until_it_is_stopped(start: Callable[..., Task]) -> None:
    work = Rounds()
    task = start(work)
    assert work.at_rest.wait(DEADLINE)
    assert not task.join(0.0)
    task.stop()
    assert task.join(DEADLINE)
    assert work.done == 1
    assert task.restarts == 0


@pytest.mark.parametrize('trouble', [
    Unavailable('gone'), OSError('broken'), ValueError('a defect'),
    RecursionError(), MemoryError(), KeyError('x'), StopIteration(),
    AssertionError()], ids=lambda trouble: type(trouble).__name__)
def test_no_exception_ends_the_task(start: Callable[..., Task],
                                    trouble: Exception) -> None:
    work = Rounds(trouble, None, trouble, None, trouble)
    task = start(work)
    assert work.at_rest.wait(DEADLINE)
    assert work.done == 4
    assert task.restarts == 3


def test_pause_that_an_error_names(start: Callable[..., Task],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks that need a server try again together."""
    monkeypatch.setattr(tasks, 'compute_backoff', lambda *_: DEADLINE * 10)
    work = Rounds(*[Unavailable('full', pause=0.001)] * 5)
    start(work)
    assert work.at_rest.wait(DEADLINE)


#: An exception that ends a thread is reported.
ENDS = 'ignore::pytest.PytestUnhandledThreadExceptionWarning'


class Fatal(BaseException):
    """As eventlet's ``Timeout``: it is no ``Exception``."""


@pytest.mark.parametrize('trouble', [
    SystemExit(), SystemExit(1), KeyboardInterrupt(), GeneratorExit(),
    Fatal()], ids=repr)
@pytest.mark.filterwarnings(ENDS)
def test_another_task_takes_over_from_one_that_ends(
        start: Callable[..., Task], logger: Logger, logged: Logged,
        trouble: BaseException) -> None:
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    work = Rounds(trouble, None, trouble)
    task = start(work, availability)
    assert work.at_rest.wait(DEADLINE)
    assert (task.deaths, task.restarts, task.dead) == (2, 2, False)
    assert availability.ok
    assert [repr(trouble) in line and 'worker' in line
            for line in logged(logging.ERROR)] == [True, True]


@pytest.mark.filterwarnings(ENDS)
def test_task_that_ends_at_its_stop_is_not_started_again(
        start: Callable[..., Task], logged: Logged) -> None:
    def work(task: Task) -> None:
        task.stop()
        raise SystemExit

    task = start(work)
    wait_until(lambda: task.stopping)
    task._ended.set()
    assert (task.deaths, task.dead, logged(logging.ERROR)) == (0, False, [])


def test_end_is_seen_if_no_other_task_can_be_started(
        logger: Logger) -> None:
    class Engine(ThreadEngine):
        def start(self, loop: Callable[[], Any]) -> Any:
            if task.deaths:
                raise RuntimeError("can't start new thread")
            return super().start(loop)

    def work(task: Task) -> None:
        raise SystemExit

    engine = Engine()
    task = Task('worker', work, engine, None, logger)
    assert not task.dead
    try:
        loop, task._run = task._run, lambda: None  # type: ignore[assignment]
        task.start()
        with pytest.raises(RuntimeError):
            loop()
        assert task.dead
        task._work, task._run = Rounds(), loop  # type: ignore[assignment]
        engine.start = super(Engine, engine).start  # type: ignore
        # As the heartbeat's task does.
        task.start()
        wait_until(lambda: task.begun)
        assert not task.dead
    finally:
        task.stop()


@pytest.mark.filterwarnings(ENDS)
def test_pauses_of_a_task_that_ends_again_and_again(
        logger: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: List[int] = []
    monkeypatch.setattr(tasks, 'BACKOFF_FIRST', 0.0)
    monkeypatch.setattr(tasks, 'compute_backoff',
                        lambda count, _: asked.append(count) or 0.0)
    work = Rounds(*[SystemExit()] * 3, None, SystemExit(), SystemExit())
    task = Task('worker', work, ThreadEngine(), None, logger)
    task.start()
    assert work.at_rest.wait(DEADLINE)
    task.stop()
    assert task.join(DEADLINE)
    assert asked == [1, 2, 3, 1, 2]


def test_defect_is_logged_with_its_traceback(
        start: Callable[..., Task], caplog: pytest.LogCaptureFixture) -> None:
    work = Rounds(ValueError('a defect'))
    start(work)
    assert work.at_rest.wait(DEADLINE)
    record, = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert 'worker' in record.getMessage()


def test_repeated_defect_is_logged_once(start: Callable[..., Task],
                                        logged: Logged) -> None:
    work = Rounds(*[ValueError('a defect')] * 4)
    start(work)
    assert work.at_rest.wait(DEADLINE)
    assert work.done == 5
    assert len(logged(logging.ERROR)) == 1


@pytest.mark.parametrize('failure', [Unavailable('away'), ValueError('x')])
def test_failing_log_does_not_end_the_task(
        failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An application's handler may emit the record, and an outbox may be
    full."""
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError('the outbox is full')

    broken = logging.Logger('broken')
    broken.addHandler(Broken())
    availability = Availability(
        'Redis', lambda: broken, lambda: '7 messages wait')
    rounds: List[int] = []

    def work(task: Task) -> None:
        rounds.append(1)
        if len(rounds) < 4:
            raise failure
        task.works()
        task.stop()

    task = Task('writer', work, ThreadEngine(), availability, lambda: broken)
    task.start()
    assert task.join(DEADLINE)
    assert len(rounds) == 4
    assert availability.ok


def test_outage_is_no_defect(start: Callable[..., Task], logger: Logger,
                             logged: Logged) -> None:
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    work = Rounds(*[Unavailable('gone')] * 4)
    start(work, availability)
    assert work.at_rest.wait(DEADLINE)
    assert logged(logging.ERROR) == []
    assert [line.split()[1] for line in logged(logging.WARNING)] == [
        'cannot', 'is']
    assert availability.ok
    assert availability.outages == 1


def test_single_break_is_no_outage(start: Callable[..., Task], logger: Logger,
                                   logged: Logged) -> None:
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    work = Rounds(None, Unavailable('killed'), None, Unavailable('killed'))
    start(work, availability)
    assert work.at_rest.wait(DEADLINE)
    assert logged(logging.WARNING) == []
    assert availability.ok
    assert availability.outages == 0


@pytest.mark.parametrize('troubles', [[], [Unavailable('gone')]],
                         ids=['works', 'fails'])
def test_availability_is_known_soon(start: Callable[..., Task],
                                    troubles: Any) -> None:
    task = start(Rounds(*troubles))
    assert task.tried.wait(DEADLINE)


@pytest.fixture
def endless_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wake-up ends a task's pause."""
    monkeypatch.setattr(tasks, 'compute_backoff', lambda *_: 3600.0)


@pytest.mark.usefixtures('endless_pauses')
def test_pause_ends_when_another_part_succeeds(start: Callable[..., Task],
                                               logger: Logger) -> None:
    """Otherwise each of them would wait out its pause after an outage."""
    availability = Availability('Redis', logger, lambda: '7 messages wait')
    availability.add('other', lambda: None)
    work = Rounds(*[Unavailable('gone')] * 4)
    task = start(work, availability)
    for failures in range(1, 5):
        wait_until(lambda: task.restarts == failures)
        availability.broken('other', 'gone')
        availability.up('other')
    assert work.at_rest.wait(DEADLINE)


@pytest.mark.usefixtures('endless_pauses')
def test_task_can_be_stopped_in_a_pause(start: Callable[..., Task]) -> None:
    work = Rounds(Unavailable('gone'))
    task = start(work)
    wait_until(lambda: task.restarts)
    task.stop()
    assert task.join(DEADLINE)
    assert not work.at_rest.is_set()


def test_exceptions_after_the_stop_are_ignored(start: Callable[..., Task],
                                               logged: Logged) -> None:
    """An interrupted connection may fail in any way."""
    ready = threading.Event()

    def work(task: Task) -> None:
        ready.set()
        while not task.stopping:
            task.rest(DEADLINE)
        raise ValueError('I/O operation on closed file')

    task = start(work)
    assert ready.wait(DEADLINE)
    task.stop()
    assert task.join(DEADLINE)
    assert logged(logging.ERROR) == []
    assert task.restarts == 0


def test_task_in_a_child_process(logger: Logger) -> None:
    """Threads are not copied by a fork."""
    task = Task('worker', lambda task: None, ThreadEngine(), None, logger)
    task.abandon()
    task = Task('worker', lambda task: task.rest(DEADLINE), ThreadEngine(),
                None, logger)
    task.start()
    task.abandon()
    assert task.stopping
    task.stop()


#: Green threads are copied. Those of gevent are killed, but not at once:
#: this runs within the fork.
GREEN = '''
import sys
if sys.argv[1] == 'gevent':
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()
import logging
import os
import socketio
from redis_streams_adapter.concurrency.engines import ServerEngine
from redis_streams_adapter.concurrency.tasks import Task

engine = ServerEngine(socketio.Server(async_mode=sys.argv[1]))
begun, struck = [], []


def work(task):
    begun.append(os.getpid())
    try:
        task.rest(60)
    except BaseException:
        struck.append(os.getpid())
        raise


task = Task('worker', work, engine, None, logging.getLogger)
task.start()
engine.switch()
assert begun == [os.getpid()]
child = os.fork()
if not child:
    task.abandon()
    assert task.stopping and not struck
    if sys.argv[1] == 'gevent':
        engine.switch()
        assert struck == [os.getpid()]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert not task.stopping
task.stop()
assert task.join(20)
'''


@pytest.mark.parametrize('library', ['gevent', 'eventlet'])
def test_green_task_in_a_child_process(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        skip_or_fail(f'{library} is not installed')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', GREEN, library],
                   check=True, timeout=60)


# -- the current task --------------------------------------------------------

class CurrentTask:
    """A task's work that repeatedly checks whether it runs in that task."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers: List[bool] = []

    def __call__(self, task: Task) -> None:
        while not task.stopping:
            if not self.asked.is_set():
                self.answers.append(task.is_current())
                self.asked.set()
            task.rest(0.001)


def test_caller_in_the_task_is_recognised(start: Callable[..., Task],
                                          logger: Logger) -> None:
    work = CurrentTask()
    other = start(Rounds())
    task = start(work)
    assert work.asked.wait(DEADLINE)
    assert work.answers == [True]
    assert not task.is_current()
    assert not other.is_current()
    assert not Task('idle', work, ThreadEngine(), None, logger).is_current()


def test_greenlet_imported_later(start: Callable[..., Task],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may import greenlet while threads run; its green threads
    are still recognised."""
    monkeypatch.delitem(sys.modules, 'greenlet', raising=False)
    work = CurrentTask()
    task = start(work)
    assert work.asked.wait(DEADLINE)
    monkeypatch.setitem(sys.modules, 'greenlet', SimpleNamespace(
        getcurrent=threading.current_thread))
    work.asked.clear()
    assert work.asked.wait(DEADLINE)
    assert work.answers == [True, True]
    assert not task.is_current()


def test_green_threads_of_one_thread(logger: Logger) -> None:
    """If only sockets are monkey patched, all have one thread's id."""
    greenlet = pytest.importorskip('greenlet')
    answers: List[bool] = []

    class Engine(ThreadEngine):
        def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
            green = greenlet.greenlet(work)
            green.switch(*args)
            return green

    def work(task: Task) -> None:
        answers.append(task.is_current())
        greenlet.getcurrent().parent.switch()
        answers.append(task.is_current())

    task = Task('worker', work, Engine(), None, logger)
    task.start()
    assert not task.is_current()
    task.stop()
    task._handle.switch()
    assert task.join(DEADLINE)
    assert answers == [True, True]
    assert not task.is_current()


def test_later_defect_is_logged(start: Callable[..., Task], logger: Logger,
                                caplog: pytest.LogCaptureFixture) -> None:
    """Each error once, also if it follows a connection that broke."""
    errors = [Unavailable('gone'), TypeError('a'), TypeError('a'),
              ValueError('b'), TypeError('a')]
    done = threading.Event()

    def work(task: Task) -> None:
        task.hurry()
        if errors:
            raise errors.pop(0)
        done.set()
        task.rest(DEADLINE)

    start(work, Availability('Redis', logger, lambda: '7 messages wait'))
    assert done.wait(DEADLINE)
    assert [record.reason for record in caplog.records
            if getattr(record, 'event', '') == 'task_failed'] == [
        'TypeError: a', 'ValueError: b']
