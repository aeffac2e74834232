"""One task reads the stream, with a cursor that stays right through failures.

The cursor is resolved once, when the reader first reaches Redis. From then on
it is the position of the last entry that was handed on, or the end of the
stream if that is now before it (deleted, or set back). It moves after each
entry, also after one that fails: an entry is handed on once, and a bad one
stops nothing. The same holds for an exception that strikes the task from
outside while it handles an entry (a signal handler's): the entry may be done
in part, so it is not done again; it counts as failed, and is logged with its
id. Between two entries such an exception costs nothing: the rest of the page
is read again.

The first position is never later than the moment from which a local client
may have been told that it is connected. Redis may hang or be slow for any
length of time between that moment and the reply that says where the stream
ends, so the end alone would be too late. The moment is converted to the
server's clock, by which ids are made: see :meth:`Reader._first_position`.

Entries that were lost before they were read:
:mod:`redis_streams_adapter.stream.loss_detection`.
"""
import logging
import time
from typing import Callable, Optional, Sequence

from ..concurrency.availability import log_safely
from ..concurrency.tasks import Task
from ..log_events import ENTRY_FAILED, READS_DO_NOT_WAIT, READS_WAIT
from ..protocol.position import Position, START
from ..protocol.transport import Ends, Entry, Link
from .latency import Latency
from .loss_detection import LossDetector
from .pages import Pages
from .read_back import ReadBack

#: A reader that lags by this many seconds, with a full page at hand, reports
#: it: a fast writer stores 50,000 entries a second, and a stream keeps 10,000.
LAG = 0.05

#: How often it reports that, in seconds.
REPORT_INTERVAL = 0.05

#: How often it checks whether the stream is still the same one while entries
#: come all the time, in seconds.
LOOK_INTERVAL = 5.0

#: How many bytes a second such checks may take, if the server cannot answer
#: without its first and last entry. Then it checks less often.
LOOK_BYTES = 10_000

#: How many entries the first read asks for, at most. With less, what this node
#: writes when it joins may trim the next ones from a short stream before they
#: are read. If they are large, the connection may break once.
FIRST = 100

#: How long the first read after a failure waits, in seconds.
PROBE = 0.1

#: A read that comes back without entries before this part of its waiting time
#: has passed did not wait. Some proxies, and servers that are not Redis, do
#: not know BLOCK: without a pause, the reader would ask without end.
WAITED = 0.5

#: The first pause after a read that did not wait, and the longest, in
#: seconds: it doubles until there are entries again. An event is late by it.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.25

#: After how many such reads in a row that is logged, once. An operator may
#: end a single one (CLIENT UNBLOCK).
HASTY_READS = 5


