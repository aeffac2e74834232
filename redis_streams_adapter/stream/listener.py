"""What listens to channels of PUB/SUB.

``@socket.io/redis-streams-adapter`` 0.3 takes this way for what is worth
nothing later: requests, and the answers to them (``dist/adapter.js``,
``doPublish`` and ``doPublishResponse``). What is published while the
connection is broken is not heard; whoever waits for an answer ends his wait
at its timeout.

In a cluster, sharded channels are on different servers: there is a listener
for each of them.
"""
import logging
from collections import deque
from typing import Any, Callable, Deque, FrozenSet, Iterable, Mapping, \
    NamedTuple, Optional, Sequence, Tuple

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..protocol.transport import Unavailable, Way
from .driver import Driver
from .connection import describe, Refused, Wire

#: How many seconds of silence on a connection that listens are followed by
#: the question whether it still lives.
QUIET = 5.0

#: How long it takes until a listener notices that it is to listen to other
#: channels, in seconds. To wake it earlier would mean to end its connection,
#: and with it the requests that are under way.
LOOK = 0.25

#: The commands of each way.
SUBSCRIBE = {Way.PLAIN: b'SUBSCRIBE', Way.SHARDED: b'SSUBSCRIBE'}
UNSUBSCRIBE = {Way.PLAIN: b'UNSUBSCRIBE', Way.SHARDED: b'SUNSUBSCRIBE'}

#: The ways by what a message starts with.
_WAYS = {b'message': Way.PLAIN, b'smessage': Way.SHARDED}

#: What is said of a command that the server does not know, or that we may
#: not use: to ask again would be of no use.
NOT_FOR_US = ('unknown command', 'NoPermission')


class Heard(NamedTuple):
    """A message, and the way it came."""

    way: Way
    message: bytes


class ListenerLink(Wire):
    """A connection that listens to channels."""

    def __init__(self, driver: Driver, key: str) -> None:
        super().__init__(driver, key, driver.socket_timeout)
        #: What was heard while a subscription was confirmed.
        self._early: Deque[Heard] = deque()

    def subscribe(self, way: Way, channels: Sequence[bytes]) -> None:
        """Listen to channels.

        :raises Refused: we may not, or cannot here.
        :raises Unavailable: the connection is broken.
        """
        self._change(SUBSCRIBE[way], channels)

    def unsubscribe(self, way: Way, channels: Sequence[bytes]) -> None:
        """Listen to them no longer.

        :raises Refused, Unavailable: as :meth:`subscribe`.
        """
        self._change(UNSUBSCRIBE[way], channels)

    def _change(self, command: bytes, channels: Sequence[bytes]) -> None:
        self._send(command, *channels)
        for _ in channels:
            while True:
                reply = self._receive()
                if reply[0] == command.lower():
                    break
                heard = self._read(reply)
                if heard is not None:
                    self._early.append(heard)

    def hear(self, patience: float) -> Tuple[bool, Optional[Heard]]:
        """Wait for the server to say something.

        :param patience: for so many seconds at most.
        :return: whether it did, and the message, if it was one.
        :raises Unavailable: the connection is broken, or the server does
                             not have a channel any longer.
        """
        if self._early:
            return True, self._early.popleft()
        connection = self._open()
        try:
            ready = connection.can_read(patience)
        except self._broken as exc:
            raise self._lost(exc) from exc
        return ready, self._read(self._receive()) if ready else None

    @staticmethod
    def _read(reply: Any) -> Optional[Heard]:
        kind = reply[0]
        if kind == b'sunsubscribe':
            # Its slot was moved to another server (``cluster.c`` of Redis
            # 7.0, ``removeChannelsInSlot``).
            raise Unavailable('a channel is on another server now')
        way = _WAYS.get(kind)
        # Anything else: the answer to a PING.
        return None if way is None else Heard(way, bytes(reply[2]))

    def ask_for_life(self) -> None:
        """Have the server say something, which :meth:`hear` then hears."""
        self._send(b'PING')

    def _send(self, *command: bytes) -> None:
        connection = self._open()
        try:
            connection.send_packed_command(connection.pack_command(*command))
        except self._broken as exc:
            raise self._lost(exc) from exc

    def _receive(self) -> Any:
        try:
            return self._open().read_response()
        except self._error_reply as exc:
            raise Refused(describe(exc)) from exc
        except self._broken as exc:
            raise self._lost(exc) from exc


class Wanted(NamedTuple):
    """What to listen to.

    :param key: what the connection is for, see :class:`Wire`.
    """

    key: str
    channels: Sequence[bytes]


