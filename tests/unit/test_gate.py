"""So many at a time, in the order in which they came."""
import threading
import time
from typing import Any, List

import pytest

from redis_streams_adapter.gate import Gate

from ..support.wait import wait_until

FOREVER = 10.0


def test_limit() -> None:
    gate = Gate(2, threading.Event)
    assert gate.enter(FOREVER) and gate.enter(FOREVER)
    assert not gate.enter(0.01)
    gate.leave()
    assert gate.enter(FOREVER)
    assert not gate.enter(0.01)


def test_in_the_order_in_which_they_came() -> None:
    events: List[threading.Event] = []

    def make_event() -> threading.Event:
        events.append(threading.Event())
        return events[-1]

    gate, entered = Gate(1, make_event), []  # type: Any
    assert gate.enter(FOREVER)

    def come(number: int) -> None:
        assert gate.enter(FOREVER)
        entered.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        wait_until(lambda: len(events) == number + 1)
    for count in range(1, 6):
        gate.leave()
        wait_until(lambda: len(entered) == count)
    for thread in threads:
        thread.join()
    assert entered == list(range(5))


def test_who_has_waited_in_vain_takes_nobodys_place() -> None:
    gate = Gate(1, threading.Event)
    assert gate.enter(FOREVER)
    assert not gate.enter(0.0)
    gate.leave()
    assert gate.enter(FOREVER)
    assert not gate.enter(0.0)


def test_called_as_patience_ends() -> None:
    """Whoever was called in the last moment has the place, and leaves it."""
    class Late(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            gate.leave()
            return False

    gate = Gate(1, Late)
    assert gate.enter(FOREVER)
    assert gate.enter(0.0)
    gate.leave()
    assert gate.enter(FOREVER)


def test_many() -> None:
    """Never more than the limit, and all get through."""
    gate, inside, most, through = Gate(3, threading.Event), [0], [0], []
    lock = threading.Lock()

    def come() -> None:
        for _ in range(50):
            assert gate.enter(FOREVER)
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0)
            with lock:
                inside[0] -= 1
                through.append(1)
            gate.leave()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 400
    assert most[0] <= 3


@pytest.mark.parametrize('called', [False, True])
def test_who_is_struck_while_waiting(called: bool) -> None:
    """By a timeout of gevent's, say, and maybe just when it was called: the
    next one gets the place."""
    class Struck(BaseException):
        pass

    class Event(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            if called:
                gate.leave()
            raise Struck

    gate = Gate(1, Event)
    assert gate.enter(FOREVER)
    with pytest.raises(Struck):
        gate.enter(None)
    if not called:
        gate.leave()
    assert gate.enter(FOREVER)
