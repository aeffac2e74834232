"""A connection that listens to channels of PUB/SUB, and its task.

``@socket.io/redis-streams-adapter`` 0.3 sends over PUB/SUB what has no value
later: requests and the answers to them (``dist/adapter.js``, ``doPublish``
and ``doPublishResponse``). A message that is published while the connection
is broken is not heard: a call that needs it waits until its timeout.

The task sleeps until the server sends something, until the channels change,
or until the connection has to be checked, see :data:`QUIET`.
"""
import logging
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, FrozenSet, Iterable, List, \
    Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..concurrency.wakeup import Wakeup
from ..log_events import REQUEST_FAILED
from ..protocol.routing import slot_key
from ..protocol.transport import Unavailable, Way
from .driver import Driver
from .connection import Connection, Refused
from .topology import Address

#: After how many seconds of silence the listener checks the connection.
QUIET = 5.0

#: After a message of this many bytes, other tasks may run.
LARGE = 1 << 13

#: The commands of each way.
SUBSCRIBE = {Way.PLAIN: b'SUBSCRIBE', Way.SHARDED: b'SSUBSCRIBE'}
UNSUBSCRIBE = {Way.PLAIN: b'UNSUBSCRIBE', Way.SHARDED: b'SUNSUBSCRIBE'}

#: The way of a message, by its first element.
_WAYS = {b'message': Way.PLAIN, b'smessage': Way.SHARDED}

#: Parts of the error for a command that the server does not know, or that
#: this user may not use: it is useless to try again.
NOT_FOR_US = ('unknown command', 'NoPermission')

#: The start of the error for a channel that is on another server of the
#: cluster, or on none at present. It concerns this channel, not the
#: connection.
NOT_HERE = ('MovedError', 'AskError', 'TryAgainError', 'ClusterDownError',
            # redis-py 5.0 has no classes for them.
            *(f'ResponseError: {code} '
              for code in ('MOVED', 'ASK', 'TRYAGAIN', 'CLUSTERDOWN')))


class Heard(NamedTuple):
    """A message, and the way it came."""

    way: Way
    message: bytes


class Removed(NamedTuple):
    """A sharded channel whose slot was moved to another server (``cluster.c``
    of Redis 7.0, ``removeChannelsInSlot``). The connection goes on."""

    channel: bytes


class ListenerLink(Connection):
    """A connection that listens to channels.

    :param wakeup: ends :meth:`wait`.
    """

    def __init__(self, driver: Driver, wakeup: Wakeup) -> None:
        super().__init__(driver, '', driver.socket_timeout)
        self._wakeup = wakeup
        #: What arrived while a subscription was confirmed.
        self._early: Deque[Union[Heard, Removed]] = deque()

    def subscribe(self, way: Way, channels: Sequence[bytes]) -> None:
        """Listen to channels.

        :raises Refused: the user may not, or the server does not have them.
        :raises Unavailable: the connection is broken.
        """
        self._change(SUBSCRIBE[way], channels)

    def unsubscribe(self, way: Way, channels: Sequence[bytes]) -> None:
        """Stop listening to channels.

        :raises Refused, Unavailable: as :meth:`subscribe`.
        """
        self._change(UNSUBSCRIBE[way], channels)

    def _change(self, command: bytes, channels: Sequence[bytes]) -> None:
        self._send(command, *channels)
        # With thousands of namespaces, there are many.
        changed = frozenset(channels)
        for _ in channels:
            while True:
                reply = self._receive()
                if reply[0] == command.lower() and reply[1] in changed:
                    break
                early = self._parse(reply)
                if early is not None:
                    self._early.append(early)

    def wait(self, timeout: float) -> bool:
        """Wait until the server sends something.

        :param timeout: how many seconds to wait, at most.
        :return: whether it did. If not, the time is over, another task has
                 called for attention, or what came is not a message: TLS has
                 records of its own.
        :raises Unavailable: the connection is broken.
        """
        if self._early:
            return True
        connection = self._open()
        try:
            # The parser or TLS may hold what the socket no longer has.
            if connection.can_read(0):
                return True
            if not self._wakeup.wait(connection._sock.fileno(), timeout):
                return False
            # This may be a copy of the task, in a child process.
            return bool(self._open().can_read(0))
        except self._broken as exc:
            raise self._lost(exc) from exc

    def read(self) -> Union[Heard, Removed, None]:
        """What the server has sent; ``None``: an answer to a PING.

        :raises Unavailable: the connection is broken.
        """
        if self._early:
            return self._early.popleft()
        return self._parse(self._receive())

    @staticmethod
    def _parse(reply: Any) -> Union[Heard, Removed, None]:
        kind = reply[0]
        if kind == b'sunsubscribe':
            return Removed(bytes(reply[1]))
        way = _WAYS.get(kind)
        return None if way is None else Heard(way, bytes(reply[2]))

    def ping(self) -> None:
        """Make the server reply."""
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
            raise Refused(self.describe(exc)) from exc
        except self._broken as exc:
            raise self._lost(exc) from exc


