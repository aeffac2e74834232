"""What ends a run of the demo before its account is complete."""
from __future__ import annotations

import signal


class DemoError(Exception):
    """A step failed. The text is one line, fit to be shown as it is."""


class RequirementError(DemoError):
    """Something is not installed, or not to be had on this machine."""


class Interrupted(BaseException):
    """A signal asked the demo to end.

    No :class:`Exception`, as :class:`KeyboardInterrupt` is none: a handler
    for errors on the way must not take it for one of them.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def name(self) -> str:
        return signal.Signals(self.signum).name
