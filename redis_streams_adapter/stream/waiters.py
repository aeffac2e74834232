"""Tasks that wait until the writer has stored an entry, or has emptied the
outbox.

A waiting task is one entry of a dictionary, from before it waits until it is
done: it adds and removes its own entry, one step each. The writer's task, and
the one that ends it, wake them. An exception that strikes a waiting task
leaves nothing here.
"""
from typing import Dict, Optional

from ..concurrency.engines import Engine, Event
from ..errors import RedisStreamsError
from .outbox import Pending


class Waiters:
    """The tasks that wait for one writer.

    :param patience: how many seconds :meth:`wait` waits at most.
    """

    def __init__(self, engine: Engine, patience: float) -> None:
        self._engine = engine
        self._patience = patience
        #: The last entry of the outbox when each flush began.
        self.flushing: Dict[Event, Pending] = {}
        #: The entry of each task in :meth:`wait`. They do not wait through
        #: an outage.
        self.impatient: Dict[Event, Pending] = {}
        #: Whether Redis can be written to. Written by the writer's task.
        self._available = True
        #: Set once, by the task that closes, when the writer's has ended.
        self._ended = False

    def wait(self, pending: Pending,
             timeout: Optional[float] = None) -> None:
        """Wait until Redis has an entry; in an outage, no longer than it
        takes to notice.

        :param timeout: seconds; ``None``: the patience.
        :raises RedisStreamsError: Redis has refused this entry for good.
        """
        self.pause(pending, timeout)
        if pending.refused is not None:
            raise RedisStreamsError(
                f'Redis refused the message: {pending.refused}'
            ) from pending.refused

    def pause(self, pending: Pending, timeout: Optional[float]) -> None:
        """The same, whether Redis takes the entry or refuses it."""
        woken = self._engine.event()
        try:
            self.impatient[woken] = pending
            # In this order: a task that settles it from now on wakes us.
            if not pending.settled and self._available and not self._ended:
                woken.wait(self._patience if timeout is None else timeout)
        finally:
            self.impatient.pop(woken, None)

    def flush(self, last: Pending, timeout: Optional[float]) -> bool:
        """Wait until all up to an entry has left the outbox.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False``: time ran out.
        """
        woken = self._engine.event()
        try:
            self.flushing[woken] = last
            # As in wait().
            if not last.settled and not self._ended:
                woken.wait(timeout)
        finally:
            self.flushing.pop(woken, None)
        return last.settled

    def wake_settled(self) -> None:
        """Wake the tasks whose entry is settled."""
        for waiting in (self.flushing, self.impatient):
            if waiting:
                for woken, pending in waiting.copy().items():
                    if pending.settled:
                        woken.set()

    def resume(self) -> None:
        """Redis can be written to: tasks wait for single entries again."""
        self._available = True

    def suspend(self) -> None:
        """Redis is away: no task waits for a single entry."""
        self._available = False
        for woken in self.impatient.copy():
            woken.set()

    def end(self) -> None:
        """Nothing will be settled any more: let no task wait."""
        self._ended = True
        for woken in (*self.flushing.copy(), *self.impatient.copy()):
            woken.set()
