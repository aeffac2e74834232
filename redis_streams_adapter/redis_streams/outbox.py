"""What was emitted and is not known to be stored yet.

Invariants:

- numbers are given in the order of the outbox, without gaps, under the lock;
- an entry leaves the outbox when it is known to be stored or known to be
  refused by the server for good, and not otherwise;
- what is full refuses; nothing that was accepted is dropped.

One lock for all outboxes of a process, which share a :class:`Capacity`; it
is held for a few assignments, never over I/O, never while an event is set.
Anybody puts entries in; only the writer's task takes them out. If the process
dies, what stands in the outbox is lost with it.
"""
import threading
from collections import deque
from itertools import islice
from typing import Callable, Deque, Iterable, Iterator, List, NamedTuple, \
    Optional, Sequence, Union

from ..errors import OutboxFullError, RedisStreamsError
from ..tasks import Event
from ..transport import EntryRefused, Fields

#: What an entry costs in memory besides its fields, in bytes: objects,
#: references and the numbers.
ENTRY_OVERHEAD = 500


class Capacity:
    """How much the outboxes of a process hold together.

    :param limit: how many entries.
    :param max_bytes: how many bytes, :data:`ENTRY_OVERHEAD` included.
    """

    def __init__(self, limit: int, max_bytes: int) -> None:
        self.lock = threading.Lock()
        self._limit = limit
        self._max_bytes = max_bytes
        #: In use; written under the lock.
        self.count = 0
        self.bytes = 0

    def take(self, size: int) -> None:
        """Use some of it; under the lock.

        :raises OutboxFullError: there is not so much left.
        """
        if self.count >= self._limit:
            raise OutboxFullError(
                f'the outbox is full (outbox_limit={self._limit})')
        if self.bytes + size > self._max_bytes:
            raise OutboxFullError(
                f'the outbox is full (outbox_max_bytes={self._max_bytes}, '
                f'{self.bytes} in use, {size} more wanted)')
        self.count += 1
        self.bytes += size

    def give_back(self, size: int) -> None:
        """Use it no longer; under the lock."""
        self.count -= 1
        self.bytes -= size


class Pending:
    """An entry in the outbox."""

    __slots__ = ('fields', 'size', 'sequence', 'numbered', 'settled',
                 'refused', 'waiters', 'breaks')

    def __init__(self, fields: Fields, size: int, sequence: int,
                 numbered: bool) -> None:
        self.fields = fields
        self.size = size
        #: Its number; of a sign of life, that of the last message.
        self.sequence = sequence
        #: Whether it is a message; if not, a sign of life.
        self.numbered = numbered
        #: Out of the outbox. Written under the lock.
        self.settled = False
        self.refused: Optional[EntryRefused] = None
        #: Whom to wake when it is settled. Under the lock.
        self.waiters: Optional[List[Event]] = None
        #: How often it has broken the connection. The writer's task's own.
        self.breaks = 0


class Settled(NamedTuple):
    """What has left the outbox at once.

    :param stored: how many entries are stored.
    :param last: the last of them.
    :param last_id: its id.
    :param refused: what was refused for good.
    :param waiters: whom to wake.
    """

    stored: int
    last: Optional[Pending]
    last_id: Optional[bytes]
    refused: Sequence[EntryRefused]
    waiters: Sequence[Event]


class Outbox:
    """The entries for one stream, in order.

    :param capacity: what it shares with others.
    :param sign: gives the fields of each entry the uid that is right at its
                 place in the order, under the lock; see
                 :mod:`redis_streams_adapter.signature`.
    """

    def __init__(self, capacity: Capacity,
                 sign: Optional[Callable[[Fields], Fields]] = None) -> None:
        self._capacity = capacity
        self._sign = sign
        self._lock = capacity.lock
        self._entries: Deque[Pending] = deque()
        # Written under the lock.
        #: The number of the last message that was accepted.
        self.sequence = 0
        #: How many bytes the entries take.
        self.bytes = 0
        #: Whether it accepts nothing more.
        self.closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Pending]:
        """The entries, oldest first; for the writer's task, or under the
        lock."""
        return iter(self._entries)

    @property
    def last(self) -> Optional[Pending]:
        """The youngest entry; under the lock."""
        return self._entries[-1] if self._entries else None

    def put(self, fields: Fields, numbered: bool = True) -> Pending:
        """Accept an entry. Never blocks.

        :param numbered: whether it is a message; if not, a sign of life.
        :raises OutboxFullError: it was not accepted.
        :raises RedisStreamsError: the outbox is closed.
        """
        size = sum(map(len, fields)) + ENTRY_OVERHEAD
        with self._lock:
            if self.closed:
                raise RedisStreamsError('the manager is closed')
            self._capacity.take(size)
            if self._sign is not None:
                fields = self._sign(fields)
            if numbered:
                self.sequence += 1
            pending = Pending(fields, size, self.sequence, numbered)
            self._entries.append(pending)
            self.bytes += size
        return pending

    def close(self, last_words: Iterable[Fields]) -> None:
        """Accept nothing more behind these signs of life, for which there is
        always room. Idempotent."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            for fields in last_words:
                self._capacity.count += 1
                self._entries.append(
                    Pending(fields, 0, self.sequence, False))

    def first(self, count: int, max_bytes: int) -> List[Pending]:
        """The first entries: one, and then as many as fit.

        :param count: how many at most.
        :param max_bytes: how large they may be together.
        """
        batch: List[Pending] = []
        size = 0
        with self._lock:
            for pending in islice(self._entries, count):
                size += pending.size
                if batch and size > max_bytes:
                    break
                batch.append(pending)
        return batch

    def settle(self, results: Iterable[Union[bytes, EntryRefused]]
               ) -> Settled:
        """Take entries off the front, with what became of them."""
        waiters: List[Event] = []
        refused: List[EntryRefused] = []
        last: Optional[Pending] = None
        last_id: Optional[bytes] = None
        stored = 0
        with self._lock:
            for result in results:
                pending = self._entries.popleft()
                self._settle(pending, waiters)
                if isinstance(result, EntryRefused):
                    pending.refused = result
                    refused.append(result)
                else:
                    stored += 1
                    last, last_id = pending, result
        return Settled(stored, last, last_id, refused, waiters)

    def refuse(self, index: int, error: EntryRefused) -> Settled:
        """Take one entry out of the middle."""
        waiters: List[Event] = []
        with self._lock:
            pending = self._entries[index]
            del self._entries[index]
            self._settle(pending, waiters)
            pending.refused = error
        return Settled(0, None, None, [error], waiters)

    def _settle(self, pending: Pending, waiters: List[Event]) -> None:
        self._capacity.give_back(pending.size)
        self.bytes -= pending.size
        pending.settled = True
        if pending.waiters is not None:
            waiters.extend(pending.waiters)

    @staticmethod
    def enrol(pending: Pending, woken: Event) -> None:
        """Have an event set when an entry is settled; under the lock."""
        if pending.waiters is None:
            pending.waiters = [woken]
        else:
            pending.waiters.append(woken)

    @staticmethod
    def strike_off(pending: Pending, woken: Event) -> None:
        """Have it set no longer; under the lock."""
        if pending.waiters is not None and woken in pending.waiters:
            pending.waiters.remove(woken)
