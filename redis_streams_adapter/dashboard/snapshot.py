"""From what servers say of themselves to what the page shows. Pure.

Servers may be of any version, and what they say is not trusted: a value that
is not what it should be counts as unknown.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
import math
from typing import Any

from ..losses import COUNTERS

#: The figures of which rates are shown.
RATES = ('sent', 'received', 'delivered')

#: How many characters of a text are shown.
LONGEST = 300

#: What the name of a counter of clients that were not recovered begins with.
REFUSED = 'not_recovered_'

Row = dict[str, Any]


def number(value: Any) -> int | float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def text(value: Any) -> str | None:
    """The value if it is a text, not too long."""
    return value[:LONGEST] if isinstance(value, str) else None


class Rates:
    """Makes rates of counters. One task uses it."""

    def __init__(self) -> None:
        #: The last counters and their time, by server.
        self._before: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def add(self, uid: str, now: float,
            counters: Mapping[str, Any]) -> dict[str, float | None]:
        """The rates since the last call for this server; ``None``: it is not
        known, or the server has begun anew.

        :param now: the time, by the monotonic clock.
        """
        at, before = self._before.get(uid, (now, {}))
        self._before[uid] = (now, counters)
        rates: dict[str, float | None] = {}
        for name in counters:
            new, old = number(counters[name]), number(before.get(name))
            rates[name] = None if new is None or old is None or now <= at \
                or new < old else round((new - old) / (now - at), 2)
        return rates

    def keep(self, uids: Iterable[str]) -> None:
        """Forget all servers but these."""
        kept = set(uids)
        self._before = {uid: each for uid, each in self._before.items()
                        if uid in kept}


def row_of(node: Any, rates: Rates, now: float) -> Row:
    """What is shown of a server.

    :param node: a :class:`~redis_streams_adapter.nodes.NodeStats`.
    :param now: the time, by the monotonic clock.
    """
    stats, health = node.stats or {}, node.health or {}
    row: Row = {'uid': node.uid, 'language': node.language}
    row.update((name, text(getattr(node, name)))
               for name in ('host', 'version'))
    row.update((name, number(getattr(node, name))) for name in (
        'pid', 'uptime', 'clients', 'rooms', 'memory', 'last_seen'))
    row.update(status=text(health.get('status')),
               lag=number(health.get('reader_lag')),
               outbox=number(health.get('outbox')),
               error=text(health.get('last_error')))
    found = rates.add(node.uid, now,
                      {name: stats.get(name) for name in RATES})
    row.update((f'{name}_rate', rate) for name, rate in found.items())
    row['lost'] = sum(losses_of(stats).values()) if stats else None
    return row


def label(row: Row) -> str:
    """The name of a server for people."""
    return f"{row['host']}:{row['pid']}" if row['host'] else str(row['uid'])


def losses_of(stats: Mapping[str, Any]) -> dict[str, int]:
    """How much a server has counted as lost, by kind."""
    return {kind: int(number(stats.get(counter)) or 0)
            for kind, counter in COUNTERS.items()}


def recoveries_of(figures: Iterable[Mapping[str, Any]]) -> Row | None:
    """How many clients were recovered, and how many were not, by reason.

    :param figures: the ``stats`` of servers.
    :return: ``None``: recovery is off on all of them.
    """
    reasons: dict[str, int] = {}
    recovered, known = 0, False
    for stats in figures:
        known |= 'recovered' in stats
        recovered += int(number(stats.get('recovered')) or 0)
        for name, value in stats.items():
            if name.startswith(REFUSED):
                reason = name[len(REFUSED):].replace('_', '-')
                reasons[reason] = reasons.get(reason, 0) \
                    + int(number(value) or 0)
    return {'recovered': recovered, 'refused': reasons} if known else None


def totals(rows: Iterable[Row]) -> Row:
    """One number for all servers, for the charts."""
    rows = list(rows)
    result: Row = {'servers': len(rows)}
    for name in ('clients', 'outbox', 'lost',
                 *(f'{each}_rate' for each in RATES)):
        values = [each[name] for each in rows if each[name] is not None]
        result[name] = round(sum(values), 2) if values else None
    lags = [each['lag'] for each in rows if each['lag'] is not None]
    result['lag'] = max(lags) if lags else None
    return result


def top_rooms(counts: Mapping[Any, int], most: int) -> list[list[Any]]:
    """The rooms with the most clients.

    :return: pairs of a name and a number.
    """
    largest = sorted(counts.items(),
                     key=lambda each: (-each[1], str(each[0])))[:most]
    return [[str(room)[:LONGEST], count] for room, count in largest]
