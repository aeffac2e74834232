"""What can be asked of the cluster, and done to all of it.

Each of these calls sends one message to all nodes of a namespace, and does
its part for the own clients. Those that ask wait for the answers, which come
back over the stream, and are matched by
:mod:`redis_streams_adapter.protocol.requests`. The wire is that of the npm
package ``socket.io-adapter`` 2.5 (``dist/cluster-adapter.js``).

Every wait ends: when all have answered, when those who have not are gone, or
at its timeout, also while Redis is away.
"""
import os
import time
from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, \
    Optional, Sequence, TypeVar

from ..protocol.addressing import arguments, rooms as as_rooms, \
    target as make_target
from .dispatch import Dispatch
from ..errors import ClusterTimeoutError
from ..protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, DisconnectSockets, FetchSockets, \
    FetchSocketsResponse, Message, Room, ServerSideEmit, \
    ServerSideEmitResponse, SocketsJoin, SocketsLeave, Target
from ..protocol.node import Act
from ..clients.descriptions import describe
from .remote_socket import RemoteSocket
from ..protocol.requests import ClientsRequest, NodesRequest, Request, \
    UNKNOWN_MEMBERS
from ..runtime.runtime import Runtime
from .server_side import check_name, ServerSideHandlers

#: How long a call waits for answers unless it is told, in seconds: Node's
#: ``requestsTimeout``.
TIMEOUT = 5.0

_Handler = TypeVar('_Handler', bound=Callable[..., Any])


class NodeInfo(NamedTuple):
    """A node of the cluster.

    :param uid: its id.
    :param last_seen: how many seconds ago it was last heard of; 0 for this
                      one.
    """

    uid: str
    last_seen: float


