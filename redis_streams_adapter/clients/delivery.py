"""Packets to the local clients: which clients get them, encoded once, handed
over in one order.

Handing over means putting a packet into the queue of a client's connection,
which neither blocks nor runs code of the application. That is what makes it
safe on the reader's task and under the order lock. What is to be logged about
it is logged when that lock is free, see :meth:`Delivery.log_lines`.
"""
import json
import logging
import time
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Collection, Deque, Dict, Iterable, List, \
    NamedTuple, Optional, Sequence, Tuple

from engineio import packet as eio_packet
from socketio import packet

from ..protocol.messages import Room, Target
from ..protocol.position import Position, START
from ..runtime.delivery import Client


class _Held(NamedTuple):
    """An event that is kept back, and the offset that goes with it."""

    encoded: 'Encoded'
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


_to_json = json.JSONEncoder(separators=(',', ':')).encode


def _encode_text(namespace: str, data: List[Any]) -> Optional[str]:
    """What python-socketio's ``Packet.encode`` makes of an event, at a
    quarter of its cost; ``None`` for one with bytes, or one that cannot be
    encoded."""
    prefix = '2' if namespace == '/' else f'2{namespace},'
    try:
        return prefix + _to_json(data)
    except TypeError:
        return None


def _packets(parts: Iterable[Any]) -> List[Any]:
    return [eio_packet.Packet(eio_packet.MESSAGE, part) for part in parts]


class Encoded:
    """An event, encoded as soon as it is emitted, with and without an
    offset.

    :param parts: what the packet class made of it.
    :param again: makes the same with one more argument, where that cannot
                  be seen from the parts.
    :param ends_in_text: whether a client would take its last argument for
                         an offset.
    """

    __slots__ = ('parts', '_again', '_plain', '_marked',
                 'ends_in_text')

    def __init__(self, parts: Sequence[Any],
                 again: Optional[Callable[[str], Sequence[Any]]],
                 ends_in_text: bool) -> None:
        self.parts = parts
        self._again = again
        self._plain: Optional[List[Any]] = None
        #: With the offset: any task may replace them, in one step.
        self._marked: Tuple[Position, List[Any]] = START, []
        self.ends_in_text = ends_in_text

    def plain(self) -> List[Any]:
        """The packets as they are."""
        if self._plain is None:
            self._plain = _packets(self.parts)
        return self._plain

    def prepare(self, offset: Position) -> None:
        """Have the packets with this offset ready, if a serialiser has to
        make them. To be called without the order lock."""
        if self._again is not None:
            self.marked(offset)

    def marked(self, offset: Position) -> List[Any]:
        """The packets with an offset after the last argument."""
        known, packets = self._marked
        if known != offset or not packets:
            text = str(offset)
            if self._again is not None:
                parts = self._again(text)
            else:
                # A list in JSON; binary parts follow it.
                first, *rest = self.parts
                parts = [f'{first[:-1]},"{text}"]', *rest]
            packets = _packets(parts)
            self._marked = offset, packets
        return packets


@dataclass(slots=True)
class Load:
    """An event that is ready to be handed over.

    :param clients: who gets it.
    :param recoverable: whether who misses it gets it later, see
                        :mod:`redis_streams_adapter.recovery.stream_order`.
    """

    clients: List[Client]
    encoded: Encoded
    recoverable: bool = False

    @property
    def parts(self) -> Sequence[Any]:
        """What the packet class made of it."""
        return self.encoded.parts


