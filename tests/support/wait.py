"""Waiting for a condition, never for a length of time."""
import time
from typing import Any, Callable, TypeVar, Union

Value = TypeVar('Value')

#: Seconds that anything on this machine may take: generous, because it is
#: only ever reached by a test that fails.
DEADLINE = 10.0

#: Seconds between two looks at a condition.
INTERVAL = 0.01


def wait_until(condition: Callable[[], Value], timeout: float = DEADLINE,
               what: Union[str, Callable[[], str]] = 'the condition',
               ) -> Value:
    """Look at a condition until it holds.

    :param condition: called again and again, from this thread.
    :param timeout: seconds after which it is given up.
    :param what: what was waited for, for the failure's text; or a callable
                 that tells it, and how far things have come, at the end.
    :return: the first truthy value of the condition.
    :raises AssertionError: it did not hold in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(
                f'waited {timeout:g} s in vain for {told}')
        time.sleep(INTERVAL)


def wait_for_value(read: Callable[[], Any], expected: Any,
                   timeout: float = DEADLINE, what: str = 'a value') -> None:
    """Look at something until it equals what it should.

    :param read: returns the present value.
    :param expected: what it should become.
    """
    seen: Any = None

    def is_there() -> bool:
        nonlocal seen
        seen = read()
        return bool(seen == expected)

    wait_until(is_there, timeout,
               lambda: f'{what} to be {expected!r}, it is {seen!r}')
