"""Which channels of PUB/SUB a process listens to, and on which connections.

A *member* of a namespace listens to the public channel, to those on which it
is counted, and to its private one; a *guest*, which only asks there, to the
private one alone. See :mod:`redis_streams_adapter.protocol.routing` for the
channels.

One connection listens to all of them. In a Redis Cluster that one listens to
the plain channels, and each slot of sharded ones has another.
"""
import logging
import time
from typing import Callable, Dict, Iterable, List, Optional, Protocol, \
    Sequence

from ..protocol.application import Application
from ..options import Options
from ..stream.driver import Driver
from ..stream.listener import Heard, Listener
from ..protocol.routing import application_channel, marker_channel, \
    member_channel, private_channel, public_channel, slot_key
from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.transport import Way

#: In how many namespaces a process is a guest. In a cluster each sharded one
#: takes a connection. The one in which it asked longest ago is given up.
MAX_GUESTS = 64


class Start(Protocol):
    """Starts a task of the runtime, where there is none of this name."""

    def __call__(self, name: str, work: Callable[[Task], None],
                 matters: bool) -> None: ...


class Channels:
    """The channels of this node.

    :param prefix: the option ``channel_prefix``.
    :param application: the one that this node belongs to.
    :param own_uid: tells the id of this node, which it has once it is a
                    member.
    """

    def __init__(self, prefix: str, application: Application,
                 own_uid: Callable[[], str]) -> None:
        self._prefix = prefix
        self._application = application
        self._own_uid = own_uid

    def public(self, namespace: str) -> str:
        """Where requests are published."""
        return public_channel(self._prefix, namespace)

    def counted(self, namespace: str) -> List[str]:
        """Where a member of a namespace is counted: as any server, as one in
        Python, as one of this application, as this one."""
        return [self.public(namespace),
                marker_channel(self._prefix, namespace),
                application_channel(self._prefix, namespace,
                                    self._application.name),
                self.member(namespace, self._own_uid())]

    def member(self, namespace: str, uid: str) -> str:
        """Where one node is counted."""
        return member_channel(self._prefix, namespace,
                              self._application.name, uid)

    def private(self, namespace: str, uid: str = '') -> str:
        """Where the answers to one node come, to this one unless said."""
        return private_channel(self._prefix, namespace,
                               uid or self._own_uid())


