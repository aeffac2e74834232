"""The PUB/SUB channels that a process listens to, and its connections.

A *member* of a namespace listens to the public channel, to the channels on
which it is counted, and to its private channel. A *guest* only sends requests
in a namespace, and listens to its private channel alone. See
:mod:`redis_streams_adapter.protocol.routing` for the channels.

One connection listens to the channels of all namespaces. With
``request_transport='sharded-pubsub'`` it listens to sharded channels, too. In
a Redis Cluster, sharded channels have further connections, one for each
master. Other nodes do not listen to sharded channels at all.
"""
import logging
import time
from typing import Callable, Dict, Iterable, List, Optional, Protocol, \
    Sequence

from ..concurrency.engines import Engine, Event
from ..protocol.application import Application
from ..protocol.routing import application_channel, marker_channel, \
    member_channel, private_channel, public_channel
from ..protocol.transport import Way
from ..stream.driver import Driver
from ..stream.listener import Heard, Listener
from ..stream.sharded_listeners import ShardedListeners, StartTask

#: The largest number of namespaces in which a process is a guest. The one in
#: which it asked longest ago is dropped first.
MAX_GUESTS = 64


class Answers(Protocol):
    """What listens to the channels on which answers come."""

    def listen_to(self, channels: Sequence[str]) -> None:
        """Listen to exactly these channels from now on."""

    def hears(self, channel: str) -> bool:
        """Whether Redis has confirmed a channel."""

    def fails(self, channel: str) -> bool:
        """Whether the last attempt to listen to a channel failed."""

    def renew(self, channel: str) -> None:
        """Reconnect if a channel is heard."""

    def interrupt(self) -> None:
        """End what its tasks wait for."""

    def abandon(self) -> None:
        """In a child process after a fork."""


class Channels:
    """The channels of this node.

    :param prefix: the option ``channel_prefix``.
    :param application: the one that this node belongs to.
    :param own_uid: returns the id of this node, which it has once it is a
                    member.
    """

    def __init__(self, prefix: str, application: Application,
                 own_uid: Callable[[], str]) -> None:
        self._prefix = prefix
        self._application = application
        self._own_uid = own_uid

    def public(self, namespace: str) -> str:
        """The channel on which requests are published."""
        return public_channel(self._prefix, namespace)

    def counted(self, namespace: str) -> List[str]:
        """The channels on which a member of a namespace is counted: as a
        server, as a server in Python, as one of this application, as this
        node."""
        return [self.public(namespace),
                marker_channel(self._prefix, namespace),
                application_channel(self._prefix, namespace,
                                    self._application.name),
                self.member(namespace, self._own_uid())]

    def member(self, namespace: str, uid: str) -> str:
        """The channel on which one node is counted."""
        return member_channel(self._prefix, namespace,
                              self._application.name, uid)

    def private(self, namespace: str, uid: str = '') -> str:
        """The channel on which one node gets answers; by default this node.
        """
        return private_channel(self._prefix, namespace,
                               uid or self._own_uid())


