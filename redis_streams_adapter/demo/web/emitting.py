"""Numbered events without end, from every process that can emit."""
from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from ..errors import DemoError
from .board import Board

#: Seconds between two events of one source.
INTERVAL = 0.25


class Emitting:
    """The task that has one process emit.

    :param source: a name that no other source has, before or after it.
    :param carry_out: has the process emit what an order says, within so many
                      seconds. Raises :class:`DemoError` if it does not.
    :param board: where the events are noted.
    :param timeout: seconds that one event may take. While Redis is away, a
                    process that is no server waits until that is noticed.
    """

    def __init__(self, source: str,
                 carry_out: Callable[[dict[str, Any], float], Any],
                 board: Board, timeout: float) -> None:
        self.source = source
        self._carry_out = carry_out
        self._board = board
        self._timeout = timeout
        self._stopped = threading.Event()
        # Written by the task that kills the process, before it does.
        self._to_be_killed = False
        self._task = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._board.emitted(self.source, 0)
        self._task.start()

    def expect_kill(self) -> None:
        """It is no error any more if the process does not emit."""
        self._to_be_killed = True

    def stop(self) -> None:
        """Emit no more from now on. Does not wait for the last event."""
        self._stopped.set()

    def join(self) -> bool:
        """Wait for the task to end; return whether it has."""
        self._task.join(2 * self._timeout)
        return not self._task.is_alive()

    def _run(self) -> None:
        number = 0
        while not self._stopped.wait(INTERVAL):
            order = {'source': self.source, 'number': number + 1}
            try:
                self._carry_out(order, self._timeout)
            except DemoError as exc:
                self._board.ended(self.source)
                if not self._to_be_killed:
                    self._board.problem(str(exc))
                return
            number += 1
            self._board.emitted(self.source, number)