class Subscriptions:
    """Keeps the listeners of a process.

    :param channels: those of this node.
    :param way: how this node asks, if it asks over PUB/SUB; if not, the way
                that it does not do without.
    :param asks: whether it asks over PUB/SUB.
    :param hear: what to do with a message, on a listener's task.
    :param start: starts tasks; what does not matter to them is whether
                  ``health()`` is told that they cannot go on.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], channels: Channels,
                 way: Way, asks: bool, hear: Callable[[Heard], None],
                 start: Start) -> None:
        self._driver = driver
        self._engine = engine
        self._logger = logger
        self._channels = channels
        self._way = way
        self._asks = asks
        self._hear = hear
        self._start = start
        #: Protects what is listened to: the four below. Taken before the
        #: runtime's start lock, and never held over I/O. If the process
        #: dies, Redis ends its subscriptions. If an exception strikes, the
        #: next call of :meth:`serve` makes up for it, within a second.
        self._lock = engine.lock()
        self._served: List[str] = []
        #: Namespaces that are asked in and not served; the last one last.
        self._guests: Dict[str, None] = {}
        #: All that were made. Each keeps its task, so none is removed.
        self._made: List[Listener] = []
        #: Those that have something to do, by slot in a cluster; those of
        #: plain channels under no name.
        self._listeners: Dict[str, Listener] = {}
        #: Set when something was confirmed. Each task adds and removes its
        #: own, the listeners' set them.
        self._waiting: List[Event] = []
        #: Set once, by the task that closes the manager.
        self._ended = False

    # -- what to listen to ------------------------------------------------

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen as a member of exactly these namespaces."""
        with self._lock:
            self._served = list(namespaces)
            for each in self._served:
                self._guests.pop(each, None)
            self._listen()

    def visit(self, namespace: str) -> Optional[str]:
        """Listen to answers in a namespace, served or not.

        :return: a namespace in which a message to this node makes the
                 listener notice that; ``None``: it needs none.
        """
        with self._lock:
            if namespace in self._served:
                return None
            if namespace in self._guests:
                self._guests[namespace] = self._guests.pop(namespace)
                return None
            if len(self._guests) >= MAX_GUESTS:
                del self._guests[next(iter(self._guests))]
            self._guests[namespace] = None
            self._listen()
            if self._way is Way.SHARDED and self._driver.masters is not None:
                # On another connection.
                return None
            return next((each for each in (*self._served, *self._guests)
                         if self.hears(each)), None)

    def _listen(self) -> None:
        """Under the lock."""
        channels = self._channels
        served = [channel for each in self._served for channel in (
            *channels.counted(each), channels.private(each))]
        # Answers to a guest come the way that it asks.
        both = [*served, *(channels.private(each) for each in self._guests)]
        if self._driver.masters is None:
            self._listener('', Way.SHARDED, Way.PLAIN).listen_to(both)
            return
        self._listener('', Way.PLAIN).listen_to(
            both if self._way is Way.PLAIN else served)
        by_slot: Dict[str, List[str]] = {}
        for channel in both if self._way is Way.SHARDED else served:
            by_slot.setdefault(slot_key(channel), []).append(channel)
        for key in {*self._listeners} - {*by_slot, ''}:
            # In this order: where it is struck, it is done again.
            self._listeners[key].listen_to(())
            del self._listeners[key]
        for key, some in by_slot.items():
            self._listener(key, Way.SHARDED).listen_to(some, key)

    def _listener(self, key: str, *ways: Way) -> Listener:
        """Under the lock."""
        listener = self._listeners.get(key)
        if listener is None:
            listener = self._listeners[key] = \
                self._find_idle(ways) or self._make(key, ways)
        # Each time, for it may have been struck.
        self._start(listener.name, listener.work,
                    matters=self._asks and self._way in ways)
        return listener

    def _find_idle(self, ways: Sequence[Way]) -> Optional[Listener]:
        """One that has nothing to do; under the lock."""
        busy = list(self._listeners.values())
        for each in self._made:
            if each not in busy and [*each.ways] == [*ways]:
                return each
        return None

    def _make(self, key: str, ways: Sequence[Way]) -> Listener:
        """Under the lock."""
        count = len(self._made)
        # Sharded channels are there since Redis 7.0, and the rights for one
        # way need not be those for the other.
        listener = Listener(
            self._driver, self._engine, key, self._hear,
            {way: way is not self._way for way in ways}, self._logger,
            self._tell_waiting, f'listener {count}' if count else 'listener')
        self._made.append(listener)
        return listener

    # -- whether answers are heard ----------------------------------------

    def _of(self, namespace: str) -> Optional[Listener]:
        """What hears the answers in a namespace."""
        key = ''
        if self._way is Way.SHARDED and self._driver.masters is not None:
            key = slot_key(self._channels.private(namespace))
        return self._listeners.get(key)

    def hears(self, namespace: str) -> bool:
        """Whether Redis has confirmed that this node hears answers in a
        namespace."""
        listener = self._of(namespace)
        return listener is not None and listener.hears(
            self._channels.private(namespace))

    def await_answers(self, namespace: str, deadline: float,
                      patient: bool) -> bool:
        """Wait until this node hears answers in a namespace.

        :param patient: also while it is known that the listener cannot
                        connect.
        :return: ``False`` if it does not by then.
        """
        event = self._engine.event()
        try:
            self._waiting.append(event)
            while not self.hears(namespace):
                left = deadline - time.monotonic()
                listener = self._of(namespace)
                if left <= 0 or self._ended or not (
                        patient or listener is None or not listener.fails):
                    return False
                event.wait(left)
                event.clear()
        finally:
            # Struck before it was added, it is not there.
            if event in self._waiting:
                self._waiting.remove(event)
        return True

    def doubt(self, namespace: str) -> None:
        """Redis knows nothing of a subscription that it has confirmed, so
        that connection is dead: replace it."""
        listener = self._of(namespace)
        if listener is not None and self.hears(namespace):
            listener.interrupt()

    def _tell_waiting(self) -> None:
        for event in list(self._waiting):
            event.set()

    # -- the end ----------------------------------------------------------

    def interrupt(self) -> None:
        """End what tasks wait for."""
        self._ended = True
        self._tell_waiting()
        for each in list(self._made):
            each.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        for each in list(self._made):
            each.abandon()
