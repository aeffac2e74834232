"""In which namespaces this process is a member, and how the others learn of
it.

A process is a member of each namespace that its server serves, from when it
follows the stream of that namespace: an answer must not be missed. The lock
:attr:`Membership.serving` makes "these namespaces are served" one step, see
:mod:`redis_streams_adapter.runtime.runtime`. Nothing of this survives the
process: the others take a member that writes nothing more for dead.
"""
import logging
import threading
import time
from typing import Any, Callable, Iterable, Sequence

from ..errors import OutboxFullError
from ..protocol.events import Send
from ..protocol.messages import InitialHeartbeat, Message, MessageType
from ..protocol.node import Node
from .channel import Channel
from .delivery import Requests


class Membership:
    """The namespaces of a process.

    :param node: who is in the cluster; in it under ``core``.
    :param serving: the serving lock.
    :param channels: those of the process.
    :param channel_of: which of them a namespace goes to.
    :param publish: puts a message into the outbox.
    :param is_closed: whether the process leaves the cluster.
    :param requests: sends requests and answers.
    :param namespaces: gives the namespaces that the server serves.
    """

    def __init__(self, node: Node, core: threading.Lock, serving: Any,
                 channels: Sequence[Channel],
                 channel_of: Callable[[str], Channel],
                 publish: Callable[[str, Message], Any],
                 is_closed: Callable[[], bool],
                 requests: Callable[[], Requests],
                 namespaces: Callable[[], Iterable[str]],
                 logger: Callable[[], logging.Logger]) -> None:
        self._node = node
        self._core = core
        self._serving = serving
        self._channels = channels
        self._channel_of = channel_of
        self._publish = publish
        self._is_closed = is_closed
        self._requests = requests
        self.namespaces = namespaces
        self._logger = logger

    def serve(self) -> None:
        """Be a member of the namespaces that are served now, as far as the
        streams they are in are followed: an answer must not be missed."""
        with self._serving:
            if self._is_closed():
                return
            namespaces = [each for each in self.namespaces()
                          if self._channel_of(each).positioned]
            with self._core:
                # Who knows all others counts itself, too.
                learned = [self._begin_to_know(channel)
                           for channel in self._channels]
                events = self._node.serve(namespaces, time.monotonic())
            for channel in self._channels:
                channel.delivery.serve([each for each in namespaces
                                        if self._channel_of(each) is channel])
            # In the order of what was decided: another task may take back
            # what this one says.
            said = [self._put_sign(event) for event in events
                    if isinstance(event, Send)]
            with self._core:
                there = [(uid, event.namespace) for event in events
                         if isinstance(event, Send)
                         for uid in self._node.nodes(event.namespace)]
            self._requests().serve(namespaces)
        if any(learned):
            self._requests().learned()
        if not all(said):
            self._logger().debug('no room for a heartbeat')
        for uid, namespace in there:
            self.log_about(namespace, 'node %s is there [%s]', uid, namespace)

    @staticmethod
    def _begin_to_know(channel: Channel) -> bool:
        """Note what was read of the history of a stream that is followed
        now; under the core lock.

        :return: whether there was something new.
        """
        history = channel.history
        if history is None or not channel.positioned:
            return False
        channel.knowledge.begin(*history)
        # Struck before this it is noted twice.
        channel.history = None
        return True

    def serves(self, namespace: str) -> bool:
        """Whether this process is a member of a namespace."""
        with self._serving:
            # Not while what is served is put together, maybe without it.
            return self._node.serves(namespace)

    def log_about(self, namespace: str, *args: Any) -> None:
        """Log something about other members of a namespace."""
        self._logger().log(self._level_of(namespace), *args)

    def _level_of(self, namespace: str) -> int:
        """How much it matters who is a member of a namespace."""
        return logging.INFO if self._node.serves(namespace) \
            else logging.DEBUG

    def say(self, event: Send) -> None:
        """Write a sign of life."""
        if event.message.type is MessageType.INITIAL_HEARTBEAT:
            with self._serving:
                # Never behind the goodbye.
                said = not self._node.serves(event.namespace) \
                    or self._put_sign(event)
        else:
            said = self._put_sign(event)
        if not said:
            self._logger().debug('no room for a heartbeat')

    def _put_sign(self, event: Send) -> bool:
        """Put a sign of life into the outbox; one with which this node joins
        or leaves, under the serving lock.

        :return: whether there was room.
        """
        if self._is_closed():
            # Others have the goodbye, or will.
            return True
        namespace, message = event.namespace, event.message
        joins = message.type is MessageType.INITIAL_HEARTBEAT
        if joins:
            message = self.arrival(namespace)
        try:
            self._publish(namespace, message)
        except OutboxFullError:
            # Signs of life are worth nothing later; there is no need to
            # keep this one, and the next is due in a second.
            if joins:
                with self._core:
                    self._node.unannounced(namespace)
            return False
        return True

    def arrival(self, namespace: str) -> InitialHeartbeat:
        """What this node says when it arrives in a namespace."""
        knowledge = self._channel_of(namespace).knowledge
        now = time.monotonic()
        with self._core:
            asks = self._node.unknown_for(namespace, knowledge, now) != 0
            if asks:
                knowledge.asked(namespace, now)
        return InitialHeartbeat(asks)

    def lose_sight(self, channel: Channel, young: bool) -> None:
        """Members may have joined unseen: ask who is there."""
        now, start = time.monotonic(), channel.reader.horizon
        with self._core:
            asks = channel.knowledge.lose(start, young, now)
            self._node.lose_sight(channel.writer.writer_id)
            namespaces = self._node.namespaces
        if asks:
            for namespace in namespaces:
                if self._channel_of(namespace) is channel:
                    self.say(Send(namespace, InitialHeartbeat()))
