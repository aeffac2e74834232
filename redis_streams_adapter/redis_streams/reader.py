"""The stream is read by one task, from a cursor that never goes astray.

The cursor is resolved once, when the reader first gets through, to the
stream's last id; from then on it is the id of the last entry that was handed
on. It is moved after each entry, whatever became of it: an entry is handed
on once, and one that makes trouble stops nobody.

That history is lost before it was read shows in the numbers of the entries.
Besides, the reader looks where the stream begins and ends: after each break,
whenever nothing has come for a while, and every :data:`LOOK_INTERVAL`. So it
knows of a stream that was deleted, and of a replica that took over and was
behind, also where nothing was lost for itself.

Where Redis was away when the node started, its clients have been waiting
since then, and the others' outboxes may come through before this reader
does. So the first cursor is then the time at which the node started, by the
server's clock, if that is earlier than the last id.
"""
import logging
import time
from typing import Callable, Optional, Sequence

from ..losses import DELETED, SET_BACK
from ..tasks import Task
from ..transport import Ends, Entry, Link, NO_STREAM, parse_id, Unavailable

#: A reader that is so many seconds behind, with a full page at hand, says
#: so: a writer in a hurry stores 50,000 entries a second, and a stream keeps
#: 10,000.
LAG = 0.05

#: How often it says so, in seconds.
REPORT_INTERVAL = 0.05

#: How often it looks whether the stream is still the same one, where entries
#: come all the time, in seconds.
LOOK_INTERVAL = 5.0

#: How long the first read after a failure waits, in seconds.
PROBE = 0.1


class Reader:
    """The cursor, and the task that moves it.

    :param open_link: makes a new, unconnected link to the stream.
    :param handle: what to do with an entry, on the reader's task.
    :param began: told the first cursor, once.
    :param resumed: told each time the reader gets through, before the first
                    entry.
    :param lost: told what the stream has lost: ``'deleted'`` or
                 ``'set-back'``, see :mod:`redis_streams_adapter.losses`.
    :param lagging: told the cursor while the reader is behind, and ``None``
                    when it has caught up.
    :param pause: lets other tasks run.
    :param count: how many entries to read at once.
    :param block: how many seconds to wait for one.

    All attributes are written by the reader's task alone.
    """

    def __init__(self, open_link: Callable[[], Link],
                 handle: Callable[[Entry], None],
                 began: Callable[[bytes], None],
                 resumed: Callable[[], None],
                 lost: Callable[[str], None],
                 lagging: Callable[[Optional[bytes]], None],
                 logger: Callable[[], logging.Logger], *,
                 pause: Callable[[], None], count: int,
                 block: float) -> None:
        self._open_link = open_link
        self._handle = handle
        self._began = began
        self._resumed = resumed
        self._lost = lost
        self._lagging = lagging
        self._logger = logger
        self._pause = pause
        self._count = count
        self._block = block
        self._started: Optional[float] = None
        self._late = False
        #: Whether it has ever got through: the cursor alone does not say.
        self._through = False
        #: What the stream was like when it was last looked at, and when that
        #: was.
        self._known = NO_STREAM
        self._looked = 0.0
        self._link: Optional[Link] = None
        self.cursor: Optional[bytes] = None
        self.connected = False
        self.received = 0
        self.failed = 0
        #: By how much the server's clock is ahead of our monotonic one, in
        #: seconds, and when a full page was last read: what `lag` needs.
        self._clock_ahead = 0.0
        self._behind = False
        #: When it was last told that the reader is behind, until it is told
        #: that it has caught up.
        self._reported: Optional[float] = None

    @property
    def lag(self) -> Optional[float]:
        """How many seconds the reader is behind the stream: the age of the
        last entry where more of them wait, 0 where none does, ``None``
        while it cannot read."""
        cursor = self.cursor
        if not self.connected or cursor is None:
            return None
        if not self._behind:
            return 0.0
        now = time.monotonic() + self._clock_ahead
        return max(0.0, now - parse_id(cursor)[0] / 1000)

    def interrupt(self) -> None:
        """End the wait for entries."""
        link = self._link
        if link is not None:
            link.interrupt()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.transport.Link.abandon`."""
        if self._link is not None:
            self._link.abandon()

    def work(self, task: Task) -> None:
        """One round of the reader's task: connect, find the position, then
        read until it fails or is stopped."""
        if self._started is None:
            self._started = time.monotonic()
        link = self._open_link()
        self._link = link
        try:
            link.connect()
            if task.stopping:
                return
            self._clock_ahead = link.time() / 1000 - time.monotonic()
            self.cursor = self._position(link)
            # Whoever may not read, or whose connection does not survive
            # waiting, shall hear of it before saying that all is well.
            page = link.read(self.cursor, self._count,
                             PROBE if self._late else None)
            self.connected = True
            if not self._through:
                self._through = True
                self._began(self.cursor)
            self._resumed()
            task.works()
            while not task.stopping:
                self._take(page)
                if self._behind:
                    # A reply that is there already is read without a switch
                    # to other green threads, page after page.
                    self._pause()
                if not page or time.monotonic() - self._looked \
                        > LOOK_INTERVAL:
                    # Nothing may have come because the stream was deleted
                    # and begins again below the cursor.
                    self.cursor = self._position(link)
                page = link.read(self.cursor, self._count, self._block)
        except Unavailable:
            self._late = True
            raise
        finally:
            self.connected = False
            self._link = None
            link.close()

    def _position(self, link: Link) -> bytes:
        """Where to go on, by what the stream is like now."""
        ends = link.ends()
        known, self._known = self._known, ends
        self._looked = time.monotonic()
        cursor = self.cursor
        if cursor is None:
            if self._late and self._started is not None:
                started = self._started + self._clock_ahead
                return min(ends.last_id, b'%d-0' % int(started * 1000),
                           key=parse_id)
            return ends.last_id
        behind = parse_id(ends.last_id) < parse_id(cursor)
        if behind or _has_less(ends, known):
            # What was between is gone. Waiting for ids above the cursor
            # would miss what comes now, where it is behind.
            self._lost(_what_happened(ends, known))
        return ends.last_id if behind else cursor

    def _take(self, page: Sequence[Entry]) -> None:
        full = self._behind = len(page) == self._count
        begun = time.monotonic()
        slow = False
        if full:
            read = begun + self._clock_ahead
            slow = read - parse_id(page[-1].id)[0] / 1000 > LAG
        for entry in page:
            if full and (slow or time.monotonic() - begun > LAG):
                self._report()
            self._hand_on(entry)
        if not full and self._reported is not None:
            self._reported = None
            self._lagging(None)

    def _report(self) -> None:
        now = time.monotonic()
        if self._reported is None or now - self._reported > REPORT_INTERVAL:
            self._reported = now
            self._lagging(self.cursor)

    def _hand_on(self, entry: Entry) -> None:
        self.received += 1
        try:
            self._handle(entry)
        except Exception:
            # Whatever it is, it concerns this entry alone.
            self.failed += 1
            self._logger().exception(
                'entry %s could not be carried out', entry.id.decode())
        self.cursor = entry.id


def _has_less(ends: Ends, known: Ends) -> bool:
    """Whether the stream has had fewer entries by now than before."""
    return ends.added is not None and known.added is not None \
        and ends.added < known.added


def _what_happened(ends: Ends, known: Ends) -> str:
    """How a stream came to have lost its end."""
    if ends.first_id is None \
            or parse_id(ends.first_id) > parse_id(known.last_id):
        return DELETED
    # Something of before is still there.
    return SET_BACK
