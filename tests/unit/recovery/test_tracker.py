"""A client is followed from its connection to its end: each report of the
server's hooks and of the manager, and what becomes of the session."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, EVERYONE, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.admission import Visit
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.replay import Record
from redis_streams_adapter.recovery.session import Outcome, REJECTED, \
    Return, SUPERSEDES
from redis_streams_adapter.recovery.states import State

from .tracking import ME, OTHER, World

Logged = Callable[[int], List[str]]

MISSED = (Record(Position(5), Broadcast(('x',))),)


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


def test_last_event_may_be_half_of_absence_old(world: World) -> None:
    """Half of its absence at most, in milliseconds."""
    assert world.delivery.long_time == 30_000


# -- a client comes ----------------------------------------------------------

def test_application_does_not_see_recovery_auth(world: World) -> None:
    visit = world.tracker.begin(
        'e', '/chat', {'pid': 'p', 'offset': '1-0', 'token': 't'})
    assert (visit.eio_sid, visit.namespace) == ('e', '/chat')
    assert visit.shown == Return('p', '1-0')
    assert visit.auth == {'token': 't'}
    assert visit.task == ME


def test_namespaces_of_admitted_visits_are_known(world: World) -> None:
    world.tracker.begin('e', '/', None)
    chat = world.tracker.begin('e', '/chat', None)
    assert world.tracker.namespaces == []
    chat.admitted = True
    assert world.tracker.namespaces == ['/chat']
    world.tracker.finish(chat, True)
    assert world.tracker.namespaces == []


def test_client_is_admitted(world: World) -> None:
    world.connect('e')
    visit = world.tracker.begin('e', '/', None)
    appeared: List[str] = []
    assert world.tracker.admit('e', '/', appeared.append) == 'new sid'
    assert appeared == ['/']
    assert visit.sid == 'new sid' and visit.client is not None
    # Once.
    assert world.tracker.admit('e', '/', appeared.append) is None
    assert appeared == ['/']


def test_admit_without_visit_raises(world: World) -> None:
    with pytest.raises(RuntimeError):
        world.tracker.admit('e', '/', lambda namespace: None)


# -- its reply ---------------------------------------------------------------

def test_reply_names_written_session(world: World) -> None:
    visit = world.visit()
    assert world.tracker.reply('e', '/') == 'pid of s'
    assert world.written == [visit.client]
    assert visit.replied and not visit.turned_away
    assert not world.tracker.is_turned_away('e', '/')


def test_client_without_recovery_gets_plain_reply(world: World) -> None:
    visit = world.visit(client=None)
    assert world.tracker.reply('e', '/') is None
    assert visit.replied and not visit.turned_away
    assert world.written == []


def test_reply_without_visit_is_unchanged(world: World) -> None:
    assert world.tracker.reply('e', '/') is None
    assert not world.tracker.is_turned_away('e', '/')


def test_missed_events_precede_reply(world: World) -> None:
    visit = world.visit(MISSED)
    client: Any = visit.client
    ahead: List[Any] = []
    world.on_write = lambda: ahead.append((client.ahead, list(world.given)))
    assert world.tracker.reply('e', '/') == 'pid of s'
    # A node that takes it over must know before it has any of it.
    assert ahead == [('4-0', [])]
    assert world.given == list(MISSED)
    assert visit.has_missed


def test_reply_without_missed_events_is_plain(world: World) -> None:
    visit = world.visit()
    world.tracker.reply('e', '/')
    assert visit.client is not None and visit.client.ahead is None


@pytest.mark.parametrize('why', ['is ahead', 'always_connect'])
def test_missed_events_may_have_to_follow_reply(
        world: World, why: str) -> None:
    visit = world.visit(MISSED, is_ahead=why == 'is ahead')
    world.server.always_connect = why == 'always_connect'
    assert world.tracker.reply('e', '/') == 'pid of s'
    assert world.written == [visit.client]
    assert world.given == [] and not visit.has_missed


def goes(world: World, visit: Visit, how: str) -> None:
    client: Any = visit.client
    if how == 'its connection is closing':
        world.connection.closing = True
    elif how == 'it leaves':
        world.local.leave(client)
    elif how == 'it is taken over':
        world.local.register(ClientSession(
            ('s', 'f'), '/', 'pid of s', 'newer', Position(1), client.gone))
    else:
        world.manager.clients['/', 's'] = 'another connection'


GOES = pytest.mark.parametrize('how', [
    'its connection is closing', 'it leaves', 'it is taken over',
    'it is registered elsewhere'])


@GOES
def test_lost_client_gets_no_reply(world: World, how: str) -> None:
    visit = world.visit(MISSED)
    goes(world, visit, how)
    assert world.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.replied
    assert world.tracker.is_turned_away('e', '/')
    assert not world.tracker.is_turned_away('e', '/chat')
    assert world.written == [] and world.given == []


@GOES
def test_client_lost_during_write_gets_no_missed_events(
        world: World, how: str) -> None:
    """It is given none of its missed events."""
    visit = world.visit(MISSED)
    client: Any = visit.client
    client.ahead = '3-0'
    world.on_write = lambda: goes(world, visit, how)
    assert world.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.has_missed
    assert world.given == [] and client.ahead == '3-0'


def test_client_claimed_elsewhere_gets_no_reply(world: World) -> None:
    visit = world.visit(MISSED)
    client: Any = visit.client
    world.on_write = lambda: world.local.supersede(client)
    assert world.tracker.reply('e', '/') is None
    assert world.connection.reasons == ['transport close']
    assert world.given == [] and visit.turned_away


def test_client_lost_during_replay_gets_no_reply(world: World) -> None:
    visit = world.visit(MISSED)
    world.timeline().on_deliver = lambda: goes(
        world, visit, 'it is taken over')
    assert world.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.has_missed
    # It may have some of it.
    assert visit.client is not None and visit.client.ahead == '4-0'


# -- its acknowledgements ----------------------------------------------------

def acknowledge(world: World, encoded: Any = 'ack') -> bool:
    return world.tracker.send_later(
        'e', '/', SimpleNamespace(encode=lambda: encoded))


@pytest.mark.parametrize('encoded', ['ack', ['ack', b'attachment']])
def test_acknowledgement_waits_for_earlier_events(
        world: World, encoded: Any) -> None:
    world.connected()
    world.timeline().is_waiting = True
    assert acknowledge(world, encoded)
    (_, namespace, (load,)), = world.timeline().calls
    assert namespace == '/'
    assert load.clients == [('s', 'e')]
    assert list(load.parts) == ['ack', b'attachment'][
        :1 if encoded == 'ack' else 2]
    assert not load.recoverable


@pytest.mark.parametrize('why', ['nothing waits', 'Redis is away',
                                 'no client', 'no room'])
def test_acknowledgement_without_earlier_events_is_sent_at_once(
        world: World, why: str) -> None:
    def full(*args: Any) -> None:
        raise OutboxFullError('full')

    if why != 'no client':
        world.connected()
    timeline: Any = world.timeline()
    timeline.is_waiting = why != 'nothing waits'
    world.runtime.is_connected = why != 'Redis is away'
    if why == 'no room':
        timeline.hand_over_later = full
    assert not acknowledge(world)
    assert timeline.calls == []


# -- its connect handler is done ---------------------------------------------

def finished(world: World, visit: Visit, done: bool = True) -> State:
    world.tracker.finish(visit, done)
    assert world.tracker.reply('e', '/') is None
    assert visit.client is not None
    return visit.client.presence


def test_connect_is_completed(world: World) -> None:
    visit = world.visit(has_missed=True)
    assert finished(world, visit) is State.CONNECTED
    assert world.delivery.released == [('s', 'e')]
    assert world.given == [] and world.sent_packets == []
    assert world.tracker.stats()['recovered'] == 0


def test_recovered_connect_is_completed(world: World, logged: Logged) -> None:
    visit = world.visit(MISSED, has_missed=True)
    client: Any = visit.client
    client.ahead = '4-0'
    world.tracker._outcomes.note('s', '/', Outcome(True))
    assert finished(world, visit) is State.CONNECTED
    assert world.tracker.stats()['recovered'] == 1
    assert logged(logging.INFO) == [
        's was recovered; it had missed 1 packets']
    # What it missed went ahead of its reply, and counts when it is read.
    assert client.ahead == '4-0'
    world.connection.answer()
    assert client.ahead is None


def test_missed_events_follow_connect_handler(world: World) -> None:
    """With ``always_connect``."""
    visit = world.visit(MISSED, replied=True)
    assert finished(world, visit) is State.CONNECTED
    assert world.given == list(MISSED)
    assert world.sent_packets == []


def test_client_with_unknown_offset_retries(world: World) -> None:
    visit = world.visit(MISSED, is_ahead=True, replied=True)
    assert finished(world, visit) is State.CONNECTING
    assert world.given == [] and world.delivery.released == []
    world.connection.answer()
    assert world.connection.closed


def test_disconnected_client_does_not_retry(world: World) -> None:
    visit = world.visit(MISSED, is_ahead=True, replied=True)
    client: Any = visit.client
    world.local.discard(client)
    assert finished(world, visit) is State.CONNECTED
    assert world.given == list(MISSED)
    assert world.server_disconnects == [('s', '/')]


def test_disconnect_during_connect_is_completed(world: World) -> None:
    """It is not disconnected a second time."""
    visit = world.visit(has_missed=True)
    client: Any = visit.client
    world.local.discard(client)
    world.local.leave(client)
    assert finished(world, visit) is State.LEAVING
    assert world.server_disconnects == []


def test_refused_client_is_forgotten(world: World) -> None:
    visit = world.visit(sid=None)
    assert finished(world, visit) is State.CONNECTING
    assert world.delivery.released == []
    assert world.manager.disconnected == []


@pytest.mark.parametrize('takes_part', [False, True])
def test_client_of_failed_handler_is_removed(
        world: World, takes_part: bool) -> None:
    """python-socketio would never look at it again."""
    visit = world.visit(task=OTHER)
    client: Any = visit.client
    if not takes_part:
        visit.client = None
    world.tracker.finish(visit, False)
    assert world.manager.disconnected == [('/', 's')]
    assert client.leaving_task == (OTHER if takes_part else None)
    assert client.presence is State.CONNECTING


def test_client_stays_when_handler_fails_after_reply(world: World) -> None:
    """With ``always_connect``: it stays connected."""
    world.server.always_connect = True
    visit = world.visit(replied=True)
    assert finished(world, visit, False) is State.CONNECTED
    assert world.manager.disconnected == []


def test_client_whose_reply_fails_has_to_reconnect(world: World) -> None:
    """python-socketio has not connected it, so it would never unregister it:
    the client could not be recovered any more."""
    visit = world.visit(replied=True, has_missed=True)
    client: Any = visit.client
    world.tracker.finish(visit, False)
    assert world.manager.disconnected == [('/', 's')]
    assert client.leaving_task == visit.task
    assert client.presence is State.CONNECTING
    assert world.connection.closed


@pytest.mark.parametrize('why', ['turned away', 'closing', 'elsewhere'])
def test_ended_connection_is_left_to_other_task(
        world: World, why: str) -> None:
    visit = world.visit(has_missed=True, turned_away=why == 'turned away')
    world.connection.closing = why == 'closing'
    if why == 'elsewhere':
        world.manager.clients['/', 's'] = 'another connection'
    assert finished(world, visit) is State.CONNECTING
    assert world.delivery.released == []
    assert world.manager.disconnected == []


def test_connect_without_recovery_is_completed(world: World) -> None:
    visit = world.visit(client=None)
    world.tracker.finish(visit, True)
    assert world.delivery.released == []


@pytest.mark.parametrize('has_missed', [False, True])
def test_client_taken_over_during_handler_gets_nothing(
        world: World, has_missed: bool) -> None:
    visit = world.visit(has_missed=has_missed)
    goes(world, visit, 'it is taken over')
    assert finished(world, visit) is State.CONNECTING
    assert world.delivery.released == []


# -- while it is connected ---------------------------------------------------

def test_too_large_session_data_raises(world: World) -> None:
    world.connected()
    world.tracker.check_data('s', '/', 'x')
    with pytest.raises(ValueError, match='max_session_bytes'):
        world.tracker.check_data('s', '/', 'x' * 70_000)
    # One that takes no part may keep what it likes.
    world.tracker.check_data('other', '/', 'x' * 70_000)
    world.tracker.check_data('s', '/chat', 'x' * 70_000)


def unchanged(world: World, **kept: Any) -> ClientSession:
    """A connected client of which all is written."""
    client = world.connected(**kept)
    client.content = State.UNCHANGED
    return client


def test_session_data_is_written(world: World) -> None:
    client = unchanged(world)
    world.tracker.saved('s', '/chat', 'of another')
    world.tracker.saved('other', '/', 'of another')
    assert (client.data, client.has_changed) == (None, False)
    world.tracker.saved('s', '/', {'name': 'x'})
    assert (client.data, client.has_changed) == ({'name': 'x'}, True)


@pytest.mark.parametrize('text, changed', [('old', False), ('new', True)])
def test_change_of_flask_session_is_written(
        world: World, text: str, changed: bool,
        monkeypatch: pytest.MonkeyPatch) -> None:
    from redis_streams_adapter.clients import hooks
    monkeypatch.setattr(hooks, 'flask_session', lambda environ: text)
    client = unchanged(world, flask='old')
    world.tracker.handled('s', '/')
    assert client.has_changed is changed
    world.tracker.handled('other', '/')
    # One that is not settled is written when it is.
    early = world.client('b', eio_sid='f', flask='old')
    world.tracker.handled('b', '/')
    assert not early.has_changed


def test_outcome_of_client_is_returned(world: World) -> None:
    world.connected()
    assert world.tracker.count == 1
    assert world.tracker.outcome('s', '/') is None
    world.tracker._outcomes.note('s', '/', Outcome(False, REJECTED))
    assert world.tracker.outcome('s', '/') == Outcome(False, REJECTED)
    stats = world.tracker.stats()
    assert stats['sessions'] == 1 and stats['not_recovered_rejected'] == 0


def test_command_of_other_node_changes_rooms(world: World) -> None:
    client = world.connected()
    message = DisconnectSockets(EVERYONE, True)
    world.tracker.disconnect('/', message)
    assert world.delivery.disconnects == [
        ('/', EVERYONE, True, world.tracker.discard_connection,
         world.tracker.discard)]
    assert client.is_held
    world.tracker.disconnect('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: client.claim}), True))
    assert len(world.delivery.disconnects) == 1
    assert client.possession is State.SUPERSEDED
