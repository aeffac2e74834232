"""What a manager has in one process: its node, its connections, its tasks.

A :class:`Runtime` holds everything that two processes must not share. After a
fork, the child makes a new runtime, with a new uid and new connections, and
does not use its copy of the old one.

========= ==================================== ==========================
task      does                                 ends
========= ==================================== ==========================
writer    sends the outbox of a stream         after the last flush
reader    takes entries in, acts on them       when interrupted
heartbeat calls the node's timers              at its next tick
========= ==================================== ==========================

There is one writer and one reader for each stream, see
:mod:`redis_streams_adapter.runtime.channel`, and one heartbeat.

Four locks, taken in this order and never held over I/O or user code:

- ``_serving`` makes "these namespaces are served" one step: in the node, in
  what is remembered of the namespaces, in the PUB/SUB subscriptions, and in
  the outbox, where the arrivals and goodbyes are in the order of the
  decisions;
- ``order`` makes "into the outbox" and "to the local clients" one step, so
  that every client sees a node's messages in one order;
- ``core`` lets one task at a time use the node;
- ``_starting`` lets one task at a time start tasks. The lock of the
  subscriptions is taken before it.
"""
import logging
import math
import os
import time
from typing import Any, Callable, cast, Dict, FrozenSet, Generic, Iterable, \
    List, Optional, TypeVar

from ..protocol.application import Application
from .channel import Channel
from ..protocol.codec import Encoder, Packed
from ..errors import DecodeError, OutboxFullError
from .delivery import Deliveries, Delivery, Requests
from .entries import Entries
from .flow import Flow
from ..protocol.discovery import Knowledge
from ..concurrency.locks import Lock
from .loss_report import LossReport
from .membership import Membership
from .status import Status
from ..losses import Loss, VANISHED
from ..protocol.events import Acknowledged, Act, Completed, Event, Learned, \
    NodeJoined, NodeLeft, Send
from ..protocol.messages import AdapterClose, EMITTER_UID, \
    FetchSocketsResponse, Message, SIGNS_OF_LIFE
from ..protocol.node import Node
from ..options import Options
from ..stream.driver import Driver
from ..stream.link import open_link
from ..stream.outbox import Capacity, Pending
from ..stream.read_back import ReadBack
from ..stream.reader import Reader
from ..stream.writer import Writer
from ..protocol.routing import stream_index, stream_names
from ..protocol.sequences import Sequences
from ..protocol.sender import Signature
from ..concurrency.availability import Availability
from ..concurrency.engines import Engine, Event as TaskEvent
from ..concurrency.tasks import Task
from ..protocol.transport import Way

#: How long a start waits for the first attempt to read, in seconds. Normally
#: it takes milliseconds, and no client is accepted before the stream is
#: followed. A server must still start while Redis is away.
START_PATIENCE = 2.0

#: How long a close waits for tasks that were interrupted, in seconds.
JOIN_PATIENCE = 2.0

#: How long a close waits until its last messages are read back from the
#: stream, in seconds, if local clients get them that way. It takes
#: milliseconds.
COME_BACK_PATIENCE = 1.0

#: How long a writer's task may take to begin before a flush checks it, in
#: seconds.
BEGIN_PATIENCE = 0.1

#: After so many entries in the outbox an emitting task lets others run. Under
#: gevent and eventlet nothing would otherwise be sent before a loop of emits
#: ends, and the outbox could become full while Redis works.
YIELD_EVERY = 256

#: For how many namespaces the channel is cached. An application never has so
#: many, but a task can emit to any name.
MAX_ROUTES = 1000

Logger = Callable[[], logging.Logger]


#: The type of the requests of this process, for the parts above the runtime.
R = TypeVar('R', bound=Requests)


