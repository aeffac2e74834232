"""How fast a node may write, so that no entry is trimmed before every reader
has read it. Pure.

A stream keeps a bounded number of entries, and Redis knows nothing of its
readers. So the readers report: one that lags says so with its position, and
says when it has caught up (the field ``behind`` of a HEARTBEAT, which Node.js
ignores). Our own reader, which reads all that we write, stands for those that
keep up. While more of our entries than :attr:`FlowControl.window` are unread
by one of them, nothing is sent, and what is emitted waits in the outbox.

After an outage readers may reconnect later than the writer, and the outbox
may hold more than the stream keeps. So they are *awaited*: what is written
from then on counts as unread by each of them until it reports, for
:data:`RETURN_PATIENCE` seconds at most.

No reader holds the writer back for ever. A reader that is silent, or makes no
progress, for :data:`PATIENCE` seconds is ignored until it reports something
new. Progress is any new position, even among the entries of other writers:
our entries would push out what it has not reached yet.

Checkpoints translate a position into the number of our entries up to it.
There is one for each batch: the position of its last entry, and that entry's
number.
"""
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

#: The positions of at least this many of our last entries are remembered: a
#: failover to a replica may lose that many, and they are counted. At one
#: entry a batch that takes 2 MB.
REMEMBERED = 10_000

#: The widest window. All entries in it are remembered, at most 20 MB of them.
MAX_WINDOW = 100_000


class _Reader(NamedTuple):
    """How far a reader has come.

    :param read: the number of our last entry that it has read.
    :param position: the last position that it has reported.
    :param since: when it last made progress; ``None``: too long ago to count.
    """

    read: int
    position: Position
    since: Optional[float]


class FlowControl:
    """How much one writer may write, by what the readers have reported.

    Not synchronised: the writer calls it under its lock.
    """

    def __init__(self) -> None:
        self._window: Optional[int] = None
        self._written = 0
        #: Where our entries are: the last position of a batch, and the
        #: number of our messages up to it; oldest first.
        self.checkpoints: Deque[Tuple[Position, int]] = deque()
        #: The positions of the messages up to this number are forgotten.
        self.forgotten = 0
        #: By the reader's uid; our own is ``None``.
        self._readers: Dict[Optional[str], _Reader] = {}
        #: The readers that are awaited: the number of our last entry before
        #: that, and since when.
        self._awaited: Dict[Optional[str], Tuple[int, float]] = {}

    @property
    def window(self) -> Optional[int]:
        """How many of our entries may be unread by a reader; ``None``: any
        number, if this process does not read."""
        return self._window

    @window.setter
    def window(self, window: Optional[int]) -> None:
        self._window = None if window is None else min(window, MAX_WINDOW)

    def wrote(self, last: Position, sequence: int, now: float) -> None:
        """A batch is stored.

        :param last: the position of its last entry.
        :param sequence: the number of that entry.
        """
        for uid, reader in list(self._readers.items()):
            if reader.read >= self._written:
                # It had nothing to read until now.
                self._readers[uid] = reader._replace(since=now)
            elif reader.since is None and reader.read < self.forgotten:
                # Dead: a process that only writes does not learn of it.
                del self._readers[uid]
        self._written = sequence
        if self.checkpoints and self.checkpoints[-1][1] == sequence:
            # Signs of life only: an idle writer would pile them up.
            return
        self.checkpoints.append((last, sequence))
        remembered = max(REMEMBERED, self._window or 0)
        while self.checkpoints[0][1] < sequence - remembered:
            self.forgotten = self.checkpoints.popleft()[1]

    def lose(self, sequence: int) -> None:
        """The stream has lost all that we wrote after this number."""
        while self.checkpoints and self.checkpoints[-1][1] > sequence:
            self.checkpoints.pop()

    def await_readers(self, uids: Iterable[Optional[str]],
                      now: float) -> None:
        """These readers may be away, and may be reconnecting."""
        for uid in uids:
            self._awaited[uid] = self._written, now

    def forget_readers(self) -> None:
        """Reports cannot be heard now. Awaited readers stay awaited."""
        self._readers.clear()

    def seen(self, sequence: int, now: float) -> None:
        """Our own reader has seen our entry of this number."""
        self._awaited.pop(None, None)
        known = self._readers.get(None)
        self._readers[None] = _Reader(
            sequence, known.position if known else START, now)

    def lags(self, uid: Optional[str], position: Position,
             now: float) -> None:
        """A node reports that its reader lags, and its position."""
        self._awaited.pop(uid, None)
        read = self._read_at(position)
        known = self._readers.get(uid)
        if known is None or position > known.position:
            self._readers[uid] = _Reader(
                max(read, known.read if known else 0), position, now)

    def caught_up(self, uid: Optional[str]) -> None:
        """A node reports that its reader has caught up, or is gone."""
        self._readers.pop(uid, None)
        self._awaited.pop(uid, None)

    def room(self, now: float) -> Optional[int]:
        """How many entries may be written now; ``None``: any number."""
        if self.window is None:
            return None
        slowest = self._written
        for uid, reader in list(self._readers.items()):
            if reader.since is None:
                continue
            if now - reader.since <= PATIENCE \
                    or self._written - reader.read < self.window:
                slowest = min(slowest, reader.read)
            elif uid is None:
                # Our own reader is alive: it is what hears the reports.
                self._readers[uid] = reader._replace(
                    read=self._written, since=now)
            else:
                self._readers[uid] = reader._replace(since=None)
        for uid, (read, since) in list(self._awaited.items()):
            if now - since > RETURN_PATIENCE:
                del self._awaited[uid]
            else:
                slowest = min(slowest, read)
        return max(0, self.window - (self._written - slowest))

    def _read_at(self, position: Position) -> int:
        """The number of our last entry up to a position."""
        for last, sequence in reversed(self.checkpoints):
            if last <= position:
                return sequence
        return self.forgotten
