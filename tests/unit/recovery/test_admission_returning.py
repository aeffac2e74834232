"""A client that returns is registered as it was, with what it missed; if
that cannot be, it is a new one, or its connection ends."""
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
    Refusal, REJECTED, TurnedAway

from .admitting import LAST, VALUE, with_session, World


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


def is_new(world: World, reason: str, **returns: Any) -> None:
    """A client that returns is registered as a new one."""
    visit = world.returns(**returns)
    assert world.admit(visit) == visit.sid == 'new sid'
    assert world.manager.clients == {('/', 'new sid'): 'e'}
    assert visit.missed == ()
    assert world.shown() == Outcome(False, reason)
    assert world.counted() == {
        'not_recovered_' + reason.replace('-', '_'): 1}
    assert world.claimed == [] and world.restored == []


def is_turned_away(world: World) -> None:
    visit = world.returns()
    assert world.admit(visit) is None
    assert visit.turned_away and visit.sid is None
    assert world.connection.reasons == ['transport close']
    assert world.manager.clients == {} and world.local.count == 0
    assert world.delivery.sent == {}
    assert world.counted() == {} and world.claimed == []
    assert len(world.log_texts) == 1


# -- one that is recovered ---------------------------------------------------

def test_returning_client_keeps_its_state(world: World) -> None:
    visit = world.returns()
    assert world.admit(visit) == visit.sid == 's'
    assert world.asked == [('/', 'pid of s', Position(9))]
    assert world.manager.clients == {('/', 's'): 'e'}
    assert world.manager.rooms['/', 's'] == {'s', 'room'}
    client: Any = visit.client
    assert world.local.of_sid('s', '/') is client
    assert (client.pid, client.claim) == ('pid of s', 'claimed')
    assert client.rooms == {'s', 'room'}
    assert client.is_placed
    # Its connection gets what was kept, and so has the session, should that
    # be gone before.
    assert world.restored == [('e', world.found)]
    assert (client.data, client.flask) == ({'name': 'x'}, 'of flask')
    # It is written again soon.
    assert world.claimed == [(client, VALUE)]


def test_returning_client_keeps_its_position(world: World) -> None:
    found = with_session(
        world, gap=Gap(None, Position(4)), own=Origin(b'w', 5), ahead='3-0')
    visit = world.returns()
    world.admit(visit)
    client: Any = visit.client
    for name in ('upto', 'since', 'sent', 'gap', 'obeyed', 'own', 'ahead'):
        assert getattr(client, name) == getattr(found, name)
    assert not visit.is_ahead
    # A new event is marked from here on.
    assert world.delivery.sent == {'s': Position(9)}


def test_session_without_position_is_placed_by_offset(world: World) -> None:
    """One of Node.js."""
    with_session(world, upto=None, since=None)
    visit = world.returns()
    world.admit(visit)
    client: Any = visit.client
    assert (client.upto, client.since) == (Position(10), None)


@pytest.mark.parametrize('offset, ahead, is_ahead', [
    ('9-0', '9-0', True), ('9-0', '8-0', False), ('9-0', None, False),
    (None, '', True), (None, '9-0', False)])
def test_client_may_have_part_of_missed_events(
        world: World, offset: Any, ahead: Any, is_ahead: bool) -> None:
    with_session(world, ahead=ahead)
    visit = world.returns(offset=offset)
    world.admit(visit)
    assert visit.offset == (offset or '')
    assert visit.is_ahead is is_ahead


def test_recovery_is_counted_after_replay(world: World) -> None:
    world.admit(world.returns())
    assert world.shown() == Outcome(True)
    assert world.outcomes.of('s', '/') == Outcome(True)
    assert world.counted() == {} and world.log_texts == []


def test_missed_events_are_taken_from_memory(world: World) -> None:
    world.timeline().history.add('/', world.record(21, 'other room'))
    world.timeline().history.add('/', world.record(22, 's'))
    visit = world.returns()
    world.admit(visit)
    assert [record.id for record in visit.missed] == [
        *(Position(number) for number in range(11, 21)), Position(22)]
    assert world.store.pages == []
    # It gets the rest as others do, once it has its reply.
    assert world.delivery.held == ['s']


def test_older_missed_events_are_read_from_redis(world: World) -> None:
    world.store.entries = [world.entry(number) for number in range(5, 21)]
    world.start = Position(7)
    visit = world.returns()
    world.admit(visit)
    assert [record.id for record in visit.missed] == [
        Position(number) for number in range(8, 21)]


