"""What is emitted waits in the outbox; one task sends it, batch by batch.

*Group commit*: the task takes all that has gathered and sends it as one
batch. The next batch forms by itself while this one is on its way, so the
batches are as large as the load asks for.

*In doubt*: when the connection breaks between a batch and its reply, nobody
knows whether the batch is stored. Every entry carries the writer's id and
its number (``wid``, ``seq``), so after reconnecting the writer ends the old
connection on the server's side, reads the stream from its last acknowledged
id, and takes as stored what it finds there. The rest is sent again. Where
ending that connection is not permitted, a late command of it may store a
batch a second time; readers drop the copy by its numbers.

*Gone*: a server that took over may lack what the old one had acknowledged. So
after reconnecting the writer looks for its last acknowledged entry, and tells
how many of its messages have vanished.

*Not too fast*: what is sent faster than it is read would be trimmed under the
readers, see :mod:`redis_streams_adapter.protocol.flow_control`.

*Out of order*: that a reader lags must be known at once, while the outbox may
be long. It is said without a number, ahead of the next batch, and only the
last word counts.

Invariant: what stands in ``_flight`` and is not settled was sent, and may be
stored; nothing behind it is. If the process dies, what is in flight is stored
as a whole or not at all.

*Struck*: an exception that strikes the writer's task at any line ends its
round as a broken connection does; the next round looks at the stream for what
was in flight, and takes up the rest from the outbox. One that strikes a task
that emits, or waits, leaves nothing behind: a waiter is known by one entry of
a dictionary from before it waits until it is over, and what was put into the
outbox without a word to the writer is found within :data:`IDLE`.
"""
import logging
import os
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, \
    Tuple, Union

from ..errors import RedisStreamsError
from ..protocol.flow_control import FlowControl, PATIENCE
from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.position import Position, START
from ..protocol.transport import EntryRefused, Fields, Identity, Link, \
    NotReplicated, Unavailable
from .reconcile import find_kept, find_stored, PAGE, stamp
from .outbox import Capacity, Outbox, Pending, Settled

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

#: After how many entries a process without a reader listens for readers that
#: lag. It reads its own entries back by that, at a tenth of the cost of
#: emitting them.
LISTEN_EVERY = 500

#: How long to wait for readers before looking again, in seconds; mostly they
#: wake us earlier.
HOLD = 0.1

#: How long an idle writer waits before it looks into the outbox again, in
#: seconds. Whoever puts something in wakes it, but for one that is struck
#: between the two.
IDLE = 1.0

#: How often a stream that is kept by time is cut to its greatest length, in
#: seconds: with what two writers in a hurry store meanwhile it becomes a tenth
#: longer than a million entries.
TRIM_INTERVAL = 1.0

#: What is appended to make replicas say how far they are: a sign of life of
#: nobody, which no node takes notice of.
PROBE = (b'uid', b'emitter', b'nsp', b'/', b'type', b'2')


#: Which readers may be away, and what to ask them.
Absent = Tuple[Iterable[Optional[str]], Sequence[Fields]]


