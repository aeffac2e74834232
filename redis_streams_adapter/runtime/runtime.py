"""What a manager has in one process: its node, its connections, its tasks;
how they start and how they are closed.

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

Each stream has a writer and a reader, see
:mod:`redis_streams_adapter.runtime.channel`. Recovery and PUB/SUB have more.

Four locks, taken in this order and never held over I/O or user code:

- the serving lock makes "these namespaces are served" one step: in the node,
  in what is remembered of the namespaces, in the PUB/SUB subscriptions, and in
  the outbox, where the arrivals and goodbyes are in the order of the
  decisions;
- ``order`` makes "into the outbox" and "to the local clients" one step, so
  that every client sees a node's messages in one order;
- ``core`` lets one task at a time use the node;
- the start lock lets one task at a time start tasks. The lock of the
  subscriptions is taken before it.
"""
import logging
import math
import os
import time
from typing import Any, Callable, cast, FrozenSet, Generic, Iterable, List, \
    Optional, TypeVar

from ..concurrency.availability import Availability
from ..concurrency.engines import Engine
from ..concurrency.locks import Lock
from ..concurrency.log_context import ContextLogger
from ..concurrency.log_limiter import LogLimiter
from ..log_events import VALUE_NOT_SENT
from ..options import Options
from ..protocol.application import Application
from ..protocol.codec import Encoder
from ..protocol.events import Act
from ..protocol.messages import EMITTER_UID, FetchSocketsResponse
from ..protocol.node import Node
from ..protocol.routing import stream_index, stream_names
from ..stream.driver import Driver
from ..stream.outbox import Capacity
from .channel import Channel
from .delivery import Deliveries, Requests
from .membership import Membership
from .node_events import NodeEvents
from .status import log_joined, log_left, LossReport, Status
from .streams import Streams
from .tasks import State, Tasks
from .watchdog import Watchdog

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

Logger = Callable[[], logging.Logger]
#: The type of the requests of this process, for the parts above the runtime.
R = TypeVar('R', bound=Requests)


