"""Which of a writer's entries the stream holds.

Each entry bears a *stamp*: the id of its writer, its number, and where the
stream ended when its writer began. The stamp identifies the entry after a
connection broke before the reply arrived, and after a failover to a server
that may lack what the old one had acknowledged.
"""
from bisect import bisect_left
from typing import Iterable, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..protocol.position import Position, START
from ..protocol.transport import Ends, Fields, is_there, Link, Result
from .pages import Pages

#: How many entries are read at once in a search for a writer's own, at most.
PAGE = 1000

#: How many fields a stamp has: names and values.
_STAMP_LENGTH = 6

#: The position of a batch: the id of its last entry, and the number of the
#: last message up to it.
Mark = Tuple[Position, int]


def before_first(results: Iterable[Result]) -> Position:
    """The position just before the first entry that was stored; ``START``:
    none was."""
    for result in results:
        if isinstance(result, bytes):
            return Position.parse(result).before()
    return START


def _number_in(fields: Fields, writer: bytes,
               numbers: Mapping[bytes, int]) -> int:
    """The number of an entry of this writer; -1: it is not one of those in
    question."""
    # Looked up, not parsed: any client of Redis can write a similar entry.
    if len(fields) >= _STAMP_LENGTH and fields[-5] == writer \
            and fields[-6] == b'wid' and fields[-4] == b'seq':
        return numbers.get(fields[-3], -1)
    return -1


def find_stored(link: Link, writer: bytes, after: Position,
                sequences: Sequence[int],
                pages: Pages) -> Tuple[int, Position]:
    """Find out which of the entries that were in flight are stored.

    :param after: the position after which they would be.
    :param sequences: their numbers, in order.
    :param pages: how to read the stream.
    :return: the highest number that is stored, below all of them if none is,
             and the position of that entry.
    :raises Unavailable: always may.
    """
    numbers = {b'%d' % sequence: sequence for sequence in sequences}
    highest, found_at = sequences[0] - 1, after
    position = after
    while highest < sequences[-1]:
        page = pages.read(link, position)
        for entry in page:
            position = entry.id
            sequence = _number_in(entry.fields, writer, numbers)
            if sequence > highest:
                highest, found_at = sequence, entry.id
        if not pages.full:
            break
    return highest, found_at


class Kept(NamedTuple):
    """What is left of the acknowledged entries.

    :param position: the position up to which the stream has them.
    :param sequence: the number of the last message that is there; ``None``:
                     all are, as far as is known.
    """

    position: Position
    sequence: Optional[int] = None


def find_kept(link: Link, acknowledged: Position, marks: Sequence[Mark],
              forgotten: int) -> Kept:
    """Find out whether what was acknowledged is still there.

    :param acknowledged: the position of the last acknowledged entry.
    :param marks: the positions of batches, oldest first.
    :param forgotten: the number up to which no positions are known.
    :raises Unavailable: always may.
    """
    if is_there(link, acknowledged):
        return Kept(acknowledged)
    ends = link.ends()
    set_back = ends.last_id < acknowledged
    position = ends.last_id if set_back else acknowledged
    if ends.first_id is None:
        # All was trimmed, or the stream was deleted, which readers report.
        return Kept(position)
    if not set_back and ends.first_id > acknowledged:
        # All entries as old as that were trimmed.
        return Kept(position)
    count = _count_there(link, ends, marks)
    if count == len(marks):
        return Kept(position)
    return Kept(position, marks[count - 1][1] if count else forgotten)


def _count_there(link: Link, ends: Ends, marks: Sequence[Mark]) -> int:
    """How many of the marked entries exist, or were trimmed."""
    first = ends.first_id or ends.last_id
    # A replica has everything up to some batch, and nothing after it.
    return bisect_left(marks, True, key=lambda mark: (
        mark[0] >= first and not is_there(link, mark[0])))