class Writer:
    """The outbox of one process for one stream, and the task that sends it.

    :param open_link: makes a new, unconnected link to the stream.
    :param capacity: how much the outbox holds, which it may share.
    :param patience: how many seconds :meth:`wait` waits at most.
    :param vanished: told how many messages that Redis had acknowledged are
                     gone; on the writer's task.
    :param overhear: as long as no reader of ours runs: what to do with the
                     fields of entries that the task reads back, now and
                     then, to hear of readers that lag.
    :param absent: tells, after an outage, which readers may not be back yet
                   (``None``: our own), and what to ask them; on the
                   writer's task.
    :param retention: how many seconds an entry is to be kept; ``None``: as
                      long as the stream is not too long.
    :param replicated: whether the link waits for replicas.
    :param sign: see :class:`~redis_streams_adapter.stream.outbox.\
Outbox`.

    Shared state: what the lock of the capacity protects besides the outbox
    is said where it is defined.
    """

    def __init__(self, open_link: Callable[[], Link], engine: Engine,
                 logger: Callable[[], logging.Logger], *,
                 capacity: Capacity, patience: float,
                 vanished: Callable[[int], None],
                 overhear: Optional[Callable[[Fields], None]] = None,
                 absent: Optional[Callable[[], Absent]] = None,
                 retention: Optional[float] = None,
                 replicated: bool = False,
                 sign: Optional[Callable[[Fields], Fields]] = None) -> None:
        self.writer_id = os.urandom(8).hex().encode()
        self._open_link = open_link
        self._engine = engine
        self._logger = logger
        self._patience = patience
        self._vanished = vanished
        self._overhear = overhear
        self._absent = absent
        self._retention = retention
        self._replicated = replicated
        self._lock: Any = capacity.lock
        self._sign = sign
        self._outbox = Outbox(capacity, sign)
        #: Set once, by who closes, when the task is to have ended.
        self._ended = False
        #: What to say outside of the order. Under the lock.
        self._urgent: Optional[Fields] = None
        #: Who waits for what. Each adds and removes its own, one step each;
        #: the task, and who ends it, wake them. The impatient do not wait
        #: through an outage.
        self._waiting: Dict[Event, Pending] = {}
        self._impatient: Dict[Event, Pending] = {}
        #: Who still has to read what. Under the lock.
        self._flow = FlowControl()
        # Written by the task, read by those who would wake or interrupt it;
        # each is one assignment, and being late costs a pause of HOLD.
        self._held = False
        self._link: Optional[Link] = None
        #: Said before it looks into the outbox, so that who puts something
        #: in behind that wakes it. The first one who does takes it back.
        self._asleep = False
        # From here on: the task's own.
        #: The last batch that was sent, as long as that is in doubt.
        self._flight: Sequence[Pending] = ()
        #: The last id at which an entry of ours is known to be stored, or
        #: the end of the stream when we began.
        self._acknowledged = START
        #: Where the stream ended when we began; ``None``: not known yet.
        self._since: Optional[Position] = None
        self._heard = START
        self._unheard = 0
        self._last_identity: Optional[Identity] = None
        self._failures = 0
        self._trimmed = time.monotonic()
        #: Whether there is reason to hope for a quick reply. Written by the
        #: task; read by those who would wait for one.
        self._hopeful = True
        self._work_there = engine.event()
        # Counters, written by the task alone.
        self.batches = 0
        self.found_stored = 0

    # -- for everybody ----------------------------------------------------

    def append(self, fields: Fields, numbered: bool = True) -> Pending:
        """Put an entry into the outbox. Never blocks.

        :param fields: names and values in turn; those of the writer are
                       added when it is sent.
        :param numbered: whether it is a message; if not, a sign of life.
        :raises OutboxFullError: nothing was accepted.
        """
        pending = self._outbox.put(fields, numbered)
        if self._asleep:
            # In this order: who sees that it is awake knows that it will be.
            self._asleep = False
            self._work_there.set()
        return pending

    def say_now(self, fields: Fields) -> None:
        """Have an entry sent ahead of the outbox, once, in place of one that
        was not sent yet. Never blocks. Nothing is said after :meth:`close`:
        it might come behind the last words."""
        with self._lock:
            if self._outbox.closed:
                return
            self._urgent = fields if self._sign is None \
                else self._sign(fields)
        self.wake()

    def wait(self, pending: Pending) -> None:
        """Wait until Redis has an entry; in an outage, no longer than it
        takes to notice.

        :raises RedisStreamsError: Redis has refused this entry for good.
        """
        woken = self._engine.event()
        try:
            self._impatient[woken] = pending
            # Behind that: who settles it from now on wakes us.
            if not pending.settled and self._hopeful and not self._ended:
                woken.wait(self._patience)
        finally:
            self._impatient.pop(woken, None)
        if pending.refused is not None:
            raise RedisStreamsError(
                f'Redis has refused the message: {pending.refused}'
            ) from pending.refused

    def flush(self, timeout: Optional[float]) -> bool:
        """Wait until all that is in the outbox now has left it.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False`` where time ran out.
        """
        last = self._outbox.last
        if last is None:
            return True
        woken = self._engine.event()
        try:
            self._waiting[woken] = last
            self.wake()
            # As in wait().
            if not last.settled and not self._ended:
                woken.wait(timeout)
        finally:
            self._waiting.pop(woken, None)
        return last.settled

    @property
    def closed(self) -> bool:
        """Whether nothing may come behind what is in the outbox."""
        return self._outbox.closed

    @property
    def depth(self) -> int:
        """How many entries wait in the outbox."""
        return len(self._outbox)

    @property
    def size(self) -> int:
        """How many bytes wait in the outbox."""
        return self._outbox.bytes

    @property
    def stored(self) -> int:
        """How many entries are known to be stored."""
        return self._outbox.stored

    @property
    def refused(self) -> int:
        """How many entries Redis has refused for good."""
        return self._outbox.refused

    def close(self, last_words: Iterable[Fields] = ()) -> None:
        """Accept nothing more behind these signs of life. What is in the
        outbox is still sent."""
        self._outbox.close(last_words)
        self.wake()

    def end(self) -> int:
        """The task has ended: let nobody wait for what is left.

        :return: how many messages that are.
        """
        self._ended = True
        with self._lock:
            left = sum([pending.numbered and not pending.settled
                        for pending in self._outbox])
        for woken in (*self._waiting.copy(), *self._impatient.copy()):
            woken.set()
        return left

    def wake(self) -> None:
        """Let the task look whether it is to stop."""
        self._work_there.set()

    def interrupt(self) -> None:
        """End what the task waits for, on its connection or here."""
        link = self._link
        if link is not None:
            link.interrupt()
        self.wake()

    def set_window(self, window: Optional[int],
                   hearing: bool = True) -> None:
        """How many of our entries may be unread; ``None``: any number.

        :param hearing: whether it can be heard what was read.
        """
        with self._lock:
            self._flow.window = window
            if not hearing:
                self._flow.forget_readers()

    def stop_listening(self) -> None:
        """A reader of ours runs from now on."""
        self._overhear = None

    def await_reader(self) -> None:
        """Our own reader gets through: what is written from now on is to be
        read by it, too."""
        with self._lock:
            self._flow.await_readers([None], time.monotonic())

    def seen(self, sequence: int) -> None:
        """Our own reader has come to our entry of this number."""
        with self._lock:
            self._flow.seen(sequence, time.monotonic())
        if self._held:
            self.wake()

    def reader_is_behind(self, uid: Optional[str],
                         position: Optional[Position]) -> None:
        """A node has said where its reader is (``None``: we, of our own);
        no position: it has caught up, or the node is gone."""
        with self._lock:
            if position is None:
                self._flow.caught_up(uid)
            else:
                self._flow.lags(uid, position, time.monotonic())
        if self._held:
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
        # Of those that the last round has not come to any more.
        self._wake_waiters()
        link = self._open_link()
        self._link = link
        try:
            link.connect()
            if task.stopping:
                return
            returned = self._since is not None or self._failures > 0
            if self._since is None:
                # From here the tail is searched when the first batch is in
                # doubt.
                self._since = self._acknowledged = link.ends().last_id
            elif self._acknowledged != self._since:
                self._look_back(link)
            if self._flight:
                self._settle(link)
            if self._overhear is not None:
                self._heard = link.ends().last_id
            if returned and self._absent is not None:
                self._expect(link, *self._absent())
            if self._retention is not None:
                # Whoever may not trim shall hear of it before all is well.
                link.trim()
            self._last_identity = link.identity
            if not self._outbox:
                self._gets_through(task)
            while not task.stopping:
                overhear = self._overhear
                if overhear is not None and (
                        self._held or self._unheard >= LISTEN_EVERY):
                    self._listen(link, overhear)
                batch = self._take()
                self._say_urgent(link)
                if batch:
                    self._send(link, batch)
                    self._gets_through(task)
                    self._cap(link)
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

    def _expect(self, link: Link, uids: Iterable[Optional[str]],
                questions: Sequence[Fields]) -> None:
        with self._lock:
            self._flow.await_readers(uids, time.monotonic())
        # After that, so that no answer comes before.
        if questions:
            link.append(questions)

    def _lose_hope(self) -> None:
        self._hopeful = False
        for woken in self._impatient.copy():
            woken.set()

    def _wake_waiters(self) -> None:
        """Wake those whose entry is settled."""
        for waiting in (self._waiting, self._impatient):
            if waiting:
                for woken, pending in waiting.copy().items():
                    if pending.settled:
                        woken.set()

    def _say_urgent(self, link: Link) -> None:
        urgent = self._urgent
        if urgent is not None:
            link.append([urgent])
            with self._lock:
                # Unless there is something newer to say. Struck before this
                # it is said again.
                if self._urgent is urgent:
                    self._urgent = None

    def _take(self) -> List[Pending]:
        """The next batch; empty where the wait was ended without one."""
        self._asleep = True
        if not self._outbox and self._urgent is None:
            self._work_there.wait(IDLE)
        self._asleep = False
        # Cleared before looking: what comes later sets it again.
        self._work_there.clear()
        room = self._room()
        if not room:
            self._work_there.wait(HOLD)
            return []
        return self._outbox.first(room, BATCH_BYTES)

    def _listen(self, link: Link,
                overhear: Callable[[Fields], None]) -> None:
        """Read what has come since the last time."""
        self._unheard = 0
        recent = self._acknowledged.milliseconds - int(PATIENCE * 1000)
        if self._heard.milliseconds < recent:
            # What is older counts for nobody any more.
            self._heard = Position(recent)
            with self._lock:
                self._flow.forget_readers()
        full = True
        while full:
            page = link.read(self._heard, PAGE, None)
            for entry in page:
                self._heard = entry.id
                overhear(entry.fields)
            full = len(page) == PAGE

    def _room(self) -> int:
        """How many entries may be sent now."""
        # Said before looking, so that who makes room from now on wakes us.
        self._held = True
        with self._lock:
            room = self._flow.room(time.monotonic())
        self._held = room == 0
        return BATCH_ENTRIES if room is None else min(room, BATCH_ENTRIES)

    def _cap(self, link: Link) -> None:
        """Cut a stream that is kept by time to its greatest length."""
        if self._retention is not None:
            now = time.monotonic()
            if now - self._trimmed > TRIM_INTERVAL:
                self._trimmed = now
                link.trim()

    def _send(self, link: Link, batch: List[Pending]) -> None:
        self._flight = batch
        writer, since = self.writer_id, bytes(self._since or START)
        oldest = None
        if self._retention is not None:
            # By the server's clock, which the last id shows.
            now = self._acknowledged.milliseconds
            oldest = max(0, now - int(self._retention * 1000))
        try:
            results = link.append(
                [(*pending.fields, *stamp(writer, pending.sequence, since))
                 for pending in batch], oldest)
        except EntryRefused as exc:
            self._tell(self._outbox.refuse(exc.index, exc))
            self._flight = ()
            raise Unavailable('the connection was closed over a refused '
                              'entry') from exc
        except NotReplicated:
            raise
        except Unavailable as exc:
            if not exc.in_doubt:
                self._flight = ()
            elif batch[0].size >= LARGE:
                batch[0].breaks += 1
            raise
        self.batches += 1
        self._unheard += len(batch)
        self._leave(results)

    def _look_back(self, link: Link) -> None:
        """Find out whether what was acknowledged is still there."""
        with self._lock:
            marks = list(self._flow.checkpoints)
            forgotten = self._flow.forgotten
        self._acknowledged, kept = find_kept(
            link, self._acknowledged, marks, forgotten)
        if kept is not None:
            with self._lock:
                self._flow.lose(kept)
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
            [pending.sequence for pending in flight])
        # Counted: where an entry was refused there is a gap in the numbers.
        found = sum(pending.sequence <= highest for pending in flight)
        if found and self._replicated:
            # Replicas are waited for on the connection that has written.
            link.append([PROBE])
        self.found_stored += found
        self._leave([b''] * found, found_at)
        first = self._outbox.first(1, 0)
        if first and first[0].breaks >= BREAKS:
            self._tell(self._outbox.refuse(0, EntryRefused(
                f'{first[0].size} bytes; each time it was sent the '
                f'connection broke', 0)))

    def _leave(self, results: Iterable[Union[bytes, EntryRefused]],
               found_at: Optional[Position] = None) -> None:
        """Take entries off the front of the outbox, with their results.

        :param found_at: the position of the last one, if it is known already.
        """
        settled = self._outbox.settle(results)
        self._flight = ()
        if settled.last is not None and settled.last_id is not None:
            position = found_at or Position.parse(settled.last_id)
            self._acknowledged = position
            with self._lock:
                self._flow.wrote(position,
                                 settled.last.sequence, time.monotonic())
        self._tell(settled)

    def _tell(self, settled: Settled) -> None:
        self._wake_waiters()
        for error in settled.refused:
            self._logger().error('Redis has refused a message: %s', error)
