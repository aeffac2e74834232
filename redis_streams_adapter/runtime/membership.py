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
from dataclasses import replace
from typing import Any, Callable, Iterable, Sequence

from ..errors import NO_ROOM
from ..log_events import LogEvent, NODE_PRESENT, SIGN_OF_LIFE_DROPPED
from ..protocol.codec import Encoder
from ..protocol.discovery import EVERYWHERE
from ..protocol.events import Learned, Send
from ..protocol.messages import EMITTER_UID, Heartbeat, InitialHeartbeat, \
    Message, MessageType
from ..protocol.node import Node
from ..protocol.presence import Presence, Question
from ..protocol.routing import namespace_in
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
        #: What the last call of :meth:`serve` has carried out: the namespaces
        #: of the server, and those channels that were followed; under the
        #: serving lock. If an exception strikes before it is written, the
        #: next call does all of it again.
        self._done: Any = None

    def serve(self) -> None:
        """Become a member of the namespaces that are served now, if their
        streams are followed: an answer must not be missed."""
        with self.serving_lock:
            if self._state.closed:
                return
            served = list(self.namespaces())
            due = served, [(each.positioned, each.delivery)
                           for each in self._channels]
            if due == self._done and all(
                    each.history is None for each in self._channels):
                # Every second: with many namespaces, the rest takes long.
                return
            self._done = None
            namespaces = [each for each in served
                          if self._channel_of(each).positioned]
            now = time.monotonic()
            with self._core:
                # A node that knows all members counts itself, too.
                learned = [self._begin_to_know(channel)
                           for channel in self._channels]
                settled = {channel.index for channel in self._channels
                           if channel.knowledge.settled}
                events = self._node.serve(namespaces, now, settled)
                # The other servers may have the same namespaces.
                questions = self._node.questions(now)
            said = None
            try:
                for channel in self._channels:
                    channel.delivery.serve(channel.carried(namespaces))
                # In the order of the decisions: another task may revoke what
                # this one announces.
                said = [self._put_sign(event) for event in events
                        if isinstance(event, Send)]
            finally:
                if said is None:
                    with self._core:
                        self._node.announcements.unsaid_all()
            with self._core:
                there = self._node.shared([
                    name for event in events if isinstance(event, Send)
                    for name in names_joined(event.message)])
            self._requests().serve(namespaces)
            self._done = due
        for each in questions:
            if isinstance(each, Send):
                self.say(each)
        if any(learned) or any(isinstance(each, Learned)
                               for each in questions):
            self._requests().learned()
        if not all(said):
            self._logger().debug('no room for a heartbeat',
                                 extra=SIGN_OF_LIFE_DROPPED())
        for uid, shared in there.items():
            self.log_about(NODE_PRESENT, 'node %s is there [%s]', uid,
                           shared[0], len(shared) - 1)

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
            goodbyes = self._node.announcements.farewell()
        for channel in self._channels:
            # No message of this node may follow the goodbye: a node that
            # reads one takes this node for a member again.
            channel.writer.close([
                self._encoder.encode(event.namespace, event.message)
                for event in goodbyes if channel.carried([event.namespace])])
        with self._core:
            # As announced.
            self._node.serve((), time.monotonic())

    def log_about(self, event: LogEvent, text: str, uid: str, namespace: str,
                  others: int) -> None:
        """Log a change among the other members of a namespace, and of others.
        """
        self._logger().log(
            self._level_of(namespace), text, uid, in_words(namespace, others),
            extra=event(namespace=namespace, other_node=uid, count=others + 1))

    def _level_of(self, namespace: str) -> int:
        """The log level for changes among the members of a namespace."""
        return logging.INFO if self._node.serves(namespace) \
            else logging.DEBUG

    def say(self, event: Send) -> None:
        """Write a sign of life, or a question to another node."""
        message = event.message
        presence = getattr(message, 'presence', None)
        if isinstance(presence, Question):
            self._ask(event.namespace, message)
            return
        if presence is not None \
                or message.type is MessageType.INITIAL_HEARTBEAT:
            with self.serving_lock:
                # Never after the goodbye, nor out of the order in which
                # namespaces are joined and left.
                said = self._state.closed or self._say_current(event)
        else:
            said = self._state.closed or self._put_sign(event)
        if not said:
            self._logger().debug('no room for a heartbeat',
                                 extra=SIGN_OF_LIFE_DROPPED())

    def _say_current(self, event: Send) -> bool:
        """Write what is true now of the namespaces that are served; under the
        serving lock.

        :return: whether there was room.
        """
        with self._core:
            signs = self._node.announcements.current(event, time.monotonic())
        return all([self._put_sign(sign) for sign in signs])

    def _put_sign(self, event: Send) -> bool:
        """Put a sign of life into the outbox; under the serving lock if this
        node joins or leaves with it.

        :return: whether there was room.
        """
        namespace, message = event.namespace, event.message
        presence = getattr(message, 'presence', None)
        changes = presence is not None and bool(
            presence.joins or presence.leaves)
        if message.type is MessageType.INITIAL_HEARTBEAT:
            message = replace(self.arrival(namespace), presence=presence)
            changes = True
        try:
            self._publish(namespace, message)
        except NO_ROOM:
            # A sign of life is useless later; there is no need to keep this
            # one, and the next is due soon.
            if changes:
                with self._core:
                    self._node.announcements.unsaid(
                        namespace, presence is not None)
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
            self._node.lose_sight(channel.writer.writer_id, channel.index)
            namespaces = self._node.announcements.audible(channel.index)
        if asks:
            for namespace in namespaces:
                self.say(Send(namespace, InitialHeartbeat()))

    def ask_for_members(self, namespace: str) -> None:
        """Ask all members of a namespace for a heartbeat. Sent as an emitter
        even by a member: the question neither joins nor is a sign of life."""
        self._ask(namespace, self.arrival(namespace))

    def ask_everyone(self, channel: Channel) -> None:
        """Ask all servers in Python that serve a namespace of a stream for
        the digest of their namespaces."""
        with self._core:
            channel.knowledge.asked(EVERYWHERE, time.monotonic())
        self._ask(namespace_in(channel.index, len(self._channels)),
                  Heartbeat(presence=Question('', '')))

    def _ask(self, namespace: str, message: Message) -> None:
        """Write a question, as an emitter."""
        channel = self._channel_of(namespace)
        try:
            channel.writer.append(
                self._emitter.encode(namespace, message), False)
        except NO_ROOM:
            self._logger().debug('no room for a question',
                                 extra=SIGN_OF_LIFE_DROPPED())
        else:
            self._start_writer(channel)


def names_joined(message: Message) -> Sequence[str]:
    """The namespaces that a node joins with a message."""
    presence = getattr(message, 'presence', None)
    return presence.joins if isinstance(presence, Presence) else ()


def in_words(namespace: str, others: int) -> str:
    """A namespace and others, for the log."""
    return namespace if not others else f'{namespace} and {others:,} more'
