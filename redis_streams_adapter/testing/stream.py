"""A stream in memory, with a clock and faults of its own.

:class:`FakeStream` is the server, :class:`FakeLink` a connection to it: a
:class:`redis_streams_adapter.protocol.transport.Link`. Faults are planned for
single commands, see :mod:`.faults`, or caused at any moment by
:meth:`FakeStream.freeze`, :meth:`~FakeStream.go_away` and others. One suite,
``tests/support/transport_contract.py``, tests it and Redis.
"""
import math
import threading
import time
from bisect import bisect_right
from collections import defaultdict, deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from ..protocol.position import Position, START
from ..protocol.transport import Ends, Entry, EntryRefused, Fields, \
    Identity, NO_STREAM, NotReplicated, Result, size_of, Unavailable
from .faults import Fault

#: Where the server's clock starts, in milliseconds since 1970.
CLOCK_START = 1_700_000_000_000


class FakeStream:
    """A server with one stream.

    ``_changed`` protects everything, and is notified of every change.

    :param max_len: the number of entries that it keeps, exactly.
    """

    def __init__(self, max_len: int = 1_000_000) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        # Notified of every read that has to wait.
        self._up_to_date = threading.Condition(lock)
        self._max_len = max_len
        self._faults: Dict[str, Deque[Fault]] = defaultdict(deque)
        self._links: Dict[int, 'FakeLink'] = {}
        self._late: List[Tuple['FakeLink', List[Fields]]] = []
        self._identities = 0
        self._added = 0
        self._frozen = False
        self._away = False
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

    def link(self, max_len: Optional[int] = None) -> 'FakeLink':
        """A new connection, not connected yet.

        :param max_len: to how many entries it trims; ``None``: to as many
                        as the server keeps.
        """
        return FakeLink(self, max_len)

    # -- what happens to it -----------------------------------------------

    def plan(self, operation: str, *faults: Fault) -> None:
        """Plan what happens to the next calls of a method of the links."""
        with self._changed:
            self._faults[operation].extend(faults)

    @property
    def planned(self) -> int:
        """The number of faults that have not happened yet."""
        return sum(map(len, self._faults.values()))

    def advance(self, seconds: float) -> None:
        """Let the server's time pass."""
        with self._changed:
            self.clock += int(seconds * 1000)

    def put(self, *fields: bytes) -> Position:
        """Append one entry without a connection.

        :return: its position.
        """
        with self._changed:
            position = self._store(fields)
            self.cut()
            return position

    def freeze(self) -> None:
        """Answer nothing from now on."""
        with self._changed:
            self._frozen = True

    def thaw(self) -> None:
        """Answer again."""
        with self._changed:
            self._frozen = False
            self._changed.notify_all()

    def go_away(self) -> None:
        """End all connections, and refuse new ones."""
        with self._changed:
            self._away = True
            for link in list(self._links.values()):
                self._end(link)

    def come_back(self) -> None:
        """Accept connections again."""
        with self._changed:
            self._away = False

    def kill(self, link: 'FakeLink') -> None:
        """End one connection."""
        with self._changed:
            self._end(link)

    def arrive(self) -> None:
        """Execute the commands in the buffers of connections that are
        broken for their clients."""
        with self._changed:
            late, self._late = self._late, []
            for link, batch in late:
                if link in self._links.values():
                    for fields in batch:
                        self._store(fields)

    def trim(self, keep: int = 0) -> None:
        """Trim the stream to this many entries."""
        with self._changed:
            self.entries = self.entries[-keep:] if keep else []

    def delete(self) -> None:
        """Delete the stream."""
        with self._changed:
            self.entries = []
            self.last = START
            self._added = 0

    def set_back(self, position: Position) -> None:
        """Lose all entries after a position, as in a failover to a replica
        that has not received them."""
        with self._changed:
            self.last = position
            count = len(self.entries)
            self.entries = [entry for entry in self.entries
                            if entry.id <= self.last]
            self._added -= count - len(self.entries)

    def wait_until_read(self, count: int, timeout: float) -> bool:
        """Wait until this many connections have read all entries and wait for
        more.

        :param timeout: seconds.
        :return: whether they do.
        """
        with self._changed:
            return self._up_to_date.wait_for(lambda: sum(
                each.waits_after == self.last
                for each in self._links.values()) >= count, timeout)

    def range(self, start: bytes, end: bytes) -> List[List[Any]]:
        """The entries between two ids, as in XRANGE."""
        lowest = START if start == b'-' else Position.parse(
            start.lstrip(b'('))
        with self._changed:
            highest = self.last if end == b'+' else Position.parse(end)
            return [[bytes(entry.id), list(entry.fields)]
                    for entry in self.entries
                    if lowest <= entry.id <= highest and not (
                        start[:1] == b'(' and entry.id == lowest)]

    @property
    def connections(self) -> int:
        """How many connections there are on the server's side."""
        with self._changed:
            return len(self._links)

    # -- with the lock held -----------------------------------------------

    def _store(self, fields: Sequence[bytes]) -> Position:
        milliseconds, number = self.last
        if self.clock > milliseconds:
            self.last = Position(self.clock)
        else:
            self.last = Position(milliseconds, number + 1)
        entry = Entry(self.last, list(fields))
        self.entries.append(entry)
        self.history.append(entry)
        self._added += 1
        self._changed.notify_all()
        return entry.id

    def cut(self, oldest: Optional[int] = None,
            max_len: Optional[int] = None) -> int:
        """Trim entries that are too old or too many."""
        kept = self.entries[-(max_len or self._max_len):] if oldest is None \
            else [e for e in self.entries if e.id.milliseconds >= oldest]
        count, self.entries = len(self.entries) - len(kept), kept
        return count

    def _end(self, link: 'FakeLink') -> None:
        self._links.pop(link.number, None)
        link.connected = False
        self._changed.notify_all()


