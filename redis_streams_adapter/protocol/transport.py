"""The contract of a transport: what the cluster asks of a stream.

A :class:`Link` is one connection to one stream. It is used by one task; only
:meth:`Link.interrupt` may be called by others. Nothing is retried inside: a
method does its work once, or raises one of three errors.

=====================  ==================================================
:class:`Unavailable`   the stream cannot be reached or does not accept
                       anything now. It may be mended. What was to be
                       appended may or may not be stored if
                       ``in_doubt`` is true, and is not stored otherwise
:class:`EntryRefused`  one entry of a batch can never be stored; nothing
                       of the batch is stored
anything else          a defect
=====================  ==================================================

One conformance suite, ``tests/unit/test_transport.py``, runs on the fake of
the tests and on Redis.
"""
from enum import Enum
from typing import List, NamedTuple, Optional, Protocol, Sequence, Tuple, \
    Union

Fields = Sequence[bytes]

#: The two numbers of an id, by which ids are ordered.
Position = Tuple[int, int]

#: What a server calls a connection.
Identity = Tuple[bytes, ...]

#: The id before every entry.
START = b'0-0'


class TransportError(Exception):
    """The base class; these errors never reach the application."""


class Way(Enum):
    """The two kinds of PUB/SUB that there are."""

    PLAIN = 'pubsub'
    SHARDED = 'sharded-pubsub'


class Unavailable(TransportError):
    """The stream cannot be used now.

    :param in_doubt: whether what was to be appended may be stored all the
                     same.
    """

    def __init__(self, reason: str, in_doubt: bool = False) -> None:
        super().__init__(reason)
        self.in_doubt = in_doubt


class NotReplicated(Unavailable):
    """What was appended is stored, but too few replicas have it yet."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, in_doubt=True)


class EntryRefused(TransportError):
    """This one entry can never be stored.

    :param index: its place in the batch.
    """

    def __init__(self, reason: str, index: int) -> None:
        super().__init__(reason)
        self.index = index


class Entry(NamedTuple):
    """An entry of the stream.

    :param id: ``<ms>-<n>``; the milliseconds are those of the server's
               clock.
    :param fields: names and values in turn.
    """

    id: bytes
    fields: Fields


class Ends(NamedTuple):
    """Where a stream begins and ends.

    :param first_id: the id of the oldest entry that is there; ``None`` where
                     none is.
    :param last_id: the highest id that the stream ever gave out, also where
                    that entry is gone; :data:`START` for a stream that does
                    not exist.
    :param added: how many entries were ever added; ``None`` where the server
                  does not tell.
    :param length: how many of them are there.
    """

    first_id: Optional[bytes]
    last_id: bytes
    added: Optional[int]
    length: int


#: Of a stream that does not exist.
NO_STREAM = Ends(None, START, 0, 0)


def parse_id(entry_id: bytes) -> Position:
    """The two numbers of an id, by which ids are ordered."""
    milliseconds, _, number = entry_id.partition(b'-')
    return int(milliseconds), int(number)


def id_before(entry_id: bytes) -> bytes:
    """The highest id below another one, to read from there on; a number
    below 0 is none: the last of the millisecond before."""
    milliseconds, number = parse_id(entry_id)
    if number:
        return b'%d-%d' % (milliseconds, number - 1)
    return b'%d-%d' % (max(0, milliseconds - 1), 2**64 - 1)


class Link(Protocol):
    """One connection to one stream."""

    def connect(self) -> None:
        """Connect, and be ready for commands.

        Blocks no longer than the connection timeout.

        :raises Unavailable: nobody is there, or refuses us.
        """

    def append(self, batch: Sequence[Fields],
               oldest: Optional[bytes] = None
               ) -> List[Union[bytes, EntryRefused]]:
        """Append entries to the stream, and have it forget old ones.

        Order: they stand in the stream in the order of the batch, and
        behind all that this link has appended before. Atomicity: all of
        them or none, but for entries that concern themselves alone, which
        come back as :class:`EntryRefused` in the place of an id. Blocks
        until they are stored, and until as many replicas have them as the
        link was told to wait for; no longer than the socket timeout.

        :param oldest: forget what is older than this id, about; ``None``:
                       what is more than the stream shall keep, about.
        :return: the id of each, in order.
        :raises Unavailable: see the module; ``in_doubt`` is meaningful.
        :raises NotReplicated: too few replicas have them in time.
        :raises EntryRefused: nothing is stored, and the link is broken.
        """

    def read(self, after: bytes, count: int,
             block: Optional[float]) -> List[Entry]:
        """Read the entries behind a position, oldest first, without gaps
        (but for what was trimmed).

        :param after: the id of the last entry that is not wanted.
        :param count: how many entries at most.
        :param block: how many seconds to wait for one; ``None``: do not
                      wait.
        :raises Unavailable: nothing was consumed.
        """

    def trim(self) -> None:
        """Have the stream forget what is more than it shall keep, about.

        :raises Unavailable: always may.
        """

    def ends(self) -> Ends:
        """Where the stream begins and ends.

        :raises Unavailable: always may.
        """

    def time(self) -> int:
        """The server's clock, in milliseconds since 1970.

        :raises Unavailable: always may.
        """

    def end_other(self, identity: Identity) -> None:
        """End another connection on the server's side, so that none of its
        commands can take effect any more. Where that is not permitted
        nothing happens.

        :param identity: the :attr:`identity` of that link.
        :raises Unavailable: always may.
        """

    @property
    def identity(self) -> Optional[Identity]:
        """What the server calls this connection, once connected, where it
        may be asked. No other connection is ever called the same, not even
        after a restart or a failover."""

    def interrupt(self) -> None:
        """End a call that blocks: it raises :class:`Unavailable`. May be
        called by any task, and more than once."""

    def abandon(self) -> None:
        """In a child process after a fork: drop the copy of a connection
        that goes on in the parent, without a word to the server."""

    def close(self) -> None:
        """Close the connection. Never raises."""


def is_there(link: Link, entry_id: bytes) -> bool:
    """Whether the stream has an entry of this id.

    :raises Unavailable: always may.
    """
    page = link.read(id_before(entry_id), 1, None)
    return bool(page) and page[0].id == entry_id
