"""A new client is registered, with a session of its own if it takes part."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.recovery.admission import FIRST_PATIENCE
from redis_streams_adapter.recovery.session import Gap, Outcome

from .admitting import World

Logged = Callable[[int], List[str]]


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


def test_a_new_client_has_a_session(world: World) -> None:
    visit = world.comes()
    assert world.admit(visit) == visit.sid == 'new sid'
    assert world.manager.clients == {('/', 'new sid'): 'e'}
    client: Any = visit.client
    assert world.local.of_sid('new sid', '/') is client
    assert (client.sid, client.eio_sid) == ('new sid', 'e')
    # It is in no room but its own, and has received nothing.
    assert client.rooms == {'new sid'}
    assert world.delivery.sent == {'new sid': None}
    assert world.delivery.held == []
    assert (client.upto, client.since) == (Position(100), Position(100))
    assert not visit.turned_away and visit.missed == ()


def test_it_did_not_ask_to_be_recovered(world: World) -> None:
    world.admit(world.comes())
    assert world.shown() == Outcome(False)
    assert world.counted() == {} and world.log_texts == []
    assert world.outcomes.of('new sid', '/') is None


def test_each_session_has_names_that_cannot_be_guessed(world: World) -> None:
    pids, claims = set(), set()
    for eio_sid in 'efg':
        world.connect(eio_sid)
        visit = world.comes(eio_sid=eio_sid)
        world.admit(visit)
        assert visit.client is not None
        pids.add(visit.client.pid)
        claims.add(visit.client.claim)
    assert len(pids) == len(claims) == 3
    assert min(map(len, pids)) == 32 and min(map(len, claims)) == 16


def test_this_node_is_a_member_before_it_has_the_client(
        world: World) -> None:
    """From then on, what comes is remembered."""
    world.admit(world.comes())
    assert world.appeared == {'/': False}


@pytest.mark.parametrize('hears', [False, True])
def test_the_first_client_of_all_waits_for_the_start(
        world: World, hears: bool) -> None:
    started: List[bool] = []
    world.runtime.is_connected = hears
    world.runtime.start = lambda: started.append(bool(world.manager.clients))
    assert world.admit(world.comes()) == 'new sid'
    assert started == ([] if hears else [False])


def test_it_waits_for_the_first_entry_of_a_stream(world: World) -> None:
    """But no longer than for that: without Redis there is none."""
    timeline = world.timeline()
    timeline.position, timeline.reaches = START, False
    assert world.admit(world.comes()) == 'new sid'
    assert timeline.reached == [(Position(0, 1), FIRST_PATIENCE)]


@pytest.mark.parametrize('position, hears', [
    (Position(0, 1), True), (START, False)])
def test_it_waits_for_nothing_else(world: World, position: Position,
                                   hears: bool) -> None:
    world.timeline().position = position
    world.runtime.is_connected = hears
    world.admit(world.comes())
    assert world.timeline().reached == []


def test_its_place_is_not_known_before_the_reader_begins(
        world: World) -> None:
    world.timeline().has_begun = False
    visit = world.comes()
    world.admit(visit)
    assert visit.client is not None and not visit.client.is_placed


def test_its_connection_is_in_the_namespace_already(world: World) -> None:
    world.manager.register('s', 'e', '/', ())
    visit = world.comes()
    assert world.admit(visit) is None
    assert (visit.sid, visit.client) == (None, None)
    assert world.delivery.sent == {}
    assert world.local.count == 0
    assert not world.connection.closed and not visit.turned_away
    assert world.shown() is None


def test_a_stream_that_was_left(world: World) -> None:
    """Here it would get nothing of what others emit."""
    world.timeline().has_left = True
    visit = world.comes()
    assert world.admit(visit) is None
    assert visit.turned_away and world.connection.closed
    assert world.manager.clients == {} and world.local.count == 0
    assert world.delivery.sent == {}
    assert len(world.log_texts) == 1


# -- whether it takes part ---------------------------------------------------

def test_the_application_decides_who_takes_part(logger: Any) -> None:
    asked: List[Any] = []

    def accepts(*args: Any) -> Any:
        asked.append(args)
        return 0

    world = World(logger, accepts=accepts)
    visit = world.comes(auth={'token': 't'})
    assert world.admit(visit) == visit.sid == 'new sid'
    assert asked == [('new sid', world.server.environ['e'], {'token': 't'})]
    assert visit.client is None and world.local.count == 0
    assert world.delivery.sent == {}
    assert world.manager.clients == {('/', 'new sid'): 'e'}
    assert world.shown() == Outcome(False)


def test_it_accepts_a_client(logger: Any) -> None:
    world = World(logger, accepts=lambda *args: 'yes')
    world.admit(world.comes())
    assert world.local.count == 1


def test_it_fails_to_decide(logger: Any, logged: Logged) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    world = World(logger, accepts=fail)
    assert world.admit(world.comes()) == 'new sid'
    assert world.local.count == 0
    assert logged(logging.ERROR) == [
        'connection_state_recovery: accepts failed']


def test_it_is_asked_without_the_order_lock(logger: Any) -> None:
    held: List[bool] = []
    world = World(
        logger, accepts=lambda *args: held.append(world.order.held))
    world.admit(world.comes())
    assert held == [False]


# -- a client that cannot be recovered is a new one --------------------------

@pytest.mark.parametrize('pid, offset, reason', [
    ('', '9-0', 'unknown-session'), (5, '9-0', 'unknown-session'),
    ('p', '9', 'invalid-offset'), ('p', 9, 'invalid-offset')])
def test_what_it_shows_is_checked_first(world: World, pid: Any, offset: Any,
                                        reason: str) -> None:
    visit = world.returns(pid, offset)
    assert world.admit(visit) == 'new sid'
    assert world.asked == []
    assert world.shown() == Outcome(False, reason)
    assert world.outcomes.of('new sid', '/') == Outcome(False, reason)
    assert world.counted() == {
        'not_recovered_' + reason.replace('-', '_'): 1}
    assert world.log_texts == [f'new sid was not recovered: {reason}']
    assert visit.client is not None and visit.client.pid != pid


@pytest.mark.parametrize('offset, former', [
    ('9-0', Position(9)), (None, None), ('nonsense', None)])
def test_it_may_show_the_offset_of_its_former_session(
        world: World, offset: Any, former: Any) -> None:
    """For as long as it receives nothing here."""
    visit = world.returns('', offset)
    world.admit(visit)
    client: Any = visit.client
    assert client.former == client.sent == former
    assert client.gap == (former and Gap(former, Position(100)))