class Wanted(NamedTuple):
    """What to listen to.

    :param address: the server of a cluster to listen on; ``None``: any.
    """

    channels: Tuple[bytes, ...]
    address: Optional[Address]


class Listener:
    """Listens to channels, on one connection and one task.

    :param hear: called with each message, on the listener's task.
    :param ways: how to listen, and for each way whether the listener goes on
                 without it if the server does not know or allow it.
    :param changed: called on the listener's task when :meth:`hears` may
                    have another answer.
    :param moved: called on the listener's task when a channel is on another
                  server of the cluster: the listener goes on without it.
                  ``None``: all channels are on one server.
    :param name: that of its task.

    To change the channels, another task replaces :attr:`_wanted`, in one
    assignment, and wakes the listener. If the task is interrupted between the
    two, the next call of :meth:`listen_to` wakes it.
    """

    def __init__(self, driver: Driver, engine: Engine,
                 hear: Callable[[Heard], None], ways: Mapping[Way, bool],
                 logger: Callable[[], logging.Logger],
                 changed: Callable[[], None] = lambda: None,
                 moved: Optional[Callable[[], None]] = None,
                 name: str = 'listener') -> None:
        self.name = name
        self.ways = ways
        self._driver = driver
        self._hear = hear
        self._logger = logger
        self._changed = changed
        self._moved = moved
        self._work_there = engine.event()
        self._pause = engine.pause
        #: Ends what the task waits for; ``None`` while it does not wait.
        #: Written by the task, before it reads what is wanted.
        self._wakeup: Optional[Wakeup] = None
        self._wanted = Wanted((), None)
        #: What the listener works on. Written by its task.
        self._taken = self._wanted
        #: The channels that the server has confirmed on the present
        #: connection. Replaced by the task; empty while there is none.
        self._confirmed: FrozenSet[bytes] = frozenset()
        #: Whether the last attempt to listen has ended in an error. Written
        #: by the task.
        self._failing = False
        # Written by the task; read by the tasks that interrupt it.
        self._link: Optional[ListenerLink] = None

    def listen_to(self, channels: Sequence[str],
                  address: Optional[Address] = None) -> None:
        """Listen to exactly these channels from now on, and try again to
        listen to those that were on another server.

        :param address: the server of a cluster to listen on; ``None``: any.
        """
        before = self._wanted
        wanted = Wanted(tuple(each.encode() for each in channels), address)
        if wanted != before or self._moved is not None \
                and before is self._taken \
                and not self._confirmed.issuperset(wanted.channels):
            # A new object, by which the task knows that there is something
            # to do.
            self._wanted = wanted
        # Even if nothing is new: the last call may have been interrupted.
        self._work_there.set()
        wakeup = self._wakeup
        if wakeup is not None and self._wanted is not self._taken:
            wakeup.set()

    def hears(self, channel: str) -> bool:
        """Whether the server has confirmed a channel, on a connection that
        is not known to be broken."""
        return channel.encode() in self._confirmed

    def fails(self, channel: str) -> bool:
        """Whether the last attempt to listen to a channel has failed."""
        return self._failing and channel.encode() in self._wanted.channels

    def renew(self, channel: str) -> None:
        """Connect again if the listener hears a channel."""
        if self.hears(channel):
            self.interrupt()

    def interrupt(self) -> None:
        """End the wait of the task."""
        link = self._link
        if link is not None:
            link.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        if self._link is not None:
            self._link.abandon()
        if self._wakeup is not None:
            self._wakeup.close()

    def work(self, task: Task) -> None:
        """One round of the listener's task: connect, subscribe, listen."""
        if not self._wanted.channels:
            # Nothing to do, and no failure.
            task.works()
        while not self._wanted.channels and not task.stopping:
            self._work_there.wait()
            self._work_there.clear()
        if task.stopping:
            return
        done, link, wakeup = False, None, Wakeup()
        try:
            self._wakeup = wakeup
            wanted = self._wanted
            address = wanted.address
            link = self._link = ListenerLink(
                self._driver.connecting_to(address), wakeup)
            link.connect()
            ways = dict(self.ways)
            while wanted.channels and wanted.address == address \
                    and not task.stopping:
                self._taken = wanted
                self._change(link, ways, wanted.channels)
                self._failing = False
                task.works()
                self._listen(link, task, wanted)
                wanted = self._wanted
            done = True
        finally:
            self._failing = not done
            self._confirm(frozenset())
            self._link = self._wakeup = None
            if link is not None:
                link.close()
            wakeup.close()

    def _confirm(self, channels: FrozenSet[bytes]) -> None:
        self._confirmed = channels
        self._changed()

    def _change(self, link: ListenerLink, ways: Dict[Way, bool],
                wanted: Sequence[bytes]) -> None:
        """Listen to other channels on the same connection.

        :param ways: those in use; one that is refused is removed.
        """
        new = [each for each in wanted if each not in self._confirmed]
        kept = frozenset(wanted)
        old = [each for each in self._confirmed if each not in kept]
        elsewhere: Set[bytes] = set()
        for way, dispensable in list(ways.items()):
            try:
                for some in self._by_command(new):
                    if not self._try(link.subscribe, way, some):
                        elsewhere.update(some)
            except Refused as exc:
                if not dispensable or not any(
                        text in str(exc) for text in NOT_FOR_US):
                    raise
                del ways[way]
                continue
            for some in self._by_command(old):
                self._try(link.unsubscribe, way, some)
        self._confirm(kept - elsewhere)
        if elsewhere and self._moved is not None:
            self._moved()

    def _by_command(self, channels: Sequence[bytes],
                    ) -> Iterable[Sequence[bytes]]:
        """Channels that one command may name together: in a cluster those of
        one slot."""
        if self._moved is None:
            return [channels] if channels else []
        groups: Dict[str, List[bytes]] = {}
        for channel in channels:
            groups.setdefault(slot_key(channel.decode()), []).append(channel)
        return groups.values()

    def _try(self, change: Callable[[Way, Sequence[bytes]], None], way: Way,
             channels: Sequence[bytes]) -> bool:
        """Change subscriptions.

        :return: ``False``: the channels are on another server.
        """
        try:
            change(way, channels)
        except Refused as exc:
            if self._moved is None or not str(exc).startswith(NOT_HERE):
                raise
            return False
        return True

    def _listen(self, link: ListenerLink, task: Task, wanted: Wanted) -> None:
        """Hand on what is heard, until the channels change."""
        asked, due = False, time.monotonic() + QUIET
        while wanted is self._wanted and not task.stopping:
            left = due - time.monotonic()
            if left > 0:
                if link.wait(left):
                    self._take(link.read())
                    asked, due = False, time.monotonic() + QUIET
            elif asked:
                raise Unavailable('the server has stopped answering')
            else:
                link.ping()
                asked = True
                due = time.monotonic() + self._driver.socket_timeout

    def _take(self, message: Union[Heard, Removed, None]) -> None:
        if isinstance(message, Removed):
            if self._moved is None:
                raise Unavailable('a channel has moved to another server')
            self._confirm(self._confirmed - {message.channel})
            self._moved()
        elif message is not None:
            self._hand_on(message)

    def _hand_on(self, heard: Heard) -> None:
        try:
            self._hear(heard)
        except Exception:
            # The defect concerns this message alone.
            self._logger().exception('a request could not be processed',
                                     extra=REQUEST_FAILED())
        if len(heard.message) >= LARGE:
            self._pause()
