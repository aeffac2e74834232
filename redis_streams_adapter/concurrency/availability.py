"""Whether a server can be used, as far as the tasks that need it know, and
what is logged of its outages.

One line in the log when the first task cannot go on, one when all tasks can
again, and one when an attempt fails for a reason that this outage did not have
yet: not one for each task and attempt.
"""
import logging
import math
import re
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

from ..log_events import CONNECTION_LOST, REDIS_AWAY, REDIS_BACK, \
    REDIS_STILL_AWAY
from .locks import Lock


#: Part of the reason for which a part fails, if another server has taken the
#: place of the one that it is connected to, in capital letters.
DEPOSED = 'READONLY'

#: How often connections follow one that has found another server, in seconds.
FOLLOW_INTERVAL = 10.0

#: How many reasons of one outage are logged at most: more would be a flood.
REASONS = 20

#: What differs between two reasons that are the same for a reader of the log:
#: ports, numbers of errors, times.
NUMBERS = re.compile(r'\d+')


class Reasons:
    """The reasons for which the attempts of one outage have failed. Its owner
    has a lock, or is one task."""

    def __init__(self) -> None:
        self._seen: Set[str] = set()
        #: How many attempts have failed.
        self.count = 0

    def add(self, reason: str) -> bool:
        """Count an attempt.

        :return: whether its reason is to be logged.
        """
        self.count += 1
        kind = NUMBERS.sub('', reason)
        if kind in self._seen or len(self._seen) >= REASONS:
            return False
        self._seen.add(kind)
        return True


class Outage(NamedTuple):
    """An outage that is over."""

    #: When it ended, by the monotonic clock.
    ended: float
    #: How many seconds it lasted.
    lasted: float
    #: Why it began.
    reason: str


def log_safely(write: Callable[..., None], *args: Any, **more: Any) -> None:
    """Log something. Log handlers are the application's code, and may emit
    what they get: if one fails, the task that logs goes on.

    :param write: a method of a logger.
    :param more: its other arguments, ``extra``.
    """
    if more:
        # The record is one of the caller.
        more['stacklevel'] = 2
    try:
        write(*args, **more)
    except Exception:
        # As logging does with what its own handlers raise.
        traceback.print_exc()


