"""The queue of packets to one client, under eventlet.

If a thread of the system (``tpool.execute``) puts a packet into a queue of
eventlet 0.41, the queue schedules what wakes the client's task on a hub that
never runs, and does so only once: that client gets nothing more.
"""
import time
from collections import deque
from typing import Any, Deque, Optional

from ..concurrency.eventlet_events import EventletEvent

#: How often ``join()`` checks whether the queue is empty, in seconds.
LOOK_AGAIN = 0.01


class EventletQueue:
    """A queue as python-engineio uses it. Any thread may put. It keeps no
    count of unfinished tasks.

    :param empty: what :meth:`get` raises.
    """

    def __init__(self, empty: Any) -> None:
        self._empty = empty
        #: Any task appends, the client's takes out; both are one step.
        self._items: Deque[Any] = deque()
        self._filled = EventletEvent()
        #: Set when the queue is empty; made by the task that waits for that.
        self._emptied: Optional[EventletEvent] = None

    def put(self, item: Any) -> None:
        """Add an item. Never blocks."""
        self._items.append(item)
        self._filled.set()

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """The next item.

        :param timeout: seconds; ``None``: as long as it takes.
        :raises Empty: there is none.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = None if deadline is None else deadline - time.monotonic()
            if not block or left is not None and left <= 0:
                raise self._empty
            # Cleared before looking: what comes later sets it again.
            self._filled.clear()
            if not self._items:
                self._filled.wait(left)
        found = self._items.popleft()
        if self._emptied is not None and not self._items:
            self._emptied.set()
        return found

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self._items

    def task_done(self) -> None:
        """Do nothing: there is no count."""

    def join(self) -> None:
        """Wait until the queue is empty for a moment: python-engineio adds
        a last packet after that, which no task takes."""
        emptied = self._emptied
        if emptied is None or emptied.is_set():
            # Before looking: what is taken out from now on sets it.
            emptied = self._emptied = EventletEvent()
        while self._items and not emptied.wait(LOOK_AGAIN):
            # A task that takes a packet may be struck before it sets it.
            pass
