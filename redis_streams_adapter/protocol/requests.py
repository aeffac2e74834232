"""Requests, and which of their answers are missing. Pure.

There are two kinds. In the first, each *node* answers once: a response to
FETCH_SOCKETS or to SERVER_SIDE_EMIT. In the second, *clients* acknowledge an
event. Each node reports at once how many of its clients were addressed
(BROADCAST_CLIENT_COUNT), and passes on each acknowledgement (BROADCAST_ACK).

A request over the stream asks the nodes that had joined before its position in
the stream. They are not known before this process has read its entry back. The
request is *open-ended* until then: a node that joins meanwhile is added, and
the request cannot be complete. All entries of one stream have one order, so
the answer is exact. An answer that came beside the stream, over another
connection, waits for that: it may have overtaken the entries of its node.

A request is complete when all have answered. A node that leaves or falls
silent is no longer waited for, nor are its clients. The caller that waits ends
the wait at its timeout, and withdraws the request. A request with a callback
has no such caller, and expires.

=================  ========================================================
``waiter``         woken when the request is complete; its owner withdraws
                   the request
``callback``       called for each client that answers; expires
=================  ========================================================
"""
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, \
    NamedTuple, Optional, Set, Tuple

AckCallback = Callable[..., Any]


class Asked(NamedTuple):
    """The nodes that have to answer, if their number is known.

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

    :param namespace: the namespace of the nodes that are asked.
    :param waiter: the object that wakes the caller; ``None``: no caller waits.
    """

    def __init__(self, namespace: str, waiter: Any = None) -> None:
        self.namespace = namespace
        self.waiter = waiter
        #: Whether only servers that run this package are asked: no server in
        #: Node.js is waited for. Set before it is opened.
        self.python_only = False
        #: The uids of the nodes that are asked, as far as they are known.
        self.known: FrozenSet[str] = frozenset()
        #: How many nodes are asked, if only that is known; ``None``: those
        #: that are known by name.
        self.others: Optional[int] = None
        #: The nodes that have answered, or are no longer waited for.
        self._heard: Set[str] = set()
        #: Those of which also the clients are no longer waited for.
        self._gone: Set[str] = set()
        #: The writer of the request's entry, which has to be read back before
        #: it is known which nodes are asked; ``None``: that is known.
        self.writer: Optional[bytes] = None
        #: The number of that entry; ``None``: it is not written yet.
        self.number: Optional[int] = None
        #: The nodes that have joined since the request was opened: the number
        #: of the last entry of this process that had been read back then.
        self._joined: Dict[str, int] = {}
        #: The answers that came beside the stream while the request was
        #: open-ended: the uid of the node, and its answer.
        self.early: List[Tuple[str, Any]] = []
        #: Why it cannot be known which nodes are asked; ``None``: it can.
        self.doubt: Optional[str] = None
        #: When it expires; ``None``: never.
        self.deadline: Optional[float] = None

    @property
    def silent(self) -> int:
        """How many nodes have not answered at all yet."""
        if self.others is None:
            return len(self.known - self._heard)
        return max(0, self.others - len(self._heard))

    @property
    def settled(self) -> bool:
        """Whether it is known which nodes are asked."""
        return self.writer is None and self.doubt is None

    @property
    def complete(self) -> bool:
        """Whether all have answered."""
        return self.settled and not self.silent

    @property
    def obstacle(self) -> Optional[str]:
        """Why it is not known which nodes are asked; ``None``: it is
        known."""
        if self.doubt is not None:
            return self.doubt
        return None if self.writer is None else NOT_READ_BACK

    def join(self, uid: str, number: int) -> None:
        """A node has joined while the request is open-ended.

        :param number: that of the last entry of this process that was read
                       back.
        """
        if uid not in self.known or uid in self._heard:
            self._joined[uid] = number
            self.known |= {uid}
            self._heard.discard(uid)
            self._gone.discard(uid)

    def place(self, number: int) -> None:
        """The request is the entry of this process with this number. A node
        that has joined after that was read back is not asked."""
        self.number = number
        for uid, joined in self._joined.items():
            if joined >= number:
                self.lose(uid)
        self._joined.clear()

    @property
    def missing(self) -> List[str]:
        """The known uids of the nodes that have not answered, or whose
        clients have not."""
        return sorted(self.known - self._heard)

    @property
    def progress(self) -> Tuple[int, int]:
        """How many answers have come, and how many are expected."""
        raise NotImplementedError

    @property
    def has_stranger(self) -> bool:
        """Whether a node has answered that was not known to be asked."""
        return False

    def hear(self, uid: str) -> bool:
        """A node answers.

        :return: whether it is its first answer, and was waited for.
        """
        due = self.silent
        self._heard.add(uid)
        return self.silent < due

    def lose(self, uid: str, certain: bool = True) -> None:
        """Stop waiting for a node.

        :param certain: whether no clients of it are waited for, either, if it
                        counts them after that: over PUB/SUB, the goodbye of a
                        node may overtake its count.
        """
        if certain:
            self._gone.add(uid)
        if self.others is None or uid in self.known:
            # A node that was not counted must not stand for one that was.
            self._heard.add(uid)


