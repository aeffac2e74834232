"""What is emitted waits in the outbox; one task sends it, batch by batch.

*Group commit*: the task takes all that has gathered and sends it as one
batch. The next batch forms by itself while this one is on its way, so the
batches are as large as the load asks for.

*In doubt*: when the connection breaks between a batch and its reply, nobody
knows whether the batch is stored. Every entry carries the writer's id and
its number (``wid``, ``seq``), so after reconnecting the writer ends the old
connection on the server's side, reads the stream from its last acknowledged
id, and takes as stored what it finds there. The rest is sent again.

*Not too fast*: what is sent faster than it is read would be trimmed under the
readers, see :mod:`redis_streams_adapter.pace`.

*Out of order*: that a reader lags must be known at once, while the outbox may
be long. It is said without a number, ahead of the next batch, and only the
last word counts; when it is lost, the next one is not far.

Invariants:

- numbers are given in the order of the outbox, without gaps, under the lock;
- an entry leaves the outbox when it is known to be stored or known to be
  refused by the server for good, and not otherwise;
- the first ``_in_flight`` entries of the outbox were sent, and may be
  stored; none behind them is.

If the process dies, what stands in the outbox is lost with it; what is in
flight is stored as a whole or not at all.
"""
import logging
import os
import threading
import time
from collections import deque
from itertools import islice
from typing import Callable, Deque, List, Mapping, Optional, Sequence, Set, \
    Union

from ..errors import OutboxFullError, RedisStreamsError
from ..pace import Pace
from ..tasks import Engine, Event, Task
from ..transport import EntryRefused, Fields, Identity, Link, parse_id, \
    START, Unavailable

#: How many entries one batch holds at most. A batch is packed and its
#: replies are read without a pause for other green threads: about 3 ms.
BATCH_ENTRIES = 500

#: How many bytes one batch holds at most, where it holds more than one
#: entry: it passes a network of 100 Mbit/s in under 0.1 s, and is below every
#: limit that a server can set on what one client sends.
BATCH_BYTES = 1 << 19

#: From which size on an entry may be too large for the server, in bytes. 1 MiB
#: is the lowest ``proto-max-bulk-len`` and ``client-query-buffer-limit``; less
#: what surrounds the data.
LARGE = (1 << 20) - (1 << 14)

#: How often an entry that large may break the connection before it is taken
#: for the reason. A server may close it without a word that reaches us.
BREAKS = 3

#: What an entry costs in memory besides its fields, in bytes: objects,
#: references and the numbers.
ENTRY_OVERHEAD = 500

#: After how many entries a process without a reader listens for readers that
#: lag. It reads its own entries back by that, at a tenth of the cost of
#: emitting them.
LISTEN_EVERY = 500

#: How long to wait for readers before looking again, in seconds; mostly they
#: wake us earlier.
HOLD = 0.1

#: How many entries are read at once when looking for one's own.
SETTLE_COUNT = 1000


class Pending:
    """An entry in the outbox."""

    __slots__ = ('fields', 'size', 'sequence', 'settled', 'refused',
                 'waiters', 'breaks')

    def __init__(self, fields: Fields, size: int, sequence: int) -> None:
        self.fields = fields
        self.size = size
        self.sequence = sequence
        #: Out of the outbox. Written under the writer's lock.
        self.settled = False
        self.refused: Optional[EntryRefused] = None
        #: Whom to wake when it is settled. Under the writer's lock.
        self.waiters: Optional[List[Event]] = None
        #: How often it has broken the connection. The task's own.
        self.breaks = 0


