"""How are all servers of the cluster?

The question goes to all servers in Python, whichever namespaces they serve,
but a request goes to the members of one namespace. So it is sent in as many
namespaces as it takes until every server is in one of them. Mostly that is
``/`` alone. A server that is in two of them answers twice, and counts once.

It is a FETCH_SOCKETS with the field ``stats``, for the clients in a room in
which there are none: a server that does not know the field, in Node.js or of
an older version, answers at once that it has no such clients. It is known
then that it is there, and nothing else of it.
"""
import time
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Mapping, Sequence

from ..errors import ClusterTimeoutError
from ..nodes import JAVASCRIPT, NodeStats, PYTHON
from ..protocol.messages import FetchSockets, Target
from ..protocol.requests import NodesRequest, UNKNOWN_MEMBERS
from ..protocol.server_stats import RULES
from ..runtime.runtime import Runtime
from .requester import Requester


class Survey:
    """One such question.

    :param own: the state of this server.
    """

    def __init__(self, runtime: Runtime[Requester],
                 own: Mapping[str, Any]) -> None:
        self._runtime = runtime
        self._own = own

    def ask(self, timeout: float, new_id: Callable[[], str]
            ) -> List[NodeStats]:
        """Ask, and wait for the answers.

        :param new_id: makes the id of a request.
        :raises ClusterTimeoutError: not all have answered.
        """
        runtime, deadline = self._runtime, time.monotonic() + timeout
        if not runtime.requester.members.everywhere(timeout):
            raise ClusterTimeoutError(
                self._found(()), reason=UNKNOWN_MEMBERS)
        with runtime.core:
            groups = runtime.node.languages.groups()
        requests: List[NodesRequest] = []
        with ExitStack() as stack:
            for namespace in groups:
                request = self._send(namespace, deadline, new_id(), stack)
                requests.append(request)
            for request in requests:
                if request.doubt is None and not request.complete:
                    request.waiter.wait(
                        max(0.0, deadline - time.monotonic()))
        found = self._found(requests)
        open_ones = [each for each in requests if not each.complete]
        if open_ones:
            heard = {uid for each in requests for uid in each.answers}
            missing = {uid for each in open_ones for uid in each.missing}
            missing -= heard
            raise ClusterTimeoutError(
                found, sorted(missing), len(heard),
                len(heard) + len(missing),
                next((each.obstacle for each in open_ones
                      if each.obstacle), None))
        return found

    def _send(self, namespace: str, deadline: float, request_id: str,
              stack: ExitStack) -> NodesRequest:
        """Send the question in one namespace.

        :param stack: gets what withdraws it.
        """
        requester = self._runtime.requester
        request = NodesRequest(namespace, self._runtime.engine.event())
        request.python_only = True
        send = requester.request(
            request_id, namespace,
            FetchSockets(Target((request_id,)), request_id, True, stats=True),
            max(0.0, deadline - time.monotonic()))
        # Twice: an exception may strike the first call.
        stack.callback(requester.withdraw, request_id)
        stack.callback(requester.withdraw, request_id)
        if requester.expect(request_id, request,
                            max(0.0, deadline - time.monotonic())) \
                and not request.complete:
            send()
        return request

    def _found(self, requests: Sequence[NodesRequest]) -> List[NodeStats]:
        """What is known now: of this server, of those that have answered, and
        of those in Node.js."""
        runtime = self._runtime
        answers: Dict[str, Any] = {}
        for request in requests:
            for uid, answer in request.answers.items():
                if uid not in answers or isinstance(answer, Mapping):
                    answers[uid] = answer
        now = time.monotonic()
        with runtime.core:
            known = runtime.node.languages.all()
        found = [] if runtime.state.observes else [
            _made(runtime.uid, PYTHON, 0.0, self._own)]
        for uid in sorted(known.keys() | answers.keys()):
            language, seen = known.get(uid, (None, now))
            if uid in answers or language == JAVASCRIPT:
                found.append(_made(uid, language or PYTHON,
                                   max(0.0, now - seen), answers.get(uid)))
        return found


def _made(uid: str, language: str, last_seen: float,
          answer: Any) -> NodeStats:
    """An entry of the result.

    :param answer: the state of the server; anything else: it has not said how
                   it is.
    """
    values = answer if isinstance(answer, Mapping) else {}
    return NodeStats(uid, language, last_seen,
                     *(values.get(name) for name in RULES))
