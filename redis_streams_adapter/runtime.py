"""The life of a manager in one process: its node, its connections, its
tasks.

A fork ends a life: the child makes itself a new one, with a new uid and new
connections, and leaves its copy of the old one alone. Everything that must
not be shared by two processes hangs on a :class:`Runtime`.

========= ==================================== ==========================
task      does                                 ends
========= ==================================== ==========================
writer    sends the outbox                     after the last flush
reader    takes entries in, acts on them       when interrupted
heartbeat lets the node's time pass            at its next tick
========= ==================================== ==========================

Two locks, taken in this order and never held over I/O or user code:

- ``order`` makes "into the outbox" and "to the own clients" one step, so that
  every client sees a node's messages in one order;
- ``_core`` lets one task at a time into the node.
"""
import logging
import os
import threading
import time
from typing import Any, Callable, Dict, Iterable, Optional

from .codec import decode, Encoder, Fields, open_envelope
from .errors import DecodeError, OutboxFullError
from .messages import EMITTER_UID, Heartbeat, Message, MessageType
from .node import Acknowledged, Act, Duplicate, Event, Missing, Node, \
    NodeJoined, NodeLeft, ReaderLags, Send, Skipped
from .options import Options
from .redis_streams.connect import Driver
from .redis_streams.link import RedisLink
from .redis_streams.reader import Reader
from .redis_streams.writer import Pending, wait_until_empty, Writer
from .tasks import Condition, Engine, Task
from .transport import Entry

#: How long a start waits for the first attempt to read, in seconds. In good
#: weather it takes milliseconds, and no client is accepted before the stream
#: is followed; a server without its Redis shall still start.
START_PATIENCE = 2.0

#: How long a close waits for tasks that were interrupted, in seconds.
JOIN_PATIENCE = 2.0

#: How often missing messages are logged at most, in seconds.
MISSING_INTERVAL = 10.0

#: After so many entries in the outbox an emitting task lets others run:
#: under gevent and eventlet nothing would be sent before a loop of emits is
#: over, and an outbox could be full while Redis is well.
YIELD_EVERY = 256

Logger = Callable[[], logging.Logger]