def test_missed_commands_apply(world: World) -> None:
    history = world.timeline().history
    history.add('/', Record(Position(21), SocketsJoin(EVERYONE, ('late',))))
    history.add('/', world.record(22, 'late'))
    visit = world.returns()
    world.admit(visit)
    assert world.manager.rooms['/', 's'] == {'s', 'room', 'late'}
    assert visit.client is not None
    assert visit.client.rooms == {'s', 'room', 'late'}
    assert visit.missed[-1].id == Position(22)


def test_waiting_events_are_replayed(world: World) -> None:
    """They were emitted by this node, which has not read them yet."""
    visit = world.returns()
    world.admit(visit)
    (name, address, namespace, replay), = world.timeline().calls
    assert (name, address, namespace) == ('admit', ('s', 'e'), '/')
    assert replay.missed == visit.missed


def test_admission_waits_for_reader(world: World) -> None:
    world.admit(world.returns())
    assert world.timeline().reached == [(LAST, PATIENCE)]


# -- one that is not ---------------------------------------------------------

def test_waiting_disconnect_applies(world: World) -> None:
    def admit(*args: Any) -> None:
        raise Refusal('unknown-session')

    world.timeline().admit = admit  # type: ignore[method-assign]
    is_new(world, 'unknown-session')
    assert world.kept is None
    assert world.delivery.held == []


def test_missed_disconnect_ends_session(world: World) -> None:
    """No other node can recover the client: its session is deleted."""
    world.timeline().history.add('/', Record(
        Position(21), DisconnectSockets(EVERYONE)))
    is_new(world, 'unknown-session')
    assert world.kept is None


def test_too_many_missed_events_end_session(logger: Any) -> None:
    world = World(logger, max_missed_packets=9)
    is_new(world, 'too-many-missed')
    assert world.kept is None


def test_allowed_number_of_missed_events_is_recovered(logger: Any) -> None:
    world = World(logger, max_missed_packets=10)
    assert world.admit(world.returns()) == 's'


def test_session_of_other_node_is_not_deleted(world: World) -> None:
    def admit(*args: Any) -> None:
        world.store.values['pid of s'] = b'of another'
        raise Refusal('unknown-session')

    world.timeline().admit = admit  # type: ignore[method-assign]
    is_new(world, 'unknown-session')
    assert world.kept == b'of another'


def test_client_is_new_while_reader_lags(world: World) -> None:
    """The session stays: another node may recover the client."""
    world.timeline().reaches = False
    is_new(world, 'redis-unavailable')
    assert world.kept == VALUE


@pytest.mark.parametrize('error', [
    Unavailable('Redis is away'), OutboxFullError('full')])
def test_client_is_new_while_redis_is_away(world: World,
                                           error: Exception) -> None:
    def fail(accepts: Any) -> None:
        raise error

    world.on_claim = fail
    is_new(world, 'redis-unavailable')


def test_client_is_new_while_node_reads_nothing(world: World) -> None:
    waits: List[float] = []
    world.runtime.is_connected = False
    world.runtime.await_connection = lambda timeout: waits.append(timeout)
    is_new(world, 'redis-unavailable')
    assert waits == [CONNECT_PATIENCE] and world.asked == []


def test_admission_waits_for_reconnecting_reader(world: World) -> None:
    world.runtime.is_connected = False
    world.runtime.await_connection = lambda timeout: True
    assert world.admit(world.returns()) == 's'


def test_second_connect_deletes_claimed_session(world: World) -> None:
    world.manager.register('other', 'e', '/', ())
    visit = world.returns()
    assert world.admit(visit) is None
    assert world.manager.clients == {('/', 'other'): 'e'}
    assert world.local.count == 0 and world.delivery.sent == {}
    assert 's' in world.delivery.forgotten
    assert world.kept is None
    # Nothing that waits is delivered to that connection.
    assert world.timeline().calls == []


def test_client_that_is_not_accepted_is_new(logger: Any) -> None:
    asked: List[Any] = []

    def claim(accepts: Callable[[str], bool]) -> None:
        assert not accepts('s')
        raise Refusal(REJECTED)

    world = World(logger, accepts=lambda sid, *_: asked.append(sid))
    world.on_claim = claim
    is_new(world, REJECTED)
    assert asked == ['s', 'new sid']
    assert world.local.count == 0


# -- one that is to try again ------------------------------------------------

def test_closing_node_rejects_returning_client(world: World) -> None:
    world.runtime.closed = True
    is_turned_away(world)
    assert world.asked == []


@pytest.mark.parametrize('error', [
    Refusal('redis-unavailable'), Unavailable('Redis is away')])
