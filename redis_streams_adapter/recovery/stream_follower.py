"""What an entry that was read from the stream does, with recovery: it delivers
an event to the local clients, moves the position, and is remembered for
clients that are away.

It is carried out in three ways, with the same result. An event of another
process is mostly passed on as the text that came. Any other event is encoded.
A message of this process was encoded when it was emitted, and has waited.

All this runs on the reader's task, and everything is written under the order
lock. Packets are encoded without it. *If an exception strikes* before the end
of an entry, the channel calls :meth:`StreamFollower.moved`.
"""
import logging
from typing import Any, Callable, Optional, Sequence

from ..clients.delivery import Delivery, Load
from ..clients.encoding import Encoded
from ..concurrency.engines import Event
from ..protocol.event_bytes import PackedEvent
from ..protocol.event_text import TextEvent
from ..protocol.events import Act
from ..protocol.messages import Broadcast, ORDERED
from ..protocol.position import Position, START
from ..protocol.transport import Entry
from ..runtime.delivery import Client
from ..stream.outbox import Capacity
from .client_lists import SharedLists
from .position_waits import PositionWaits
from .replay import DATA, History, is_missed, Record, record_of
from .resend import Resender
from .waiting_events import Unprepared, WaitingEvents

#: Events of other processes that are passed on as they came.
AS_THEY_CAME = frozenset((TextEvent, PackedEvent))


class StreamFollower:
    """Implements :class:`~redis_streams_adapter.runtime.delivery.Follower`
    for one stream.

    :param local: the local clients.
    :param order: the order lock.
    :param act: carries out what another process asks for.
    :param capacity: how much may wait, here and in the outboxes.
    :param make_event: makes an event for tasks of the server.
    """

    def __init__(self, local: Delivery, order: Any,
                 act: Callable[[Act], None], capacity: Capacity,
                 make_event: Callable[[], Event],
                 logger: Callable[[], logging.Logger]) -> None:
        self._local = local
        self._order = order
        self._act = act
        self.history = History()
        #: Everything up to this entry was handed over.
        self.position = START
        #: The position at which this node left; ``None``: it is a member.
        self.left_at: Optional[Position] = None
        self.resender = Resender(local, order, logger)
        self.events = WaitingEvents(
            local, order, capacity, make_event, self.resender.encode,
            self.hand_over, lambda: self.handed_over)
        self.waiting = self.events.queue
        self.lists = SharedLists()
        #: The highest number of a message of this process that was read: a
        #: number that is not above it belongs to a copy.
        self._returned = 0
        self.waits = PositionWaits(lambda: self.position, make_event)

    @property
    def handed_over(self) -> Position:
        """Clients that can be recovered have everything up to here."""
        return self.position if self.left_at is None else self.left_at

    def came_back(self, entry: Entry, sequence: int,
                  is_message: bool) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        events = self.events
        unprepared: Unprepared = ()
        while True:
            if events.unencoded:
                events.encode()
            for encoded, offset in unprepared:
                encoded.prepare(offset)
            with self._order:
                if events.by_serialiser:
                    unprepared = events.unprepared(
                        sequence, is_message, self.left_at or entry.id)
                if events.unencoded or unprepared:
                    continue
                self._take_back(entry, sequence, is_message)
                break
        if self._local.lines:
            self._local.log_lines(self._order)

    def _take_back(self, entry: Entry, sequence: int,
                   is_message: bool) -> None:
        """Deliver what waits for an entry; under the order lock."""
        waiting = self.waiting
        if self.history.is_lost:
            self.history.restart(entry.id, self.position)
        while waiting and (
                waiting[0].sequence < sequence or not is_message
                and waiting[0].sequence == sequence):
            # It should have come before this one, and never will.
            self.events.give_up(waiting.popleft())
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
            record = first.record
            if record is not None and record.command is None:
                self.history.add_event(
                    first.namespace, entry.id, record.rooms,
                    record.except_rooms, record.data)
            elif record is not None:
                record.id = entry.id
                self.history.add(first.namespace, record)
            if first.loads:
                self.hand_over(first.loads, self.left_at or entry.id)
            if first.pending is None:
                self.events.done(first)
        if not waiting and self.lists.by_target:
            self.lists.by_target.clear()
        if self.waits.waits:
            self.waits.reached(entry.id)

    def received(self, entry: Entry, act: Act) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        message: Any
        namespace, _, message, _ = act
        local, (position, fields) = self._local, entry
        if type(message) not in AS_THEY_CAME or message.target.flags \
                or fields[DATA - 1] != b'data':
            self._take_in(entry, act)
            return
        # The same as _take_in(), with half of the calls: most events of other
        # nodes come here.
        target, packets, data = message.target, None, fields[DATA]
        rooms, served = target.rooms, local.manager.rooms
        is_simple = not (rooms[1:] or target.except_rooms)
        room = rooms[0] if rooms else None
        try:
            # As Delivery.reaches(), which would be one call in seven.
            is_needed = room in served[namespace] if is_simple \
                else local.reaches(namespace, target)
        except KeyError:
            # No client is in the namespace.
            is_needed = False
        if is_needed:
            if not local.exempt:
                packets = local.encode_marked(namespace, message, position)
            if packets is None:
                self._take_in(entry, act)
                return
        is_decided = False
        try:
            with self._order:
                if packets is None:
                    # The first client may just have joined.
                    is_passed_on = not (
                        room in served.get(namespace, ()) if is_simple
                        else local.reaches(namespace, target))
                else:
                    clients = local.recipients(namespace, target)
                    is_passed_on = self.left_at is None and (
                        not clients or local.deliver_marked(
                            clients, packets, position))
                if is_passed_on:
                    # As _note().
                    history = self.history
                    if history.is_lost:
                        history.restart(position, self.position)
                    history.add_event(namespace, position, rooms,
                                      target.except_rooms, data)
                    self.position = position
                    if self.waits.waits:
                        self.waits.reached(position)
                is_decided = True
        finally:
            if not is_decided:
                self._note_struck(entry, namespace, message)
        if not is_passed_on:
            self._take_in(entry, act)
        elif local.lines:
            local.log_lines(self._order)

    def _take_in(self, entry: Entry, act: Act) -> None:
        """Deliver an event in any way, or carry out another message, and note
        it."""
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
        record = record_of(entry, message) if is_missed(message) else None
        try:
            while not done:
                if is_needed:
                    encoded = local.encode(namespace, message)
                    if encoded.again is not None and local.sent:
                        encoded.prepare(self.left_at or entry.id)
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
                                          self.left_at or entry.id)
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
        if self.waits.waits:
            self.waits.reached(position)

    def moved(self, position: Position) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        with self._order:
            self._note(position, '', None)

    def _note_struck(self, entry: Entry, namespace: str,
                     message: Broadcast) -> None:
        """An exception has struck while an event was delivered: note the
        event, unless that is done."""
        with self._order:
            self._note(entry.id, namespace, None if self.history.has(
                namespace, entry.id) else record_of(entry, message))

    # -- how it is delivered ----------------------------------------------

    def hand_over(self, loads: Sequence[Load], offset: Position) -> None:
        """Deliver now; under the order lock."""
        for load in loads:
            self._deliver(load.clients, load.encoded, load.recoverable, offset)

    def _deliver(self, clients: Sequence[Client], encoded: Encoded,
                 recoverable: bool, offset: Position) -> None:
        """Deliver one event now; under the order lock."""
        if self.left_at is not None and recoverable:
            # Clients that can be recovered get it from the node to which
            # they return.
            clients, recoverable = self._local.exempted(clients), False
        self._local.deliver(clients, encoded, recoverable, offset)
