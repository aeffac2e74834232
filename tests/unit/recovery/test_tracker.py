"""The tracker follows a client from its connect to its disconnect. The
server's hooks and the manager report each step."""
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

from .tracking import ME, OTHER, Fakes

Logged = Callable[[int], List[str]]

MISSED = (Record(Position(5), Broadcast(('x',))),)


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


def test_last_event_may_be_half_of_absence_old(fakes: Fakes) -> None:
    """The age is half of the allowed absence at most, in milliseconds."""
    assert fakes.delivery.long_time == 30_000


# -- a client connects -------------------------------------------------------

def test_application_does_not_see_recovery_auth(fakes: Fakes) -> None:
    visit = fakes.tracker.begin(
        'e', '/chat', {'pid': 'p', 'offset': '1-0', 'token': 't'})
    assert (visit.eio_sid, visit.namespace) == ('e', '/chat')
    assert visit.shown == Return('p', '1-0')
    assert visit.auth == {'token': 't'}
    assert visit.task == ME


def test_namespaces_of_admitted_visits_are_known(fakes: Fakes) -> None:
    fakes.tracker.begin('e', '/', None)
    chat = fakes.tracker.begin('e', '/chat', None)
    assert fakes.tracker.namespaces == []
    chat.admitted = True
    assert fakes.tracker.namespaces == ['/chat']
    fakes.tracker.finish(chat, True)
    assert fakes.tracker.namespaces == []


def test_client_is_admitted(fakes: Fakes) -> None:
    fakes.connect('e')
    visit = fakes.tracker.begin('e', '/', None)
    appeared: List[str] = []
    assert fakes.tracker.admit('e', '/', appeared.append) == 'new sid'
    assert appeared == ['/']
    assert visit.sid == 'new sid' and visit.client is not None
    # It is admitted only once.
    assert fakes.tracker.admit('e', '/', appeared.append) is None
    assert appeared == ['/']


def test_admit_without_visit_raises(fakes: Fakes) -> None:
    with pytest.raises(RuntimeError):
        fakes.tracker.admit('e', '/', lambda namespace: None)


# -- the reply to its connect ------------------------------------------------

def test_reply_names_written_session(fakes: Fakes) -> None:
    visit = fakes.visit()
    assert fakes.tracker.reply('e', '/') == 'pid of s'
    assert fakes.written == [visit.client]
    assert visit.replied and not visit.turned_away
    assert not fakes.tracker.is_turned_away('e', '/')


def test_client_without_recovery_gets_plain_reply(fakes: Fakes) -> None:
    visit = fakes.visit(client=None)
    assert fakes.tracker.reply('e', '/') is None
    assert visit.replied and not visit.turned_away
    assert fakes.written == []


def test_reply_without_visit_is_unchanged(fakes: Fakes) -> None:
    assert fakes.tracker.reply('e', '/') is None
    assert not fakes.tracker.is_turned_away('e', '/')


def test_missed_events_precede_reply(fakes: Fakes) -> None:
    visit = fakes.visit(MISSED)
    client: Any = visit.client
    ahead: List[Any] = []
    fakes.on_write = lambda: ahead.append((client.ahead, list(fakes.given)))
    assert fakes.tracker.reply('e', '/') == 'pid of s'
    # A node that takes the client over has to know this before the client gets
    # its first missed event.
    assert ahead == [('4-0', [])]
    assert fakes.given == list(MISSED)
    assert visit.has_missed


def test_reply_without_missed_events_is_plain(fakes: Fakes) -> None:
    visit = fakes.visit()
    fakes.tracker.reply('e', '/')
    assert visit.client is not None and visit.client.ahead is None


@pytest.mark.parametrize('why', ['is ahead', 'always_connect'])
def test_missed_events_may_have_to_follow_reply(
        fakes: Fakes, why: str) -> None:
    visit = fakes.visit(MISSED, is_ahead=why == 'is ahead')
    fakes.server.always_connect = why == 'always_connect'
    assert fakes.tracker.reply('e', '/') == 'pid of s'
    assert fakes.written == [visit.client]
    assert fakes.given == [] and not visit.has_missed


