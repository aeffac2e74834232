"""The recent history of a stream, read once, before a reader begins.

It shows which nodes are members: each live member has written something
during the last heartbeat timeout. Nothing else of it takes effect. See
:mod:`redis_streams_adapter.protocol.discovery` for what follows from it.

It ends at the reader's first position, and its age is counted from the moment
of that position. If an attempt to read has failed since then, or has taken
longer than :data:`LATE`, Redis may have been away for any time before.
Members could not write during that time, and may not have reconnected yet, so
the history does not show all of them, and they have to be asked.

The stream is read with XREAD alone, which a server's rights have to allow
anyway. A stream may be trimmed while it is read. So the last step is to ask
where the stream begins: everything after that position was there when it was
read, too.
"""
import math
import time
from typing import Callable, Optional

from ..protocol.discovery import Span
from ..protocol.position import Position, START
from ..protocol.transport import Ends, Entry, Link
from .pages import Pages

#: How many entries to read at once, at most: two thousand are parsed in 5 ms,
#: for which no other green thread runs.
PAGE_ENTRIES = 2000

#: How long to go on reading, in seconds. A start must not take longer; then
#: the other members have to be asked.
PATIENCE = 1.0

#: How much longer than the fastest page another one takes if its size matters,
#: in seconds.
SLOW = 0.02

#: How long a start may take until the history can be read, in seconds. It
#: takes some five trips to Redis, so 0.2 seconds each are not an outage.
LATE = 2.0


class ReadBack:
    """Reads the history of one stream.

    All of it belongs to the reader's task, and is begun anew by its next
    attempt if the connection breaks: to note a member twice does no harm.

    :param note: takes in one entry, and when it was written, by our own
                 monotonic clock.
    :param done: called with the cursor and how much was read.
    :param seconds: the age of the oldest entries that matter.
    :param pause: lets other tasks run.
    :param max_len: about how many entries the stream keeps; ``None``: it is
                    not only trimmed by its length, and a server that does
                    not count cannot tell whether it was trimmed.
    """

    def __init__(self, note: Callable[[Entry, float], None],
                 done: Callable[[Position, Span], None], *, seconds: float,
                 pause: Callable[[], None],
                 max_len: Optional[int]) -> None:
        self._note = note
        self._done = done
        self._seconds = seconds
        self._pause = pause
        self._pages = Pages(PAGE_ENTRIES)
        self._max_len = max_len

    def __call__(self, link: Link, clock_ahead: float, cursor: Position,
                 ends: Ends, since: float = math.inf,
                 failed: bool = False) -> None:
        """Read up to a cursor.

        :param clock_ahead: by how much the server's clock is ahead of our
                            own one, in seconds.
        :param ends: where the stream begins and ends.
        :param since: the moment of the cursor, by our own monotonic clock;
                      in the future: now.
        :param failed: an attempt to read has failed since then.
        :raises Unavailable: always may.
        """
        span, now = Span(0.0, True), time.monotonic()
        moment = min(now, since)
        if cursor != START:
            oldest = Position(max(0, int(
                (moment - self._seconds + clock_ahead) * 1000))).before()
            pages = self._read(link, clock_ahead, oldest, cursor)
            if pages == 0:
                span = Span(0.0, False)
            else:
                if pages > 1 or self._is_near_trimming(ends):
                    ends = link.ends()
                span = self._span(ends, moment, clock_ahead)
        self._done(cursor, span._replace(
            late=failed or now - moment > LATE))

    def _read(self, link: Link, clock_ahead: float, after: Position,
              end: Position) -> int:
        """Read all between two positions.

        :return: in how many pages; 0: there was not enough time.
        """
        pages = 0
        deadline = time.monotonic() + PATIENCE
        trip, rate = math.inf, 0.0
        while after < end:
            begun = time.monotonic()
            if begun > deadline:
                return 0
            page = self._pages.read(link, after)
            pages += 1
            now = time.monotonic()
            trip = min(trip, now - begun)
            slow = now - begun - trip
            if slow > SLOW:
                rate = len(page) / slow
            if rate:
                # Ask for no more than arrives in time.
                self._pages.at_most(int(rate * (deadline - now - trip)))
            for entry in page:
                if entry.id > end:
                    return pages
                self._note(entry, entry.id.milliseconds / 1000 - clock_ahead)
            if not self._pages.full:
                break
            after = page[-1].id
            self._pause()
        return max(1, pages)

    def _is_near_trimming(self, ends: Ends) -> bool:
        """Whether what was read may have been trimmed meanwhile."""
        return not self._is_whole(ends) or self._max_len is None \
            or ends.length > self._max_len // 2

    def _is_whole(self, ends: Ends) -> bool:
        """Whether the stream still has all that it ever had."""
        if ends.added is not None:
            return ends.added == ends.length
        # It exists but is empty: it was emptied.
        return self._max_len is not None and 0 < ends.length < self._max_len

    def _span(self, ends: Ends, moment: float, clock_ahead: float) -> Span:
        whole = self._is_whole(ends)
        if ends.first_id is None:
            return Span(0.0, whole)
        age = moment - (ends.first_id.milliseconds / 1000 - clock_ahead)
        if age >= self._seconds:
            # From the time on that was asked for, and so to the end.
            return Span(self._seconds, False)
        return Span(max(0.0, age), whole)
