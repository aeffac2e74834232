"""Requests whose answers are still to come. Pure.

There are two kinds, by who answers. *Nodes* answer once each: a response to
FETCH_SOCKETS or to SERVER_SIDE_EMIT. *Clients* acknowledge an event: then
each node says at once how many of its clients were addressed
(BROADCAST_CLIENT_COUNT), and passes on each acknowledgement (BROADCAST_ACK).

Over the stream the nodes that are asked are those that had joined when the
request itself stands in the stream. Nobody knows that before this process has
read its own entry back. So the request is *open-ended* until then: a node
that joins meanwhile is added, and the request cannot be over. Everything in
one stream has one order, so the answer is exact.

A request is over when all have answered; a node that leaves, or falls silent,
is waited for no longer, and its clients neither. Who waits ends the wait at
its timeout and withdraws the request; a callback, for which nobody waits,
lapses by itself.

=================  ========================================================
``waiter``         whom to wake when it is over; withdrawn by its owner
``callback``       whom to call for each client that answers; lapses
=================  ========================================================
"""
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, \
    NamedTuple, Optional, Set, Tuple

AckCallback = Callable[..., Any]


class Asked(NamedTuple):
    """Who has to answer, where it is known how many.

    :param others: how many nodes.
    :param known: the uids of those of them that are known by name.
    """

    others: int
    known: Iterable[str] = ()


#: No other node is asked.
NOBODY = Asked(0)

#: Why a request has not ended, for the text of the error.
NOT_READ_BACK = 'the request has not come through Redis'
UNKNOWN_MEMBERS = 'this server does not know all members of the namespace yet'
LOST = 'part of the stream was lost before this server had read it'


class Request:
    """What one call waits for.

    :param namespace: the namespace of those who are asked.
    :param waiter: whatever the caller can be woken by.
    """

    def __init__(self, namespace: str, waiter: Any = None) -> None:
        self.namespace = namespace
        self.waiter = waiter
        #: The nodes of those asked that are known by name.
        self.known: FrozenSet[str] = frozenset()
        #: How many are asked, where that is known rather than who they are.
        self.others: Optional[int] = None
        #: Who has said something, or is waited for no longer.
        self._heard: Set[str] = set()
        #: The writer whose entry has to be read back before it is known who
        #: is asked; ``None``: that is known.
        self.writer: Optional[bytes] = None
        #: The number of that entry; ``None``: it is not written yet.
        self.number: Optional[int] = None
        #: Who has joined since the request was opened: the number of the
        #: last own entry that had been read back then.
        self._joined: Dict[str, int] = {}
        #: Why it cannot be known who is asked, if it cannot.
        self.doubt: Optional[str] = None
        #: When it lapses; ``None``: never by itself.
        self.deadline: Optional[float] = None

    @property
    def silent(self) -> int:
        """How many nodes have not said anything yet."""
        if self.others is None:
            return len(self.known - self._heard)
        return max(0, self.others - len(self._heard))

    @property
    def settled(self) -> bool:
        """Whether it is known who is asked."""
        return self.writer is None and self.doubt is None

    @property
    def complete(self) -> bool:
        """Whether all have answered."""
        return self.settled and not self.silent

    @property
    def obstacle(self) -> Optional[str]:
        """Why it is not known who is asked; ``None``: it is."""
        if self.doubt is not None:
            return self.doubt
        return None if self.writer is None else NOT_READ_BACK

    def join(self, uid: str, number: int) -> None:
        """A node has joined while the request is open-ended.

        :param number: that of the last own entry that was read back.
        """
        if uid not in self.known or uid in self._heard:
            self._joined[uid] = number
            self.known |= {uid}
            self._heard.discard(uid)

    def place(self, number: int) -> None:
        """The request is the own entry of this number: who has joined after
        that was read back is not asked."""
        self.number = number
        for uid, joined in self._joined.items():
            if joined >= number:
                self.lose(uid)
        self._joined.clear()

    @property
    def missing(self) -> List[str]:
        """The uids of the nodes that have not answered, or whose clients
        have not, as far as they are known."""
        return sorted(self.known - self._heard)

    @property
    def progress(self) -> Tuple[int, int]:
        """How many answers have come, of how many."""
        raise NotImplementedError

    @property
    def has_stranger(self) -> bool:
        """Whether a node takes part of which it was not known that it is
        asked."""
        return False

    def hear(self, uid: str) -> bool:
        """A node says something.

        :return: whether it is the first thing, and was waited for.
        """
        due = self.silent
        self._heard.add(uid)
        return self.silent < due

    def lose(self, uid: str) -> None:
        """Wait no longer for a node."""
        if self.others is None or uid in self.known:
            # One that was not counted does not stand for one that was.
            self._heard.add(uid)


class NodesRequest(Request):
    """Each node answers once."""

    def __init__(self, namespace: str, waiter: Any = None) -> None:
        super().__init__(namespace, waiter)
        #: What has come so far, by node.
        self.answers: Dict[str, Any] = {}

    @property
    def progress(self) -> Tuple[int, int]:
        return len(self.answers), len(self.answers) + self.silent

    def answer(self, uid: str, response: Any) -> None:
        """A node answers. One that does so twice, or is not known, is of no
        account."""
        if self.hear(uid):
            self.answers[uid] = response


class ClientsRequest(Request):
    """Each client answers once.

    :param callback: what to call with each acknowledgement, instead of
                     keeping it.
    """

    def __init__(self, namespace: str, waiter: Any = None,
                 callback: Optional[AckCallback] = None) -> None:
        super().__init__(namespace, waiter)
        self.callback = callback
        #: What has come so far, where there is no callback.
        self.responses: List[Any] = []
        #: By node: clients that were counted, less those that have answered.
        #: Below zero where an answer overtakes the count.
        self._outstanding: Dict[str, int] = {}

    @property
    def complete(self) -> bool:
        # Not their sum: a late answer of a client whose node was lost does
        # not stand for another's.
        return self.settled and not self.silent and all(
            clients <= 0 for clients in self._outstanding.values())

    @property
    def missing(self) -> List[str]:
        return sorted({*super().missing} | {
            uid for uid, clients in self._outstanding.items() if clients > 0})

    @property
    def progress(self) -> Tuple[int, int]:
        # A node that has not even counted has one client at least, for all
        # that is known.
        due = self.silent + sum(
            clients for clients in self._outstanding.values() if clients > 0)
        return len(self.responses), len(self.responses) + due

    def count_own(self, uid: str, clients: int) -> None:
        """So many clients of the node that asks are addressed; it is not
        one of those that are asked."""
        self._outstanding[uid] = self._outstanding.get(uid, 0) + clients

    def count(self, uid: str, clients: int) -> None:
        """A node has passed the event on to so many clients."""
        self.hear(uid)
        self._outstanding[uid] = self._outstanding.get(uid, 0) + clients

    @property
    def has_stranger(self) -> bool:
        """Whether a node has said something of which it was not known that
        it is asked: there may be more of its clients, and of such nodes."""
        return self.others is None and not self.known.issuperset(
            self._outstanding)

    def acknowledge(self, uid: str, args: Tuple[Any, ...]) -> None:
        """A client of a node answers."""
        self._outstanding[uid] = self._outstanding.get(uid, 0) - 1
        if self.callback is None:
            self.responses.append(
                args[0] if len(args) == 1 else args or None)

    def lose(self, uid: str) -> None:
        super().lose(uid)
        self._outstanding.pop(uid, None)
