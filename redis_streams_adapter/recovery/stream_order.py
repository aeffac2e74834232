"""Events reach the local clients in the order of the stream: delivery with
recovery.

All nodes deliver all messages in one order, that of the stream. So a node
delivers its own messages, too, when it reads them from the stream, and never
before. Until then they wait with the clients that they were meant for when
they were emitted, see :mod:`redis_streams_adapter.recovery.waiting_events`.

Everything here is written under the order lock, except two marks: the
reader's task marks the history as lost, and the task that starts the reader
marks the stream as read. Packets are encoded without the order lock, because
packet classes and JSON modules are the application's: if it turns out under
the lock that a packet is needed, the lock is released and taken again.

*If an exception strikes a task that emits*, its event is in the outbox and
waits here, or it is in the outbox alone. Then it reaches the clients of other
nodes, and clients that are away, but no local client.
"""
import logging
from typing import Any, Callable, Collection, Optional, Sequence, Tuple

from ..clients.delivery import Delivery, Load
from ..clients.direct_delivery import Append, DirectDelivery
from ..clients.encoding import Encoded
from ..concurrency.engines import Event
from ..protocol.events import Act
from ..protocol.messages import Broadcast, Message, ORDERED
from ..protocol.position import Position, START
from ..protocol.transport import Entry
from ..runtime.delivery import Client, Follower
from ..stream.outbox import Capacity, Pending
from .client_lists import SharedLists
from .client_session import ClientSession
from .position_waits import PositionWaits
from .replay import History, is_missed, Record, record_of
from .resend import Resender
from .session import Origin
from .waiting_events import Unprepared, Waiting, WaitingEvents

#: With more waiting messages, lists of clients are compared and shared.
MANY = 100


