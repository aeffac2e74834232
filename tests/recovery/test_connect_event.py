"""What a returning client has received before its ``connect`` event: every
missed event once, even if its connection is lost before that."""
import pytest

from .helpers import check_recovered, check_offsets, check_received, \
    ConnectJs, numbers, offset_of, Pair, Start, TRANSPORTS, Unique

#: More than are handed over without a pause.
MANY = 250


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
@pytest.mark.parametrize('count', [4, MANY])
def test_missed_events_come_before_it(pair: Pair, connect_js: ConnectJs,
                                      unique: Unique, transport: str,
                                      count: int) -> None:
    """Each has its offset. New events come after it."""
    client = connect_js(pair.a, transport=TRANSPORTS[transport])
    sids, missed, live = dict(client.sids), unique('missed'), unique('live')
    pair.a.emit(missed, 0, to=client.sid)
    client.wait_for(missed)
    before = len(client.log())
    client.drop()
    for number in range(1, count + 1):
        # Events with bytes are two packets.
        pair.b.emit(missed, (number, b'raw') if number % 3 == 0 else number,
                    to=client.sid)
    pair.b.flush()
    connects = client.move(pair.b.url)
    pair.b.emit(live, to=client.sid)
    client.wait_for(live)
    check_recovered(client, connects, sids)
    assert connects[0].position == before + count
    assert numbers(client, missed) == [*range(count + 1)]
    assert len({offset_of(args) for args in client.received(missed)}) \
        == count + 1
    check_offsets(client)


def test_missed_events_come_after_it_with_always_connect(
        start: Start, connect_js: ConnectJs, unique: Unique) -> None:
    """The reply is sent before the connect handler runs, which may still
    refuse the client."""
    first, second = start(2, server={'always_connect': True})
    client, missed = connect_js(first), unique('missed')
    sids = dict(client.sids)
    client.drop()
    first.emit_range(missed, range(4))
    connects = client.move(second.url)
    check_recovered(client, connects, sids)
    assert connects[0].position == 0
    check_received([client], [first], unique, **{missed: 4})


@pytest.mark.parametrize('transport', ['websocket', 'polling'])
@pytest.mark.parametrize('had_received', [True, False],
                         ids=['offset', 'no offset'])
@pytest.mark.parametrize('arrived', [0, 1, 3])
def test_connection_is_lost_before_it(pair: Pair, connect_js: ConnectJs,
                                      unique: Unique, transport: str,
                                      had_received: bool,
                                      arrived: int) -> None:
    """The client keeps the events that have arrived until it has a reply,
    however late, and then hands them over. They must not be sent again."""
    client = connect_js(pair.a, transport=TRANSPORTS[transport],
                        reconnection=True)
    sids, missed, before = dict(client.sids), unique('missed'), 0
    if had_received:
        pair.a.emit(missed, 0, to=client.sid)
        client.wait_for(missed)
        before = 1
    client.drop_next_connection(arrived)
    client.set_server(pair.b.url)
    client.give_up()
    pair.a.emit_range(missed, range(before, before + 3), to=client.sid)
    pair.a.flush()
    connects = client.wait_connects(2)[1:]
    check_recovered(client, connects, sids)
    check_received([client], [pair.a], unique, **{missed: before + 3})
