"""Fakes of the parts that modules of recovery need: a server, the runtime,
the delivery, and a Redis with sessions and a stream."""
import json
import logging
from collections import deque
from types import SimpleNamespace
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, \
    Set, Tuple

from engineio.packet import Packet, PONG

from redis_streams_adapter.options import RecoveryOptions
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.protocol.values import Serialiser
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.deliveries import StreamOrderDeliveries
from redis_streams_adapter.recovery.local_sessions import LocalSessions
from redis_streams_adapter.recovery.replay import History
from redis_streams_adapter.recovery.session import Session
from redis_streams_adapter.recovery.session_codec import SessionCodec
from redis_streams_adapter.stream.session_store import Found

from .writing import FakeSessions, OURS


class FakeEvent:
    """An event that never blocks: ``on_wait`` runs during a wait."""

    def __init__(self) -> None:
        self._is_set = False
        #: The timeouts of the waits.
        self.waits: List[Optional[float]] = []
        self.on_wait: Callable[[], Any] = lambda: None

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: Optional[float] = None) -> bool:
        self.waits.append(timeout)
        if not self._is_set:
            self.on_wait()
        return self._is_set


class Order:
    """The order lock. It is not reentrant here."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *_: Any) -> None:
        self.held = False


class Connection:
    """A connection of python-engineio."""

    def __init__(self) -> None:
        self.closing = self.closed = False
        self.last_ping = None
        #: The reasons of all calls of close().
        self.reasons: List[str] = []
        self.on_close: Callable[[], Any] = lambda: None

    def receive(self, packet: Packet) -> None:
        pass

    def close(self, wait: bool, abort: bool, reason: str) -> None:
        assert not wait and abort
        self.reasons.append(reason)
        self.closed = True
        self.on_close()

    def answer(self) -> None:
        """The client answers a PING."""
        self.receive(Packet(PONG))


class Manager:
    """The clients of a server, by namespace and sid."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self._get_logger = logger
        self.clients: Dict[Tuple[str, str], str] = {}
        #: The rooms with which each client was registered.
        self.rooms: Dict[Tuple[str, str], Any] = {}
        self.disconnected: List[Tuple[str, str]] = []

    def register(self, sid: str, eio_sid: str, namespace: str,
                 rooms: Any) -> bool:
        if self.sid_from_eio_sid(eio_sid, namespace) is not None:
            return False
        self.clients[namespace, sid] = eio_sid
        self.rooms[namespace, sid] = rooms
        return True

    def eio_sid_from_sid(self, sid: str, namespace: str) -> Optional[str]:
        return self.clients.get((namespace, sid))

    def sid_from_eio_sid(self, eio_sid: str,
                         namespace: str) -> Optional[str]:
        return next((sid for (each, sid), other in self.clients.items()
                     if (each, other) == (namespace, eio_sid)), None)

    def get_namespaces(self) -> List[str]:
        return sorted({namespace for namespace, _ in self.clients})

    def disconnect(self, sid: str, namespace: str,
                   ignore_queue: bool = False) -> None:
        assert ignore_queue
        self.disconnected.append((namespace, sid))


