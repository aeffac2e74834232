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
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, \
    Sequence, Tuple

from ..tasks import Engine, Event, Task
from ..transport import Unavailable
from .connect import Driver, errors_of
from .wire import describe, Wire

#: How many seconds of silence on a connection that listens are followed by
#: the question whether it still lives.
QUIET = 5.0

#: How many messages wait for the courier at most: they are sent at once, or
#: are of no use.
MAX_WAITING = 10_000

#: How many connections the courier keeps to where sharded channels of a
#: cluster are.
MAX_LINKS = 16


class ListenerLink(Wire):
    """A connection that listens to channels."""

    def __init__(self, driver: Driver, key: str) -> None:
        super().__init__(driver, key, driver.socket_timeout)
        #: What was heard while a subscription was confirmed.
        self._early: Deque[bytes] = deque()

    def subscribe(self, command: bytes, channels: Sequence[bytes]) -> None:
        """Listen to channels.

        :param command: SUBSCRIBE or SSUBSCRIBE.
        :raises Unavailable: it is refused, or the connection is broken.
        """
        self._send(command, *channels)
        for _ in channels:
            self._confirm(command.lower())

    def _confirm(self, kind: bytes) -> None:
        while True:
            reply = self._receive()
            if reply[0] == kind:
                return
            self._early.append(reply[2])

    def hear(self, patience: float) -> Optional[bytes]:
        """Wait for a message.

        :param patience: for so many seconds at most.
        :return: ``None`` where none has come.
        :raises Unavailable: the connection is broken.
        """
        if self._early:
            return self._early.popleft()
        connection = self._open()
        try:
            ready = connection.can_read(patience)
        except self._broken as exc:
            raise self._lost(exc) from exc
        if not ready:
            return None
        reply = self._receive()
        # Anything else: the answer to a PING.
        return bytes(reply[2]) if reply[0] in (b'message', b'smessage') \
            else b''

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
            raise Unavailable(describe(exc)) from exc
        except self._broken as exc:
            raise self._lost(exc) from exc


class Listener:
    """What listens to channels, and its task.

    :param key: what the connection is for, see :class:`Wire`.
    :param hear: what to do with a message, on the listener's task.
    :param commands: SUBSCRIBE, SSUBSCRIBE or both, and whether the server
                     has to know it.

    Who wants other channels writes :attr:`_channels`, one assignment, and
    ends the connection; what is published before the task has subscribed
    anew is not heard.
    """

    def __init__(self, driver: Driver, engine: Engine, key: str,
                 hear: Callable[[bytes], None],
                 commands: Sequence[Tuple[bytes, bool]],
                 logger: Callable[[], logging.Logger]) -> None:
        self._driver = driver
        self._key = key
        self._hear = hear
        self._commands = commands
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
            self.interrupt()

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
        while not self._channels and not task.stopping:
            self._wanted.wait()
            self._wanted.clear()
        channels = self._channels
        link = ListenerLink(self._driver, self._key)
        self._link = link
        try:
            link.connect()
            for command, needed in self._commands:
                try:
                    link.subscribe(command, channels)
                except Unavailable:
                    if needed:
                        raise
            task.works()
            while not task.stopping and channels is self._channels:
                self._listen(link)
        except Unavailable:
            if channels is self._channels:
                raise
            # Interrupted, to subscribe anew.
        finally:
            self._link = None
            link.close()

    def _listen(self, link: ListenerLink) -> None:
        message = link.hear(QUIET)
        if message is None:
            link.ask_for_life()
            message = link.hear(self._driver.socket_timeout)
            if message is None:
                raise Unavailable('the server has fallen silent')
        if message:
            self._hand_on(message)

    def _hand_on(self, message: bytes) -> None:
        try:
            self._hear(message)
        except Exception:
            # Whatever it is, it concerns this message alone.
            self._logger().exception('a request could not be carried out')


class Job(NamedTuple):
    """What the courier is to do.

    :param channels: the channel to publish on; the channels to count at.
    :param message: what to publish.
    :param counter: who waits for how many there are.
    """

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
    """What publishes, and counts, and its task.

    :param sharded: whether the channels are.
    """

    def __init__(self, driver: Driver, engine: Engine,
                 sharded: bool) -> None:
        self._driver = driver
        self._engine = engine
        self._sharded = sharded
        # Appended to by any task, taken from by the courier's: both are
        # atomic in CPython.
        self._jobs: Deque[Job] = deque()
        self._work_there = engine.event()
        #: Messages that were not sent, or not known to be. Written by the
        #: task, and by who finds no room: being late by one is no matter.
        self.dropped = 0
        # Written by the task; read by those who interrupt it.
        self._links: Dict[str, Wire] = {}
        #: Whether the last attempt to connect has failed. Written by the
        #: task.
        self._down = False

    def publish(self, channel: str, message: bytes) -> None:
        """Publish a message, once, if that can be done now."""
        if len(self._jobs) >= MAX_WAITING:
            self.dropped += 1
            return
        self._jobs.append(Job((channel,), message))
        self._work_there.set()

    def count(self, channels: Sequence[str],
              timeout: float) -> Optional[List[int]]:
        """How many listen to each of some channels.

        :param timeout: how many seconds to wait for that.
        :return: ``None`` where it cannot be known now.
        """
        if self._down:
            return None
        count = Count(self._engine.event())
        self._jobs.append(Job(channels, counter=count))
        self._work_there.set()
        count.event.wait(timeout)
        return count.value

    def interrupt(self) -> None:
        """End what the task waits for."""
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
        self._down = True
        try:
            self._link('')
            self._down = False
            task.works()
            while not task.stopping:
                self._work_there.wait()
                self._work_there.clear()
                while self._jobs and not task.stopping:
                    self._do(self._take())
        finally:
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
            for job in jobs:
                if job.counter is None:
                    self._publish(job.channels[0], job.message)
                else:
                    job.counter.value = [
                        self._count(each) for each in job.channels]
                    job.counter.event.set()
                done += 1
        finally:
            self._give_up(jobs[done:])

    def _publish(self, channel: str, message: bytes) -> None:
        self._link(channel).ask(
            b'SPUBLISH' if self._sharded else b'PUBLISH', channel.encode(),
            message)

    def _count(self, channel: str) -> int:
        command = (b'PUBSUB', b'SHARDNUMSUB' if self._sharded else b'NUMSUB',
                   channel.encode())
        if self._driver.masters is None or self._sharded:
            return int(self._link(channel).ask(*command)[1])
        # Each server of a cluster knows of its own listeners only.
        return sum(self._ask_once(connection, *command)[1]
                   for connection in self._masters())

    def _masters(self) -> Sequence[Any]:
        driver = self._driver
        if driver.masters is None:
            return ()
        try:
            return driver.masters(driver.socket_timeout)
        except (OSError, *errors_of(driver.module)) as exc:
            raise Unavailable(describe(exc)) from exc

    def _ask_once(self, connection: Any, *command: bytes) -> Any:
        link = Wire(self._driver, '', self._driver.socket_timeout, connection)
        try:
            link.connect()
            return link.ask(*command)
        finally:
            link.close()

    def _link(self, channel: str) -> Wire:
        """The connection for a channel."""
        key = channel if self._sharded and self._driver.masters else ''
        link = self._links.get(key)
        if link is None:
            while len(self._links) >= MAX_LINKS:
                self._links.pop(next(iter(self._links))).close()
            link = Wire(self._driver, key, self._driver.socket_timeout)
            link.connect()
            self._links[key] = link
        return link
