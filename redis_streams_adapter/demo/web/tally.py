"""What one client has received: counted, and compared with what was sent.

Each source numbers its events from 1. The events of one source arrive in the
order in which they were emitted, so that a number that is left out is lost: it
is late if it arrives after all, which is an error, too.

No I/O, no clock, no lock: the caller has one.
"""
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Source:
    """A process that emits.

    :param name: its name, which no other source has, before or after it.
    :param emitted: the number of its last event; the server said that it has
                    emitted it.
    :param ended: whether it was killed. The events in its outbox were lost
                  then, and so are expected by no one.
    """
    name: str
    emitted: int = 0
    ended: bool = False


class Tally:
    """The counters of one client."""

    def __init__(self) -> None:
        self.received = 0
        self.twice = 0
        self.disordered = 0
        # By source: the highest number so far, and those left out below it.
        self._last: dict[str, int] = {}
        self._missing: dict[str, set[int]] = {}

    def add(self, source: str, number: int) -> None:
        """Count an event."""
        last, missing = self.last(source), self._missing.get(source, set())
        self.received += 1
        if number > last:
            if number > last + 1:
                self._missing.setdefault(source, set()).update(
                    range(last + 1, number))
            self._last[source] = number
        elif number in missing:
            missing.remove(number)
            self.disordered += 1
        else:
            self.twice += 1

    def last(self, source: str) -> int:
        """The highest number that came from a source, 0 without one."""
        return self._last.get(source, 0)

    @property
    def lost(self) -> int:
        """How many events were left out, and have not arrived late."""
        return sum(map(len, self._missing.values()))

    def waiting(self, due: dict[str, int]) -> int:
        """How many events are still to arrive.

        :param due: by source, the number of its last event.
        """
        return sum(max(0, number - self.last(source))
                   for source, number in due.items())


def due(sources: list[Source], tallies: list[Tally]) -> dict[str, int]:
    """Return how far each source has got, as all clients have to.

    Of a source that was killed, what any client has received counts: the rest
    was in its outbox.
    """
    return {source.name: max(
        (tally.last(source.name) for tally in tallies), default=0)
        if source.ended else source.emitted for source in sources}