class Runtime(Generic[R]):
    """Everything of a manager that belongs to this process.

    :param encoder: encodes as an emitter until the process is a member:
                    other nodes wait for answers of members.
    :param act: carries out a message for the local clients; on the reader's
                task.
    :param namespaces: returns the namespaces that are served.
    :param make_deliveries: makes the deliveries to the local clients.
    :param make_requests: makes the part that sends requests and answers.
    :param former: the runtime before it in this process, which is closed.
    :param observes: see :class:`~redis_streams_adapter.runtime.tasks.State`.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Logger, encoder: Encoder, write_only: bool,
                 act: Callable[[Act], None],
                 namespaces: Callable[[], Iterable[str]],
                 make_deliveries: Callable[['Runtime[R]'], Deliveries],
                 make_requests: Callable[['Runtime[R]'], R],
                 former: Optional['Runtime[R]'] = None,
                 observes: bool = False) -> None:
        self.uid = EMITTER_UID if write_only else os.urandom(8).hex()
        self.application = Application(options.stream_name, driver.database)
        self.engine = engine
        self.order = engine.lock()
        self.core = cast(Any, Lock())
        self.logger = logger = ContextLogger(logger, lambda: self.uid)
        self.limited = LogLimiter(logger)
        self.act = act
        self.encoder = encoder
        self._only_plaintext = options.only_plaintext
        self._summary = options.summary
        #: Whether the start was logged. Written under the start lock.
        self._announced = False
        #: The uids that this process had before.
        self._former_uids: FrozenSet[str] = frozenset() if former is None \
            else former._former_uids | {former.uid}
        self.node = node = Node(
            self.uid, options.heartbeat_interval, options.heartbeat_timeout,
            self._former_uids,
            lambda name: stream_index(name, options.stream_count))
        self.capacity = Capacity(options.outbox_limit,
                                 options.outbox_max_bytes)
        self._redis = Availability(
            'Redis', logger, self._backlog, self._waiting)
        self._waits_as_member = options.publish != 'background'
        #: Whether ``emit`` waits until Redis has the message. By default it
        #: does until :meth:`join`: a process that is no server may end at any
        #: time, and say nothing. Cleared by the task that joins.
        self.sync = self._waits_as_member \
            or options.publish is Options.publish
        self.state = State(observes)
        #: Complete at the end of this method.
        self.channels: List[Channel] = []
        self.tasks = Tasks(engine, logger, self.state, self._redis)
        self.streams = Streams(self.channels, self.capacity, node, encoder,
                               engine, self.state, self.tasks,
                               options.publish == 'confirmed')
        # For the parts above. Not methods: that saves a call.
        self.encode = encoder.encode
        self.channel = self.streams.channel
        self.delivery = self.streams.delivery
        self.append = self.streams.append
        self.wait = self.streams.wait
        self.make_room = self.streams.make_room
        self.stream = self.streams.key
        self.status = Status(
            node, self.core, engine, self.limited, self.state, self.channels,
            self.tasks.by_name, self.capacity,
            LossReport(engine, logger, options.on_loss), self._redis,
            self.tasks.others,
            Watchdog(self.tasks.by_name, self.channels, self._redis, logger,
                     block=options.block_time,
                     interval=options.heartbeat_interval,
                     timeout=driver.socket_timeout),
            lambda: self.requester, lambda: self.deliveries.renew(),
            not write_only and not observes)
        self.await_connection = self.status.await_connection
        self.membership = Membership(
            node, self.core, engine.lock(), encoder, self.state,
            self.channels, self.channel, self.streams.publish,
            self.streams.start_writer, lambda: self.requester, namespaces,
            self.limited)
        self.events = NodeEvents(
            node, self.core, engine, self.channels, self.membership,
            self.status, self.tasks, act, lambda: self.requester)
        #: Written by the task that makes the runtime, and by the one that
        #: creates the server.
        self.deliveries = make_deliveries(self)
        self.channels += [
            Channel(index, key, options, driver, engine, self.limited,
                    self.capacity, node, self.core, encoder, self.state,
                    self.deliveries, self.membership.serve,
                    self.membership.lose_sight, self.status.losses,
                    self.status.skip, self.status.no_room,
                    self.events.carry_out)
            for index, key in enumerate(stream_names(
                options.stream_name, options.stream_count))]
        if former is not None:
            for channel, old in zip(self.channels, former.channels):
                channel.succeed(old)
        self.requester = make_requests(self)

    def deliver_by(self, deliveries: Deliveries) -> None:
        """Deliver in another way from now on. For a server that is created
        after the runtime: none of its clients is connected yet. Clients of a
        server before it get nothing more."""
        made = [channel.make_delivery(deliveries) for channel in self.channels]
        with self.tasks.start_lock:
            # A start() in another task has started the former tasks by now,
            # or will start the new ones.
            former, self.deliveries = self.deliveries, deliveries
            self.tasks.end([each.name for each in former.tasks()])
            has_started = self.state.member
        former.interrupt()
        for channel, delivery in zip(self.channels, made):
            with self.membership.serving_lock:
                channel.deliver_by(delivery)
        if has_started:
            self.start()

    # -- beginning and end ------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether Redis can be used, and the streams are read."""
        return self.status.is_connected

    @property
    def member(self) -> bool:
        """Whether this process is a member, and does not only write."""
        return self.state.member

    @property
    def closed(self) -> bool:
        """Whether this runtime was closed."""
        return self.state.closed

    @property
    def half_closed(self) -> bool:
        """Whether an exception has struck the close(), so that it has to be
        closed again."""
        state = self.state
        return state.closed and not state.finished and not state.closing

    def join(self) -> None:
        """Become a member because the application, or a client, asks for it; a
        child process may also :meth:`start` because its parent was one."""
        self.sync = self._waits_as_member
        self.start()

    def start(self) -> None:
        """Become a member. Idempotent.

        Waits until it is known whether Redis can be used; if so, the streams
        are followed then. Waits until :data:`START_PATIENCE` after the first
        call at most.
        """
        tasks, state, redis = self.tasks, self.state, self._redis
        joined = False
        state.may_have_clients()
        with tasks.start_lock:
            if state.closed:
                return
            self.encoder.uid = self.uid
            for channel in self.channels:
                channel.writer.backpressure.stop_listening()
                self.streams.start_writer(channel)
                tasks.start(f'reader of {channel.key}', channel.reader.work,
                            redis)
            for part in self.deliveries.tasks():
                tasks.start_part(part)
            tasks.start('heartbeat', self.events.keep_time)
            state.member = True
            self.deliveries.joined()
            if not self._announced:
                self._announced = joined = True
            awaited = [tasks.by_name[f'{what} of {channel.key}']
                       for channel in self.channels
                       for what in ('reader', 'writer')]
        if joined:
            log_joined(self.logger, state.observes, self._summary, self.uid)
        # One deadline for all calls: if Redis hangs, each client would wait.
        deadline = state.clients_since() + START_PATIENCE
        for each in awaited:
            each.tried.wait(max(0.0, deadline - time.monotonic()))
        tasks.start_again()

    def close(self, timeout: float) -> int:
        """Send the outbox and the goodbye, and end every task and connection.

        :param timeout: how many seconds to give the outbox.
        :return: how many messages were left in it.
        """
        state, left, ours = self.state, 0, False
        try:
            with self.tasks.start_lock:
                if not state.closing and not state.finished:
                    ours = state.closing = state.closed = True
            if ours and not state.ended:
                self._leave(timeout)
                state.ended = True
            if ours:
                left = self._end()
        finally:
            if ours:
                state.closing = False
        return left

    def _leave(self, timeout: float) -> None:
        """Send what is in the outbox, and after it the goodbye.

        :param timeout: how many seconds all of it may take.
        """
        # One deadline for everything; sessions take half of it at most.
        deadline = time.monotonic() + timeout
        for channel in self.channels:
            channel.delivery.leave()
        if self.state.member:
            # The runtime is closed by now: no new client comes whose session
            # would not be written.
            self.deliveries.close(timeout / 2)
        # After the goodbye, no node waits for its answers.
        self.requester.flush(deadline - timeout / 2)
        self.membership.leave()
        self._flush_and_drain(deadline)

    def _end(self) -> int:
        """End every task and connection. Idempotent.

        :return: how many messages are left in the outbox.
        """
        with self.tasks.start_lock:
            tasks = list(self.tasks.by_name.values())
        for task in tasks:
            task.stop()
        for channel in self.channels:
            channel.writer.interrupt()
            channel.reader.interrupt()
        self.requester.interrupt()
        self.deliveries.interrupt()
        deadline = time.monotonic() + JOIN_PATIENCE
        for task in tasks:
            if task.begun:
                task.join(max(0.0, deadline - time.monotonic()))
        # Counted now, because the last batch may have been stored.
        left = sum([channel.writer.end() for channel in self.channels])
        for channel in self.channels:
            channel.delivery.end()
        self.status.log_more(math.inf)
        if self._announced and not self.state.finished:
            log_left(self.logger, self.uid, self.state.clients_since(), left)
        self.state.finished = True
        return left

    def _flush_and_drain(self, deadline: float) -> bool:
        """Whether the outbox was sent; delivers what is read back, too."""
        if not self.streams.flush(max(0.0, deadline - time.monotonic())):
            return False
        for channel in self.channels:
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
        if self.state.closed or self._redis.away:
            return
        deadline = time.monotonic() + timeout
        if self._flush_and_drain(deadline) and self.state.member:
            self.deliveries.catch_up(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """In a child process after a fork: end the copies of the parent's
        tasks without touching the parent's connections."""
        for task in self.tasks.by_name.values():
            task.abandon()
        for channel in self.channels:
            channel.writer.abandon()
            channel.reader.abandon()
        self.requester.abandon()
        self.deliveries.abandon()

    def _backlog(self) -> str:
        """What waits when Redis is back, for the log."""
        count = self.capacity.count
        return 'no message waits' if not count else \
            f'{count} {"message waits" if count == 1 else "messages wait"} ' \
            f'in the outbox'

    def _waiting(self) -> str:
        """What waits while Redis is away, for the log."""
        count = self.capacity.count
        return 'messages wait in the outbox until it is back' + (
            f', so far {count}' if count else '')

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
            self.logger().debug('a value cannot be sent: %r', exc,
                                extra=VALUE_NOT_SENT(reason=repr(exc)))
            return False
        return True
