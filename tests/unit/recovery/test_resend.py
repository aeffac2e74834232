"""Missed events are encoded and sent again."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position

from ..fake_server import FakeClient
from .stream_orders import got, Process


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    return Process(logger)


def test_missed_events_are_sent_before_held_ones(process: Process) -> None:
    """A missed event precedes held events, and has the data from the time of
    the emit."""
    client, data = process.connect(), {'a': 1}
    with_offset, own = process.connect('x'), process.emit('own', data)
    data['a'] = 2
    process.back(own, Position(101))
    process.receive(Position(102), 'other', b'bytes')
    process.receive(Position(103), 'other', to=['nobody'])
    missed = process.delivery.history.after('/', Position(100))
    assert missed is not None and len(missed) == 3
    returned = (client.sid, FakeClient(process.server, '/chat'))
    sid, connection = returned
    process.local.hold(sid)
    process.receive(Position(104), 'held')
    assert process.delivery.deliver_again(
        (sid, connection.eio_sid), '/', missed, lambda: True)
    assert process.local.sent[sid] == Position(103)
    process.local.release((sid, connection.eio_sid))
    assert got(connection) == [
        ('own', {'a': 1}, '101-0'), ('other', b'bytes', '102-0'),
        ('other', '103-0'), ('held', '104-0')]
    assert got(with_offset)[:2] == got(connection)[:2]
    assert process.local.sent[sid] == Position(104)


def test_local_events_without_recipients_are_decoded(process: Process) -> None:
    """Their arguments are decoded from the stream's entry."""
    data = [1, b'x']
    pending = process.emit('own', data, to=['x'])
    data.append(2)
    process.back(pending, Position(101))
    connection = FakeClient(process.server, '/chat')
    missed = process.delivery.history.after('/', Position(100))
    assert missed is not None
    assert not process.delivery.deliver_again(
        ('s', connection.eio_sid), '/', missed, lambda: False)
    assert process.delivery.deliver_again(
        ('s', connection.eio_sid), '/', missed, lambda: True)
    assert got(connection) == [('own', [1, b'x'], '101-0')]


def test_unencodable_events_are_skipped(
        process: Process, logged: Callable[[int], List[str]]) -> None:
    """They are logged, and the others are sent."""
    for number in (101, 102):
        process.receive(Position(number), 'event', number)
    missed = process.delivery.history.after('/', Position(100)) or ()
    connection, encode = FakeClient(process.server, '/chat'), \
        process.local.encode

    def fail_once(*args: Any) -> Any:
        process.local.encode = encode  # type: ignore[method-assign]
        raise TypeError('no')

    process.local.encode = fail_once  # type: ignore[method-assign]
    assert process.delivery.deliver_again(
        ('s', connection.eio_sid), '/', missed, lambda: True)
    assert got(connection) == [('event', 102, '102-0')]
    assert logged(logging.ERROR) == [
        'entry 101-0 could not be delivered again']
