"""The state of a process: its counters, and whether it reaches Redis."""
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ..concurrency.availability import Availability
from ..concurrency.tasks import Task
from ..losses import COUNTERS, MISSING
from ..stream.outbox import Capacity
from .channel import Channel
from .loss_report import LossReport


class Status:
    """Collects the state of the parts of a process. The readers' tasks write
    its own counters, under the core lock.

    :param channels: the channels of the process.
    :param tasks: its tasks, by name; may still be empty.
    :param redis: whether Redis can be used.
    :param pubsub: whether PUB/SUB can be used.
    """

    def __init__(self, channels: Sequence[Channel],
                 tasks: Mapping[str, Task], capacity: Capacity,
                 losses: LossReport, redis: Availability,
                 pubsub: Availability) -> None:
        self._channels = channels
        self._tasks = tasks
        self._capacity = capacity
        self._losses = losses
        self._redis = redis
        self._pubsub = pubsub
        #: How many messages were malformed, and how many were copies. Written
        #: by the tasks of readers and listeners, under the core lock.
        self.skipped = 0
        self.duplicates = 0

    def stats(self, dropped: int) -> Dict[str, int]:
        """Counters since the start, see the manager's ``stats``.

        :param dropped: how many messages over PUB/SUB were not sent.
        """
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
            'malformed': self.skipped,
            'duplicates': self.duplicates,
            'failed': sum(reader.failed for reader in readers),
            **self._losses.counts,
            'writer_restarts': self._restarts('writer'),
            'reader_restarts': self._restarts('reader'),
            'requests_dropped': dropped,
            'outages': self._redis.outages,
        }

    def _restarts(self, kind: str) -> int:
        return sum(task.restarts for name, task in list(self._tasks.items())
                   if name.startswith(kind))

    def health(self, closed: bool, member: bool,
               others: Callable[[], int]) -> Dict[str, Any]:
        """See the manager's ``health``.

        :param others: counts the other nodes.
        """
        started, redis, pubsub = bool(self._tasks), self._redis, self._pubsub
        connected = started and not closed and redis.ok
        well = connected and pubsub.ok
        return {
            'status': 'ok' if well or not started else 'degraded',
            'connected': connected,
            'reader_lag': self._lag() if member else None,
            'outbox': self._capacity.count,
            'outbox_bytes': self._capacity.bytes,
            'nodes': others() + 1 if member else 0,
            'messages_lost': self._losses.counts[COUNTERS[MISSING]],
            'last_error': pubsub.last_error
            if not pubsub.ok and pubsub.last_error
            else redis.last_error or pubsub.last_error,
            **redis.history(),
        }

    def _lag(self) -> Optional[float]:
        lags = [channel.reader.lag for channel in self._channels]
        known = [lag for lag in lags if lag is not None]
        return max(known) if len(known) == len(lags) else None
