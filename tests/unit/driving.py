"""Runs a task's work in a test, without a task."""
from typing import Any, Callable, List, Optional

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.protocol.transport import Unavailable


class UntilDone:
    """Replaces a task. It stops as soon as a condition holds, but not before
    the work has started.

    :param done: the condition.
    """

    def __init__(self, done: Callable[[], Any]) -> None:
        self._done = done
        self._asked = False
        #: How often the work has reported success.
        self.got_through = 0
        #: The pauses of the work, in seconds.
        self.rests: List[float] = []

    @property
    def stopping(self) -> bool:
        # The work asks for the first time when it has just connected.
        asked, self._asked = self._asked, True
        return asked and bool(self._done())

    def works(self, server: Optional[bytes] = None) -> None:
        self.got_through += 1

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)


def drive(work: Callable[[Any], None], done: Callable[[], Any],
          attempts: int = 1000) -> List[Unavailable]:
    """Run rounds of a task's work until a condition holds.

    :param attempts: how many rounds may fail.
    :return: their exceptions.
    """
    failures: List[Unavailable] = []
    while len(failures) < attempts:
        try:
            work(UntilDone(done))
        except Unavailable as exc:
            failures.append(exc)
        else:
            return failures
    raise AssertionError(f'still not done after {attempts} failures; the '
                         f'last: {failures[-1]}')


class CountingEngine(ThreadEngine):
    """An engine with real threads and events, which counts its pauses."""

    def __init__(self) -> None:
        self.pauses = 0

    def pause(self) -> None:
        self.pauses += 1
        super().pause()
