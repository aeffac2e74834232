"""The second way between nodes, as a process uses it: requests and answers
over PUB/SUB.

Every node listens there, whichever way it takes itself: so a cluster can be
moved from one way to the other node by node, and servers in Node.js of both
generations find it. An answer takes the way that its request has come.
"""
import logging
from typing import Any, Callable, Dict, Iterable, Optional, Protocol, \
    Tuple

from .codec import Encoder, Packed, unpack
from .errors import DecodeError
from .messages import Message
from .options import Options
from .redis_streams.connect import Driver
from .redis_streams.pubsub import Courier, Listener
from .routing import private_channel, public_channel
from .tasks import Engine, Task

STREAM, SHARDED = 'stream', 'sharded-pubsub'

#: How to listen, and whether the server has to know it: sharded channels are
#: there since Redis 7.0.
SUBSCRIBE = b'SUBSCRIBE', True
SSUBSCRIBE = b'SSUBSCRIBE', True
OPTIONAL_SSUBSCRIBE = b'SSUBSCRIBE', False


class Start(Protocol):
    """Starts a task of the runtime, where there is none of this name."""

    def __call__(self, name: str, work: Callable[[Task], None],
                 matters: bool) -> None: ...


class SideChannel:
    """Listens to the channels of the served namespaces, and publishes.

    :param encoder: makes messages of this node.
    :param hear: what to do with a message, on a listener's task.
    :param malformed: told of what is none.
    :param start: starts tasks; what does not matter to them is whether
                  ``health()`` is told that they cannot go on.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], encoder: Encoder,
                 hear: Callable[[Packed], None],
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
        self._sharded = options.request_transport == SHARDED
        #: Whether this node asks this way.
        self.asks = options.request_transport != STREAM
        self._courier = Courier(driver, engine, self._sharded)
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
        apart = self._driver.masters is not None
        if self._sharded and apart:
            # Each of them is on one server of the cluster.
            for key in {*channels, *self._listeners}:
                self._listener(key, SSUBSCRIBE).listen_to(
                    [key] if key in channels else [])
        elif self._sharded:
            self._listener('', SSUBSCRIBE, SUBSCRIBE).listen_to(channels)
        elif apart:
            self._listener('', SUBSCRIBE).listen_to(channels)
        else:
            self._listener('', OPTIONAL_SSUBSCRIBE, SUBSCRIBE).listen_to(
                channels)

    def _listener(self, key: str,
                  *commands: Tuple[bytes, bool]) -> Listener:
        listener = self._listeners.get(key)
        if listener is None:
            listener = self._listeners[key] = Listener(
                self._driver, self._engine, key, self._take_in, commands,
                self._logger)
            self._start(f'listener {key}'.rstrip(), listener.work,
                        matters=self.asks)
        return listener

    def _take_in(self, raw: bytes) -> None:
        try:
            packed = unpack(raw)
        except DecodeError as exc:
            self._malformed(exc)
            return
        if packed.uid != self._encoder.uid:
            self._hear(packed)

    # -- what goes out ----------------------------------------------------

    def ask(self, namespace: str, message: Message) -> Callable[[], None]:
        """Encode a request to all nodes of a namespace.

        :return: what publishes it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        packed = self._encoder.pack(namespace, message)
        return lambda: self._publish(
            public_channel(self._prefix, namespace), packed)

    def answer(self, namespace: str, uid: str, message: Message) -> None:
        """Publish an answer to a node.

        :raises TypeError, ValueError: it cannot be serialised.
        """
        self._publish(private_channel(self._prefix, namespace, uid),
                      self._encoder.pack(namespace, message))

    def _publish(self, channel: str, packed: bytes) -> None:
        self._start('courier', self._courier.work, matters=self.asks)
        self._courier.publish(channel, packed)

    def others(self, namespace: str) -> Optional[int]:
        """How many other nodes of a namespace listen.

        :return: ``None`` where Redis does not tell in time.
        """
        self._start('courier', self._courier.work, matters=self.asks)
        counts = self._courier.count((
            public_channel(self._prefix, namespace),
            # Whether we do so ourselves.
            private_channel(self._prefix, namespace, self._encoder.uid)),
            self._driver.socket_timeout)
        return None if counts is None else max(0, counts[0] - counts[1])

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