class ClusterCalls(Dispatch):
    """Questions and commands to all nodes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._handlers = ServerSideHandlers(self._get_logger)

    # -- who is there -----------------------------------------------------

    def server_count(self, namespace: str = '/') -> int:
        """The number of nodes in a namespace; this one counts if it serves
        the namespace.

        A manager that has not joined the cluster joins it by this. The first
        call may wait for some milliseconds until all nodes are known, and for
        :data:`TIMEOUT` seconds at most; after that the call answers at once.
        While Redis is away, it is the number last known; over PUB/SUB the
        number of those with heartbeats, after a socket timeout at most.

        :raises ClusterTimeoutError: this server does not know all nodes yet:
                                     it has just started and Redis is away,
                                     or part of the stream was lost.
        :raises RuntimeError: the manager is write-only, or it does not know
                              all nodes and is called on one of its own
                              tasks.
        """
        runtime = self._knowing()
        count = runtime.asking.count(namespace, TIMEOUT)
        if count is None:
            raise ClusterTimeoutError(reason=UNKNOWN_MEMBERS)
        return count

    def nodes(self, namespace: str = '/') -> List[NodeInfo]:
        """The nodes of a namespace, this one first if it serves the
        namespace: the uid of each, and how many seconds ago it was last heard
        of.

        Waits and raises as :meth:`server_count` does. While Redis is away,
        those last known.
        """
        runtime = self._knowing()
        found = runtime.asking.nodes(namespace, TIMEOUT)
        if found is None:
            raise ClusterTimeoutError(reason=UNKNOWN_MEMBERS)
        return [NodeInfo(*each) for each in sorted(
            found.items(), key=lambda each: (each[0] != runtime.uid, each))]

    def fetch_sockets(self, namespace: str = '/', to: Any = None,
                      skip_sid: Any = None, local: bool = False,
                      timeout: float = TIMEOUT) -> List[RemoteSocket]:
        """Find clients, wherever they are connected. The namespace need not
        be one that this server serves.

        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :param local: only the clients of this server; asks nobody.
        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError: not all have answered, or it is not known
                                     who has to, as always while Redis is
                                     away; ``responses`` holds the sockets
                                     found.
        :raises RuntimeError: the manager is write-only, or the call is made
                              on one of its own tasks.
        """
        if is_nobody(to):
            return []
        target = make_target(to, skip_sid)
        runtime = self._member(asks=not local)
        found = [RemoteSocket(self, namespace, runtime.uid, each)
                 for each in self._describe(runtime, namespace, target)]
        if local:
            return found
        request = NodesRequest(namespace, runtime.engine.event())
        self._ask(runtime, request, timeout,
                  lambda request_id: FetchSockets(target, request_id))
        found.extend(RemoteSocket(self, namespace, uid, each)
                     for uid, sockets in request.answers.items()
                     for each in sockets)
        if not request.complete:
            raise not_complete(request, found)
        return found

    def all_rooms(self, namespace: str = '/',
                  timeout: float = TIMEOUT) -> Dict[Room, int]:
        """How many clients are in each room, over the whole cluster. Rooms
        that are named like a client's sid are left out.

        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError, RuntimeError: as :meth:`fetch_sockets`.
        """
        sockets = self.fetch_sockets(namespace, timeout=timeout)
        counts = Counter(room for each in sockets for room in each.rooms)
        for each in sockets:
            del counts[each.sid]
        return dict(counts)

    # -- commands ---------------------------------------------------------

    def sockets_join(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                     namespace: str = '/') -> None:
        """Let clients enter rooms, wherever they are connected.

        Returns as :meth:`emit` does.

        :param rooms: a room, or a list of them.
        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :raises OutboxFullError: Redis is away for too long; nothing was
                                 done.
        """
        names = as_rooms(rooms)
        if names and not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, SocketsJoin(target, names))

    def sockets_leave(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                      namespace: str = '/') -> None:
        """Let clients leave rooms, wherever they are connected.

        The parameters, and the errors, are those of :meth:`sockets_join`.
        """
        names = as_rooms(rooms)
        if names and not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, SocketsLeave(target, names))

    def disconnect_sockets(self, to: Any = None, skip_sid: Any = None,
                           namespace: str = '/',
                           close: bool = False) -> None:
        """Disconnect clients, wherever they are connected.

        :param close: close their connections, and with them all namespaces.

        The other parameters, and the errors, are those of
        :meth:`sockets_join`.
        """
        if not is_nobody(to):
            target = make_target(to, skip_sid)
            self._command(namespace, DisconnectSockets(target, close))

    def _command(self, namespace: str, message: Message) -> None:
        runtime = self._live()
        with runtime.order:
            pending = self._put(runtime, namespace, message)
            self._obey(namespace, message)
        self._settle(runtime, namespace, pending)

    # -- broadcast with acknowledgements ----------------------------------

    def emit_with_ack(self, event: str, data: Any = None, to: Any = None,
                      skip_sid: Any = None, namespace: str = '/',
                      timeout: float = TIMEOUT) -> List[Any]:
        """Emit an event to clients, wherever they are connected, and wait
        until each of them has acknowledged it.

        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :param timeout: seconds to wait.
        :return: for each client the acknowledgement's argument; a tuple
                 where it has several, ``None`` where it has none. Of a
                 client of a server in Node.js, the first argument.
        :raises ClusterTimeoutError: not all have answered; or it is not
                                     known in time which servers have to, and
                                     nothing was sent.
        :raises OutboxFullError, TypeError, ValueError: as :meth:`emit`.
        :raises RuntimeError: the manager is write-only, the call is made on
                              one of its own tasks, or the server has
                              ``async_handlers=False``.
        """
        if is_nobody(to):
            return []
        args, target = arguments(event, data), make_target(to, skip_sid)
        runtime = self._member(asks=True)
        if self.server is not None and not self.server.async_handlers:
            # As python-socketio's call(): a handler would keep the answer
            # of its own client from being taken in.
            raise RuntimeError(
                'Cannot use emit_with_ack() when async_handlers is False.')
        deadline = time.monotonic() + timeout
        request_id = new_id()
        send = runtime.asking.request(
            request_id, namespace, Broadcast(args, target, request_id))
        clients = self._recipients(namespace, target)
        alone = self._is_one_own_client(namespace, target)
        request = ClientsRequest(namespace, runtime.engine.event())
        request.count_own(runtime.uid, len(clients))

        def acknowledge(*answer: Any) -> None:
            runtime.asking.answer(BroadcastAck(request_id, answer))

        try:
            # Before anything is sent: nobody gets the event if nobody can
            # say who has to acknowledge it.
            asked = runtime.asking.expect(
                request_id, request, timeout, alone)
            if asked and not request.complete:
                self._deliver_with_callback(
                    namespace, args, clients, acknowledge,
                    None if alone else send)
            if asked and not request.complete:
                request.waiter.wait(max(0.0, deadline - time.monotonic()))
        finally:
            def withdraw() -> None:
                runtime.asking.withdraw(request_id)
                self._forget_acks(clients, acknowledge)

            try:
                withdraw()
            finally:
                # The first one may be struck.
                withdraw()
        if not request.complete:
            raise not_complete(request, request.responses)
        return request.responses

    # -- between servers --------------------------------------------------

    def on_server_side(self, event: str,
                       handler: Optional[_Handler] = None,
                       namespace: str = '/') -> Any:
        """Handle an event that another server sends with
        :meth:`server_side_emit` or :meth:`server_side_call`; also as a
        decorator.

        :param handler: called with the event's arguments, in a task of its
                        own. What it returns is the response. Where it
                        raises, that is logged, and nothing is answered. An
                        event may have several handlers: the first value that
                        is not ``None`` is the response.
        """
        check_name(event)

        def register(handler: _Handler) -> _Handler:
            self._handlers.add(namespace, event, handler)
            runtime = self._lifecycle.current
            if runtime is not None and runtime.member:
                runtime.serve_namespaces()
            return handler

        return register if handler is None else register(handler)

    def server_side_emit(self, event: str, *args: Any,
                         namespace: str = '/') -> None:
        """Send an event to every other server of the cluster.

        Returns as :meth:`emit` does.

        :raises ValueError: the name is reserved in Node.js: ``connect``,
                            ``connection``, ``new_namespace``.
        :raises OutboxFullError, TypeError: as :meth:`emit`.
        """
        check_name(event)
        self._publish_command(namespace, ServerSideEmit((event, *args)))

    def server_side_call(self, event: str, *args: Any, namespace: str = '/',
                         timeout: float = TIMEOUT) -> List[Any]:
        """Send an event to every other server of the cluster, and wait for
        their responses.

        :param timeout: seconds to wait. A server without a handler for the
                        event, or whose handler raises, does not answer.
        :return: one response for each other server.
        :raises ClusterTimeoutError: not all have answered, or it is not known
                                     in time which servers have to.
        :raises OutboxFullError, TypeError, ValueError: as
            :meth:`server_side_emit`.
        :raises RuntimeError: as :meth:`fetch_sockets`.
        """
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

    # -- how it is asked --------------------------------------------------

    def _member(self, asks: bool) -> Runtime:
        """The runtime, as a member of the cluster.

        :param asks: whether answers are going to be waited for.
        """
        if self.write_only:
            raise RuntimeError('a write-only manager cannot ask the cluster')
        runtime = self._live()
        if asks:
            runtime.refuse_on_own_task()
        if not runtime.member:
            self._lifecycle.start()
        return self._live()

    def _knowing(self) -> Runtime:
        """The runtime, as a member that can say who is there."""
        if self.write_only:
            raise RuntimeError('a write-only manager knows no nodes')
        return self._member(asks=False)

    def _ask(self, runtime: Runtime, request: Request, timeout: float,
             make: Callable[[str], Message]) -> None:
        """Ask all other nodes, and wait for them."""
        deadline = time.monotonic() + timeout
        request_id = new_id()
        send = runtime.asking.request(
            request_id, request.namespace, make(request_id))
        try:
            # That may take its time as well, in the worst case all of it.
            asked = runtime.asking.expect(request_id, request, timeout)
            if asked and not request.complete:
                send()
                request.waiter.wait(max(0.0, deadline - time.monotonic()))
        finally:
            try:
                runtime.asking.withdraw(request_id)
            finally:
                # The first one may be struck.
                runtime.asking.withdraw(request_id)

    # -- how it answers, on the reader's task -----------------------------

    def _served_namespaces(self) -> Iterable[str]:
        return dict.fromkeys([*super()._served_namespaces(),
                              *self._handlers.namespaces])

    def _act(self, act: Act) -> None:
        namespace, message = act.namespace, act.message
        if isinstance(message, Broadcast):
            if message.request_id is None:
                self._deliver_received(namespace, message)
            else:
                self._deliver_and_count(act, message, message.request_id)
        elif isinstance(message, FetchSockets):
            self._tell_sockets(act, message)
        elif isinstance(message, ServerSideEmit):
            self._handle(act, message)
        else:
            self._obey(namespace, message)

    def _deliver_and_count(self, act: Act, message: Broadcast,
                           request_id: str) -> None:
        runtime = self._live()

        def acknowledge(*answer: Any) -> None:
            runtime.asking.reply(act, BroadcastAck(request_id, answer))

        clients = self._recipients(act.namespace, message.target)
        self._deliver_with_callback(act.namespace, message.args, clients,
                                    acknowledge, received=act.aside is None)
        runtime.asking.reply(
            act, BroadcastClientCount(request_id, len(clients)))

    def _tell_sockets(self, act: Act, message: FetchSockets) -> None:
        runtime = self._live()
        sockets = self._describe(runtime, act.namespace, message.target)
        runtime.asking.reply(act, FetchSocketsResponse(
            message.request_id, tuple(sockets)))

    def _handle(self, act: Act, message: ServerSideEmit) -> None:
        runtime, request_id = self._live(), message.request_id

        def encode(response: Any) -> Callable[[], object]:
            if request_id is None:
                return lambda: None
            return runtime.asking.prepare_reply(
                act, ServerSideEmitResponse(request_id, response))

        self._handlers.handle(runtime.engine, act.namespace, message.args,
                              encode, lambda send: send())

    def _describe(self, runtime: Runtime, namespace: str,
                  target: Target) -> Sequence[Dict[str, Any]]:
        clients = self._recipients(namespace, target)
        if not clients:
            return ()
        return describe(self.server, namespace, clients,
                        lambda value: runtime.can_carry(value))


def not_complete(request: Request,
                 responses: Sequence[Any]) -> ClusterTimeoutError:
    """The error of a call whose time is over."""
    return ClusterTimeoutError(responses, request.missing, *request.progress,
                               reason=request.obstacle)


def new_id() -> str:
    """An id for a request, as Node.js makes one."""
    return os.urandom(8).hex()


def is_nobody(to: Any) -> bool:
    """An empty list: nobody. On the wire it would be everyone."""
    return to is not None and not isinstance(to, (str, int)) and not to
