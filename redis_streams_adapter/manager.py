"""The public API: a client manager for python-socketio over Redis Streams.

python-socketio and the application call :class:`RedisStreamsManager`. It
passes each call on to one of the parts that
:class:`redis_streams_adapter.composition.Parts` puts together:

============== ============================================================
``_registry``  python-socketio's register of local clients and rooms
``_lifecycle`` starts and closes; has the runtime of this process
``_outgoing``  sends events and commands
``_cluster``   sends requests and commands to all servers
``_parts``     all of them; some are made with the server: ``local``, which
               delivers to local clients, and ``tracking``, which follows
               them for recovery
============== ============================================================

The way of one ``emit`` to the wire and back, in three steps:

1. :meth:`RedisStreamsManager.emit` calls
   :meth:`Outgoing.emit <redis_streams_adapter.cluster.outgoing.Outgoing.\
emit>`: the event is encoded, and put into the outbox and into the queues of
   the local clients.
2. The :class:`~redis_streams_adapter.stream.writer.Writer` of the stream
   takes the event from the outbox and sends it; the
   :class:`~redis_streams_adapter.stream.reader.Reader` of each other node
   takes it in.
3. On each of those nodes, :meth:`DirectDelivery.received
   <redis_streams_adapter.clients.direct_delivery.DirectDelivery.received>`
   delivers the event to the local clients; with recovery,
   :meth:`StreamFollower.received <redis_streams_adapter.recovery.\
stream_follower.StreamFollower.received>` does, in the stream's order.

This module is long because python-socketio and applications need all methods
on one object. Half of its lines are docstrings, the reference for users; no
method has more than a few steps.
"""
from logging import Logger, WARNING
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, \
    Type, TypeVar, Union

from socketio import PubSubManager

from .clients.connections import turn_away
from .clients.descriptions import note_arrival
from .clients.registry import HAS_PRE_CONNECT
from .cluster.calls import is_nobody, TIMEOUT
from .cluster.remote_socket import RemoteSocket
from .composition import package_logger, Parts
from .configuration import from_arguments
from .errors import ConfigurationError
from .log_events import CLIENT_TURNED_AWAY, INITIALIZED
from .nodes import NodeInfo, NodeStats
from .options import Options
from .protocol.addressing import arguments, rooms as as_rooms, \
    target as make_target
from .protocol.messages import Broadcast, DisconnectSockets, Room, \
    SocketsJoin, SocketsLeave, Target
from .protocol.values import check_finite
from .recovery.session import Outcome
from .stream.driver import open_driver
from .streams_url import in_environment, resolve, text

_Handler = TypeVar('_Handler', bound=Callable[..., Any])
Self = TypeVar('Self', bound='RedisStreamsManager')


