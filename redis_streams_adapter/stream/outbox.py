"""What was emitted and is not known to be stored yet.

Invariants:

- entries are numbered in the order of the outbox, without gaps, under the
  lock;
- an entry leaves the outbox only when the server is known to have stored it,
  or to have refused it for good;
- a full outbox refuses new entries; an entry that was accepted is never
  dropped.

All outboxes of a process share a :class:`Capacity`, and its lock. The lock is
held for a few assignments, never over I/O, never while an event is set. Any
task puts entries in; only the writer's task takes them out. If the process
dies, its outbox is lost.

An exception may strike between any two steps (see
:mod:`redis_streams_adapter.concurrency.locks`), so each change is one step:
an entry is accepted when it is appended, and has left when it is marked as
settled. The number of entries, their size and the next number are computed
from the entries. A settled entry that is still at the front is removed by the
next call that looks.
"""
import time
from bisect import bisect_right
from collections import deque
from itertools import islice
from typing import Callable, Deque, Iterable, Iterator, List, NamedTuple, \
    Optional, Sequence

from ..errors import EventTooLargeError, OutboxFullError, \
    RedisStreamsError
from ..concurrency.locks import Lock
from ..protocol.transport import EntryRefused, Fields, Result
from .latency import Latency

#: What an entry costs in memory besides its fields, in bytes: objects,
#: references and the numbers.
ENTRY_OVERHEAD = 500

#: After this many entries an emitting task lets others run. Otherwise, under
#: gevent and eventlet, nothing would be sent before a loop of emits ends, and
#: the outbox could become full while Redis works.
YIELD_EVERY = 256

#: The same of an entry with data, the names ``uid nsp type data`` included.
DATA_OVERHEAD = ENTRY_OVERHEAD + 14


class Capacity:
    """How much the outboxes of a process hold together.

    It keeps no counts of its own: what is in use is computed from the
    outboxes.

    :param limit: how many entries.
    :param max_bytes: how many bytes, :data:`ENTRY_OVERHEAD` included.
    """

    def __init__(self, limit: int, max_bytes: int) -> None:
        self.lock = Lock()
        self.limit = limit
        self.max_bytes = max_bytes
        #: Whether more than half of it was in use before the last entry.
        #: Written under the lock, read without it; may be slightly out of
        #: date.
        self.crowded = False
        #: Whether the task that put the last entry should let others run. The
        #: same holds.
        self.presses = False
        #: The outboxes that share it: complete before any is used.
        self.outboxes: List['Outbox'] = []

    @property
    def count(self) -> int:
        """How many entries are in use."""
        count = 0
        for each in self.outboxes:
            count += len(each.entries)
        return count

    @property
    def bytes(self) -> int:
        """How many bytes are in use."""
        with self.lock:
            return sum([each.bytes for each in self.outboxes])

    def full(self, size: int) -> RedisStreamsError:
        """The error to raise if there is no room for one more entry."""
        if size > self.max_bytes:
            return EventTooLargeError(
                f'the message takes {size} bytes, and never fits into the '
                f'outbox (outbox_max_bytes={self.max_bytes})')
        if self.count >= self.limit:
            return OutboxFullError(
                f'the outbox is full (outbox_limit={self.limit})')
        return OutboxFullError(
            f'the outbox is full (outbox_max_bytes={self.max_bytes}, '
            f'{self.bytes} in use, {size} more needed)')


class Pending:
    """An entry in the outbox."""

    __slots__ = ('fields', 'size', 'sequence', 'numbered', 'before',
                 'settled', 'refused', 'breaks', 'since')

    def __init__(self, fields: Fields, size: int, sequence: int,
                 numbered: bool) -> None:
        self.fields = fields
        self.size = size
        #: Its number; for a sign of life, the number of the last message.
        self.sequence = sequence
        #: Whether it is a message; if not, a sign of life.
        self.numbered = numbered
        #: How many bytes are before it in the outbox, including those that
        #: have left since the outbox was last empty.
        self.before = 0
        #: Whether it is stored, or refused. Written under the lock.
        self.settled = False
        self.refused: Optional[EntryRefused] = None
        #: How often it has broken the connection. For the writer's task only.
        self.breaks = 0
        #: A time before it was put into the outbox, see :attr:`Outbox.clock`.
        self.since = 0.0


