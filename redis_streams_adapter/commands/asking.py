"""Asks the servers of a cluster, without becoming one of them.

What some servers have not answered is never passed over in silence: what there
is is shown, the servers that are missing are named, and the exit status is 1.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TYPE_CHECKING

from ..errors import ClusterTimeoutError
from .output import Column, Output, Record
from .place import Place
from .reading import Redis

if TYPE_CHECKING:
    from ..observer import Observer


@contextmanager
def observing(place: Place) -> Iterator[Observer]:
    """Watch the cluster.

    :raises Unavailable: Redis cannot be reached now.
    """
    # Imported when it is needed: it loads python-socketio.
    from ..observer import Observer
    with Redis(place.driver) as redis:
        # Sooner than a timeout, and with the reason.
        redis.check()
    observer = Observer(place.url, **place.arguments)
    try:
        observer.start()
        yield observer
    finally:
        observer.close(place.timeout)


class Answer:
    """The answers of servers.

    :param ask: asks for them.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.error: ClusterTimeoutError | None = None
        self.values: Any = []
        try:
            self.values = ask()
        except ClusterTimeoutError as exc:
            self.error = exc
            self.values = exc.responses

    @property
    def problem(self) -> str | None:
        """What is missing, and what to do; ``None``: nothing is."""
        if self.error is None:
            return None
        missing = ', '.join(self.error.missing)
        return f'not all servers have answered ({self.error})' + (
            f'; missing: {missing}' if missing else '') \
            + '; raise --timeout, or run doctor'

    def show(self, output: Output, records: Sequence[Record],
             columns: Sequence[Column], empty: str) -> int:
        """Print the answers, and what is missing.

        :param empty: what is said to people if there are none.
        :return: the exit status.
        """
        if records or self.error is None:
            output.table(records, columns, empty)
        return self.end(output)

    def end(self, output: Output) -> int:
        """Say what is missing.

        :return: the exit status.
        """
        if self.problem is None:
            return 0
        output.note(self.problem)
        return 1
