"""A new client is registered. It gets a session if it asks for recovery."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.recovery.admission import FIRST_PATIENCE
from redis_streams_adapter.recovery.session import Gap, Outcome

from .admitting import Fakes

Logged = Callable[[int], List[str]]


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


def test_new_client_gets_session(fakes: Fakes) -> None:
    visit = fakes.connects()
    assert fakes.admit(visit) == visit.sid == 'new sid'
    assert fakes.manager.clients == {('/', 'new sid'): 'e'}
    client: Any = visit.client
    assert fakes.local.of_sid('new sid', '/') is client
    assert (client.sid, client.eio_sid) == ('new sid', 'e')
    # It is only in its own room, and has received no event.
    assert client.rooms == {'new sid'}
    assert fakes.delivery.sent == {'new sid': None}
    assert fakes.delivery.held == []
    assert (client.upto, client.since) == (Position(100), Position(100))
    assert not visit.turned_away and visit.missed == ()


def test_client_without_pid_is_not_recovered(fakes: Fakes) -> None:
    fakes.admit(fakes.connects())
    assert fakes.shown() == Outcome(False)
    assert fakes.counted() == {} and fakes.log_texts == []
    assert fakes.outcomes.of('new sid', '/') is None


def test_ids_of_sessions_cannot_be_guessed(fakes: Fakes) -> None:
    pids, claims = set(), set()
    for eio_sid in 'efg':
        fakes.connect(eio_sid)
        visit = fakes.connects(eio_sid=eio_sid)
        fakes.admit(visit)
        assert visit.client is not None
        pids.add(visit.client.pid)
        claims.add(visit.client.claim)
    assert len(pids) == len(claims) == 3
    assert min(map(len, pids)) == 32 and min(map(len, claims)) == 16


def test_node_joins_before_it_admits_client(fakes: Fakes) -> None:
    """Events are recorded for clients as soon as the node has joined."""
    fakes.admit(fakes.connects())
    assert fakes.appeared == {'/': False}


@pytest.mark.parametrize('hears', [False, True])
def test_first_client_waits_for_start(fakes: Fakes, hears: bool) -> None:
    started: List[bool] = []
    fakes.runtime.is_connected = hears
    fakes.runtime.start = lambda: started.append(bool(fakes.manager.clients))
    assert fakes.admit(fakes.connects()) == 'new sid'
    assert started == ([] if hears else [False])


def test_client_waits_for_first_entry_of_stream(fakes: Fakes) -> None:
    """The wait is limited: without Redis there is no entry."""
    timeline = fakes.timeline()
    timeline.position, timeline.reaches = START, False
    assert fakes.admit(fakes.connects()) == 'new sid'
    assert timeline.reached == [(Position(0, 1), FIRST_PATIENCE)]


@pytest.mark.parametrize('position, hears', [
    (Position(0, 1), True), (START, False)])
def test_client_waits_for_nothing_else(fakes: Fakes, position: Position,
                                       hears: bool) -> None:
    fakes.timeline().position = position
    fakes.runtime.is_connected = hears
    fakes.admit(fakes.connects())
    assert fakes.timeline().reached == []


def test_client_has_no_position_before_reader_starts(fakes: Fakes) -> None:
    fakes.timeline().has_begun = False
    visit = fakes.connects()
    fakes.admit(visit)
    assert visit.client is not None and not visit.client.is_placed


def test_second_connect_to_namespace_is_ignored(fakes: Fakes) -> None:
    fakes.manager.register('s', 'e', '/', ())
    visit = fakes.connects()
    assert fakes.admit(visit) is None
    assert (visit.sid, visit.client) == (None, None)
    assert fakes.delivery.sent == {}
    assert fakes.local.count == 0
    assert not fakes.connection.closed and not visit.turned_away
    assert fakes.shown() is None


def test_closing_node_rejects_new_client(fakes: Fakes) -> None:
    """The client would get no events of other servers."""
    fakes.timeline().has_left = True
    visit = fakes.connects()
    assert fakes.admit(visit) is None
    assert visit.turned_away and fakes.connection.closed
    assert fakes.manager.clients == {} and fakes.local.count == 0
    assert fakes.delivery.sent == {}
    assert len(fakes.log_texts) == 1


# -- recovery for some clients -----------------------------------------------

def test_application_decides_about_recovery(logger: Any) -> None:
    asked: List[Any] = []

    def accepts(*args: Any) -> Any:
        asked.append(args)
        return 0

    fakes = Fakes(logger, accepts=accepts)
    visit = fakes.connects(auth={'token': 't'})
    assert fakes.admit(visit) == visit.sid == 'new sid'
    assert asked == [('new sid', fakes.server.environ['e'], {'token': 't'})]
    assert visit.client is None and fakes.local.count == 0
    assert fakes.delivery.sent == {}
    assert fakes.delivery.exempt == {'new sid'}
    assert fakes.manager.clients == {('/', 'new sid'): 'e'}
    assert fakes.shown() == Outcome(False)


def test_accepted_client_gets_session(logger: Any) -> None:
    fakes = Fakes(logger, accepts=lambda *args: 'yes')
    fakes.admit(fakes.connects())
    assert fakes.local.count == 1


def test_failing_accepts_is_logged(logger: Any, logged: Logged) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    fakes = Fakes(logger, accepts=fail)
    assert fakes.admit(fakes.connects()) == 'new sid'
    assert fakes.local.count == 0
    assert logged(logging.ERROR) == [
        'connection_state_recovery: accepts failed']


def test_accepts_runs_without_order_lock(logger: Any) -> None:
    held: List[bool] = []
    fakes = Fakes(
        logger, accepts=lambda *args: held.append(fakes.order.held))
    fakes.admit(fakes.connects())
    assert held == [False]


# -- a client that cannot be recovered is a new one --------------------------

@pytest.mark.parametrize('pid, offset, reason', [
    ('', '9-0', 'unknown-session'), (5, '9-0', 'unknown-session'),
    ('p', '9', 'invalid-offset'), ('p', 9, 'invalid-offset')])
def test_auth_is_checked_before_accepts(fakes: Fakes, pid: Any, offset: Any,
                                        reason: str) -> None:
    visit = fakes.returns(pid, offset)
    assert fakes.admit(visit) == 'new sid'
    assert fakes.asked == []
    assert fakes.shown() == Outcome(False, reason)
    assert fakes.outcomes.of('new sid', '/') == Outcome(False, reason)
    assert fakes.counted() == {
        'not_recovered_' + reason.replace('-', '_'): 1}
    assert fakes.log_texts == [f'new sid was not recovered: {reason}']
    assert visit.client is not None and visit.client.pid != pid


@pytest.mark.parametrize('offset, former', [
    ('9-0', Position(9)), (None, None), ('nonsense', None)])
def test_new_session_remembers_former_offset(
        fakes: Fakes, offset: Any, former: Any) -> None:
    """The offset is used until the client receives its first event here."""
    visit = fakes.returns('', offset)
    fakes.admit(visit)
    client: Any = visit.client
    assert client.former == client.sent == former
    assert client.gap == (former and Gap(former, Position(100)))