class NodesRequest(Request):
    """Each node answers once."""

    def __init__(self, namespace: str, waiter: Any = None) -> None:
        super().__init__(namespace, waiter)
        #: The answers so far, by node.
        self.answers: Dict[str, Any] = {}
        #: The first pages of answers that are not complete yet, by node.
        self._pages: Dict[str, List[Any]] = {}

    @property
    def progress(self) -> Tuple[int, int]:
        return len(self.answers), len(self.answers) + self.silent

    def answer(self, uid: str, response: Any) -> None:
        """A node answers. A second answer, and one of a node that is not
        asked, are ignored."""
        if self.hear(uid):
            self.answers[uid] = response

    def turn(self, uid: str, number: int, page: Any) -> List[Any]:
        """A page of a node's answer has come. A page that has come before, and
        one after a page that is missing, are ignored.

        :param number: that of the page, from 0 on.
        :return: all pages so far; none if this one is ignored.
        """
        pages = self._pages.setdefault(uid, [])
        if uid in self._heard or number != len(pages):
            return []
        pages.append(page)
        return pages


class ClientsRequest(Request):
    """Each client answers once.

    :param callback: called with each acknowledgement, which is not kept then.
    """

    def __init__(self, namespace: str, waiter: Any = None,
                 callback: Optional[AckCallback] = None) -> None:
        super().__init__(namespace, waiter)
        self.callback = callback
        #: The acknowledgements so far, if there is no callback.
        self.responses: List[Any] = []
        #: By node: the clients that were counted, less those that have
        #: answered. Below zero if an answer overtakes the count.
        self._outstanding: Dict[str, int] = {}

    @property
    def complete(self) -> bool:
        # Not their sum: a late answer of a client whose node was lost must
        # not stand for that of another client.
        return self.settled and not self.silent and all(
            clients <= 0 for clients in self._outstanding.values())

    @property
    def missing(self) -> List[str]:
        return sorted({*super().missing} | {
            uid for uid, clients in self._outstanding.items() if clients > 0})

    @property
    def progress(self) -> Tuple[int, int]:
        # A node that has not counted its clients is taken to have one.
        due = self.silent + sum(
            clients for clients in self._outstanding.values() if clients > 0)
        return len(self.responses), len(self.responses) + due

    def count_own(self, uid: str, clients: int) -> None:
        """This many local clients are addressed. The local node is not one of
        those that are asked."""
        self._outstanding[uid] = self._outstanding.get(uid, 0) + clients

    def count(self, uid: str, clients: int) -> None:
        """A node has sent the event to this many clients."""
        self.hear(uid)
        if uid not in self._gone:
            self._outstanding[uid] = self._outstanding.get(uid, 0) + clients

    @property
    def has_stranger(self) -> bool:
        """Whether a node has answered that was not known to be asked: there
        may be more of its clients, and more such nodes."""
        return self.others is None and not self.known.issuperset(
            self._outstanding)

    def acknowledge(self, uid: str, args: Tuple[Any, ...]) -> None:
        """A client of a node answers."""
        self._outstanding[uid] = self._outstanding.get(uid, 0) - 1
        if self.callback is None:
            self.responses.append(
                args[0] if len(args) == 1 else args or None)

    def lose(self, uid: str, certain: bool = True) -> None:
        super().lose(uid, certain)
        self._outstanding.pop(uid, None)
