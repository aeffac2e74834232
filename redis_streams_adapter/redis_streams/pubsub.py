"""The second way between nodes: requests and answers over PUB/SUB.

``@socket.io/redis-streams-adapter`` 0.3 takes this way for what is worth
nothing later: requests, and the answers to them (``dist/adapter.js``,
``doPublish`` and ``doPublishResponse``). Nothing is sent twice here, and
nothing is kept: what a broken connection swallows is missed by whoever waits
for it, and his wait ends at its timeout.

The *listener* subscribes, and hands on what it hears. The *courier* publishes,
and counts who listens. Each has a connection of its own, and one task. In a
cluster, sharded channels are on different servers: there is a listener for
each of them, and the courier connects to where a channel is.
"""
import logging
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Mapping, \
    NamedTuple, Optional, Sequence, Tuple

from ..tasks import Engine, Event, Task
from ..transport import Unavailable, Way
from .connect import Driver, errors_of
from .wire import describe, Refused, Wire

#: How many seconds of silence on a connection that listens are followed by
#: the question whether it still lives.
QUIET = 5.0

#: How many messages wait for the courier at most: they are sent at once, or
#: are of no use.
MAX_WAITING = 10_000

#: How many connections the courier keeps to where sharded channels of a
#: cluster are.
MAX_LINKS = 16


#: How long it takes until a listener notices that it is to listen to other
#: channels, in seconds. To wake it earlier would mean to end its connection,
#: and with it the requests that are under way.
LOOK = 0.25

#: The commands of each way.
SUBSCRIBE = {Way.PLAIN: b'SUBSCRIBE', Way.SHARDED: b'SSUBSCRIBE'}
UNSUBSCRIBE = {Way.PLAIN: b'UNSUBSCRIBE', Way.SHARDED: b'SUNSUBSCRIBE'}
PUBLISH = {Way.PLAIN: b'PUBLISH', Way.SHARDED: b'SPUBLISH'}
NUMBER = {Way.PLAIN: b'NUMSUB', Way.SHARDED: b'SHARDNUMSUB'}

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


