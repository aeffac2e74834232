"""How fast a node may write, so that no entry is trimmed before every reader
has read it. Pure.

A stream keeps a bounded number of entries, and Redis knows nothing of its
readers. So two rules bind each writer:

*share*: only so many of its own entries may be unread by the local reader.
The shares of all writers together are 3/8 of what the stream keeps.

*reach*: the local reader may be so many entries, of all writers, after the
position that each other reader has reported last. It is another 3/8.

Nothing more is needed: an entry within the reach was counted by the local
reader of the node that went on writing, and beyond it there are only the
shares. So no writer needs to know how much the others write right now. Of the
remaining 2/8, one part is for readers that are assumed to keep up (see below),
the other for reports, and for processes that only write.

A writer learns the positions by *questions*: when the local reader has passed
a quarter of the reach since the last question of any writer, it writes one,
and every reader that comes upon it reports its position. A reader that gets no
CPU does not answer, and so the writers wait for it. Readers that lag report
that unasked, many times a second (the field ``behind`` of a HEARTBEAT).
Servers in Node.js ignore all this, and cannot be waited for.

At low rates, nobody asks: a reader that does not lag, and has answered the
last question, is assumed to have read what the local one had read
:data:`ASSUMED_AFTER` ago. It would be waited for :data:`PATIENCE` at most, so
the error is what the stream grows by in the second between the two, at a rate
at which no question is due: less than a quarter of the reach.

After an outage readers may reconnect later than the writer, and the outbox
may hold more than the stream keeps. So they are *awaited*: what is written
from then on counts as unread by each of them until it reports, for
:data:`RETURN_PATIENCE` seconds at most.

No reader holds the writer back for ever. A reader that makes no progress for
:data:`PATIENCE` seconds, or does not answer, is ignored until it reports
something new. Progress is any new position, even among the entries of other
writers: our entries would push out what it has not reached yet.

Checkpoints translate a position into the number of our entries up to it, and
marks translate one into the number of all entries that the local reader has
read up to it. There is a checkpoint for each batch, and a mark for each
sixteenth of the reach and for each question.
"""
import math
from collections import deque
from typing import Deque, Dict, Iterable, NamedTuple, Optional, Tuple

from .position import Position, START

#: How long a reader may hold us back without progress, in seconds. It may be
#: dead, or the entries that it should reach may be gone.
PATIENCE = 2.0

#: How long a reader may take to reconnect after an outage, in seconds: the
#: longest pause between two attempts is 4 s, and then it has to connect and
#: to answer.
RETURN_PATIENCE = 6.0

#: What the local reader had read this many seconds ago, the others are
#: assumed to have read, unless they report that they lag.
ASSUMED_AFTER = 1.0

#: After how many seconds a writer asks again that has not read its question
#: back, as the connection may have broken before it was stored; or that still
#: waits for readers.
ASK_AGAIN = 0.5

#: The positions of at least this many of our last entries are remembered: a
#: failover to a replica may lose that many, and they are counted. At one
#: entry a batch that takes 2 MB.
REMEMBERED = 10_000

#: The widest window. All entries in it are remembered, at most 20 MB of them.
MAX_WINDOW = 100_000

#: How many marks are kept: they span twice the reach, questions included.
MARKS = 48


