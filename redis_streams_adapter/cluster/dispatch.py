"""One message to the cluster, and its part for the own clients, as one step.

What every call of the manager is made of. The order lock of the runtime makes
"into the outbox" and "to the own clients" one step, so that all clients see a
node's messages in one order.
"""
import json as standard_json
import logging
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from socketio import PubSubManager

from ..clients import send_queue, hooks, websocket
from ..clients.connections import Connections
from ..clients.delivery import Delivery
from ..clients.direct_delivery import DirectDelivery
from ..recovery.deliveries import StreamOrderDeliveries
from ..recovery.session_writer import SessionWriter
from ..clients.registry import Registry
from ..concurrency.engines import Engine, ServerEngine, ThreadEngine
from ..runtime.lifecycle import Lifecycle
from ..protocol.messages import Broadcast, Message, ORDERED, Target
from ..protocol.node import Act
from ..options import Options
from ..stream.driver import Driver
from ..stream.outbox import Pending
from ..stream.session_store import SessionStore
from ..recovery.tracker import ClientTracker
from ..runtime.delivery import Client, Deliveries
from ..runtime.runtime import Runtime
from .pubsub import SideChannel
from .requester import Asking
from ..protocol.values import Serialiser

#: Which logger is used unless the application or its server has one.
package_logger = logging.getLogger('redis_streams_adapter')