def test_node_that_closes_during_claim_rejects_client(
        world: World, error: Exception) -> None:
    """That may be why the client could not be recovered."""
    def claim(accepts: Any) -> None:
        world.runtime.closed = True
        raise error

    world.on_claim = claim
    is_turned_away(world)


def test_connection_lost_during_claim_is_rejected(world: World) -> None:
    """The client may have its session on another node by now."""
    def claim(accepts: Callable[[str], bool]) -> None:
        assert accepts('s')
        world.connection.closing = True
        with pytest.raises(TurnedAway):
            accepts('s')
        raise TurnedAway

    world.on_claim = claim
    is_turned_away(world)
    assert world.kept is None


@pytest.mark.parametrize('why', ['superseded', 'closing', 'the stream'])
def test_client_ended_before_registration_is_rejected(
        world: World, why: str) -> None:
    def happen(accepts: Any) -> None:
        world.superseded = why == 'superseded'
        world.connection.closing = why == 'closing'
        world.timeline().has_left = why == 'the stream'

    world.on_claim = happen
    is_turned_away(world)
    # The session stays, for where it returns.
    assert world.kept == VALUE


# -- others at the same time -------------------------------------------------

def rival_comes(world: World) -> Any:
    """Another connection of the client is registered."""
    return world.client('s', eio_sid='f')


def test_older_rival_is_removed_before_registration(world: World) -> None:
    rival = rival_comes(world)
    visit = world.returns()
    assert world.admit(visit) == 's'
    assert world.rivals == [rival]
    assert world.local.of_sid('s', '/') is visit.client


def test_newer_rival_wins(world: World) -> None:
    def stays(rival: Any) -> None:
        raise TurnedAway

    rival = rival_comes(world)
    world.on_rival = stays
    visit = world.returns()
    assert world.admit(visit) is None
    assert visit.turned_away and world.connection.closed
    assert world.local.of_sid('s', '/') is rival


def test_rival_between_check_and_lock_is_noticed(world: World) -> None:
    """A rival between the check and the order lock causes another round."""
    first: List[Any] = [rival_comes(world)]

    def next_comes(rival: Any) -> None:
        world.goes(rival)
        if len(world.rivals) == 1:
            first.append(rival_comes(world))

    world.on_rival = next_comes
    visit = world.returns()
    assert world.admit(visit) == 's'
    assert world.rivals == first and len(first) == 2
    # And what it missed is there once.
    assert len(visit.missed) == 10


def test_endless_rivals_end_admission(world: World) -> None:
    rival_comes(world)
    world.on_rival = lambda rival: (world.goes(rival), rival_comes(world))
    visit = world.returns()
    assert world.admit(visit) == 'new sid'
    assert len(world.rivals) == ROUNDS
    assert world.shown() == Outcome(False, 'redis-unavailable')


def test_memory_trimmed_during_admission_is_read_again(world: World) -> None:
    """The missed events are read from Redis then."""
    history = world.timeline().history
    rival_comes(world)

    def forget(rival: Any) -> None:
        world.goes(rival)
        history.serve((), Position(20))
        history.serve(['/'], Position(20))

    world.on_rival = forget
    world.store.entries = [world.entry(number) for number in range(5, 21)]
    visit = world.returns()
    assert world.admit(visit) == 's'
    assert [record.id for record in visit.missed] == [
        Position(number) for number in range(11, 21)]
    assert world.store.pages == [Position(10)]


def test_new_stream_during_admission_ends_recovery(world: World) -> None:
    """The client's position may be one of the former stream."""
    rival_comes(world)

    def set_back(rival: Any) -> None:
        world.goes(rival)
        world.timeline().history.restart(Position(5), Position(30))

    world.on_rival = set_back
    assert world.admit(world.returns()) == 'new sid'
    assert world.shown() == Outcome(False, 'offset-not-found')
    assert world.kept is None


@pytest.mark.parametrize('fails', [False, True])
def test_number_of_admissions_at_a_time_is_limited(
        world: World, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one waits for its turn, up to a limit."""
    monkeypatch.setattr(module, 'AT_A_TIME', 1)
    world = World(world.manager._get_logger)
    waits: List[Any] = []

    def claim(accepts: Any) -> None:
        world.on_claim = lambda accepts: waits.extend(
            event.waits for event in world.events)
        world.connect('f')
        world.admit(world.returns('p', eio_sid='f'))
        if fails:
            raise Refusal('unknown-session')

    world.on_claim = claim
    world.admit(world.returns())
    assert [each for each in waits if each] == [[TURN_PATIENCE]]
    # A slot is free again.
    before = len(world.events)
    world.connect('g')
    world.admit(world.returns('q', eio_sid='g'))
    assert not any(event.waits for event in world.events[before:])
