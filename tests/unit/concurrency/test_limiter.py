"""So many at a time, in the order in which they came."""
import threading
import time
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.concurrency.limiter import Gate, Turn

from ...support.wait import wait_until

FOREVER = 10.0


def enter(gate: Gate, patience: float = FOREVER) -> Optional[Turn]:
    """Take a turn.

    :return: ``None``: there was no place.
    """
    turn = gate.turn()
    return turn if turn.enter(patience) else None


def test_limit() -> None:
    gate = Gate(2, threading.Event)
    first, second = enter(gate), enter(gate)
    assert first and second
    assert not enter(gate, 0.01)
    first.leave()
    assert enter(gate)
    assert not enter(gate, 0.01)


def test_in_the_order_in_which_they_came() -> None:
    gate, entered = Gate(1, threading.Event), []  # type: Any
    turn = enter(gate)
    assert turn
    turns = [turn]

    def come(number: int) -> None:
        turn = enter(gate)
        assert turn
        turns.append(turn)
        entered.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        wait_until(lambda: len(gate.line) == number + 2)
    for count in range(1, 6):
        turns[-1].leave()
        wait_until(lambda: len(entered) == count)
    for thread in threads:
        thread.join()
    assert entered == list(range(5))


def test_who_has_waited_in_vain_takes_nobodys_place() -> None:
    gate = Gate(1, threading.Event)
    turn = enter(gate)
    assert turn
    assert not enter(gate, 0.0)
    turn.leave()
    turn.leave()
    assert enter(gate)
    assert not enter(gate, 0.0)


def test_called_as_patience_ends() -> None:
    """Whoever was called in the last moment has the place, and leaves it."""
    turns: List[Turn] = []

    class Late(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            turns.pop().leave()
            return False

    gate = Gate(1, Late)
    for _ in range(3):
        turn = enter(gate, 0.0)
        assert turn
        turns.append(turn)
    assert len(gate.line) == 1


def test_who_is_struck_while_it_waits_takes_no_place() -> None:
    """A timeout of gevent is raised wherever it finds one waiting."""
    class Impatient(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            raise KeyboardInterrupt

    gate = Gate(1, Impatient)
    first, second = enter(gate), gate.turn()
    assert first
    try:
        with pytest.raises(KeyboardInterrupt):
            second.enter(FOREVER)
    finally:
        second.leave()
    first.leave()
    assert enter(gate)
    assert len(gate.line) == 1


def test_many() -> None:
    """Never more than the limit, and all get through."""
    gate, inside, most, through = Gate(3, threading.Event), [0], [0], []
    lock = threading.Lock()

    def come() -> None:
        for _ in range(50):
            turn = enter(gate)
            assert turn
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0)
            with lock:
                inside[0] -= 1
                through.append(1)
            turn.leave()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 400
    assert most[0] <= 3
    assert not gate.line
