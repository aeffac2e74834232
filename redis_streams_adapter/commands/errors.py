"""What ends a command before its work is done.

A text is one line, fit to be shown as it is, and says what to do.
"""
from __future__ import annotations


class CommandError(Exception):
    """The command did not work: exit status 1."""


class UsageError(CommandError):
    """Arguments are wrong, or a requirement is missing: exit status 2."""
