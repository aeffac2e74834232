"""Waits for conditions. Tests never wait for a fixed time."""
import time
from typing import Any, Callable, TypeVar, Union

Value = TypeVar('Value')

#: Seconds: the default time limit. It is generous, because only a failing test
#: waits this long.
DEADLINE = 10.0

#: Seconds between two checks of a condition.
INTERVAL = 0.01


def wait_until(condition: Callable[[], Value], timeout: float = DEADLINE,
               what: Union[str, Callable[[], str]] = 'the condition',
               ) -> Value:
    """Check a condition until it holds.

    :param condition: called repeatedly, in this thread.
    :param timeout: seconds until the wait fails.
    :param what: the expected event, for the text of the failure; or a
                 function that returns it with the final state.
    :return: the first truthy value of the condition.
    :raises AssertionError: the condition did not hold in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            description = what if isinstance(what, str) else what()
            raise AssertionError(
                f'waited {timeout:g} s in vain for {description}')
        time.sleep(INTERVAL)


def wait_for_value(read: Callable[[], Any], expected: Any,
                   timeout: float = DEADLINE, what: str = 'a value') -> None:
    """Read a value until it equals the expected one.

    :param read: returns the current value.
    :param expected: the final value.
    """
    seen: Any = None

    def is_there() -> bool:
        nonlocal seen
        seen = read()
        return bool(seen == expected)

    wait_until(is_there, timeout,
               lambda: f'{what} to be {expected!r}, it is {seen!r}')