class FakeLink:
    """One connection to a :class:`FakeStream`."""

    server: Optional[bytes] = None

    def __init__(self, stream: FakeStream,
                 max_len: Optional[int] = None) -> None:
        self._stream = stream
        self._max_len = max_len
        #: After which entry a read waits for another, if one does.
        self.waits_after: Optional[Position] = None
        self._interrupted = self._connecting = False
        #: The number that the server gives it, even if it is not permitted
        #: to know it.
        self.number = 0
        self.connected = self.abandoned = False
        self.page_bytes = 0

    @property
    def identity(self) -> Optional[Identity]:
        if self.number and self._stream.permissive:
            return (b'%d' % self.number,)
        return None

    def connect(self) -> None:
        stream = self._stream
        with stream._changed:
            self._connecting = True
            self._await_thaw(in_doubt=False)
            self._connecting = False
            if stream._away or self._next_fault('connect') != Fault.NONE:
                raise Unavailable('connection refused')
            stream._identities += 1
            self.number = stream._identities
            self.connected = True
            stream._links[self.number] = self

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None) -> List[Result]:
        stream = self._stream
        with stream._changed:
            stream.batches.append(len(batch))
            self._await_thaw(in_doubt=True)
            fault = self._next_fault('append')
            if fault is Fault.BREAK_BEFORE:
                self._break(in_doubt=True)
            if fault is Fault.BREAK_LATE:
                stream._late.append((self, list(batch)))
                # It lives on, on the server's side.
                self.connected = False
                raise Unavailable('no reply', in_doubt=True)
            if fault is Fault.ERROR or stream.error:
                raise Unavailable(stream.error or 'error reply')
            for index, fields in enumerate(batch):
                if stream.chokes_on(fields):
                    stream._end(self)
                    raise EntryRefused('Protocol error', index)
            results: List[Result] = [
                EntryRefused('too large', index) if stream.refuses(fields)
                else bytes(stream._store(fields))
                for index, fields in enumerate(batch)]
            stream.cut(oldest, self._max_len)
            if fault is Fault.BREAK_AFTER:
                self._break(in_doubt=True)
            if fault is Fault.LAG:
                raise NotReplicated('only 0 of 1 replicas')
            return results

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        stream = self._stream
        deadline = time.monotonic() + (block or 0)
        with stream._changed:
            self._ask('read')
            while True:
                start = bisect_right(stream.entries, after,
                                     key=lambda entry: entry.id)
                page = stream.entries[start:start + count]
                left = deadline - time.monotonic()
                if page or block is None or left <= 0:
                    self.page_bytes = size_of(page)
                    if self.page_bytes > stream.page_limit:
                        self._break(in_doubt=False)
                    return page
                stream.waiting += 1
                self.waits_after = after
                stream._up_to_date.notify_all()
                stream._changed.wait(left)
                self.waits_after = None
                stream.waiting -= 1
                self._await_thaw(in_doubt=False)

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        with self._stream._changed:
            self._ask('read')
            page = [e for e in self._stream.entries if e.id > after][:1]
            self.page_bytes = size_of(page)
        return page if self._stream.scripts else None

    def next_id(self, after: Position) -> Optional[Position]:
        with self._stream._changed:
            self._ask('read')
            return next(
                (e.id for e in self._stream.entries if e.id > after), None)

    def trim(self, keep: Optional[int] = None,
             oldest: Optional[int] = None) -> int:
        with self._stream._changed:
            self._ask('trim')
            return self._stream.cut(oldest, keep or self._max_len)

    def ends(self) -> Ends:
        stream = self._stream
        with stream._changed:
            self._ask('ends')
            if not stream._added:
                return NO_STREAM
            first = stream.entries[0].id if stream.entries else None
            return Ends(first, stream.last,
                        stream._added if stream.counts_added else None,
                        len(stream.entries))

    def time(self) -> int:
        with self._stream._changed:
            self._ask('time')
            return self._stream.clock

    def end_other(self, identity: Identity) -> None:
        stream = self._stream
        with stream._changed:
            self._ask('end_other')
            other = stream._links.get(int(identity[0]))
            if other is not None and stream.permissive:
                stream._end(other)

    def interrupt(self) -> None:
        with self._stream._changed:
            # As with a socket: one that is not there yet ends nothing.
            if self.connected or self._connecting:
                self._interrupted = True
                self._stream._changed.notify_all()

    def abandon(self) -> None:
        self.abandoned = True
        self.connected = False

    def close(self) -> None:
        with self._stream._changed:
            if self.connected:
                self._stream._end(self)

    # -- with the lock held -----------------------------------------------

    def _ask(self, operation: str) -> None:
        """Apply faults to a command that changes nothing."""
        self._await_thaw(in_doubt=False)
        fault = self._next_fault(operation)
        if fault is Fault.ERROR:
            raise Unavailable('error reply')
        if fault is not Fault.NONE:
            self._break(in_doubt=False)

    def _await_thaw(self, in_doubt: bool) -> None:
        while self._stream._frozen and not self._interrupted:
            self._stream._changed.wait()
        if self._interrupted or not (self.connected or self._connecting):
            self._break(in_doubt)

    def _next_fault(self, operation: str) -> Fault:
        planned = self._stream._faults[operation]
        return planned.popleft() if planned else Fault.NONE

    def _break(self, in_doubt: bool) -> None:
        self._stream._end(self)
        raise Unavailable('the connection is broken', in_doubt)
