"""A stream in memory, with a clock and faults of its own.

:class:`FakeStream` is the server, :class:`~.link.FakeLink` a connection to
it: a :class:`redis_streams_adapter.protocol.transport.Link`. Faults are
planned for single commands, see :mod:`.faults`, or caused at any moment by
:meth:`FakeStream.freeze`, :meth:`~FakeStream.go_away` and others. One suite,
``tests/support/transport_contract.py``, tests it and Redis.
"""
import math
import threading
import time
from collections import defaultdict, deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from ..protocol.position import Position, START
from ..protocol.transport import Entry, Fields
from .faults import Fault
from .link import FakeLink

#: Where the server's clock starts, in milliseconds since 1970.
CLOCK_START = 1_700_000_000_000


class FakeStream:
    """A server with one stream.

    ``changed`` protects everything, and is notified of every change.

    :param max_len: the number of entries that it keeps, exactly.
    """

    def __init__(self, max_len: int = 1_000_000) -> None:
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        #: Notified of every read that has to wait.
        self.up_to_date = threading.Condition(lock)
        self._max_len = max_len
        #: What happens to the next calls of each method of a link.
        self.faults: Dict[str, Deque[Fault]] = defaultdict(deque)
        #: The connections, by the numbers that the server gives them.
        self.links: Dict[int, FakeLink] = {}
        self.identities = 0
        #: What :meth:`arrive` executes.
        self.late: List[Tuple[FakeLink, List[Fields]]] = []
        #: How many entries there ever were, as Redis counts.
        self.added = 0
        self.frozen = False
        self.away = False
        #: The number of reads that wait for an entry.
        self.waiting = 0
        #: The server's clock, in milliseconds.
        self.clock = CLOCK_START
        #: The highest id given out.
        self.last = START
        #: The entries of the stream.
        self.entries: List[Entry] = []
        #: All entries that it ever had.
        self.history: List[Entry] = []
        #: The size of each batch that a connection has tried to append.
        self.batches: List[int] = []
        #: If set, appending gets this error reply.
        self.error: Optional[str] = None
        #: Whether the server refuses an entry with an error reply.
        self.refuses: Callable[[Fields], bool] = lambda fields: False
        #: Whether it closes the connection when it gets an entry.
        self.chokes_on: Callable[[Fields], bool] = lambda fields: False
        #: Whether it reports how many entries it ever had, as since Redis 7.
        self.counts_added = True
        #: The connection breaks over a page of more bytes.
        self.page_limit = math.inf
        #: Whether it permits scripts.
        self.scripts = True
        #: Whether a connection may know its identity and end others.
        self.permissive = True
        #: When all entries are deleted, by the monotonic clock.
        self.expiry = math.inf

    def link(self, max_len: Optional[int] = None) -> FakeLink:
        """A new connection, not connected yet.

        :param max_len: to how many entries it trims; ``None``: to as many
                        as the server keeps.
        """
        return FakeLink(self, max_len)

    # -- what happens to it -----------------------------------------------

    def plan(self, operation: str, *faults: Fault) -> None:
        """Plan what happens to the next calls of a method of the links."""
        with self.changed:
            self.faults[operation].extend(faults)

    @property
    def planned(self) -> int:
        """The number of faults that have not happened yet."""
        return sum(map(len, self.faults.values()))

    def advance(self, seconds: float) -> None:
        """Let the server's time pass."""
        with self.changed:
            self.clock += int(seconds * 1000)

    def put(self, *fields: bytes) -> Position:
        """Append one entry without a connection.

        :return: its position.
        """
        with self.changed:
            position = self.store(fields)
            self.cut()
            return position

    def freeze(self) -> None:
        """Answer nothing from now on."""
        with self.changed:
            self.frozen = True

    def thaw(self) -> None:
        """Answer again."""
        with self.changed:
            self.frozen = False
            self.changed.notify_all()

    def go_away(self) -> None:
        """End all connections, and refuse new ones."""
        with self.changed:
            self.away = True
            for link in list(self.links.values()):
                self.end(link)

    def come_back(self) -> None:
        """Accept connections again."""
        with self.changed:
            self.away = False

    def kill(self, link: FakeLink) -> None:
        """End one connection."""
        with self.changed:
            self.end(link)

    def arrive(self) -> None:
        """Execute the commands in the buffers of connections that are
        broken for their clients."""
        with self.changed:
            late, self.late = self.late, []
            for link, batch in late:
                if link in self.links.values():
                    for fields in batch:
                        self.store(fields)

    def trim(self, keep: int = 0) -> None:
        """Trim the stream to this many entries."""
        with self.changed:
            self.entries = self.entries[-keep:] if keep else []

    def delete(self) -> None:
        """Delete the stream."""
        with self.changed:
            self.entries = []
            self.last = START
            self.added = 0

    def set_back(self, position: Position) -> None:
        """Lose all entries after a position, as in a failover to a replica
        that has not received them."""
        with self.changed:
            self.last = position
            count = len(self.entries)
            self.entries = [entry for entry in self.entries
                            if entry.id <= self.last]
            self.added -= count - len(self.entries)

    def discard(self, positions: Sequence[Position]) -> None:
        """Delete single entries."""
        with self.changed:
            gone = frozenset(positions)
            self.entries = [each for each in self.entries
                            if each.id not in gone]

    def expire(self, lifetime: Optional[float] = None) -> bool:
        """Delete the stream when its time has come.

        :param lifetime: let that be in this many seconds.
        :return: whether there is a stream.
        """
        with self.changed:
            if time.monotonic() >= self.expiry:
                self.delete()
                self.expiry = math.inf
            if lifetime is not None and self.added:
                self.expiry = time.monotonic() + lifetime
            return self.added > 0

    def wait_until_read(self, count: int, timeout: float) -> bool:
        """Wait until this many connections have read all entries and wait for
        more.

        :param timeout: seconds.
        :return: whether they do.
        """
        with self.changed:
            return self.up_to_date.wait_for(lambda: sum(
                each.waits_after == self.last
                for each in self.links.values()) >= count, timeout)

    def range(self, start: bytes, end: bytes) -> List[List[Any]]:
        """The entries between two ids, as in XRANGE."""
        lowest = START if start == b'-' else Position.parse(
            start.lstrip(b'('))
        with self.changed:
            highest = self.last if end == b'+' else Position.parse(end)
            return [[bytes(entry.id), list(entry.fields)]
                    for entry in self.entries
                    if lowest <= entry.id <= highest and not (
                        start[:1] == b'(' and entry.id == lowest)]

    @property
    def connections(self) -> int:
        """How many connections there are on the server's side."""
        with self.changed:
            return len(self.links)

    # -- with the lock held -----------------------------------------------

    def store(self, fields: Sequence[bytes]) -> Position:
        """Append an entry."""
        milliseconds, number = self.last
        if self.clock > milliseconds:
            self.last = Position(self.clock)
        else:
            self.last = Position(milliseconds, number + 1)
        entry = Entry(self.last, list(fields))
        self.entries.append(entry)
        self.history.append(entry)
        self.added += 1
        self.changed.notify_all()
        return entry.id

    def cut(self, oldest: Optional[int] = None,
            max_len: Optional[int] = None) -> int:
        """Trim entries that are too old or too many."""
        kept = self.entries[-(max_len or self._max_len):] if oldest is None \
            else [e for e in self.entries if e.id.milliseconds >= oldest]
        count, self.entries = len(self.entries) - len(kept), kept
        return count

    def end(self, link: FakeLink) -> None:
        """End a connection."""
        self.links.pop(link.number, None)
        link.connected = False
        self.changed.notify_all()