class Store(FakeSessions):
    """A Redis with sessions and a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: List[Entry] = []
        #: The stream was trimmed up to this position.
        self.trimmed: Optional[Position] = None
        #: Each look-up, page and swap first calls the next of these.
        self.before: Deque[Callable[[], Any]] = deque()
        self.is_up = True
        #: The positions after which pages were read.
        self.pages: List[Position] = []
        #: The positions from which pages were read backwards.
        self.looked_back: List[Position] = []

    def _next(self) -> None:
        if self.before:
            self.before.popleft()()

    def find(self, pid: str, stream: str,
             offset: Optional[Position]) -> Found:
        assert stream == 'socket.io'
        with self._call('find', [pid]):
            self._next()
            ids = [entry.id for entry in self.entries]
            return Found(self.values.get(pid), offset in ids,
                         ids[0] if ids else None, ids[-1] if ids else None)

    def get(self, pid: str) -> Optional[bytes]:
        with self._call('get', [pid]):
            return self.values.get(pid)

    def page(self, stream: str, after: Position, count: int
             ) -> Tuple[List[Entry], Optional[Position]]:
        assert stream == 'socket.io'
        self.pages.append(after)
        self._next()
        return [entry for entry in self.entries if entry.id > after][:count], \
            self.entries[0].id if self.entries else None

    def page_before(self, stream: str, upto: Position,
                    count: int) -> List[Entry]:
        assert stream == 'socket.io'
        self.looked_back.append(upto)
        return [entry for entry in reversed(self.entries)
                if entry.id <= upto][:count]

    def next_id(self, stream: str, after: Position) -> Optional[Position]:
        assert stream == 'socket.io'
        self._next()
        return next((entry.id for entry in self.entries
                     if entry.id > after), None)

    def read_in_parts(self, stream: str, *command: bytes) -> Any:
        # As a server that permits no scripts.
        return None

    def first_id(self, stream: str) -> Optional[Position]:
        return self.entries[0].id if self.entries else None

    def wait(self, timeout: float) -> bool:
        return self.is_up


class Timeline:
    """The delivery of a namespace's events to its clients."""

    def __init__(self, parts: 'Parts') -> None:
        self.history = History()
        self.handed_over = self.position = Position(100)
        self.commanded: Any = None
        self.has_left = False
        self.has_begun = True
        self.is_waiting = False
        #: Its calls.
        self.calls: List[Any] = []
        #: The positions of waits, with their timeouts. ``reaches`` is the
        #: result of each wait.
        self.reached: List[Any] = []
        self.reaches = True
        #: Called when records are about to be delivered.
        self.on_deliver: Callable[[], Any] = lambda: None
        self._parts = parts

    def deliver_again(self, address: Any, namespace: str,
                      records: Sequence[Any],
                      is_here: Callable[[], bool]) -> bool:
        self.on_deliver()
        with self._parts.order:
            if not is_here():
                return False
            self.calls.append(('again', address, namespace, list(records)))
            return True

    def reach(self, position: Position, timeout: float) -> bool:
        self.reached.append((position, timeout))
        return self.reaches

    def place(self, client: ClientSession) -> None:
        assert self._parts.order.held
        client.begin_at(self.position)

    def admit(self, *args: Any) -> Callable[[], None]:
        assert self._parts.order.held

        def join() -> None:
            assert self._parts.order.held
            self.calls.append(('admit', *args))

        return join

    def flush(self, sid: str, after: Any = None) -> None:
        self.calls.append(('flush', sid))
        if after is not None:
            after()

    def hand_over_later(self, namespace: str, loads: Sequence[Any]) -> None:
        self.calls.append(('later', namespace, loads))