class Runtime(Generic[R]):
    """Everything of a manager that belongs to this process.

    :param act: carries out a message for the local clients; on the reader's
                task.
    :param namespaces: returns the namespaces that are served.
    :param make_deliveries: makes the deliveries to the local clients.
    :param make_requests: makes the part that sends requests and answers.
    :param former: the runtime before it in this process, which is closed.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Logger, json: Any, write_only: bool,
                 act: Callable[[Act], None],
                 namespaces: Callable[[], Iterable[str]],
                 make_deliveries: Callable[['Runtime[R]'], Deliveries],
                 make_requests: Callable[['Runtime[R]'], R],
                 former: Optional['Runtime[R]'] = None) -> None:
        self.uid = EMITTER_UID if write_only else os.urandom(8).hex()
        self.application = Application(options.stream_name, driver.database)
        self.engine = engine
        self.order = engine.lock()
        self.core = cast(Any, Lock())
        self._serving = engine.lock()
        self._logger = logger
        self.act = act
        # Until it is a member: other nodes wait for answers of members.
        self.encoder = Encoder(EMITTER_UID, json, options.only_plaintext)
        self._emitter = Encoder(EMITTER_UID, json)
        self._only_plaintext = options.only_plaintext
        self._condition = Availability('Redis', logger, self._backlog)
        #: Separate: if PUB/SUB fails, the stream may work, and nothing waits.
        self._pubsub_condition = Availability(
            'PUB/SUB of Redis', logger,
            lambda: 'events are sent as ever', 'requests fail')
        #: The tasks that wait until Redis can be used. Each adds and removes
        #: its own event.
        self._hopeful: List[TaskEvent] = []
        self._condition.watch('the hopeful', self._tell_hopeful)
        self._lose = LossReport(engine, logger, options.on_loss)
        #: The uids that this process had before.
        self._former_uids: FrozenSet[str] = frozenset() if former is None \
            else former._former_uids | {former.uid}
        self.node = Node(self.uid, options.heartbeat_interval,
                         options.heartbeat_timeout, self._former_uids)
        self._flow = Flow(self.node, self.core, self.encoder,
                          options.max_len or 0, self.channel)
        self.capacity = Capacity(options.outbox_limit,
                                 options.outbox_max_bytes)
        self.deliveries = make_deliveries(self)
        self._channels = [
            self._open(key, options, driver, write_only)
            for key in stream_names(options.stream_name,
                                    options.stream_count)]
        #: The channel of each namespace that was looked up. Written by any
        #: task without a lock: all tasks compute the same channel.
        self._routes: Dict[str, Channel] = {}
        for channel in self._channels:
            channel.writer.backpressure.set_window(self._flow.first_window)
        if former is not None:
            for channel, old in zip(self._channels, former._channels):
                channel.succeed(old)
        #: The moment from which a client of this process may have been told
        #: that it is connected, by the monotonic clock; empty until then.
        #: Written once, with an atomic ``setdefault``, by the first task that
        #: starts this runtime or accepts a client. python-socketio may accept
        #: one while another task still waits in ``start``. Read by the
        #: readers' tasks.
        self._expecting: Dict[str, float] = {}
        #: Tasks by name, each noted before it is started; under the start
        #: lock.
        self._tasks: Dict[str, Task] = {}
        self._starting = engine.lock()
        #: Whether this process is a member, and does not only write. Set
        #: under the start lock, when all its tasks were started.
        self.member = False
        #: Set once, in this order; the first under the start lock. A closed
        #: runtime still sends, an ended one starts no tasks, and a finished
        #: one has none. If an exception strikes a close(), the next close()
        #: continues from there.
        self._closed = False
        self._ended = False
        self._finished = False
        #: Whether a close() is in progress. Set under the start lock.
        self._closing = False
        self._status = Status(
            self._channels, self._tasks, self.capacity, self._lose,
            self._condition, self._pubsub_condition)
        self._membership = Membership(
            self.node, self.core, self._serving, self._channels, self.channel,
            self.publish, lambda: self._closed, lambda: self.requester,
            namespaces, logger)
        self._entries = Entries(
            self.node, self.core, self._flow, self._membership, self._status,
            self._lose, lambda: self._closed, self.follow, self.skip)
        self.requester = make_requests(self)

    def _open(self, key: str, options: Options, driver: Driver,
              write_only: bool) -> Channel:
        """The channel for one stream."""
        max_len, flow, signature = options.max_len or 0, self._flow, \
            Signature()
        engine, logger = self.engine, self._logger
        writer = Writer(
            lambda: open_link(driver, key, max_len,
                              min_replicas=options.min_replicas),
            engine, logger, capacity=self.capacity,
            patience=driver.socket_timeout,
            vanished=lambda count: self._lose(Loss(VANISHED, key, count)),
            overhear=lambda fields: flow.overhear(channel, fields),
            absent=lambda: flow.absent(channel, self.member),
            retention=options.retention,
            replicated=options.min_replicas > 0, sign=signature)
        trimmed_by_time = options.retention is not None \
            and options.retention < options.heartbeat_timeout
        #: What was seen of the history before the first position.
        before = Sequences()
        read_back = ReadBack(
            lambda entry, at: self._entries.recall(entry, at, before),
            lambda cursor, span: self._entries.recalled(channel, cursor, span),
            seconds=options.heartbeat_timeout, pause=engine.pause,
            count=options.read_count,
            max_len=None if trimmed_by_time else options.max_len)
        reader = Reader(
            lambda: open_link(driver, key, max_len, options.block_time),
            lambda entry: self._entries.take_in(channel, entry),
            self._clients_since,
            lambda *begin: self._entries.began(channel, *begin),
            lambda: self._entries.resume(channel),
            lambda *loss: self._entries.lost_history(channel, *loss),
            lambda cursor: flow.lagging(channel, cursor), logger,
            pause=engine.pause, max_len=max_len, count=options.read_count,
            block=options.block_time, read_back=read_back,
            doubtful=lambda: self._membership.lose_sight(channel, False))
        channel = Channel(key, writer, reader, Sequences(writer.writer_id),
                          Knowledge(options.heartbeat_timeout), signature,
                          self.deliveries.of_stream(writer.writer_id))
        return channel

    def channel(self, namespace: str) -> Channel:
        """The channel that carries the messages of a namespace."""
        channel = self._routes.get(namespace)
        if channel is None:
            channels = self._channels
            channel = channels[stream_index(namespace, len(channels))]
            if len(self._routes) < MAX_ROUTES:
                self._routes[namespace] = channel
        return channel

    def delivery(self, namespace: str) -> Delivery:
        """How the events of a namespace reach the local clients."""
        return self.channel(namespace).delivery

    # -- beginning and end ------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this runtime was closed."""
        return self._closed

    @property
    def half_closed(self) -> bool:
        """Whether an exception has struck the close(), so that it has to be
        closed once more."""
        return self._closed and not self._finished and not self._closing

    def _start_writer(self, channel: Channel) -> None:
        """Start sending. Idempotent."""
        if not channel.sending:
            with self._starting:
                task = self._start(f'writer of {channel.key}',
                                   channel.writer.work, self._condition)
                # Only when it runs: until then it may have to be started
                # again.
                channel.sending = task is not None and task.begun

    def start(self) -> None:
        """Become a member. Idempotent.

        Waits until it is known whether Redis can be used; if so, the streams
        are followed then. Waits until :data:`START_PATIENCE` after the first
        call at most.
        """
        self._expect_clients()
        with self._starting:
            if self._closed:
                return
            self.encoder.uid = self.uid
            for channel in self._channels:
                channel.writer.backpressure.stop_listening()
                self._start_writer(channel)
                self._start(f'reader of {channel.key}', channel.reader.work,
                            self._condition)
            for name, work in self.deliveries.tasks():
                self._start(name, work, None)
                self._condition.watch(name, self._tasks[name].hurry)
            self._start('heartbeat', self._keep_time, None)
            self.member = True
            self.deliveries.joined()
            awaited = [self._tasks[f'{what} of {channel.key}']
                       for channel in self._channels
                       for what in ('reader', 'writer')]
        # One deadline for all calls: if Redis hangs, each client would wait.
        deadline = self._clients_since() + START_PATIENCE
        for each in awaited:
            each.tried.wait(max(0.0, deadline - time.monotonic()))
        self._revive()

    def _revive(self) -> None:
        """Start again each task that an exception struck before it began."""
        with self._starting:
            if not self._ended:
                for task in self._tasks.values():
                    task.start()

    def _expect_clients(self) -> None:
        """Note that a client may be told that it is connected when this
        returns: it gets what is stored in the streams from now on."""
        if not self._expecting:
            self._expecting.setdefault('since', time.monotonic())

    def _clients_since(self) -> float:
        """The moment of the first :meth:`_expect_clients`."""
        self._expect_clients()
        return self._expecting['since']

    def _start(self, name: str, work: Callable[[Task], None],
               condition: Optional[Availability]) -> Optional[Task]:
        """Start a task, unless it runs; under the start lock. Idempotent."""
        task = self._tasks.get(name)
        if not self._ended:
            if task is None:
                # Noted before it is started: there is no second one.
                task = self._tasks[name] = Task(
                    name, work, self.engine, condition, self._logger)
            task.start()
        return task

    def start_pubsub(self, name: str, work: Callable[[Task], None],
                     matters: bool) -> None:
        task = self._tasks.get(name)
        if task is None or not task.begun:
            with self._starting:
                self._start(name, work,
                            self._pubsub_condition if matters else None)

    def close(self, timeout: float) -> int:
        """Send the outbox and the goodbye, and end every task and connection.

        :param timeout: how many seconds to give the outbox.
        :return: how many messages were left in it.
        """
        left, ours = 0, False
        try:
            with self._starting:
                if not self._closing and not self._finished:
                    ours = self._closing = self._closed = True
            if ours and not self._ended:
                self._say_goodbye(timeout)
                self._ended = True
            if ours:
                left = self._end()
        finally:
            if ours:
                self._closing = False
        return left

    def _say_goodbye(self, timeout: float) -> None:
        """Send what is in the outbox, and after it the goodbye.

        :param timeout: how many seconds all of it may take.
        """
        # One deadline for everything; sessions take half of it at most.
        deadline = time.monotonic() + timeout
        for channel in self._channels:
            channel.delivery.leave()
        if self.member:
            # The runtime is closed by now: no new client comes whose session
            # would not be written.
            self.deliveries.close(timeout / 2)
        with self._serving, self.core:
            # From here on no namespace is served again.
            namespaces = self.node.namespaces
        for channel in self._channels:
            # No message of this node may follow the goodbye: a node that
            # reads one takes this node for a member again.
            channel.writer.close([
                self.encode(namespace, AdapterClose())
                for namespace in namespaces
                if self.channel(namespace) is channel])
        with self.core:
            # As announced.
            self.node.serve((), time.monotonic())
        self._flush_and_drain(deadline)

    def _end(self) -> int:
        """End every task and connection. Idempotent.

        :return: how many messages are left in the outbox.
        """
        with self._starting:
            tasks = list(self._tasks.values())
        for task in tasks:
            task.stop()
        for channel in self._channels:
            channel.writer.interrupt()
            channel.reader.interrupt()
        self.requester.interrupt()
        self.deliveries.interrupt()
        deadline = time.monotonic() + JOIN_PATIENCE
        for task in tasks:
            if task.begun:
                task.join(max(0.0, deadline - time.monotonic()))
        # Counted now, because the last batch may have been stored.
        left = sum([channel.writer.end() for channel in self._channels])
        for channel in self._channels:
            channel.delivery.end()
        self._lose.log_more(math.inf)
        self._finished = True
        return left

    def _flush_and_drain(self, deadline: float) -> bool:
        """Send the outbox, and deliver what is read back to local clients.

        :return: whether the outbox was sent.
        """
        if not self.flush(max(0.0, deadline - time.monotonic())):
            return False
        for channel in self._channels:
            # For local clients that do not recover on another server.
            channel.delivery.drain(min(
                COME_BACK_PATIENCE, max(0.0, deadline - time.monotonic())))
        return True

    def settle(self, timeout: float) -> None:
        """Wait until Redis has all that was emitted and the sessions, and the
        local clients have what is read back. Does not wait for Redis while it
        is known to be away.

        :param timeout: seconds.
        """
        if self._closed or self._condition.away:
            return
        deadline = time.monotonic() + timeout
        if self._flush_and_drain(deadline) and self.member:
            self.deliveries.catch_up(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """In a child process after a fork: end the copies of the parent's
        tasks without touching the parent's connections."""
        for task in self._tasks.values():
            task.abandon()
        for channel in self._channels:
            channel.writer.abandon()
            channel.reader.abandon()
        self.requester.abandon()
        self.deliveries.abandon()

    # -- writing ----------------------------------------------------------

    def encode(self, namespace: str, message: Message) -> Any:
        """The fields of a message.

        :raises TypeError, ValueError: it cannot be serialised.
        """
        return self.encoder.encode(namespace, message)

    def can_carry(self, value: Any) -> bool:
        """Whether a value can be sent as part of a socket's data, next to any
        data of other sockets."""
        neighbours: List[Any] = [None]
        if not self._only_plaintext:
            # Bytes anywhere switch the whole message to msgpack, which cannot
            # encode everything that JSON can.
            neighbours.append(b'')
        try:
            for neighbour in neighbours:
                self.encoder.encode('/', FetchSocketsResponse(
                    '', ({'data': {'': value}}, neighbour)))
        except Exception as exc:
            # An application's object or JSON module may raise anything.
            self._logger().debug('a value cannot be sent: %r', exc)
            return False
        return True

    def append(self, namespace: str, fields: Any,
               numbered: bool = True) -> Pending:
        """Put an encoded message into the outbox. Never blocks.

        :param numbered: whether it is a message; if not, a sign of life.
        :raises OutboxFullError: it was not accepted.
        """
        channel = self.channel(namespace)
        pending = channel.writer.append(fields, numbered)
        self.node.spoke(namespace, time.monotonic())
        if not channel.sending:
            # If an exception strikes before this, the next append() or
            # flush() does it.
            self._start_writer(channel)
        return pending

    def publish(self, namespace: str, message: Message) -> Pending:
        """Encode a message and put it into the outbox."""
        return self.append(namespace, self.encode(namespace, message),
                           message.type not in SIGNS_OF_LIFE)

    def wait(self, namespace: str, pending: Pending) -> None:
        """See :meth:`~redis_streams_adapter.stream.waiters.Waiters.wait`."""
        channel = self.channel(namespace)
        deadline = time.monotonic() + START_PATIENCE
        while not channel.sending and not self._ended \
                and time.monotonic() < deadline:
            # An exception may strike the task before it begins.
            channel.writer.wait(pending, BEGIN_PATIENCE)
            self._start_writer(channel)
        channel.writer.wait(pending)

    def flush(self, timeout: Optional[float]) -> bool:
        """Wait until Redis has all that was emitted.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False``: time ran out.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        return all([self._flush(channel, deadline)
                    for channel in self._channels])

    def _flush(self, channel: Channel, deadline: float) -> bool:
        while True:
            if len(channel.writer.outbox):
                self._start_writer(channel)
            left = max(0.0, deadline - time.monotonic())
            begun = channel.sending
            if not begun:
                # An exception may strike the task before it begins.
                left = min(left, BEGIN_PATIENCE)
            if channel.writer.flush(None if left == math.inf else left):
                return True
            if begun or self._ended or time.monotonic() >= deadline:
                return False

    def make_room(self) -> None:
        """Let the writers run, from time to time; never under a lock."""
        # Including the entry that was just emitted.
        if (self.capacity.before_last + 1) % YIELD_EVERY == 0:
            self.engine.pause()

    # -- the readers' tasks -----------------------------------------------

    def skip(self, error: DecodeError, what: str = 'a request') -> None:
        with self.core:
            self._status.skipped += 1
        self._logger().warning('%s was skipped: %s', what, error)

    def hear(self, packed: Packed, way: Way) -> None:
        """Take in a message from PUB/SUB; on a listener's task."""
        with self.core:
            events = list(self.node.hear(packed, way))
        for event in events:
            if isinstance(event, Act):
                self.act(event)
            else:
                self.follow(event)

    def follow(self, event: Event) -> None:
        """Carry out an event that an entry, a request or a timer causes."""
        if isinstance(event, Send):
            self._membership.say(event)
        elif isinstance(event, Completed):
            event.waiter.set()
        elif isinstance(event, Acknowledged):
            # A task of its own: it is the application's code.
            self.engine.spawn(event.callback, *event.args)
        elif isinstance(event, Learned):
            self.requester.learned()
        elif isinstance(event, NodeJoined):
            self._set_windows()
            self._membership.log_about(
                event.namespace, 'node %s joined [%s]', event.uid,
                event.namespace)
        elif isinstance(event, NodeLeft):
            for channel in self._channels:
                channel.writer.backpressure.reader_lags(event.uid, None)
            self._membership.log_about(
                event.namespace, 'node %s %s [%s]', event.uid,
                'fell silent' if event.silent else 'left', event.namespace)

    def ask_for_members(self, namespace: str) -> None:
        """Ask all members of a namespace for a heartbeat. Sent as an emitter
        even by a member: the question neither joins nor is a sign of life."""
        channel = self.channel(namespace)
        try:
            channel.writer.append(self._emitter.encode(
                namespace, self._membership.arrival(namespace)), False)
        except OutboxFullError:
            self._logger().debug('no room for a question')
        else:
            if not channel.sending:
                self._start_writer(channel)

    # -- the heartbeat's task ---------------------------------------------

    def _keep_time(self, task: Task) -> None:
        while not task.stopping:
            self._revive()
            self.serve_namespaces()
            hearing = self.is_hearing
            self._set_windows()
            with self.core:
                events = self.node.tick(time.monotonic(), hearing, [
                    each.knowledge for each in self._channels])
            self._lose.log_more(time.monotonic())
            for event in events:
                self.follow(event)
            with self.core:
                pause = self.node.next_tick(time.monotonic())
            task.rest(pause)

    def _set_windows(self) -> None:
        for channel in self._channels:
            self._flow.set_window(channel)

    def serve_namespaces(self) -> None:
        """Become a member of the namespaces that are served now."""
        self._membership.serve()

    def appear_in(self, namespace: str) -> None:
        """Become a member of a namespace that is served from now on, because
        it accepts a client."""
        self._expect_clients()
        if not self._membership.serves(namespace):
            self._membership.serve()

    def joins(self, namespace: str) -> bool:
        """Whether this process is a member of a namespace, or is about to
        be."""
        return self.member and not self._closed \
            and namespace in self._membership.namespaces()

    def stream(self, namespace: str) -> str:
        """The key of the stream of a namespace."""
        return self.channel(namespace).key

    # -- questions --------------------------------------------------------

    @property
    def is_hearing(self) -> bool:
        """Whether Redis can be used, and the streams are read."""
        return self._condition.ok and all(
            channel.reader.connected for channel in self._channels)

    def await_hearing(self, timeout: float) -> bool:
        """Wait while connections are re-established, but not while Redis is
        known to be away.

        :param timeout: seconds.
        :return: whether Redis can be used, and the streams are read.
        """
        deadline = time.monotonic() + timeout
        event = self.engine.event()
        try:
            self._hopeful.append(event)
            while not self.is_hearing and not self._condition.away \
                    and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                event.wait(left)
                event.clear()
        finally:
            # It is missing if an exception struck before it was added.
            if event in self._hopeful:
                self._hopeful.remove(event)
        return self.is_hearing

    def _tell_hopeful(self) -> None:
        for event in list(self._hopeful):
            event.set()

    def refuse_on_own_task(self) -> None:
        """Make sure that this task may wait for answers.

        :raises RuntimeError: it is one of ours. A reader's task takes the
                              answers in, so it must not wait for them.
        """
        if any(self._tasks[name].is_current() for name in list(self._tasks)):
            raise RuntimeError(
                'this call waits for other servers, and must not be made on '
                'a task of the manager, which takes in their answers')

    # -- counters -----------------------------------------------------------

    def _backlog(self) -> str:
        """The waiting messages, for the log."""
        return f'{self.capacity.count} messages wait in the outbox'

    def stats(self) -> Dict[str, int]:
        """Counters since the start, see the manager's ``stats``."""
        return self._status.stats(self.requester.dropped)

    def health(self) -> Dict[str, Any]:
        """See the manager's ``health``."""
        return self._status.health(
            self._closed, self.member, self._count_others)

    def _count_others(self) -> int:
        with self.core:
            return self.node.others
