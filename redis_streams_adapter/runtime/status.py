"""The state of a process: its counters and losses, and whether it reaches
Redis.
"""
import logging
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ..concurrency.availability import Availability, log_safely
from ..concurrency.engines import Engine, Event
from ..concurrency.locks import Lock
from ..concurrency.log_limiter import LogLimiter
from ..concurrency.tasks import Task
from ..errors import DecodeError, RedisStreamsError
from ..log_events import JOINED, LEFT, MESSAGE_NOT_CARRIED_OUT, \
    MESSAGE_SKIPPED, MESSAGES_LOST, MORE_LOST, ON_LOSS_FAILED
from ..losses import COUNTERS, EVICTED, Loss, Losses, MISSING
from ..protocol.node import Node
from ..stream.latency import total
from ..stream.outbox import Capacity
from .channel import Channel
from .delivery import Requests
from .tasks import State
from .watchdog import Watchdog


def log_joined(logger: Callable[[], logging.Logger], observes: bool,
               summary: str, uid: str) -> None:
    """Log that this process becomes a member.

    :param summary: the options that the servers of a cluster share.
    """
    log_safely(logger().info, '%s the cluster: %s, uid %s',
               'observing' if observes else 'joining', summary, uid,
               extra=JOINED())


def log_left(logger: Callable[[], logging.Logger], uid: str, since: float,
             left: int) -> None:
    """Log that this process is no member any more.

    :param since: when it became one, by the monotonic clock.
    :param left: how many messages were left in the outbox.
    """
    lasted = time.monotonic() - since
    log_safely(logger().info, 'left the cluster after %.1f s, uid %s',
               lasted, uid, extra=LEFT(count=left, seconds=lasted))


class LossReport:
    """Counts the losses of a process, logs them, and reports them to the
    application; called with each, by any task.

    :param on_loss: the application's function, if it has one.
    """

    def __init__(self, engine: Engine, logger: Callable[[], logging.Logger],
                 on_loss: Optional[Callable[[Loss], Any]]) -> None:
        self._engine = engine
        self._logger = logger
        self._on_loss = on_loss
        #: Protects the losses. Nothing is logged or called under it.
        self._lock = Lock()
        self._losses = Losses()

    @property
    def counts(self) -> Dict[str, int]:
        """The counters, by the names that they have in ``stats()``."""
        with self._lock:
            return dict(self._losses.counts)

    def __call__(self, loss: Loss) -> None:
        with self._lock:
            line = self._losses.add(loss, time.monotonic())
            lost = self._losses.total(loss.kind)
        if line is not None:
            self._logger().error('%s', line, extra=MESSAGES_LOST(
                loss=loss.kind, stream=loss.stream, other_node=loss.uid,
                count=loss.count, total=lost))
        if self._on_loss is not None:
            # A task of its own: it is the application's code.
            self._engine.spawn(self._call_back, self._on_loss, loss)

    def log_more(self, now: float) -> None:
        """Log losses that came too soon after another. To be called now and
        then, and with infinity at the end."""
        with self._lock:
            lines = [(kind, line, self._losses.total(kind))
                     for kind, line in self._losses.more(now)]
        for kind, line, lost in lines:
            self._logger().error(
                '%s', line, extra=MORE_LOST(loss=kind, total=lost))

    def _call_back(self, on_loss: Callable[[Loss], Any], loss: Loss) -> None:
        try:
            on_loss(loss)
        except Exception:
            self._logger().exception('on_loss failed', extra=ON_LOSS_FAILED())


