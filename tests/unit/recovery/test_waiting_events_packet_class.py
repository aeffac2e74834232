"""The application's packet class encodes waiting events without the order
lock, even if an offset is added."""
import logging
from typing import Any, Callable, List

import pytest
from socketio import packet

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.waiting_events import ATTEMPTS

from ..fake_server import FakeClient
from .stream_orders import got, Process


class PacketProcess(Process):
    """A process whose packet class records calls under the order lock."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        #: The data that was encoded under the order lock.
        self.under_lock: List[Any] = []
        #: Called before each packet is encoded.
        self.on_encode: Callable[[], Any] = lambda: None
        world = self

        class Packet(packet.Packet):  # type: ignore[misc]
            def encode(self) -> Any:
                world.on_encode()
                if world.order._is_owned():  # type: ignore[attr-defined]
                    world.under_lock.append(self.data)
                # This is not JSON.
                return super().encode() + ' '

        super().__init__(logger, serializer=Packet)


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Any:
    world = PacketProcess(logger)
    yield world
    assert world.under_lock == []


@pytest.fixture
def client(process: PacketProcess) -> FakeClient:
    return process.connect()


def test_event_is_delivered_when_read(process: PacketProcess,
                                      client: FakeClient) -> None:
    first = process.emit('first')
    process.locally('local', 'text')
    second = process.emit('second', 'text')
    process.locally('more', 'text')
    process.back(first, Position(101))
    process.back(second, Position(102))
    assert got(client) == [
        ('first', '101-0'), ('local', 'text', '101-0'),
        ('second', 'text', '102-0'), ('more', 'text', '102-0')]


@pytest.mark.parametrize('how', ['overtaken', 'sign of life'])
def test_event_lost_by_redis_is_delivered(
        process: PacketProcess, client: FakeClient, how: str) -> None:
    lost = process.emit('lost', 'text')
    process.locally('local', 'text')
    if how == 'overtaken':
        process.back(process.emit('last'), Position(105))
    else:
        process.heartbeat(lost, Position(105))
    assert got(client)[:2] == [
        ('lost', 'text', '100-0'), ('local', 'text', '100-0')]


def test_event_without_wait_is_delivered_at_once(
        process: PacketProcess, client: FakeClient) -> None:
    process.receive(Position(101), 'other')
    process.locally('local', 'text')
    assert got(client)[1:] == [('local', 'text', '101-0')]


def test_reader_continues_during_encoding(process: PacketProcess,
                                          client: FakeClient) -> None:
    """The offset is that of the time of delivery."""
    positions = iter([Position(101), Position(102)])

    def advance() -> None:
        position = next(positions, None)
        if position is not None:
            process.follower.moved(position)

    process.on_encode = advance
    process.locally('local', 'text')
    assert got(client) == [('local', 'text', '102-0')]


def test_endless_reader_does_not_delay_encoding(
        process: PacketProcess, client: FakeClient) -> None:
    """After some attempts the offset is encoded under the lock."""
    positions = iter(range(101, 200))
    process.on_encode = lambda: process.follower.moved(
        Position(next(positions)))
    process.locally('local', 'text')
    # Encoded once without an offset, and once with one in each attempt.
    offset = 100 + 1 + ATTEMPTS
    assert got(client) == [('local', 'text', f'{offset}-0')]
    assert len(process.under_lock) == 1
    process.under_lock.clear()


def test_disconnected_client_gets_waiting_events(
        process: PacketProcess, client: FakeClient) -> None:
    other, first = process.connect('x'), process.emit('first', 'text')
    process.locally('local', 'text')
    process.delivery.flush(client.sid)
    expected = [('first', 'text', '100-0'), ('local', 'text', '100-0')]
    assert got(client) == expected
    process.back(first, Position(101))
    assert got(client) == expected
    assert got(other) == [
        ('first', 'text', '101-0'), ('local', 'text', '101-0')]


def test_emit_during_disconnect_keeps_order(process: PacketProcess,
                                            client: FakeClient) -> None:
    process.emit('first', 'text')
    calls: List[str] = []

    def emit() -> None:
        process.on_encode = lambda: None
        calls.append('emit')
        process.emit('second', 'text')
        process.follower.moved(Position(101))

    process.on_encode = emit
    process.delivery.flush(client.sid)
    assert got(client) == [
        ('first', 'text', '100-0'), ('second', 'text', '100-0')]


@pytest.mark.parametrize('own', [False, True])
def test_closing_node_delivers_no_offsets(
        process: PacketProcess, client: FakeClient, own: bool) -> None:
    guest = process.connect(takes_part=False)
    pending = process.emit('own', 'text')
    process.locally('local', 'text')
    process.delivery.leave()
    if own:
        process.back(pending, Position(101))
        assert got(client) == [('local', 'text', '100-0')]
    else:
        process.receive(Position(101), 'other', 'text',
                        flags={'volatile': True})
        assert got(client) == [('other', 'text', '100-0')]
    assert len(got(guest)) == 1 + own
