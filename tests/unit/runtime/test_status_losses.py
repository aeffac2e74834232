"""Losses are counted, logged, and reported to the application."""
import logging
import math
import threading
from typing import Any, Callable, List

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.losses import DELETED, Loss, LOSS_INTERVAL, MISSING
from redis_streams_adapter.runtime.status import LossReport

from ...support.wait import DEADLINE, wait_until

Logger = Callable[[], logging.Logger]
Logged = Callable[[int], List[str]]

LOSS = Loss(MISSING, 'chat', 3, 'x')


def test_losses_are_counted_and_logged(logger: Logger, logged: Logged) -> None:
    report = LossReport(ThreadEngine(), logger, None)
    report(LOSS)
    report(Loss(DELETED, 'chat'))
    assert report.counts['messages_lost'] == 3
    assert report.counts['streams_deleted'] == 1
    assert len(logged(logging.ERROR)) == 2
    # A copy: the caller may change it.
    report.counts.clear()
    assert report.counts['messages_lost'] == 3


def test_many_losses_are_logged_in_few_lines(
        logger: Logger, logged: Logged) -> None:
    report = LossReport(ThreadEngine(), logger, None)
    for _ in range(100):
        report(LOSS)
    assert len(logged(logging.ERROR)) == 1
    report.log_more(-LOSS_INTERVAL)
    assert len(logged(logging.ERROR)) == 1
    report.log_more(math.inf)
    assert '300 in all' in logged(logging.ERROR)[-1]
    report.log_more(math.inf)
    assert len(logged(logging.ERROR)) == 2


def test_on_loss_runs_in_separate_task(logger: Logger) -> None:
    """It is the application's code, and may block."""
    called = threading.Event()
    calls: List[Any] = []

    def on_loss(loss: Loss) -> None:
        calls.append((loss, threading.current_thread()))
        called.set()

    LossReport(ThreadEngine(), logger, on_loss)(LOSS)
    assert called.wait(DEADLINE)
    (loss, thread), = calls
    assert loss == LOSS
    assert thread is not threading.current_thread()


def test_failing_on_loss_is_logged(logger: Logger, logged: Logged) -> None:
    """It is logged, and called again for the next loss."""
    calls: List[Loss] = []

    def on_loss(loss: Loss) -> None:
        calls.append(loss)
        raise RuntimeError('a defect')

    report = LossReport(ThreadEngine(), logger, on_loss)
    for count in (1, 2):
        report(LOSS)
        wait_until(lambda: logged(logging.ERROR).count(
            'on_loss failed') == count)
    assert calls == [LOSS, LOSS]


def test_nothing_is_logged_under_the_lock(caplog: Any,
                                          logger: Logger) -> None:
    """A log handler of the application may ask for the counters."""
    report = LossReport(ThreadEngine(), logger, None)
    counts: List[int] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # Another thread, since the lock is reentrant.
            thread = threading.Thread(target=lambda: counts.append(
                report.counts['messages_lost']))
            thread.start()
            thread.join(DEADLINE)

    handler = Handler()
    logger().addHandler(handler)
    try:
        report(LOSS)
    finally:
        logger().removeHandler(handler)
    assert counts == [3]