class Delivery:
    """The local clients of a manager.

    :param manager: who knows the rooms: a python-socketio client manager.
    :param server: whose clients they are.
    """

    def __init__(self, manager: Any, server: Any,
                 logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        self._manager = manager
        self._server = server
        self._eio = server.eio
        #: How many packets were handed over. Written under the order lock.
        self.delivered = 0
        #: Of each client that takes part in recovery, by its sid: the last
        #: offset that was handed to it. Under the order lock; when it goes,
        #: removed by the task that sees it go.
        self.sent: Dict[str, Optional[Position]] = {}
        #: And the last long time in which it was handed nothing: the last
        #: offset before it, and the position at the end of it.
        self.gaps: Dict[str, Tuple[Optional[Position], Position]] = {}
        #: How long that is, in milliseconds.
        self.long_time = 0
        #: What clients that return will get after what they missed, by sid.
        #: Under the order lock.
        self._held: Dict[str, List[_Held]] = {}
        #: What is to be logged once the order lock is free: handlers of the
        #: log are the application's. Any task adds lines, under the order
        #: lock, and takes lines off; each is one step.
        self.lines: Deque[_Line] = deque()

    def log_lines(self, order: Any) -> None:
        """Log what was not logged under the order lock. Does nothing while
        this task still holds it: the outermost holder logs."""
        lines = self.lines
        while lines and not order._is_owned():
            try:
                write, text, args = lines.popleft()
            except IndexError:
                # Another task was faster.
                return
            write(text, *args)

    def reaches(self, namespace: str, target: Target) -> bool:
        """Whether local clients are meant. Mostly cheaper than to find
        them."""
        members = self._manager.rooms.get(namespace)
        if not members:
            return False
        if target.except_rooms:
            return bool(self.recipients(namespace, target))
        rooms = target.rooms
        return not rooms or any([room in members for room in rooms])

    def recipients(self, namespace: str, target: Target) -> List[Client]:
        """The local clients that are meant."""
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
        """Find out who gets an event, and encode it, if anybody does.

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

        :param ack_id: registers what waits for the acknowledgement of a sid,
                       and gives its id.
        """
        return [Load([client], self.encode(namespace, args, ack_id(client[0])))
                for client in clients]

    def _parts(self, namespace: str, data: List[Any],
               ack_id: Any) -> List[Any]:
        packet_class = self._server.packet_class
        if ack_id is None and packet_class is packet.Packet \
                and packet_class.json.dumps is json.dumps:
            text = _encode_text(namespace, data)
            if text is not None:
                return [text]
        encoded = packet_class(packet.EVENT, namespace=namespace, data=data,
                               id=ack_id).encode()
        if not isinstance(encoded, list):
            return [encoded]
        # A bytearray may change before it is sent, and simple-websocket
        # takes it for text.
        return [bytes(part) if isinstance(part, bytearray) else part
                for part in encoded]

    def encode(self, namespace: str, args: Iterable[Any],
               ack_id: Any = None) -> Encoded:
        """Encode an event for whoever will get it.

        :raises TypeError: the server's packet class cannot encode it.
        """
        data = list(args)
        parts = self._parts(namespace, data, ack_id)
        again, ends_in_text = None, isinstance(data[-1], str)
        first = parts[0]
        if not isinstance(first, str) or not first.endswith(']'):
            # Another serialiser than JSON; the application may change what
            # it has emitted.
            again = partial(self._with_offset, namespace, deepcopy(data))
        else:
            # An application's JSON module makes text of dates, say.
            ends_in_text = ends_in_text or first.endswith('"]')
        # An acknowledgement is asked for: a function stands behind it.
        return Encoded(parts, again, ack_id is None and ends_in_text)

    def _with_offset(self, namespace: str, data: List[Any],
                     offset: str) -> Sequence[Any]:
        return self._parts(namespace, [*data, offset], None)

    def hand_over(self, loads: Iterable[Load],
                  position: Position = START) -> None:
        """Put events into the queues of their clients. Needs the order lock,
        so that parts of two events are never mixed up.

        :param position: with recovery: where the event is in the stream, or
                         what was handed over before it.
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
        """A client was handed an offset."""
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
        """Put an event that it has missed into the queue of a client whose
        deliveries are held."""
        sid, eio_sid = client
        self._hand(eio_sid, encoded, offset)
        if sid in self.sent:
            self._note(sid, offset, self._long_before(offset))

    def hold(self, sid: str) -> None:
        """Keep back what a client gets from now on; under the order lock."""
        self._held[sid] = []

    def release(self, client: Client) -> None:
        """Hand over what was kept back, and no more keep it; under the order
        lock."""
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
        """Let the local clients that are meant enter rooms."""
        clients = self.recipients(namespace, target)
        for room in rooms:
            for sid, _ in clients:
                try:
                    self._manager.basic_enter_room(sid, namespace, room)
                except (KeyError, ValueError) as exc:
                    # It has just gone; or the room is a sid's, which
                    # python-socketio refuses since 5.17. The others enter.
                    self.lines.append(_Line(
                        self._logger().warning,
                        '%s did not enter room %s: %s', (sid, room, exc)))

    def leave(self, namespace: str, target: Target,
              rooms: Iterable[Room]) -> None:
        """Let the local clients that are meant leave rooms."""
        clients = self.recipients(namespace, target)
        for room in rooms:
            for sid, _ in clients:
                self._manager.basic_leave_room(sid, namespace, room)

    def disconnect(self, namespace: str, target: Target, close: bool,
                   on_close: Optional[Callable[[str], None]] = None,
                   expect: Optional[Callable[[str, Client, bool],
                                             None]] = None) -> None:
        """Disconnect the local clients that are meant.

        In a task of its own: disconnect handlers are the application's.

        :param close: close the connection, and with it all namespaces.
        :param on_close: told of each connection before that.
        :param expect: told at once, of the namespace, each client, and
                       whether its connection is closed.
        """
        clients = self.recipients(namespace, target)
        if clients:
            if expect is not None:
                for client in clients:
                    expect(namespace, client, close)
            self._server.start_background_task(
                self._disconnect, namespace, clients, close, on_close)

    def _disconnect(self, namespace: str, clients: Sequence[Client],
                    close: bool,
                    on_close: Optional[Callable[[str], None]]) -> None:
        for client in clients:
            try:
                self._disconnect_one(namespace, client, close, on_close)
            except Exception:
                # Its disconnect handler has failed. The others are to go all
                # the same.
                self._logger().exception(
                    'the disconnect handler of %s failed', client[0])

    def _disconnect_one(self, namespace: str, client: Client, close: bool,
                        on_close: Optional[Callable[[str], None]]) -> None:
        sid, eio_sid = client
        if not close:
            self._server.disconnect(sid, namespace, ignore_queue=True)
            return
        if on_close is not None:
            on_close(eio_sid)
        sock = self._eio.sockets.get(eio_sid)
        if sock is not None:
            # Not disconnect(), which waits until all was sent: to a client
            # that polls it never has an end (python-engineio 4.15, whose
            # poll() puts the mark of the end back).
            sock.close(wait=False,
                       reason=self._server.reason.SERVER_DISCONNECT)

    def _send(self, eio_sid: str, part: Any) -> None:
        """Put a packet into the queue of a connection, as ``send_packet`` of
        python-engineio (4.11 and 4.15) does. That one logs it, at once."""
        eio = self._eio
        sock, logger = eio.sockets.get(eio_sid), eio.logger
        if sock is None or sock.closed:
            if _is_on(logger, logging.WARNING):
                self.lines.append(_Line(
                    logger.warning, 'Cannot send to sid %s', (eio_sid,)))
            return
        # Once: the task of the connection takes it back with the answer.
        last_ping = sock.last_ping
        if last_ping and time.time() - last_ping > eio.ping_timeout:
            # Engine.IO closes a client that has not answered a ping, which
            # runs the application's disconnect handler. Not here: it may take
            # its time, and everybody would wait.
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
