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

One conformance suite, ``tests/support/transport_contract.py``, runs on the
stream of :mod:`redis_streams_adapter.testing` and on Redis.
"""
from enum import Enum
from typing import List, NamedTuple, Optional, Protocol, Sequence, Tuple, \
    Union

from .position import Position, START

Fields = Sequence[bytes]

#: What a server calls a connection.
Identity = Tuple[bytes, ...]


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

    :param id: its position in the stream.
    :param fields: names and values in turn.
    """

    id: Position
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

    first_id: Optional[Position]
    last_id: Position
    added: Optional[int]
    length: int


#: Of a stream that does not exist.
NO_STREAM = Ends(None, START, 0, 0)


class Link(Protocol):
    """One connection to one stream."""

    def connect(self) -> None:
        """Connect, and be ready for commands.

        Blocks no longer than the connection timeout.

        :raises Unavailable: nobody is there, or refuses us.
        """

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None
               ) -> List[Union[bytes, EntryRefused]]:
        """Append entries to the stream, and have it forget old ones.

        Order: they stand in the stream in the order of the batch, and
        behind all that this link has appended before. Atomicity: all of
        them or none, but for entries that concern themselves alone, which
        come back as :class:`EntryRefused` in the place of an id. Blocks
        until they are stored, and until as many replicas have them as the
        link was told to wait for; no longer than the socket timeout.

        :param oldest: have the stream forget about what is older than this,
                       in milliseconds by the server's clock; ``None``: about
                       what is more than the stream keeps.
        :return: the id of each as Redis wrote it, in order. The caller needs
                 the position of the last one alone.
        :raises Unavailable: see the module; ``in_doubt`` is meaningful.
        :raises NotReplicated: too few replicas have them in time.
        :raises EntryRefused: nothing is stored, and the link is broken.
        """

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        """Read the entries behind a position, oldest first, without gaps
        (but for what was trimmed).

        :param after: the position of the last entry before them.
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


def is_there(link: Link, position: Position) -> bool:
    """Whether the stream has an entry at a position.

    :raises Unavailable: always may.
    """
    page = link.read(position.before(), 1, None)
    return bool(page) and page[0].id == position
