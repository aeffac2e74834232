"""What this process sends: a message to the cluster and to the local clients,
as one step.

Local clients get events at once or in the order of the stream: the delivery
of the namespace decides, see :mod:`redis_streams_adapter.runtime.delivery`.
"""
from typing import Any, Callable, List, Optional, Tuple

from ..clients.delivery import Delivery
from ..clients.registry import Registry
from ..protocol.messages import Broadcast, Message, ORDERED, Target
from ..runtime.delivery import Client
from ..runtime.lifecycle import Lifecycle
from ..runtime.runtime import Runtime
from ..stream.outbox import Pending
from .requester import Requester


class Outgoing:
    """Sends events and commands.

    :param registry: the register of the local clients.
    """

    def __init__(self, lifecycle: Lifecycle[Requester],
                 registry: Registry) -> None:
        self._runtime = lifecycle.runtime
        self._registry = registry
        self.forget_acks = registry.forget_acks
        #: The local clients; ``None`` before there is a server, and in a
        #: process that only emits. Set once, by the task that creates the
        #: server.
        self.local: Optional[Delivery] = None

    def recipients(self, namespace: str, target: Target) -> List[Client]:
        """The local clients that match a target."""
        local = self.local
        return [] if local is None else local.recipients(namespace, target)

    def is_one_local_client(self, namespace: str, target: Target) -> bool:
        """Whether the target is a single client that is connected here."""
        # The type is ignored: a room may be a number. That of a client is a
        # string, so none is found.
        return len(target.rooms) == 1 and self._registry.eio_sid_from_sid(
            target.rooms[0], namespace) is not None  # type: ignore[arg-type]

    # -- events -----------------------------------------------------------

    def emit(self, namespace: str, args: Tuple[Any, ...],
             target: Target) -> None:
        """Emit an event to clients, wherever they are connected."""
        runtime = self._runtime()
        message, fields = runtime.encoder.event(namespace, args, target)
        pending = runtime.delivery(namespace).emit(namespace, message, fields)
        if runtime.sync or runtime.capacity.presses:
            self.settle(runtime, namespace, pending)

    def emit_locally(self, namespace: str, message: Broadcast) -> None:
        """Emit an event to the local clients only."""
        self._runtime().delivery(namespace).locally(namespace, message)

    def ask(self, namespace: str, args: Tuple[Any, ...],
            clients: List[Client], callback: Callable[..., Any],
            append: Optional[Callable[[], Optional[Pending]]] = None,
            received: bool = False) -> Optional[Pending]:
        """Send an event that each of these clients is to acknowledge. If this
        raises, no acknowledgement is awaited, or the event was sent.

        :param callback: called with the arguments of each acknowledgement;
                         an object that no other event uses.
        :param append: puts the event into the outbox, for other nodes; called
                       when nothing else can fail.
        :param received: the reader has just read this event.
        :return: what ``append`` returned.
        """
        registry, done = self._registry, False
        runtime = self._runtime()
        try:
            pending = runtime.delivery(namespace).ask(
                namespace, args, clients,
                lambda sid: registry.expect_ack(sid, callback), append,
                received, runtime.requester.asks_in_stream)
            done = True
        finally:
            if not done:
                registry.forget_acks(clients, callback)
        return pending

    # -- commands ---------------------------------------------------------

    def command(self, namespace: str, message: Message,
                carry_out: Optional[Callable[[], None]] = None) -> None:
        """Send a command to the cluster.

        :param carry_out: carries it out for the local clients, in the same
                          step, under the order lock.
        """
        runtime = self._runtime()
        self.settle(runtime, namespace,
                    self.put(runtime, namespace, message, carry_out))

    @staticmethod
    def put(runtime: Runtime[Requester], namespace: str, message: Message,
            carry_out: Optional[Callable[[], None]] = None) -> Pending:
        """Put a message into the outbox; see :meth:`command`."""
        fields = runtime.encoder.encode(namespace, message)
        if message.type in ORDERED:
            return runtime.delivery(namespace).command(
                namespace, message, fields, carry_out)
        return runtime.append(namespace, fields)

    def settle(self, runtime: Runtime[Requester], namespace: str,
               pending: Pending) -> None:
        """Wait after a message was put into the outbox, as ``publish`` says.
        """
        if runtime.sync:
            runtime.wait(namespace, pending)
        elif runtime.capacity.presses:
            runtime.make_room(namespace, pending)
