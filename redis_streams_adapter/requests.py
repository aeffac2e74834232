"""Requests whose answers are still to come. Pure.

A callback that was given to ``emit`` waits here for the acknowledgements of
clients on other nodes. Each node says at once how many of its clients were
addressed (BROADCAST_CLIENT_COUNT), then passes on each acknowledgement
(BROADCAST_ACK); when every node has counted and every client has answered,
the request is forgotten.
"""
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

#: Seconds for which an answer is waited for. A client may take its time, and
#: may also never answer: without an end, each such request would stay for
#: good. Ten times the timeout of ``call``.
ACK_LIFETIME = 600.0

#: The same where no other node is known, so that nobody is likely to answer:
#: a little more than the timeout of ``call``.
ACK_LIFETIME_ALONE = 120.0

AckCallback = Callable[..., Any]


class _Request:
    __slots__ = ('namespace', 'callback', 'silent', 'outstanding',
                 'deadline')

    def __init__(self, namespace: str, callback: AckCallback,
                 silent: Set[str], deadline: float) -> None:
        self.namespace = namespace
        self.callback = callback
        #: Nodes that have not told their number of clients.
        self.silent = silent
        #: Clients that were counted, less those that have answered. Below
        #: zero where an answer overtakes the count of its node.
        self.outstanding = 0
        self.deadline = deadline

    @property
    def complete(self) -> bool:
        return not self.silent and self.outstanding <= 0


class AckRequests:
    """The callbacks that wait for clients of other nodes.

    Not synchronised: whoever owns it lets one task in at a time.
    """

    def __init__(self) -> None:
        self._requests: Dict[str, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def open(self, request_id: str, namespace: str, callback: AckCallback,
             nodes: Iterable[str], now: float) -> None:
        """Wait for answers.

        :param callback: what to call for each client that answers.
        :param nodes: the uids of the nodes that will tell a count.
        """
        silent = set(nodes)
        lifetime = ACK_LIFETIME if silent else ACK_LIFETIME_ALONE
        self._requests[request_id] = _Request(
            namespace, callback, silent, now + lifetime)

    def counted(self, request_id: str, uid: str, clients: int) -> None:
        """A node has told to how many clients it passed the event."""
        request = self._requests.get(request_id)
        if request is not None:
            request.silent.discard(uid)
            request.outstanding += clients
            self._close_if_complete(request_id, request)

    def answered(self, request_id: str) -> Optional[AckCallback]:
        """A client has answered.

        :return: what to call with its arguments, if anybody waits.
        """
        request = self._requests.get(request_id)
        if request is None:
            return None
        request.outstanding -= 1
        self._close_if_complete(request_id, request)
        return request.callback

    def forget(self, request_id: str) -> None:
        """Wait no longer."""
        self._requests.pop(request_id, None)

    def node_left(self, namespace: str, uid: str) -> None:
        """Wait no longer for a node that is gone from a namespace."""
        for request_id, request in list(self._requests.items()):
            if request.namespace == namespace and uid in request.silent:
                request.silent.discard(uid)
                self._close_if_complete(request_id, request)

    def expire(self, now: float) -> List[str]:
        """Forget what is overdue.

        :return: the ids of the requests that were forgotten.
        """
        overdue = [request_id
                   for request_id, request in self._requests.items()
                   if request.deadline < now]
        for request_id in overdue:
            del self._requests[request_id]
        return overdue

    def _close_if_complete(self, request_id: str,
                           request: _Request) -> None:
        if request.complete:
            self._requests.pop(request_id, None)
