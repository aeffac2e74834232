"""Which entries of which writer were seen: the readers' guard against
entries that stand in the stream twice, and against entries that are missing.

A writer numbers its messages without gaps, and puts them into the stream in
that order. A message whose number is not above the highest one seen of its
writer is therefore a second copy, which a command that was thought lost has
left; and where numbers were left out, so many messages were trimmed before
they were read, or were refused by Redis, or were lost by it.

*Signs of life* (heartbeats and the goodbye) are not numbered: nothing is lost
with them. They carry the number of the last message before them, so that what
is missing at the end is known too.

The first entry seen of a writer need not be its first: nothing is known of
what came before it, unless the writer began after the reader did. Hence
``since``, which each entry carries: where the stream ended when its writer
began.
"""
from typing import Dict, FrozenSet, Optional

from .position import Position, START

#: How many writers are remembered at least. Every process that emits is one
#: more, so there has to be an end; a copy follows its original within
#: seconds, and in that time a cluster does not start so many.
REMEMBERED = 10_000

#: No writer ever comes to a number that is above this.
MAX_NUMBER = 2**63


class Sequences:
    """What was seen of one stream: the highest number, by writer.

    Two dictionaries take turns: when the young one is full it becomes the
    old one, and what the old one held is forgotten. A writer that is still
    heard of moves over to the young one by that.

    Written by the reader's task alone.

    :param own: the id of this process's writer.
    """

    def __init__(self, own: bytes = b'',
                 remembered: int = REMEMBERED) -> None:
        self.own = own
        self._remembered = remembered
        self._young: Dict[bytes, int] = {}
        self._old: Dict[bytes, int] = {}
        #: Earlier writers of this process: what they have written it knows.
        self.former: FrozenSet[bytes] = frozenset()
        #: Of writers that began here or later, everything was to be seen;
        #: ``None``: not known yet.
        self._start: Optional[Position] = None
        #: Where there was no stream then: what is older than this, and is
        #: not the beginning, was in another one.
        self._birth = START

    def begin(self, position: Position, moment: int = 0) -> None:
        """The stream is read from this position on.

        :param moment: when that was found out, or before, by the server's
                       clock, in milliseconds.
        """
        self._start = position
        if position == START:
            self._birth = Position(moment)

    def knows(self, writer: bytes) -> bool:
        """Whether something was seen of a writer before."""
        return writer in self._young or writer in self._old

    def meet(self, writer: bytes, since: Optional[Position],
             at: Position) -> None:
        """Get to know a writer of which nothing was seen before.

        :param since: where the stream ended when it began, where it says.
        :param at: the position of its first entry that is seen.
        """
        if writer in self.former:
            # Whatever its number, it is a copy.
            self._young[writer] = MAX_NUMBER
        elif since is not None and self._start is not None \
                and since >= self._start \
                and (since >= self._birth or since == START):
            self._young[writer] = 0
        if len(self._young) > self._remembered:
            self._old, self._young = self._young, {}
            # Who began before is not judged: it may be one of those that
            # are forgotten now.
            self._start = at

    def missing_before(self, writer: bytes, sequence: int,
                       numbered: bool = True) -> int:
        """Note an entry.

        :param sequence: its number, or that of the last message before it.
        :param numbered: whether it is a message with a number of its own.
        :return: how many messages of its writer are missing just before it;
                 below 0 for a copy of one that was seen.
        """
        step = 1 if numbered else 0
        last = self._young.get(writer)
        if last is None:
            # Nothing is known of what came before the first one.
            last = self._old.get(writer, sequence - step)
        missing = sequence - last - step
        if missing >= 0:
            self._young[writer] = sequence
        return missing
