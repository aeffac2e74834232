"""Detects that a stream lost entries before its reader had read them.

The numbers of the entries show it, if any later entry of their writer is
left. In addition, the reader asks where the stream begins and ends, and how
many entries it ever had: after each break, when nothing has come for a while,
and every :data:`~redis_streams_adapter.stream.reader.LOOK_INTERVAL`. Compared
with the last answer, and with what was read since, this shows that entries
were trimmed with all that their writer has left, that the stream was deleted,
and that a replica took over that lacked entries.

Redis before 7.0 does not count the entries that a stream ever had. There the
numbers alone show what was trimmed. A stream that was deleted and has begun
again before the reader asked is taken for one that was trimmed.
"""
from typing import Callable, Optional, Sequence

from ..losses import DELETED, SET_BACK, TRIMMED
from ..protocol.position import Position, START
from ..protocol.transport import Ends, Entry, is_there, Link, NO_STREAM


class LossDetector:
    """What the reader knows of one stream.

    :param lost: called with the kind of a loss, see
                 :mod:`redis_streams_adapter.losses`, and with the number of
                 entries, if it is known.
    :param max_len: about how many entries the stream keeps.
    :param doubtful: called if entries may have been lost, and the server
                     cannot tell.

    ``received``, in all calls: how many entries the reader has handed on.
    Everything is called, and every attribute written, by the reader's task
    alone. If an exception strikes it, the reader asks again; the worst result
    is a loss that is reported twice.
    """

    def __init__(self, lost: Callable[[str, Optional[int]], None],
                 max_len: int,
                 doubtful: Optional[Callable[[], None]] = None) -> None:
        self._lost = lost
        self._max_len = max_len
        self._doubtful = doubtful
        #: What the stream was like when it was last looked at.
        self.known = NO_STREAM
        #: Its last entry then; if it had none, the first one since.
        self._landmark = START
        #: How many entries were ever added up to the cursor, at least, less
        #: those that the reader has handed on; ``None``: the server does not
        #: count.
        self._uncounted: Optional[int] = 0
        #: Whether that number is exact.
        self._exact = False
        #: Entries after this may have been trimmed before they were read,
        #: until the reader reaches `_goal`: the first known end of the stream.
        #: Until then, the reader looks after each page.
        self.unsure: Optional[Position] = None
        self._goal = START
        #: Whether some of them may have been, by now. That is reported once,
        #: when the goal is reached.
        self._short = False
        #: Whether the next page is needed, see :meth:`page`.
        self.needs_page = True
        #: What the reader had received when its cursor was last set to a
        #: position at which there may be no entry.
        self._misplaced = 0

    def begin(self, ends: Ends, first: Position) -> Position:
        """Take in the state of the stream with the reader's first position.

        :return: that position.
        """
        self.unsure, self._goal = first, ends.last_id
        return self._note(ends, first, 0)

    def check(self, link: Link, ends: Ends, cursor: Position, received: int,
              reconnected: bool) -> Position:
        """Report what the stream has lost since the last look.

        :param ends: the present state of the stream.
        :param reconnected: another server may have taken over.
        :return: the position to go on from.
        :raises Unavailable: the link broke.
        """
        if ends.last_id < cursor:
            # A wait for ids above the cursor would miss new entries.
            self._lose(ends, received)
            cursor = ends.last_id
        elif self._has_less(ends, cursor, received) or reconnected \
                and received > self._misplaced \
                and self._entry_is_gone(link, cursor):
            self._lose(ends, received)
        elif self._doubtful is not None and received > self._misplaced \
                and self._may_have_less(ends, cursor):
            self._doubtful()
        return self._note(ends, cursor, received)

    def page(self, page: Sequence[Entry], received: int) -> None:
        """Take in a page, before the reader hands it on; needed while it is
        not known exactly how many entries were added, or none was."""
        if not page:
            return
        if self._landmark == START:
            self._landmark = page[0].id
        goal, added = self.known.last_id, self.known.added
        if not self._exact and added is not None and page[-1].id >= goal:
            # The page reaches the end that the stream had at the last look,
            # where the number of its entries is known.
            self._uncounted = added - received - sum(
                entry.id <= goal for entry in page)
            self._exact = True
        self.needs_page = not self._exact

    def _note(self, ends: Ends, cursor: Position, received: int) -> Position:
        self._check_beginning(ends, cursor)
        if cursor == ends.last_id or ends.added is None:
            self._count(ends.added, received)
        self.known, self._landmark = ends, ends.last_id
        self.needs_page = not self._exact or ends.last_id == START
        return cursor

    def _check_beginning(self, ends: Ends, cursor: Position) -> None:
        """Report a loss if not all that is after the first position was
        there to be read. While the oldest entry is not after a position,
        nothing after that position was trimmed."""
        unsure, first = self.unsure, ends.first_id
        if unsure is None:
            return
        is_trimmed = unsure != ends.last_id and self._is_trimmed(ends) and (
            first is None or first > unsure)
        self._short = self._short or is_trimmed
        if cursor < self._goal and first is not None and first <= self._goal:
            self.unsure = max(cursor, first) if is_trimmed else cursor
            return
        # Once, and at the end: what is trimmed meanwhile belongs to it.
        self.unsure, short, self._short = None, self._short, False
        if short:
            # What was trimmed may have been older: that cannot be known.
            self._lost(TRIMMED, None)

    def _is_trimmed(self, ends: Ends) -> bool:
        """Whether the stream has had entries that are gone."""
        if ends.added is None:
            # Each entry that is stored trims the excess.
            return ends.length >= self._max_len
        return ends.added > ends.length

    def _count(self, added: Optional[int], received: int) -> None:
        """Everything was read: compare with the entries that were added."""
        uncounted = None if added is None else added - received
        if uncounted is not None and self._uncounted is not None \
                and self._exact and uncounted > self._uncounted:
            self._lost(TRIMMED, uncounted - self._uncounted)
        self._uncounted = uncounted
        self._exact = True

    def _lose(self, ends: Ends, received: int) -> None:
        self._lost(self._what_happened(ends), None)
        # First: if an exception strikes, no number is relied on.
        self._exact = False
        self._uncounted = None if ends.added is None else -received
        self.unsure, self._short = None, False
        self._misplaced = received

    def _what_happened(self, ends: Ends) -> str:
        """The kind of loss by which the stream has lost its end."""
        first, known = ends.first_id, self.known
        if first is None:
            return DELETED
        if first <= self._landmark:
            # An older entry still exists.
            return SET_BACK
        if ends.added is not None and known.added is not None \
                and ends.added - ends.length > known.added:
            # More entries were trimmed than the stream had.
            return SET_BACK
        return DELETED

    def _has_less(self, ends: Ends, cursor: Position, received: int) -> bool:
        """Whether the stream has had fewer entries by now than were read."""
        if ends.added is None or self._uncounted is None:
            return False
        count = ends.added
        if ends.first_id is not None and ends.first_id > cursor:
            # All that were read must be among those that are gone.
            count -= ends.length
        return count < self._uncounted + received

    @staticmethod
    def _may_have_less(ends: Ends, cursor: Position) -> bool:
        """Whether entries may have been trimmed before they were read,
        without any that would show it: all that were read are gone, and the
        server does not count."""
        return ends.added is None and ends.first_id is not None \
            and ends.first_id > cursor

    @staticmethod
    def _entry_is_gone(link: Link, cursor: Position) -> bool:
        """Whether the last entry that was read is not there, though older
        ones are. More may have come since than was lost."""
        if is_there(link, cursor):
            return False
        # Asked last, because the stream may be trimmed at any time.
        first = link.ends().first_id
        return first is not None and first <= cursor
