"""The task that watches while somebody looks."""
from __future__ import annotations

import os
import time
from typing import Any, Protocol

from ..concurrency.engines import Engine
from ..concurrency.locks import Lock
from .feed import Feed

#: For how many seconds connections are kept after the last viewer has left:
#: one that reloads the page finds them.
LINGER = 20.0

#: How long :meth:`Watcher.close` waits for the task, in seconds.
PATIENCE = 10.0


class Source(Protocol):
    """Where to look. One task uses it."""

    def look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask once.

        :return: the point for the charts, and the state.
        """

    def close(self) -> None:
        """End all connections. May be used again."""


class Watcher:
    """Looks once an interval, while there are viewers.

    :param interval: seconds from one look to the next.
    :param linger: seconds for which it waits when nobody looks any more.
    """

    def __init__(self, source: Source, feed: Feed, engine: Engine,
                 interval: float, linger: float = LINGER) -> None:
        self._source = source
        self._feed = feed
        self._engine = engine
        self._interval = interval
        self._linger = linger
        #: Set when someone joins, or at the end, so that the task does not
        #: wait. Cleared by the task.
        self._wake = engine.event()
        #: Set while no task runs.
        self._idle = engine.event()
        self._idle.set()
        #: Lets one viewer start the task. Protects the field below.
        self._lock = Lock()
        #: The process whose task runs; ``None``: none. Written under the lock
        #: by the viewer that starts the task, and without it by the task. A
        #: viewer that comes between "nobody looks" and "the task has ended"
        #: is served when it calls :meth:`ensure` again. A child that was
        #: forked has a copy of it, and no task.
        self._runs_in: int | None = None

    def ensure(self) -> None:
        """Make sure that the task runs. Viewers call it again and again: a
        task that has died is replaced."""
        with self._lock:
            if self._runs_in == os.getpid() or self._feed.closed:
                return
            self._runs_in = os.getpid()
            self._idle.clear()
        started = False
        try:
            # Not under the lock: green threads may switch.
            self._engine.spawn(self._run)
            started = True
        finally:
            if not started:
                # No thread can be started, or an exception struck; if the
                # task has been started all the same, it notes that first.
                self._runs_in = None
                self._idle.set()

    def wake(self) -> None:
        """Look now if nobody has looked for a while."""
        self._wake.set()

    def close(self) -> None:
        """End the task, and wait for it. The feed must be closed."""
        self._wake.set()
        self._idle.wait(PATIENCE)

    def _run(self) -> None:
        try:
            self._runs_in = os.getpid()
            self._idle.clear()
            while self._goes_on():
                began = time.monotonic()
                point, state = self._source.look()
                self._feed.publish(point, state)
                self._rest(began)
        finally:
            try:
                self._source.close()
            finally:
                self._runs_in = None
                self._idle.set()

    def _rest(self, began: float) -> None:
        """Wait for the rest of the interval. After a look that took long,
        servers get half of one without a question."""
        until = max(began + self._interval,
                    time.monotonic() + self._interval / 2)
        while not self._feed.closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            # Someone who joins has what was found last. No more is asked.
            self._wake.wait(left)
            self._wake.clear()

    def _goes_on(self) -> bool:
        """Wait while nobody looks.

        :return: whether somebody does, in time.
        """
        until = time.monotonic() + self._linger
        while not self._feed.closed:
            if self._feed.viewers:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._wake.wait(left)
            self._wake.clear()
        return False
