"""Locks for green threads, of which one thread has many."""
import sys
from types import SimpleNamespace
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.concurrency.locks import GreenLock

from ..striking import held_locks, strike, Striker


class Nothing:
    """Stands for an event that is never set.

    :param others: the actions of other green threads.
    """

    def __init__(self) -> None:
        self.others: Callable[[], Any] = lambda: pytest.fail('it waits')

    def wait(self, timeout: Optional[float] = None) -> None:
        self.others()


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the green thread that runs."""
    current = ['main']
    monkeypatch.setitem(sys.modules, 'greenlet', SimpleNamespace(
        getcurrent=lambda: current[-1]))
    return lambda name: current.append(name)


def test_one_holder_at_a_time(be: Callable[[str], None]) -> None:
    nothing, done = Nothing(), []  # type: Any
    lock = GreenLock(nothing)

    def leave() -> None:
        done.append('waited')
        lock.__exit__(None, None, None)

    be('first')
    lock.__enter__()
    be('second')
    nothing.others = leave
    with lock:
        done.append('entered')
    assert done == ['waited', 'entered']


def test_lock_is_reentrant(be: Callable[[str], None]) -> None:
    lock = GreenLock(Nothing())
    with lock:
        with lock:
            assert lock._is_owned()
        assert lock._is_owned()
    assert not lock._is_owned()
    be('second')
    with lock:
        assert lock._is_owned()


@pytest.mark.parametrize('depth', [1, 2, 3])
def test_struck_on_entry(be: Callable[[str], None], depth: int) -> None:
    """It is held as often as before, by the same green thread."""
    def enter(striker: Striker) -> None:
        lock = GreenLock(Nothing())
        inside: List[int] = []

        def deeper(left: int) -> None:
            with lock:
                inside.append(left)
                if left > 1:
                    deeper(left - 1)

        striker.run(lambda: deeper(depth))
        assert not lock._is_owned(), striker.where
        assert not held_locks([lock]), striker.where
        be('second')
        with lock:
            assert lock._is_owned()

    strike(enter, step=1)