class RedisStreamsManager(PubSubManager):
    """A client manager that forwards packets between servers through a Redis
    stream, so that nothing is lost while Redis is away.

    Use it like any other client manager of python-socketio::

        server = socketio.Server(client_manager=RedisStreamsManager(url))

    While Redis is away, no method blocks for longer than it takes to notice.
    An event waits in the outbox and is sent, in its order, when Redis is
    back; the clients of this server get it at once.

    :param url: Where Redis is: ``redis``, ``rediss``, ``unix``,
        ``redis+sentinel`` (as in python-socketio), ``redis+cluster``, the same
        with ``rediss`` and ``valkey``; or a client object of redis-py or
        valkey-py, whose settings are used but not its connections. Redis may
        be away at construction. Default: ``'redis://localhost:6379/0'``.
    :param stream_name: Key of the stream, the same on all servers of a
        cluster. Default: ``'socket.io'``.
    :param write_only: Only emit. For a process without clients, which then
        does not count as a server. Default: ``False``.
    :param logger: The logger to use. Without it the server's, if that shows
        warnings, else ``logging.getLogger('redis_streams_adapter')``. Default:
        the server's.
    :param json: The JSON module to serialise with. Default: the server's.
    :param redis_options: Arguments for the connections, as redis-py takes
        them. ``socket_timeout`` (5 s) is how long a frozen Redis goes
        unnoticed. Default: ``None``.
    :param stream_count: Number of streams. A hash of its name assigns a
        namespace to one of them. The same on all servers of a cluster.
        Default: 1.
    :param max_len: About how many entries a stream keeps. A server that is cut
        off from Redis while more are added misses the oldest. Default: 10,000
        entries; 1,000,000 with ``retention``.
    :param read_count: How many entries one read returns at most. Default: 100
        entries.
    :param block_time: How long one read waits for entries. Default: 5.0 s.
    :param heartbeat_interval: A server that has sent no message for this many
        seconds sends a heartbeat. Default: 5.0 s.
    :param heartbeat_timeout: A server that has sent no message for this many
        seconds is considered gone. Must be above ``heartbeat_interval``.
        Default: 10.0 s.
    :param request_transport: How requests travel: ``'stream'``, ``'pubsub'``
        or ``'sharded-pubsub'``, see ``docs/interop.rst``. Requests over
        PUB/SUB are lost while Redis is away, and time out. Default:
        ``'stream'``.
    :param channel_prefix: Prefix of the names of PUB/SUB channels. Default:
        ``'socket.io'``.
    :param only_plaintext: Refuse ``bytes``, so that every entry is JSON.
        Default: ``False``.
    :param connection_state_recovery: Give clients that reconnect their state
        and the events that they missed: ``True``; a number, the
        ``max_disconnection_duration`` in seconds; or a mapping with
        ``max_disconnection_duration``, ``max_missed_packets``,
        ``max_session_bytes``, ``accepts``, see ``docs/recovery.rst``. With it,
        events to local clients, too, wait while Redis is away. Default:
        ``None``.
    :param session_key_prefix: Prefix of the keys of the sessions that recovery
        stores. Default: ``'sio:session:'``.
    :param retention: For how many seconds entries are kept at least, up to
        ``max_len`` of them. With recovery, at least 2 times
        ``max_disconnection_duration``. Default: ``None``.
    :param outbox_limit: How many events may wait for Redis. Above that
        ``emit`` raises ``OutboxFullError``. Default: 100,000 events.
    :param outbox_max_bytes: How much memory the events that wait for Redis may
        take. Above that ``emit`` raises ``OutboxFullError``, or
        ``EventTooLargeError`` for an event that alone takes more. Default: 64
        MiB.
    :param publish: ``'background'``: ``emit`` returns when the event is in the
        outbox. ``'sync'``: ``emit`` returns when Redis has stored the event,
        or, while Redis is away, when it is in the outbox. ``'confirmed'``: the
        same, but ``emit`` raises ``NotStoredError`` if Redis has not stored
        the event. Default: ``'background'`` in a member of the cluster,
        ``'sync'`` in any other process.
    :param min_replicas: How many replicas must have an event before it counts
        as stored. While fewer have it, events wait in the outbox. Default: 0
        replicas.
    :param on_loss: Called with a ``redis_streams_adapter.losses.Loss`` for
        every loss that was detected, in a task of its own, so that the
        application can ask its clients to reload. Default: ``None``.
    :param tracing: Make spans of OpenTelemetry for events, see
        ``docs/tracing.rst``. Needs the extra ``otel``. Default: ``False``.
    :param channel: Another name for ``stream_name``. Give one of them.
        Default: ``None``.
    :raises ConfigurationError: an option is unknown or wrong; it is named.
    """
    name = 'redis-streams'

    #: Whether it only watches the cluster, see
    #: :mod:`redis_streams_adapter.observer`.
    _observes = False

    def __init__(self, url: Any = 'redis://localhost:6379/0',
                 stream_name: str = 'socket.io',
                 write_only: bool = False,
                 logger: Optional[Logger] = None, json: Any = None,
                 redis_options: Optional[Dict[str, Any]] = None, *,
                 stream_count: int = 1, max_len: Optional[int] = None,
                 read_count: int = 100, block_time: float = 5.0,
                 heartbeat_interval: float = 5.0,
                 heartbeat_timeout: float = 10.0,
                 request_transport: str = 'stream',
                 channel_prefix: str = 'socket.io',
                 only_plaintext: bool = False,
                 connection_state_recovery: Union[
                     None, bool, float, Mapping[str, Any]] = None,
                 session_key_prefix: str = 'sio:session:',
                 retention: Optional[float] = None,
                 outbox_limit: int = 100_000,
                 outbox_max_bytes: int = 64 * 2**20,
                 # Not a literal: it differs from the same text given by the
                 # caller.
                 publish: str = Options.publish, min_replicas: int = 0,
                 on_loss: Optional[Callable[[Any], Any]] = None,
                 tracing: bool = False,
                 channel: Optional[str] = None, **unknown: Any) -> None:
        given = resolve(locals())
        options = from_arguments(given)
        super().__init__(channel=options.stream_name, write_only=write_only,
                         logger=logger)
        self._options = options
        self._driver = open_driver(
            given['url'], redis_options or {}, options.stream_name)
        self._parts = parts = Parts(
            self, super(), options, self._driver, json, self._get_logger,
            self._observes)
        self._registry = parts.registry
        self._lifecycle = parts.lifecycle
        self._outgoing = parts.outgoing
        self._cluster = parts.cluster
        #: Returns the runtime of this process.
        self._live = parts.lifecycle.runtime

    @classmethod
    def from_url(cls: Type[Self], url: str, **options: Any) -> Self:
        """Make a manager from a URL, a string, and further arguments."""
        return cls(text(url), **options)

    @classmethod
    def from_env(cls: Type[Self], variable: str = 'REDIS_STREAMS_URL',
                 **options: Any) -> Self:
        """Make a manager from the URL in an environment variable.

        :raises ConfigurationError: as the constructor; or it is not set.
        """
        return cls(in_environment(variable), **options)

    def set_server(self, server: Any) -> None:
        """Called by the server when it is created."""
        if server.is_asyncio_based():
            raise ConfigurationError(
                'a socketio.AsyncServer cannot use RedisStreamsManager: use '
                'socketio.Server, or with asyncio socketio.AsyncRedisManager')
        super().set_server(server)
        self._parts.set_server(server)

    def _get_logger(self) -> Logger:
        given: Optional[Logger] = self.logger
        if given:
            return given
        # By default, a server logs errors only; an outage of Redis must be
        # logged all the same.
        if self.server is not None \
                and self.server.logger.isEnabledFor(WARNING):
            logger: Logger = self.server.logger
            return logger
        return package_logger

    # -- start and end ----------------------------------------------------

    def initialize(self) -> None:
        """Called by the server before its first request."""
        self.start()
        self._parts.logger().info(self.name + ' backend initialized.',
                                  extra=INITIALIZED())

    def start(self) -> None:
        """Join the cluster. Idempotent.

        Returns when the stream is followed, which takes milliseconds, or
        when that is not possible now: then the node joins by itself as soon
        as Redis is back. Waits for two seconds at most.

        :raises RuntimeError: the manager is write-only; or the server runs
                              under gevent or eventlet and ``socket`` is not
                              monkey patched.
        """
        self._lifecycle.start()

    def close(self, timeout: float = 5) -> None:
        """Leave the cluster: flush the outbox, say goodbye, end every task
        and connection. Idempotent; if an exception strikes it (a time limit,
        say), call it again.

        :param timeout: how many seconds to give the outbox and, for half
                        of that at most, the sessions of clients. The rest of
                        the outbox is lost, and the log says how much. Up to
                        two more seconds pass if tasks do not end.
        """
        self._lifecycle.close(timeout)

    def __enter__(self: Self) -> Self:
        if not self.write_only:
            self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until Redis has everything that was emitted.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False`` on timeout.
        """
        return self._lifecycle.flush(timeout)

    # -- connecting clients -----------------------------------------------

    def pre_connect(self, eio_sid: str, namespace: str) -> Optional[str]:
        """Before the connect handler; since python-socketio 5.17."""
        return self._admit(eio_sid, namespace)

    def connect(self, sid: str, namespace: str) -> Optional[str]:
        """After the connect handler. Until python-socketio 5.16 it is called
        before that, with the id of the connection."""
        if not HAS_PRE_CONNECT:
            return self._admit(sid, namespace)
        connected = self._registry.connect(sid, namespace)
        self._log_lines()
        self._appear_in(namespace)
        return connected

    def _admit(self, eio_sid: str, namespace: str) -> Optional[str]:
        if self._lifecycle.turns_away:
            self._parts.logger().info(
                'the connection of a new client was closed: this server is '
                'leaving the cluster', extra=CLIENT_TURNED_AWAY(
                    namespace=namespace, reason='closing'))
            turn_away(self.server, eio_sid)
            return None
        if self.server is not None:
            note_arrival(self.server, eio_sid)
        sid = self._parts.tracking.admit(eio_sid, namespace, self._appear_in)
        self._log_lines()
        return sid

    def _log_lines(self) -> None:
        """Log what was emitted under the order lock, by methods that another
        library has replaced."""
        local = self._parts.local
        if local is not None and local.lines:
            local.log_lines(self._live().order)

    def register(self, sid: str, eio_sid: str, namespace: str,
                 rooms: Iterable[Room]) -> bool:
        """Register a client under a sid of our choice."""
        return self._registry.register(sid, eio_sid, namespace, rooms)

    def _appear_in(self, namespace: str) -> None:
        self._live().membership.appear_in(namespace)

    # -- what the server calls --------------------------------------------

    def emit(self, event: str, data: Any, namespace: Optional[str] = None,
             room: Any = None, skip_sid: Any = None,
             callback: Optional[Callable[..., Any]] = None,
             to: Any = None, **kwargs: Any) -> None:
        """Emit an event to clients, wherever they are connected.

        The option ``publish`` says when it returns. While the outbox is more
        than half full and Redis works, it waits for a second at most.

        :param room: a sid, a room, or a list of them; ``None``: everyone in
                     the namespace. ``to`` is another name for it.
        :param skip_sid: a sid or a room, or a list of them, whose clients
                         are left out.
        :param callback: called with the arguments of the acknowledgement,
                         once for each client that answers, wherever it is
                         connected.
        :param ignore_queue: emit to the local clients only.
        :raises OutboxFullError: Redis has been away for too long; the message
                                 was not sent to any client.
        :raises TypeError, ValueError: the data cannot be serialised, or
            contains infinity or NaN, which no browser accepts, or is larger
            than the outbox (``EventTooLargeError``); the message was not sent
            to any client.
        """
        namespace = namespace or '/'
        if to is not None:
            room = to
        if not room and is_nobody(room):
            return
        args = arguments(event, data)
        target = make_target(room, skip_sid)
        local = bool(kwargs.get('ignore_queue'))
        if callback is not None:
            self._cluster.emit_with_callback(
                namespace, args, target, callback, local)
        elif local:
            # For other servers, the encoder does this.
            check_finite(args)
            self._outgoing.emit_locally(
                namespace, Broadcast(args, target))
        else:
            self._outgoing.emit(namespace, args, target)

    def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Called by the server's ``disconnect``. If another server has the
        client, that server disconnects it."""
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        connected = eio_sid is not None \
            and bool(self.is_connected(sid, namespace))
        if eio_sid is None or self._parts.tracking.is_leaving(sid, namespace):
            # For the server that has the client, or takes it over.
            self._outgoing.command(
                namespace or '/', DisconnectSockets(Target((sid,))))
        elif connected:
            self._parts.tracking.discard(namespace, (sid, eio_sid))
        return connected

    def disconnect(self, sid: str, namespace: Optional[str] = None,
                   **kwargs: Any) -> None:
        """Disconnect a client, wherever it is connected.

        :param ignore_queue: the server has disconnected it already.
        """
        namespace = namespace or '/'
        if kwargs.get('ignore_queue'):
            if self._parts.tracking.may_unregister(sid, namespace):
                super().disconnect(sid, namespace, ignore_queue=True)
                self._parts.tracking.unregister(sid, namespace)
        elif self.server is not None and self._is_local(sid, namespace):
            self.server.disconnect(sid, namespace, ignore_queue=True)
        else:
            self._outgoing.command(
                namespace, DisconnectSockets(Target((sid,))))

    def pre_disconnect(self, sid: str, namespace: str) -> Optional[str]:
        """Before the disconnect handler."""
        eio_sid = self._registry.pre_disconnect(sid, namespace)
        self._parts.tracking.leave(sid, namespace)
        return eio_sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> Optional[str]:
        """The connection of a local client."""
        return self._registry.eio_sid_from_sid(sid, namespace)

    def _is_local(self, sid: str, namespace: str) -> bool:
        """Whether a client is connected here, or is connecting or
        disconnecting."""
        return self.eio_sid_from_sid(sid, namespace) is not None

    def basic_disconnect(self, sid: str, namespace: str,
                         **kwargs: Any) -> None:
        """A local client is no longer registered."""
        self._registry.basic_disconnect(sid, namespace, **kwargs)
        self._log_lines()

    def basic_enter_room(self, sid: str, namespace: str,
                         room: Optional[Room],
                         eio_sid: Optional[str] = None) -> None:
        """A local client enters a room."""
        self._registry.basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self._parts.tracking.entered(sid, namespace, room)

    def basic_leave_room(self, sid: str, namespace: str,
                         room: Room) -> None:
        """A local client leaves a room."""
        self._registry.basic_leave_room(sid, namespace, room)
        self._parts.tracking.left(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> List[Room]:
        """The rooms of a local client."""
        return self._registry.get_rooms(sid, namespace)

    def recovery(self, sid: str, namespace: str = '/') -> Optional[Outcome]:
        """The outcome of a local client's attempt to be recovered:
        ``.recovered``, and ``.reason`` if it was not.

        :return: ``None`` for a client that did not try, or is not here.
        """
        outcome: Optional[Outcome] = self._parts.tracking.outcome(
            sid, namespace)
        return outcome

    def enter_room(self, sid: str, namespace: str, room: Room,
                   eio_sid: Optional[str] = None) -> None:
        """Make a client enter a room, wherever it is connected."""
        is_local = eio_sid is not None or self._is_local(sid, namespace)
        if not is_local or self._parts.tracking.is_leaving(sid, namespace):
            self._outgoing.command(
                namespace or '/', SocketsJoin(Target((sid,)), as_rooms(room)))
        if is_local:
            self.basic_enter_room(sid, namespace, room, eio_sid=eio_sid)

    def leave_room(self, sid: str, namespace: str, room: Room) -> None:
        """Make a client leave a room, wherever it is connected."""
        is_local = self._is_local(sid, namespace)
        if not is_local or self._parts.tracking.is_leaving(sid, namespace):
            self._outgoing.command(
                namespace or '/', SocketsLeave(Target((sid,)), as_rooms(room)))
        if is_local:
            self.basic_leave_room(sid, namespace, room)

    def close_room(self, room: Room,
                   namespace: Optional[str] = None) -> None:
        """Make all clients leave a room, wherever they are connected."""
        namespace = namespace or '/'
        rooms = as_rooms(room)
        if not rooms:
            return
        # Since python-socketio 5.17. Nothing is sent if it raises.
        is_sid = getattr(self, 'is_sid_room', None)
        if is_sid is not None and any(
                is_sid(namespace, each) for each in rooms):
            raise ValueError('cannot close a sid room')

        def close() -> None:
            for each in rooms:
                self.basic_close_room(each, namespace)

        self._outgoing.command(
            namespace, SocketsLeave(Target(rooms), rooms), close)

    # -- the whole cluster ------------------------------------------------

    def server_count(self, namespace: str = '/') -> int:
        """The number of nodes in a namespace, including this one if it serves
        the namespace.

        A manager that has not joined the cluster joins it. The first call
        waits until all nodes are known, usually some milliseconds, and
        :data:`TIMEOUT` seconds at most; later calls return at once. While
        Redis is away, it is the last known number; over PUB/SUB the number
        of nodes with heartbeats, after a socket timeout at most.

        :raises ClusterTimeoutError: this server does not know all nodes yet:
                                     it has just started and Redis is away,
                                     or part of the stream was lost.
        :raises RuntimeError: the manager is write-only, or it does not know
                              all nodes and is called on one of its own
                              tasks.
        """
        return self._cluster.server_count(namespace)

    def nodes(self, namespace: str = '/') -> List[NodeInfo]:
        """The nodes of a namespace, this one first if it serves the
        namespace: the uid of each, how many seconds ago it was last heard of,
        its host, the id of its process, and its language, as far as they are
        known.

        Waits and raises as :meth:`server_count` does. While Redis is away,
        returns the last known nodes.
        """
        return self._cluster.nodes(namespace)

    def fetch_sockets(self, namespace: str = '/', to: Any = None,
                      skip_sid: Any = None, local: bool = False,
                      timeout: float = TIMEOUT) -> List[RemoteSocket]:
        """Find clients, wherever they are connected. This server need not
        serve the namespace.

        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :param local: find local clients only; asks no other server.
        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError: not all have answered, or it is not known
                                     which servers have to, as always
                                     while Redis is away; ``responses`` has
                                     the sockets that were found.
        :raises RuntimeError: the manager is write-only, or the call is made
                              on one of its own tasks.
        """
        return self._cluster.fetch_sockets(
            namespace, to, skip_sid, local, timeout)

    def all_rooms(self, namespace: str = '/',
                  timeout: float = TIMEOUT) -> Dict[Room, int]:
        """How many clients of the whole cluster are in each room. Leaves out
        rooms whose name is a client's sid.

        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError, RuntimeError: as :meth:`fetch_sockets`.
        """
        return self._cluster.all_rooms(namespace, timeout)

    def room_counts(self, namespace: str = '/',
                    timeout: float = TIMEOUT) -> Dict[Room, int]:
        """The number of clients in each room: :meth:`all_rooms` by the name
        that other servers have for it. Servers in Python send numbers only.
        Rooms that are named like a client's sid are left out.

        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError, RuntimeError: as :meth:`fetch_sockets`.
        """
        return self.all_rooms(namespace, timeout)

    def sockets_join(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                     namespace: str = '/') -> None:
        """Make clients enter rooms, wherever they are connected.

        Returns as :meth:`emit` does.

        :param rooms: a room, or a list of them.
        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :raises OutboxFullError: Redis has been away for too long; nothing
                                 was done.
        """
        self._cluster.sockets_join(rooms, to, skip_sid, namespace)

    def sockets_leave(self, rooms: Any, to: Any = None, skip_sid: Any = None,
                      namespace: str = '/') -> None:
        """Make clients leave rooms, wherever they are connected.

        The parameters, and the errors, are those of :meth:`sockets_join`.
        """
        self._cluster.sockets_leave(rooms, to, skip_sid, namespace)

    def disconnect_sockets(self, to: Any = None, skip_sid: Any = None,
                           namespace: str = '/',
                           close: bool = False) -> None:
        """Disconnect clients, wherever they are connected.

        :param close: close their connections, and with them all namespaces.

        The other parameters, and the errors, are those of
        :meth:`sockets_join`.
        """
        self._cluster.disconnect_sockets(to, skip_sid, namespace, close)

    def emit_with_ack(self, event: str, data: Any = None, to: Any = None,
                      skip_sid: Any = None, namespace: str = '/',
                      timeout: float = TIMEOUT) -> List[Any]:
        """Emit an event to clients, wherever they are connected, and wait
        until each of them has acknowledged it.

        :param to: a sid, a room, or a list of them; ``None``: everyone.
        :param skip_sid: a sid or a room, or a list of them, left out.
        :param timeout: seconds to wait.
        :return: for each client the acknowledgement's argument; a tuple if
                 it has several, ``None`` if it has none. For a client of a
                 server in Node.js, the first argument.
        :raises ClusterTimeoutError: not all have answered; or it is not
                                     known in time which servers have to, and
                                     nothing was sent.
        :raises OutboxFullError, TypeError, ValueError: as :meth:`emit`.
        :raises RuntimeError: the manager is write-only, the call is made on
                              one of its own tasks, or the server has
                              ``async_handlers=False``.
        """
        return self._cluster.emit_with_ack(
            event, data, to, skip_sid, namespace, timeout)

    def on_server_side(self, event: str,
                       handler: Optional[_Handler] = None,
                       namespace: str = '/') -> Any:
        """Handle an event that another server sends with
        :meth:`server_side_emit` or :meth:`server_side_call`; also as a
        decorator.

        :param handler: called with the event's arguments, in a task of its
                        own. The value that it returns is the response. If it
                        raises, the error is logged, and there is no response.
                        An event may have several handlers: the first value
                        that is not ``None`` is the response.
        """
        return self._cluster.on_server_side(event, handler, namespace)

    def server_side_emit(self, event: str, *args: Any,
                         namespace: str = '/') -> None:
        """Send an event to every other server of the cluster.

        Returns as :meth:`emit` does.

        :raises ValueError: the name is reserved in Node.js: ``connect``,
                            ``connection``, ``new_namespace``.
        :raises OutboxFullError, TypeError: as :meth:`emit`.
        """
        self._cluster.server_side_emit(event, args, namespace)

    def server_side_call(self, event: str, *args: Any, namespace: str = '/',
                         timeout: float = TIMEOUT) -> List[Any]:
        """Send an event to every other server of the cluster, and wait for
        their responses.

        :param timeout: seconds to wait. A server whose handler raises, or in
                        Node.js without one, does not answer.
        :return: one response for each other server; ``None``: no handler.
        :raises ClusterTimeoutError: not all have answered, or it is not known
                                     in time which servers have to.
        :raises OutboxFullError, TypeError, ValueError: as
            :meth:`server_side_emit`.
        :raises RuntimeError: as :meth:`fetch_sockets`.
        """
        return self._cluster.server_side_call(event, args, namespace, timeout)

    # -- monitoring -------------------------------------------------------

    def cluster_stats(self, timeout: float = TIMEOUT) -> List[NodeStats]:
        """The state of every server of the cluster, whichever namespaces it
        serves, this one first: its host, process, version, clients, rooms,
        memory, :meth:`stats` and :meth:`health`.

        The servers answer by themselves, without a handler of the
        application. Of a server in Node.js, and of one with an older version
        of this package, only the uid, the language and when it was last heard
        of are known. A server in Node.js has a uid in each namespace, and is
        listed with that in ``/``; it is never waited for.

        Over PUB/SUB, a server that only hears another transport is waited for
        until the timeout, as in :meth:`fetch_sockets`. The first call of a
        process waits until it knows all servers: up to ``heartbeat_timeout``
        if the stream does not reach back that far.

        :param timeout: seconds to wait for the other servers.
        :raises ClusterTimeoutError: not all have answered, or it is not known
                                     which servers have to, as always
                                     while Redis is away; ``responses`` has
                                     those that have.
        :raises RuntimeError: as :meth:`fetch_sockets`.
        """
        return self._cluster.cluster_stats(timeout)

    @property
    def uid(self) -> str:
        """The id of this process in the cluster; a fork gets another one."""
        return self._live().uid

    @property
    def phase(self) -> str:
        """``'starting'`` until the manager is a member of the cluster and
        follows its streams, or knows that it cannot now; then ``'joined'``;
        ``'closing'`` from the moment from which the server shuts down or the
        manager closes. Never waits, and starts nothing."""
        return self._lifecycle.phase

    def stats(self) -> Dict[str, int]:
        """Counters since the manager was started in this process:

        ``delivered``
            Packets to local clients.
        ``sent``, ``batches``
            Entries that Redis stored, and the batches that they were sent in.
        ``found_after_break``
            Entries found in the stream after a broken connection.
        ``refused``
            Entries that Redis refused for good.
        ``outbox``, ``outbox_bytes``
            Entries and bytes that wait to be sent.
        ``received``
            Entries that were read.
        ``malformed``, ``duplicates``, ``failed``
            Those of them that had no effect: they were not a valid message,
            or a copy, or an error struck while they were carried out.
            ``malformed`` also counts messages over PUB/SUB. The arguments of
            an event are read only if a client here gets it.
        ``messages_lost``, ``entries_trimmed``, ``streams_deleted``, \
``stream_setbacks``, ``messages_vanished``, ``entries_evicted``
            Losses, see :mod:`redis_streams_adapter.losses`.
        ``writer_restarts``, ``reader_restarts``
            Restarts of a task after an error.
        ``requests_dropped``
            Requests and answers over PUB/SUB, and answers to inboxes, that
            were not sent, or not known to be.
        ``outages``
            Outages of Redis.
        ``task_deaths``, ``stalls``
            How often a task of the manager ended without being asked to, and
            how often one had work and made no progress.

        With recovery also ``sessions``, how many sessions of local clients
        are kept, ``recovered``, how many clients were recovered, and how many
        were not, by reason: ``not_recovered_unknown_session`` and so on.
        """
        return self._parts.stats()

    def health(self) -> Dict[str, Any]:
        """The state of the manager, for a health check:

        ``status``
            ``'ok'`` or ``'degraded'``; that too if only requests fail, or
            only the sessions of clients cannot be read and written.
        ``connected``
            Whether Redis can be read and written; ``None``: not tried yet.
        ``reader_lag``
            How many seconds the reader lags; ``None``: unknown.
        ``outbox``, ``outbox_bytes``
            How many entries and bytes wait to be sent.
        ``nodes``
            How many nodes are known, including this one.
        ``messages_lost``
            How many messages of other servers never arrived here.
        ``entries_evicted``
            How many entries it trimmed since the memory of Redis was full.
        ``stalled``
            The names of tasks that have ended, or have work and make no
            progress.
        ``last_error``
            The last error of Redis or its connection; ``None``: there was
            none.
        ``outage``
            For how many seconds Redis has been away; ``None``: it is not.
        ``last_outage``
            How many seconds ago the last outage ``ended``, how many it
            ``lasted``, and its ``reason``; ``None``: there was none.
        """
        return self._parts.health()

    def latencies(self) -> Dict[str, Dict[str, float]]:
        """How long entries took since the manager was started in this
        process, as histograms:

        ``outbox``
            From the outbox until Redis had stored them. While Redis is away,
            they wait there.
        ``delivery``
            From the moment in which Redis stored them until what is in them
            was in the queues of local clients. By the clock of Redis, which
            is known to about the time of a round trip.

        Entries that were sent or read together count with the time of the
        oldest one.

        :return: for each, how many entries took at most as many seconds as
                 the key says, ``'0.001'`` to ``'300.0'`` and ``'+Inf'``; and
                 the ``sum`` of their times.
        """
        return self._parts.latencies()
