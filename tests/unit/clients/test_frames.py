"""Frames are those of the WebSocket protocol, and made once."""
from collections import deque
from typing import Any, List

import pytest
from engineio.packet import MESSAGE, Packet, PING
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message

from redis_streams_adapter.clients import frames
from redis_streams_adapter.clients.frames import JOINED, Joined, \
    frame_of, join, share

LONGEST = 10 * JOINED


def read(data: bytes) -> List[Any]:
    """The messages of frames, as a client reads them."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    found: List[Any] = []
    whole = True
    for event in client.events():
        found.append(event.data if whole else found.pop() + event.data)
        whole = event.message_finished
    assert whole
    return found


def framed(text: str) -> bytes:
    """The frame of a packet with this text."""
    frame = frame_of(Packet(MESSAGE, text))
    assert frame is not None
    return frame


@pytest.mark.parametrize('kind', [
    share, lambda data: Packet(MESSAGE, data)])
@pytest.mark.parametrize('size', [0, 1, 124, 125, 126, 127, 65534, 65535,
                                  65536, 70000])
def test_frames_of_all_lengths(size: int, kind: Any) -> None:
    server = Connection(ConnectionType.SERVER)
    for data in ('x' * size, b'\xff' * size, '\u2603' * size):
        frame = frame_of(kind(data))
        message = Packet(MESSAGE, data).encode()
        assert frame is not None and read(frame) == [message]
        # simple-websocket makes the same.
        assert frame == server.send(Message(data=message))


@pytest.mark.parametrize('data', ['2["x"]', b'bytes', '2["\u2603"]'])
def test_packet_is_encoded_as_by_engineio(data: Any) -> None:
    """Long polling, which makes text of bytes, changes nothing for a
    WebSocket."""
    shared = share(data)
    for b64 in (True, False, True, False):
        assert shared.encode(b64=b64) == Packet(MESSAGE, data).encode(b64=b64)
    assert read(frame_of(shared) or b'') == [Packet(MESSAGE, data).encode()]


def test_frame_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packet = share('2["x"]')
    taken, data = join(deque([packet]), LONGEST)
    assert (taken, data) == (1, packet.frame)
    monkeypatch.setattr(frames, 'frame_of', lambda packet: b'another')
    assert join(deque([packet]), LONGEST) == (1, data)


def test_packets_of_engineio_are_joined_in_order() -> None:
    packets = deque([share('a'), Packet(PING), share(b'b'),
                     Packet(MESSAGE, 'c'), Packet(MESSAGE, b'd')])
    taken, data = join(packets, LONGEST)
    assert taken == len(packets) == 5
    assert read(data) == ['4a', '2', b'b', '4c', b'd']


@pytest.mark.parametrize('last', [
    None, share('\ud800'), Packet(MESSAGE, '\ud800'),
    share('x' * 2000), Packet(MESSAGE, {'a': object()}),
    Packet(MESSAGE, [1]), Packet(MESSAGE, 1)])
def test_what_has_no_frame_is_not_joined(last: Any) -> None:
    """The end of a connection, invalid text, what is compressed, and what
    the application's JSON module encodes."""
    packets = deque([share('a'), last, share('b')])
    assert join(packets, 1024) == (1, framed('a'))
    packets.popleft()
    assert join(packets, 1024) == (0, b'')


@pytest.mark.parametrize('data', ['1', '1/chat,', '1{"message":"refused"}'])
def test_disconnect_is_not_joined_to_what_precedes_it(data: str) -> None:
    packets = deque([Packet(MESSAGE, '0{"sid":"x"}'), Packet(MESSAGE, data),
                     share('b')])
    assert join(packets, LONGEST) == (1, framed('0{"sid":"x"}'))
    packets.popleft()
    assert join(packets, LONGEST) == (2, framed(data) + framed('b'))


def test_joined_frames_are_limited() -> None:
    packet = share('x' * (JOINED // 4))
    taken, data = join(deque([packet] * 10), LONGEST)
    assert taken == 4 and len(data) < 2 * JOINED
    # One frame is not split, and not copied.
    packet = share('x' * 3 * JOINED)
    taken, data = join(deque([packet] * 2), LONGEST)
    assert taken == 1 and data is packet.frame


def test_joined_frames_take_the_place_of_a_packet() -> None:
    joined = Joined(b'data')
    assert joined.encode() is joined
    assert joined.data == b'data'