class StreamOrderDelivery:
    """Implements :class:`~redis_streams_adapter.runtime.delivery.Delivery`
    for one stream.

    :param writer: the id of the writer of this process.
    :param local: the local clients.
    :param direct: delivers events as long as no task reads the stream.
    :param append: puts fields into the outbox of a namespace.
    :param order: the order lock.
    :param act: carries out what another process asks for.
    :param capacity: how much may wait, here and in the outboxes.
    :param make_event: makes an event for tasks of the server.
    :param arrived: returns the position of the entry that is being taken in,
                    or was last.
    :param on_begin: called when the reader has its first position, under the
                     order lock.
    :param on_loss: called when the history of the stream is lost.
    """

    def __init__(self, writer: bytes, local: Delivery, direct: DirectDelivery,
                 append: Append, order: Any, act: Callable[[Act], None],
                 capacity: Capacity, make_event: Callable[[], Event],
                 logger: Callable[[], logging.Logger],
                 arrived: Callable[[], Position],
                 on_begin: Callable[['StreamOrderDelivery'], None],
                 on_loss: Callable[[], None]) -> None:
        self._writer = writer
        self._local = local
        self._direct = direct
        self._append = append
        self._order = order
        self._act = act
        self._arrived = arrived
        self._on_begin = on_begin
        self._on_loss = on_loss
        #: Each entry moves the position.
        self.follower: Optional[Follower] = self
        #: Whether a task reads the stream, or is about to. Set once, without
        #: a lock, by the task that starts the reader: what is emitted in that
        #: moment is delivered at once, and comes back as if for no clients.
        self.is_read = False
        self.history = History()
        #: Everything up to this entry was handed over.
        self.position = START
        #: Whether the reader has its first position.
        self.has_begun = False
        resender = Resender(local, order, logger)
        self._events = WaitingEvents(
            local, order, capacity, make_event, resender.encode,
            self._hand_over, lambda: self.handed_over)
        self._waiting = self._events.queue
        self._lists = SharedLists()
        #: The last command of this process, carried out when it was emitted.
        self.commanded: Optional[Origin] = None
        #: The highest number of a message of this process that was read: a
        #: number that is not above it belongs to a copy.
        self._returned = 0
        #: The position at which this node left; ``None``: it is a member.
        self._end: Optional[Position] = None
        self._waits = PositionWaits(lambda: self.position, make_event)
        #: See :class:`~redis_streams_adapter.runtime.delivery.Delivery`.
        self.drain, self.end = self._events.drain, self._events.end
        #: For the parts above.
        self.hand_over_later = self._events.hand_over_later
        self.flush = self._events.flush
        self.admit = self._events.admit
        self.reach = self._waits.reach
        self.deliver_again = resender.send

    # -- for tasks that emit ----------------------------------------------

    def emit(self, namespace: str, message: Broadcast,
             fields: Sequence[bytes]) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        if not self.is_read:
            return self._direct.emit(namespace, message, fields)
        local, target, encoded = self._local, message.target, None
        is_needed = local.reaches(namespace, target)
        while True:
            if is_needed:
                # Now: the application may change the arguments next.
                encoded = local.encode(namespace, message)
            with self._order:
                clients = local.recipients(namespace, target)
                if clients and encoded is None:
                    # The first client has just joined.
                    is_needed = True
                    continue
                pending = self._append(namespace, fields)
                record, loads = None, []
                flags = target.flags
                if message.request_id is None \
                        and not (flags and flags.get('volatile')):
                    # As is_missed(), with two calls less.
                    record = Record(
                        START, message, pending.size, pending.fields)
                if encoded is not None and clients:
                    if len(self._waiting) > MANY:
                        clients = self._lists.share(
                            (namespace, target.rooms, target.except_rooms),
                            clients)
                    loads.append(Load(clients, encoded, True))
                    if encoded.again is not None:
                        self._events.by_serialiser = True
                self._waiting.append(Waiting(
                    pending.sequence, pending, namespace, record, loads))
                return pending

    def command(self, namespace: str, message: Message,
                fields: Sequence[bytes],
                carry_out: Optional[Callable[[], None]]) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            pending = self._append(namespace, fields)
            if self.is_read:
                record = None
                if is_missed(message):
                    # Local clients that are away now will have missed it.
                    self.commanded = Origin(self._writer, pending.sequence)
                    record = Record(START, message, pending.size,
                                    pending.fields, self.commanded)
                self._waiting.append(Waiting(
                    pending.sequence, pending, namespace, record, []))
            if carry_out is not None:
                carry_out()
        self._local.log_lines(self._order)
        return pending

    def locally(self, namespace: str, message: Broadcast) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        self.hand_over_later(
            namespace, self._local.pack(namespace, message))

    def ask(self, namespace: str, args: Tuple[Any, ...],
            clients: Sequence[Client], ack_id: Callable[[str], int],
            append: Optional[Callable[[], Optional[Pending]]],
            received: bool, in_stream: bool = True
            ) -> Optional[Pending]:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        local, pending = self._local, None
        loads = local.pack_with_acks(namespace, args, clients, ack_id)
        with self._order:
            is_now = received or not self.is_read
            if not is_now and (append is None or not in_stream):
                # First: there may be no room.
                self.hand_over_later(namespace, loads)
            if append is not None:
                pending = append()
            if is_now:
                self._hand_over(loads, self.handed_over)
            elif pending is not None:
                self._waiting.append(Waiting(
                    pending.sequence, pending, namespace, None, loads))
        local.log_lines(self._order)
        return pending

    @property
    def is_waiting(self) -> bool:
        """Whether something was emitted that was not read back."""
        return bool(self._waiting)

    # -- for tasks that start and close -----------------------------------

    def leave(self) -> None:
        """This node takes in no more messages of other processes. Its own
        still come back. Clients that can be recovered must not get them:
        their offsets would point past the messages of others."""
        with self._order:
            if self._end is None:
                self._end = self.position

    @property
    def handed_over(self) -> Position:
        """Clients that can be recovered have everything up to here."""
        return self.position if self._end is None else self._end

    @property
    def has_left(self) -> bool:
        """Whether this node has left: not everything is remembered then."""
        return self._end is not None

    def place(self, client: ClientSession) -> None:
        """A new client gets what is after the present position, or what the
        reader reads if it has not begun; under the order lock."""
        client.begin_at(self.position)
        sent = self._local.sent
        if sent.get(client.sid, client) is None:
            sent[client.sid] = client.sent

    def serve(self, namespaces: Collection[str]) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            # What comes after this is recorded: it is not received yet.
            self.history.serve(namespaces, self._arrived())

    # -- for the reader's task --------------------------------------------

    def began(self, cursor: Position) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            if cursor > self.position:
                self.position = cursor
            self.has_begun = True
            self._on_begin(self)

    def history_lost(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        self.history.is_lost = True
        self._on_loss()

    def came_back(self, entry: Entry, sequence: int,
                  is_message: bool) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        events = self._events
        unprepared: Unprepared = ()
        while True:
            if events.unencoded:
                events.encode()
            for encoded, offset in unprepared:
                encoded.prepare(offset)
            with self._order:
                if events.by_serialiser:
                    unprepared = events.unprepared(
                        sequence, is_message, self._end or entry.id)
                if events.unencoded or unprepared:
                    continue
                self._take_back(entry, sequence, is_message)
                break
        if self._local.lines:
            self._local.log_lines(self._order)

    def _take_back(self, entry: Entry, sequence: int,
                   is_message: bool) -> None:
        """Deliver what waits for an entry; under the order lock."""
        waiting = self._waiting
        if self.history.is_lost:
            self.history.restart(entry.id, self.position)
        while waiting and (
                waiting[0].sequence < sequence or not is_message
                and waiting[0].sequence == sequence):
            # It should have come before this one, and never will.
            self._events.give_up(waiting.popleft())
        self.position = entry.id
        if is_message and sequence > self._returned:
            self._returned = sequence
            if not waiting or waiting[0].sequence != sequence \
                    or waiting[0].pending is None:
                # It did not wait here: it was emitted before the stream was
                # read, or its order does not matter.
                self.history.add_entry(entry)
        while waiting and waiting[0].sequence == sequence:
            first = waiting.popleft()
            if first.record is not None:
                first.record.id = entry.id
                self.history.add(first.namespace, first.record)
            if first.loads:
                self._hand_over(first.loads, self._end or entry.id)
            if first.pending is None:
                self._events.done(first)
        if not waiting and self._lists.by_target:
            self._lists.by_target.clear()
        if self._waits.waits:
            self._waits.reached(entry.id)

    def received(self, entry: Entry, act: Act) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        message, namespace = act.message, act.namespace
        if not isinstance(message, Broadcast) \
                or message.request_id is not None:
            self._obey(entry, act)
            return
        local, target, encoded = self._local, message.target, None
        is_needed, done = local.reaches(namespace, target), False
        if is_needed:
            # What is malformed is not noted. If no client is here, it is found
            # when one returns.
            message.read()
        # As is_missed() and record_of(), with five calls less.
        flags = target.flags
        record = None if flags and flags.get('volatile') else Record(
            entry.id, message, sum(map(len, entry.fields)), entry.fields)
        try:
            while not done:
                if is_needed:
                    encoded = local.encode(namespace, message)
                    if encoded.again is not None and local.sent:
                        encoded.prepare(self._end or entry.id)
                with self._order:
                    clients = local.recipients(namespace, target)
                    # The first client may just have joined.
                    is_needed = bool(clients)
                    if encoded is not None or not is_needed:
                        done = True
                        self._note(entry.id, namespace, record)
                        if encoded is not None:
                            self._deliver(clients, encoded,
                                          record is not None,
                                          self._end or entry.id)
        finally:
            if not done:
                # It cannot be encoded. Other nodes may be able to.
                with self._order:
                    self._note(entry.id, namespace, record)
        if local.lines:
            local.log_lines(self._order)

    def _obey(self, entry: Entry, act: Act) -> None:
        """Carry out a message of another process that is not a plain
        event."""
        message = act.message
        if isinstance(message, Broadcast) or message.type not in ORDERED:
            # It goes with no offset, and is not delivered again.
            self._act(act)
            return
        record = record_of(entry, message) if is_missed(message) else None
        with self._order:
            self._note(entry.id, act.namespace, record)
            self._act(act)
        self._local.log_lines(self._order)

    def _note(self, position: Position, namespace: str,
              record: Optional[Record]) -> None:
        """An entry is carried out now; under the order lock. If an exception
        strikes before its end, those who wait for its position wake with the
        next entry.

        :param record: what clients that are away miss with it, if anything.
        """
        history = self.history
        if history.is_lost:
            history.restart(position, self.position)
        self.position = position
        if record is not None:
            history.add(namespace, record)
        if self._waits.waits:
            self._waits.reached(position)

    def moved(self, position: Position) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        with self._order:
            self._note(position, '', None)

    # -- how it is delivered ----------------------------------------------

    def _hand_over(self, loads: Sequence[Load], offset: Position) -> None:
        """Deliver now; under the order lock."""
        for load in loads:
            self._deliver(load.clients, load.encoded, load.recoverable, offset)

    def _deliver(self, clients: Sequence[Client], encoded: Encoded,
                 recoverable: bool, offset: Position) -> None:
        """Deliver one event now; under the order lock."""
        if self._end is not None and recoverable:
            # Clients that can be recovered get it from the node to which
            # they return.
            clients, recoverable = self._local.exempted(clients), False
        self._local.deliver(clients, encoded, recoverable, offset)