class Condition:
    """What a server does not allow: one line in the log when it begins, one
    when it is over. Used by one task."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        #: Whether the last line is that it began.
        self.holds = False

    def begin(self, text: str, *args: Any, extra: Dict[str, Any]) -> None:
        """It is so now, and may have been before."""
        if not self.holds:
            self.holds = True
            log_safely(self._logger().warning, text, *args, extra=extra)

    def end(self, text: str, extra: Dict[str, Any]) -> None:
        """It is over."""
        self.holds = False
        log_safely(self._logger().info, text, extra=extra)


class Availability:
    """What several tasks, its parts, know of one server.

    Nothing is logged, and no watcher is called, under the lock.

    :param what: the name of the server in the log.
    :param backlog: says in the log what waits when the server is back.
    :param meanwhile: says in the log what happens while it is away; as
                      ``backlog`` by default.
    :param service: what it is used for, in the fields of the records.
    """

    def __init__(self, what: str, logger: Callable[[], logging.Logger],
                 backlog: Callable[[], str],
                 meanwhile: Optional[Callable[[], str]] = None,
                 service: str = 'streams') -> None:
        self._what = what
        self._service = service
        self._meanwhile = meanwhile or backlog
        self._logger = logger
        self._backlog = backlog
        #: Makes "the first part down" and "the last part up" one task's
        #: decision. It protects the fields down to :attr:`outages`, but for
        #: what is said there.
        self._lock = Lock()
        #: Whether each part works. A part's own entry is also written
        #: without the lock when it is added or its connection breaks.
        self._parts: Dict[str, bool] = {}
        self._down_since: Optional[float] = None
        #: When each part failed first, of those that have failed since they
        #: last worked. A part's entry is added by its own task, without the
        #: lock, and removed by it.
        self._failing_since: Dict[str, float] = {}
        #: Why the present outage began, or the last one.
        self._why = ''
        #: And why its attempts have failed so far.
        self._reasons = Reasons()
        self._over: Optional[Outage] = None
        self.outages = 0
        #: Written without the lock; the last writer wins.
        self.last_error: Optional[str] = None
        #: The parts whose server was replaced. A part's entry is written by
        #: its own task.
        self._deposed: Dict[str, bool] = {}
        #: The server that a part has reached last, if that is known, and when
        #: the other parts had to follow it last.
        self._server: Optional[bytes] = None
        self._followed = -math.inf
        #: Complete before the first part works.
        self._followers: List[Callable[[str], None]] = []
        #: Added to by the task that adds a part, one entry at a time.
        self._watchers: Dict[str, Callable[[], None]] = {}

    def add(self, part: str, watcher: Callable[[], None]) -> None:
        """Add a part.

        :param watcher: called when another part reaches the server again.
        """
        self._parts[part] = False
        self._watchers[part] = watcher

    def watch(self, name: str, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` when a part reaches the server again."""
        self._watchers[name] = watcher

    def follow(self, follower: Callable[[str], None]) -> None:
        """Call ``follower``, with the name of the part, when a part works
        again that was connected to a server which another one has replaced, or
        that has found another server. Connections that are left open stay with
        the old one: what they hear is incomplete."""
        self._followers.append(follower)

    @property
    def ok(self) -> bool:
        """Whether all parts work."""
        return all(self._parts.values())

    @property
    def away(self) -> bool:
        """Whether it is known that the server cannot be used for now: more
        than a connection was lost."""
        return self._down_since is not None

    def history(self) -> Dict[str, Any]:
        """For ``health()``: ``outage``, how many seconds the present outage
        has taken so far; ``last_outage``, when and why the last one was."""
        now = time.monotonic()
        with self._lock:
            since, over = self._down_since, self._over
            return {
                'outage': None if since is None else now - since,
                'last_outage': None if over is None else {
                    'ended': now - over.ended, 'lasted': over.lasted,
                    'reason': over.reason},
            }

    def up(self, part: str, server: Optional[bytes] = None) -> None:
        """This part works.

        :param server: what tells its server from others, if that is known.
        """
        moved = False
        with self._lock:
            if server is not None and server != self._server:
                now = time.monotonic()
                # If each new connection reaches another server, no more can
                # be done.
                moved = self._server is not None \
                    and now - self._followed > FOLLOW_INTERVAL
                self._server = server
                if moved:
                    self._followed = now
            was = self._parts[part]
            self._parts[part] = True
            self._failing_since.pop(part, None)
            since, failed = self._down_since, self._reasons.count
            back = since is not None and self.ok
            if since is not None and back:
                now = time.monotonic()
                self._down_since = None
                self._over = Outage(now, now - since, self._why)
        if not was:
            # Others may be added now.
            for name, watcher in list(self._watchers.items()):
                if name != part:
                    watcher()
        if self._deposed and self._deposed.pop(part, False) or moved:
            for follow in self._followers:
                follow(part)
        if back and since is not None:
            lasted = time.monotonic() - since
            log_safely(self._logger().warning,
                       '%s is back after %.1f s; %s', self._what,
                       lasted, self._backlog(), extra=REDIS_BACK(
                           service=self._service, count=failed,
                           seconds=lasted))

    def broken(self, part: str, reason: str) -> None:
        """This part has failed once, and tries again at once."""
        if DEPOSED in reason.upper():
            self._deposed[part] = True
        self._parts[part] = False
        self._failing_since.setdefault(part, time.monotonic())
        self.last_error = reason
        log_safely(self._logger().info,
                   'a connection failed, connecting again: %s (%s)', part,
                   reason, extra=CONNECTION_LOST(
                       service=self._service, task=part, reason=reason))

    def down(self, part: str, reason: str) -> None:
        """This part cannot go on for now."""
        if DEPOSED in reason.upper():
            self._deposed[part] = True
        with self._lock:
            self._parts[part] = False
            self.last_error = reason
            first = self._down_since is None
            if first:
                # The attempt in between may have taken the socket timeout.
                self._down_since = self._failing_since.get(
                    part, time.monotonic())
                self._why = f'{part}: {reason}'
                self._reasons = Reasons()
                self.outages += 1
            lasted = time.monotonic() - (self._down_since or 0.0)
            is_new, failed = self._reasons.add(reason), self._reasons.count
        if first:
            log_safely(self._logger().warning,
                       '%s cannot be used (%s: %s); %s', self._what, part,
                       reason, self._meanwhile(), extra=REDIS_AWAY(
                           service=self._service, task=part, reason=reason))
        elif is_new:
            log_safely(self._logger().warning,
                       '%s is still away after %.1f s and %d attempts, now '
                       'for another reason (%s: %s)', self._what, lasted,
                       failed, part, reason, extra=REDIS_STILL_AWAY(
                           service=self._service, task=part, reason=reason,
                           count=failed, seconds=lasted))
