"""A connection to a stream in memory, see :mod:`.stream`.

Whatever it reads or changes there, it does under the lock of the stream.
"""
import time
from bisect import bisect_right
from typing import Any, List, Optional, Sequence

from ..protocol.position import Position
from ..protocol.transport import Ends, Entry, EntryRefused, Fields, \
    Identity, NO_STREAM, NotReplicated, Result, size_of, Unavailable
from .faults import Fault


class FakeLink:
    """One connection to a :class:`~.stream.FakeStream`."""

    server: Optional[bytes] = None
    atomic = True

    def __init__(self, stream: Any,
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
        with stream.changed:
            self._connecting = True
            self._await_thaw(in_doubt=False)
            self._connecting = False
            if stream.away or self._next_fault('connect') != Fault.NONE:
                raise Unavailable('connection refused')
            stream.identities += 1
            self.number = stream.identities
            self.connected = True
            stream.links[self.number] = self

    def append(self, batch: Sequence[Fields],
               oldest: Optional[int] = None) -> List[Result]:
        stream = self._stream
        with stream.changed:
            stream.batches.append(len(batch))
            self._await_thaw(in_doubt=True)
            stream.expire()
            fault = self._next_fault('append')
            if fault is Fault.BREAK_BEFORE:
                self._break(in_doubt=True)
            if fault is Fault.BREAK_LATE:
                stream.late.append((self, list(batch)))
                # It lives on, on the server's side.
                self.connected = False
                raise Unavailable('no reply', in_doubt=True)
            if fault is Fault.ERROR or stream.error:
                raise Unavailable(stream.error or 'error reply')
            for index, fields in enumerate(batch):
                if stream.chokes_on(fields):
                    stream.end(self)
                    raise EntryRefused('Protocol error', index)
            results: List[Result] = [
                EntryRefused('too large', index) if stream.refuses(fields)
                else bytes(stream.store(fields))
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
        with stream.changed:
            self._ask('read')
            while True:
                start = bisect_right(stream.entries, after,
                                     key=lambda entry: entry.id)
                page: List[Entry] = stream.entries[start:start + count]
                left = deadline - time.monotonic()
                if page or block is None or left <= 0:
                    self.page_bytes = size_of(page)
                    if self.page_bytes > stream.page_limit:
                        self._break(in_doubt=False)
                    return page
                stream.waiting += 1
                self.waits_after = after
                stream.up_to_date.notify_all()
                stream.changed.wait(left)
                self.waits_after = None
                stream.waiting -= 1
                self._await_thaw(in_doubt=False)

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        with self._stream.changed:
            self._ask('read')
            page = [e for e in self._stream.entries if e.id > after][:1]
            self.page_bytes = size_of(page)
        return page if self._stream.scripts else None

    def next_id(self, after: Position) -> Optional[Position]:
        with self._stream.changed:
            self._ask('read')
            return next(
                (e.id for e in self._stream.entries if e.id > after), None)

    def trim(self, keep: Optional[int] = None,
             oldest: Optional[int] = None) -> int:
        with self._stream.changed:
            self._ask('trim')
            count: int = self._stream.cut(oldest, keep or self._max_len)
            return count

    def discard(self, positions: Sequence[Position],
                lifetime: float) -> None:
        with self._stream.changed:
            self._ask('discard')
            self._stream.discard(positions)
            self._stream.expire(lifetime)

    def ends(self) -> Ends:
        stream = self._stream
        with stream.changed:
            self._ask('ends')
            if not stream.added:
                return NO_STREAM
            first = stream.entries[0].id if stream.entries else None
            return Ends(first, stream.last,
                        stream.added if stream.counts_added else None,
                        len(stream.entries))

    def time(self) -> int:
        with self._stream.changed:
            self._ask('time')
            clock: int = self._stream.clock
            return clock

    def end_other(self, identity: Identity) -> None:
        stream = self._stream
        with stream.changed:
            self._ask('end_other')
            other = stream.links.get(int(identity[0]))
            if other is not None and stream.permissive:
                stream.end(other)

    def interrupt(self) -> None:
        with self._stream.changed:
            # As with a socket: one that is not there yet ends nothing.
            if self.connected or self._connecting:
                self._interrupted = True
                self._stream.changed.notify_all()

    def abandon(self) -> None:
        self.abandoned = True
        self.connected = False

    def close(self) -> None:
        with self._stream.changed:
            if self.connected:
                self._stream.end(self)

    # -- with the lock held -----------------------------------------------

    def _ask(self, operation: str) -> None:
        """Apply faults to a command that changes nothing."""
        self._await_thaw(in_doubt=False)
        self._stream.expire()
        fault = self._next_fault(operation)
        if fault is Fault.ERROR:
            raise Unavailable('error reply')
        if fault is not Fault.NONE:
            self._break(in_doubt=False)

    def _await_thaw(self, in_doubt: bool) -> None:
        while self._stream.frozen and not self._interrupted:
            self._stream.changed.wait()
        if self._interrupted or not (self.connected or self._connecting):
            self._break(in_doubt)

    def _next_fault(self, operation: str) -> Fault:
        planned = self._stream.faults[operation]
        return planned.popleft() if planned else Fault.NONE

    def _break(self, in_doubt: bool) -> None:
        self._stream.end(self)
        raise Unavailable('the connection is broken', in_doubt)