class Listener:
    """What listens to channels, and its task.

    :param key: what the connection is for, see :class:`Wire`.
    :param hear: what to do with a message, on the listener's task.
    :param ways: the ways to listen, and whether it does without one that
                 the server does not know, or allow.

    Who wants other channels writes :attr:`_channels`, one assignment; the
    task notices within :data:`LOOK`.
    """

    def __init__(self, driver: Driver, engine: Engine, key: str,
                 hear: Callable[[Heard], None], ways: Mapping[Way, bool],
                 logger: Callable[[], logging.Logger]) -> None:
        self._driver = driver
        self._key = key
        self._hear = hear
        self._ways = ways
        self._logger = logger
        self._wanted = engine.event()
        self._channels: Sequence[bytes] = ()
        # Written by the task; read by those who interrupt it.
        self._link: Optional[ListenerLink] = None

    def listen_to(self, channels: Sequence[str]) -> None:
        """Listen to exactly these channels from now on."""
        encoded = [each.encode() for each in channels]
        if encoded != self._channels:
            self._channels = encoded
            self._wanted.set()

    def interrupt(self) -> None:
        """End what the task waits for."""
        link = self._link
        if link is not None:
            link.interrupt()
        self._wanted.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.transport.Link.abandon`."""
        if self._link is not None:
            self._link.abandon()

    def work(self, task: Task) -> None:
        """One round of the listener's task: connect, subscribe, listen."""
        if not self._channels:
            # Nothing to do, and nothing amiss.
            task.works()
        while not self._channels and not task.stopping:
            self._wanted.wait()
            self._wanted.clear()
        if task.stopping:
            return
        link = ListenerLink(self._driver, self._key)
        self._link = link
        try:
            link.connect()
            ways, channels = dict(self._ways), self._channels
            for way, dispensable in self._ways.items():
                if not self._subscribe(link, way, channels, dispensable):
                    del ways[way]
            task.works()
            while channels and not task.stopping:
                self._listen(link, task, channels)
                wanted = self._channels
                if wanted is not channels:
                    self._change(link, ways, channels, wanted)
                    channels = wanted
        finally:
            self._link = None
            link.close()

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
                channels: Sequence[bytes]) -> None:
        """Until other channels are wanted."""
        quiet = 0.0
        while channels is self._channels and not task.stopping:
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


class Job(NamedTuple):
    """What the courier is to do.

    :param channels: the channel to publish on; the channels to count at.
    :param message: what to publish.
    :param counter: who waits for how many there are.
    """

    way: Way
    channels: Sequence[str]
    message: bytes = b''
    counter: Optional['Count'] = None


class Count:
    """How many listen to some channels; written by the courier's task, once,
    before the event is set."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.value: Optional[List[int]] = None


class Courier:
    """What publishes, and counts, and its task."""

    def __init__(self, driver: Driver, engine: Engine) -> None:
        self._driver = driver
        self._engine = engine
        # Appended to by any task, taken from by the courier's: both are
        # atomic in CPython.
        self._jobs: Deque[Job] = deque()
        self._work_there = engine.event()
        #: Messages that were not sent, or not known to be. Written by the
        #: task, and by who finds no room: being late by one is no matter.
        self.dropped = 0
        # Written by the task; read by those who interrupt it.
        self._links: Dict[str, Wire] = {}
        #: Whether the last attempt to connect has failed, or the task has
        #: ended. Written by the task, and at its end by who ends it.
        self._down = False
        #: Whether the server has refused the last job: that it connects
        #: then says nothing. Written by the task.
        self._refused = False

    def publish(self, way: Way, channel: str, message: bytes) -> None:
        """Publish a message, once, if that can be done now."""
        if len(self._jobs) >= MAX_WAITING:
            self.dropped += 1
            return
        self._jobs.append(Job(way, (channel,), message))
        self._work_there.set()

    def count(self, way: Way, channels: Sequence[str],
              timeout: float) -> Optional[List[int]]:
        """How many listen to each of some channels.

        :param timeout: how many seconds to wait for that.
        :return: ``None`` where it cannot be known now.
        """
        if self._down:
            return None
        count = Count(self._engine.event())
        self._jobs.append(Job(way, channels, counter=count))
        self._work_there.set()
        # Whoever goes down says so first, and then gives up what is there.
        if not self._down:
            count.event.wait(timeout)
        return count.value

    def interrupt(self) -> None:
        """End what the task waits for, which is then to end."""
        self._down = True
        for link in list(self._links.values()):
            link.interrupt()
        self._work_there.set()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.transport.Link.abandon`."""
        for link in list(self._links.values()):
            link.abandon()

    def work(self, task: Task) -> None:
        """One round of the courier's task: do what there is to do, until a
        connection breaks."""
        # Who counts while it connects for the first time waits for that.
        try:
            self._link('')
            self._down = task.stopping
            if not self._refused:
                task.works()
            while not task.stopping:
                self._work_there.wait()
                self._work_there.clear()
                while self._jobs and not task.stopping:
                    self._do(self._take())
                    if self._refused:
                        self._refused = False
                        task.works()
        except Refused:
            self._refused = True
            raise
        finally:
            self._down = True
            # All of this is of no use when the connection is back.
            self._give_up(self._take())
            for link in list(self._links.values()):
                link.close()
            self._links.clear()

    def _take(self) -> List[Job]:
        jobs = []
        while self._jobs:
            jobs.append(self._jobs.popleft())
        return jobs

    def _give_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.counter is None:
                self.dropped += 1
            else:
                job.counter.event.set()

    def _do(self, jobs: List[Job]) -> None:
        done = 0
        try:
            # A message that is lost on a broken connection is not sent
            # again, for it may have arrived.
            for key in [key for key, link in self._links.items()
                        if link.ended]:
                self._links.pop(key).close()
            self._link('')
            for job in jobs:
                if job.counter is None:
                    self._publish(job)
                else:
                    job.counter.value = self._count(job.way, job.channels)
                    job.counter.event.set()
                done += 1
        finally:
            self._give_up(jobs[done:])

    def _publish(self, job: Job) -> None:
        (channel,) = job.channels
        key = channel if job.way is Way.SHARDED and self._driver.masters \
            else ''
        command = PUBLISH[job.way], channel.encode(), job.message
        old = self._links.get(key)
        try:
            self._link(key).ask(*command)
        except Refused:
            if old is None or not key:
                raise
            # The channel may be on another server since we connected. What
            # was refused was not carried out.
            del self._links[key]
            old.close()
            self._link(key).ask(*command)

    def _count(self, way: Way, channels: Sequence[str]) -> List[int]:
        command = (b'PUBSUB', NUMBER[way],
                   *(each.encode() for each in channels))
        if self._driver.masters is None:
            replies = [self._link('').ask(*command)]
        else:
            # Each server of a cluster knows of its own listeners only.
            replies = [self._ask_once(connection, *command)
                       for connection in self._masters()]
        # Channels and numbers in turn.
        return [sum(int(reply[index]) for reply in replies)
                for index in range(1, 2 * len(channels), 2)]

    def _masters(self) -> Sequence[Any]:
        driver = self._driver
        if driver.masters is None:
            return ()
        try:
            return driver.masters(driver.socket_timeout)
        except (OSError, *errors_of(driver.module)) as exc:
            raise Unavailable(describe(exc)) from exc

    def _ask_once(self, connection: Any, *command: bytes) -> Any:
        # Not the name of a channel.
        key = 'a master'
        link = self._links[key] = Wire(
            self._driver, '', self._driver.socket_timeout, connection)
        try:
            link.connect()
            return link.ask(*command)
        finally:
            del self._links[key]
            link.close()

    def _link(self, key: str) -> Wire:
        """The connection for a key, see :class:`Wire`."""
        link = self._links.get(key)
        if link is None:
            while len(self._links) >= MAX_LINKS:
                self._links.pop(next(iter(self._links))).close()
            # Known before it is connected: that can be interrupted, too.
            link = self._links[key] = Wire(
                self._driver, key, self._driver.socket_timeout)
            link.connect()
        return link
