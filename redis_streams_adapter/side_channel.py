"""The second way between nodes, as a process uses it: requests and answers
over PUB/SUB.

Every node listens there, whichever way it takes itself: so a cluster can be
moved from one way to the other node by node, and servers in Node.js of both
generations find it. An answer takes the way that its request has come.
"""
import logging
from typing import Any, Callable, Dict, Iterable, Optional, Protocol

from .codec import Encoder, Packed, unpack
from .errors import DecodeError
from .messages import Message
from .options import Options
from .redis_streams.connect import Driver
from .redis_streams.courier import Courier
from .redis_streams.listener import Heard, Listener
from .requests import Asked
from .routing import private_channel, public_channel
from .tasks import Engine, Task
from .transport import Way

STREAM = 'stream'


class Start(Protocol):
    """Starts a task of the runtime, where there is none of this name."""

    def __call__(self, name: str, work: Callable[[Task], None],
                 matters: bool) -> None: ...


class SideChannel:
    """Listens to the channels of the served namespaces, and publishes.

    :param encoder: makes messages of this node.
    :param hear: what to do with a message, and the way it came, on a
                 listener's task.
    :param malformed: told of what is none.
    :param start: starts tasks; what does not matter to them is whether
                  ``health()`` is told that they cannot go on.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], encoder: Encoder,
                 hear: Callable[[Packed, Way], None],
                 malformed: Callable[[DecodeError], None],
                 start: Start) -> None:
        self._prefix = options.channel_prefix
        self._driver = driver
        self._engine = engine
        self._logger = logger
        self._encoder = encoder
        self._hear = hear
        self._malformed = malformed
        self._start = start
        #: Whether this node asks this way.
        self.asks = options.request_transport != STREAM
        #: How it does, if it does.
        self._way = Way(options.request_transport) if self.asks \
            else Way.PLAIN
        self._courier = Courier(driver, engine)
        #: By the key of its connection. Under the runtime's start lock.
        self._listeners: Dict[str, Listener] = {}

    @property
    def dropped(self) -> int:
        """How many messages were not sent, or not known to be."""
        return self._courier.dropped

    # -- what comes in ----------------------------------------------------

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen for these namespaces; under the runtime's start lock."""
        uid, prefix = self._encoder.uid, self._prefix
        channels = [channel for each in namespaces for channel in (
            public_channel(prefix, each), private_channel(prefix, each, uid))]
        if self._driver.masters is None:
            self._listener('', Way.SHARDED, Way.PLAIN).listen_to(channels)
            return
        self._listener('', Way.PLAIN).listen_to(channels)
        # Each of them is on one server of the cluster.
        for key in {*channels, *self._listeners} - {''}:
            self._listener(key, Way.SHARDED).listen_to(
                [key] if key in channels else [])

    def _listener(self, key: str, *ways: Way) -> Listener:
        listener = self._listeners.get(key)
        if listener is None:
            # Sharded channels are there since Redis 7.0, and the rights for
            # one way need not be those for the other.
            listener = self._listeners[key] = Listener(
                self._driver, self._engine, key, self._take_in,
                {way: way is not self._way for way in ways}, self._logger)
            self._start(f'listener {key}'.rstrip(), listener.work,
                        matters=self.asks and self._way in ways)
        return listener

    def _take_in(self, heard: Heard) -> None:
        try:
            packed = unpack(heard.message)
        except DecodeError as exc:
            self._malformed(exc)
            return
        if packed.uid != self._encoder.uid:
            self._hear(packed, heard.way)

    # -- what goes out ----------------------------------------------------

    def ask(self, namespace: str, message: Message) -> Callable[[], None]:
        """Encode a request to all nodes of a namespace.

        :return: what publishes it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        packed = self._encoder.pack(namespace, message)
        return lambda: self._publish(
            self._way, public_channel(self._prefix, namespace), packed)

    def answer(self, way: Way, namespace: str, uid: str,
               message: Message) -> Callable[[], None]:
        """Encode an answer to a node, for the way that it has asked.

        :return: what publishes it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        packed = self._encoder.pack(namespace, message)
        return lambda: self._publish(
            way, private_channel(self._prefix, namespace, uid), packed)

    def _publish(self, way: Way, channel: str, packed: bytes) -> None:
        self._start('courier', self._courier.work, matters=self.asks)
        self._courier.publish(way, channel, packed)

    def listening(self, namespace: str, uids: Iterable[str],
                  timeout: float) -> Optional[Asked]:
        """Which other nodes of a namespace listen.

        :param uids: of those that are known.
        :param timeout: how many seconds to wait for that, at most; no
                        longer than any command may take.
        :return: ``None`` where Redis does not tell in time.
        """
        self._start('courier', self._courier.work, matters=self.asks)
        others = list(uids)
        counts = self._courier.count(
            self._way,
            [public_channel(self._prefix, namespace),
             *(private_channel(self._prefix, namespace, uid)
               for uid in (self._encoder.uid, *others))],
            min(timeout, self._driver.socket_timeout))
        if counts is None:
            return None
        # Whether we do so ourselves, too.
        everybody, ourselves, *each = counts
        listening = [uid for uid, count in zip(others, each) if count]
        # One of our own two channels may be missing for a moment.
        return Asked(max(everybody - ourselves, len(listening)), listening)

    # -- the end ----------------------------------------------------------

    def interrupt(self) -> None:
        """End what the tasks wait for."""
        for each in self._parts():
            each.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        for each in self._parts():
            each.abandon()

    def _parts(self) -> Iterable[Any]:
        return [self._courier, *self._listeners.values()]
