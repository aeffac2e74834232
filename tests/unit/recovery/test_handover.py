"""A returning client gets its missed events, unless another connection has
taken it over."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.messages import Broadcast
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.handover import Handover, PATIENCE, \
    YIELD_EVERY
from redis_streams_adapter.recovery.replay import Record

from .parts import Parts


@pytest.fixture
def parts(logger: Callable[[], logging.Logger]) -> Parts:
    return Parts(logger)


@pytest.fixture
def handover(parts: Parts) -> Handover:
    return Handover(parts.clients)


def records(count: int) -> List[Record]:
    return [Record(Position(number + 1), Broadcast(('x',)))
            for number in range(count)]


def taken_over(parts: Parts, client: ClientSession) -> ClientSession:
    """Another connection has the client's sid."""
    return parts.client(client.sid, client.namespace, 'other connection')


def test_connected_client_is_found(parts: Parts, handover: Handover) -> None:
    client = parts.client()
    assert handover.is_here(client)
    taken_over(parts, client)
    assert not handover.is_here(client)


@pytest.mark.parametrize('count', [1, YIELD_EVERY, YIELD_EVERY + 1,
                                   2 * YIELD_EVERY + 50])
def test_missed_packets_come_in_order_with_pauses(
        parts: Parts, handover: Handover, count: int) -> None:
    client, missed = parts.client(), records(count)
    assert handover.send_missed(client, missed)
    given = parts.timeline().calls
    assert [record for call in given for record in call[3]] == missed
    assert {call[:3] for call in given} == {('again', ('s', 'e'), '/')}
    assert max(len(call[3]) for call in given) <= YIELD_EVERY
    # No pause follows the last ones, so no other packet precedes the next.
    assert parts.pauses == len(given) - 1 == (count - 1) // YIELD_EVERY


def test_handover_without_missed_packets_checks_client(
        parts: Parts, handover: Handover) -> None:
    client = parts.client()
    assert handover.send_missed(client, ())
    taken_over(parts, client)
    assert not handover.send_missed(client, ())


def test_takeover_stops_handover(parts: Parts, handover: Handover) -> None:
    client, timeline = parts.client(), parts.timeline()
    turns: List[Any] = []

    def deliver() -> None:
        turns.append(None)
        if len(turns) == 2:
            taken_over(parts, client)

    timeline.on_deliver = deliver
    assert not handover.send_missed(client, records(3 * YIELD_EVERY))
    assert len(turns) == 2
    assert len(timeline.calls) == 1


def test_held_packets_are_released(parts: Parts, handover: Handover) -> None:
    client = parts.client()
    held: List[bool] = []
    parts.delivery.release = lambda address: held.append(
        parts.order.held and address == ('s', 'e'))
    assert handover.release(client)
    assert held == [True]
    assert parts.delivery.logged == 1


def test_packets_of_other_connection_stay_held(
        parts: Parts, handover: Handover) -> None:
    client = parts.client()
    taken_over(parts, client)
    assert not handover.release(client)
    assert parts.delivery.released == []
    assert not parts.order.held


def test_client_that_read_reply_has_missed_packets(
        parts: Parts, handover: Handover) -> None:
    client = parts.client(ahead='5-0')
    handover.note_reading(client)
    assert (client.ahead, client.has_changed) == ('5-0', False)
    assert len(parts.sent_packets) == 1
    parts.server.eio.sockets['e'].answer()
    assert (client.ahead, client.has_changed) == (None, True)


def test_lost_connection_reads_no_reply(parts: Parts,
                                        handover: Handover) -> None:
    client = parts.client(ahead='5-0')
    parts.server.eio.sockets['e'].closed = True
    handover.note_reading(client)
    assert parts.sent_packets == []
    assert client.ahead == '5-0'


# -- a client that may have received some missed events ----------------------

def test_connection_is_dropped_after_reply_is_read(
        parts: Parts, handover: Handover) -> None:
    client = parts.client(ahead='5-0')
    connection = parts.server.eio.sockets['e']
    handover.drop_when_read(client)
    assert not connection.closed
    connection.answer()
    assert client.ahead is None
    assert connection.reasons == ['transport close']
    text, = parts.log_texts
    assert 's has to reconnect' in text


def test_connection_that_reads_nothing_is_dropped(
        parts: Parts, handover: Handover) -> None:
    client: Any = parts.client(ahead='5-0')
    connection = parts.server.eio.sockets['e']
    handover.drop_when_read(client)
    client.gone.on_wait = lambda: connection.reasons.append('not yet')
    parts.run_background()
    assert client.gone.waits == [PATIENCE]
    assert connection.reasons == ['not yet', 'transport close']
    # It may or may not have read its packets.
    assert client.ahead == '5-0'


@pytest.mark.parametrize('how', ['answers', 'patience'])
def test_lost_client_keeps_connection_of_other_namespaces(
        parts: Parts, handover: Handover, how: str) -> None:
    client = parts.client(ahead='5-0')
    connection = parts.server.eio.sockets['e']
    handover.drop_when_read(client)
    client.gone.set()
    if how == 'answers':
        connection.answer()
    else:
        parts.run_background()
    assert not connection.closed


def test_closing_connection_is_dropped_at_once(
        parts: Parts, handover: Handover) -> None:
    client = parts.client(ahead='5-0')
    connection = parts.server.eio.sockets['e']
    connection.closing = True
    handover.drop_when_read(client)
    assert connection.reasons == ['transport close']
    assert parts.background == [] and parts.log_texts == []
    assert client.ahead == '5-0'
