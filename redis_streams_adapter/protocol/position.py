"""A place in a stream: the id of an entry, as a value that is ordered.

Redis writes an id as ``<milliseconds>-<number>``: the time by the server's
clock, and a number that tells entries of one millisecond apart
(``streamParseID`` in ``t_stream.c``: two numbers of 64 bits). Text of that
form comes from Redis, from other servers and from clients. It is parsed once,
where it comes in, and formatted where it goes out. In between, code compares
positions, and never the text: ``9-0`` stands before ``10-0``.

A position has no epoch, a value that changes when the stream is deleted,
flushed or set back, as positions have in Centrifugo. There, a script adds
every entry, and keeps the epoch beside the stream; servers in Node.js add
theirs with a plain ``XADD``, and the offset that a client keeps has no place
for an epoch. Redis has no such value either: ``master_replid`` stays the same
when the stream is deleted, and changes at a failover that loses nothing, while
a value beside the stream is the same on a replica that lacks entries. A number
that each process raises for itself cannot be compared with a position that
comes as text from another process. So the reader detects a loss by what the
server reports of the stream, see ``stream/loss_detection.py``, and what is
remembered of the former stream is forgotten then.
"""
from typing import NamedTuple

from ..errors import DecodeError

#: The highest value of either number.
HIGHEST = 2**64 - 1

#: How many digits that has.
DIGITS = 20

#: No text up to this length holds a number that is too long or too high.
SAFE = DIGITS + 1

_new = tuple.__new__


class Position(NamedTuple):
    """A place in a stream: an entry's, or one between two entries.

    ``bytes(position)`` and ``str(position)`` are its text, as Redis writes
    it.

    :param milliseconds: since 1970, by the server's clock.
    :param number: tells entries of one millisecond apart.
    """

    milliseconds: int
    number: int = 0

    @classmethod
    def parse(cls, text: bytes) -> 'Position':
        """Read the id of an entry.

        Runs for each entry that is read.

        :raises DecodeError: the text is not an id.
        """
        milliseconds, _, number = text.partition(b'-')
        if not milliseconds.isdigit() or not number.isdigit() \
                or len(text) > SAFE and not (
                    _is_in_range(milliseconds) and _is_in_range(number)):
            raise DecodeError('not an entry id')
        return _new(cls, (int(milliseconds), int(number)))

    def before(self) -> 'Position':
        """The highest position below this one, to read from there on. No
        position is below :data:`START`."""
        if self.number:
            return Position(self.milliseconds, self.number - 1)
        if self.milliseconds:
            return Position(self.milliseconds - 1, HIGHEST)
        return START

    def __bytes__(self) -> bytes:
        return b'%d-%d' % self

    def __str__(self) -> str:
        return '%d-%d' % self


def _is_in_range(digits: bytes) -> bool:
    return len(digits) <= DIGITS and int(digits) <= HIGHEST


#: The position before every entry.
START = Position(0, 0)