class Listener:
    """What listens to channels, and its task.

    :param key: what the connection is for, see :class:`Wire`.
    :param hear: what to do with a message, on the listener's task.
    :param ways: the ways to listen, and whether it does without one that
                 the server does not know, or allow.
    :param changed: called on the listener's task when :meth:`hears` may
                    have another answer.
    :param name: that of its task.

    To change the channels, :attr:`_wanted` is replaced, one assignment; the
    task notices within :data:`LOOK`, or at the next message.
    """

    def __init__(self, driver: Driver, engine: Engine, key: str,
                 hear: Callable[[Heard], None], ways: Mapping[Way, bool],
                 logger: Callable[[], logging.Logger],
                 changed: Callable[[], None] = lambda: None,
                 name: str = 'listener') -> None:
        self.name = name
        self.ways = ways
        self._driver = driver
        self._hear = hear
        self._logger = logger
        self._changed = changed
        self._work_there = engine.event()
        self._wanted = Wanted(key, ())
        #: The channels that the server has confirmed on the present
        #: connection. Replaced by the task; empty while there is none.
        self._confirmed: FrozenSet[bytes] = frozenset()
        #: Whether the last attempt to listen has ended in an error. Written
        #: by the task.
        self.fails = False
        # Written by the task; read by those who interrupt it.
        self._link: Optional[ListenerLink] = None

    def listen_to(self, channels: Sequence[str],
                  key: Optional[str] = None) -> None:
        """Listen to exactly these channels from now on.

        :param key: what the connection is for, if that has changed.
        """
        before = self._wanted
        wanted = Wanted(before.key if key is None else key,
                        [each.encode() for each in channels])
        if wanted != before:
            self._wanted = wanted
        # Also where it is not new: the one before may have been struck.
        self._work_there.set()

    def hears(self, channel: str) -> bool:
        """Whether the server has confirmed a channel, on a connection that
        is not known to be broken."""
        return channel.encode() in self._confirmed

    def interrupt(self) -> None:
        """End what the task waits for."""
        link = self._link
        if link is not None:
            link.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        if self._link is not None:
            self._link.abandon()

    def work(self, task: Task) -> None:
        """One round of the listener's task: connect, subscribe, listen."""
        if not self._wanted.channels:
            # Nothing to do, and nothing amiss.
            task.works()
        while not self._wanted.channels and not task.stopping:
            self._work_there.wait()
            self._work_there.clear()
        if task.stopping:
            return
        wanted = self._wanted
        link = ListenerLink(self._driver, wanted.key)
        self._link = link
        done = False
        try:
            link.connect()
            ways = dict(self.ways)
            for way, dispensable in self.ways.items():
                if not self._subscribe(link, way, wanted.channels,
                                       dispensable):
                    del ways[way]
            self.fails = False
            self._confirm(wanted.channels)
            task.works()
            while wanted.channels and not task.stopping:
                self._listen(link, task, wanted)
                before, wanted = wanted, self._wanted
                if wanted.key != before.key:
                    # That is on another connection.
                    break
                if wanted is not before:
                    self._change(link, ways, before.channels,
                                 wanted.channels)
                    self._confirm(wanted.channels)
            done = True
        finally:
            self.fails = not done
            self._confirm(())
            self._link = None
            link.close()

    def _confirm(self, channels: Iterable[bytes]) -> None:
        self._confirmed = frozenset(channels)
        self._changed()

    @staticmethod
    def _subscribe(link: ListenerLink, way: Way, channels: Sequence[bytes],
                   dispensable: bool) -> bool:
        try:
            link.subscribe(way, channels)
        except Refused as exc:
            if not dispensable or not any(
                    text in str(exc) for text in NOT_FOR_US):
                raise
            return False
        return True

    @staticmethod
    def _change(link: ListenerLink, ways: Iterable[Way],
                channels: Sequence[bytes], wanted: Sequence[bytes]) -> None:
        new = [each for each in wanted if each not in channels]
        old = [each for each in channels if each not in wanted]
        for way in ways:
            if new:
                link.subscribe(way, new)
            if old:
                link.unsubscribe(way, old)

    def _listen(self, link: ListenerLink, task: Task,
                wanted: Wanted) -> None:
        """Until other channels are wanted."""
        quiet = 0.0
        while wanted is self._wanted and not task.stopping:
            spoke, heard = link.hear(LOOK)
            quiet = 0.0 if spoke else quiet + LOOK
            if quiet >= QUIET:
                link.ask_for_life()
                spoke, heard = link.hear(self._driver.socket_timeout)
                if not spoke:
                    raise Unavailable('the server has fallen silent')
                quiet = 0.0
            if heard is not None:
                self._hand_on(heard)

    def _hand_on(self, heard: Heard) -> None:
        try:
            self._hear(heard)
        except Exception:
            # Whatever it is, it concerns this message alone.
            self._logger().exception('a request could not be carried out')
