"""So many tasks at a time, in the order in which they came.

Under gevent and eventlet every task that can run does so once before any has
its second turn: among thousands, the one that reads the stream would have its
turn once in seconds.
"""
from typing import Callable, List, Optional

from .locks import Lock
from .tasks import Event


class Gate:
    """Lets tasks in.

    :param limit: how many are in at most.
    :param make_event: makes an event for those tasks.
    """

    def __init__(self, limit: int, make_event: Callable[[], Event]) -> None:
        self.make_event = make_event
        self.limit = limit
        #: Who is in, at most :attr:`limit`, and behind them who waits; under
        #: the lock. To come and to go is one step each: a task that is
        #: struck while it waits gives away nobody's place.
        self.line: List['Turn'] = []
        self.lock = Lock()

    def turn(self) -> 'Turn':
        """A turn for one task, which has not come yet. It is to be left,
        whatever became of it."""
        return Turn(self)


class Turn:
    """One task's, from when it comes until it leaves."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        #: Set when it is in, by the one that makes room; made where it has
        #: to wait. Written under the lock.
        self._called: Optional[Event] = None

    def enter(self, patience: Optional[float]) -> bool:
        """Wait for a place.

        :param patience: seconds; ``None``: as long as it takes.
        :return: whether there was one.
        """
        gate = self._gate
        with gate.lock:
            gate.line.append(self)
            is_in = len(gate.line) <= gate.limit
            if not is_in:
                self._called = gate.make_event()
        if self._called is not None:
            self._called.wait(patience)
            with gate.lock:
                # Rather than the event: who made room may have been struck.
                is_in = gate.line.index(self) < gate.limit
                if not is_in:
                    gate.line.remove(self)
        return is_in

    def leave(self) -> None:
        """Leave the place to the next one. Idempotent; one that is not in
        waits no longer."""
        gate = self._gate
        with gate.lock:
            if self in gate.line:
                gate.line.remove(self)
            inside = gate.line[:gate.limit]
        # All of them, for the last one to leave may have been struck here.
        for turn in inside:
            if turn._called is not None:
                turn._called.set()
