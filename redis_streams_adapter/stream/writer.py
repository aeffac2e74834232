"""Emitted messages wait in the outbox; one task sends them, batch by batch.

*Group commit*: the task takes all that has gathered and sends it as one
batch. The next batch forms while this one is on its way, so the batches are as
large as the load.

*Reconciliation*: if the connection breaks between a batch and its reply, the
batch may be stored or not. Every entry carries the writer's id and its number
(``wid``, ``seq``). After reconnecting the writer ends the old connection on
the server's side, reads the stream from its last acknowledged position, and
takes as stored what it finds there. It sends the rest again. If it may not
end that connection, a late command of it may store a batch a second time;
readers drop the copy by its numbers.

*Vanished*: a server that took over may lack what the old one had
acknowledged. After reconnecting the writer looks for its last acknowledged
entry, and reports how many of its messages have vanished.

*Backpressure*: entries sent faster than they are read would be trimmed
unread, see :mod:`redis_streams_adapter.stream.backpressure`.

*Ahead*: what a reader reports, and a question for that, must arrive at once,
while the outbox may be long and may wait for readers. It is sent without a
number, ahead of the next batch, and only the last report counts.

Invariant: what is in ``_flight`` and is not settled was sent, and may be
stored; nothing after it was. If the process dies, what is in flight is stored
as a whole or not at all.

*Struck*: an exception that strikes the writer's task at any line ends its
round as a broken connection does. The next round looks in the stream for what
was in flight, and takes up the rest from the outbox. If one strikes a task
that emits before it wakes the writer, its entry is found within :data:`IDLE`.
"""
import logging
import os
from typing import Any, Callable, Iterable, List, Optional, Sequence

from ..concurrency.availability import Condition
from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..log_events import MESSAGE_REFUSED, MULTI_ALLOWED, MULTI_REFUSED
from ..protocol.position import Position, START
from ..protocol.transport import Entry, EntryRefused, Fields, Identity, Link, \
    NotReplicated, OutOfMemory, Result, Unavailable
from .backpressure import Absent, Backpressure
from .eviction import Evicted, Eviction
from .outbox import Capacity, Outbox, Pending, Settled
from .pages import Pages
from .reconcile import before_first, find_kept, find_stored, PAGE
from .waiters import Waiters

#: The field ``since`` of a writer that began before there was a stream.
_NO_STREAM = bytes(START)

#: How many entries one batch holds at most. A batch is packed and its
#: replies are read without a pause for other green threads: about 3 ms.
BATCH_ENTRIES = 500

#: How many bytes one batch holds at most, if it holds more than one
#: entry: it passes a network of 100 Mbit/s in under 0.1 s, and is below every
#: limit that a server can set on what one client sends.
BATCH_BYTES = 1 << 19

#: The size, in bytes, from which an entry may be too large for the server. The
#: lowest ``proto-max-bulk-len`` and ``client-query-buffer-limit`` are 1 MiB;
#: less what surrounds the data.
LARGE = (1 << 20) - (1 << 14)

#: After how many broken connections an entry that large is taken for the
#: cause. A server may close the connection before its reply arrives.
BREAKS = 3

#: How long to wait for readers before looking again, in seconds. Mostly they
#: wake the task earlier.
HOLD = 0.1

#: How long an idle writer waits before it looks into the outbox again, in
#: seconds. A task that puts something in wakes it, unless an exception
#: strikes that task between the two.
IDLE = 1.0

#: An entry that is appended so that WAIT counts on this connection: a sign of
#: life of an emitter, which every node ignores.
PROBE = (b'uid', b'emitter', b'nsp', b'/', b'type', b'2')


