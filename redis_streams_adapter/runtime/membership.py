"""The namespaces in which this process is a member, and how it announces
that to other nodes.

A process is a member of each namespace that its server serves, as soon as it
follows the stream of that namespace: it must not miss an answer. The serving
lock makes "these namespaces are served" one step, see
:mod:`redis_streams_adapter.runtime.runtime`. If the process dies, the other
nodes drop it after a timeout, because it writes nothing more.
"""
import logging
import threading
import time
from typing import Any, Callable, Iterable, Sequence

from ..errors import NO_ROOM
from ..protocol.codec import Encoder
from ..protocol.events import Send
from ..protocol.messages import AdapterClose, EMITTER_UID, \
    InitialHeartbeat, Message, MessageType
from ..protocol.node import Node
from .channel import Channel
from .delivery import Requests
from .tasks import State


class Membership:
    """The namespaces of a process.

    :param node: knows the members of the cluster; used under ``core``.
    :param serving: the serving lock.
    :param encoder: encodes messages of this process.
    :param channels: the channels of the process.
    :param channel_of: returns the channel of a namespace.
    :param publish: puts a message into the outbox.
    :param start_writer: starts the writer of a channel.
    :param requests: returns what sends requests and answers.
    :param namespaces: returns the namespaces that the server serves.
    """

    def __init__(self, node: Node, core: threading.Lock, serving: Any,
                 encoder: Encoder, state: State, channels: Sequence[Channel],
                 channel_of: Callable[[str], Channel],
                 publish: Callable[[str, Message], Any],
                 start_writer: Callable[[Channel], None],
                 requests: Callable[[], Requests],
                 namespaces: Callable[[], Iterable[str]],
                 logger: Callable[[], logging.Logger]) -> None:
        self._node = node
        self._core = core
        self.serving_lock = serving
        self._encoder = encoder
        self._emitter = Encoder(EMITTER_UID)
        self._state = state
        self._channels = channels
        self._channel_of = channel_of
        self._publish = publish
        self._start_writer = start_writer
        self._requests = requests
        self.namespaces = namespaces
        self._logger = logger

    def serve(self) -> None:
        """Become a member of the namespaces that are served now, if their
        streams are followed: an answer must not be missed."""
        with self.serving_lock:
            if self._state.closed:
                return
            namespaces = [each for each in self.namespaces()
                          if self._channel_of(each).positioned]
            with self._core:
                # A node that knows all members counts itself, too.
                learned = [self._begin_to_know(channel)
                           for channel in self._channels]
                events = self._node.serve(namespaces, time.monotonic())
            for channel in self._channels:
                channel.delivery.serve(channel.carried(namespaces))
            # In the order of the decisions: another task may revoke what this
            # one announces.
            said = [self._put_sign(event) for event in events
                    if isinstance(event, Send)]
            with self._core:
                there = [(uid, event.namespace) for event in events
                         if isinstance(event, Send) and event.message.type
                         is MessageType.INITIAL_HEARTBEAT
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
        # If an exception strikes before this, it is noted twice.
        channel.history = None
        return True

    def serves(self, namespace: str) -> bool:
        """Whether this process is a member of a namespace."""
        with self.serving_lock:
            # Not while another task computes what is served.
            return self._node.serves(namespace)

    def appear_in(self, namespace: str) -> None:
        """Become a member of a namespace that is served from now on, because
        it accepts a client."""
        self._state.may_have_clients()
        if not self.serves(namespace):
            self.serve()

    def joins(self, namespace: str) -> bool:
        """Whether this process is a member of a namespace, or is about to
        be."""
        return self._state.member and not self._state.closed \
            and namespace in self.namespaces()

    def leave(self) -> None:
        """Put the goodbye into the outbox, as the last entry of this process.
        """
        with self.serving_lock, self._core:
            # From here on no namespace is served again.
            namespaces = self._node.namespaces
        for channel in self._channels:
            # No message of this node may follow the goodbye: a node that
            # reads one takes this node for a member again.
            channel.writer.close([
                self._encoder.encode(namespace, AdapterClose())
                for namespace in channel.carried(namespaces)])
        with self._core:
            # As announced.
            self._node.serve((), time.monotonic())

    def log_about(self, namespace: str, *args: Any) -> None:
        """Log a change among the other members of a namespace."""
        self._logger().log(self._level_of(namespace), *args)

    def _level_of(self, namespace: str) -> int:
        """The log level for changes among the members of a namespace."""
        return logging.INFO if self._node.serves(namespace) \
            else logging.DEBUG

    def say(self, event: Send) -> None:
        """Write a sign of life."""
        if event.message.type is MessageType.INITIAL_HEARTBEAT:
            with self.serving_lock:
                # Never after the goodbye.
                said = self._state.closed \
                    or not self._node.serves(event.namespace) \
                    or self._put_sign(event)
        else:
            said = self._state.closed or self._put_sign(event)
        if not said:
            self._logger().debug('no room for a heartbeat')

    def _put_sign(self, event: Send) -> bool:
        """Put a sign of life into the outbox; under the serving lock if this
        node joins or leaves with it.

        :return: whether there was room.
        """
        namespace, message = event.namespace, event.message
        joins = message.type is MessageType.INITIAL_HEARTBEAT
        if joins:
            message = self.arrival(namespace)
        try:
            self._publish(namespace, message)
        except NO_ROOM:
            # A sign of life is useless later; there is no need to keep this
            # one, and the next is due soon.
            if joins:
                with self._core:
                    self._node.unannounced(namespace)
            return False
        return True

    def arrival(self, namespace: str) -> InitialHeartbeat:
        """The message with which this node joins a namespace."""
        knowledge = self._channel_of(namespace).knowledge
        now = time.monotonic()
        with self._core:
            asks = self._node.unknown_for(namespace, knowledge, now) != 0
            if asks:
                knowledge.asked(namespace, now)
        return InitialHeartbeat(asks)

    def lose_sight(self, channel: Channel, young: bool) -> None:
        """Members may have joined unseen: ask for all members.

        :param young: the stream is a new one, and is read as a whole.
        """
        now, start = time.monotonic(), channel.reader.horizon
        with self._core:
            asks = channel.knowledge.lose(start, young, now)
            self._node.lose_sight(channel.writer.writer_id)
            namespaces = self._node.namespaces
        if asks:
            for namespace in channel.carried(namespaces):
                self.say(Send(namespace, InitialHeartbeat()))

    def ask_for_members(self, namespace: str) -> None:
        """Ask all members of a namespace for a heartbeat. Sent as an emitter
        even by a member: the question neither joins nor is a sign of life."""
        channel = self._channel_of(namespace)
        try:
            channel.writer.append(self._emitter.encode(
                namespace, self.arrival(namespace)), False)
        except NO_ROOM:
            self._logger().debug('no room for a question')
        else:
            self._start_writer(channel)
