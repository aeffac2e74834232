"""The numbers of the entries that were seen, by writer. They show a reader
which entries are second copies and how many are missing. Pure.

A writer numbers its messages without gaps, and puts them into the stream in
that order. A message whose number is not above the highest one seen of its
writer is therefore a second copy: a command that seemed lost did reach Redis.
If numbers are left out, that many messages were trimmed before they were
read, were refused by Redis, or were lost by it.

*Signs of life* (heartbeats and ADAPTER_CLOSE) are not numbered, because
nothing is lost with them. They carry the number of the last message before
them, so a gap at the end shows too.

The first entry seen of a writer need not be its first. What came before it is
unknown, unless the writer began after the reader did. Therefore each entry
carries ``since``: the position at which the stream ended when its writer
began, or, if there was no stream, the one just before the writer's first
entry.
"""
from typing import Dict, FrozenSet, Optional

from .position import Position, START

#: How many writers are remembered at least. Every process that emits is one
#: more, so there has to be a limit. A copy follows its original within
#: seconds, and a cluster does not start that many processes in that time.
REMEMBERED = 10_000

#: No writer ever reaches a number above this.
MAX_NUMBER = 2**63


class Sequences:
    """What was seen of one stream: the highest number, by writer.

    Two dictionaries take turns. When the young one is full it becomes the old
    one, and the contents of the old one are forgotten. The next entry of a
    writer puts it into the young one.

    Only the reader's task writes it, without a lock. It dies with the process.

    :param own: the id of this process's writer.
    :param remembered: how many writers are remembered at least.
    """

    def __init__(self, own: bytes = b'',
                 remembered: int = REMEMBERED) -> None:
        self.own = own
        self._remembered = remembered
        #: The highest number seen of each writer that was seen lately.
        self.young: Dict[bytes, int] = {}
        self._old: Dict[bytes, int] = {}
        #: The ids of this process's earlier writers. It knows what they have
        #: written.
        self.former: FrozenSet[bytes] = frozenset()
        #: All entries of a writer that began at this position or later are
        #: read; ``None``: not known yet.
        self._start: Optional[Position] = None
        #: If there was no stream then: a position that is older than this
        #: belongs to another stream.
        self._birth = START

    def begin(self, position: Position, moment: int = 0) -> None:
        """The stream is read from this position on.

        :param moment: when the position was looked up, or earlier, by the
                       server's clock, in milliseconds.
        """
        self._start = position
        if position == START:
            self._birth = Position(moment)

    def meet(self, writer: bytes, since: Optional[Position],
             at: Position) -> None:
        """Note a writer of which nothing was seen before.

        :param since: where the stream ended when it began; ``None``: the
                      entry does not say. :data:`START` does not say in which
                      stream: that one may have been deleted.
        :param at: the position of its first entry that is seen.
        """
        if writer in self.former:
            # It is a copy, with any number.
            self.young[writer] = MAX_NUMBER
        elif since is not None and self._start is not None \
                and since >= max(self._start, self._birth):
            self.young[writer] = 0
        if len(self.young) > self._remembered:
            self._old, self.young = self.young, {}
            # Of a writer that began earlier, nothing is assumed to be
            # missing: it may be one that is forgotten now.
            self._start = at

    def missing_since(self, writer: bytes, sequence: int,
                      numbered: bool = True) -> Optional[int]:
        """Note an entry, if an entry of its writer was seen before.

        :return: see :meth:`missing_before`; ``None``: none was.
        """
        last = self.young.get(writer)
        if last is None:
            last = self._old.get(writer)
            if last is None:
                return None
        missing = sequence - last - numbered
        if missing >= 0:
            self.young[writer] = sequence
        return missing

    def missing_before(self, writer: bytes, sequence: int,
                       numbered: bool = True) -> int:
        """Note an entry.

        :param sequence: its number; for a sign of life, that of the last
                         message before it.
        :param numbered: whether it is a message, with a number of its own.
        :return: how many messages of its writer are missing just before it;
                 below 0: the entry is a copy of one that was seen.
        """
        missing = self.missing_since(writer, sequence, numbered)
        if missing is None:
            # What came before the first one is unknown.
            self.young[writer] = sequence
            return 0
        return missing
