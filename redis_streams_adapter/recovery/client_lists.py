"""Lists of clients that many waiting events share.

In an outage very many events may wait for the stream, most of them for the
same clients. As long as the clients of a target stay the same, its events
share one list. A list that may be shared is never changed: it is replaced,
in each event, by one new list.

Everything here is used under the order lock.
"""
from typing import Any, Dict, List, Tuple

from ..runtime.delivery import Client

#: For how many targets lists are shared.
MAX_SHARED = 1000


class SharedLists:
    """One list of clients for all events to a target. If an exception
    strikes, a list is shared or not; both are right."""

    def __init__(self) -> None:
        #: By namespace and target; emptied when no event waits.
        self.by_target: Dict[Any, List[Client]] = {}

    def share(self, target: Any, clients: List[Client]) -> List[Client]:
        """The list to keep for an event.

        :param target: the namespace and the rooms of the event.
        """
        known = self.by_target.get(target)
        if known == clients:
            return known
        if known is not None or len(self.by_target) < MAX_SHARED:
            self.by_target[target] = clients
        return clients


class Without:
    """Takes a client out of lists, of each once."""

    def __init__(self, sid: str) -> None:
        self._sid = sid
        #: By identity; with the list, so that its identity is not reused.
        self._known: Dict[int, Tuple[List[Client], List[Client],
                                     List[Client]]] = {}

    def __call__(self, clients: List[Client]
                 ) -> Tuple[List[Client], List[Client]]:
        """The other clients, and the entries of this one."""
        known = self._known.get(id(clients))
        if known is None:
            leaving = [each for each in clients if each[0] == self._sid]
            kept = [each for each in clients if each[0] != self._sid] \
                if leaving else clients
            known = self._known[id(clients)] = clients, kept, leaving
        return known[1:]


class With:
    """Adds a client to lists, to each once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: Dict[int, Tuple[List[Client], List[Client]]] = {}

    def __call__(self, clients: List[Client]) -> List[Client]:
        """The clients and this one."""
        known = self._known.get(id(clients))
        if known is None:
            known = self._known[id(clients)] = \
                clients, [*clients, self._client]
        return known[1]
