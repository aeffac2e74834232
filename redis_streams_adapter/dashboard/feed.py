"""What viewers of the page get, as server-sent events.

A viewer that joins gets the history for the charts. Later there is one message
for all of them, which is encoded once. A viewer that reads slowly gets the
latest one: nothing piles up.
"""
from __future__ import annotations

from collections import deque
import json
from typing import Any

from ..concurrency.engines import Engine, Event
from ..concurrency.locks import Lock

#: How many points of the charts are kept: ten minutes by default.
POINTS = 300


class Viewer:
    """Someone who looks at the page.

    :param event: set by the task that watches when there is something new;
                  cleared by the viewer's task.
    """

    def __init__(self, event: Event) -> None:
        self.event = event
        #: The number of the last message that it got; used by the viewer's
        #: task alone. ``None``: it has not got the history.
        self.seen: int | None = None


class Feed:
    """Passes on what was found, from one task to those of the viewers.

    The task that watches publishes. The tasks of viewers join, take and
    leave. Each change is made under the lock, in which nothing waits: if an
    exception strikes a task between two lines, the others see the state
    before or after it. A viewer whose task dies without leaving remains until
    the process ends, so viewers leave in a ``finally``.

    :param about: what every viewer is told first.
    """

    def __init__(self, engine: Engine, about: dict[str, Any]) -> None:
        self._engine = engine
        self._about = about
        #: Protects all fields below.
        self._lock = Lock()
        self._viewers: list[Viewer] = []
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._state: dict[str, Any] | None = None
        self._latest = b''
        self._number = 0
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many look."""
        with self._lock:
            return len(self._viewers)

    @property
    def closed(self) -> bool:
        """Whether no more will come."""
        return self._closed

    def join(self) -> Viewer:
        """Begin to look."""
        viewer = Viewer(self._engine.event())
        with self._lock:
            self._viewers.append(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """End to look. Idempotent."""
        with self._lock:
            if viewer in self._viewers:
                self._viewers.remove(viewer)

    def publish(self, point: dict[str, Any], state: dict[str, Any]) -> None:
        """Pass on what was found.

        :param point: what the charts get.
        :param state: what the rest of the page shows.
        """
        message = encode('sample', {'point': point, 'state': state})
        with self._lock:
            self._points.append(point)
            self._state = state
            self._latest = message
            self._number += 1
            viewers = list(self._viewers)
        for each in viewers:
            each.event.set()

    def take(self, viewer: Viewer) -> bytes:
        """What a viewer has not got yet; nothing if there is nothing new."""
        with self._lock:
            number, latest = self._number, self._latest
            first, viewer_seen = viewer.seen is None, viewer.seen
            points, state = (list(self._points), self._state) if first \
                else ([], None)
        if not first and viewer_seen == number:
            return b''
        viewer.seen = number
        return encode('hello', {
            **self._about, 'points': points, 'state': state}) \
            if first else latest

    def close(self) -> None:
        """Let all viewers go."""
        with self._lock:
            self._closed = True
            viewers = list(self._viewers)
        for each in viewers:
            each.event.set()


def encode(event: str, data: Any) -> bytes:
    """A server-sent event. JSON has no line breaks of its own."""
    return (f'event: {event}\n'
            f'data: {json.dumps(data, allow_nan=False)}\n\n').encode()
