"""What ends a run of the demo before its report is complete."""
from __future__ import annotations

import signal


class DemoError(Exception):
    """A step failed. The text is one line, fit to be shown as it is."""


class RequirementError(DemoError):
    """Something is not installed or not available on this machine."""


class Interrupted(BaseException):
    """A signal asked the demo to end.

    Not an :class:`Exception`, like :class:`KeyboardInterrupt`: no handler of
    errors must catch it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def name(self) -> str:
        return signal.Signals(self.signum).name
