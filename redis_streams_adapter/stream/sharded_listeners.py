"""Listening to sharded channels of a Redis Cluster, on one connection for
each master that has some of them.

A task looks up which master has which channel, and gives each master's
channels to one listener. It does so again if the channels change, if a
channel has moved to another master, and if a listener has lost its server: a
replica may have taken over.
"""
import logging
import time
from typing import Callable, Dict, List, Optional, Protocol, Sequence, Tuple

from ..concurrency.engines import Engine
from ..concurrency.tasks import compute_backoff, Task
from ..protocol.transport import Unavailable, Way
from .driver import Driver
from .connection import translated
from .listener import Heard, Listener
from .topology import Address

#: After how many attempts to find the master of a channel the task reports
#: that it fails. The servers of a cluster learn about a move one after the
#: other, within about a second.
ATTEMPTS = 5


class StartTask(Protocol):
    """Starts a task, unless one of this name exists.

    :param matters: whether ``health()`` reports that it fails.
    """

    def __call__(self, name: str, work: Callable[[Task], None],
                 matters: bool) -> None: ...


class ShardedListeners:
    """The listeners of one process, and the task that divides the channels
    between them.

    :param hear: called with each message, on a listener's task.
    :param start: starts the listeners' tasks.
    :param changed: called when :meth:`hears` may have another answer.
    :param name: the name of the task, and the prefix of the listeners' names.
    """

    def __init__(self, driver: Driver, engine: Engine,
                 hear: Callable[[Heard], None],
                 logger: Callable[[], logging.Logger], start: StartTask,
                 changed: Callable[[], None],
                 name: str = 'sharded listener') -> None:
        self.name = name
        self._driver = driver
        self._engine = engine
        self._hear = hear
        self._logger = logger
        self._start = start
        self._changed = changed
        self._work_there = engine.event()
        # Replaced by any task, in one assignment.
        self._wanted: Tuple[str, ...] = ()
        #: The channels that the task works on. Written by it, like all below.
        self._taken: Tuple[str, ...] = ()
        #: Whether the masters of the channels are not known.
        self._failing = False
        #: Set by listeners if a channel is not on the expected master.
        self._moved = False
        #: All listeners that were made. Each keeps its task, so none is
        #: removed; an idle one is reused for another master.
        self._made: List[Listener] = []
        #: The listeners that have channels, by their masters.
        self._busy: Dict[Address, Listener] = {}

    def listen_to(self, channels: Sequence[str]) -> None:
        """Listen to exactly these channels from now on."""
        wanted = tuple(channels)
        if wanted != self._wanted:
            self._wanted = wanted
        # Even if nothing is new: the last call may have been interrupted.
        if self._wanted is not self._taken:
            self._work_there.set()

    def hears(self, channel: str) -> bool:
        """Whether a master has confirmed a channel, on a connection that is
        not known to be broken."""
        return any(each.hears(channel) for each in list(self._made))

    def fails(self, channel: str) -> bool:
        """Whether the last attempt to listen to a channel has failed."""
        return self._failing or any(
            each.fails(channel) for each in list(self._made))

    def renew(self, channel: str) -> None:
        """Connect again to the master on which a channel is heard."""
        for each in list(self._made):
            each.renew(channel)

    def interrupt(self) -> None:
        """End the waits of the tasks."""
        self._work_there.set()
        for each in list(self._made):
            each.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork: drop the copies of connections."""
        for each in list(self._made):
            each.abandon()

    def work(self, task: Task) -> None:
        """One round of the task: divide the channels, and divide them again
        when necessary."""
        attempts, since = 0, 0.0
        while not task.stopping:
            self._taken = wanted = self._wanted
            self._moved = False
            self._divide(wanted)
            while self._wanted is wanted and not task.stopping:
                if all(self.hears(each) for each in wanted):
                    attempts = 0
                    task.works()
                elif self._moved or any(
                        each.fails(channel) for each in self._made
                        for channel in wanted):
                    break
                self._work_there.wait()
                self._work_there.clear()
            else:
                continue
            if not attempts:
                since = time.monotonic()
            attempts += 1
            if self._moved and attempts > ATTEMPTS:
                self._failing = True
                self._changed()
                raise Unavailable('a channel has moved to another server')
            # The first attempt may come too early after a move.
            self._pause(task, compute_backoff(
                attempts + 1, time.monotonic() - since))

    def _pause(self, task: Task, seconds: float) -> None:
        """Wait, at most until the channels change."""
        end = time.monotonic() + seconds
        while self._wanted is self._taken and not task.stopping:
            left = end - time.monotonic()
            if left <= 0:
                break
            self._work_there.wait(left)
            self._work_there.clear()

    def _divide(self, wanted: Sequence[str]) -> None:
        """Give each listener the channels that are on its master.

        :raises Unavailable: the look-up has failed.
        """
        groups: Dict[Address, List[str]] = {}
        if wanted:
            try:
                place = self._find_places()
            except Unavailable:
                self._failing = True
                self._changed()
                raise
            for channel in wanted:
                address = place(channel)
                if address is None:
                    # No master has its slot at present.
                    self._moved = True
                else:
                    groups.setdefault(address, []).append(channel)
        self._failing = False
        for address in {*self._busy} - {*groups}:
            self._busy.pop(address).listen_to(())
        for address, channels in groups.items():
            self._listener_at(address).listen_to(channels, address)

    def _find_places(self) -> Callable[[str], Optional[Address]]:
        """Look up which master has which channel. Blocks."""
        cluster = self._driver.cluster
        if cluster is None:
            return lambda channel: None
        with translated(self._driver):
            return cluster.places()

    def _listener_at(self, address: Address) -> Listener:
        listener = self._busy.get(address)
        if listener is None:
            busy = list(self._busy.values())
            listener = next((each for each in self._made
                             if each not in busy), None) or self._make()
            self._busy[address] = listener
        self._start(listener.name, listener.work, matters=True)
        return listener

    def _make(self) -> Listener:
        listener = Listener(
            self._driver, self._engine, self._hear, {Way.SHARDED: False},
            self._logger, self._notice, self._notice_move,
            f'{self.name} {len(self._made) + 1}')
        self._made.append(listener)
        return listener

    def _notice(self) -> None:
        """On a listener's task."""
        self._work_there.set()
        self._changed()

    def _notice_move(self) -> None:
        """On a listener's task."""
        self._moved = True
        self._work_there.set()
