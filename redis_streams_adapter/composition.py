"""How the parts of a manager are put together, and what each is given.

This happens at three moments:

- at construction, :class:`Parts` makes the parts that need no server;
- when the manager gets its server, :meth:`Parts.set_server` makes those for
  the local clients;
- when this process first needs a runtime, and in a child process after a fork,
  :meth:`Parts.make_runtime` makes those that two processes must not share.

Only this module asks whether recovery is on. The other parts are given objects
that behave accordingly.
"""
import json as standard_json
from logging import getLogger, Logger
from typing import Any, Callable, Dict, Iterable, Optional, TYPE_CHECKING

from .clients import hooks, send_queue, websocket
from .clients.connections import Connections
from .clients.delivery import Delivery
from .clients.registry import Registry
from .clients.tracking import NoTracking, Tracking
from .cluster.incoming import Incoming
from .cluster.inboxes import Inboxes
from .cluster.local_stats import LocalStats, this_process
from .cluster.pubsub import PubSub
from .cluster.requester import Requester
from .cluster.server_side import ServerSideHandlers
from .concurrency.engines import Engine, ServerEngine, ThreadEngine
from .concurrency.log_context import ContextLogger
from .concurrency.log_limiter import LogLimiter
from .configuration import described
from .errors import ConfigurationError
from .kinds import Kinds, PLAIN
from .options import Options
from .protocol.messages import EMITTER_UID
from .protocol.values import Serialiser
from .runtime.delivery import Deliveries
from .runtime.lifecycle import Lifecycle
from .runtime.runtime import Runtime
from .stream.driver import Driver

if TYPE_CHECKING:
    from .recovery.tracker import ClientTracker

#: The logger to use if neither the application nor its server has one.
package_logger = getLogger('redis_streams_adapter')


def _kinds(options: Options) -> Kinds:
    """Which classes the parts are made of.

    :raises ConfigurationError: an option needs a package that is not
                                installed.
    """
    if not options.tracing:
        return PLAIN
    try:
        from .tracing import KINDS
    except ImportError as exc:
        raise ConfigurationError(
            "tracing needs opentelemetry-api, which is not installed: pip "
            "install 'redis-streams-adapter[otel]'") from exc
    return KINDS


