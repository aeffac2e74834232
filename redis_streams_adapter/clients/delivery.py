"""Which local clients a message is for, and how it reaches them.

An event reaches a client when its packet is in the queue of the client's
connection. That neither blocks nor runs code of the application, so it can be
done on the reader's task and under the order lock. Log handlers are code of
the application: lines for the log are kept until that lock is free, see
:meth:`.Queueing.log_lines`.
"""
import logging
from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterable, List, \
    NamedTuple, Optional, Sequence, Set, Tuple

from ..log_events import ROOM_NOT_ENTERED
from ..protocol.messages import Broadcast, Room, Target
from ..protocol.position import Position, START
from ..runtime.delivery import Client
from .disconnecting import Disconnector
from .encoding import Encoded, PacketEncoder
from .frames import SharedPacket
from .queueing import Line, Queueing


class _Held(NamedTuple):
    """An event that is held, and its offset."""

    encoded: Encoded
    mark: Optional[Position]


@dataclass(slots=True)
class Load:
    """An event that is ready to be delivered.

    :param clients: the clients that get it.
    :param recoverable: whether a client that misses it gets it later, see
                        :mod:`redis_streams_adapter.recovery.stream_order`.
    """

    clients: List[Client]
    encoded: Encoded
    recoverable: bool = False

    @property
    def parts(self) -> Sequence[Any]:
        """The encoded packet."""
        return self.encoded.parts


