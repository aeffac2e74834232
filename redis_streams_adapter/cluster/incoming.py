"""What a node does when another one asks, commands, or emits: on the reader's
task, or on that of a PUB/SUB connection.

Nothing here waits. Handlers of server-side events and disconnect handlers run
in tasks of their own.
"""
from typing import Any, Callable, Dict, Sequence

from ..clients.descriptions import describe
from ..protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, DisconnectSockets, FetchSockets, \
    FetchSocketsResponse, Message, ServerSideEmit, ServerSideEmitResponse, \
    SocketsJoin, SocketsLeave, Target
from ..protocol.node import Act
from ..recovery.session import SUPERSEDES
from ..runtime.lifecycle import Lifecycle
from ..runtime.runtime import Runtime
from .dispatch import Dispatch
from .requester import Asking
from .server_side import ServerSideHandlers


class Incoming:
    """Carries out what other processes write.

    :param dispatch: delivers events to the local clients.
    """

    def __init__(self, lifecycle: Lifecycle[Asking], dispatch: Dispatch,
                 handlers: ServerSideHandlers) -> None:
        self._lifecycle = lifecycle
        self._live = lifecycle.runtime
        self._dispatch = dispatch
        self._handlers = handlers

    def act(self, act: Act) -> None:
        """Carry out a message of another process."""
        namespace, message = act.namespace, act.message
        if isinstance(message, Broadcast):
            if message.request_id is None:
                self._dispatch._deliver(
                    namespace, message.args, message.target)
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
            runtime.asking.reply(act, BroadcastAck(request_id, answer))

        clients = self._dispatch._recipients(act.namespace, message.target)
        self._dispatch._deliver_with_callback(
            act.namespace, message.args, clients, acknowledge,
            received=act.aside is None)
        runtime.asking.reply(
            act, BroadcastClientCount(request_id, len(clients)))

    def _answer_sockets(self, act: Act, message: FetchSockets) -> None:
        runtime = self._live()
        sockets = self.describe(runtime, act.namespace, message.target)
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

    def describe(self, runtime: Runtime[Asking], namespace: str,
                 target: Target) -> Sequence[Dict[str, Any]]:
        """What there is to know of the local clients that are meant."""
        clients = self._dispatch._recipients(namespace, target)
        if not clients:
            return ()
        return describe(self._lifecycle.server, namespace, clients,
                        lambda value: runtime.can_carry(value))

    def obey(self, namespace: str, message: Message) -> None:
        """Do to the local clients what a command says."""
        delivery = self._dispatch._delivery
        if delivery is None or self._lifecycle.write_only:
            return
        if isinstance(message, SocketsJoin):
            delivery.join(namespace, message.target, message.rooms)
        elif isinstance(message, SocketsLeave):
            delivery.leave(namespace, message.target, message.rooms)
        elif isinstance(message, DisconnectSockets):
            returning = self._dispatch._returning
            if returning is None:
                delivery.disconnect(namespace, message.target, message.close)
            elif SUPERSEDES in message.target.flags:
                returning.superseded(namespace, message.target)
            else:
                delivery.disconnect(
                    namespace, message.target, message.close,
                    returning.discard_connection, returning.discard)
