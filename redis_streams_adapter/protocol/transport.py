"""The contract of a transport: what a stream guarantees.

A :class:`Link` is one connection to one stream. One task uses it; only
:meth:`Link.interrupt` may be called by others. Nothing is retried inside: a
method does its work once, or raises one of three kinds of error.

=====================  ==================================================
:class:`Unavailable`   the stream cannot be reached, or accepts nothing
                       now. A later attempt may succeed. If ``in_doubt``
                       is true, what was to be appended may be stored or
                       not; otherwise it is not stored
:class:`EntryRefused`  one entry of a batch can never be stored; nothing
                       of the batch is stored
anything else          a defect
=====================  ==================================================

One suite, ``tests/support/transport_contract.py``, tests this contract on
:class:`~redis_streams_adapter.testing.stream.FakeStream`
(``tests/unit/testing/test_stream.py``) and on Redis
(``tests/integration/stream/test_link.py``).
"""
from enum import Enum
from typing import Iterable, List, NamedTuple, Optional, Protocol, \
    Sequence, Tuple, Union

from .position import Position, START

Fields = Sequence[bytes]

#: Redis's name for a connection.
Identity = Tuple[bytes, ...]


class TransportError(Exception):
    """The base class. These errors never reach the application."""


class Way(Enum):
    """The two kinds of PUB/SUB."""

    PLAIN = 'pubsub'
    SHARDED = 'sharded-pubsub'


class Unavailable(TransportError):
    """The stream cannot be used now.

    :param in_doubt: whether what was to be appended may have been stored.
    :param pause: after how many seconds to try again; ``None``: that is for
                  the caller to decide.
    """

    def __init__(self, reason: str, in_doubt: bool = False,
                 pause: Optional[float] = None) -> None:
        super().__init__(reason)
        self.in_doubt = in_doubt
        self.pause = pause


class OutOfMemory(Unavailable):
    """The server has no memory for more entries. Nothing is stored. It still
    trims."""


class NotReplicated(Unavailable):
    """What was appended is stored, but on too few replicas yet."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, in_doubt=True)


class EntryRefused(TransportError):
    """One entry can never be stored.

    :param index: its index in the batch.
    """

    def __init__(self, reason: str, index: int) -> None:
        super().__init__(reason)
        self.index = index


#: What became of an entry: its id as Redis wrote it, or why it was refused.
Result = Union[bytes, EntryRefused]


class Entry(NamedTuple):
    """An entry of the stream.

    :param id: its position in the stream.
    :param fields: names and values in turn.
    """

    id: Position
    fields: Fields


def size_of(entries: Iterable[Entry]) -> int:
    """How many bytes the names and values of entries have."""
    return sum([len(part) for entry in entries for part in entry.fields])


class Ends(NamedTuple):
    """Where a stream begins and ends.

    :param first_id: the id of the oldest entry; ``None`` if the stream is
                     empty.
    :param last_id: the highest id that the stream ever gave out, even if that
                    entry is gone; :data:`START` for a stream that does not
                    exist.
    :param added: how many entries were ever added; ``None`` if the server
                  does not report it.
    :param length: how many entries it holds.
    :param size: how many bytes of entries the reply had: some servers cannot
                 answer without them.
    """

    first_id: Optional[Position]
    last_id: Position
    added: Optional[int]
    length: int
    size: int = 0


#: Of a stream that does not exist.
NO_STREAM = Ends(None, START, 0, 0)


class Link(Protocol):
    """One connection to one stream."""

    def connect(self) -> None:
        """Connect, and be ready for commands.

        Blocks no longer than the connection timeout.

        :raises Unavailable: no server answers, or it refuses the connection.
        """

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None) -> List[Result]:
        """Append entries to the stream, and trim old ones.

        Order: they are stored in the order of the batch, after all that this
        link has appended before. Atomicity: all of them are stored or none, if
        the link is :attr:`atomic`. The exception is an error that concerns one
        entry only: it comes back as :class:`EntryRefused` in the place of an
        id. Blocks until they are stored, and until as many replicas have them
        as the link has to wait for; no longer than the socket timeout.

        :param oldest: trim, approximately, what is older than this, in
                       milliseconds by the server's clock; ``None``: what is
                       more than the stream keeps.
        :return: the id of each as Redis wrote it, in order. The caller parses
                 only the last one.
        :raises Unavailable: see the module; ``in_doubt`` is meaningful.
        :raises OutOfMemory: the server has no memory for them.
        :raises NotReplicated: too few replicas had them in time.
        :raises EntryRefused: nothing is stored, and the link is broken.
        """

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        """Read the entries after a position, oldest first, without gaps
        except for trimmed entries.

        :param after: the position of the last entry before them.
        :param count: how many entries at most.
        :param block: how many seconds to wait for one; ``None``: do not
                      wait.
        :raises Unavailable: nothing was consumed. If the connection broke,
                             the reply may have been too large.
        """

    #: About how many bytes the last page had.
    page_bytes: int

    #: Whether the entries of a batch are stored all or none. If not, the
    #: caller appends events one by one. Known when it is connected.
    atomic: bool

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        """Read the entry after a position, whatever its size.

        :return: the entry, if there is one; ``None``: the server does not
                 permit this.
        :raises Unavailable: nothing was consumed.
        """

    def next_id(self, after: Position) -> Optional[Position]:
        """The position of the first entry after a position; ``None``: there
        is none. Takes no account of the entry's size, if the server permits
        that.

        :raises Unavailable: see the module.
        """

    def trim(self, keep: Optional[int] = None,
             oldest: Optional[int] = None) -> int:
        """Trim, approximately, what is more than the stream keeps.

        :param keep: how many entries to keep, if not as many as usual.
        :param oldest: in place of that: trim what is older than this, in
                       milliseconds by the server's clock.
        :return: how many entries were trimmed.
        :raises Unavailable: see the module.
        """

    def discard(self, positions: Sequence[Position],
                lifetime: float) -> None:
        """Delete entries of a stream that is no log, but an inbox.

        :param positions: those of the entries, some of which may be deleted
                          already. May be empty.
        :param lifetime: after how many seconds the whole stream is deleted,
                         unless another call comes before that.
        :raises Unavailable: see the module.
        """

    def ends(self) -> Ends:
        """Where the stream begins and ends.

        :raises Unavailable: see the module.
        """

    def time(self) -> int:
        """The server's clock, in milliseconds since 1970.

        :raises Unavailable: see the module.
        """

    def end_other(self, identity: Identity) -> None:
        """Close another connection on the server's side, so that none of its
        commands can take effect any more. Does nothing if the server does not
        permit it.

        :param identity: the :attr:`identity` of that link.
        :raises Unavailable: see the module.
        """

    @property
    def identity(self) -> Optional[Identity]:
        """Redis's name for this connection. ``None`` before it is connected,
        and if the server does not permit the question. No other connection
        ever has the same name, not even after a restart or a failover."""

    @property
    def server(self) -> Optional[bytes]:
        """What tells the server from others: its address, as it sees it
        itself. ``None``: it is not known, or the links of one process are
        meant to differ, as in a cluster."""

    def interrupt(self) -> None:
        """End a call that blocks: it raises :class:`Unavailable`. Any task may
        call this, and more than once."""

    def abandon(self) -> None:
        """In a child process after a fork: drop the copy of a connection that
        the parent goes on using. Sends nothing to the server."""

    def close(self) -> None:
        """Close the connection. Never raises."""


def is_there(link: Link, position: Position) -> bool:
    """Whether the stream has an entry at a position.

    :raises Unavailable: see the module.
    """
    return link.next_id(position.before()) == position