class Writer:
    """The outbox of one process for one stream, and the task that sends it.

    :param open_link: makes a new, unconnected link to the stream.
    :param capacity: how much the outbox holds, which it may share.
    :param patience: how many seconds a task waits for an entry at most.
    :param vanished: called with the number of messages that Redis had
                     acknowledged and has lost; on the writer's task.
    :param overhear, absent: see
                             :class:`~redis_streams_adapter.stream.\
backpressure.Backpressure`.
    :param retention: how many seconds an entry is to be kept; ``None``: as
                      long as the stream is not too long.
    :param evicted: called with the number of entries that were trimmed since
                    Redis had no memory; on the writer's task.
    :param replicated: whether the link waits for replicas.
    :param sign: see :class:`~redis_streams_adapter.stream.outbox.Outbox`.

    The comment at each attribute says which task writes it.
    """

    def __init__(self, open_link: Callable[[], Link], engine: Engine,
                 logger: Callable[[], logging.Logger], *,
                 capacity: Capacity, patience: float,
                 vanished: Callable[[int], None],
                 overhear: Optional[Callable[[Entry], None]] = None,
                 absent: Optional[Callable[[], Absent]] = None,
                 retention: Optional[float] = None,
                 evicted: Evicted = lambda count: None,
                 replicated: bool = False,
                 sign: Optional[Callable[[Fields], Fields]] = None) -> None:
        self.writer_id = os.urandom(8).hex().encode()
        self._open_link = open_link
        self._engine = engine
        self._logger = logger
        self._vanished = vanished
        self._retention = retention
        self._eviction = Eviction(retention, evicted)
        self._replicated = replicated
        self._lock: Any = capacity.lock
        self._work_there = engine.event()
        #: The entries not known to be stored yet. Only the task removes any.
        self.outbox = Outbox(capacity, sign, self.wake)
        #: Puts an entry into it, without the fields of the writer. Not a
        #: method: that saves a call for each message.
        self.append = self.outbox.put
        self._waiters = Waiters(engine, patience)
        # For the tasks that emit.
        self.wait, self.pause = self._waiters.wait, self._waiters.pause
        #: What readers have reported.
        self.backpressure = Backpressure(
            self._lock, self.wake, overhear, absent)
        #: Written by the task; read by those that interrupt it.
        self._link: Optional[Link] = None
        # From here on: written by the task alone.
        #: The last batch that was sent, until it is known what is stored.
        self._flight: Sequence[Pending] = ()
        #: The last position at which an entry of ours is known to be stored,
        #: or the end of the stream when we began.
        self._acknowledged = START
        #: Where the stream ended when we began; ``None``: not known yet.
        self._began_at: Optional[Position] = None
        #: The field ``since``: that position. If there was no stream, it is
        #: just before our first entry as soon as that is known.
        self._since = _NO_STREAM
        self._last_identity: Optional[Identity] = None
        self._failures = 0
        self._pages = Pages(PAGE)
        self._no_multi = Condition(logger)
        self.batches = 0
        self.found_stored = 0

    # -- for every task ---------------------------------------------------

    def append_urgent(self, fields: Fields) -> None:
        """Have an entry sent once, ahead of the outbox; see
        :meth:`~redis_streams_adapter.stream.outbox.Outbox.put_urgent`."""
        self.outbox.put_urgent(fields)
        self.wake()

    def flush(self, timeout: Optional[float]) -> bool:
        """Wait until all that is in the outbox now has left it.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False``: time ran out.
        """
        last = self.outbox.last
        if last is None:
            return True
        self.wake()
        return self._waiters.flush(last, timeout)

    def close(self, goodbyes: Iterable[Fields] = ()) -> None:
        """Accept nothing more after these signs of life. What is in the
        outbox is still sent."""
        self.outbox.close(goodbyes)
        self.wake()

    def end(self) -> int:
        """The task has ended: let no task wait for what is left.

        :return: how many messages are left.
        """
        with self._lock:
            left = sum([pending.numbered and not pending.settled
                        for pending in self.outbox])
        self._waiters.end()
        return left

    def wake(self) -> None:
        """Wake the task: it looks for work, and whether to stop."""
        self._work_there.set()

    def interrupt(self) -> None:
        """End the wait of the task, on its connection or for work."""
        link = self._link
        if link is not None:
            link.interrupt()
        self.wake()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        if self._link is not None:
            self._link.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the writer's task: connect, settle, then send until
        it fails or is stopped."""
        self.outbox.look_at_clock()
        if not self._failures:
            # The first entry has started the task.
            self.outbox.was_empty()
        # The last round may not have woken all.
        self._waiters.wake_settled()
        link = self._open_link()
        self._link = link
        try:
            link.connect()
            if task.stopping:
                return
            returned = self._began_at is not None or self._failures > 0
            if self._began_at is None:
                # From here the stream is searched if the first batch has no
                # reply.
                self._began_at = self._acknowledged = link.ends().last_id
                self._since = bytes(self._began_at)
            elif self._acknowledged != self._began_at:
                self._look_back(link)
            if self._flight:
                self._settle(link)
            self.backpressure.connected(link, returned)
            if self._retention is not None:
                # If the user may not trim, this fails before the task reports
                # that it works.
                link.trim()
            self._last_identity = link.identity
            noted = not self.outbox and self._note_success(task, link)
            while not task.stopping:
                self.backpressure.listen(link, self._acknowledged)
                batch = self._take(link)
                self._send_urgent(link)
                if batch:
                    self._send(link, batch)
                    # Once a round: that saves 12 calls for each batch.
                    noted = noted or self._note_success(task, link)
                    self._eviction.cap(link)
                if len(batch) == BATCH_ENTRIES:
                    # Let others run, however fast the server answers.
                    self._engine.pause()
        except OutOfMemory:
            self._eviction.free(link, self.batches)
            raise
        finally:
            self._failures += 1
            if self._failures > 1:
                # Not at the first: a lost connection is replaced at once.
                self._waiters.suspend()
            self._link = None
            link.close()

    def _note_success(self, task: Task, link: Link) -> bool:
        self._failures = 0
        self._waiters.resume()
        task.works(link.server)
        return True

    def _send_urgent(self, link: Link) -> None:
        urgent = self.outbox.urgent
        if urgent is not None:
            link.append([urgent])
            self.outbox.urgent_sent(urgent)
        if self.backpressure.asks:
            self.backpressure.ask(link)

    def _take(self, link: Link) -> List[Pending]:
        """The next batch; empty if the wait ended without one."""
        self.outbox.is_awaited = True
        if not self.outbox and self.outbox.urgent is None:
            self._work_there.wait(IDLE)
            self.outbox.was_empty()
        self.outbox.is_awaited = False
        # Cleared before looking: what comes later sets it again.
        self._work_there.clear()
        if not self.outbox.entries:
            return []
        room = self.backpressure.room()
        if room == 0:
            if self.backpressure.waits:
                self._work_there.wait(HOLD)
            return []
        most = BATCH_ENTRIES
        if not link.atomic:
            most = 1
            self._no_multi.begin(
                'the server, or a proxy before it, refuses transactions '
                '(MULTI), so events are written one by one',
                extra=MULTI_REFUSED())
        elif self._no_multi.holds:
            self._no_multi.end('transactions work again', MULTI_ALLOWED())
        return self.outbox.first(
            most if room is None else min(room, most), BATCH_BYTES)

    def _send(self, link: Link, batch: List[Pending]) -> None:
        self._flight = batch
        writer, since = self.writer_id, self._since
        oldest = None
        if self._retention is not None:
            # By the server's clock, which the last id shows.
            now = self._acknowledged.milliseconds
            oldest = max(0, now - int(self._retention * 1000))
        try:
            # Not in a function for each entry: this runs for every message.
            results = link.append([
                (*pending.fields, b'wid', writer,
                 b'seq', b'%d' % pending.sequence, b'since', since)
                for pending in batch], oldest)
        except EntryRefused as exc:
            self._report(self.outbox.refuse(exc.index, exc))
            self._flight = ()
            raise Unavailable('Redis refused an entry, and the connection '
                              'was closed') from exc
        except NotReplicated:
            raise
        except Unavailable as exc:
            if not exc.in_doubt:
                self._flight = ()
            elif batch[0].size >= LARGE:
                batch[0].breaks += 1
            raise
        self.batches += 1
        self.backpressure.sent(len(batch))
        if self._since == _NO_STREAM and not self.outbox.stored:
            # If our first entry was found after a break, it stays as it is.
            self._since = bytes(before_first(results))
        self._leave(results)

    def _look_back(self, link: Link) -> None:
        """Find out whether the acknowledged entries are still there."""
        marks, forgotten = self.backpressure.marks()
        self._acknowledged, kept = find_kept(
            link, self._acknowledged, marks, forgotten)
        if kept is not None:
            self.backpressure.lose(kept)
            if marks[-1][1] > kept:
                self._vanished(marks[-1][1] - kept)

    def _settle(self, link: Link) -> None:
        """Find out which entries in flight are stored."""
        if self._last_identity is not None:
            link.end_other(self._last_identity)
        flight = [pending for pending in self._flight
                  if not pending.settled]
        if not flight:
            self._flight = ()
            return
        highest, found_at = find_stored(
            link, self.writer_id, self._acknowledged,
            [pending.sequence for pending in flight], self._pages)
        # Counted: a refused entry leaves a gap in the numbers.
        found = sum(pending.sequence <= highest for pending in flight)
        if found and self._replicated:
            # WAIT counts what its own connection has written.
            link.append([PROBE])
        self.found_stored += found
        self._leave([b''] * found, found_at)
        first = self.outbox.first(1, 0)
        if first and first[0].breaks >= BREAKS:
            self._report(self.outbox.refuse(0, EntryRefused(
                f'{first[0].size} bytes; the connection broke each time it '
                f'was sent', 0)))

    def _leave(self, results: Sequence[Result],
               found_at: Optional[Position] = None) -> None:
        """Take entries off the front of the outbox, with their results.

        :param found_at: the position of the last one, if it is known already.
        """
        settled = self.outbox.settle(results)
        self._flight = ()
        if settled.last is not None and settled.last_id is not None:
            position = found_at or Position.parse(settled.last_id)
            self._acknowledged = position
            self.backpressure.wrote(position, settled.last.sequence)
        self._report(settled)

    def _report(self, settled: Settled) -> None:
        self._waiters.wake_settled()
        for error in settled.refused:
            self._logger().error('Redis refused a message: %s', error,
                                 extra=MESSAGE_REFUSED(reason=str(error)))
