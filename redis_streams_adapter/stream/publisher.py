"""What publishes on channels of PUB/SUB, and counts who listens there.

Nothing is sent twice, and nothing is kept: see
:mod:`redis_streams_adapter.stream.listener`. In a cluster the publisher
connects to where a channel is.
"""
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence

from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.transport import Unavailable, Way
from .driver import Driver, errors_of
from .connection import describe, Refused, Connection

#: How many messages wait for the publisher at most: they are sent at once, or
#: are of no use.
MAX_WAITING = 10_000

#: How many connections the publisher keeps to where sharded channels of a
#: cluster are.
MAX_LINKS = 16

#: The commands of each way.
PUBLISH = {Way.PLAIN: b'PUBLISH', Way.SHARDED: b'SPUBLISH'}
NUMBER = {Way.PLAIN: b'NUMSUB', Way.SHARDED: b'SHARDNUMSUB'}


class Job(NamedTuple):
    """What the publisher is to do.

    :param channels: the channel to publish on; the channels to count at.
    :param message: what to publish.
    :param counter: who waits for how many there are.
    """

    way: Way
    channels: Sequence[str]
    message: bytes = b''
    counter: Optional['Count'] = None


class Count:
    """How many listen to some channels; written by the publisher's task, once,
    before the event is set."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.value: Optional[List[int]] = None


class Publisher:
    """What publishes, and counts, and its task."""

    def __init__(self, driver: Driver, engine: Engine) -> None:
        self._driver = driver
        self._engine = engine
        # Appended to by any task, taken from by the publisher's: both are
        # atomic in CPython.
        self._jobs: Deque[Job] = deque()
        self._work_there = engine.event()
        #: Messages that were not sent, or not known to be. Written by the
        #: task, and by who finds no room: being late by one is no matter.
        self.dropped = 0
        # Written by the task; read by those who interrupt it.
        self._links: Dict[str, Connection] = {}
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
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        for link in list(self._links.values()):
            link.abandon()

    def work(self, task: Task) -> None:
        """One round of the publisher's task: do what there is to do, until a
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
        link = self._links[key] = Connection(
            self._driver, '', self._driver.socket_timeout, connection)
        try:
            link.connect()
            return link.ask(*command)
        finally:
            del self._links[key]
            link.close()

    def _link(self, key: str) -> Connection:
        """The connection for a key, see :class:`Wire`."""
        link = self._links.get(key)
        if link is None:
            while len(self._links) >= MAX_LINKS:
                self._links.pop(next(iter(self._links))).close()
            # Known before it is connected: that can be interrupted, too.
            link = self._links[key] = Connection(
                self._driver, key, self._driver.socket_timeout)
            link.connect()
        return link