def lose(fakes: Fakes, visit: Visit, how: str) -> None:
    client: Any = visit.client
    if how == 'its connection is closing':
        fakes.connection.closing = True
    elif how == 'it leaves':
        fakes.local.leave(client)
    elif how == 'it is taken over':
        fakes.local.register(ClientSession(
            ('s', 'f'), '/', 'pid of s', 'newer', Position(1), client.gone))
    else:
        fakes.manager.clients['/', 's'] = 'another connection'


LOSSES = pytest.mark.parametrize('how', [
    'its connection is closing', 'it leaves', 'it is taken over',
    'it is registered elsewhere'])


@LOSSES
def test_lost_client_gets_no_reply(fakes: Fakes, how: str) -> None:
    visit = fakes.visit(MISSED)
    lose(fakes, visit, how)
    assert fakes.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.replied
    assert fakes.tracker.is_turned_away('e', '/')
    assert not fakes.tracker.is_turned_away('e', '/chat')
    assert fakes.written == [] and fakes.given == []


@LOSSES
def test_client_lost_during_write_gets_no_missed_events(
        fakes: Fakes, how: str) -> None:
    """The client gets none of its missed events."""
    visit = fakes.visit(MISSED)
    client: Any = visit.client
    client.ahead = '3-0'
    fakes.on_write = lambda: lose(fakes, visit, how)
    assert fakes.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.has_missed
    assert fakes.given == [] and client.ahead == '3-0'


def test_client_claimed_elsewhere_gets_no_reply(fakes: Fakes) -> None:
    visit = fakes.visit(MISSED)
    client: Any = visit.client
    fakes.on_write = lambda: fakes.local.supersede(client)
    assert fakes.tracker.reply('e', '/') is None
    assert fakes.connection.reasons == ['transport close']
    assert fakes.given == [] and visit.turned_away


def test_client_lost_during_replay_gets_no_reply(fakes: Fakes) -> None:
    visit = fakes.visit(MISSED)
    fakes.timeline().on_deliver = lambda: lose(
        fakes, visit, 'it is taken over')
    assert fakes.tracker.reply('e', '/') is None
    assert visit.turned_away and not visit.has_missed
    # The client may have received some of them.
    assert visit.client is not None and visit.client.ahead == '4-0'


# -- its acknowledgements ----------------------------------------------------

def acknowledge(fakes: Fakes, encoded: Any = 'ack') -> bool:
    return fakes.tracker.send_later(
        'e', '/', SimpleNamespace(encode=lambda: encoded))


@pytest.mark.parametrize('encoded', ['ack', ['ack', b'attachment']])
def test_acknowledgement_waits_for_earlier_events(
        fakes: Fakes, encoded: Any) -> None:
    fakes.connected()
    fakes.timeline().is_waiting = True
    assert acknowledge(fakes, encoded)
    (_, namespace, (load,)), = fakes.timeline().calls
    assert namespace == '/'
    assert load.clients == [('s', 'e')]
    assert list(load.parts) == ['ack', b'attachment'][
        :1 if encoded == 'ack' else 2]
    assert not load.recoverable


@pytest.mark.parametrize('why', ['nothing waits', 'Redis is away',
                                 'no client', 'no room'])
def test_acknowledgement_without_earlier_events_is_sent_at_once(
        fakes: Fakes, why: str) -> None:
    def full(*args: Any) -> None:
        raise OutboxFullError('full')

    if why != 'no client':
        fakes.connected()
    timeline: Any = fakes.timeline()
    timeline.is_waiting = why != 'nothing waits'
    fakes.runtime.is_connected = why != 'Redis is away'
    if why == 'no room':
        timeline.hand_over_later = full
    assert not acknowledge(fakes)
    assert timeline.calls == []


# -- its connect handler returns ---------------------------------------------

def finished(fakes: Fakes, visit: Visit, done: bool = True) -> State:
    fakes.tracker.finish(visit, done)
    assert fakes.tracker.reply('e', '/') is None
    assert visit.client is not None
    return visit.client.presence