class Reader:
    """The cursor, and the task that moves it.

    :param open_link: makes a new, unconnected link to the stream.
    :param handle: what to do with an entry, on the reader's task.
    :param since: returns the moment from which a local client may have been
                  told that it is connected, by ``time.monotonic()``. Called
                  when the reader reaches Redis, again after failures.
    :param began: called once with the first cursor, and with a time before
                  it was known, by the server's clock, in milliseconds.
    :param resumed: called each time the reader reaches Redis, before the
                    first entry.
    :param page_done: called after the last entry of each page.
    :param lost, max_len, doubtful: see
                                    :class:`~redis_streams_adapter.stream.\
loss_detection.LossDetector`.
    :param lagging: called with the cursor while the reader lags, and with
                    ``None`` when it has caught up.
    :param pause, switch: let other tasks run, see
                          :class:`~redis_streams_adapter.concurrency.engines.\
Engine`.
    :param count: how many entries to read at once, at most.
    :param block: how many seconds to wait for one.
    :param read_back: reads the history before the first cursor, once.

    All attributes but :attr:`skip_to` are written by the reader's task alone.
    """

    def __init__(self, open_link: Callable[[], Link],
                 handle: Callable[[Entry], None],
                 since: Callable[[], float],
                 began: Callable[[Position, int], None],
                 resumed: Callable[[], None],
                 page_done: Callable[[], None],
                 lost: Callable[[str, Optional[int]], None],
                 lagging: Callable[[Optional[Position]], None],
                 logger: Callable[[], logging.Logger], *,
                 pause: Callable[[], None], switch: Callable[[], None],
                 max_len: int, count: int,
                 block: float, read_back: Optional[ReadBack] = None,
                 doubtful: Optional[Callable[[], None]] = None) -> None:
        self._open_link = open_link
        self._handle = handle
        self._since = since
        self._began = began
        self._resumed = resumed
        self._page_done = page_done
        self._detector = LossDetector(lost, max_len, doubtful)
        self._lagging = lagging
        self._logger = logger
        self._pause = pause
        self._switch = switch
        self._count = count
        self._pages = Pages(count, FIRST)
        self._block = block
        self._read_back = read_back
        self._moment = 0
        #: Whether a round has ended: Redis may have been away.
        self._failed = False
        #: The position up to which an earlier reader of this process has
        #: handed on all; ``None``: there was none. Set before the task starts.
        self.skip_to: Optional[Position] = None
        #: Whether it has ever read: the cursor alone does not show it.
        self._started = False
        #: When the stream was last looked at.
        self.looked = 0.0
        #: When it may be looked at again.
        self._look_at = 0.0
        #: How many reads in a row did not wait for entries, at which cursor,
        #: and whether that was logged.
        self._hasty = 0
        self._hasty_at: Optional[Position] = None
        self._warned = False
        self._link: Optional[Link] = None
        self.cursor: Optional[Position] = None
        self.connected = False
        self.received = 0
        self.failed = 0
        #: The age of entries when local clients had what is in them for them.
        self.latency = Latency()
        #: By how much the server's clock is ahead of our monotonic one at
        #: least, in seconds.
        self._clock_ahead = 0.0
        #: Whether the last page was full.
        self._behind = False
        #: When it last reported that it lags; ``None``: it has caught up.
        self._reported: Optional[float] = None

    @property
    def lag(self) -> Optional[float]:
        """How many seconds the reader is behind the stream: the age of the
        last entry if more of them wait, 0 if none does, ``None`` while it
        cannot read."""
        cursor = self.cursor
        if not self.connected or cursor is None:
            return None
        if not self._behind:
            return 0.0
        now = time.monotonic() + self._clock_ahead
        return max(0.0, now - cursor.milliseconds / 1000)

    @property
    def horizon(self) -> Position:
        """A position after every entry that was stored up to now: what is
        lost is before it."""
        now = int((time.monotonic() + self._clock_ahead) * 1000)
        return max(Position(now), self._detector.known.last_id,
                   self.cursor or START)

    @property
    def lags(self) -> bool:
        """Whether the reader has reported that it lags."""
        return self._reported is not None

    def report_position(self) -> None:
        """Report the position of the reader; on its own task."""
        if self._behind:
            self._reported = time.monotonic()
            self._lagging(self.cursor)
        else:
            self._lagging(None)

    def interrupt(self) -> None:
        """End the wait for entries."""
        link = self._link
        if link is not None:
            link.interrupt()

    def abandon(self) -> None:
        """After a fork: drop the copy of the connection."""
        if self._link is not None:
            self._link.abandon()

    def work(self, task: Task) -> None:
        """One round of the reader's task: connect, find the position, then
        read until it fails or is stopped."""
        link = self._open_link()
        self._link = link
        try:
            link.connect()
            if task.stopping:
                return
            now = link.time()
            # After the reply: so it is never overestimated.
            self._clock_ahead = now / 1000 - time.monotonic()
            if self.cursor is None:
                self._moment = now
            self.cursor = self._position(link, reconnected=True)
            if not self._started and self._read_back is not None:
                self._read_back(link, self._clock_ahead, self.cursor,
                                self._detector.known, self._since(),
                                self._failed)
            # A reader that may not read, or whose connection does not survive
            # waiting, fails here, before it reports that it works.
            page = self._pages.read(link, self.cursor,
                                    PROBE if self._failed else None)
            if not self._started:
                self._began(self.cursor, self._moment)
                # Set after the call: if an exception strikes, it is repeated.
                self._started = True
            # Set only now: a task that finds it connected relies on its
            # position.
            self.connected = True
            self._resumed()
            task.works(link.server)
            waits = was_full = False
            while not task.stopping:
                self._take(page)
                taken = time.monotonic()
                if page:
                    self.latency.add(
                        taken + self._clock_ahead
                        - page[0].id.milliseconds / 1000, len(page))
                if self._behind:
                    # A reply that is there already is read without a switch
                    # to other green threads, page after page.
                    self._pause()
                elif page:
                    # Clients get what they were given before Redis is asked
                    # for more: at 500 entries a second that takes 15 % off
                    # the median latency under gevent, and 20 % off the p99.
                    self._switch()
                if not (page or was_full) \
                        or self._detector.unsure is not None \
                        or taken - self.looked > LOOK_INTERVAL:
                    # Nothing may have come because the stream was deleted
                    # and begins again below the cursor.
                    if not page and waits:
                        self._slow_down(task)
                    self.cursor = self._position(link)
                # While it reports that it lags, it does not wait. Writers of
                # other nodes may wait for the report that it has caught up,
                # and write no entry before. They would do so for two seconds.
                # After a full page that was a small one, it does not know yet
                # whether it lags.
                was_full = self._behind and self._pages.count < self._count
                waits = self._reported is None and not was_full
                page = self._pages.read(link, self.cursor,
                                        self._block if waits else None)
        finally:
            self._failed = True
            self.connected = False
            self._link = None
            link.close()

    def _slow_down(self, task: Task) -> None:
        """Pause if the read that has found nothing did not wait."""
        # Since before that read: right before it, if the one before it found
        # nothing either.
        hasty = time.monotonic() - self.looked < self._block * WAITED
        if not hasty or self.cursor != self._hasty_at:
            self._hasty, self._hasty_at = 0, self.cursor
        if not hasty:
            if self._warned:
                self._warned = False
                log_safely(self._logger().info,
                           'the server waits for entries again',
                           extra=READS_WAIT())
            return
        self._hasty += 1
        if self._hasty >= HASTY_READS and not self._warned \
                and not self._pages.careful:
            self._warned = True
            log_safely(self._logger().warning,
                       'the server, or a proxy before it, does not wait for '
                       'entries (XREAD BLOCK), so it is asked up to %d times '
                       'a second, and events are late by up to %g s',
                       round(1 / LONGEST_PAUSE), LONGEST_PAUSE,
                       extra=READS_DO_NOT_WAIT())
        task.rest(min(LONGEST_PAUSE,
                      FIRST_PAUSE * 2 ** min(self._hasty - 1, 10)))

    def _position(self, link: Link, reconnected: bool = False) -> Position:
        """The position to go on from, given the present state of the stream.

        :param reconnected: another server may have taken over.
        """
        now = time.monotonic()
        if self.cursor is not None and now < self._look_at \
                and not reconnected and self._detector.unsure is None:
            self.looked = now
            return self.cursor
        ends = link.ends()
        self.looked = time.monotonic()
        self._look_at = self.looked + ends.size / LOOK_BYTES
        if self._pages.careful:
            # The server is asked for entries all the time.
            self._look_at += LOOK_INTERVAL
        if self.cursor is None:
            return self._detector.begin(ends, self._first_position(ends))
        return self._detector.check(
            link, ends, self.cursor, self.received, reconnected)

    def _first_position(self, ends: Ends) -> Position:
        """The first position: before all that was stored since a local client
        may be connected, however long the replies of Redis took.

        Each inaccuracy leads to an earlier position: the difference of the
        clocks is underestimated, and milliseconds are rounded down. So some
        entries may be read that were stored a moment before.
        """
        moment = int((self._since() + self._clock_ahead) * 1000)
        # The entry with the id of the moment itself may be later than that.
        position = min(ends.last_id, Position(max(0, moment)).before())
        done = self.skip_to
        if done is not None and position < done <= ends.last_id:
            return done
        return position

    @property
    def counts(self) -> bool:
        """Whether the server reports how many entries the stream ever had."""
        return self._detector.known.added is not None

    def _take(self, page: Sequence[Entry]) -> None:
        if self._detector.needs_page:
            self._detector.page(page, self.received)
        full = self._behind = self._pages.full
        begun = time.monotonic()
        slow = False
        if full:
            read = begun + self._clock_ahead
            slow = read - page[-1].id.milliseconds / 1000 > LAG
        for entry in page:
            if full and (slow or time.monotonic() - begun > LAG):
                self._report_lag()
            try:
                # Not a method of its own: it would be one call in ten.
                self._handle(entry)
            except Exception:
                # The defect concerns this entry alone.
                self.failed += 1
                self._logger().exception(
                    'entry %s could not be processed', entry.id,
                    extra=ENTRY_FAILED(entry=str(entry.id)))
            finally:
                # Also if logging fails. One step: nothing is called.
                self.cursor = entry.id
                self.received += 1
        self._page_done()
        if not full and self._reported is not None:
            self._reported = None
            self._lagging(None)

    def _report_lag(self) -> None:
        now = time.monotonic()
        if self._reported is None or now - self._reported > REPORT_INTERVAL:
            self._reported = now
            self._lagging(self.cursor)
