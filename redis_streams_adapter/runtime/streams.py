"""How a message gets into the stream of its namespace, and which stream that
is.
"""
import math
import time
from typing import Any, Dict, Optional, Sequence

from ..concurrency.engines import Engine
from ..errors import NotStoredError
from ..protocol.codec import Encoder
from ..protocol.messages import Message, SIGNS_OF_LIFE
from ..protocol.node import Node
from ..protocol.routing import stream_index
from ..stream.outbox import Capacity, Pending
from .channel import Channel
from .delivery import Delivery
from .tasks import State, Tasks

#: How long a writer's task may take to begin before it is checked, in
#: seconds.
BEGIN_PATIENCE = 0.1

#: For how long a synchronous emit starts a writer's task again that was
#: struck before it began, in seconds.
START_PATIENCE = 2.0

#: How long an emit waits at most while the outbox is more than half full, in
#: seconds. Otherwise a loop of emits that is faster than Redis, or than the
#: readers that the writer waits for, would fill it.
CROWD_PATIENCE = 1.0

#: For how many namespaces the channel is cached. An application never has so
#: many, but a task can emit to any name.
MAX_ROUTES = 1000


class Streams:
    """The outboxes of a process, by namespace.

    :param channels: the channels of the process, one for each stream;
                     complete before any method is called.
    :param capacity: how much the outboxes hold together.
    :param confirmed: whether :meth:`wait` raises if Redis does not have the
                      message.
    """

    def __init__(self, channels: Sequence[Channel], capacity: Capacity,
                 node: Node, encoder: Encoder, engine: Engine, state: State,
                 tasks: Tasks, confirmed: bool = False) -> None:
        self._channels = channels
        self._capacity = capacity
        self._node = node
        self._encoder = encoder
        self._engine = engine
        self._state = state
        self._tasks = tasks
        self._confirmed = confirmed
        #: The channel of each namespace that was looked up. Written by any
        #: task without a lock: all tasks compute the same channel.
        self._routes: Dict[str, Channel] = {}

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
        channel = self._routes.get(namespace) or self.channel(namespace)
        return channel.delivery

    def key(self, namespace: str) -> str:
        """The key of the stream of a namespace."""
        return self.channel(namespace).key

    def append(self, namespace: str, fields: Any,
               numbered: bool = True) -> Pending:
        """Put an encoded message into the outbox. Never blocks.

        :param numbered: whether it is a message; if not, a sign of life.
        :raises OutboxFullError: it was not accepted.
        """
        channel = self._routes.get(namespace) or self.channel(namespace)
        pending = channel.writer.append(fields, numbered)
        self._node.spoke(namespace, time.monotonic())
        if not channel.sending:
            # If an exception strikes before this, the next append() or
            # flush() does it.
            self.start_writer(channel)
        return pending

    def publish(self, namespace: str, message: Message) -> Pending:
        """Encode a message and put it into the outbox."""
        return self.append(
            namespace, self._encoder.encode(namespace, message),
            message.type not in SIGNS_OF_LIFE)

    def start_writer(self, channel: Channel) -> None:
        """Start sending. Idempotent."""
        if not channel.sending:
            channel.sending = self._tasks.start_writer(
                channel.key, channel.writer)

    def wait(self, namespace: str, pending: Pending) -> None:
        """See :meth:`~redis_streams_adapter.stream.waiters.Waiters.wait`. A
        task of the manager does not wait: the writer might wait for it.

        :raises NotStoredError: Redis does not have it, and has to.
        """
        if self._tasks.on_own_task():
            return
        channel = self.channel(namespace)
        deadline = time.monotonic() + START_PATIENCE
        while not channel.sending and not self._state.ended \
                and time.monotonic() < deadline:
            # An exception may strike the task before it begins.
            channel.writer.wait(pending, BEGIN_PATIENCE)
            self.start_writer(channel)
        channel.writer.wait(pending)
        if self._confirmed and not pending.settled:
            raise NotStoredError(
                f'Redis has not stored the message, which waits in the outbox '
                f'({self._tasks.why_not()})')

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
                self.start_writer(channel)
            left = max(0.0, deadline - time.monotonic())
            begun = channel.sending
            if not begun:
                # An exception may strike the task before it begins.
                left = min(left, BEGIN_PATIENCE)
            if channel.writer.flush(None if left == math.inf else left):
                return True
            if begun or self._state.ended or time.monotonic() >= deadline:
                return False

    def make_room(self, namespace: str, pending: Pending) -> None:
        """Let the writers run, when :attr:`.Capacity.presses` says so; never
        under a lock. While the outbox is more than half full, wait for the
        entry that was just put into it; but not while Redis is known to be
        away."""
        if not self._capacity.crowded:
            self._engine.pause()
        # A log handler may emit on a task of the manager.
        elif not self._tasks.on_own_task():
            self.channel(namespace).writer.pause(pending, CROWD_PATIENCE)