class Delivery:
    """The local clients of a manager.

    :param manager: a client manager of python-socketio, which has the rooms.
    :param server: the server that has the clients.
    """

    def __init__(self, manager: Any, server: Any,
                 logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        #: Has the rooms.
        self.manager = manager
        encoder = PacketEncoder(server)
        #: See the methods of :class:`.PacketEncoder`.
        self.encode, self.encode_plain, self.encode_marked = \
            encoder.encode, encoder.plain, encoder.marked
        self._disconnector = Disconnector(server, logger)
        #: How many packets were delivered. Written under the order lock.
        self.delivered = 0
        #: The last offset that each client got, by sid, of the clients that
        #: take part in recovery. Written under the order lock; the task that
        #: sees a client go removes its entry.
        self.sent: Dict[str, Optional[Position]] = {}
        #: The sids of the clients that do not take part, if recovery is on;
        #: written as ``sent``. A sid in neither is one of a client that is
        #: gone: it gets nothing, for its connection may still be closing, and
        #: the client gets everything again when it returns.
        self.exempt: Set[str] = set()
        #: Whether recovery is on. Set before there are clients.
        self.has_recovery = False
        #: The last long time in which each of them got nothing: the last
        #: offset before it, and the position at its end.
        self.gaps: Dict[str, Tuple[Optional[Position], Position]] = {}
        #: How long that is, in milliseconds.
        self.long_time = 0
        #: Events for clients that return, by sid. They get these after the
        #: events that they missed. Written under the order lock.
        self._held: Dict[str, List[_Held]] = {}
        queues = Queueing(server)
        #: See the methods of :class:`.Queueing`.
        self.put, self.log_lines = queues.put, queues.log_lines
        #: Lines for the log, see :class:`.Queueing`.
        self.lines = queues.lines

    def reaches(self, namespace: str, target: Target) -> bool:
        """Whether a target matches local clients. Mostly cheaper than
        :meth:`recipients`."""
        members = self.manager.rooms.get(namespace)
        if not members:
            return False
        if target.except_rooms:
            return bool(self.recipients(namespace, target))
        rooms = target.rooms
        if len(rooms) == 1:
            # With recovery, this runs for each emit.
            return rooms[0] in members
        return not rooms or any([room in members for room in rooms])

    def recipients(self, namespace: str, target: Target) -> List[Client]:
        """The local clients that a target matches."""
        manager = self.manager
        members = manager.rooms.get(namespace)
        if members is None:
            return []
        rooms: Collection[Room] = target.rooms
        if len(rooms) < 2 and not target.except_rooms:
            room = target.rooms[0] if rooms else None
            if room not in members:
                return []
            try:
                # As python-socketio (5.12 to 5.18) does. Its generator is
                # entered once for each client, and takes twice as long.
                return list(members[room]._fwdm.copy().items())
            except (AttributeError, KeyError):
                # Another version, or the last client has just left.
                return list(manager.get_participants(namespace, room))
        if not rooms:
            clients = dict(manager.get_participants(namespace, None))
        else:
            clients = {}
            for room in rooms:
                if room in members:
                    clients.update(manager.get_participants(namespace, room))
        for room in target.except_rooms:
            clients.pop(room, None)
            if room in members:
                for sid, _ in manager.get_participants(namespace, room):
                    clients.pop(sid, None)
        return list(clients.items())

    def pack(self, namespace: str, message: Broadcast,
             recoverable: bool = False) -> List[Load]:
        """Find the clients that get an event, and encode it if there are
        any.

        :raises TypeError: the server's packet class cannot encode it.
        """
        clients = self.recipients(namespace, message.target)
        if not clients:
            return []
        return [Load(clients, self.encode(namespace, message), recoverable)]

    def pack_with_acks(self, namespace: str, args: Tuple[Any, ...],
                       clients: Sequence[Client],
                       ack_id: Callable[[str], int]) -> List[Load]:
        """Encode an event that each client is to acknowledge.

        :param ack_id: registers the wait for the acknowledgement of a sid,
                       and returns its id.
        """
        message = Broadcast(args)
        return [Load([client], self.encode(
            namespace, message, ack_id(client[0]))) for client in clients]

    def hand_over(self, loads: Iterable[Load],
                  position: Position = START) -> None:
        """Put events into the queues of their clients. Needs the order lock,
        so that the parts of two events never mix.

        :param position: with recovery: the position of the event in the
                         stream, or of the last one before it.
        """
        for load in loads:
            self.deliver(load.clients, load.encoded, load.recoverable,
                         position)

    def deliver(self, clients: Sequence[Client], encoded: Encoded,
                recoverable: bool, position: Position) -> None:
        """Put one event into the queues of its clients, as
        :meth:`hand_over` does with several.

        :param clients, encoded, recoverable: see :class:`Load`.
        """
        sent, held = self.sent, self._held
        has_offset = self.has_recovery and (
            recoverable or encoded.ends_in_text)
        if held:
            for sid, _ in clients:
                if sid in held:
                    held[sid].append(_Held(
                        encoded, position if has_offset and sid in sent
                        else None))
            clients = [each for each in clients if each[0] not in held]
        if has_offset:
            marked = [each for each in clients if each[0] in sent]
            if marked:
                self.put(marked, encoded.marked(position))
                self._note(marked, position)
                self.delivered += len(marked)
            if len(marked) == len(clients):
                return
            clients = self.exempted(clients)
        self.put(clients, encoded.plain())
        self.delivered += len(clients)

    def deliver_marked(self, clients: Sequence[Client],
                       packets: Sequence[SharedPacket],
                       position: Position) -> bool:
        """As :meth:`deliver` with packets that have an offset, with half of
        the calls.

        :return: ``False``: not all of the clients get these packets now.
                 Nothing has changed.
        """
        if self._held:
            return False
        sent, old = self.sent, (position.milliseconds - self.long_time,)
        for sid, _ in clients:
            if sid not in sent:
                return False
        self.put(clients, packets)
        self.delivered += len(clients)
        recent: Optional[Position] = position
        # As _note(), without a call more for each event.
        for sid, _ in clients:
            last, sent[sid] = sent[sid], position
            if last is not recent:
                if last is None or last < old:
                    self.gaps[sid] = last, position.before()
                else:
                    recent = last
        return True

    def exempted(self, clients: Iterable[Client]) -> List[Client]:
        """Those of the clients that do not take part in recovery."""
        return [each for each in clients if each[0] in self.exempt]

    def _note(self, clients: Iterable[Client], mark: Position) -> None:
        """Clients that take part in recovery got an offset."""
        sent, old = self.sent, (mark.milliseconds - self.long_time,)
        recent: Optional[Position] = mark
        for sid, _ in clients:
            last, sent[sid] = sent[sid], mark
            # Mostly, all clients of an event got the one before it, too.
            if last is not recent:
                if last is None or last < old:
                    self.gaps[sid] = last, mark.before()
                else:
                    recent = last

    def send_again(self, client: Client, encoded: Encoded,
                   offset: Position) -> None:
        """Put an event that a client has missed into its queue. Its other
        events are held meanwhile."""
        self.put([client], encoded.marked(offset))
        if client[0] in self.sent:
            self._note([client], offset)

    def hold(self, sid: str) -> None:
        """Hold the events for a client from now on; under the order lock."""
        self._held[sid] = []

    def release(self, client: Client) -> None:
        """Deliver the events that are held for a client, and hold no more;
        under the order lock."""
        for encoded, mark in self._held.pop(client[0], ()):
            if mark is None:
                self.put([client], encoded.plain())
            else:
                self.put([client], encoded.marked(mark))
                self._note([client], mark)
            self.delivered += 1

    def forget(self, sid: str) -> None:
        """A client is gone; under the order lock."""
        self._held.pop(sid, None)
        self.sent.pop(sid, None)
        self.exempt.discard(sid)
        self.gaps.pop(sid, None)

    def join(self, namespace: str, target: Target,
             rooms: Iterable[Room]) -> None:
        """Make the local clients that a target matches enter rooms."""
        clients = self.recipients(namespace, target)
        for room in rooms:
            for sid, _ in clients:
                try:
                    self.manager.basic_enter_room(sid, namespace, room)
                except (KeyError, ValueError) as exc:
                    # It has just gone; or the room is named like a sid, which
                    # python-socketio refuses since 5.17. The others enter.
                    self.lines.append(Line(
                        self._logger().warning,
                        '%s did not enter room %s: %s', (sid, room, exc),
                        ROOM_NOT_ENTERED(namespace=namespace, sid=sid,
                                         reason=str(exc))))

    def leave(self, namespace: str, target: Target,
              rooms: Iterable[Room]) -> None:
        """Make the local clients that a target matches leave rooms."""
        clients = self.recipients(namespace, target)
        for room in rooms:
            for sid, _ in clients:
                self.manager.basic_leave_room(sid, namespace, room)

    def disconnect(self, namespace: str, target: Target, close: bool,
                   on_close: Optional[Callable[[str], None]] = None,
                   expect: Optional[Callable[[str, Client, bool],
                                             None]] = None) -> None:
        """Disconnect the local clients that a target matches, in a task of
        its own.

        :param close: close the connection, and with it all namespaces.
        :param on_close: called with the id of each connection before it is
                         closed.
        :param expect: called at once, with the namespace, each client, and
                       ``close``.
        """
        clients = self.recipients(namespace, target)
        if clients:
            if expect is not None:
                for client in clients:
                    expect(namespace, client, close)
            self._disconnector.start(namespace, clients, close, on_close)
