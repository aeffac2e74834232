"""Turns Ctrl-C and similar signals into one exception, when it is safe.

The invariant: every process that was started is known to the code that has to
end it. A signal handler's exception could strike between the start and that,
so the handler waits while :meth:`Signals.held` is active. It raises only once:
a second Ctrl-C must not interrupt the clean-up after the first.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from .errors import Interrupted

#: What a terminal, a supervisor and a closed terminal send.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Turns the first of these signals into :class:`Interrupted`.

    Outside the main thread, where Python handles no signals, it does
    nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._raised = False
        self._held = False
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise the signal that was received, if no code has seen it yet.

        Some libraries catch every exception, also one that a signal handler
        raises.
        """
        if self._received is not None:
            self._raised = True
            raise Interrupted(self._received)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the block has ended."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.check()

    def ignore(self) -> None:
        """Raise nothing from now on: what runs is being ended already."""
        self._raised = True

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, exc_type: type[BaseException] | None,
                 exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            # None: it was not installed from Python, and cannot be put back.
            signal.signal(signum, signal.SIG_DFL if handler is None
                          else handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = signum
        if not self._raised and not self._held:
            self.check()
