"""Which tasks have ended, or have work and make no progress.

A failure of Redis is not the watchdog's matter: the tasks notice it, and
report it to :mod:`redis_streams_adapter.concurrency.availability`. It looks
for what no task can report itself: a task that waits for something that never
comes, and one that has ended and could not be started again.

A process may be held up as a whole: it is stopped, or its machine sleeps. All
tasks, and the heartbeat's too, are late then. That time does not count.
"""
import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, \
    Tuple

from ..concurrency.availability import Availability, log_safely
from ..concurrency.tasks import Task
from ..log_events import TASK_RESUMED, TASK_STALLED
from ..protocol.announcements import TICK_INTERVAL
from .channel import Channel

#: How long a task may have work and make no progress, in seconds, beyond what
#: one command may take. A writer waits for readers for six seconds at most.
PATIENCE = 10.0

#: Within how many seconds a reader looks at its stream, beyond the time for
#: which it waits for entries.
LOOKS = 5.0


class Watchdog:
    """Looks after the tasks of one process. It is called by the heartbeat's
    task, and by tasks that ask for the health. Its state is changed without a
    lock: two tasks that look at once write the same values, but for a line
    that they may both log.

    :param tasks: the tasks, by name.
    :param channels: the channels; may still be empty.
    :param redis: whether Redis can be used.
    :param block: how many seconds a reader waits for entries.
    :param interval: how many seconds the heartbeat's task rests at most.
    :param timeout: how many seconds a command may take.
    """

    def __init__(self, tasks: Mapping[str, Task],
                 channels: Sequence[Channel], redis: Availability,
                 logger: Callable[[], logging.Logger], *, block: float,
                 interval: float, timeout: float) -> None:
        self._tasks = tasks
        self._channels = channels
        self._redis = redis
        self._logger = logger
        self._block = block
        # While a heartbeat is overdue, it rests for a tick.
        self._interval = max(interval, TICK_INTERVAL)
        self._patience = PATIENCE + timeout
        #: By the name of a task: how far it was, and since when.
        self._progress: Dict[str, Tuple[Any, float]] = {}
        #: When the heartbeat's task was last here, and by how many seconds it
        #: has been late in total; ``None``: it never was. One value, so that
        #: the two are never read in different states.
        self._beat: Optional[Tuple[float, float]] = None
        #: The tasks that were found without progress, and have made none
        #: since; and since when, by the monotonic clock.
        self._stalled: Dict[str, float] = {}
        #: How often a task was found without progress.
        self.stalls = 0

    @property
    def deaths(self) -> int:
        """How often a task has ended without being asked to."""
        return sum(task.deaths for task in list(self._tasks.values()))

    def beat(self, now: float) -> None:
        """Look after the others; on the heartbeat's task."""
        before, late = self._beat or (now, 0.0)
        self._beat = now, late + max(0.0, now - before - self._interval)
        self.look(now)

    def look(self, now: float) -> List[str]:
        """Look after all tasks. One that makes no progress is logged, and
        what it waits for is ended.

        :return: the names of the tasks that have ended, or make no progress.
        """
        stalled = []
        clock = self._clock(now)
        for channel in self._channels:
            writer, reader = channel.writer, channel.reader
            for name, part, mark, patience in (
                    (f'writer of {channel.key}', writer,
                     self._work_of(channel), self._patience),
                    # A page may take long: each entry is progress.
                    (f'reader of {channel.key}', reader,
                     (reader.looked, reader.received)
                     if reader.connected else None,
                     self._block + LOOKS + self._patience)):
                if self._rests(name, mark, clock) > patience:
                    stalled.append((name, part.interrupt))
        before, names = self._stalled, [name for name, _ in stalled]
        self._stalled = {name: before.get(name, now) for name in names}
        for name, since in before.items():
            if name not in names:
                log_safely(self._logger().warning,
                           '%s makes progress again after %.0f s', name,
                           now - since, extra=TASK_RESUMED(
                               task=name, seconds=now - since))
        for name, interrupt in stalled:
            if name not in before:
                self.stalls += 1
                log_safely(self._logger().error,
                           '%s has work, and has made no progress for more '
                           'than %.0f s', name, self._patience,
                           extra=TASK_STALLED(
                               task=name, seconds=self._patience))
                interrupt()
        if self._beat is not None \
                and now - self._beat[0] > self._interval + self._patience:
            names = [*names, 'heartbeat']
        dead = [name for name, task in list(self._tasks.items())
                if task.dead and name not in names]
        return [*names, *dead]

    def _clock(self, now: float) -> float:
        """The time, without that for which the process may have been held
        up."""
        if self._beat is None:
            return now
        last, late = self._beat
        return min(now, last + self._interval) - late

    def _work_of(self, channel: Channel) -> Optional[int]:
        """How many entries have left an outbox; ``None``: none has to."""
        outbox = channel.writer.outbox
        return outbox.stored + outbox.refused \
            if outbox and self._redis.ok else None

    def _rests(self, name: str, mark: Any, clock: float) -> float:
        """For how many seconds a task has made no progress.

        :param mark: how far it is; ``None``: it has no work.
        """
        progress = self._progress.get(name)
        if mark is None or progress is None or progress[0] != mark:
            progress = self._progress[name] = mark, clock
        return clock - progress[1]
