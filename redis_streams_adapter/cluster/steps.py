"""Long work, in small steps, on a task of its own: the other tasks of a server
with green threads can run between two steps.
"""
from collections import deque
from typing import Deque, Iterator, List

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task

#: How many pieces of work wait, at most. Each is the answer to one request.
MAX_WAITING = 1000

#: The pause before work goes on that cannot go on now, in seconds.
PAUSE = 0.01


class Steps:
    """Does one piece of work after the other.

    A piece of work is an iterator. It yields after each step; ``True``: it
    cannot go on now.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Any task appends, the task of these steps takes out: both are atomic
        # in CPython.
        self._waiting: Deque[Iterator[bool]] = deque()
        #: The present piece of work. Used by the task. If an exception ends
        #: the work, the task goes on with the next piece.
        self._current: List[Iterator[bool]] = []
        self._work_there = engine.event()
        #: How much work was dropped, because too much was waiting. Updated
        #: without a lock; may under-count slightly.
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._current

    def put(self, work: Iterator[bool]) -> None:
        """Do this later. Never blocks."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(work)
        self._work_there.set()

    def interrupt(self) -> None:
        """End the wait of the task, which stops then."""
        self._work_there.set()

    def work(self, task: Task) -> None:
        """One round of the task: do what there is to do."""
        task.works()
        try:
            while not task.stopping:
                if self.idle:
                    self._work_there.wait()
                    self._work_there.clear()
                while self._waiting and not task.stopping:
                    self._current.append(self._waiting[0])
                    self._waiting.popleft()
                    self._do(self._current[0], task)
                    self._current.clear()
        finally:
            self._current.clear()

    def _do(self, work: Iterator[bool], task: Task) -> None:
        for waits in work:
            if task.stopping:
                return
            if waits:
                task.rest(PAUSE)
            else:
                self._engine.pause()