class Subscriptions:
    """The listeners of a process, and their channels.

    :param channels: those of this node.
    :param way: how this node sends requests, if it sends them over PUB/SUB;
                if not, :data:`Way.PLAIN`.
    :param asks: whether it sends requests over PUB/SUB.
    :param hear: called with each message, on a listener's task.
    :param start: starts tasks.
    """

    def __init__(self, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], channels: Channels,
                 way: Way, asks: bool, hear: Callable[[Heard], None],
                 start: StartTask) -> None:
        self._engine = engine
        self._channels = channels
        self._asks = asks
        self._start = start
        #: Sharded channels of a Redis Cluster; ``None`` if there are none to
        #: listen to, or if they are on the same server as all others.
        self._sharded: Optional[ShardedListeners] = None
        ways = {Way.PLAIN: way is Way.SHARDED}
        if way is Way.SHARDED:
            if driver.cluster is None:
                ways = {Way.SHARDED: False, **ways}
            else:
                self._sharded = ShardedListeners(
                    driver, engine, hear, logger, start, self._notify)
        self._listener = Listener(
            driver, engine, hear, ways, logger, self._notify)
        self._answers: Answers = self._sharded or self._listener
        #: Protects the two fields below. Taken before the runtime's start
        #: lock, and never held over I/O. If the process dies, Redis ends its
        #: subscriptions. If an exception strikes, the next call of
        #: :meth:`serve` repairs it, within a second.
        self._lock = engine.lock()
        self._served: List[str] = []
        #: Namespaces in which this process asks but does not serve; the most
        #: recent one last.
        self._guests: Dict[str, None] = {}
        #: Set when Redis has confirmed a channel. Each task adds and removes
        #: its own event; the listeners' tasks set them.
        self._waiting: List[Event] = []
        #: Set once, by the task that closes the manager.
        self._ended = False

    # -- channels ---------------------------------------------------------

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen as a member of exactly these namespaces."""
        with self._lock:
            self._served = list(namespaces)
            for each in self._served:
                self._guests.pop(each, None)
            self._listen()

    def visit(self, namespace: str) -> None:
        """Listen to answers in a namespace, served or not."""
        with self._lock:
            if namespace in self._served:
                return
            if namespace in self._guests:
                self._guests[namespace] = self._guests.pop(namespace)
                return
            if len(self._guests) >= MAX_GUESTS:
                del self._guests[next(iter(self._guests))]
            self._guests[namespace] = None
            self._listen()

    def _listen(self) -> None:
        """Under the lock."""
        channels = self._channels
        served = [channel for each in self._served for channel in (
            *channels.counted(each), channels.private(each))]
        # Answers to a guest take the way of its requests.
        both = [*served, *(channels.private(each) for each in self._guests)]
        # Each time: the last call may have been interrupted.
        if self._sharded is not None:
            self._listener.listen_to(served)
            self._sharded.listen_to(both)
            self._start(self._sharded.name, self._sharded.work, matters=True)
        else:
            self._listener.listen_to(both)
        self._start(self._listener.name, self._listener.work,
                    matters=self._asks and self._sharded is None)

    # -- answers ----------------------------------------------------------

    def hears(self, namespace: str) -> bool:
        """Whether Redis has confirmed that this node hears answers in a
        namespace."""
        return self._answers.hears(self._channels.private(namespace))

    def await_answers(self, namespace: str, deadline: float,
                      patient: bool) -> bool:
        """Wait until this node hears answers in a namespace.

        :param patient: wait even if it is known that the listener cannot
                        connect.
        :return: ``False`` if it does not hear them by then.
        """
        event = self._engine.event()
        channel = self._channels.private(namespace)
        try:
            self._waiting.append(event)
            while not self._answers.hears(channel):
                left = deadline - time.monotonic()
                if left <= 0 or self._ended or not (
                        patient or not self._answers.fails(channel)):
                    return False
                event.wait(left)
                event.clear()
        finally:
            # It is missing if an exception struck before it was added.
            if event in self._waiting:
                self._waiting.remove(event)
        return True

    def doubt(self, namespace: str) -> None:
        """Replace the connection that hears answers in a namespace: Redis
        confirmed the subscription and no longer has it, so the connection is
        dead."""
        self._answers.renew(self._channels.private(namespace))

    def _notify(self) -> None:
        """Wake the waiting tasks: a channel was confirmed, or has failed. On
        a listener's task."""
        for event in list(self._waiting):
            event.set()

    # -- connections ------------------------------------------------------

    def renew(self) -> None:
        """Replace all connections: another server has taken over."""
        self._listener.interrupt()
        if self._sharded is not None:
            self._sharded.interrupt()

    def interrupt(self) -> None:
        """End what tasks wait for."""
        self._ended = True
        self._notify()
        self._listener.interrupt()
        self._answers.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        self._listener.abandon()
        self._answers.abandon()
