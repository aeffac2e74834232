"""What is known to be lost, or must be taken for lost.

Redis may lose data: entries are trimmed, streams are deleted, a replica that
lags takes over. No loss is silent: each is counted in ``stats()``, logged,
and reported to ``on_loss``.

================  =====================  ===================================
kind              counter                what was found
================  =====================  ===================================
``missing``       ``messages_lost``      a gap in the numbers of a process:
                                         so many of its messages never
                                         reached this one
``trimmed``       ``entries_trimmed``    entries were trimmed before this
                                         process read them: messages and
                                         signs of life of any process. Those
                                         that are counted as missing are
                                         among them (Redis 7). Without a
                                         number: they may have been trimmed
                                         while this process started
``deleted``       ``streams_deleted``    the stream is gone, or was deleted
                                         and begun again
``set-back``      ``stream_setbacks``    the stream ends before the last
                                         position that was read: a replica
                                         that lagged has taken over
``vanished``      ``messages_vanished``  messages of this process that Redis
                                         had acknowledged are gone; nodes
                                         that had not read them will not get
                                         them
``evicted``       ``entries_evicted``    this process trimmed entries before
                                         their time, because Redis had no
                                         memory for new ones: a client that
                                         comes back may not get what it
                                         missed
================  =====================  ===================================
"""
from dataclasses import dataclass
from typing import Dict, List, Optional, Set, Tuple

MISSING = 'missing'
TRIMMED = 'trimmed'
DELETED = 'deleted'
SET_BACK = 'set-back'
VANISHED = 'vanished'
EVICTED = 'evicted'

#: The counter of each kind. It counts messages or entries if their number is
#: known, or else how often it happened.
COUNTERS = {MISSING: 'messages_lost', TRIMMED: 'entries_trimmed',
            DELETED: 'streams_deleted', SET_BACK: 'stream_setbacks',
            VANISHED: 'messages_vanished', EVICTED: 'entries_evicted'}

#: How often losses of one kind are logged at most, in seconds.
LOSS_INTERVAL = 10.0


@dataclass(frozen=True)
class Loss:
    """One loss that was detected; ``on_loss`` is called with it.

    :param kind: ``'missing'``, ``'trimmed'``, ``'deleted'``, ``'set-back'``,
                 ``'vanished'`` or ``'evicted'``, see the module.
    :param stream: the key of the stream.
    :param count: how many messages are lost (``'trimmed'``: how many
                  entries); ``None``: that cannot be known.
    :param uid: ``'missing'`` only: the id of the process that had sent them.
    """

    kind: str
    stream: str
    count: Optional[int] = None
    uid: Optional[str] = None

    def __str__(self) -> str:
        if self.kind == MISSING:
            return (f'messages are missing: {self.count} of process '
                    f'{self.uid} in stream {self.stream!r}; they were '
                    f'trimmed before this node read them (increase '
                    f'max_len), or lost or refused by Redis')
        if self.kind == TRIMMED and self.count is None:
            return (f'entries of stream {self.stream!r} may have been '
                    f'trimmed before this node began to read them (increase '
                    f'max_len)')
        if self.kind == TRIMMED:
            return (f'{self.count} entries of stream {self.stream!r} were '
                    f'trimmed before this node read them (increase max_len)')
        if self.kind == DELETED:
            return (f'stream {self.stream!r} was deleted; entries that had '
                    f'not been read are lost')
        if self.kind == SET_BACK:
            return (f'stream {self.stream!r} ends before the last entry that '
                    f'was read: a replica that lagged has taken over; '
                    f'messages may be lost')
        if self.kind == EVICTED:
            return (f'{self.count} entries of stream {self.stream!r} were '
                    f'trimmed before their time, because the memory of Redis '
                    f'is full (maxmemory); clients that come back may miss '
                    f'them')
        return (f'{self.count} messages of this process that Redis had '
                f'acknowledged are gone from stream {self.stream!r}; nodes '
                f'that had not read them will not get them')


class Losses:
    """How much was lost, and how much of it was logged.

    Not synchronised: its owner has a lock.
    """

    def __init__(self) -> None:
        #: By the name of the counter.
        self.counts: Dict[str, int] = dict.fromkeys(COUNTERS.values(), 0)
        self._logged: Dict[str, float] = {}
        self._unlogged: Set[str] = set()

    def add(self, loss: Loss, now: float) -> Optional[str]:
        """Count a loss.

        :return: the line to log; ``None``: a line was logged a short time
                 ago, see :meth:`more`.
        """
        kind, name = loss.kind, COUNTERS[loss.kind]
        self.counts[name] += 1 if loss.count is None else loss.count
        logged = self._logged.get(kind)
        if logged is not None and now - logged <= LOSS_INTERVAL:
            self._unlogged.add(kind)
            return None
        self._logged[kind] = now
        self._unlogged.discard(kind)
        return f'{loss} ({name}: {self.counts[name]} in all)'

    def more(self, now: float) -> List[Tuple[str, str]]:
        """The lines to log about losses that came too soon after another, each
        with the kind of the losses.

        :param now: the time, by the monotonic clock; infinity at the end.
        """
        due = sorted(kind for kind in self._unlogged
                     if now - self._logged[kind] > LOSS_INTERVAL)
        self._unlogged.difference_update(due)
        self._logged.update(dict.fromkeys(due, now))
        return [(kind, f'more was lost since the last message '
                       f'({COUNTERS[kind]}: {self.total(kind)} in all)')
                for kind in due]

    def total(self, kind: str) -> int:
        """How much was lost in this way so far."""
        return self.counts[COUNTERS[kind]]