class FakeDelivery:
    """The delivery to the local clients."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.sent: Dict[str, Any] = {}
        self.exempt: Set[str] = set()
        self.gaps: Dict[str, Any] = {}
        self.long_time = 0
        self.held: List[str] = []
        self.released: List[Any] = []
        self.forgotten: List[str] = []
        self.disconnects: List[Any] = []
        self.logged = 0

    def hold(self, sid: str) -> None:
        assert self._order.held
        self.held.append(sid)

    def release(self, address: Any) -> None:
        self.released.append(address)

    def forget(self, sid: str) -> None:
        assert self._order.held
        self.sent.pop(sid, None)
        self.exempt.discard(sid)
        self.forgotten.append(sid)

    def disconnect(self, *args: Any) -> None:
        self.disconnects.append(args)

    def log_lines(self, order: Any) -> None:
        assert order is self._order and not order.held
        self.logged += 1


class Parts:
    """All of these fakes, and a fake
    :class:`~redis_streams_adapter.recovery.local_clients.LocalClients`."""

    def __init__(self, logger: Callable[[], logging.Logger],
                 max_bytes: int = 65_536) -> None:
        self.order = Order()
        self.store = Store()
        self.manager = Manager(logger)
        self.delivery: Any = FakeDelivery(self.order)
        #: Background tasks that were started and have not run yet.
        self.background: List[Callable[[], Any]] = []
        self.sent_packets: List[Any] = []
        self.engine_sessions: Dict[str, Dict[str, Any]] = {}
        self.server_disconnects: List[Any] = []
        self.server: Any = SimpleNamespace(
            always_connect=False, environ={},
            reason=SimpleNamespace(TRANSPORT_CLOSE='transport close'),
            eio=SimpleNamespace(
                sockets={}, generate_id=lambda: 'new sid',
                get_session=self.engine_sessions.__getitem__,
                send_packet=lambda *args: self.sent_packets.append(args)),
            disconnect=lambda *args, **_: self.server_disconnects.append(
                args),
            start_background_task=lambda work, *args: self.background.append(
                lambda: work(*args)))
        #: How often the engine paused for other tasks.
        self.pauses = 0
        self.events: List[FakeEvent] = []
        self.runtime: Any = SimpleNamespace(
            uid='me',
            order=self.order, is_connected=True, closed=False,
            stream=lambda namespace: 'socket.io',
            await_connection=lambda timeout: self.runtime.is_connected,
            start=lambda: None, deliveries=None,
            engine=SimpleNamespace(event=self._event, pause=self._pause))
        self.log_texts: List[str] = []
        self.copied: List[ClientSession] = []
        self.local = LocalSessions(
            self._copy_of, FakeEvent())  # type: ignore[arg-type]
        #: The clients whose session was written for the first time.
        self.written: List[ClientSession] = []
        self.claimed: List[Any] = []
        self.on_write: Callable[[], Any] = lambda: None
        self.writer: Any = SimpleNamespace(
            local=self.local, sessions=self.store,
            codec=SessionCodec(
                RecoveryOptions(max_session_bytes=max_bytes),
                Serialiser(json, False), OURS, logger),
            write_first=self._write_first,
            claimed=lambda *args: self.claimed.append(args))
        self.timelines: Dict[str, Timeline] = {}
        self.restored: List[Any] = []
        self.progressed: List[ClientSession] = []
        self.clients: Any = SimpleNamespace(
            manager=self.manager, server=self.server, delivery=self.delivery,
            live=lambda: self.runtime, session_writer=self.writer,
            sessions=self.local, timeline=self.timeline,
            log_lines=lambda: self.delivery.log_lines(self.order),
            log=lambda text, *args, extra: self.log_texts.append(text % args),
            logger=logger,
            environ=self.server.environ.get, describe=self.describe,
            progress=self.progressed.append,
            flask_session=lambda client: client.flask,
            restore=lambda *args: self.restored.append(args))

    def _event(self) -> FakeEvent:
        event = FakeEvent()
        self.events.append(event)
        return event

    def _pause(self) -> None:
        assert not self.order.held
        self.pauses += 1

    def _copy_of(self, client: ClientSession) -> Session:
        self.copied.append(client)
        return self.describe(client)

    def _write_first(self, client: ClientSession) -> None:
        self.written.append(client)
        self.on_write()

    @staticmethod
    def describe(client: ClientSession) -> Session:
        return Session(
            client.sid, client.pid, tuple(sorted(map(str, client.rooms))),
            client.data, client.namespace, client.claim)

    def timeline(self, namespace: str = '/') -> Timeline:
        if namespace not in self.timelines:
            self.timelines[namespace] = Timeline(self)
        return self.timelines[namespace]

    def connect(self, eio_sid: str = 'e') -> Connection:
        """Add an open connection."""
        self.server.environ[eio_sid] = {}
        self.engine_sessions[eio_sid] = {}
        connection = Connection()
        self.server.eio.sockets[eio_sid] = connection
        return connection

    def client(self, sid: str = 's', namespace: str = '/', eio_sid: str = 'e',
               **kept: Any) -> ClientSession:
        """Register a client whose connect handler is running."""
        if eio_sid not in self.server.eio.sockets:
            self.connect(eio_sid)
        gone: Any = FakeEvent()
        client = ClientSession(
            (sid, eio_sid), namespace, f'pid of {sid}', f'claim of {sid}',
            Position(1), gone, Position(0, 1))
        vars(client).update(kept)
        self.manager.register(sid, eio_sid, namespace, ())
        self.local.register(client)
        return client

    def run_background(self) -> None:
        """Run the background tasks that were started so far."""
        works, self.background[:] = list(self.background), []
        for work in works:
            work()

    def session(self, sid: str = 's', **changes: Any) -> Session:
        """A session with all fields that this package writes."""
        return Session(
            sid, f'pid of {sid}', (sid,), {}, '/', f'claim of {sid}',
            upto=Position(10), sent=Position(9), since=Position(1),
            obeyed=Position(10))._replace(**changes)

    def keep(self, session: Session) -> bytes:
        """Store a session in Redis."""
        value: bytes = self.writer.codec.encode(session)
        self.store.values[session.pid] = value
        return value


class FakeDeliveries(StreamOrderDeliveries):
    """The deliveries of a process with recovery."""

    def __init__(self, parts: Parts) -> None:
        self.session_writer = parts.writer
        self._parts = parts

    def of_namespace(self, namespace: str) -> Any:
        return self._parts.timeline(namespace)