class Runtime:
    """Everything of a manager that belongs to this process.

    :param act: carries out a message for the own clients; on the reader's
                task.
    :param namespaces: tells which namespaces are served.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Logger, json: Any, write_only: bool,
                 act: Callable[[Act], None],
                 namespaces: Callable[[], Iterable[str]]) -> None:
        self.uid = EMITTER_UID if write_only else os.urandom(8).hex()
        self.engine = engine
        self.order = threading.RLock()
        self._core = threading.Lock()
        self._logger = logger
        self._act = act
        self._namespaces = namespaces
        # Until it is a member: whoever is counted has to answer.
        self._encoder = Encoder(EMITTER_UID, json, options.only_plaintext)
        self._condition = Condition('Redis', logger)
        max_len = self._max_len = options.max_len or 0

        self.writer = Writer(
            lambda: RedisLink(driver, options.stream_name, max_len),
            engine, logger, limit=options.outbox_limit,
            max_bytes=options.outbox_max_bytes,
            patience=driver.socket_timeout,
            overhear=self._overhear if write_only else None)
        self._node = Node(self.uid, self.writer.writer_id,
                          options.heartbeat_interval,
                          options.heartbeat_timeout)
        if write_only:
            self.writer.set_window(max(1, max_len // 4))
        self.reader = Reader(
            lambda: RedisLink(driver, options.stream_name, max_len,
                              options.block_time),
            self._take_in, self._resumed, self._lagging, logger,
            pause=engine.pause, count=options.read_count,
            block=options.block_time)
        #: Started tasks, by name; under the start lock.
        self._tasks: Dict[str, Task] = {}
        self._starting = threading.RLock()
        #: Set once, one after the other; under the start lock. A closed
        #: runtime still sends, an ended one has no tasks.
        self._closed = False
        self._ended = False
        #: Whether the reader has its first position, so that an answer to
        #: what this node says is not missed. Written by the reader's task.
        self._positioned = False
        # Written by the reader's task alone; then its counters.
        self._own_seen = 0
        self._skipped = 0
        self._missing = 0
        self._missing_told = -MISSING_INTERVAL
        self._duplicates = 0

    # -- beginning and end ------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this life is over."""
        return self._closed

    @property
    def member(self) -> bool:
        """Whether this process takes part, rather than only writes."""
        return 'reader' in self._tasks

    def start_writer(self) -> None:
        """Start sending. Idempotent."""
        if 'writer' not in self._tasks:
            with self._starting:
                self._start('writer', self.writer.work, self._condition)

    def start(self) -> None:
        """Become a member. Idempotent; waits for :data:`START_PATIENCE` at
        most until the stream is followed or cannot be."""
        with self._starting:
            if self._closed:
                return
            self._encoder.uid = self.uid
            self._start('writer', self.writer.work, self._condition)
            self._start('reader', self.reader.work, self._condition)
            self._start('heartbeat', self._keep_time, None)
            reader = self._tasks['reader']
        reader.tried.wait(START_PATIENCE)

    def _start(self, name: str, work: Callable[[Task], None],
               condition: Optional[Condition]) -> None:
        if name not in self._tasks and not self._ended:
            task = Task(name, work, self.engine, condition, self._logger)
            self._tasks[name] = task
            task.start()

    def close(self, timeout: float) -> int:
        """Send what is in the outbox, say goodbye, end every task and
        connection.

        :param timeout: how many seconds to give the outbox.
        :return: how many entries were left in it.
        """
        with self._starting:
            if self._closed:
                return 0
            self._closed = True
        with self._core:
            goodbyes = self._node.serve((), time.monotonic())
        for event in goodbyes:
            self._carry_out(event, None)
        self.writer.close()
        left = wait_until_empty(self.writer, timeout)
        with self._starting:
            self._ended = True
            tasks = list(self._tasks.values())
        for task in tasks:
            task.stop()
        self.writer.interrupt()
        self.reader.interrupt()
        deadline = time.monotonic() + JOIN_PATIENCE
        for task in tasks:
            task.join(max(0.0, deadline - time.monotonic()))
        self.writer.end()
        return left

    def abandon(self) -> None:
        """In a child process: this life is the parent's. Whatever was
        copied of it shall end without touching the parent's connections."""
        for task in self._tasks.values():
            task.abandon()
        self.writer.abandon()
        self.reader.abandon()

    # -- writing ----------------------------------------------------------

    def encode(self, namespace: str, message: Message) -> Any:
        """The fields of a message.

        :raises TypeError, ValueError: it cannot be serialised.
        """
        return self._encoder.encode(namespace, message)

    def append(self, namespace: str, fields: Any) -> Pending:
        """Put an encoded message into the outbox. Never blocks.

        :raises OutboxFullError: it was not accepted.
        """
        pending = self.writer.append(fields)
        self._node.spoke(namespace, time.monotonic())
        self.start_writer()
        return pending

    def publish(self, namespace: str, message: Message) -> Pending:
        """Encode a message and put it into the outbox."""
        return self.append(namespace, self.encode(namespace, message))

    def make_room(self) -> None:
        """Let the writer run, from time to time; never under a lock."""
        depth = self.writer.depth
        if depth and depth % YIELD_EVERY == 0:
            self.engine.pause()

    # -- the reader's task ------------------------------------------------

    def _resumed(self, first: bool) -> None:
        self._set_window()
        if first:
            self._positioned = True
            self.serve_namespaces()

    def _lagging(self, cursor: Optional[bytes]) -> None:
        namespaces = self._node.namespaces
        if namespaces:
            self.writer.say_now(self._encoder.encode(
                namespaces[0], Heartbeat(cursor or b'')))

    def _take_in(self, entry: Entry) -> None:
        now = time.monotonic()
        with self._core:
            events = self._node.receive(entry.fields, now)
            own = self._node.own_sequence
        if own != self._own_seen:
            self._own_seen = own
            self.writer.seen(own)
        for event in events:
            self._carry_out(event, entry)

    def _carry_out(self, event: Event, entry: Optional[Entry]) -> None:
        if isinstance(event, Act):
            self._act(event)
        elif isinstance(event, Send):
            self._say(event)
        elif isinstance(event, Acknowledged):
            # A task of its own: it is the application's code.
            self.engine.spawn(event.callback, *event.args)
        elif isinstance(event, Missing):
            self._miss(event)
        elif isinstance(event, Duplicate):
            self._duplicates += 1
        elif isinstance(event, Skipped):
            self._skipped += 1
            self._logger().warning(
                'entry %s was skipped: %s',
                entry.id.decode() if entry else '?', event.error)
        elif isinstance(event, NodeJoined):
            self._logger().info('node %s joined [%s]', event.uid,
                                event.namespace)
        elif isinstance(event, ReaderLags):
            self.writer.reader_is_behind(event.uid, event.position)
        elif isinstance(event, NodeLeft):
            self.writer.reader_is_behind(event.uid, None)
            self._logger().info(
                'node %s %s [%s]', event.uid,
                'fell silent' if event.silent else 'left', event.namespace)

    def _miss(self, event: Missing) -> None:
        self._missing += event.count
        now = time.monotonic()
        if now - self._missing_told > MISSING_INTERVAL:
            self._missing_told = now
            self._logger().error(
                'messages are missing: %d of process %s, %d in all; they '
                'were trimmed before this node could read them (max_len is '
                'too small), or refused by Redis', event.count, event.uid,
                self._missing)

    def _say(self, event: Send) -> None:
        try:
            self.publish(event.namespace, event.message)
        except OutboxFullError:
            # Signs of life are worth nothing later; there is no need to
            # keep this one, and the next is due in a second.
            self._logger().debug('no room for a heartbeat')

    # -- the heartbeat's task ---------------------------------------------

    def _keep_time(self, task: Task) -> None:
        while not task.stopping:
            if self._positioned:
                self.serve_namespaces()
            hearing = self.reader.connected and self._condition.ok
            self._set_window()
            with self._core:
                events = self._node.tick(time.monotonic(), hearing)
            for event in events:
                self._carry_out(event, None)
            with self._core:
                pause = self._node.next_tick(time.monotonic())
            task.rest(pause)

    def _overhear(self, fields: Fields) -> None:
        # On the writer's task, of a process that only writes.
        try:
            envelope = open_envelope(fields)
            if envelope.writer == self.writer.writer_id:
                self.writer.seen(envelope.sequence)
            elif envelope.type is MessageType.HEARTBEAT:
                message = decode(envelope)
                if isinstance(message, Heartbeat) \
                        and message.behind is not None:
                    self.writer.reader_is_behind(
                        envelope.uid, message.behind or None)
        except DecodeError:
            # The readers' business: each of them logs and counts it.
            return

    def _set_window(self) -> None:
        # Half of what the stream keeps, shared by all who may be writing:
        # the other half is for what is written until a slow reader is heard.
        window = None
        if self.reader.connected:
            window = max(1, self._max_len // (2 * (self._node.others + 1)))
        self.writer.set_window(window)

    def serve_namespaces(self) -> None:
        """Be a member of the namespaces that are served now."""
        if not self._positioned or self._closed:
            return
        namespaces = list(self._namespaces())
        with self._core:
            events = self._node.serve(namespaces, time.monotonic())
        for event in events:
            self._carry_out(event, None)

    # -- questions --------------------------------------------------------

    def serves(self, namespace: str) -> bool:
        """Whether this node is a member of the namespace."""
        return self._node.serves(namespace)

    def count(self, namespace: str) -> int:
        """The number of nodes, this one included."""
        with self._core:
            return self._node.count(namespace)

    def expect_acks(self, request_id: str, namespace: str,
                    callback: Callable[..., Any]) -> None:
        """Call back for each client of another node that acknowledges."""
        with self._core:
            self._node.expect_acks(request_id, namespace, callback,
                                   time.monotonic())

    def forget_acks(self, request_id: str) -> None:
        """The request was never sent."""
        with self._core:
            self._node.forget_acks(request_id)

    def stats(self) -> Dict[str, int]:
        """Counters since the start, see the manager's ``stats``."""
        tasks = self._tasks
        writer, reader = self.writer, self.reader
        return {
            'sent': writer.stored,
            'batches': writer.batches,
            'found_after_break': writer.found_stored,
            'refused': writer.refused,
            'outbox': writer.depth,
            'outbox_bytes': writer.size,
            'received': reader.received,
            'malformed': self._skipped,
            'missing': self._missing,
            'duplicates': self._duplicates,
            'failed': reader.failed,
            'stream_setbacks': reader.setbacks,
            'writer_restarts':
                tasks['writer'].restarts if 'writer' in tasks else 0,
            'reader_restarts':
                tasks['reader'].restarts if 'reader' in tasks else 0,
            'outages': self._condition.outages,
        }

    def health(self) -> Dict[str, Any]:
        """See the manager's ``health``."""
        started = bool(self._tasks)
        connected = started and not self._closed and self._condition.ok
        with self._core:
            others = self._node.others
        return {
            'status': 'ok' if connected or not started else 'degraded',
            'connected': connected,
            'reader_lag': self.reader.lag if self.member else None,
            'outbox': self.writer.depth,
            'outbox_bytes': self.writer.size,
            'nodes': others + 1 if self.member else 0,
            'last_error': self._condition.last_error,
        }
