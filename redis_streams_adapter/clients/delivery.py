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
    NamedTuple, Optional, Sequence, Tuple

from engineio import packet as eio_packet

from ..protocol.messages import Room, Target
from ..protocol.position import Position, START
from ..runtime.delivery import Client
from .disconnecting import Disconnector
from .encoding import Encoded, PacketEncoder


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
        #: See :meth:`.PacketEncoder.encode`.
        self.encode = PacketEncoder(server).encode
        self._disconnector = Disconnector(server, logger)
        #: How many packets were delivered. Written under the order lock.
        self.delivered = 0
        #: The last offset that each client got, by sid, of the clients that
        #: take part in recovery. Written under the order lock; the task that
        #: sees a client go removes its entry.
        self.sent: Dict[str, Optional[Position]] = {}
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
        return not rooms or any([room in members for room in rooms])

    def recipients(self, namespace: str, target: Target) -> List[Client]:
        """The local clients that a target matches."""
        manager = self._manager
        members = manager.rooms.get(namespace)
        if members is None:
            return []
        rooms: Collection[Room] = target.rooms
        if len(rooms) == 1 and not target.except_rooms:
            room, = rooms
            if room not in members:
                return []
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

    def pack(self, namespace: str, args: Iterable[Any], target: Target,
             recoverable: bool = False) -> List[Load]:
        """Find the clients that get an event, and encode it if there are
        any.

        :param args: the event's name, then its arguments.
        :raises TypeError: the server's packet class cannot encode it.
        """
        clients = self.recipients(namespace, target)
        if not clients:
            return []
        return [Load(clients, self.encode(namespace, args), recoverable)]

    def pack_with_acks(self, namespace: str, args: Sequence[Any],
                       clients: Sequence[Client],
                       ack_id: Callable[[str], int]) -> List[Load]:
        """Encode an event that each client is to acknowledge.

        :param ack_id: registers the wait for the acknowledgement of a sid,
                       and returns its id.
        """
        return [Load([client], self.encode(namespace, args, ack_id(client[0])))
                for client in clients]

    def hand_over(self, loads: Iterable[Load],
                  position: Position = START) -> None:
        """Put events into the queues of their clients. Needs the order lock,
        so that the parts of two events never mix.

        :param position: with recovery: the position of the event in the
                         stream, or of the last one before it.
        """
        sent, held = self.sent, self._held
        for load in loads:
            encoded = load.encoded
            offset: Optional[Position] = None
            old: Tuple[int] = (0,)
            if sent and (load.recoverable or encoded.ends_in_text):
                offset, old = position, self._long_before(position)
            for sid, eio_sid in load.clients:
                mark = offset if sid in sent else None
                if sid in held:
                    held[sid].append(_Held(encoded, mark))
                    continue
                self._hand(eio_sid, encoded, mark)
                if mark is not None:
                    self._note(sid, mark, old)
                self.delivered += 1

    def _long_before(self, position: Position) -> Tuple[int]:
        # Compared with a position for each client and event.
        return (position.milliseconds - self.long_time,)

    def _note(self, sid: str, mark: Position, old: Tuple[int]) -> None:
        """A client got an offset."""
        last, self.sent[sid] = self.sent[sid], mark
        if last is None or last < old:
            self.gaps[sid] = last, mark.before()

    def _hand(self, eio_sid: str, encoded: Encoded,
              mark: Optional[Position]) -> None:
        for part in encoded.plain() if mark is None else encoded.marked(mark):
            if part.binary:
                part = eio_packet.Packet(eio_packet.MESSAGE, part.data)
            self._send(eio_sid, part)

    def send_again(self, client: Client, encoded: Encoded,
                   offset: Position) -> None:
        """Put an event that a client has missed into its queue. Its other
        events are held meanwhile."""
        sid, eio_sid = client
        self._hand(eio_sid, encoded, offset)
        if sid in self.sent:
            self._note(sid, offset, self._long_before(offset))

    def hold(self, sid: str) -> None:
        """Hold the events for a client from now on; under the order lock."""
        self._held[sid] = []

    def release(self, client: Client) -> None:
        """Deliver the events that are held for a client, and hold no more;
        under the order lock."""
        sid, eio_sid = client
        for encoded, mark in self._held.pop(sid, ()):
            self._hand(eio_sid, encoded, mark)
            if mark is not None:
                self._note(sid, mark, self._long_before(mark))
            self.delivered += 1

    def forget(self, sid: str) -> None:
        """A client is gone; under the order lock."""
        self._held.pop(sid, None)
        self.sent.pop(sid, None)
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

    def _send(self, eio_sid: str, part: Any) -> None:
        """Put a packet into the queue of a connection, as ``send_packet`` of
        python-engineio (4.11 and 4.15) does. That method also logs it, at
        once."""
        eio = self._eio
        sock, logger = eio.sockets.get(eio_sid), eio.logger
        if sock is None or sock.closed:
            if _is_on(logger, logging.WARNING):
                self.lines.append(_Line(
                    logger.warning, 'Cannot send to sid %s', (eio_sid,)))
            return
        # Read once: the connection's task clears it when the answer comes.
        last_ping = sock.last_ping
        if last_ping and time.time() - last_ping > eio.ping_timeout:
            # Engine.IO closes a client that has not answered a ping, and runs
            # the application's disconnect handler, which may take long. Not
            # here: all other clients would wait.
            if not getattr(sock, 'closing', False):
                self._server.start_background_task(
                    eio.send_packet, eio_sid, part)
            return
        sock.queue.put(part)
        if _is_on(logger, logging.INFO):
            self.lines.append(_Line(
                logger.info, '%s: Sending packet %s data %s',
                (eio_sid, eio_packet.packet_names[part.packet_type],
                 '<binary>' if isinstance(part.data, bytes) else part.data)))
