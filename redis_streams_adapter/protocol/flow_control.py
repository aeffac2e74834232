"""How fast a node may write: not so fast that entries are trimmed under those
who still have to read them. Pure.

A stream keeps a bounded number of entries, and Redis knows nothing of its
readers. So the readers tell: one that falls behind says so, with its
position, and says when it has caught up (the field ``behind`` of a
HEARTBEAT, which Node.js ignores). Our own reader, which sees everything that
we write, stands for those that keep up. While more of our entries than
:attr:`Pace.window` are still to be read by one of them, nothing is sent, and
what is emitted waits in the outbox.

After an outage the readers may come back later than we do, and there may be
more in the outbox than the stream keeps. So they are *awaited*: what is
written from then on counts as unread by each of them until it says where it
is, for :data:`RETURN_PATIENCE` seconds at most.

Nobody holds us back for ever: a reader that is silent, or that does not get
on, for :data:`PATIENCE` seconds is taken out of account until it says
something new. To get on is to move, be it among the entries of others: ours
would push out what it has not come to yet.

A position says how many of our entries it covers by way of checkpoints, one
for each batch: the id of its last entry, and that entry's number.
"""
from collections import deque
from typing import Deque, Dict, Iterable, NamedTuple, Optional, Tuple

from .position import Position, START

#: How long a reader may hold us back without getting on, in seconds. It may
#: be dead, or the entries that it should come to may be gone.
PATIENCE = 2.0

#: How long a reader may take to come back after an outage, in seconds: the
#: longest pause between two attempts to connect is 4 s, and then it has to
#: connect and to answer.
RETURN_PATIENCE = 6.0

#: Of how many of our last entries it is known where they stand, at least:
#: what a replica that was behind may have lost is counted by it. At one entry
#: a batch that takes 2 MB.
REMEMBERED = 10_000

#: The widest window. All entries in it are remembered, at most 20 MB of them.
MAX_WINDOW = 100_000


class _Reader(NamedTuple):
    """How far a reader is.

    :param read: the number of our last entry that it has read.
    :param position: what it last said of it.
    :param since: when it last got on; ``None``: too long ago to count.
    """

    read: int
    position: Position
    since: Optional[float]


class Pace:
    """What is still to be read of what one writer has written.

    Not synchronised: its owner, the writer, has a lock.
    """

    def __init__(self) -> None:
        self._window: Optional[int] = None
        self._written = 0
        #: Where our entries stand: the last id of a batch, and the number of
        #: our messages up to it; oldest first.
        self.checkpoints: Deque[Tuple[Position, int]] = deque()
        #: Up to which number it is not known any more where they stand.
        self.forgotten = 0
        #: By reader, ours under ``None``.
        self._readers: Dict[Optional[str], _Reader] = {}
        #: Those that are awaited: the number of our last entry before, and
        #: since when.
        self._awaited: Dict[Optional[str], Tuple[int, float]] = {}

    @property
    def window(self) -> Optional[int]:
        """How many of our entries may be unread by anybody; ``None``: any
        number, where nobody here reads."""
        return self._window

    @window.setter
    def window(self, window: Optional[int]) -> None:
        self._window = None if window is None else min(window, MAX_WINDOW)

    def wrote(self, last_id: Position, sequence: int, now: float) -> None:
        """A batch is stored; its last entry has this id and this number."""
        for uid, reader in list(self._readers.items()):
            if reader.read >= self._written:
                # It had nothing to read until now.
                self._readers[uid] = reader._replace(since=now)
            elif reader.since is None and reader.read < self.forgotten:
                # Dead: nobody tells a process that only writes.
                del self._readers[uid]
        self._written = sequence
        if self.checkpoints and self.checkpoints[-1][1] == sequence:
            # Signs of life alone: they would pile up in one that is idle.
            return
        self.checkpoints.append((last_id, sequence))
        remembered = max(REMEMBERED, self._window or 0)
        while self.checkpoints[0][1] < sequence - remembered:
            self.forgotten = self.checkpoints.popleft()[1]

    def lose(self, sequence: int) -> None:
        """The stream has nothing any more of what we wrote behind this
        number."""
        while self.checkpoints and self.checkpoints[-1][1] > sequence:
            self.checkpoints.pop()

    def expect(self, uids: Iterable[Optional[str]], now: float) -> None:
        """These readers may be away, and be on their way back."""
        for uid in uids:
            self._awaited[uid] = self._written, now

    def forget_readers(self) -> None:
        """Nothing can be heard of them now; awaited ones are awaited all
        the same."""
        self._readers.clear()

    def seen(self, sequence: int, now: float) -> None:
        """Our own reader has seen our entry of this number."""
        self._awaited.pop(None, None)
        known = self._readers.get(None)
        self._readers[None] = _Reader(
            sequence, known.position if known else START, now)

    def behind(self, uid: Optional[str], position: Position,
               now: float) -> None:
        """A node says that its reader lags, and where it is."""
        self._awaited.pop(uid, None)
        read = self._read_at(position)
        known = self._readers.get(uid)
        if known is None or position > known.position:
            self._readers[uid] = _Reader(
                max(read, known.read if known else 0), position, now)

    def caught_up(self, uid: Optional[str]) -> None:
        """A node says that its reader lags no longer, or is gone."""
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
                # Ours lives, or else we would not hear anybody.
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
        """How many of our entries stand up to a position."""
        for last_id, sequence in reversed(self.checkpoints):
            if last_id <= position:
                return sequence
        return self.forgotten