def test_connect_is_completed(fakes: Fakes) -> None:
    visit = fakes.visit(has_missed=True)
    assert finished(fakes, visit) is State.CONNECTED
    assert fakes.delivery.released == [('s', 'e')]
    assert fakes.given == [] and fakes.sent_packets == []
    assert fakes.tracker.stats()['recovered'] == 0


def test_recovered_connect_is_completed(fakes: Fakes, logged: Logged) -> None:
    visit = fakes.visit(MISSED, has_missed=True)
    client: Any = visit.client
    client.ahead = '4-0'
    fakes.tracker._outcomes.note('s', '/', Outcome(True))
    assert finished(fakes, visit) is State.CONNECTED
    assert fakes.tracker.stats()['recovered'] == 1
    assert logged(logging.INFO) == [
        's was recovered; it had missed 1 packets']
    # The missed events precede the reply, and count when the reply is read.
    assert client.ahead == '4-0'
    fakes.connection.answer()
    assert client.ahead is None


def test_missed_events_follow_connect_handler(fakes: Fakes) -> None:
    """This happens with ``always_connect``."""
    visit = fakes.visit(MISSED, replied=True)
    assert finished(fakes, visit) is State.CONNECTED
    assert fakes.given == list(MISSED)
    assert fakes.sent_packets == []


def test_client_with_unknown_offset_retries(fakes: Fakes) -> None:
    visit = fakes.visit(MISSED, is_ahead=True, replied=True)
    assert finished(fakes, visit) is State.CONNECTING
    assert fakes.given == [] and fakes.delivery.released == []
    fakes.connection.answer()
    assert fakes.connection.closed


def test_disconnected_client_does_not_retry(fakes: Fakes) -> None:
    visit = fakes.visit(MISSED, is_ahead=True, replied=True)
    client: Any = visit.client
    fakes.local.discard(client)
    assert finished(fakes, visit) is State.CONNECTED
    assert fakes.given == list(MISSED)
    assert fakes.server_disconnects == [('s', '/')]


def test_disconnect_during_connect_is_completed(fakes: Fakes) -> None:
    """The client is not disconnected a second time."""
    visit = fakes.visit(has_missed=True)
    client: Any = visit.client
    fakes.local.discard(client)
    fakes.local.leave(client)
    assert finished(fakes, visit) is State.LEAVING
    assert fakes.server_disconnects == []


def test_refused_client_is_forgotten(fakes: Fakes) -> None:
    visit = fakes.visit(sid=None)
    assert finished(fakes, visit) is State.CONNECTING
    assert fakes.delivery.released == []
    assert fakes.manager.disconnected == []


@pytest.mark.parametrize('takes_part', [False, True])
def test_client_of_failed_handler_is_removed(
        fakes: Fakes, takes_part: bool) -> None:
    """python-socketio would never unregister it."""
    visit = fakes.visit(task=OTHER)
    client: Any = visit.client
    if not takes_part:
        visit.client = None
    fakes.tracker.finish(visit, False)
    assert fakes.manager.disconnected == [('/', 's')]
    assert client.leaving_task == (OTHER if takes_part else None)
    assert client.presence is State.CONNECTING


def test_client_stays_when_handler_fails_after_reply(fakes: Fakes) -> None:
    """With ``always_connect`` the client stays connected."""
    fakes.server.always_connect = True
    visit = fakes.visit(replied=True)
    assert finished(fakes, visit, False) is State.CONNECTED
    assert fakes.manager.disconnected == []


def test_client_whose_reply_fails_has_to_reconnect(fakes: Fakes) -> None:
    """python-socketio has not connected the client, so it would never
    unregister it. The client could not be recovered."""
    visit = fakes.visit(replied=True, has_missed=True)
    client: Any = visit.client
    fakes.tracker.finish(visit, False)
    assert fakes.manager.disconnected == [('/', 's')]
    assert client.leaving_task == visit.task
    assert client.presence is State.CONNECTING
    assert fakes.connection.closed


