"""What has happened: outages of Redis, losses, servers that came and went.
Pure.

Outages are what the dashboard itself has found, and what servers report, also
of the time before anyone looked: each server names its present outage and the
last one. Outages that overlap are shown as one.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .snapshot import losses_of, number, text

#: How many outages of one server, and how many other events, are kept; and the
#: outages of how many servers.
MOST = 100

#: Servers say for how long something has lasted. Computed from that, its
#: begin differs a little each time: by so many seconds at most.
TOLERANCE = 3.0

#: How the dashboard names itself.
ITSELF = 'dashboard'

#: What is said of an outage without a reason.
UNKNOWN = 'unknown reason'


class _Outage:
    """An outage, as one server or the dashboard has found it."""

    def __init__(self, begin: float, end: float | None, reason: str) -> None:
        self.begin = begin
        #: ``None``: it has not ended.
        self.end = end
        self.reason = reason


class Timeline:
    """Collects what has happened. Times are seconds since 1970.

    Not synchronised: the task that watches uses it.
    """

    def __init__(self) -> None:
        self._outages: dict[str, list[_Outage]] = {}
        self._events: list[dict[str, Any]] = []
        #: The last losses of each server; its keys are the servers that were
        #: there last. ``None``: nobody has looked yet.
        self._servers: dict[str, tuple[str, dict[str, int] | None]] | None \
            = None

    # -- outages ------------------------------------------------------------

    def redis(self, now: float, problem: str | None) -> None:
        """Note whether Redis can be reached from here.

        :param problem: why not; ``None``: it can.
        """
        # The last one: it is never among the oldest.
        known = self._outages[ITSELF] = self._outages.pop(ITSELF, [])
        last = known[-1] if known else None
        if problem is not None and (last is None or last.end is not None):
            self._add(known, _Outage(now, None, problem))
        elif problem is None and last is not None and last.end is None:
            last.end = now

    def health(self, name: str, now: float,
               health: Mapping[str, Any]) -> None:
        """Note the outages that a server reports.

        :param name: its name for people.
        """
        known = self._outages.pop(name, [])
        over = health.get('last_outage')
        if isinstance(over, Mapping):
            ended, lasted = number(over.get('ended')), \
                number(over.get('lasted'))
            if ended is not None and lasted is not None:
                end = now - max(0.0, ended)
                self._note(known, end - max(0.0, lasted), end,
                           text(over.get('reason')))
        since = number(health.get('outage'))
        if since is not None:
            self._note(known, now - max(0.0, since), None,
                       text(health.get('last_error')))
        elif known and known[-1].end is None:
            # It has ended, but the server has not said so.
            known[-1].end = now
        if known:
            # The last one, so that those of servers that are gone come first.
            self._outages[name] = known
            if len(self._outages) > MOST:
                del self._outages[next(iter(self._outages))]

    def _note(self, known: list[_Outage], begin: float, end: float | None,
              reason: str | None) -> None:
        for each in reversed(known):
            if abs(each.begin - begin) <= TOLERANCE:
                if each.end is None:
                    each.end = end
                return
        self._add(known, _Outage(begin, end, reason or UNKNOWN))

    @staticmethod
    def _add(known: list[_Outage], outage: _Outage) -> None:
        known.append(outage)
        del known[:-MOST]

    # -- other events ---------------------------------------------------------

    def servers(self, now: float, found: Mapping[str, str],
                stats: Mapping[str, Mapping[str, Any]],
                complete: bool) -> None:
        """Note which servers there are, and what they have lost.

        :param found: their names for people, by uid.
        :param stats: the figures of those that have said so, by uid.
        :param complete: whether these are all servers.
        """
        first, before = self._servers is None, self._servers or {}
        after: dict[str, tuple[str, dict[str, int] | None]] = {
            } if complete else dict(before)
        for uid, name in found.items():
            lost = losses_of(stats[uid]) if uid in stats else None
            known = before.get(uid)
            if known is None and not first:
                self._event(now, 'joined', name, '')
            if lost is not None and known is not None \
                    and known[1] is not None:
                for kind, count in lost.items():
                    more = count - known[1][kind]
                    if more > 0:
                        self._event(now, 'loss', name, f'{kind}: {more}')
            after[uid] = (name, lost if lost is not None
                          else known[1] if known else None)
        for uid in before.keys() - after.keys():
            name = before[uid][0]
            self._event(now, 'left', name, '')
            outages = self._outages.get(name)
            if outages and outages[-1].end is None:
                # It will not say that it has ended.
                outages[-1].end = now
        self._servers = after

    def _event(self, now: float, kind: str, name: str, what: str) -> None:
        self._events.append(
            {'kind': kind, 'from': now, 'to': now, 'by': [name],
             'text': what})
        del self._events[:-MOST]

    # -- what is shown --------------------------------------------------------

    def view(self) -> list[dict[str, Any]]:
        """What has happened, the latest first. ``to`` is ``None`` for an
        outage that has not ended."""
        return sorted(
            [*self._merged(), *self._events],
            key=lambda each: -each['from'])[:MOST]

    def _merged(self) -> Iterable[dict[str, Any]]:
        """The outages; those that overlap are one."""
        every = sorted(((each, name) for name, known in self._outages.items()
                        for each in known), key=lambda pair: pair[0].begin)
        merged: list[dict[str, Any]] = []
        for each, name in every:
            last = merged[-1] if merged else None
            if last is not None and (
                    last['to'] is None
                    or each.begin <= last['to'] + TOLERANCE):
                if last['to'] is not None:
                    last['to'] = None if each.end is None \
                        else max(last['to'], each.end)
                if name not in last['by']:
                    last['by'].append(name)
            else:
                merged.append({'kind': 'outage', 'from': each.begin,
                               'to': each.end, 'by': [name],
                               'text': each.reason})
        return merged
