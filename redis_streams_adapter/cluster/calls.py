"""Calls to all servers of the cluster: requests and commands.

A request or a command is one message to all other nodes of a namespace; this
node carries it out for the local clients itself. Requests wait for the
answers, which return over the stream or PUB/SUB;
:mod:`redis_streams_adapter.protocol.pending_requests` finds the request of
each answer. :mod:`redis_streams_adapter.cluster.incoming` answers the requests
of other nodes. The wire format is that of the npm package
``socket.io-adapter`` 2.5 (``dist/cluster-adapter.js``).

Every wait ends: when all nodes have answered, when those that have not are
gone, or at its timeout, even while Redis is away.

The parameters and the errors of each call are those of the manager's call of
the same name.
"""
import os
import time
from collections import Counter
from functools import partial
from itertools import chain
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, \
    TypeVar

from ..protocol.addressing import arguments, rooms as as_rooms, \
    target as make_target
from .outgoing import Outgoing
from ..errors import ClusterTimeoutError
from ..nodes import NodeInfo, NodeStats
from ..protocol.messages import Broadcast, BroadcastAck, DisconnectSockets, \
    EVERYONE, FetchSockets, Message, Request as RequestMessage, Room, \
    ServerSideEmit, SocketsJoin, SocketsLeave, Target
from .incoming import Incoming
from .remote_socket import Manager, RemoteSocket
from ..protocol.requests import ClientsRequest, NodesRequest, Request, \
    UNKNOWN_MEMBERS
from ..protocol.values import check_finite
from ..runtime.lifecycle import Lifecycle
from ..runtime.runtime import Runtime
from .requester import Requester
from .server_side import check_name, ServerSideHandlers
from .local_stats import LocalStats
from .survey import Survey

#: How long a call waits for answers by default, in seconds: Node's
#: ``requestsTimeout``.
TIMEOUT = 5.0

#: How many clients are taken out of an answer before other tasks may run.
AT_ONCE = 500

_Handler = TypeVar('_Handler', bound=Callable[..., Any])


