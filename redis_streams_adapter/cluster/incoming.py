"""What a node does with the events, commands and requests of other processes.

It runs on the reader's task, or on that of a PUB/SUB connection, and never
waits. Handlers of server-side events and disconnect handlers run in tasks of
their own.
"""
from typing import Any, Callable, Dict, Iterator, Optional

from ..clients.descriptions import count_rooms, describe
from ..clients.tracking import Tracking
from ..protocol.events import Act
from ..protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, DisconnectSockets, EVERYONE, FetchSockets, \
    Message, Room, ServerSideEmit, ServerSideEmitResponse, SocketsJoin, \
    SocketsLeave, Target
from ..runtime.lifecycle import Lifecycle
from ..runtime.runtime import Runtime
from .outgoing import Outgoing
from .local_stats import LocalStats
from .pages import answer_with_counts, answer_with_sockets, \
    answer_with_stats, FIRST
from .requester import Requester
from .server_side import ServerSideHandlers

#: Up to this many clients, a question about them is answered at once.
FEW = FIRST


class Incoming:
    """Carries out what other processes write.

    :param outgoing: delivers events to the local clients.
    :param stats: says how this server is.
    """

    def __init__(self, lifecycle: Lifecycle[Requester], outgoing: Outgoing,
                 handlers: ServerSideHandlers, stats: LocalStats) -> None:
        self._lifecycle = lifecycle
        self._live = lifecycle.runtime
        self._outgoing = outgoing
        self._handlers = handlers
        self._stats = stats
        #: Disconnects clients. Set once, with the server.
        self.tracking: Optional[Tracking] = None

    def act(self, act: Act) -> None:
        """Carry out a message of another process."""
        namespace, message = act.namespace, act.message
        if isinstance(message, Broadcast):
            if message.request_id is None:
                self._outgoing.emit_locally(namespace, message)
            else:
                self._deliver_and_count(act, message, message.request_id)
        elif isinstance(message, FetchSockets):
            self._answer_sockets(act, message)
        elif isinstance(message, ServerSideEmit):
            self._handle(act, message)
        else:
            self.obey(namespace, message)

    def _deliver_and_count(self, act: Act, message: Broadcast,
                           request_id: str) -> None:
        runtime = self._live()

        def acknowledge(*answer: Any) -> None:
            runtime.requester.reply(act, BroadcastAck(request_id, answer))

        clients = self._outgoing.recipients(act.namespace, message.target)
        self._outgoing.ask(
            act.namespace, message.args, clients, acknowledge,
            received=act.way is None)
        runtime.requester.reply(
            act, BroadcastClientCount(request_id, len(clients)))

    def _answer_sockets(self, act: Act, message: FetchSockets) -> None:
        runtime, server = self._live(), self._lifecycle.server
        clients = self._outgoing.recipients(
            act.namespace, EVERYONE if message.stats else message.target)
        if message.stats:
            state: Dict[str, Any] = {}
            work = answer_with_stats(
                runtime.requester, act, message, state,
                self._stats.collect(runtime, state))
        elif message.counts:
            work = answer_with_counts(
                runtime.requester, act, message, server,
                lambda value: runtime.can_carry(value))
        else:
            work = answer_with_sockets(
                runtime.requester, act, message, server, clients,
                lambda value: runtime.can_carry(value))
        if len(clients) > FEW:
            runtime.requester.later(work)
        else:
            # It fits on one page, and nothing waits.
            for _ in work:
                continue

    def _handle(self, act: Act, message: ServerSideEmit) -> None:
        runtime, request_id = self._live(), message.request_id

        def encode(response: Any) -> Callable[[], object]:
            if request_id is None:
                return lambda: None
            send: Callable[[], object] = runtime.requester.prepare_reply(
                act, ServerSideEmitResponse(request_id, response))
            return send

        self._handlers.handle(runtime.engine, act.namespace, message.args,
                              encode, lambda send: send())

    def describe(self, runtime: Runtime[Requester], namespace: str,
                 target: Target) -> Iterator[Optional[Dict[str, Any]]]:
        """Describe the local clients that match a target, in small steps:
        :func:`~redis_streams_adapter.clients.descriptions.describe`."""
        clients = self._outgoing.recipients(namespace, target)
        return describe(self._lifecycle.server, namespace, clients,
                        lambda value: runtime.can_carry(value)) \
            if clients else iter(())

    def count_rooms(self, runtime: Runtime[Requester], namespace: str,
                    counts: Dict[Room, int]) -> Iterator[None]:
        """Count the local clients in each room, in small steps:
        :func:`~redis_streams_adapter.clients.descriptions.count_rooms`."""
        server = self._lifecycle.server
        return count_rooms(server.manager, namespace, runtime.can_carry,
                           counts) if server is not None else iter(())

    def obey(self, namespace: str, message: Message) -> None:
        """Carry out a command for the local clients."""
        local = self._outgoing.local
        if local is None:
            return
        if isinstance(message, SocketsJoin):
            local.join(namespace, message.target, message.rooms)
        elif isinstance(message, SocketsLeave):
            local.leave(namespace, message.target, message.rooms)
        elif isinstance(message, DisconnectSockets) \
                and self.tracking is not None:
            self.tracking.disconnect(namespace, message)
