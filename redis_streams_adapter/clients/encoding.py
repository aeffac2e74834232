"""How an event is encoded for the local clients.

An event is encoded once, as soon as it is emitted: the application may change
its arguments afterwards. With recovery, a client also gets an *offset* with an
event, as one more argument, in text. Most packets are JSON, and the offset is
inserted into the text; other serialisers encode the event again.
"""
import json
from copy import deepcopy
from functools import partial
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from engineio import packet as eio_packet
from socketio import packet

from ..protocol.position import Position, START

_to_json = json.JSONEncoder(separators=(',', ':')).encode


def _encode_text(namespace: str, data: List[Any]) -> Optional[str]:
    """Encode an event as python-socketio's ``Packet.encode`` does, at a
    quarter of its cost.

    :return: ``None``: the event contains bytes, or cannot be encoded.
    """
    prefix = '2' if namespace == '/' else f'2{namespace},'
    try:
        return prefix + _to_json(data)
    except TypeError:
        return None


def _packets(parts: Iterable[Any]) -> List[Any]:
    return [eio_packet.Packet(eio_packet.MESSAGE, part) for part in parts]


class Encoded:
    """An event, encoded with and without an offset.

    :param parts: the encoded packet: text or bytes, then its attachments.
    :param again: encodes the event with one more argument. ``None``: the
                  first part is JSON, and the offset is inserted.
    :param ends_in_text: whether a client would take the last argument for an
                         offset.
    """

    __slots__ = ('parts', 'again', '_plain', '_marked',
                 'ends_in_text')

    def __init__(self, parts: Sequence[Any],
                 again: Optional[Callable[[str], Sequence[Any]]],
                 ends_in_text: bool) -> None:
        self.parts = parts
        self.again = again
        self._plain: Optional[List[Any]] = None
        #: With the offset. Any task may replace both, in one step.
        self._marked: Tuple[Position, List[Any]] = START, []
        self.ends_in_text = ends_in_text

    def plain(self) -> List[Any]:
        """The packets without an offset."""
        if self._plain is None:
            self._plain = _packets(self.parts)
        return self._plain

    def prepare(self, offset: Position) -> None:
        """Make the packets with this offset if a serialiser has to run for
        that. Call this without the order lock."""
        if self.again is not None:
            self.marked(offset)

    def is_ready(self, offset: Position) -> bool:
        """Whether no serialiser is needed for the packets with this
        offset."""
        known, packets = self._marked
        return self.again is None or known == offset and bool(packets)

    def marked(self, offset: Position) -> List[Any]:
        """The packets with an offset after the last argument."""
        known, packets = self._marked
        if known != offset or not packets:
            text = str(offset)
            if self.again is not None:
                parts = self.again(text)
            else:
                # A list in JSON; binary parts follow it.
                first, *rest = self.parts
                parts = [f'{first[:-1]},"{text}"]', *rest]
            packets = _packets(parts)
            self._marked = offset, packets
        return packets


class PacketEncoder:
    """Encodes events with the packet class of a server.

    It has no state. It runs code of the application (its packet class, its
    JSON module), so it must not be called under a lock.

    :param server: a server of python-socketio.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def encode(self, namespace: str, args: Iterable[Any],
               ack_id: Optional[int] = None) -> Encoded:
        """Encode an event.

        :param args: the event's name, then its arguments.
        :param ack_id: the id of the acknowledgement that a client is to send;
                       ``None``: it is to send none.
        :raises TypeError: the server's packet class cannot encode it.
        """
        data = list(args)
        parts = self._parts(namespace, data, ack_id)
        again, ends_in_text = None, isinstance(data[-1], str)
        first = parts[0]
        if not isinstance(first, str) or not first.endswith(']'):
            # Not JSON. The application may change what it has emitted.
            again = partial(self._with_offset, namespace, deepcopy(data))
        else:
            # An application's JSON module may write a date as text, say.
            ends_in_text = ends_in_text or first.endswith('"]')
        # A client that is to acknowledge the event gets a function as the
        # last argument.
        return Encoded(parts, again, ack_id is None and ends_in_text)

    def _parts(self, namespace: str, data: List[Any],
               ack_id: Optional[int]) -> List[Any]:
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

    def _with_offset(self, namespace: str, data: List[Any],
                     offset: str) -> Sequence[Any]:
        return self._parts(namespace, [*data, offset], None)