class Cluster:
    """Requests and commands to all nodes.

    :param manager: carries out what is called on the clients that are found.
    :param outgoing: sends messages, also to the local clients.
    :param incoming: describes the local clients, and carries out commands.
    :param stats: says how this server is.
    """

    def __init__(self, manager: Manager, lifecycle: Lifecycle[Requester],
                 outgoing: Outgoing, incoming: Incoming,
                 handlers: ServerSideHandlers, stats: LocalStats) -> None:
        self._manager = manager
        self._lifecycle = lifecycle
        self._live = lifecycle.runtime
        self._outgoing = outgoing
        self._incoming = incoming
        self._handlers = handlers
        self._stats = stats

    # -- the nodes --------------------------------------------------------

    def server_count(self, namespace: str) -> int:
        """How many nodes are members of a namespace."""
        runtime = self._knowing()
        count = runtime.requester.count(namespace, TIMEOUT)
        if count is None:
            raise ClusterTimeoutError(reason=UNKNOWN_MEMBERS)
        return count

    def nodes(self, namespace: str) -> List[NodeInfo]:
        """The members of a namespace, this node first."""
        runtime = self._knowing()
        found = runtime.requester.nodes(namespace, TIMEOUT)
        if found is None:
            raise ClusterTimeoutError(reason=UNKNOWN_MEMBERS)
        return found

    def cluster_stats(self, timeout: float) -> List[NodeStats]:
        """The state of every server of the cluster."""
        runtime = self._member(asks=True)
        own: Dict[str, Any] = {}
        for _ in self._stats.collect(runtime, own):
            runtime.engine.pause()
        return Survey(runtime, own).ask(timeout, new_id)

    # -- clients ----------------------------------------------------------

    def fetch_sockets(self, namespace: str, to: Any, skip_sid: Any,
                      local: bool, timeout: float) -> List[RemoteSocket]:
        """Find clients, wherever they are connected."""
        if is_nobody(to):
            return []
        target = make_target(to, skip_sid)
        runtime = self._member(asks=not local)
        found = self._find_locally(runtime, namespace, target, not local)
        if local:
            return found
        request = NodesRequest(namespace, runtime.engine.event())
        self._ask(runtime, request, timeout,
                  lambda request_id: FetchSockets(target, request_id, True))
        self._take_sockets(runtime, request, found)
        if not request.complete:
            raise not_complete(request, found)
        return found

    def _find_locally(self, runtime: Runtime[Requester], namespace: str,
                      target: Target, pauses: bool) -> List[RemoteSocket]:
        """Find local clients.

        :param pauses: let other tasks run from time to time.
        """
        found: List[RemoteSocket] = []
        for each in self._incoming.describe(runtime, namespace, target):
            if each is not None:
                found.append(RemoteSocket(
                    self._manager, namespace, runtime.uid, each))
            elif pauses:
                runtime.engine.pause()
        return found

    def _take_sockets(self, runtime: Runtime[Requester],
                      request: NodesRequest,
                      found: List[RemoteSocket]) -> None:
        """Take the clients out of the answers of other nodes.

        :param found: where to put them.
        """
        for uid, sockets in request.answers.items():
            if isinstance(sockets, dict):
                # The counts of a server in Python.
                continue
            for number, each in enumerate(sockets):
                found.append(RemoteSocket(
                    self._manager, request.namespace, uid, each))
                if number % AT_ONCE == AT_ONCE - 1:
                    runtime.engine.pause()

    def all_rooms(self, namespace: str, timeout: float) -> Dict[Room, int]:
        """How many clients are in each room."""
        runtime = self._member(asks=True)
        local: Dict[Room, int] = {}
        for _ in self._incoming.count_rooms(runtime, namespace, local):
            runtime.engine.pause()
        request = NodesRequest(namespace, runtime.engine.event())
        self._ask(runtime, request, timeout, lambda request_id: FetchSockets(
            EVERYONE, request_id, True, counts=True))
        counts = Counter(local)
        sids: List[str] = []
        for answer in request.answers.values():
            if isinstance(answer, dict):
                counts.update(answer)
            else:
                # A server in Node.js, or of an older version.
                counts.update(chain.from_iterable(
                    each['rooms'] for each in answer))
                sids.extend(each['id'] for each in answer)
        for sid in sids:
            del counts[sid]
        if not request.complete:
            found = self._find_locally(runtime, namespace, EVERYONE, True)
            self._take_sockets(runtime, request, found)
            raise not_complete(request, found)
        return dict(counts)

    def sockets_join(self, rooms: Any, to: Any, skip_sid: Any,
                     namespace: str) -> None:
        """Make clients enter rooms, wherever they are connected."""
        names = as_rooms(rooms)
        if names and not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, SocketsJoin(target, names))

    def sockets_leave(self, rooms: Any, to: Any, skip_sid: Any,
                      namespace: str) -> None:
        """Make clients leave rooms, wherever they are connected."""
        names = as_rooms(rooms)
        if names and not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, SocketsLeave(target, names))

    def disconnect_sockets(self, to: Any, skip_sid: Any, namespace: str,
                           close: bool) -> None:
        """Disconnect clients, wherever they are connected."""
        if not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, DisconnectSockets(target, close))

    def _command(self, namespace: str, message: Message) -> None:
        self._outgoing.command(
            namespace, message,
            lambda: self._incoming.obey(namespace, message))

    # -- acknowledgements -------------------------------------------------

    def emit_with_callback(self, namespace: str, args: Tuple[Any, ...],
                           target: Target, callback: Callable[..., Any],
                           local: bool) -> None:
        """Emit an event to clients, wherever they are connected; the callback
        is called with each of their acknowledgements."""
        lifecycle, outgoing = self._lifecycle, self._outgoing
        if lifecycle.write_only or (lifecycle.server is None
                                    and not lifecycle.runtime().member):
            raise RuntimeError('Callbacks can only be issued from the '
                               'context of a server.')
        # A copy: the application may use the same callback twice.
        callback = partial(callback)
        if not local and not outgoing.is_one_local_client(namespace, target):
            self._ask_clients(namespace, args, target, callback)
        elif outgoing.local is not None:
            check_finite(args)
            outgoing.ask(namespace, args,
                         outgoing.recipients(namespace, target), callback)

    def _ask_clients(self, namespace: str, args: Tuple[Any, ...],
                     target: Target, callback: Callable[..., Any]) -> None:
        runtime = self._live()
        request_id = new_id()
        send = runtime.requester.request(
            request_id, namespace, Broadcast(args, target, request_id))
        clients = self._outgoing.recipients(namespace, target)
        pending, sent = None, False
        try:
            runtime.requester.expect(request_id, ClientsRequest(
                namespace, callback=callback))
            pending = self._outgoing.ask(
                namespace, args, clients, callback, send)
            sent = True
        finally:
            if not sent:
                runtime.requester.withdraw(request_id)
        if pending is not None:
            self._outgoing.settle(runtime, namespace, pending)

    def emit_with_ack(self, event: str, data: Any, to: Any, skip_sid: Any,
                      namespace: str, timeout: float) -> List[Any]:
        """Emit an event to clients, wherever they are connected, and wait
        for their acknowledgements."""
        if is_nobody(to):
            return []
        args, target = arguments(event, data), make_target(to, skip_sid)
        runtime = self._member(asks=True)
        server = self._lifecycle.server
        if server is not None and not server.async_handlers:
            # As call() of python-socketio: a handler would block the
            # acknowledgement of the client that it serves.
            raise RuntimeError(
                'Cannot use emit_with_ack() when async_handlers is False.')
        deadline = time.monotonic() + timeout
        request_id = new_id()
        send = runtime.requester.request(
            request_id, namespace, Broadcast(args, target, request_id),
            timeout)
        clients = self._outgoing.recipients(namespace, target)
        alone = self._outgoing.is_one_local_client(namespace, target)
        request = ClientsRequest(namespace, runtime.engine.event())
        request.count_own(runtime.uid, len(clients))

        def acknowledge(*answer: Any) -> None:
            runtime.requester.answer(BroadcastAck(request_id, answer))

        def withdraw() -> None:
            runtime.requester.withdraw(request_id)
            self._outgoing.forget_acks(clients, acknowledge)

        try:
            # Before anything is sent: the event is delivered to no one if it
            # is not known which servers have to acknowledge it.
            asked = runtime.requester.expect(
                request_id, request, deadline - time.monotonic(), alone)
            if asked and not request.complete:
                self._outgoing.ask(
                    namespace, args, clients, acknowledge,
                    None if alone else send)
            if asked and not request.complete:
                request.waiter.wait(max(0.0, deadline - time.monotonic()))
        finally:
            try:
                withdraw()
            finally:
                # An exception may strike the first call.
                withdraw()
        if not request.complete:
            raise not_complete(request, request.responses)
        return request.responses

    # -- between servers --------------------------------------------------

    def on_server_side(self, event: str, handler: Optional[_Handler],
                       namespace: str) -> Any:
        """Handle an event of other servers; also as a decorator."""
        check_name(event)

        def register(handler: _Handler) -> _Handler:
            self._handlers.add(namespace, event, handler)
            runtime = self._lifecycle.current
            if runtime is not None and runtime.member:
                runtime.membership.serve()
            return handler

        return register if handler is None else register(handler)

    def server_side_emit(self, event: str, args: Tuple[Any, ...],
                         namespace: str) -> None:
        """Send an event to every other server."""
        check_name(event)
        self._outgoing.command(
            namespace or '/', ServerSideEmit((event, *args)))

    def server_side_call(self, event: str, args: Tuple[Any, ...],
                         namespace: str, timeout: float) -> List[Any]:
        """Send an event to every other server, and wait for responses."""
        check_name(event)
        runtime = self._member(asks=True)
        request = NodesRequest(namespace, runtime.engine.event())
        self._ask(
            runtime, request, timeout,
            lambda request_id: ServerSideEmit((event, *args), request_id))
        responses = list(request.answers.values())
        if not request.complete:
            raise not_complete(request, responses)
        return responses

    # -- requests ---------------------------------------------------------

    def _member(self, asks: bool) -> Runtime[Requester]:
        """The runtime, as a member of the cluster.

        :param asks: whether the call waits for answers.
        """
        lifecycle = self._lifecycle
        if lifecycle.write_only:
            raise RuntimeError('a write-only manager cannot send requests')
        runtime = lifecycle.runtime()
        if asks:
            runtime.tasks.refuse_on_own_task()
        if not runtime.member:
            lifecycle.start()
        return lifecycle.runtime()

    def _knowing(self) -> Runtime[Requester]:
        """The runtime, as a member that knows the other members."""
        if self._lifecycle.write_only:
            raise RuntimeError('a write-only manager does not know the nodes')
        return self._member(asks=False)

    @staticmethod
    def _ask(runtime: Runtime[Requester], request: Request, timeout: float,
             make: Callable[[str], RequestMessage]) -> None:
        """Ask all other nodes, and wait for their answers."""
        deadline = time.monotonic() + timeout
        request_id = new_id()
        send = runtime.requester.request(
            request_id, request.namespace, make(request_id), timeout)
        try:
            # This may take time, too, at worst all of it.
            asked = runtime.requester.expect(
                request_id, request, deadline - time.monotonic())
            if asked and not request.complete:
                send()
                request.waiter.wait(max(0.0, deadline - time.monotonic()))
        finally:
            try:
                runtime.requester.withdraw(request_id)
            finally:
                # An exception may strike the first call.
                runtime.requester.withdraw(request_id)


def not_complete(request: Request,
                 responses: Sequence[Any]) -> ClusterTimeoutError:
    """The error of a call that timed out."""
    return ClusterTimeoutError(responses, request.missing, *request.progress,
                               reason=request.obstacle)


def new_id() -> str:
    """An id for a request, in the format of Node.js."""
    return os.urandom(8).hex()


def is_nobody(to: Any) -> bool:
    """Whether the target is an empty list, which means no client. On the wire
    it would mean every client."""
    return to is not None and not isinstance(to, (str, int)) and not to
