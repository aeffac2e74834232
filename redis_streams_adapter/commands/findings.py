"""What ``doctor`` finds out: a result of each check, on one line."""
from __future__ import annotations

from typing import Any, NamedTuple

#: The states of a check.
OK, FINDING, UNKNOWN = 'ok', 'finding', 'unknown'


class Finding(NamedTuple):
    """The result of a check.

    :param check: its name.
    :param status: :data:`OK`; :data:`FINDING`: something is to be done;
                   :data:`UNKNOWN`: it could not be found out.
    :param text: one line: what is, and what to do.
    """

    check: str
    status: str
    text: str

    def record(self) -> dict[str, Any]:
        """As it is printed."""
        return self._asdict()


def fine(check: str, text: str) -> Finding:
    """There is nothing to do."""
    return Finding(check, OK, text)


def found(check: str, text: str) -> Finding:
    """There is something to do."""
    return Finding(check, FINDING, text)


def unknown(check: str, text: str) -> Finding:
    """It could not be found out."""
    return Finding(check, UNKNOWN, text)
