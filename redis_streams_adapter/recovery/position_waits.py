"""Tasks that wait until the reader has come to a position."""
from typing import Callable, List, Tuple

from ..concurrency.engines import Event
from ..concurrency.locks import Lock
from ..protocol.position import Position


class PositionWaits:
    """The waits for the positions of one stream.

    :param position: returns the position up to which everything was handed
                     over.
    :param make_event: makes an event for tasks of the server.
    """

    def __init__(self, position: Callable[[], Position],
                 make_event: Callable[[], Event]) -> None:
        self._position = position
        self._make_event = make_event
        #: What to set at which positions. Replaced under the lock, by any
        #: task. The reader's task looks without the lock whether there are
        #: any. A task that is killed while it waits removes its own.
        self.waits: List[Tuple[Position, Event]] = []
        self._lock = Lock()

    def reach(self, position: Position, timeout: float) -> bool:
        """Wait until everything up to a position was handed over.

        :param timeout: seconds.
        :return: ``False`` if time ran out.
        """
        if self._position() >= position:
            return True
        event = self._make_event()
        try:
            with self._lock:
                self.waits = [*self.waits, (position, event)]
            # The reader may have come there in between.
            if self._position() < position:
                event.wait(timeout)
        finally:
            with self._lock:
                self.waits = [each for each in self.waits
                              if each[1] is not event]
        return self._position() >= position

    def reached(self, position: Position) -> None:
        """End the waits for positions up to this one; on the reader's
        task."""
        # Each wait removes itself.
        for awaited, event in self.waits:
            if awaited <= position:
                event.set()
