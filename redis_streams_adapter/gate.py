"""So many tasks at a time, in the order in which they came.

Under gevent and eventlet every task that can run does so once before any has
its second turn: among thousands, the one that reads the stream would have its
turn once in seconds.
"""
import threading
from collections import deque
from typing import Callable, Deque, Optional

from .tasks import Event


class Gate:
    """Lets tasks in.

    :param limit: how many are in at most.
    :param make_event: makes an event for those tasks.
    """

    def __init__(self, limit: int, make_event: Callable[[], Event]) -> None:
        self._make_event = make_event
        # The lock protects both. There are free places, or tasks that wait,
        # never both.
        self._lock = threading.Lock()
        self._free = limit
        self._waiting: Deque[Event] = deque()

    def enter(self, patience: Optional[float]) -> bool:
        """Wait for a place.

        :param patience: seconds; ``None``: as long as it takes.
        :return: whether there was one, which is to be left again.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            called = self._make_event()
            self._waiting.append(called)
        waited = False
        try:
            called.wait(patience)
            waited = True
        finally:
            with self._lock:
                entered = called.is_set()
                if not entered:
                    self._waiting.remove(called)
            if entered and not waited:
                # Something has struck, and nobody would leave the place.
                self.leave()
        return entered

    def leave(self) -> None:
        """Leave a place to the next one."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