class Parts:
    """The parts of one manager.

    :param manager: the manager; its ``server`` is set later.
    :param plain: python-socketio's own methods of the manager: its
                  ``super()``.
    :param json: the option ``json``.
    :param logger: returns the logger to use now.
    :param observes: whether it only watches the cluster, see
                     :class:`~redis_streams_adapter.runtime.tasks.State`.
    """

    def __init__(self, manager: Any, plain: Any, options: Options,
                 driver: Driver, json: Any, logger: Callable[[], Logger],
                 observes: bool = False) -> None:
        self._observes = observes
        self._manager = manager
        self._options = options
        self._driver = driver
        self._json = json
        #: The logger to use now, with the uid that this process has now.
        self.logger = logger = ContextLogger(logger, self._uid)
        self._write_only: bool = manager.write_only
        #: python-socketio's register of local clients and rooms.
        self.registry = Registry(
            manager, plain, lambda: self.lifecycle.runtime().order)
        #: Starts and closes; has the runtime of this process.
        self.lifecycle: Lifecycle[Requester] = Lifecycle(
            manager, self.make_runtime, self._write_only, logger,
            self.registry.after_fork)
        self._limited = LogLimiter(logger)
        self._handlers = ServerSideHandlers(self._limited)
        #: The classes of the parts.
        self._kinds = _kinds(options)
        #: Sends events and commands.
        self.outgoing = self._kinds.outgoing(self.lifecycle, self.registry)
        #: Carries out what other processes write.
        stats = LocalStats(manager, described(options), self.stats,
                           self.health, self.latencies)
        self._incoming = Incoming(
            self.lifecycle, self.outgoing, self._handlers, stats)
        #: Sends requests and commands to all servers.
        self.cluster = self._kinds.cluster(
            manager, self.lifecycle, self.outgoing, self._incoming,
            self._handlers, stats)
        # From here on: the task that creates the server sets these, once,
        # before any client connects.
        #: Puts packets into the queues of local clients.
        self.local: Optional[Delivery] = None
        #: Follows local clients, for recovery; or does nothing.
        self.tracking: Tracking = NoTracking(self.registry)
        #: The same; ``None`` without recovery.
        self.tracker: Optional['ClientTracker'] = None

    def set_server(self, server: Any) -> None:
        """Make the parts for the local clients of a server."""
        lifecycle = self.lifecycle
        lifecycle.server = server
        lifecycle.connections = Connections(
            server, lambda: lifecycle.turns_away)
        websocket.install(server, ContextLogger(
            lambda: package_logger, self._uid)())
        send_queue.install(server)
        self.local = local = Delivery(self._manager, server, self._limited)
        if not self._write_only:
            self.outgoing.local = local
        recovery = self._options.recovery
        if recovery is None or self._write_only:
            self.tracking = NoTracking(self.registry, local)
            hooks.guard(server)
        else:
            # Imported only with recovery: that saves 0.8 MiB without it.
            from .recovery.tracker import ClientTracker
            self.tracking = self.tracker = ClientTracker(
                self._manager, server, local, recovery, lifecycle.runtime,
                self.outgoing.put)
            hooks.install(server, self.tracker)
        self._incoming.tracking = self.tracking
        # From here on, a new runtime is made with these parts.
        runtime = lifecycle.made()
        if runtime is not None:
            # This process was used before there was a server.
            runtime.deliver_by(self._make_deliveries(runtime))

    def make_runtime(self, former: Optional[Runtime[Requester]]
                     ) -> Runtime[Requester]:
        """Make the runtime of this process.

        :param former: the one before it in this process, which is closed.
        :raises RuntimeError: ``socket`` is not monkey patched.
        """
        engine: Engine = ThreadEngine()
        server = self.lifecycle.server
        if server is not None and not self._write_only:
            self.lifecycle.check_server()
            engine = ServerEngine(server)
        runtime = Runtime(
            self._options, self._driver, engine, self.logger,
            self._kinds.encoder(EMITTER_UID, self._json_module(),
                                self._options.only_plaintext),
            self._write_only, self._incoming.act,
            self._served_namespaces, self._make_deliveries,
            self._make_requests, former, self._observes)
        runtime.encoder.process = this_process()
        # The name that python-socketio uses; its admin interface shows it.
        self._manager.host_id = runtime.uid
        return runtime

    def _uid(self) -> Optional[str]:
        """The uid of this process, if it has one."""
        runtime = self.lifecycle.current
        return None if runtime is None else runtime.uid

    def stats(self) -> Dict[str, int]:
        """See the manager's ``stats``."""
        local = self.local
        return {'delivered': local.delivered if local is not None else 0,
                **self.tracking.stats(),
                **self.lifecycle.runtime().status.stats()}

    def health(self) -> Dict[str, Any]:
        """See the manager's ``health``."""
        return self.lifecycle.runtime().status.health()

    def latencies(self) -> Dict[str, Dict[str, float]]:
        """See the manager's ``latencies``."""
        return self.lifecycle.runtime().status.latencies()

    def _make_deliveries(self, runtime: Runtime[Requester]) -> Deliveries:
        """Decide how events reach the local clients of this process."""
        direct = self._kinds.direct(
            runtime, runtime.append, runtime.order, runtime.act,
            self._write_only)
        direct.local = local = self.local
        tracker, recovery = self.tracker, self._options.recovery
        if local is None or tracker is None or recovery is None:
            return direct
        # As above.
        from .recovery.session_writer import SessionWriter
        from .stream.session_store import SessionStore
        writer = SessionWriter(
            SessionStore(self._driver, runtime.engine,
                         self._options.session_key_prefix,
                         recovery.max_disconnection_duration),
            runtime.engine, recovery, self._options.heartbeat_interval,
            Serialiser(self._json_module(), False), runtime.application,
            tracker.describe, tracker.progress, runtime.limited)
        return self._kinds.ordered(
            runtime, writer, local, direct, runtime.append, runtime.order,
            runtime.act, runtime.capacity, runtime.engine.event,
            runtime.limited, runtime.delivery)

    def _make_requests(self, runtime: Runtime[Requester]) -> Requester:
        start = runtime.tasks.start_pubsub
        pubsub = PubSub(
            self._options, self._driver, runtime.engine, runtime.limited,
            runtime.encoder, runtime.application,
            self._kinds.hear(runtime, runtime.events.receive),
            runtime.status.skip, start, self._kinds.unpack)
        inboxes = Inboxes(
            self._options, self._driver, runtime.engine, runtime.limited,
            runtime.uid, runtime.events.receive, runtime.status.skip, start)
        return Requester(
            runtime.node, runtime.core, pubsub, inboxes, runtime)

    def _served_namespaces(self) -> Iterable[str]:
        if self._observes:
            return ()
        return dict.fromkeys([*self.registry.namespaces(),
                              *self.tracking.namespaces,
                              *self._handlers.namespaces])

    def _json_module(self) -> Any:
        server = self.lifecycle.server
        if self._json is None and server is not None:
            return server.packet_class.json
        return self._json or standard_json