class Writer:
    """The outbox of one process for one stream, and the task that sends it.

    :param open_link: makes a new, unconnected link to the stream.
    :param limit: how many entries the outbox holds.
    :param max_bytes: how many bytes it holds, :data:`ENTRY_OVERHEAD`
                      included.
    :param patience: how many seconds :meth:`wait` waits at most.
    :param overhear: where no reader of ours runs: what to do with the
                     fields of entries that the task reads back, now and
                     then, to hear of readers that lag.

    Shared state: the outbox and its counters, under ``_lock``; it is held
    for a few assignments, never over I/O, never while an event is set. Only
    the writer's task takes entries out.
    """

    def __init__(self, open_link: Callable[[], Link], engine: Engine,
                 logger: Callable[[], logging.Logger], *, limit: int,
                 max_bytes: int, patience: float,
                 overhear: Optional[Callable[[Fields], None]] = None
                 ) -> None:
        self.writer_id = os.urandom(8).hex().encode()
        self._open_link = open_link
        self._engine = engine
        self._logger = logger
        self._limit = limit
        self._max_bytes = max_bytes
        self._patience = patience
        self._overhear = overhear
        self._lock = threading.Lock()
        self._outbox: Deque[Pending] = deque()
        self._bytes = 0
        self._sequence = 0
        self._closed = False
        self._ended = False
        #: What to say outside of the order. Under the lock.
        self._urgent: Optional[Fields] = None
        #: Who does not want to wait through an outage. Under the lock.
        self._impatient: Set[Event] = set()
        #: Who still has to read what. Under the lock.
        self._pace = Pace()
        # Written by the task, read by those who would wake or interrupt it;
        # each is one assignment, and being late costs a pause of HOLD.
        self._held = False
        self._link: Optional[Link] = None
        # From here on: the task's own.
        self._in_flight = 0
        self._acknowledged = START
        self._based = False
        self._heard = START
        self._unheard = 0
        self._last_identity: Optional[Identity] = None
        self._failures = 0
        #: Whether there is reason to hope for a quick reply. Written by the
        #: task; read by those who would wait for one.
        self._hopeful = True
        self._work_there = engine.event()
        # Counters, written by the task alone.
        self.stored = 0
        self.refused = 0
        self.batches = 0
        self.found_stored = 0

    # -- for everybody ----------------------------------------------------

    def append(self, fields: Sequence[bytes]) -> Pending:
        """Put an entry into the outbox. Never blocks.

        :param fields: names and values in turn; ``wid`` and ``seq`` are
                       added here.
        :raises OutboxFullError: nothing was accepted.
        """
        size = sum(map(len, fields)) + ENTRY_OVERHEAD
        with self._lock:
            if self._closed:
                raise RedisStreamsError('the manager is closed')
            if len(self._outbox) >= self._limit:
                raise OutboxFullError(
                    f'the outbox is full (outbox_limit={self._limit})')
            if self._bytes + size > self._max_bytes:
                raise OutboxFullError(
                    f'the outbox is full (outbox_max_bytes='
                    f'{self._max_bytes}, {self._bytes} in use, {size} more '
                    f'wanted)')
            self._sequence += 1
            sequence = self._sequence
            pending = Pending(
                (*fields, b'wid', self.writer_id, b'seq', b'%d' % sequence),
                size, sequence)
            self._outbox.append(pending)
            self._bytes += size
        if not self._work_there.is_set():
            self._work_there.set()
        return pending

    def say_now(self, fields: Fields) -> None:
        """Have an entry sent ahead of the outbox, once, in place of one that
        was not sent yet. Never blocks."""
        with self._lock:
            self._urgent = fields
        self.wake()

    def wait(self, pending: Pending) -> None:
        """Wait until Redis has an entry; in an outage, no longer than it
        takes to notice.

        :raises RedisStreamsError: Redis has refused this entry for good.
        """
        woken = self._engine.event()
        with self._lock:
            if not pending.settled and self._hopeful:
                self._enrol(pending, woken)
                self._impatient.add(woken)
            else:
                woken.set()
        woken.wait(self._patience)
        with self._lock:
            self._impatient.discard(woken)
        if pending.refused is not None:
            raise RedisStreamsError(
                f'Redis has refused the message: {pending.refused}'
            ) from pending.refused

    def flush(self, timeout: Optional[float]) -> bool:
        """Wait until all that is in the outbox now has left it.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False`` where time ran out.
        """
        woken = self._engine.event()
        with self._lock:
            if not self._outbox or self._ended:
                return not self._outbox
            last = self._outbox[-1]
            self._enrol(last, woken)
        woken.wait(timeout)
        return last.settled

    @staticmethod
    def _enrol(pending: Pending, woken: Event) -> None:
        if pending.waiters is None:
            pending.waiters = []
        pending.waiters.append(woken)

    @property
    def depth(self) -> int:
        """How many entries wait in the outbox."""
        return len(self._outbox)

    @property
    def size(self) -> int:
        """How many bytes wait in the outbox."""
        return self._bytes

    def close(self) -> None:
        """Accept nothing more. What is in the outbox is still sent."""
        with self._lock:
            self._closed = True

    def end(self) -> None:
        """The task has ended: let nobody wait for what is left."""
        with self._lock:
            self._ended = True
            waiters = [woken for pending in self._outbox
                       for woken in pending.waiters or ()]
        for woken in waiters:
            woken.set()

    def wake(self) -> None:
        """Let the task look whether it is to stop."""
        self._work_there.set()

    def interrupt(self) -> None:
        """End what the task waits for, on its connection or here."""
        link = self._link
        if link is not None:
            link.interrupt()
        self.wake()

    def set_window(self, window: Optional[int]) -> None:
        """How many of our entries may be unread; ``None``: any number."""
        with self._lock:
            self._pace.window = window

    def seen(self, sequence: int) -> None:
        """Our own reader has come to our entry of this number."""
        with self._lock:
            self._pace.seen(sequence, time.monotonic())
        if self._held:
            self.wake()

    def reader_is_behind(self, uid: str,
                         position: Optional[bytes]) -> None:
        """A node has said where its reader is; ``None``: it has caught up,
        or the node is gone."""
        with self._lock:
            if position is None:
                self._pace.caught_up(uid)
            else:
                self._pace.behind(uid, parse_id(position), time.monotonic())
        if self._held:
            self.wake()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.transport.Link.abandon`."""
        if self._link is not None:
            self._link.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the writer's task: connect, settle, then send until
        it fails or is stopped."""
        link = self._open_link()
        self._link = link
        try:
            link.connect()
            if task.stopping:
                return
            if not self._based:
                # From here the tail is searched when the first batch is in
                # doubt.
                self._acknowledged = link.last_id()
                self._based = True
            if self._in_flight:
                self._settle(link)
            if self._overhear is not None:
                self._heard = link.last_id()
            self._last_identity = link.identity
            if not self._outbox:
                self._gets_through(task)
            while not task.stopping:
                if self._overhear is not None and (
                        self._held or self._unheard >= LISTEN_EVERY):
                    self._listen(link, self._overhear)
                batch = self._take()
                self._say_urgent(link)
                if batch:
                    self._send(link, batch)
                    self._gets_through(task)
                if len(batch) == BATCH_ENTRIES:
                    # Others shall run, however fast the server answers.
                    self._engine.pause()
        finally:
            self._failures += 1
            if self._failures > 1:
                # Not at the first: a connection that was merely lost is
                # replaced at once.
                self._lose_hope()
            self._link = None
            link.close()

    def _gets_through(self, task: Task) -> None:
        self._failures = 0
        self._hopeful = True
        task.works()

    def _lose_hope(self) -> None:
        with self._lock:
            self._hopeful = False
            impatient = list(self._impatient)
        for woken in impatient:
            woken.set()

    def _say_urgent(self, link: Link) -> None:
        with self._lock:
            urgent, self._urgent = self._urgent, None
        if urgent is not None:
            link.append([urgent])

    def _take(self) -> List[Pending]:
        """The next batch; empty where the wait was ended without one."""
        if not self._outbox:
            self._work_there.wait()
        # Cleared before looking: what comes later sets it again.
        self._work_there.clear()
        room = self._room()
        if not room:
            self._work_there.wait(HOLD)
            return []
        batch: List[Pending] = []
        size = 0
        with self._lock:
            for pending in islice(self._outbox, room):
                size += pending.size
                if batch and size > BATCH_BYTES:
                    break
                batch.append(pending)
        return batch

    def _listen(self, link: Link,
                overhear: Callable[[Fields], None]) -> None:
        """Read what has come since the last time."""
        self._unheard = 0
        full = True
        while full:
            page = link.read(self._heard, SETTLE_COUNT, None)
            for entry in page:
                self._heard = entry.id
                overhear(entry.fields)
            full = len(page) == SETTLE_COUNT

    def _room(self) -> int:
        """How many entries may be sent now."""
        # Said before looking, so that who makes room from now on wakes us.
        self._held = True
        with self._lock:
            room = self._pace.room(time.monotonic())
        self._held = room == 0
        return BATCH_ENTRIES if room is None else min(room, BATCH_ENTRIES)

    def _send(self, link: Link, batch: List[Pending]) -> None:
        self._in_flight = len(batch)
        try:
            results = link.append([pending.fields for pending in batch])
        except EntryRefused as exc:
            self._in_flight = 0
            self._refuse_at(exc.index, exc)
            raise Unavailable('the connection was closed over a refused '
                              'entry') from exc
        except Unavailable as exc:
            if not exc.in_doubt:
                self._in_flight = 0
            elif batch[0].size >= LARGE:
                batch[0].breaks += 1
            raise
        self.batches += 1
        self._unheard += len(batch)
        self._leave(results)

    def _settle(self, link: Link) -> None:
        """Find out which entries in flight are stored."""
        if self._last_identity is not None:
            link.end_other(self._last_identity)
        numbers = {b'%d' % pending.sequence: pending.sequence for pending
                   in islice(self._outbox, self._in_flight)}
        highest = self._outbox[0].sequence - 1
        last = self._outbox[self._in_flight - 1].sequence
        position = self._acknowledged
        while highest < last:
            page = link.read(position, SETTLE_COUNT, None)
            for entry in page:
                position = entry.id
                sequence = self._own_sequence(entry.fields, numbers)
                if sequence > highest:
                    highest = sequence
                    self._acknowledged = entry.id
            if len(page) < SETTLE_COUNT:
                break
        # Counted: where an entry was refused there is a gap in the numbers.
        found = sum(pending.sequence <= highest for pending
                    in islice(self._outbox, self._in_flight))
        self.found_stored += found
        self._leave([self._acknowledged] * found)
        self._in_flight = 0
        if self._outbox and self._outbox[0].breaks >= BREAKS:
            self._refuse_at(0, EntryRefused(
                f'{self._outbox[0].size} bytes; each time it was sent the '
                f'connection broke', 0))

    def _own_sequence(self, fields: Fields,
                      numbers: Mapping[bytes, int]) -> int:
        # Our fields come last, see append(). Looked up rather than read:
        # anybody can write what looks like ours.
        if len(fields) >= 4 and fields[-3] == self.writer_id \
                and fields[-4] == b'wid' and fields[-2] == b'seq':
            return numbers.get(fields[-1], -1)
        return -1

    def _leave(self, results: Sequence[Union[bytes, EntryRefused]]) -> None:
        """Take entries off the front of the outbox, with their results."""
        waiters: List[Event] = []
        refused: List[EntryRefused] = []
        last = None
        with self._lock:
            for result in results:
                pending = self._outbox.popleft()
                self._bytes -= pending.size
                pending.settled = True
                if isinstance(result, EntryRefused):
                    pending.refused = result
                    refused.append(result)
                else:
                    self._acknowledged = result
                    last = pending.sequence
                    self.stored += 1
                if pending.waiters is not None:
                    waiters.extend(pending.waiters)
            self._in_flight = 0
            if last is not None:
                self._pace.wrote(parse_id(self._acknowledged), last,
                                 time.monotonic())
        self._tell(waiters, refused)

    def _refuse_at(self, index: int, error: EntryRefused) -> None:
        """Take one entry out of the middle of the outbox."""
        with self._lock:
            pending = self._outbox[index]
            del self._outbox[index]
            self._bytes -= pending.size
            pending.settled = True
            pending.refused = error
        self._tell(pending.waiters or [], [error])

    def _tell(self, waiters: List[Event],
              refused: List[EntryRefused]) -> None:
        for woken in waiters:
            woken.set()
        self.refused += len(refused)
        for error in refused:
            self._logger().error('Redis has refused a message: %s', error)


def wait_until_empty(writer: Writer, timeout: float) -> int:
    """Give an outbox time to empty itself.

    :param timeout: seconds.
    :return: how many entries are left in it.
    """
    deadline = time.monotonic() + timeout
    while writer.depth:
        left = deadline - time.monotonic()
        if left <= 0 or not writer.flush(left):
            break
    return writer.depth
