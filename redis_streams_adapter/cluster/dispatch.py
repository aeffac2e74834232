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
from ..clients.delivery import Client, Delivery
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
from ..runtime.runtime import Runtime
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
        self._lifecycle = Lifecycle(
            self._make_runtime, write_only, self._get_logger,
            self._registry.after_fork)
        #: The runtime of this process.
        self._live = self._lifecycle.runtime
        self._delivery: Optional[Delivery] = None
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

    def _make_runtime(self, former: Optional[Runtime]) -> Runtime:
        engine: Engine = ThreadEngine()
        if self.server is not None and not self.write_only:
            self._lifecycle.check_server()
            engine = ServerEngine(self.server)
        runtime = Runtime(
            self._options, self._driver, engine, self._get_logger,
            self._json_module(), self.write_only, self._act,
            self._served_namespaces, former)
        # python-socketio's name for it, which its admin interface shows.
        self.host_id = runtime.uid
        returning, recovery = self._returning, self._options.recovery
        if returning is not None and recovery is not None:
            runtime.keep(self._delivery, SessionWriter(
                SessionStore(self._driver, runtime.engine,
                             self._options.session_key_prefix,
                             recovery.max_disconnection_duration),
                runtime.engine, recovery, self._options.heartbeat_interval,
                Serialiser(self._json_module(), False), runtime.application,
                returning.describe, returning.progress, self._get_logger))
        return runtime

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
        keeper = self._live().keeper
        return {'delivered': delivered, **self._returning.counts,
                'sessions': keeper.local.count if keeper is not None else 0}

    # -- events -----------------------------------------------------------

    def _emit(self, namespace: str, args: Tuple[Any, ...],
              target: Target) -> None:
        runtime = self._live()
        message = Broadcast(args, target)
        fields = runtime.encode(namespace, message)
        delivery, timeline = self._delivery, runtime.timeline(namespace)
        if delivery is None or self.write_only:
            pending = runtime.append(namespace, fields)
        elif timeline is not None:
            with runtime.order:
                # As of now, and encoded now: what the application does next
                # comes after this.
                loads = delivery.pack(namespace, args, target, True)
                pending = runtime.append(namespace, fields)
                timeline.emitted(pending, namespace, message, loads)
        else:
            loads = delivery.pack(namespace, args, target)
            with runtime.order:
                pending = runtime.append(namespace, fields)
                delivery.hand_over(loads)
        self._settle(runtime, namespace, pending)

    def _deliver(self, namespace: str, args: Tuple[Any, ...],
                 target: Target) -> None:
        """Deliver an event to the own clients alone."""
        delivery, runtime = self._delivery, self._live()
        timeline = runtime.timeline(namespace)
        if delivery is None:
            return
        loads = delivery.pack(namespace, args, target)
        if loads:
            with runtime.order:
                if timeline is None:
                    delivery.hand_over(loads)
                else:
                    timeline.locally(namespace, loads)

    def _deliver_received(self, namespace: str, message: Broadcast) -> None:
        """Deliver what another process has emitted."""
        timeline = self._live().timeline(namespace)
        if timeline is None:
            self._deliver(namespace, message.args, message.target)
        else:
            timeline.deliver(
                namespace, self._recipients(namespace, message.target),
                message)

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
        pending, delivery, done = None, self._delivery, False
        runtime = self._live()
        timeline = runtime.timeline(namespace)
        try:
            loads = [] if delivery is None else delivery.pack_with_acks(
                namespace, args, clients, callback, self._generate_ack_id)
            with runtime.order:
                if append is not None:
                    pending = append()
                if timeline is None:
                    if delivery is not None:
                        delivery.hand_over(loads)
                elif received:
                    timeline.hand_over(loads)
                elif pending is not None:
                    timeline.emitted(pending, namespace, None, loads)
                else:
                    timeline.locally(namespace, loads)
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

    def _put(self, runtime: Runtime, namespace: str,
             message: Message) -> Pending:
        """Put a message into the outbox."""
        timeline = runtime.timeline(namespace)
        if timeline is None or message.type not in ORDERED:
            return runtime.publish(namespace, message)
        with runtime.order:
            pending = runtime.publish(namespace, message)
            # Own clients that are away now will have missed it.
            timeline.emitted(pending, namespace, message)
        return pending

    def _settle(self, runtime: Runtime, namespace: str,
                pending: Pending) -> None:
        """What ``publish`` asks for, after something was published."""
        if self._sync:
            runtime.wait(namespace, pending)
        else:
            runtime.make_room()
