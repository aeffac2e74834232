"""Publishes on channels of PUB/SUB, and counts their listeners.

Nothing is sent twice, and nothing is kept: see
:mod:`redis_streams_adapter.stream.listener`. In a Redis Cluster, a message on
a sharded channel goes to the master that has the channel, on one connection
for each master.

The session store has a queue of jobs, too. What they would share is shorter
than the parameters it would need: here a message that is late is dropped,
there commands are gathered for each server and each must be answered.
"""
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, \
    Sequence

from ..concurrency.engines import Engine, Event
from ..concurrency.tasks import Task
from ..protocol.transport import Unavailable, Way
from .driver import Driver
from .connection import Connection, Refused, translated
from .topology import Address

#: How many messages wait for the publisher, at most: a message is sent at
#: once, or is useless.
MAX_WAITING = 10_000

#: How long a count waits for a replica, in seconds: messages wait meanwhile.
REPLICA_PATIENCE = 1.0

#: How long a replica that could not be reached is not asked, in seconds. The
#: cluster itself takes 15 by default to find out that it is gone.
UNASKED = 30.0

#: The key of the connection that a count uses.
COUNTING = 'counting'

#: The commands of each way.
PUBLISH = {Way.PLAIN: b'PUBLISH', Way.SHARDED: b'SPUBLISH'}
NUMBER = {Way.PLAIN: b'NUMSUB', Way.SHARDED: b'SHARDNUMSUB'}


class Job(NamedTuple):
    """One message to publish, or one count.

    :param channels: the channel to publish on, or the channels to count.
    :param message: what to publish.
    :param counter: the count that a task waits for; ``None``: publish.
    """

    way: Way
    channels: Sequence[str]
    message: bytes = b''
    counter: Optional['Count'] = None


