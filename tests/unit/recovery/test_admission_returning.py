"""A returning client is registered with its former state and its missed
events. If that is impossible, it becomes a new client or its connection is
dropped."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.messages import DisconnectSockets, \
    EVERYONE, SocketsJoin
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.recovery import admission as module
from redis_streams_adapter.recovery.admission import PATIENCE, ROUNDS, \
    TURN_PATIENCE
from redis_streams_adapter.recovery.claims import CONNECT_PATIENCE
from redis_streams_adapter.recovery.replay import Record
from redis_streams_adapter.recovery.session import Gap, Origin, Outcome, \
    OFFSET_NOT_FOUND, Refusal, REJECTED, TurnedAway

from .admitting import LAST, VALUE, with_session, Fakes


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


def is_new(fakes: Fakes, reason: str, **returns: Any) -> None:
    """A returning client is registered as a new client."""
    visit = fakes.returns(**returns)
    assert fakes.admit(visit) == visit.sid == 'new sid'
    assert fakes.manager.clients == {('/', 'new sid'): 'e'}
    assert visit.missed == ()
    assert fakes.shown() == Outcome(False, reason)
    assert fakes.counted() == {
        'not_recovered_' + reason.replace('-', '_'): 1}
    assert fakes.claimed == [] and fakes.restored == []


def is_turned_away(fakes: Fakes) -> None:
    visit = fakes.returns()
    assert fakes.admit(visit) is None
    assert visit.turned_away and visit.sid is None
    assert fakes.connection.reasons == ['transport close']
    assert fakes.manager.clients == {} and fakes.local.count == 0
    assert fakes.delivery.sent == {}
    assert fakes.counted() == {} and fakes.claimed == []
    assert len(fakes.log_texts) == 1


# -- recovered ---------------------------------------------------------------

def test_returning_client_keeps_its_state(fakes: Fakes) -> None:
    visit = fakes.returns()
    assert fakes.admit(visit) == visit.sid == 's'
    assert fakes.asked == [('/', 'pid of s', Position(9))]
    assert fakes.manager.clients == {('/', 's'): 'e'}
    assert fakes.manager.rooms['/', 's'] == {'s', 'room'}
    client: Any = visit.client
    assert fakes.local.of_sid('s', '/') is client
    assert (client.pid, client.claim) == ('pid of s', 'claimed')
    assert client.rooms == {'s', 'room'}
    assert client.is_placed
    # Its connection gets the stored data. The session has a copy, in case the
    # connection is lost before the session is written.
    assert fakes.restored == [('e', fakes.found)]
    assert (client.data, client.flask) == ({'name': 'x'}, 'of flask')
    # It is written again soon.
    assert fakes.claimed == [(client, VALUE)]


def test_returning_client_keeps_its_position(fakes: Fakes) -> None:
    found = with_session(
        fakes, gap=Gap(None, Position(4)), own=Origin(b'w', 5), ahead='3-0')
    visit = fakes.returns()
    fakes.admit(visit)
    client: Any = visit.client
    for name in ('upto', 'since', 'sent', 'gap', 'obeyed', 'own', 'ahead'):
        assert getattr(client, name) == getattr(found, name)
    assert not visit.is_ahead
    # New events get an offset from now on.
    assert fakes.delivery.sent == {'s': Position(9)}


def test_session_without_position_is_placed_by_offset(fakes: Fakes) -> None:
    """Node.js stores no position."""
    with_session(fakes, upto=None, since=None)
    visit = fakes.returns()
    fakes.admit(visit)
    client: Any = visit.client
    assert (client.upto, client.since) == (Position(10), None)


@pytest.mark.parametrize('offset, ahead, is_ahead', [
    ('9-0', '9-0', True), ('9-0', '8-0', False), ('9-0', None, False),
    (None, '', True), (None, '9-0', False)])
def test_client_may_have_part_of_missed_events(
        fakes: Fakes, offset: Any, ahead: Any, is_ahead: bool) -> None:
    with_session(fakes, ahead=ahead)
    visit = fakes.returns(offset=offset)
    fakes.admit(visit)
    assert visit.offset == (offset or '')
    assert visit.is_ahead is is_ahead


def test_recovery_is_counted_after_replay(fakes: Fakes) -> None:
    fakes.admit(fakes.returns())
    assert fakes.shown() == Outcome(True)
    assert fakes.outcomes.of('s', '/') == Outcome(True)
    assert fakes.counted() == {} and fakes.log_texts == []


def test_missed_events_are_taken_from_memory(fakes: Fakes) -> None:
    fakes.timeline().history.add('/', fakes.record(21, 'other room'))
    fakes.timeline().history.add('/', fakes.record(22, 's'))
    visit = fakes.returns()
    fakes.admit(visit)
    assert [record.id for record in visit.missed] == [
        *(Position(number) for number in range(11, 21)), Position(22)]
    assert fakes.store.pages == []
    # It gets later events as all clients do, after its reply.
    assert fakes.delivery.held == ['s']


def test_older_missed_events_are_read_from_redis(fakes: Fakes) -> None:
    fakes.store.entries = [fakes.entry(number) for number in range(5, 21)]
    fakes.start = Position(7)
    visit = fakes.returns()
    fakes.admit(visit)
    assert [record.id for record in visit.missed] == [
        Position(number) for number in range(8, 21)]


def test_missed_commands_apply(fakes: Fakes) -> None:
    history = fakes.timeline().history
    history.add('/', Record(Position(21), SocketsJoin(EVERYONE, ('late',))))
    history.add('/', fakes.record(22, 'late'))
    visit = fakes.returns()
    fakes.admit(visit)
    assert fakes.manager.rooms['/', 's'] == {'s', 'room', 'late'}
    assert visit.client is not None
    assert visit.client.rooms == {'s', 'room', 'late'}
    assert visit.missed[-1].id == Position(22)


def test_waiting_events_are_replayed(fakes: Fakes) -> None:
    """This node emitted them and has not read them yet."""
    visit = fakes.returns()
    fakes.admit(visit)
    (name, address, namespace, replay), = fakes.timeline().calls
    assert (name, address, namespace) == ('admit', ('s', 'e'), '/')
    assert replay.missed == visit.missed


def test_admission_waits_for_reader(fakes: Fakes) -> None:
    fakes.admit(fakes.returns())
    assert fakes.timeline().reached == [(LAST, PATIENCE)]


# -- not recovered -----------------------------------------------------------

def test_waiting_disconnect_applies(fakes: Fakes) -> None:
    def admit(*args: Any) -> None:
        raise Refusal('unknown-session')

    fakes.timeline().admit = admit  # type: ignore[method-assign]
    is_new(fakes, 'unknown-session')
    assert fakes.stored is None
    assert fakes.delivery.held == []


def test_missed_disconnect_ends_session(fakes: Fakes) -> None:
    """No other node can recover the client: its session is deleted."""
    fakes.timeline().history.add('/', Record(
        Position(21), DisconnectSockets(EVERYONE)))
    is_new(fakes, 'unknown-session')
    assert fakes.stored is None


def test_too_many_missed_events_end_session(logger: Any) -> None:
    fakes = Fakes(logger, max_missed_packets=9)
    is_new(fakes, 'too-many-missed')
    assert fakes.stored is None


def test_allowed_number_of_missed_events_is_recovered(logger: Any) -> None:
    fakes = Fakes(logger, max_missed_packets=10)
    assert fakes.admit(fakes.returns()) == 's'


def test_session_of_other_node_is_not_deleted(fakes: Fakes) -> None:
    def admit(*args: Any) -> None:
        fakes.store.values['pid of s'] = b'of another'
        raise Refusal('unknown-session')

    fakes.timeline().admit = admit  # type: ignore[method-assign]
    is_new(fakes, 'unknown-session')
    assert fakes.stored == b'of another'


def test_client_is_new_while_reader_lags(fakes: Fakes) -> None:
    """The session stays: another node may recover the client."""
    fakes.timeline().reaches = False
    is_new(fakes, 'redis-unavailable')
    assert fakes.stored == VALUE


@pytest.mark.parametrize('error', [
    Unavailable('Redis is away'), OutboxFullError('full')])
def test_client_is_new_while_redis_is_away(fakes: Fakes,
                                           error: Exception) -> None:
    def fail(accepts: Any) -> None:
        raise error

    fakes.on_claim = fail
    is_new(fakes, 'redis-unavailable')


def test_client_is_new_while_node_reads_nothing(fakes: Fakes) -> None:
    waits: List[float] = []
    fakes.runtime.is_connected = False
    fakes.runtime.await_connection = lambda timeout: waits.append(timeout)
    is_new(fakes, 'redis-unavailable')
    assert waits == [CONNECT_PATIENCE] and fakes.asked == []


def test_admission_waits_for_reconnecting_reader(fakes: Fakes) -> None:
    fakes.runtime.is_connected = False
    fakes.runtime.await_connection = lambda timeout: True
    assert fakes.admit(fakes.returns()) == 's'


def test_second_connect_deletes_claimed_session(fakes: Fakes) -> None:
    fakes.manager.register('other', 'e', '/', ())
    visit = fakes.returns()
    assert fakes.admit(visit) is None
    assert fakes.manager.clients == {('/', 'other'): 'e'}
    assert fakes.local.count == 0 and fakes.delivery.sent == {}
    assert 's' in fakes.delivery.forgotten
    assert fakes.stored is None
    # No waiting event is delivered to that connection.
    assert fakes.timeline().calls == []


def test_client_that_is_not_accepted_is_new(logger: Any) -> None:
    asked: List[Any] = []

    def claim(accepts: Callable[[str], bool]) -> None:
        assert not accepts('s')
        raise Refusal(REJECTED)

    fakes = Fakes(logger, accepts=lambda sid, *_: asked.append(sid))
    fakes.on_claim = claim
    is_new(fakes, REJECTED)
    assert asked == ['s', 'new sid']
    assert fakes.local.count == 0


# -- turned away, so that the client retries ---------------------------------

def test_closing_node_rejects_returning_client(fakes: Fakes) -> None:
    fakes.runtime.closed = True
    is_turned_away(fakes)
    assert fakes.asked == []


@pytest.mark.parametrize('error', [
    Refusal('redis-unavailable'), Unavailable('Redis is away')])
def test_node_that_closes_during_claim_rejects_client(
        fakes: Fakes, error: Exception) -> None:
    """The closing may be the reason why recovery failed."""
    def claim(accepts: Any) -> None:
        fakes.runtime.closed = True
        raise error

    fakes.on_claim = claim
    is_turned_away(fakes)


def test_connection_lost_during_claim_is_rejected(fakes: Fakes) -> None:
    """The client may have its session on another node by now."""
    def claim(accepts: Callable[[str], bool]) -> None:
        assert accepts('s')
        fakes.connection.closing = True
        with pytest.raises(TurnedAway):
            accepts('s')
        raise TurnedAway

    fakes.on_claim = claim
    is_turned_away(fakes)
    assert fakes.stored is None


@pytest.mark.parametrize('why', ['superseded', 'closing', 'the stream'])
def test_client_ended_before_registration_is_rejected(
        fakes: Fakes, why: str) -> None:
    def happen(accepts: Any) -> None:
        fakes.superseded = why == 'superseded'
        fakes.connection.closing = why == 'closing'
        fakes.timeline().has_left = why == 'the stream'

    fakes.on_claim = happen
    is_turned_away(fakes)
    # The session stays for the client's next connection.
    assert fakes.stored == VALUE


# -- concurrent connections --------------------------------------------------

def add_rival(fakes: Fakes) -> Any:
    """Another connection of the client is registered."""
    return fakes.client('s', eio_sid='f')


def test_older_rival_is_removed_before_registration(fakes: Fakes) -> None:
    rival = add_rival(fakes)
    visit = fakes.returns()
    assert fakes.admit(visit) == 's'
    assert fakes.rivals == [rival]
    assert fakes.local.of_sid('s', '/') is visit.client


def test_newer_rival_wins(fakes: Fakes) -> None:
    def keep_rival(rival: Any) -> None:
        raise TurnedAway

    rival = add_rival(fakes)
    fakes.on_rival = keep_rival
    visit = fakes.returns()
    assert fakes.admit(visit) is None
    assert visit.turned_away and fakes.connection.closed
    assert fakes.local.of_sid('s', '/') is rival


def test_rival_between_check_and_lock_is_noticed(fakes: Fakes) -> None:
    """A rival between the check and the order lock causes another round."""
    first: List[Any] = [add_rival(fakes)]

    def add_next_rival(rival: Any) -> None:
        fakes.disconnects(rival)
        if len(fakes.rivals) == 1:
            first.append(add_rival(fakes))

    fakes.on_rival = add_next_rival
    visit = fakes.returns()
    assert fakes.admit(visit) == 's'
    assert fakes.rivals == first and len(first) == 2
    # Each missed event is there once.
    assert len(visit.missed) == 10


def test_endless_rivals_end_admission(fakes: Fakes) -> None:
    add_rival(fakes)
    fakes.on_rival = lambda rival: (fakes.disconnects(rival), add_rival(fakes))
    visit = fakes.returns()
    assert fakes.admit(visit) == 'new sid'
    assert len(fakes.rivals) == ROUNDS
    assert fakes.shown() == Outcome(False, 'redis-unavailable')


def test_memory_trimmed_during_admission_is_read_again(fakes: Fakes) -> None:
    """The missed events are then read from Redis."""
    history = fakes.timeline().history
    add_rival(fakes)

    def forget(rival: Any) -> None:
        fakes.disconnects(rival)
        history.serve((), Position(20))
        history.serve(['/'], Position(20))

    fakes.on_rival = forget
    fakes.store.entries = [fakes.entry(number) for number in range(5, 21)]
    visit = fakes.returns()
    assert fakes.admit(visit) == 's'
    assert [record.id for record in visit.missed] == [
        Position(number) for number in range(11, 21)]
    assert fakes.store.pages[0] == Position(10)


def new_stream(fakes: Fakes) -> None:
    """The reader finds that the stream is another one, which begins with 11-0,
    while a client is taken over."""
    add_rival(fakes)

    def set_back(rival: Any) -> None:
        fakes.disconnects(rival)
        history = fakes.timeline().history
        history.restart(Position(11), Position(30))
        history.add('/', fakes.record(12, 'room'))

    fakes.store.entries = [fakes.entry(11), fakes.entry(12)]
    fakes.start = Position(11)
    fakes.on_rival = set_back


def test_client_of_former_stream_is_refused_during_admission(
        fakes: Fakes) -> None:
    new_stream(fakes)

    def refuse() -> None:
        raise Refusal(OFFSET_NOT_FOUND)

    fakes.on_check = refuse
    assert fakes.admit(fakes.returns()) == 'new sid'
    assert fakes.shown() == Outcome(False, OFFSET_NOT_FOUND)
    assert fakes.stored is None


def test_client_of_new_stream_is_recovered_during_admission(
        fakes: Fakes) -> None:
    """What it missed comes from the new stream alone."""
    new_stream(fakes)
    visit = fakes.returns()
    assert fakes.admit(visit) == 's'
    assert [record.id for record in visit.missed] == [Position(12)]


def test_streams_that_restart_without_end_end_recovery(
        fakes: Fakes) -> None:
    """The session is kept: another node may be able to recover it."""
    new_stream(fakes)
    fakes.on_check = lambda: fakes.timeline().history.restart(
        Position(11), Position(30))
    assert fakes.admit(fakes.returns()) == 'new sid'
    assert fakes.shown() == Outcome(False, 'redis-unavailable')
    assert fakes.stored == VALUE


@pytest.mark.parametrize('fails', [False, True])
def test_number_of_admissions_at_a_time_is_limited(
        fakes: Fakes, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next admission waits for its turn, up to a time limit."""
    monkeypatch.setattr(module, 'AT_A_TIME', 1)
    fakes = Fakes(fakes.manager._get_logger)
    waits: List[Any] = []

    def claim(accepts: Any) -> None:
        fakes.on_claim = lambda accepts: waits.extend(
            event.waits for event in fakes.events)
        fakes.connect('f')
        fakes.admit(fakes.returns('p', eio_sid='f'))
        if fails:
            raise Refusal('unknown-session')

    fakes.on_claim = claim
    fakes.admit(fakes.returns())
    assert [each for each in waits if each] == [[TURN_PATIENCE]]
    # A slot is free again.
    before = len(fakes.events)
    fakes.connect('g')
    fakes.admit(fakes.returns('q', eio_sid='g'))
    assert not any(event.waits for event in fakes.events[before:])
