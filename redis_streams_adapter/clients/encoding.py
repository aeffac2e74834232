"""How an event is encoded for the local clients.

An event is encoded once, as soon as it is emitted: the application may change
its arguments afterwards. With recovery, a client also gets an *offset* with an
event, as one more argument, in text. Most packets are JSON, and the offset is
inserted into the text; other serialisers encode the event again.
"""
import json
from copy import deepcopy
from functools import partial
from typing import Any, Callable, List, Optional, Sequence, Tuple

from socketio import packet

from ..protocol.messages import Broadcast
from ..protocol.position import Position, START
from .frames import share, SharedPacket

_to_json = json.JSONEncoder(separators=(',', ':')).encode


def _text_of(args: Tuple[Any, ...]) -> Optional[str]:
    """Encode an event's arguments as python-socketio's ``Packet.encode``
    does, at a quarter of its cost.

    :return: ``None``: they contain bytes, or cannot be encoded.
    """
    try:
        return _to_json(args)
    except TypeError:
        return None


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
        self._plain: Optional[List[SharedPacket]] = None
        #: With the offset. Any task may replace both, in one step.
        self._marked: Tuple[Position, List[SharedPacket]] = START, []
        self.ends_in_text = ends_in_text

    def plain(self) -> List[SharedPacket]:
        """The packets without an offset."""
        if self._plain is None:
            self._plain = list(map(share, self.parts))
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

    def marked(self, offset: Position) -> List[SharedPacket]:
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
            packets = list(map(share, parts))
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

    def encode(self, namespace: str, message: Broadcast,
               ack_id: Optional[int] = None) -> Encoded:
        """Encode an event.

        :param ack_id: the id of the acknowledgement that a client is to send;
                       ``None``: it is to send none.
        :raises TypeError: the server's packet class cannot encode it.
        """
        packet_class, text = self._server.packet_class, None
        if not message.is_read:
            message.read()
        if packet_class is packet.Packet \
                and packet_class.json.dumps is json.dumps:
            # Packets are python-socketio's, and JSON is Python's.
            text = message.text
            if text is None:
                text = _text_of(message.args)
        if text is not None:
            attachments = message.attachments
            prefix = f'5{len(attachments)}-' if attachments else '2'
            if namespace != '/':
                prefix += f'{namespace},'
            if ack_id is not None:
                prefix += str(ack_id)
            return Encoded([prefix + text, *attachments], None,
                           ack_id is None and text.endswith('"]'))
        data = list(message.args)
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

    def plain(self, namespace: str,
              message: Broadcast) -> List[SharedPacket]:
        """Encode an event for clients that get no offset: as
        ``encode(…).plain()``, with half of the calls if it is text.

        :raises: as :meth:`encode`.
        """
        packet_class = self._server.packet_class
        if not message.is_read:
            message.read()
        text = message.text
        if text is None or message.attachments \
                or packet_class is not packet.Packet \
                or packet_class.json.dumps is not json.dumps:
            return self.encode(namespace, message).plain()
        return [share(f'2{text}' if namespace == '/'
                      else f'2{namespace},{text}')]

    def marked(self, namespace: str, message: Broadcast,
               offset: Position) -> Optional[List[SharedPacket]]:
        """Encode an event of another process for clients that get an offset:
        as ``encode(…).marked(offset)``, with half of the calls.

        :return: ``None``: it is not passed on as the text that came.
        :raises: as :meth:`.Broadcast.read`.
        """
        packet_class = self._server.packet_class
        if not message.is_read:
            message.read()
        text, attachments = message.text, message.attachments
        if text is None or packet_class is not packet.Packet \
                or packet_class.json.dumps is not json.dumps:
            return None
        milliseconds, number = offset
        prefix = '2' if namespace == '/' else f'2{namespace},'
        if attachments:
            prefix = f'5{len(attachments)}-{prefix[1:]}'
        first = f'{prefix}{text[:-1]},"{milliseconds}-{number}"]'
        packets = [share(first)]
        if attachments:
            packets += map(share, attachments)
        return packets

    def _parts(self, namespace: str, data: List[Any],
               ack_id: Optional[int]) -> List[Any]:
        encoded = self._server.packet_class(
            packet.EVENT, namespace=namespace, data=data, id=ack_id).encode()
        if not isinstance(encoded, list):
            return [encoded]
        # A bytearray may change before it is sent, and simple-websocket
        # takes it for text.
        return [bytes(part) if isinstance(part, bytearray) else part
                for part in encoded]

    def _with_offset(self, namespace: str, data: List[Any],
                     offset: str) -> Sequence[Any]:
        return self._parts(namespace, [*data, offset], None)
