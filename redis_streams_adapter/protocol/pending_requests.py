"""The requests that are under way, by id: which request does an answer belong
to, and which caller does it wake? Pure.

A request itself decides what it waits for, see
:mod:`redis_streams_adapter.protocol.requests`.
"""
from itertools import chain
from typing import Any, Dict, Iterable, List, Optional, Tuple

from .events import Acknowledged, Completed, Event
from .messages import BroadcastAck, BroadcastClientCount, \
    FetchSocketsResponse, Response
from .requests import AckCallback, ClientsRequest, LOST, NodesRequest, \
    Request

#: Seconds for which a callback waits for an answer. A client may be slow, and
#: may never answer. Without a limit, each such request would stay in memory.
#: Ten times the timeout of ``call``.
CALLBACK_LIFETIME = 600.0

#: The same if no other node is known, so that an answer is unlikely: twice the
#: timeout of ``call``.
CALLBACK_LIFETIME_ALONE = 120.0


class PendingRequests:
    """The requests of a node that are under way, by id.

    Not synchronised: its owner, the node, is called by one task at a time. A
    method that ends a request returns its waiter, for the owner to wake.
    """

    def __init__(self) -> None:
        self._requests: Dict[str, Request] = {}
        #: Those that are open-ended.
        self.open_ended: Dict[str, Request] = {}
        #: The ids of those in each namespace; no namespace without any.
        self._namespaces: Dict[str, Dict[str, None]] = {}
        #: The number of the last message of this process that was read back,
        #: by writer.
        self.read_back: Dict[bytes, int] = {}
        #: What early answers cause; see :meth:`take_early`.
        self._early: List[Event] = []

    def __len__(self) -> int:
        return len(self._requests)

    def open(self, request_id: str, request: Request,
             nodes: Iterable[str], now: float,
             others: Optional[int] = None,
             writer: Optional[bytes] = None) -> None:
        """Wait for answers.

        :param nodes: the uids of the nodes that are asked, as far as they are
                      known.
        :param others: how many nodes are asked, if only that is known;
                       ``None``: those of ``nodes``.
        :param writer: the id of the writer, if the request goes to the
                       stream: then it is open-ended.
        """
        # If no node is asked, none is missing.
        request.known = frozenset(() if others == 0 else nodes)
        request.others = others
        if request.waiter is None:
            request.deadline = now + (
                CALLBACK_LIFETIME if request.silent or request.doubt
                else CALLBACK_LIFETIME_ALONE)
        self._requests[request_id] = request
        self._namespaces.setdefault(
            request.namespace, {})[request_id] = None
        if writer is not None:
            request.writer = writer
            self.open_ended[request_id] = request

    @property
    def namespaces(self) -> List[str]:
        """The namespaces in which requests wait for answers."""
        return list(self._namespaces)

    def concern(self, namespace: str) -> bool:
        """Whether a request in this namespace waits for answers."""
        return namespace in self._namespaces

    def written(self, request_id: str, writer: bytes,
                number: int) -> Optional[Any]:
        """A request was put into the outbox.

        :param number: that of its entry.
        :return: the waiter to wake, if the request is complete.
        """
        request = self.open_ended.get(request_id)
        if request is None:
            return None
        request.place(number)
        if self.read_back.get(writer, 0) < number:
            return None
        return self._settle(request_id, request)

    def returned(self, writer: bytes, number: int) -> List[Any]:
        """An entry of this process was read back, and so were all before it.

        :return: the waiters to wake.
        """
        self.read_back[writer] = number
        if not self.open_ended:
            return []
        waiters = [self._settle(request_id, request)
                   for request_id, request in list(self.open_ended.items())
                   if request.writer == writer and request.number is not None
                   and request.number <= number]
        return [each for each in waiters if each is not None]

    def joined(self, namespace: str, uid: str, writer: bytes,
               python: bool = True) -> None:
        """A node has joined a namespace.

        :param writer: the id of this process's writer to the stream of that
                       namespace.
        :param python: whether it runs this package.
        """
        for request in self.open_ended.values():
            if request.namespace == namespace \
                    and (python or not request.python_only):
                request.join(uid, self.read_back.get(writer, 0))

    def lost(self, writer: bytes) -> None:
        """Part of the stream with the entries of this writer was lost: nodes
        may have joined unseen."""
        for request in self.open_ended.values():
            if request.writer == writer:
                request.doubt = LOST

    def _settle(self, request_id: str, request: Request) -> Optional[Any]:
        del self.open_ended[request_id]
        request.writer = None
        for uid, message in request.early:
            self._early.extend(self.respond(uid, message))
        request.early.clear()
        if request.waiter is None or request_id not in self._requests:
            # A node that was silent for too long may still answer. Or the
            # early answers were all.
            return None
        return self._close_if_complete(request_id, request)

    def overhear(self, uid: str, message: Response) -> List[Event]:
        """Take in an answer that came beside the stream. It waits while its
        request is open-ended: the answer may have overtaken the entries by
        which it is known who is asked."""
        request = self.open_ended.get(message.request_id)
        if request is None:
            return self.respond(uid, message)
        request.early.append((uid, message))
        return []

    def take_early(self) -> List[Event]:
        """What the answers have caused that waited for what was read back or
        written last."""
        early, self._early = self._early, []
        return early

    def respond(self, uid: str, message: Response) -> List[Event]:
        """Take in an answer to a request, by a node or one of its clients.
        """
        request_id = message.request_id
        events: List[Event] = []
        if isinstance(message, BroadcastAck):
            callback, waiter = self.acknowledged(
                request_id, uid, message.args)
            if callback is not None:
                events.append(Acknowledged(callback, message.args))
        elif isinstance(message, BroadcastClientCount):
            waiter = self.counted(request_id, uid, message.client_count)
        elif isinstance(message, FetchSocketsResponse):
            waiter = self._fetched(request_id, uid, message)
        else:
            waiter = self.answered(request_id, uid, message.response)
        if waiter is not None:
            events.append(Completed(waiter))
        return events

    def _fetched(self, request_id: str, uid: str,
                 message: FetchSocketsResponse) -> Optional[Any]:
        page = message.page
        if page is None:
            return self.answered(request_id, uid, message.sockets)
        request = self._requests.get(request_id)
        if not isinstance(request, NodesRequest):
            return None
        pages = request.turn(uid, page.number, message)
        if not pages or not page.last:
            return None
        if message.stats is not None:
            return self.answered(request_id, uid, message.stats)
        if message.counts is None:
            return self.answered(request_id, uid, tuple(chain.from_iterable(
                each.sockets for each in pages)))
        return self.answered(request_id, uid, dict(chain.from_iterable(
            each.counts or () for each in pages)))

    def answered(self, request_id: str, uid: str,
                 response: Any) -> Optional[Any]:
        """A node has answered.

        :return: the waiter to wake, if that was the last answer.
        """
        request = self._requests.get(request_id)
        if not isinstance(request, NodesRequest):
            return None
        request.answer(uid, response)
        return self._close_if_complete(request_id, request)

    def counted(self, request_id: str, uid: str,
                clients: int) -> Optional[Any]:
        """A node reports to how many clients it has sent the event.

        :return: the waiter to wake, if no answer is missing.
        """
        request = self._requests.get(request_id)
        if not isinstance(request, ClientsRequest):
            return None
        request.count(uid, clients)
        return self._close_if_complete(request_id, request)

    def acknowledged(self, request_id: str, uid: str, args: Tuple[Any, ...]
                     ) -> Tuple[Optional[AckCallback], Optional[Any]]:
        """A client has answered.

        :return: the callback to call with its arguments, and the waiter to
                 wake, if that was the last answer.
        """
        request = self._requests.get(request_id)
        if not isinstance(request, ClientsRequest):
            return None, None
        request.acknowledge(uid, args)
        return request.callback, self._close_if_complete(request_id, request)

    def withdraw(self, request_id: str) -> None:
        """Stop waiting for answers. If an exception strikes in the middle, the
        next call does the rest: the entry by which it finds the request is
        removed last."""
        request = self._requests.get(request_id)
        if request is not None:
            ids = self._namespaces.get(request.namespace, {})
            ids.pop(request_id, None)
            if not ids:
                self._namespaces.pop(request.namespace, None)
        self.open_ended.pop(request_id, None)
        self._requests.pop(request_id, None)

    def node_left(self, namespace: str, uid: str,
                  certain: bool = True) -> List[Any]:
        """Stop waiting for a node that is gone from a namespace.

        :param certain: whether it answers no request any more. If not, it was
                        only silent in the stream, and may still answer a
                        request for which only the number of nodes is known.
        :return: the waiters to wake.
        """
        waiters = []
        for request_id, request in list(self._requests.items()):
            if request.namespace == namespace and (
                    certain or request.others is None):
                request.lose(uid, certain)
                waiter = self._close_if_complete(request_id, request)
                if waiter is not None:
                    waiters.append(waiter)
        return waiters

    def expire(self, now: float) -> List[str]:
        """Forget callbacks that are overdue.

        :return: the ids of the requests that were forgotten.
        """
        overdue = [request_id
                   for request_id, request in self._requests.items()
                   if request.deadline is not None
                   and request.deadline < now]
        for request_id in overdue:
            self.withdraw(request_id)
        return overdue

    def _close_if_complete(self, request_id: str,
                           request: Request) -> Optional[Any]:
        if not request.complete or request.waiter is None \
                and request.has_stranger:
            return None
        self.withdraw(request_id)
        return request.waiter
