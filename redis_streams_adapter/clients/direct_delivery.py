"""Events reach the local clients at once, whatever becomes of Redis: delivery
without recovery.

An emit puts its event into the outbox and into the queues of the local
clients in one step, under the order lock, so that all clients see the events
of a process in one order. Nothing here has to be remembered: the only state
is that of the queues.
"""
from typing import Any, Callable, Collection, Iterable, Optional, Sequence, \
    Tuple

from ..protocol.codec import Fields
from ..protocol.events import Act
from ..protocol.messages import Broadcast, Message
from ..protocol.position import Position
from ..protocol.transport import Entry
from ..runtime.delivery import Client, Follower
from ..runtime.tasks import Part
from ..stream.outbox import Pending
from .delivery import Delivery

Append = Callable[[str, Fields], Pending]


class DirectDelivery:
    """Implements :class:`~redis_streams_adapter.runtime.delivery.Delivery`
    for all streams of a process, and
    :class:`~redis_streams_adapter.runtime.delivery.Deliveries`.

    :param append: puts fields into the outbox of a namespace.
    :param order: the order lock.
    :param act: carries out a message of another process that is not a plain
                event.
    :param write_only: whether emitted events are for other processes only.
    """

    def __init__(self, append: Append, order: Any,
                 act: Callable[[Act], None], write_only: bool) -> None:
        self._append = append
        self._order = order
        self._act = act
        self._write_only = write_only
        #: The local clients; ``None`` before there is a server. Set once, by
        #: the task that creates the server.
        self.local: Optional[Delivery] = None
        #: No delivery depends on a position.
        self.follower: Optional[Follower] = None

    def of_stream(self, writer_id: bytes,
                  arrived: Callable[[], Position]) -> 'DirectDelivery':
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        return self

    # -- for tasks that emit ----------------------------------------------

    def emit(self, namespace: str, message: Broadcast,
             fields: Fields) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        local = self.local
        if local is None or self._write_only:
            return self._append(namespace, fields)
        loads = local.pack(namespace, message)
        if not loads:
            # No local client sees where it comes in the order, and the outbox
            # has a lock of its own. Taking the order lock takes 6 % of the
            # time of an emit.
            return self._append(namespace, fields)
        with self._order:
            pending = self._append(namespace, fields)
            local.hand_over(loads)
        if local.lines:
            local.log_lines(self._order)
        return pending

    def command(self, namespace: str, message: Message, fields: Fields,
                carry_out: Optional[Callable[[], None]]) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        if carry_out is None:
            return self._append(namespace, fields)
        with self._order:
            pending = self._append(namespace, fields)
            carry_out()
        if self.local is not None:
            self.local.log_lines(self._order)
        return pending

    def locally(self, namespace: str, message: Broadcast) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        local = self.local
        if local is not None:
            loads = local.pack(namespace, message)
            if loads:
                with self._order:
                    local.hand_over(loads)
                local.log_lines(self._order)

    def ask(self, namespace: str, args: Tuple[Any, ...],
            clients: Sequence[Client], ack_id: Callable[[str], int],
            append: Optional[Callable[[], Optional[Pending]]],
            received: bool, in_stream: bool = True
            ) -> Optional[Pending]:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        local, pending = self.local, None
        if local is None:
            return None if append is None else append()
        loads = local.pack_with_acks(namespace, args, clients, ack_id)
        with self._order:
            if append is not None:
                pending = append()
            local.hand_over(loads)
        local.log_lines(self._order)
        return pending

    # -- for the reader's task --------------------------------------------

    def began(self, cursor: Position) -> None:
        """Nothing depends on the position."""

    def received(self, entry: Entry, act: Act) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        message = act.message
        if isinstance(message, Broadcast) and message.request_id is None:
            local = self.local
            if local is not None:
                # As locally(), with half of the calls.
                clients = local.recipients(act.namespace, message.target)
                if clients:
                    packets = local.encode_plain(act.namespace, message)
                    with self._order:
                        local.put(clients, packets)
                        local.delivered += len(clients)
                    if local.lines:
                        local.log_lines(self._order)
            return
        self._act(act)
        if self.local is not None and self.local.lines:
            self.local.log_lines(self._order)

    def history_lost(self) -> None:
        """Nothing depends on it."""

    # -- for tasks that start and close -----------------------------------

    def serve(self, namespaces: Collection[str]) -> None:
        """All namespaces are alike."""

    def leave(self) -> None:
        """What still comes is delivered."""

    def drain(self, timeout: float) -> None:
        """Nothing waits to come back."""

    def end(self) -> None:
        """Nothing is left."""

    def tasks(self) -> Iterable[Part]:
        """None."""
        return ()

    def joined(self) -> None:
        """It delivers in the same way before that."""

    def close(self, timeout: float) -> None:
        """Nothing is kept."""

    def catch_up(self, timeout: float) -> None:
        """Nothing is kept."""

    def renew(self) -> None:
        """It has no connections."""

    def interrupt(self) -> None:
        """It has no tasks."""

    def abandon(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Deliveries`."""
        if self.local is not None:
            # The parent logs them.
            self.local.lines.clear()
