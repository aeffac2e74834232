"""One message to the cluster, and its part for the own clients, as one step.

What every call of the manager is made of. The order lock of the runtime makes
"into the outbox" and "to the own clients" one step, so that all clients see a
node's messages in one order.
"""
import logging
from typing import Any, Callable, List, Optional, Tuple

from .delivery import Client, Delivery
from .life import ManagerLife
from .messages import Broadcast, DisconnectSockets, Message, SocketsJoin, \
    SocketsLeave, Target
from .options import Options
from .redis_streams.connect import Driver
from .redis_streams.outbox import Pending
from .runtime import Runtime

#: Acknowledgements that python-socketio waits for: sid and number.
Acks = List[Tuple[str, int]]


class Dispatch(ManagerLife):
    """A manager that reaches the cluster and its own clients."""

    def __init__(self, options: Options, driver: Driver, write_only: bool,
                 logger: Optional[logging.Logger], json: Any) -> None:
        super().__init__(options, driver, write_only, logger, json)
        self._sync = options.publish == 'sync'
        self._delivery: Optional[Delivery] = None

    def set_server(self, server: Any) -> None:
        super().set_server(server)
        self._delivery = Delivery(self, server, self._get_logger)

    def _is_own(self, sid: Any, namespace: str) -> bool:
        """Whether a client is connected here, or is just coming or going."""
        return self.eio_sid_from_sid(sid, namespace) is not None

    def _is_one_own_client(self, namespace: str, target: Target) -> bool:
        return len(target.rooms) == 1 \
            and self._is_own(target.rooms[0], namespace)

    def _recipients(self, namespace: str, target: Target) -> List[Client]:
        """The own clients that are meant."""
        delivery = self._delivery
        return [] if delivery is None or self.write_only \
            else delivery.recipients(namespace, target)

    def _delivered(self) -> int:
        return self._delivery.delivered if self._delivery else 0

    # -- events -----------------------------------------------------------

    def _emit(self, namespace: str, args: Tuple[Any, ...],
              target: Target) -> None:
        runtime = self._live()
        fields = runtime.encode(namespace, Broadcast(args, target))
        delivery = self._delivery
        if delivery is None or self.write_only:
            pending = runtime.append(namespace, fields)
        else:
            parcel = delivery.pack(namespace, args, target)
            with runtime.order:
                pending = runtime.append(namespace, fields)
                delivery.hand_over(parcel)
        self._settle(runtime, namespace, pending)

    def _deliver(self, namespace: str, args: Tuple[Any, ...],
                 target: Target) -> None:
        delivery = self._delivery
        if delivery is not None:
            parcel = delivery.pack(namespace, args, target)
            if parcel.clients:
                with self._live().order:
                    delivery.hand_over(parcel)

    def _deliver_with_callback(
            self, namespace: str, args: Tuple[Any, ...],
            clients: List[Client], callback: Callable[..., Any],
            append: Optional[Callable[[], Optional[Pending]]] = None
            ) -> Tuple[Acks, Optional[Pending]]:
        """Have each of these clients acknowledge an event.

        :param callback: called with the arguments of each acknowledgement.
        :param append: puts the event into the outbox, for others; called
                       when nothing else can fail.
        :return: what was registered, and what ``append`` returned.
        """
        acks: Acks = []

        def ack_id(sid: str, callback: Callable[..., Any]) -> int:
            number = int(self._generate_ack_id(sid, callback))
            acks.append((sid, number))
            return number

        pending, delivery, done = None, self._delivery, False
        try:
            parcels = [] if delivery is None else delivery.pack_with_acks(
                namespace, args, clients, callback, ack_id)
            with self._live().order:
                if append is not None:
                    pending = append()
                if delivery is not None:
                    for parcel in parcels:
                        delivery.hand_over(parcel)
            done = True
        finally:
            if not done:
                self._forget_acks(acks)
        return acks, pending

    def _forget_acks(self, acks: Acks) -> None:
        """Wait for these acknowledgements no longer."""
        for sid, number in acks:
            self.callbacks.get(sid, {}).pop(number, None)

    # -- commands ---------------------------------------------------------

    def _obey(self, namespace: str, message: Message) -> None:
        """Do to the own clients what a command says."""
        delivery = self._delivery
        if delivery is None or self.write_only:
            return
        if isinstance(message, SocketsJoin):
            delivery.join(namespace, message.target, message.rooms)
        elif isinstance(message, SocketsLeave):
            delivery.leave(namespace, message.target, message.rooms)
        elif isinstance(message, DisconnectSockets):
            delivery.disconnect(namespace, message.target, message.close)

    def _publish_command(self, namespace: str, message: Message) -> None:
        runtime, namespace = self._live(), namespace or '/'
        self._settle(runtime, namespace, runtime.publish(namespace, message))

    def _settle(self, runtime: Runtime, namespace: str,
                pending: Pending) -> None:
        """What ``publish`` asks for, after something was published."""
        if self._sync:
            runtime.wait(namespace, pending)
        else:
            runtime.make_room()
