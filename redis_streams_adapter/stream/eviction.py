"""How a writer trims its stream, besides what each XADD trims.

A stream that is kept by time is cut to its greatest length now and then.

The rest is for a Redis that refuses entries because its memory is full.

Only XADD trims a stream, and XADD is what Redis refuses then (``maxmemory``
with ``noeviction``). Without help from outside, no server could ever write
again, even if all entries had long expired. XTRIM is still permitted. So the
writer trims the stream, as little as possible:

- with ``retention``, first what is older: it was kept only because nothing
  was added;
- else the oldest entries: one in :data:`SHARE`, or more if that frees nothing
  (Redis frees whole nodes of the stream only, of up to 4 KB or 100 entries).
  That is a loss, and is reported: clients that come back, and servers that
  lag, may need them.

If that does not help, something else has filled the memory. At most half of
the entries are trimmed before one is accepted again; after that the writer
waits, as in any outage.
"""
import time
from typing import Callable, Optional, Tuple

from ..protocol.transport import Link, Unavailable

#: How often a stream that is kept by time is cut to its greatest length, in
#: seconds: meanwhile two fast writers add a tenth to a million entries.
TRIM_INTERVAL = 1.0

#: Which part of the entries is trimmed at once: one in so many.
SHARE = 8

#: Called with the number of entries that a writer has trimmed too early;
#: ``None``: it must not trim.
Evicted = Optional[Callable[[int], None]]


class Eviction:
    """Trims one stream; on the writer's task.

    :param retention: how many seconds an entry is to be kept; ``None``: as
                      long as the stream is not too long.
    :param evicted: see :data:`Evicted`.
    """

    def __init__(self, retention: Optional[float],
                 evicted: Evicted) -> None:
        self._retention = retention
        self._evicted = evicted
        #: When the stream was last cut to its greatest length.
        self._capped = time.monotonic()
        #: How many batches were stored when entries were first refused, and
        #: how many entries are kept until there are more.
        self._floor: Optional[Tuple[int, int]] = None

    def cap(self, link: Link) -> None:
        """Cut a stream that is kept by time to its greatest length, if it is
        time.

        :raises Unavailable: always may.
        """
        if self._retention is not None:
            now = time.monotonic()
            if now - self._capped > TRIM_INTERVAL:
                self._capped = now
                link.trim()

    def free(self, link: Link, batches: int) -> None:
        """Trim the stream if that is possible. Never raises.

        :param batches: how many batches the writer has stored.
        """
        if self._evicted is None:
            return
        try:
            count = self._trim(link, batches)
        except Unavailable:
            # Not permitted, or the connection is broken. The task reports
            # why it could not append.
            return
        if count:
            self._evicted(count)

    def _trim(self, link: Link, batches: int) -> int:
        """Trim the stream.

        :return: how many entries were trimmed too early.
        """
        if self._retention is not None:
            oldest = link.time() - int(self._retention * 1000)
            if link.trim(oldest=max(0, oldest)):
                return 0
        length = link.ends().length
        if self._floor is None or self._floor[0] != batches:
            self._floor = batches, length // 2
        share, keep, trimmed = max(1, length // SHARE), length, 0
        while not trimmed and keep > self._floor[1]:
            keep = max(self._floor[1], keep - share)
            trimmed = link.trim(keep)
        return trimmed