class Count:
    """How many connections listen to each of some channels; written by the
    publisher's task, once, before the event is set."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.value: Optional[List[int]] = None


class Publisher:
    """Publishes and counts, on a task of its own."""

    def __init__(self, driver: Driver, engine: Engine) -> None:
        self._driver = driver
        self._engine = engine
        # Any task appends, the publisher's task takes out: both are atomic
        # in CPython.
        self._jobs: Deque[Job] = deque()
        self._work_there = engine.event()
        #: Messages that were not sent, or not known to be. Updated by the
        #: task and by tasks that find no room, without a lock; may
        #: under-count slightly.
        self.dropped = 0
        #: The connections: to any server, under ``None``; to the masters of
        #: a cluster, by their addresses; and the one under
        #: :data:`COUNTING`. Written by the task; read by tasks that
        #: interrupt it.
        self._links: Dict[object, Connection] = {}
        #: Returns the master that has a sharded channel; ``None``: the
        #: cluster was not asked yet. Written by the task.
        self._place: Optional[Callable[[str], Optional[Address]]] = None
        #: Until when replicas are not asked, by their addresses. Written by
        #: the task.
        self._unasked: Dict[Address, float] = {}
        #: Whether the last attempt to connect has failed, or the task has
        #: ended. Written by the task, and by the task that interrupts it.
        self._down = False
        #: Whether the server has refused the last job: then a connection
        #: alone does not show that publishing works. Written by the task.
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
        """How many connections listen to each of some channels.

        :param timeout: how many seconds to wait for the answer.
        :return: ``None``: that cannot be known now.
        """
        if self._down:
            return None
        count = Count(self._engine.event())
        self._jobs.append(Job(way, channels, counter=count))
        self._work_there.set()
        # The task first says that it is down, and then gives up its jobs.
        if not self._down:
            count.event.wait(timeout)
        return count.value

    def renew(self) -> None:
        """End the connections. The next job finds that they have ended, and
        makes others."""
        for link in list(self._links.values()):
            link.interrupt()

    def interrupt(self) -> None:
        """End the wait of the task, which stops then."""
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
        """One round of the publisher's task: do the jobs until a connection
        breaks."""
        # A count that comes during the first attempt to connect waits for it.
        try:
            self._link(None)
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
            # These jobs are useless once the connection is back.
            self._give_up(self._take())
            for link in list(self._links.values()):
                link.close()
            self._links.clear()
            self._place = None

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
            # again, because it may have arrived.
            for key in [key for key, link in self._links.items()
                        if link.ended]:
                self._links.pop(key).close()
                # Another server may have replaced this one.
                self._place = None
            self._link(None)
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
        command = PUBLISH[job.way], channel.encode(), job.message
        if job.way is Way.PLAIN or self._driver.cluster is None:
            self._link(None).ask(*command)
            return
        asked_before = self._place is not None
        try:
            self._link_for(channel).ask(*command)
        except Refused:
            if not asked_before:
                raise
            # The channel may have moved since the cluster was asked. A
            # command that was refused was not carried out.
            self._forget_masters()
            self._link(self._master_of(channel)).ask(*command)

    def _link_for(self, channel: str) -> Connection:
        """The connection to the master that has a channel."""
        if self._place is not None:
            try:
                return self._link(self._master_of(channel))
            except Unavailable:
                # Another server may have replaced this one since
                # the cluster was asked. Nothing was sent.
                self._forget_masters()
        return self._link(self._master_of(channel))

    def _master_of(self, channel: str) -> Address:
        """The master of the cluster that has a channel."""
        cluster = self._driver.cluster
        if self._place is None and cluster is not None:
            with translated(self._driver):
                self._place = cluster.places()
        address = self._place(channel) if self._place is not None else None
        if address is None:
            raise Unavailable('no master serves the slot of a channel')
        return address

    def _forget_masters(self) -> None:
        """Close the connections to the masters. The next message asks the
        cluster again, so there are never more connections than masters."""
        self._place = None
        for address in [each for each in self._links if each is not None]:
            self._links.pop(address).close()

    def _count(self, way: Way, channels: Sequence[str]) -> List[int]:
        command = (b'PUBSUB', NUMBER[way],
                   *(each.encode() for each in channels))
        cluster = self._driver.cluster
        if cluster is None:
            replies = [self._link(None).ask(*command)]
        else:
            # Each server of a cluster counts only its own listeners. They
            # are looked up for each count: a server that has lost a channel
            # would report no listeners.
            with translated(self._driver):
                present = cluster.servers()
            replies = [self._ask_once(each, *command)
                       for each in present.masters]
            replies += [reply for each in present.replicas
                        for reply in self._ask_replica(each, *command)]
        # Channels and numbers in turn.
        return [sum(int(reply[index]) for reply in replies)
                for index in range(1, 2 * len(channels), 2)]

    def _ask_replica(self, address: Address, *command: bytes) -> List[Any]:
        """The reply of a replica. A server in Node.js with ioredis may listen
        there.

        If it is gone, so are its listeners. No request fails for that: the
        cluster may take long to notice it.
        """
        if time.monotonic() < self._unasked.get(address, 0.0):
            return []
        self._unasked.pop(address, None)
        try:
            return [self._ask_once(address, *command, timeout=min(
                REPLICA_PATIENCE, self._driver.socket_timeout))]
        except Unavailable:
            self._unasked[address] = time.monotonic() + UNASKED
            return []

    def _ask_once(self, address: Address, *command: bytes,
                  timeout: Optional[float] = None) -> Any:
        link = self._links[COUNTING] = Connection(
            self._driver.connecting_to(address), '',
            self._driver.socket_timeout if timeout is None else timeout)
        try:
            link.connect()
            return link.ask(*command)
        finally:
            del self._links[COUNTING]
            link.close()

    def _link(self, address: Optional[Address]) -> Connection:
        """The connection to a master of a cluster; ``None``: to any server.
        """
        link = self._links.get(address)
        if link is None:
            # Noted before it connects, so that this can be interrupted.
            link = self._links[address] = Connection(
                self._driver.connecting_to(address), '',
                self._driver.socket_timeout)
            link.connect()
        return link
