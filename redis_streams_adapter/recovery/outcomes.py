"""What became of clients that came: for their handlers, for the application,
and counted.

Written without a lock: an entry by the task of its client's connection; a
count by any of those tasks, and being late by one is no matter. Entries go
when their clients do; nothing of it survives the process.
"""
from typing import Dict, Optional, Tuple

from .local_clients import OwnClients
from .session import Outcome, REASONS

#: The counter of those who were recovered.
RECOVERED = 'recovered'


def counter_of(reason: str) -> str:
    """The counter of those who were not recovered, and why."""
    return 'not_recovered_' + reason.replace('-', '_')


class Outcomes:
    """See the module."""

    def __init__(self, clients: OwnClients) -> None:
        self._clients = clients
        #: Of those who are here and wanted to be recovered, by sid and
        #: namespace.
        self._outcomes: Dict[Tuple[str, str], Outcome] = {}
        #: How many were recovered, and how many not, by reason.
        self.counts = dict.fromkeys(
            (RECOVERED, *map(counter_of, REASONS)), 0)

    def note(self, sid: str, namespace: str, outcome: Outcome) -> None:
        """A client that wanted to be recovered is registered."""
        self._outcomes[sid, namespace] = outcome

    def of(self, sid: str, namespace: str) -> Optional[Outcome]:
        """What became of a client that is here; ``None`` where it did not
        want to be recovered."""
        return self._outcomes.get((sid, namespace))

    def forget(self, sid: str, namespace: str) -> None:
        """A client is gone."""
        self._outcomes.pop((sid, namespace), None)

    def tell(self, eio_sid: str, outcome: Outcome) -> None:
        """Tell the connect handler of a client, and count who is not
        recovered."""
        environ = self._clients.environ(eio_sid)
        if environ is not None:
            environ['socketio.recovery'] = outcome
        if outcome.reason is not None:
            self.counts[counter_of(outcome.reason)] += 1

    def settled(self, sid: str, namespace: str) -> bool:
        """A client has all that it missed: count it.

        :return: whether it had been away.
        """
        outcome = self.of(sid, namespace)
        recovered = outcome is not None and outcome.recovered
        if recovered:
            self.counts[RECOVERED] += 1
        return recovered
