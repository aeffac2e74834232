"""A process whose stream is written and read by tests, and its clients."""
import logging
import threading
from typing import Any, Callable, List, Tuple

import socketio

from redis_streams_adapter.clients.delivery import Delivery
from redis_streams_adapter.clients.direct_delivery import DirectDelivery
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.event_text import find_event
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    Message, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.recovery.stream_order import StreamOrderDelivery
from redis_streams_adapter.stream.outbox import Capacity, Pending

from ..fake_server import FakeClient, make_server


class Process:
    """A server's clients and their delivery."""

    def __init__(self, logger: Callable[[], logging.Logger],
                 limit: int = 1000, max_bytes: int = 2**20,
                 **server: Any) -> None:
        self.server = make_server(
            client_manager=socketio.Manager(), **server)
        self.local = Delivery(self.server.manager, self.server, logger)
        self.local.has_recovery = True
        self.order = threading.RLock()
        self.capacity = Capacity(limit, max_bytes)
        #: The commands of other processes that were carried out.
        self.acts: List[Act] = []
        self.lost = 0
        direct = DirectDelivery(
            self.append, self.order, self.acts.append, False)
        direct.local = self.local
        #: The position of the current entry, or of the last one.
        self.arrived = Position(100)
        self.delivery = StreamOrderDelivery(
            b'w', self.local, direct, self.append, self.order,
            self.acts.append, self.capacity, threading.Event, logger,
            lambda: self.arrived, lambda delivery: None, self._lose)
        self.follower: Any = self.delivery.follower
        self.delivery.is_read = True
        self.delivery.began(self.arrived)
        self.delivery.serve(['/', '/chat'])
        #: Whether events of other nodes come as the reader finds them in
        #: entries, so that most are passed on as they came.
        self.as_they_came = False
        self._encoder = Encoder('uid')
        self._sequence = 0

    def _lose(self) -> None:
        self.lost += 1

    def connect(self, *rooms: Any, takes_part: bool = True) -> FakeClient:
        client = FakeClient(self.server)
        for room in rooms:
            self.server.enter_room(client.sid, room)
        if takes_part:
            self.local.sent[client.sid] = None
        else:
            self.local.exempt.add(client.sid)
        return client

    def lose(self, client: FakeClient) -> None:
        """Unregister a client. Its connection is still closing."""
        sid = client.sid
        self.server.manager.disconnect(sid, '/', ignore_queue=True)
        self.local.forget(sid)

    # -- the manager's calls ---------------------------------------------

    def append(self, namespace: str, fields: Any) -> Pending:
        self._sequence += 1
        return Pending(fields, sum(map(len, fields)), self._sequence, True)

    def put(self, message: Message, namespace: str = '/') -> Pending:
        """Write an entry that the delivery does not know."""
        return self.append(namespace, self._encoder.encode(
            namespace, message))

    def emit(self, *args: Any, to: Any = (), skip: Any = (),
             flags: Any = {}) -> Pending:
        message = Broadcast(args, Target(tuple(to), tuple(skip), flags))
        return self.delivery.emit(
            '/', message, self._encoder.encode('/', message))

    def command(self, message: Message, namespace: str = '/') -> Pending:
        return self.delivery.command(
            namespace, message, self._encoder.encode(namespace, message),
            None)

    def ask(self, *args: Any, ack_id: int = 1) -> Pending:
        """Emit an event that requests an acknowledgement."""
        pending = self.delivery.ask(
            '/', args, self.local.recipients('/', EVERYONE),
            lambda sid: ack_id,
            lambda: self.put(Broadcast(args, EVERYONE, 'request')), False)
        assert pending is not None
        return pending

    def locally(self, *args: Any) -> None:
        self.delivery.locally('/', Broadcast(args))

    # -- the reader's calls ----------------------------------------------

    def back(self, pending: Pending, entry_id: Position) -> None:
        """Read a message of this process."""
        self.arrived = entry_id
        self.follower.came_back(
            Entry(entry_id, pending.fields), pending.sequence, True)
        self.follower.moved(entry_id)

    def heartbeat(self, after: Pending, entry_id: Position) -> None:
        """Read a heartbeat that this process sent after a message."""
        self.arrived = entry_id
        self.follower.came_back(Entry(entry_id, []), after.sequence, False)
        self.follower.moved(entry_id)

    def receive(self, entry_id: Position, *args: Any, to: Any = (),
                flags: Any = {}, namespace: str = '/') -> None:
        """Read another node's event."""
        message = Broadcast(args, Target(tuple(to), (), flags))
        self.take_in(entry_id, namespace, message)

    def take_in(self, entry_id: Position, namespace: str,
                message: Message, fields: Any = ()) -> None:
        """Read another node's message."""
        self.arrived = entry_id
        encoded = self._encoder.encode(namespace, message)
        if self.as_they_came and isinstance(message, Broadcast):
            message = find_event(encoded[-1]) or message
        try:
            self.delivery.received(
                Entry(entry_id, [*encoded, *fields]),
                Act(namespace, 'other', message))
        finally:
            if self.delivery.position is not entry_id:
                self.follower.moved(entry_id)


def got(client: FakeClient) -> List[Tuple[Any, ...]]:
    """The events of a client, with their arguments."""
    return [(event.name, *event.args) for event in client.events()]