class Status:
    """Collects the state of the parts of a process.

    :param node: knows the other nodes; used under ``core``.
    :param channels: the channels of the process.
    :param tasks: its tasks, by name; may still be empty.
    :param redis: whether Redis can be used.
    :param others: whether what Redis is used for besides streams works.
    :param watchdog: looks after the tasks.
    :param requests: returns what sends requests and answers.
    :param renew_deliveries: lets the deliveries connect anew.
    :param is_node: whether the process can become a node.
    """

    def __init__(self, node: Node, core: threading.Lock, engine: Engine,
                 logger: LogLimiter, state: State,
                 channels: Sequence[Channel], tasks: Mapping[str, Task],
                 capacity: Capacity, losses: LossReport, redis: Availability,
                 others: Sequence[Availability], watchdog: Watchdog,
                 requests: Callable[[], Requests],
                 renew_deliveries: Callable[[], None],
                 is_node: bool = True) -> None:
        self._node = node
        self._is_node = is_node
        self._core = core
        self._engine = engine
        self._logger = logger
        self._state = state
        self._channels = channels
        self._tasks = tasks
        self._capacity = capacity
        self.losses = losses
        self._redis = redis
        self._others = others
        self.watchdog = watchdog
        self._requests = requests
        self._renew_deliveries = renew_deliveries
        #: How many messages were malformed. Written by the tasks of readers
        #: and listeners, under the core lock.
        self._skipped = 0
        #: The events of the tasks that wait for a connection. Each task adds
        #: and removes its own.
        self._waiting: List[Event] = []
        redis.watch('tasks that wait for a connection', self._wake_waiting)
        redis.follow(self._follow)

    def _follow(self, part: str) -> None:
        """Another server has taken over, and this part is connected to it:
        let no other connection stay with the old one, which may still
        answer. On the task of the part."""
        for channel in self._channels:
            for kind, each in (('reader', channel.reader),
                               ('writer', channel.writer)):
                if part != f'{kind} of {channel.key}':
                    each.interrupt()
        self._requests().renew()
        self._renew_deliveries()

    def skip(self, error: DecodeError, what: str = 'a request') -> None:
        """Count and log what is not a valid message."""
        with self._core:
            self._skipped += 1
        self._logger().warning('%s was skipped: %s', what, error,
                               extra=MESSAGE_SKIPPED(reason=str(error)))

    def no_room(self, what: str, error: RedisStreamsError) -> None:
        """Log that there was no room for what an entry or a request brings
        about. The node that waits for it reports that this one is missing."""
        self._logger().warning(
            '%s was not carried out: %s', what, error,
            extra=MESSAGE_NOT_CARRIED_OUT(reason=str(error)))

    @property
    def is_connected(self) -> bool:
        """Whether Redis can be used, and the streams are read."""
        return self._redis.ok and all(
            channel.reader.connected for channel in self._channels)

    @property
    def has_joined(self) -> bool:
        """Whether this process is a member, and it is known of each stream
        whether it can be followed now. Never waits."""
        return self._state.member and all(
            task.tried.is_set() for name, task in list(self._tasks.items())
            if name.startswith(('reader', 'writer')))

    def await_connection(self, timeout: float) -> bool:
        """Wait while connections are re-established, but not while Redis is
        known to be away.

        :param timeout: seconds.
        :return: whether Redis can be used, and the streams are read.
        """
        deadline = time.monotonic() + timeout
        event = self._engine.event()
        try:
            self._waiting.append(event)
            while not self.is_connected and not self._redis.away \
                    and not self._state.closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                event.wait(left)
                event.clear()
        finally:
            # It is missing if an exception struck before it was added.
            if event in self._waiting:
                self._waiting.remove(event)
        return self.is_connected

    def _wake_waiting(self) -> None:
        for event in list(self._waiting):
            event.set()

    def log_more(self, now: float) -> None:
        """Log what came too soon after another line of its kind. To be called
        now and then, and with infinity at the end."""
        self.losses.log_more(now)
        self._logger.log_more(now)

    def stats(self) -> Dict[str, int]:
        """Counters since the start, see the manager's ``stats``."""
        writers = [channel.writer for channel in self._channels]
        readers = [channel.reader for channel in self._channels]
        return {
            'sent': sum(writer.outbox.stored for writer in writers),
            'batches': sum(writer.batches for writer in writers),
            'found_after_break': sum(
                writer.found_stored for writer in writers),
            'refused': sum(writer.outbox.refused for writer in writers),
            'outbox': self._capacity.count,
            'outbox_bytes': self._capacity.bytes,
            'received': sum(reader.received for reader in readers),
            'malformed': self._skipped,
            'duplicates': sum(
                channel.duplicates for channel in self._channels),
            'failed': sum(reader.failed for reader in readers),
            **self.losses.counts,
            'writer_restarts': self._restarts('writer'),
            'reader_restarts': self._restarts('reader'),
            'requests_dropped': self._requests().dropped,
            'outages': self._redis.outages,
            'task_deaths': self.watchdog.deaths,
            'stalls': self.watchdog.stalls,
        }

    def latencies(self) -> Dict[str, Dict[str, float]]:
        """How long entries took, see the manager's ``latencies``."""
        return {
            'outbox': total(
                each.writer.outbox.latency for each in self._channels),
            'delivery': total(
                each.reader.latency for each in self._channels)}

    def _restarts(self, kind: str) -> int:
        return sum(task.restarts for name, task in list(self._tasks.items())
                   if name.startswith(kind))

    def health(self) -> Dict[str, Any]:
        """See the manager's ``health``."""
        started, redis = bool(self._tasks), self._redis
        failing = [each for each in self._others if not each.ok]
        member = self._state.member
        connected = started and not self._state.closed and redis.ok
        stalled = [] if self._state.closed \
            else self.watchdog.look(time.monotonic())
        well = connected and not failing and not stalled
        return {
            'status': 'ok' if well or not started else 'degraded',
            # Before the first client that is not known.
            'connected': connected if started else None,
            'reader_lag': self._lag() if member else None,
            'outbox': self._capacity.count,
            'outbox_bytes': self._capacity.bytes,
            # As server_count(), by which a process joins.
            'nodes': self._count_others() + self._is_node if member
            else int(self._is_node and not started),
            'messages_lost': self.losses.counts[COUNTERS[MISSING]],
            'entries_evicted': self.losses.counts[COUNTERS[EVICTED]],
            'stalled': stalled,
            'last_error': next((
                each.last_error for each in (*failing, redis, *self._others)
                if each.last_error), None),
            **redis.history(),
        }

    def _lag(self) -> Optional[float]:
        lags = [channel.reader.lag for channel in self._channels]
        known = [lag for lag in lags if lag is not None]
        return max(known) if len(known) == len(lags) else None

    def _count_others(self) -> int:
        with self._core:
            return self._node.others
