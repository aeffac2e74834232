"""What a packet of Engine.IO looks like on a WebSocket, made once for all
clients.

A server does not mask its frames (RFC 6455, section 5.1), so a packet has the
same frame for each client. A frame without compression is valid after
permessage-deflate was negotiated, too (RFC 7692, section 6).
"""
from functools import partial
from typing import Any, Callable, Iterable, List, Optional, Tuple, Union

from engineio import packet as eio_packet

#: The first byte of a frame that is a whole message: of text, of bytes.
TEXT, BINARY = b'\x81', b'\x82'

#: Lengths up to this are in the second byte. Larger lengths follow it: those
#: of two bytes after 126, those of eight after 127.
SHORT = 125

#: How the data of a DISCONNECT packet of Socket.IO begin.
DISCONNECT = '1'

#: How many bytes of frames are joined for one write. More gains nothing, and
#: each slow client has as much in a copy of its own.
JOINED = 2**17

#: How many packets are looked at for one write. Their frames are mostly less
#: than what is joined.
AT_ONCE = 1000

#: The types of the data of packets that only python-engineio's code encodes.
PLAIN = (str, bytes, bytearray, type(None))


# It has no type hints.
_Packet: Any = eio_packet.Packet


# The type is ignored: a base class without types.
class SharedPacket(_Packet):  # type: ignore[misc]
    """A MESSAGE that many clients get, with any transport.

    Each form of it is made when the first client needs it. Any task may do
    that, in one step; two tasks make the same. Make it with :func:`share`.
    """

    #: Its frame, see :func:`join`.
    frame: Optional[bytes] = None

    def encode(self, b64: bool = False) -> Any:
        """See python-engineio. It keeps the form for polling, which differs
        if this packet is binary, and would return it for a WebSocket."""
        if self.binary and not b64:
            return self.data
        return super().encode(b64)


#: Makes a :class:`SharedPacket` of text or bytes. No function of ours: one is
#: made for each event.
share: Callable[[Union[str, bytes]], SharedPacket] = partial(
    SharedPacket, eio_packet.MESSAGE)


def frame_of(packet: Any) -> Optional[bytes]:
    """Make the frame of a packet.

    :param packet: ``None``: the end of the connection.
    :return: ``None``: it has none; or the text has a lone surrogate, which
             no frame can hold; or the application's JSON module would have
             to run, which may fail or take long.
    """
    if packet is None or type(packet.data) not in PLAIN:
        return None
    shared = isinstance(packet, SharedPacket)
    # Not encode(): a shared packet would keep the text for polling, too.
    message = f'{eio_packet.MESSAGE}{packet.data}' \
        if shared and not packet.binary else packet.encode()
    kind = BINARY
    if isinstance(message, str):
        try:
            kind, message = TEXT, message.encode()
        except UnicodeEncodeError:
            return None
    size = len(message)
    if size <= SHORT:
        frame = b'%b%c%b' % (kind, size, message)
    elif size < 2**16:
        frame = b'%b\x7e%b%b' % (kind, size.to_bytes(2, 'big'), message)
    else:
        frame = b'%b\x7f%b%b' % (kind, size.to_bytes(8, 'big'), message)
    if shared:
        packet.frame = frame
    return frame


def join(packets: Iterable[Any], longest: int) -> Tuple[int, bytes]:
    """Join the frames of the first packets that wait.

    :param longest: the frames that are longer are not for us to make.
    :return: of how many packets, and the frames.
    """
    frames: List[bytes] = []
    size = 0
    for packet in packets:
        # Not a function for each: this is done for each event and client.
        frame = getattr(packet, 'frame', None)
        if frame is None:
            if frames and type(packet) is not SharedPacket \
                    and _disconnects(packet):
                break
            frame = frame_of(packet)
        if frame is None or len(frame) > longest:
            break
        frames.append(frame)
        size += len(frame)
        if size >= JOINED:
            break
    return len(frames), frames[0] if len(frames) == 1 else b''.join(frames)


def _disconnects(packet: Any) -> bool:
    """Whether a packet disconnects its client from a namespace. It is not
    joined to what precedes it.

    With ``always_connect``, python-socketio (5.18) refuses a client with a
    reply and then such a packet, which has data that a client in JavaScript
    (4.8) takes for an error. If it reads both at once, it closes its
    connection, and then believes that it is connected.
    """
    return packet is not None \
        and packet.packet_type == eio_packet.MESSAGE \
        and isinstance(packet.data, str) \
        and packet.data.startswith(DISCONNECT)


class Joined:
    """Joined frames, in place of a packet: python-engineio takes them from
    the queue, encodes them, and sends them.

    :param data: the frames.
    """

    __slots__ = ('data',)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encode(self) -> 'Joined':
        """See the class."""
        return self
