"""A limit on how many tasks do something at the same time, first come, first
served.

Under gevent and eventlet every task that can run does so once before any task
runs a second time. Among thousands of tasks, the one that reads the stream
would run once in seconds.
"""
from typing import Callable, List, Optional

from .engines import Event
from .locks import Lock


class Limiter:
    """Gives slots to tasks.

    :param limit: how many tasks have a slot at most.
    :param make_event: makes an event for those tasks.
    """

    def __init__(self, limit: int, make_event: Callable[[], Event]) -> None:
        self.make_event = make_event
        self.limit = limit
        #: The slots in use, at most :attr:`limit`, then those that are
        #: waited for. Each task adds and removes its own, under
        #: :attr:`lock`, in one step each: a task that an exception strikes
        #: while it waits frees no other task's slot.
        self.queue: List['Slot'] = []
        self.lock = Lock()

    def slot(self) -> 'Slot':
        """A slot for one task, not yet acquired. The task has to release it
        in any case, also if it could not acquire it."""
        return Slot(self)


class Slot:
    """One task's slot, from when the task asks for it until its release."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        #: Set when the slot is acquired, by the task that releases another
        #: one; only there if the task has to wait. Written under the
        #: limiter's lock.
        self._acquired: Optional[Event] = None

    def acquire(self, timeout: Optional[float]) -> bool:
        """Wait for the slot.

        :param timeout: seconds; ``None``: without a limit.
        :return: whether the task has it.
        """
        limiter = self._limiter
        with limiter.lock:
            limiter.queue.append(self)
            acquired = len(limiter.queue) <= limiter.limit
            if not acquired:
                self._acquired = limiter.make_event()
        if self._acquired is not None:
            self._acquired.wait(timeout)
            with limiter.lock:
                # The place in the queue decides, not the event: the task
                # that released a slot may have been struck before it set it.
                acquired = limiter.queue.index(self) < limiter.limit
                if not acquired:
                    limiter.queue.remove(self)
        return acquired

    def release(self) -> None:
        """Give the slot to the next task, or stop waiting for it.
        Idempotent."""
        limiter = self._limiter
        with limiter.lock:
            if self in limiter.queue:
                limiter.queue.remove(self)
            in_use = limiter.queue[:limiter.limit]
        # All events, since the last task that released a slot may have been
        # struck here.
        for slot in in_use:
            if slot._acquired is not None:
                slot._acquired.set()
