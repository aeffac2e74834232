"""A limited number of tasks at a time, first come first served."""
import threading
import time
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.concurrency.limiter import Limiter, Slot

from ...support.wait import wait_until

FOREVER = 10.0


def acquire(limiter: Limiter, timeout: float = FOREVER) -> Optional[Slot]:
    """Acquire a slot.

    :return: ``None`` if there was none. The slot is not released.
    """
    slot = limiter.slot()
    return slot if slot.acquire(timeout) else None


def test_limit() -> None:
    limiter = Limiter(2, threading.Event)
    first, second = acquire(limiter), acquire(limiter)
    assert first and second
    assert not acquire(limiter, 0.01)
    first.release()
    assert acquire(limiter)
    assert not acquire(limiter, 0.01)


def test_first_come_first_served() -> None:
    limiter, entered = Limiter(1, threading.Event), []  # type: Any
    slot = acquire(limiter)
    assert slot
    slots = [slot]

    def come(number: int) -> None:
        slot = acquire(limiter)
        assert slot
        slots.append(slot)
        entered.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        wait_until(lambda: len(limiter.queue) == number + 2)
    for count in range(1, 6):
        slots[-1].release()
        wait_until(lambda: len(entered) == count)
    for thread in threads:
        thread.join()
    assert entered == list(range(5))


def test_task_that_gives_up_frees_no_slot() -> None:
    limiter = Limiter(1, threading.Event)
    slot = acquire(limiter)
    assert slot
    assert not acquire(limiter, 0.0)
    slot.release()
    slot.release()
    assert acquire(limiter)
    assert not acquire(limiter, 0.0)


def test_slot_freed_at_the_timeout() -> None:
    """The task has it, and releases it."""
    slots: List[Slot] = []

    class Late(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            slots.pop().release()
            return False

    limiter = Limiter(1, Late)
    for _ in range(3):
        slot = acquire(limiter, 0.0)
        assert slot
        slots.append(slot)
    assert len(limiter.queue) == 1


def test_task_struck_while_it_waits_holds_no_slot() -> None:
    """``gevent.Timeout`` is raised while a task waits."""
    class Impatient(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            raise KeyboardInterrupt

    limiter = Limiter(1, Impatient)
    first, second = acquire(limiter), limiter.slot()
    assert first
    try:
        with pytest.raises(KeyboardInterrupt):
            second.acquire(FOREVER)
    finally:
        second.release()
    first.release()
    assert acquire(limiter)
    assert len(limiter.queue) == 1


def test_many_tasks() -> None:
    """Never more than the limit, and every task gets a slot."""
    limiter, inside, most, through = Limiter(3, threading.Event), [0], [0], []
    lock = threading.Lock()

    def come() -> None:
        for _ in range(50):
            slot = acquire(limiter)
            assert slot
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            # Let the other threads run within the limit.
            time.sleep(0)
            with lock:
                inside[0] -= 1
                through.append(1)
            slot.release()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 400
    assert most[0] <= 3
    assert not limiter.queue
