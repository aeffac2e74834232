"""Events wait until the reader reaches them, and count against the limits."""
import logging
from typing import Any, Callable

import pytest

from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.position import Position

from ...support.wait import DEADLINE, wait_until
from ..nodes import Call
from .stream_orders import got, Process

#: Seconds: a limit that no wait of these tests reaches.
AMPLE = 5.0


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    return Process(logger)


# -- events that do not pass through the stream ------------------------------

def test_local_event_waits_for_earlier_ones(process: Process) -> None:
    client = process.connect()
    process.locally('now')
    assert got(client) == [('now', '100-0')]
    first = process.emit('first')
    process.locally('second')
    process.locally('third')
    fourth = process.emit('fourth')
    process.locally('fifth')
    assert len(got(client)) == 1
    process.receive(Position(101), 'other')
    process.back(first, Position(102))
    assert got(client)[1:] == [
        ('other', '101-0'), ('first', '102-0'), ('second', '102-0'),
        ('third', '102-0')]
    process.back(fourth, Position(103))
    assert got(client)[5:] == [('fourth', '103-0'), ('fifth', '103-0')]
    process.locally('now')
    assert got(client)[7:] == [('now', '103-0')]


def test_event_with_callback_waits(process: Process) -> None:
    client = process.connect()
    first, question = process.emit('first'), process.ask('question', 'text')
    process.back(first, Position(101))
    assert got(client) == [('first', '101-0')]
    process.back(question, Position(102))
    name, args, ack_id = client.events()[1]
    # The acknowledgement function follows the text.
    assert (name, args, ack_id) == ('question', ('text',), 1)
    assert not process.delivery.history.has('/', Position(102))


# -- waiting events count against the limits ---------------------------------

def test_struck_task_gives_share_back(process: Process,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """The share is returned, although other events still wait."""
    client, shares = process.connect(), process.delivery._events.shares
    put, last = shares.put, process.emit('hello')

    def struck(*args: Any) -> None:
        put(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shares, 'put', struck)
        with pytest.raises(KeyboardInterrupt):
            process.locally('struck')
    assert process.capacity.count == 0
    for number in range(3):
        process.locally('local', number)
        pending, last = last, process.emit('hello')
        process.back(pending, Position(101 + number))
        assert process.capacity.count == 0
    assert got(client).count(('local', 2)) == 1


def test_waiting_local_events_count_against_limit(
        logger: Callable[[], logging.Logger]) -> None:
    process = Process(logger, limit=2)
    client, pending = process.connect(), process.emit('hello')
    process.locally('local', 1)
    process.locally('local', 2)
    with pytest.raises(OutboxFullError):
        process.locally('local', 3)
    assert process.capacity.count == 2
    process.back(pending, Position(101))
    assert process.capacity.count == 0
    assert got(client)[1:] == [('local', 1), ('local', 2)]


# -- drain -------------------------------------------------------------------

def test_drain_waits_for_earlier_events(process: Process) -> None:
    delivery = process.delivery
    delivery.drain(AMPLE)
    first, last = process.emit('first'), process.emit('last')
    assert delivery.is_waiting
    delivery.drain(0.01)
    call = Call(delivery.drain, DEADLINE)
    wait_until(lambda: len(delivery._waiting) == 4)
    process.emit('later')
    process.back(first, Position(101))
    assert call.waits
    process.back(last, Position(102))
    call.result()
    assert delivery.is_waiting


def test_drain_ends_when_events_are_lost(process: Process) -> None:
    gone = process.emit('gone')
    call = Call(process.delivery.drain, DEADLINE)
    wait_until(lambda: len(process.delivery._waiting) == 2)
    process.heartbeat(gone, Position(101))
    call.result()
    assert not process.delivery.is_waiting