def node_share(max_len: int, nodes: int) -> int:
    """How many of its own entries one of several nodes may have unread by its
    own reader."""
    return max(1, max_len * 3 // (8 * nodes))


def emitter_share(max_len: int) -> int:
    """The same, for a process that only writes: no node knows how many of
    them there are."""
    return max(1, max_len // 16)


def reach(max_len: int, nodes: int) -> int:
    """How many entries the local reader may be after another one. With its
    answers, a question must not fill a quarter of that."""
    return max(max_len * 3 // 8, 8 * (nodes + 1))


def mark_every(max_len: int) -> int:
    """After how many entries to make the next mark."""
    return max(1, max_len * 3 // 128)


class _Local:
    """How far the local reader has come. Changed in place: it advances with
    each page.

    :param read: the number of our last entry that it has read.
    :param position: the last position that it has reported when it lagged.
    :param since: when it last made progress.
    """

    __slots__ = ('read', 'position', 'since')

    def __init__(self, read: int, position: Position, since: float) -> None:
        self.read = read
        self.position = position
        self.since = since


class _Remote:
    """How far the reader of another node has come.

    :param count: how many entries the local reader had read at the position
                  that this one has reported, or is assumed to have reached.
    :param position: the last position that it has reported.
    :param since: when it last made progress, or was asked after that;
                  ``None``: too long ago to count.
    :param lags: whether it has reported that it lags.
    """

    __slots__ = ('count', 'position', 'since', 'lags')

    def __init__(self, count: int, since: float) -> None:
        self.count = count
        self.position = START
        self.since: Optional[float] = since
        self.lags = False


class Mark(NamedTuple):
    """How many entries the local reader had read at a position, and when."""

    position: Position
    read: int
    time: float


class FlowControl:
    """How much one writer may write, by what the readers have reported.

    Not synchronised: the writer calls it under its lock.
    """

    def __init__(self) -> None:
        self._window: Optional[int] = None
        #: How many entries the local reader may be after another one;
        #: ``None``: any number.
        self.reach: Optional[int] = None
        self._written = 0
        #: Where our entries are: the last position of a batch, and the
        #: number of our messages up to it; oldest first.
        self.checkpoints: Deque[Tuple[Position, int]] = deque()
        #: The positions of the messages up to this number are forgotten.
        self.forgotten = 0
        #: The local reader; ``None``: it has read nothing of ours.
        self.local: Optional[_Local] = None
        #: The readers of other nodes, by uid.
        self.readers: Dict[str, _Remote] = {}
        #: The readers that are awaited: the number of our last entry before
        #: that, and since when. The local one is ``None``.
        self._awaited: Dict[Optional[str], Tuple[int, float]] = {}
        #: Oldest first.
        self._marks: Deque[Mark] = deque(maxlen=MARKS)
        #: The count at the last mark that is older than `ASSUMED_AFTER`.
        self._old = 0
        #: The count at the last question that was read.
        self._questioned = 0
        #: How many entries the local reader has read, and how many of them
        #: after the later one of these two.
        self._count = 0
        self.unasked = 0
        #: Whether a reader may be further from the local one than the reach.
        self._beyond = False
        #: When this writer last asked, and whether no question was read since.
        self._asked_at = -math.inf
        self._asking = False
        #: Since when reports cannot be heard.
        self._deaf: Optional[float] = None

    @property
    def window(self) -> Optional[int]:
        """How many of our entries may be unread by the local reader;
        ``None``: any number, if this process does not read."""
        return self._window

    @window.setter
    def window(self, window: Optional[int]) -> None:
        self._window = None if window is None else min(window, MAX_WINDOW)

    # -- our entries ------------------------------------------------------

    def wrote(self, last: Position, sequence: int, now: float) -> None:
        """A batch is stored.

        :param last: the position of its last entry.
        :param sequence: the number of that entry.
        """
        local = self.local
        if local is not None and local.read >= self._written:
            # It had nothing to read until now.
            local.since = now
        self._written = sequence
        checkpoints = self.checkpoints
        if checkpoints and checkpoints[-1][1] == sequence:
            # Signs of life only: an idle writer would pile them up.
            return
        checkpoints.append((last, sequence))
        remembered = max(REMEMBERED, self._window or 0)
        while checkpoints[0][1] < sequence - remembered:
            self.forgotten = checkpoints.popleft()[1]

    def lose(self, sequence: int) -> None:
        """The stream has lost all that we wrote after this number."""
        while self.checkpoints and self.checkpoints[-1][1] > sequence:
            self.checkpoints.pop()

    # -- the local reader -------------------------------------------------

    def seen(self, sequence: int, now: float) -> None:
        """The local reader has seen our entry of this number."""
        self._awaited.pop(None, None)
        local = self.local
        if local is None:
            self.local = _Local(sequence, START, now)
        else:
            # One step.
            local.read, local.since = sequence, now

    def lags(self, position: Position, now: float) -> None:
        """The local reader lags, and is at this position."""
        self._awaited.pop(None, None)
        local = self.local
        read = self._read_at(position)
        if local is None:
            self.local = _Local(read, position, now)
        elif position > local.position:
            local.read = max(read, local.read)
            local.position, local.since = position, now

    def passed(self, position: Position, count: int, now: float) -> None:
        """The local reader has read so many entries, up to a position."""
        marks = self._marks
        if marks and (position < marks[-1].position
                      or count < marks[-1].read):
            # The stream was set back, or another task counts from now on:
            # what was reported means nothing now.
            marks.clear()
            self.readers.clear()
            self._old = self._questioned = 0
        marks.append(Mark(position, count, now))
        self._count = count
        for mark in reversed(marks):
            if now - mark.time >= ASSUMED_AFTER:
                self._old = mark.read
                break
        for reader in self.readers.values():
            if not reader.lags \
                    and self._questioned <= reader.count < self._old:
                reader.count = self._old
            if self.reach is not None and count - reader.count >= self.reach:
                self._beyond = True
        self.unasked = count - max(self._questioned, self._old)

    def asked(self, position: Position, count: int, now: float) -> None:
        """The local reader has come upon a question."""
        for reader in self.readers.values():
            if reader.since is not None and reader.count >= self._questioned:
                # It had nothing to answer until now.
                reader.since = now
        self._asking = False
        self.passed(position, count, now)
        self._questioned, self.unasked = count, 0
        oldest = self._marks[0].position
        for uid, reader in list(self.readers.items()):
            if reader.since is None and reader.position < oldest:
                # An emitter does not learn which nodes are gone.
                del self.readers[uid]

    # -- the readers of other nodes ---------------------------------------

    def reported(self, uid: str, position: Position, lags: bool,
                 now: float) -> None:
        """A node reports the position of its reader, and whether it lags."""
        self._awaited.pop(uid, None)
        reader = self.readers.get(uid)
        if reader is None:
            reader = self.readers[uid] = _Remote(0, now)
        reader.lags = lags
        if position > reader.position:
            reader.position, reader.since = position, now
            count = self._count_at(position, lags)
            # A reader that lags has not read what it was assumed to.
            reader.count = count if lags else max(reader.count, count)
            self._beyond = True

    def gone(self, uid: str) -> None:
        """A node is gone, or does not answer questions."""
        self.readers.pop(uid, None)
        self._awaited.pop(uid, None)

    def await_readers(self, uids: Iterable[Optional[str]],
                      now: float) -> None:
        """These readers may be away, and may be reconnecting."""
        for uid in uids:
            self._awaited[uid] = self._written, now

    def hears(self, hearing: bool, now: float) -> None:
        """Whether reports can be heard now. If not, the readers are forgotten
        after a while; those that are awaited stay awaited."""
        if hearing:
            self._deaf = None
        elif self._deaf is None:
            self._deaf = now
        elif now - self._deaf > PATIENCE:
            self.forget_readers()

    def forget_readers(self) -> None:
        """Reports cannot be heard now. Awaited readers stay awaited."""
        self.local = None
        self.readers.clear()

    # -- the writer -------------------------------------------------------

    def asks(self, now: float) -> bool:
        """Whether to write a question now."""
        if self.reach is None:
            return False
        waited = now - self._asked_at
        if self._asking and waited < ASK_AGAIN:
            return False
        if self.unasked < self.reach // 4 \
                and (waited < ASK_AGAIN or not self._held_back(now)):
            return False
        self._asked_at, self._asking = now, True
        return True

    def room(self, now: float) -> Optional[int]:
        """How many entries may be written now; ``None``: any number."""
        window, written = self._window, self._written
        if window is None:
            return None
        slowest = written
        local = self.local
        if local is not None:
            if now - local.since <= PATIENCE or written - local.read < window:
                slowest = local.read
            else:
                # It is alive: it is what hears the reports.
                local.read, local.since = written, now
        for uid, (read, since) in list(self._awaited.items()):
            if now - since > RETURN_PATIENCE:
                del self._awaited[uid]
            elif read < slowest:
                slowest = read
        if self._beyond and self._held_back(now):
            return 0
        return max(0, window - (written - slowest))

    def _held_back(self, now: float) -> bool:
        """Whether a reader of another node is not within the reach."""
        reach, count = self.reach, self._count
        held = self._beyond = False
        if reach is None:
            return False
        for reader in self.readers.values():
            if count - reader.count < reach or reader.since is None:
                continue
            if now - reader.since <= PATIENCE:
                held = self._beyond = True
            else:
                reader.since = None
        return held

    def _count_at(self, position: Position, lags: bool) -> int:
        """How many entries the local reader had read at a position."""
        for mark in reversed(self._marks):
            if mark.position <= position:
                return mark.read
        # Before all marks, or there is none yet.
        return 0 if lags else self._count

    def _read_at(self, position: Position) -> int:
        """The number of our last entry up to a position."""
        for last, sequence in reversed(self.checkpoints):
            if last <= position:
                return sequence
        return self.forgotten
