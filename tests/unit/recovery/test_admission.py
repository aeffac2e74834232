"""A new client is registered, with a session if it asks for recovery."""
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


def test_new_client_gets_session(world: World) -> None:
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


def test_client_without_pid_is_not_recovered(world: World) -> None:
    world.admit(world.comes())
    assert world.shown() == Outcome(False)
    assert world.counted() == {} and world.log_texts == []
    assert world.outcomes.of('new sid', '/') is None


def test_ids_of_sessions_cannot_be_guessed(world: World) -> None:
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


def test_node_joins_before_it_admits_client(world: World) -> None:
    """From then on, events are recorded for clients."""
    world.admit(world.comes())
    assert world.appeared == {'/': False}


@pytest.mark.parametrize('hears', [False, True])
def test_first_client_waits_for_start(world: World, hears: bool) -> None:
    started: List[bool] = []
    world.runtime.is_connected = hears
    world.runtime.start = lambda: started.append(bool(world.manager.clients))
    assert world.admit(world.comes()) == 'new sid'
    assert started == ([] if hears else [False])


def test_client_waits_for_first_entry_of_stream(world: World) -> None:
    """But not for ever: without Redis there is no entry."""
    timeline = world.timeline()
    timeline.position, timeline.reaches = START, False
    assert world.admit(world.comes()) == 'new sid'
    assert timeline.reached == [(Position(0, 1), FIRST_PATIENCE)]


@pytest.mark.parametrize('position, hears', [
    (Position(0, 1), True), (START, False)])
def test_client_waits_for_nothing_else(world: World, position: Position,
                                       hears: bool) -> None:
    world.timeline().position = position
    world.runtime.is_connected = hears
    world.admit(world.comes())
    assert world.timeline().reached == []


def test_client_has_no_position_before_reader_starts(world: World) -> None:
    world.timeline().has_begun = False
    visit = world.comes()
    world.admit(visit)
    assert visit.client is not None and not visit.client.is_placed


def test_second_connect_to_namespace_is_ignored(world: World) -> None:
    world.manager.register('s', 'e', '/', ())
    visit = world.comes()
    assert world.admit(visit) is None
    assert (visit.sid, visit.client) == (None, None)
    assert world.delivery.sent == {}
    assert world.local.count == 0
    assert not world.connection.closed and not visit.turned_away
    assert world.shown() is None


def test_closing_node_rejects_new_client(world: World) -> None:
    """Its clients would get no events of other servers."""
    world.timeline().has_left = True
    visit = world.comes()
    assert world.admit(visit) is None
    assert visit.turned_away and world.connection.closed
    assert world.manager.clients == {} and world.local.count == 0
    assert world.delivery.sent == {}
    assert len(world.log_texts) == 1


# -- recovery for some clients -----------------------------------------------

def test_application_decides_about_recovery(logger: Any) -> None:
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


def test_accepted_client_gets_session(logger: Any) -> None:
    world = World(logger, accepts=lambda *args: 'yes')
    world.admit(world.comes())
    assert world.local.count == 1


def test_failing_accepts_is_logged(logger: Any, logged: Logged) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    world = World(logger, accepts=fail)
    assert world.admit(world.comes()) == 'new sid'
    assert world.local.count == 0
    assert logged(logging.ERROR) == [
        'connection_state_recovery: accepts failed']


def test_accepts_runs_without_order_lock(logger: Any) -> None:
    held: List[bool] = []
    world = World(
        logger, accepts=lambda *args: held.append(world.order.held))
    world.admit(world.comes())
    assert held == [False]


# -- a client that cannot be recovered is a new one --------------------------

@pytest.mark.parametrize('pid, offset, reason', [
    ('', '9-0', 'unknown-session'), (5, '9-0', 'unknown-session'),
    ('p', '9', 'invalid-offset'), ('p', 9, 'invalid-offset')])
def test_auth_is_checked_before_accepts(world: World, pid: Any, offset: Any,
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
def test_new_session_remembers_former_offset(
        world: World, offset: Any, former: Any) -> None:
    """It is used until the client receives its first event here."""
    visit = world.returns('', offset)
    world.admit(visit)
    client: Any = visit.client
    assert client.former == client.sent == former
    assert client.gap == (former and Gap(former, Position(100)))
