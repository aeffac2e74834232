"""Which local clients a message is for, and how it reaches them.

An event reaches a client when its packet is in the queue of the client's
connection. That neither blocks nor runs code of the application, so it can be
done on the reader's task and under the order lock. Log handlers are code of
the application: lines for the log are kept until that lock is free, see
:meth:`Delivery.log_lines`.
"""
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Collection, Deque, Dict, Iterable, List, \
    NamedTuple, Optional, Sequence, Set, Tuple

from engineio import packet as eio_packet

from ..protocol.messages import Broadcast, Room, Target
from ..protocol.position import Position, START
from ..runtime.delivery import Client
from .disconnecting import Disconnector
from .encoding import Encoded, PacketEncoder
from .frames import SharedPacket
from .gevent_queue import GeventQueue


class _Held(NamedTuple):
    """An event that is held, and its offset."""

    encoded: Encoded
    mark: Optional[Position]


class _Line(NamedTuple):
    """A line for the log.

    :param write: the method of a logger.
    """

    write: Callable[..., None]
    text: str
    args: Tuple[Any, ...]


def _is_on(logger: Any, level: int) -> bool:
    """Whether a logger writes lines of this level. Engine.IO's may be any
    object of the application with a method for each level."""
    is_enabled = getattr(logger, 'isEnabledFor', None)
    return is_enabled is None or is_enabled(level)


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
        self._manager = manager
        self._server = server
        self._eio = server.eio
        encoder = PacketEncoder(server)
        #: See :meth:`.PacketEncoder.encode` and :meth:`.PacketEncoder.plain`.
        self.encode, self.encode_plain = encoder.encode, encoder.plain
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
        #: Lines for the log, until the order lock is free. Any task adds
        #: lines, under the order lock, and removes them; each is one step.
        self.lines: Deque[_Line] = deque()

    def log_lines(self, order: Any) -> None:
        """Write the lines that were kept under the order lock. Does nothing
        while this task holds that lock: it calls this again later."""
        lines = self.lines
        while lines and not order._is_owned():
            try:
                write, text, args = lines.popleft()
            except IndexError:
                # Another task was faster.
                return
            write(text, *args)

    def reaches(self, namespace: str, target: Target) -> bool:
        """Whether a target matches local clients. Mostly cheaper than
        :meth:`recipients`."""
        members = self._manager.rooms.get(namespace)
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
        manager = self._manager
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

    def exempted(self, clients: Iterable[Client]) -> List[Client]:
        """Those of the clients that do not take part in recovery."""
        return [each for each in clients if each[0] in self.exempt]

    def _note(self, clients: Iterable[Client], mark: Position) -> None:
        """Clients that take part in recovery got an offset."""
        sent, old = self.sent, (mark.milliseconds - self.long_time,)
        for sid, _ in clients:
            last, sent[sid] = sent[sid], mark
            if last is None or last < old:
                self.gaps[sid] = last, mark.before()

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
                    self._manager.basic_enter_room(sid, namespace, room)
                except (KeyError, ValueError) as exc:
                    # It has just gone; or the room is named like a sid, which
                    # python-socketio refuses since 5.17. The others enter.
                    self.lines.append(_Line(
                        self._logger().warning,
                        '%s did not enter room %s: %s', (sid, room, exc)))

    def leave(self, namespace: str, target: Target,
              rooms: Iterable[Room]) -> None:
        """Make the local clients that a target matches leave rooms."""
        clients = self.recipients(namespace, target)
        for room in rooms:
            for sid, _ in clients:
                self._manager.basic_leave_room(sid, namespace, room)

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

    def put(self, clients: Iterable[Client],
            packets: Sequence[SharedPacket]) -> None:
        """Put packets into the queues of connections, as ``send_packet`` of
        python-engineio (4.11 and 4.15) does. That method also logs them, at
        once. Needs the order lock.

        No function of ours for each client: this runs for each event and
        client.
        """
        eio = self._eio
        sockets, logger = eio.sockets, eio.logger
        # Looked up once for all clients.
        is_enabled = getattr(logger, 'isEnabledFor', None)
        logs = is_enabled is None or is_enabled(logging.INFO)
        hub: Any = None
        marked: Dict[GeventQueue, None] = {}
        for _, eio_sid in clients:
            try:
                sock = sockets[eio_sid]
            except KeyError:
                sock = None
            if sock is None or sock.closed:
                self._log_gone(eio_sid, len(packets))
                continue
            # Read once: the connection's task clears it when the answer
            # comes.
            last_ping = sock.last_ping
            if last_ping and last_ping < time.time() - eio.ping_timeout:
                # Engine.IO closes a client that has not answered a ping, and
                # runs the application's disconnect handler, which may take
                # long. Not here: all other clients would wait.
                if not getattr(sock, 'closing', False):
                    for packet in packets:
                        self._server.start_background_task(
                            eio.send_packet, eio_sid, packet)
                continue
            queue = sock.queue
            if type(queue) is GeventQueue:
                # What its put() does.
                if queue.hub is not hub:
                    hub = queue.hub
                    marked = hub.marked
                    if hub.callback is None or not hub.callback.pending:
                        hub.schedule()
                queue.items.extend(packets)
                marked[queue] = None
                if not hub.callback.pending:
                    hub.schedule()
            else:
                for packet in packets:
                    queue.put(packet)
            if logs:
                self._log_sent(eio_sid, packets)

    def _log_gone(self, eio_sid: str, count: int) -> None:
        logger = self._eio.logger
        if _is_on(logger, logging.WARNING):
            self.lines.extend([_Line(
                logger.warning, 'Cannot send to sid %s', (eio_sid,))] * count)

    def _log_sent(self, eio_sid: str, packets: Iterable[Any]) -> None:
        self.lines.extend(_Line(
            self._eio.logger.info, '%s: Sending packet %s data %s',
            (eio_sid, eio_packet.packet_names[packet.packet_type],
             '<binary>' if packet.binary else packet.data))
            for packet in packets)