class Dispatch(PubSubManager):
    """A manager that reaches the cluster and its local clients.

    :param options: checked options.
    :param driver: how to connect.
    """

    #: Carries out a message of another process.
    _act: Callable[[Act], None]

    def __init__(self, options: Options, driver: Driver, write_only: bool,
                 logger: Optional[logging.Logger], json: Any) -> None:
        super().__init__(channel=options.stream_name, write_only=write_only,
                         logger=logger)
        self._options = options
        self._driver = driver
        self._json = json
        self._sync = options.publish == 'sync'
        self._registry = Registry(
            self, super(Dispatch, self), lambda: self._live().order)
        self._lifecycle: Lifecycle[Asking] = Lifecycle(
            self._make_runtime, write_only, self._get_logger,
            self._registry.after_fork)
        #: The runtime of this process.
        self._live = self._lifecycle.runtime
        self._delivery: Optional[Delivery] = None
        #: How events reach them without recovery. Made with the runtime.
        self._direct: Optional[DirectDelivery] = None
        #: Who lets clients in, where recovery is on.
        self._returning: Optional[ClientTracker] = None

    def set_server(self, server: Any) -> None:
        super().set_server(server)
        lifecycle = self._lifecycle
        lifecycle.server = server
        lifecycle.connections = Connections(
            server, lambda: lifecycle.turns_away)
        websocket.install(server, package_logger)
        send_queue.install(server)
        self._delivery = Delivery(self, server, self._get_logger)
        if self._direct is not None:
            # It has emitted before there was a server.
            self._direct.local = self._delivery
        recovery = self._options.recovery
        if recovery is not None and not self.write_only:
            self._returning = ClientTracker(
                self, server, self._delivery, recovery, self._live,
                self._put)
            hooks.install(server, self._returning)
        else:
            hooks.guard(server)

    def _served_namespaces(self) -> Iterable[str]:
        yield from self._registry.namespaces()
        if self._returning is not None:
            yield from self._returning.namespaces

    def _make_runtime(self, former: Optional[Runtime[Asking]]
                      ) -> Runtime[Asking]:
        engine: Engine = ThreadEngine()
        if self.server is not None and not self.write_only:
            self._lifecycle.check_server()
            engine = ServerEngine(self.server)
        runtime = Runtime(
            self._options, self._driver, engine, self._get_logger,
            self._json_module(), self.write_only, self._act,
            self._served_namespaces, self._make_deliveries,
            self._make_requests, former)
        # python-socketio's name for it, which its admin interface shows.
        self.host_id = runtime.uid
        return runtime

    def _make_deliveries(self, runtime: Runtime[Asking]) -> Deliveries:
        """Decide how events reach the local clients of this process."""
        self._direct = direct = DirectDelivery(
            runtime.append, runtime.order, runtime.act, self.write_only)
        direct.local = local = self._delivery
        returning, recovery = self._returning, self._options.recovery
        if local is None or returning is None or recovery is None:
            return direct
        writer = SessionWriter(
            SessionStore(self._driver, runtime.engine,
                         self._options.session_key_prefix,
                         recovery.max_disconnection_duration),
            runtime.engine, recovery, self._options.heartbeat_interval,
            Serialiser(self._json_module(), False), runtime.application,
            returning.describe, returning.progress, self._get_logger)
        return StreamOrderDeliveries(
            writer, local, direct, runtime.append, runtime.order, runtime.act,
            runtime.capacity, runtime.engine.event, self._get_logger,
            runtime.delivery)

    def _make_requests(self, runtime: Runtime[Asking]) -> Asking:
        return Asking(runtime.node, runtime.core, SideChannel(
            self._options, self._driver, runtime.engine, self._get_logger,
            runtime.encoder, runtime.application, runtime.hear, runtime.skip,
            runtime.start_side), runtime)

    def _json_module(self) -> Any:
        if self._json is None and self.server is not None:
            return self.server.packet_class.json
        return self._json or standard_json

    def _get_logger(self) -> logging.Logger:
        given: Optional[logging.Logger] = self.logger
        if given:
            return given
        # A server that was not asked to log is silent but for errors; that
        # Redis is away must be seen all the same.
        if self.server is not None \
                and self.server.logger.isEnabledFor(logging.WARNING):
            logger: logging.Logger = self.server.logger
            return logger
        return package_logger

    def eio_sid_from_sid(self, sid: str, namespace: str) -> Optional[str]:
        """The connection of a local client."""
        return self._registry.eio_sid_from_sid(sid, namespace)

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

    def _own_stats(self) -> Dict[str, int]:
        delivered = self._delivery.delivered if self._delivery else 0
        if self._returning is None:
            return {'delivered': delivered}
        return {'delivered': delivered, **self._returning.counts,
                'sessions': self._returning.count}

    # -- events -----------------------------------------------------------

    def _emit(self, namespace: str, args: Tuple[Any, ...],
              target: Target) -> None:
        runtime = self._live()
        message = Broadcast(args, target)
        pending = runtime.delivery(namespace).emit(
            namespace, message, runtime.encode(namespace, message))
        self._settle(runtime, namespace, pending)

    def _deliver(self, namespace: str, args: Tuple[Any, ...],
                 target: Target) -> None:
        """Deliver an event to the local clients only."""
        self._live().delivery(namespace).locally(namespace, args, target)

    def _deliver_with_callback(
            self, namespace: str, args: Tuple[Any, ...],
            clients: List[Client], callback: Callable[..., Any],
            append: Optional[Callable[[], Optional[Pending]]] = None,
            received: bool = False) -> Optional[Pending]:
        """Have each of these clients acknowledge an event. If it raises, no
        acknowledgement is waited for, or the event was sent.

        :param callback: called with the arguments of each acknowledgement;
                         an object that no other event has.
        :param append: puts the event into the outbox, for others; called
                       when nothing else can fail.
        :param received: the event is what the reader has just read.
        :return: what ``append`` returned.
        """
        done = False
        try:
            pending = self._live().delivery(namespace).ask(
                namespace, args, clients,
                lambda sid: self._generate_ack_id(sid, callback), append,
                received)
            done = True
        finally:
            if not done:
                self._forget_acks(clients, callback)
        return pending

    def _forget_acks(self, clients: Iterable[Client],
                     callback: Callable[..., Any]) -> None:
        """Wait for no acknowledgement any longer that goes to this object.

        Whatever was registered shows in the register alone: python-socketio
        may have done so and been struck before it said so.
        """
        for sid, _ in clients:
            acks = self.callbacks.get(sid)
            if acks:
                for number, each in list(acks.items()):
                    if each is callback:
                        acks.pop(number, None)

    # -- commands ---------------------------------------------------------

    def _publish_command(self, namespace: str, message: Message) -> None:
        runtime, namespace = self._live(), namespace or '/'
        self._settle(runtime, namespace,
                     self._put(runtime, namespace, message))

    def _put(self, runtime: Runtime[Asking], namespace: str,
             message: Message,
             carry_out: Optional[Callable[[], None]] = None) -> Pending:
        """Put a message into the outbox.

        :param carry_out: carries it out for the local clients, in the same
                          step, under the order lock.
        """
        fields = runtime.encode(namespace, message)
        if message.type in ORDERED:
            return runtime.delivery(namespace).command(
                namespace, message, fields, carry_out)
        return runtime.append(namespace, fields)

    def _settle(self, runtime: Runtime[Asking], namespace: str,
                pending: Pending) -> None:
        """What ``publish`` asks for, after something was published."""
        if self._sync:
            runtime.wait(namespace, pending)
        else:
            runtime.make_room()
