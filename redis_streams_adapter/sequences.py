"""Which entries of which writer were seen: the readers' guard against
entries that stand in the stream twice, and against entries that are missing.

A writer numbers its entries without gaps, and puts them into the stream in
that order. An entry whose number is not above the highest one seen of its
writer is therefore a second copy, which a command that was thought lost has
left; and where numbers were left out, so many entries were trimmed before
they were read, or were refused by Redis.
"""
from typing import Dict

#: How many writers are remembered at least. Every process that emits is one
#: more, so there has to be an end; a copy follows its original within
#: seconds, and in that time a cluster does not start so many.
REMEMBERED = 10_000


class Sequences:
    """The highest number seen, by writer.

    Two dictionaries take turns: when the young one is full it becomes the
    old one, and what the old one held is forgotten. A writer that is still
    heard of moves over to the young one by that.

    Written by the reader's task alone.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._young: Dict[bytes, int] = {}
        self._old: Dict[bytes, int] = {}

    def missing_before(self, writer: bytes, sequence: int) -> int:
        """Note an entry.

        :return: how many entries of its writer are missing just before it;
                 below 0 for a copy of one that was seen.
        """
        last = self._young.get(writer)
        if last is None:
            # Nothing is known of what came before the first one.
            last = self._old.get(writer, sequence - 1)
        missing = sequence - last - 1
        if missing < 0:
            return missing
        self._young[writer] = sequence
        if len(self._young) > self._remembered:
            self._old, self._young = self._young, {}
        return missing