@pytest.mark.parametrize('why', ['turned away', 'closing', 'elsewhere'])
def test_ended_connection_is_left_to_other_task(
        fakes: Fakes, why: str) -> None:
    visit = fakes.visit(has_missed=True, turned_away=why == 'turned away')
    fakes.connection.closing = why == 'closing'
    if why == 'elsewhere':
        fakes.manager.clients['/', 's'] = 'another connection'
    assert finished(fakes, visit) is State.CONNECTING
    assert fakes.delivery.released == []
    assert fakes.manager.disconnected == []


def test_connect_without_recovery_is_completed(fakes: Fakes) -> None:
    visit = fakes.visit(client=None)
    fakes.tracker.finish(visit, True)
    assert fakes.delivery.released == []


@pytest.mark.parametrize('has_missed', [False, True])
def test_client_taken_over_during_handler_gets_nothing(
        fakes: Fakes, has_missed: bool) -> None:
    visit = fakes.visit(has_missed=has_missed)
    lose(fakes, visit, 'it is taken over')
    assert finished(fakes, visit) is State.CONNECTING
    assert fakes.delivery.released == []


# -- a connected client ------------------------------------------------------

def test_too_large_session_data_raises(fakes: Fakes) -> None:
    fakes.connected()
    fakes.tracker.check_data('s', '/', 'x')
    with pytest.raises(ValueError, match='max_session_bytes'):
        fakes.tracker.check_data('s', '/', 'x' * 70_000)
    # A client without recovery has no limit.
    fakes.tracker.check_data('other', '/', 'x' * 70_000)
    fakes.tracker.check_data('s', '/chat', 'x' * 70_000)


def unchanged(fakes: Fakes, **kept: Any) -> ClientSession:
    """A connected client whose session is in Redis."""
    client = fakes.connected(**kept)
    client.content = State.UNCHANGED
    return client


def test_session_data_is_written(fakes: Fakes) -> None:
    client = unchanged(fakes)
    fakes.tracker.saved('s', '/chat', 'of another')
    fakes.tracker.saved('other', '/', 'of another')
    assert (client.data, client.has_changed) == (None, False)
    fakes.tracker.saved('s', '/', {'name': 'x'})
    assert (client.data, client.has_changed) == ({'name': 'x'}, True)


@pytest.mark.parametrize('text, changed', [('old', False), ('new', True)])
def test_change_of_flask_session_is_written(
        fakes: Fakes, text: str, changed: bool,
        monkeypatch: pytest.MonkeyPatch) -> None:
    from redis_streams_adapter.clients import hooks
    monkeypatch.setattr(hooks, 'flask_session', lambda environ: text)
    client = unchanged(fakes, flask='old')
    fakes.tracker.handled('s', '/')
    assert client.has_changed is changed
    fakes.tracker.handled('other', '/')
    # The session of a connecting client is written when it is connected.
    early = fakes.client('b', eio_sid='f', flask='old')
    fakes.tracker.handled('b', '/')
    assert not early.has_changed


def test_outcome_of_client_is_returned(fakes: Fakes) -> None:
    fakes.connected()
    assert fakes.tracker.count == 1
    assert fakes.tracker.outcome('s', '/') is None
    fakes.tracker._outcomes.note('s', '/', Outcome(False, REJECTED))
    assert fakes.tracker.outcome('s', '/') == Outcome(False, REJECTED)
    stats = fakes.tracker.stats()
    assert stats['sessions'] == 1 and stats['not_recovered_rejected'] == 0


def test_command_of_other_node_changes_rooms(fakes: Fakes) -> None:
    client = fakes.connected()
    message = DisconnectSockets(EVERYONE, True)
    fakes.tracker.disconnect('/', message)
    assert fakes.delivery.disconnects == [
        ('/', EVERYONE, True, fakes.tracker.discard_connection,
         fakes.tracker.discard)]
    assert client.is_held
    fakes.tracker.disconnect('/', DisconnectSockets(
        Target(('s',), (), {SUPERSEDES: client.claim}), True))
    assert len(fakes.delivery.disconnects) == 1
    assert client.possession is State.SUPERSEDED