def _end_of(pending: Pending) -> int:
    """How many bytes are in the outbox up to the end of an entry."""
    return pending.before + pending.size


class Settled(NamedTuple):
    """What has left the outbox in one step.

    :param last: the last entry that was stored.
    :param last_id: its id, as Redis wrote it.
    :param refused: why entries were refused for good.
    """

    last: Optional[Pending]
    last_id: Optional[bytes]
    refused: Sequence[EntryRefused]


class Outbox:
    """The entries for one stream, in order.

    :param capacity: the capacity that it shares with other outboxes.
    :param sign: puts into the fields of each entry the uid that is right at
                 its place in the order; called under the lock, see
                 :mod:`redis_streams_adapter.protocol.sender`.
    :param wake: wakes the task that takes entries out; called without the
                 lock.
    """

    def __init__(self, capacity: Capacity,
                 sign: Optional[Callable[[Fields], Fields]] = None,
                 wake: Callable[[], None] = lambda: None) -> None:
        self._capacity = capacity
        self._sign = sign
        self._wake = wake
        #: Set by the task that takes entries out, before it looks and waits.
        #: The first task that puts an entry in after that clears it, and
        #: wakes that task. If an exception strikes between the two, the next
        #: look finds the entry.
        self.is_awaited = False
        self._lock = capacity.lock
        #: Under the lock; the length is read without it.
        self.entries: Deque[Pending] = deque()
        #: What to send before all entries. Written under the lock.
        self.urgent: Optional[Fields] = None
        #: The highest number of a message that has left.
        self._sequence = 0
        #: How many entries were stored, and how many were refused. Written
        #: together with the mark of the entry, without a call in between.
        self.stored = 0
        self.refused = 0
        #: Whether it accepts no more entries.
        self.closed = False
        #: When the task that takes entries out last looked at the clock. To
        #: look for each entry would cost a call. Written by that task, as the
        #: next two.
        self.clock = 0.0
        #: When it last stopped waiting for entries. Those that are here were
        #: put in after that, or shortly before.
        self._empty_until = 0.0
        #: How long entries were here until they were stored or refused.
        self.latency = Latency()
        capacity.outboxes.append(self)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Pending]:
        """The entries, oldest first; for the writer's task, or under the
        lock."""
        return iter(self.entries)

    @property
    def bytes(self) -> int:
        """How many bytes the entries take."""
        with self._lock:
            entries = self.entries
            if not entries:
                return 0
            last = entries[-1]
            return last.before + last.size - entries[0].before

    @property
    def last(self) -> Optional[Pending]:
        """The youngest entry."""
        with self._lock:
            return self.entries[-1] if self.entries else None

    def put(self, fields: Fields, numbered: bool = True,
            bounded: bool = True) -> Pending:
        """Number an entry and accept it. Never blocks.

        :param numbered: whether it is a message; if not, a sign of life.
        :param bounded: whether there has to be room for it; if not, it has
                        its uid already.
        :raises OutboxFullError: it was not accepted.
        :raises EventTooLargeError: it can never be accepted.
        :raises RedisStreamsError: the outbox is closed.
        """
        size = 0
        if bounded and len(fields) == 8:
            # A message. Its values alone, at a quarter of the time.
            size = DATA_OVERHEAD + len(fields[1]) + len(fields[3]) \
                + len(fields[5]) + len(fields[7])
        elif bounded:
            size = ENTRY_OVERHEAD + sum(map(len, fields))
        pending = Pending(fields, size, 1 if numbered else 0, numbered)
        with self._lock:
            if self.closed:
                raise RedisStreamsError('the manager is closed')
            if bounded:
                capacity, count, used = self._capacity, 0, size
                for each in capacity.outboxes:
                    entries = each.entries
                    if entries:
                        last = entries[-1]
                        used += last.before + last.size - entries[0].before
                        count += len(entries)
                if count >= capacity.limit or used > capacity.max_bytes:
                    raise capacity.full(size)
                capacity.crowded = 2 * count > capacity.limit \
                    or 2 * used > capacity.max_bytes
                # Including this one.
                capacity.presses = capacity.crowded \
                    or count % YIELD_EVERY == YIELD_EVERY - 1
                if self._sign is not None:
                    pending.fields = self._sign(fields)
            # Nothing is called from here to the end, so the emit of a signal
            # handler comes before or after this entry.
            pending.since = self.clock
            entries, number = self.entries, self._sequence
            if entries:
                last = entries[-1]
                pending.before = last.before + last.size
                if last.sequence > number:
                    number = last.sequence
            pending.sequence += number
            entries.append(pending)
        if self.is_awaited and bounded:
            # In this order: if another task finds the flag cleared, the task
            # that waits is awake or about to be woken. It looks by itself
            # after the goodbyes.
            self.is_awaited = False
            self._wake()
        return pending

    def put_urgent(self, fields: Fields) -> None:
        """Accept an entry without a number, which is sent before all others,
        in place of one that was not sent yet. Never blocks. A closed outbox
        drops it: it might follow the goodbyes."""
        with self._lock:
            if not self.closed:
                self.urgent = fields if self._sign is None \
                    else self._sign(fields)

    def urgent_sent(self, fields: Fields) -> None:
        """That entry was sent. If an exception strikes before this, it is
        sent again."""
        with self._lock:
            # Unless there is a newer one.
            if self.urgent is fields:
                self.urgent = None

    def close(self, goodbyes: Iterable[Fields]) -> None:
        """Accept nothing after these signs of life, for which there is always
        room. Idempotent."""
        with self._lock:
            if not self.closed:
                for fields in goodbyes:
                    self.put(fields, numbered=False, bounded=False)
                self.closed = True

    def first(self, count: int, max_bytes: int) -> List[Pending]:
        """The first entries: one, and then as many as fit.

        :param count: how many at most.
        :param max_bytes: how large they may be together.
        """
        with self._lock:
            self._tidy()
            batch = list(islice(self.entries, count))
        end = batch[0].before + max_bytes if batch else 0
        if batch and _end_of(batch[-1]) > end:
            del batch[max(1, bisect_right(batch, end, key=_end_of)):]
        return batch

    def look_at_clock(self) -> float:
        """Entries that are put in from now on have waited from now on."""
        self.clock = now = time.monotonic()
        return now

    def was_empty(self) -> None:
        """The task has waited for entries until now."""
        self._empty_until = self.look_at_clock()

    def settle(self, results: Sequence[Result]) -> Settled:
        """Take entries off the front, with their results."""
        refused: List[EntryRefused] = []
        now, since = self.look_at_clock(), self._empty_until
        last: Optional[Pending] = None
        last_id: Optional[bytes] = None
        with self._lock:
            self._tidy()
            entries = self.entries
            if results and entries[0].since > since:
                since = entries[0].since
            for result in results:
                pending = entries[0]
                # Its number is not used again.
                if pending.sequence > self._sequence:
                    self._sequence = pending.sequence
                if isinstance(result, bytes):
                    last, last_id = pending, result
                    self.stored += 1
                    pending.settled = True
                else:
                    refused.append(result)
                    pending.refused = result
                    # One step, as above.
                    self.refused += 1
                    pending.settled = True
                entries.popleft()
        if results:
            self.latency.add(now - since, len(results))
        return Settled(last, last_id, refused)

    def refuse(self, index: int, error: EntryRefused) -> Settled:
        """Take one entry out of the middle."""
        with self._lock:
            self._tidy()
            entries = self.entries
            pending = entries[index]
            if pending.sequence > self._sequence:
                self._sequence = pending.sequence
            pending.refused = error
            # One step.
            self.refused += 1
            pending.settled = True
            del entries[index]
            # Close the gap in the sizes. If an exception strikes here, the
            # entries before it count as larger until they leave.
            for each in islice(entries, index):
                each.before += pending.size
        return Settled(None, None, [error])

    def tidy(self, everything: bool) -> None:
        """Remove settled entries from the front.

        :param everything: remove all entries.
        """
        with self._lock:
            if everything:
                self.entries.clear()
            self._tidy()

    def _tidy(self) -> None:
        """Remove settled entries that are left over because an exception
        struck the task; under the lock."""
        entries = self.entries
        while entries and entries[0].settled:
            entries.popleft()
