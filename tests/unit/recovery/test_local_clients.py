"""The state of local clients, and the outcomes of their connects."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.clients import hooks
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.local_clients import counter_of, \
    LocalClients, Outcomes
from redis_streams_adapter.recovery.session import Gap, Origin, Outcome, \
    REASONS, REJECTED, Session, UNKNOWN_SESSION
from redis_streams_adapter.recovery.states import Event

from .parts import FakeDeliveries, Parts

Logged = Callable[[int], List[str]]


@pytest.fixture
def parts(logger: Callable[[], logging.Logger]) -> Parts:
    parts = Parts(logger)
    parts.runtime.deliveries = FakeDeliveries(parts)
    return parts


@pytest.fixture
def clients(parts: Parts) -> LocalClients:
    return LocalClients(parts.manager, parts.server, parts.delivery,
                        lambda: parts.runtime)


@pytest.fixture
def outcomes(clients: LocalClients) -> Outcomes:
    return Outcomes(clients)


def test_each_process_has_its_sessions(parts: Parts,
                                       clients: LocalClients) -> None:
    assert clients.count == 0
    parts.client('a')
    parts.client('b', eio_sid='f')
    assert clients.count == 2
    assert clients.session_writer is parts.writer
    assert clients.sessions is parts.local
    assert clients.timeline('/chat') is parts.timeline('/chat')


def test_current_runtime_is_used(parts: Parts, clients: LocalClients) -> None:
    """A child process has another runtime after a fork."""
    parts.client()
    child = Parts(parts.manager._get_logger)
    child.runtime.deliveries = FakeDeliveries(child)
    parts.runtime = child.runtime
    assert clients.count == 0
    assert clients.sessions is child.local


def test_local_clients_work_without_recovery(
        parts: Parts, clients: LocalClients) -> None:
    parts.runtime.deliveries = object()
    assert clients.count == 0
    for look in (lambda: clients.sessions, lambda: clients.timeline('/')):
        with pytest.raises(RuntimeError, match='recovery is off'):
            look()


def test_waiting_lines_are_logged_without_order_lock(
        parts: Parts, clients: LocalClients) -> None:
    clients.log_lines()
    assert parts.delivery.logged == 1


def test_environ_of_connection_is_found(parts: Parts,
                                        clients: LocalClients) -> None:
    parts.connect('e')
    assert clients.environ('e') is parts.server.environ['e']
    assert clients.environ('gone') is None


# -- the current state of a session ------------------------------------------

def test_session_holds_state_of_client(parts: Parts,
                                       clients: LocalClients) -> None:
    client = parts.client(rooms={'s', 'b', 'a'}, claim='c')
    parts.engine_sessions['e'] = {'/': {'name': 'x'}, '/chat': {'no': 1}}
    assert clients.describe(client) == Session(
        's', 'pid of s', ('a', 'b', 's'), {'name': 'x'}, '/', 'c')
    assert client.data == {'name': 'x'}


def test_rooms_of_session_are_sorted(parts: Parts,
                                     clients: LocalClients) -> None:
    """Rooms that are neither strings nor integers are left out: no node could
    read them."""
    client = parts.client(rooms={10, 's', 9, 'a', ('no', 'room'), None, 1.5})
    assert clients.describe(client).rooms == (10, 9, 'a', 's')


def test_client_without_session_data_is_stored(
        parts: Parts, clients: LocalClients) -> None:
    assert clients.describe(parts.client()).data == {}


def test_client_of_lost_connection_keeps_session_data(
        parts: Parts, clients: LocalClients, logged: Logged) -> None:
    client = parts.client(data={'name': 'x'}, flask='of flask')
    parts.engine_sessions.clear()
    parts.server.environ.clear()
    session = clients.describe(client)
    assert (session.data, session.flask) == ({'name': 'x'}, 'of flask')
    assert logged(logging.INFO) == ['the last session of s may be out of date']


def test_flask_session_is_stored(parts: Parts, clients: LocalClients,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    client = parts.client(flask='old')
    monkeypatch.setattr(hooks, 'flask_session',
                        lambda environ: environ['text'])
    parts.server.environ['e']['text'] = 'new'
    assert clients.describe(client).flask == 'new'
    assert client.flask == 'new'


def test_unserializable_flask_session_is_logged_once(
        parts: Parts, clients: LocalClients, logged: Logged,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """One line is logged for each client, and the rest is stored."""
    def fail(environ: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(hooks, 'flask_session', fail)
    client = parts.client(flask='old')
    for _ in range(2):
        session = clients.describe(client)
        assert (session.sid, session.flask) == ('s', None)
    assert logged(logging.WARNING) == [
        'the Flask session of s cannot be kept']
    clients.describe(parts.client('b', eio_sid='f'))
    assert len(logged(logging.WARNING)) == 2


# -- the position of a client ------------------------------------------------

def test_position_follows_delivered_events(parts: Parts,
                                           clients: LocalClients) -> None:
    client, timeline = parts.client(), parts.timeline()
    parts.local.settle(client)
    timeline.handed_over, timeline.commanded = Position(50), Origin(b'w', 7)
    parts.delivery.sent['s'] = Position(49)
    parts.delivery.gaps['s'] = (Position(9), Position(20))
    clients.progress(client)
    assert (client.upto, client.obeyed, client.own) == (
        Position(50), Position(50), Origin(b'w', 7))
    assert client.sent == Position(49)
    assert client.gap == Gap(Position(9), Position(20))
    assert isinstance(client.gap, Gap)


def test_older_gap_stays(parts: Parts, clients: LocalClients) -> None:
    client = parts.client(gap=Gap(None, Position(5)))
    parts.local.settle(client)
    parts.delivery.sent['s'] = Position(49)
    clients.progress(client)
    assert client.gap == Gap(None, Position(5))
    assert client.sent == Position(49)


def test_position_waits_for_missed_events(parts: Parts,
                                          clients: LocalClients) -> None:
    """Commands apply nevertheless."""
    client = parts.client()
    parts.delivery.sent['s'] = Position(49)
    clients.progress(client)
    assert (client.upto, client.sent) == (Position(1), None)
    assert client.obeyed == Position(100)


def test_position_of_forgotten_client_stays(parts: Parts,
                                            clients: LocalClients) -> None:
    client = parts.client()
    parts.local.settle(client)
    clients.progress(client)
    assert (client.upto, client.obeyed) == (Position(1), Position(100))


def test_state_of_left_client_ignores_later_commands(
        parts: Parts, clients: LocalClients) -> None:
    client = parts.client(own=Origin(b'w', 1))
    parts.local.settle(client)
    parts.local.leave(client)
    parts.timeline().commanded = Origin(b'w', 2)
    parts.delivery.sent['s'] = None
    clients.progress(client)
    assert (client.obeyed, client.own) == (Position(1), Origin(b'w', 1))
    # It still got all events up to here.
    assert client.upto == Position(100)


def test_each_namespace_has_its_position(
        parts: Parts, clients: LocalClients) -> None:
    client = parts.client(namespace='/chat')
    parts.timeline('/chat').handed_over = Position(7)
    clients.progress(client)
    assert client.obeyed == Position(7)


def test_position_is_noted_under_order_lock(parts: Parts,
                                            clients: LocalClients) -> None:
    class Watched(dict):  # type: ignore[type-arg]
        def __contains__(self, sid: object) -> bool:
            held.append(parts.order.held)
            return True

        def __missing__(self, sid: str) -> None:
            return None

    held: List[bool] = []
    client = parts.client()
    client.apply(Event.SETTLE)
    parts.delivery.sent = Watched()
    clients.progress(client)
    assert held == [True]
    assert not parts.order.held


# -- the stored session of a client ------------------------------------------

def test_connection_gets_stored_session(parts: Parts,
                                        clients: LocalClients) -> None:
    parts.connect('e')
    parts.engine_sessions['e'] = {'/chat': 'stays', '/': 'old'}
    clients.restore('e', parts.session(data={'name': 'x'}))
    assert parts.engine_sessions['e'] == {
        '/chat': 'stays', '/': {'name': 'x'}}


def test_connection_without_stored_session_gets_none(
        parts: Parts, clients: LocalClients) -> None:
    parts.connect('e')
    clients.restore('e', parts.session(data=None))
    assert parts.engine_sessions['e'] == {}


def test_connection_gets_stored_flask_session(
        parts: Parts, clients: LocalClients,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def restore(environ: Any, text: str) -> None:
        environ['text'] = text

    monkeypatch.setattr(hooks, 'restore_flask_session', restore)
    parts.connect('e')
    clients.restore('e', parts.session())
    assert parts.server.environ['e'] == {}
    clients.restore('e', parts.session(flask='of flask'))
    assert parts.server.environ['e'] == {'text': 'of flask'}


def test_invalid_flask_session_is_ignored(
        parts: Parts, clients: LocalClients, logged: Logged,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(environ: Any, text: str) -> None:
        raise ValueError('nonsense')

    monkeypatch.setattr(hooks, 'restore_flask_session', refuse)
    parts.connect('e')
    clients.restore('e', parts.session(data=1, flask='bad'))
    assert parts.engine_sessions['e'] == {'/': 1}
    assert logged(logging.INFO) == [
        'a Flask session was not restored: nonsense']


def test_session_for_lost_connection_is_ignored(
        parts: Parts, clients: LocalClients,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, 'restore_flask_session', None)
    parts.server.environ['gone'] = {}
    clients.restore('gone', parts.session(data=1, flask='x'))
    assert parts.engine_sessions == {}


# -- outcomes ----------------------------------------------------------------

def test_counters_have_names_of_stats(outcomes: Outcomes) -> None:
    """``stats()`` has these names."""
    assert counter_of(UNKNOWN_SESSION) == 'not_recovered_unknown_session'
    assert set(outcomes.counts) == {'recovered', *map(counter_of, REASONS)}
    assert set(outcomes.counts.values()) == {0}


def test_outcome_is_kept_until_client_leaves(outcomes: Outcomes) -> None:
    outcomes.note('s', '/', Outcome(True))
    outcomes.note('s', '/chat', Outcome(False, REJECTED))
    assert outcomes.of('s', '/') == Outcome(True)
    assert outcomes.of('s', '/chat') == Outcome(False, REJECTED)
    assert outcomes.of('other', '/') is None
    outcomes.forget('s', '/')
    outcomes.forget('s', '/')
    assert outcomes.of('s', '/') is None
    assert outcomes.of('s', '/chat') == Outcome(False, REJECTED)


@pytest.mark.parametrize('reason', REASONS)
def test_unrecovered_client_is_shown_and_counted(
        parts: Parts, outcomes: Outcomes, reason: str) -> None:
    parts.connect('e')
    outcomes.show('e', Outcome(False, reason))
    assert parts.server.environ['e'] == {
        'socketio.recovery': Outcome(False, reason)}
    assert {name for name, count in outcomes.counts.items() if count} == {
        counter_of(reason)}


@pytest.mark.parametrize('outcome', [Outcome(True), Outcome(False)])
def test_other_outcomes_are_shown_but_not_counted(
        parts: Parts, outcomes: Outcomes, outcome: Outcome) -> None:
    """The client did not ask for recovery, or has not got its missed events
    yet."""
    parts.connect('e')
    outcomes.show('e', outcome)
    assert parts.server.environ['e'] == {'socketio.recovery': outcome}
    assert not any(outcomes.counts.values())


def test_outcome_of_lost_connection_is_counted(outcomes: Outcomes) -> None:
    outcomes.show('gone', Outcome(False, REJECTED))
    assert outcomes.counts[counter_of(REJECTED)] == 1


def test_recovery_counts_once_all_missed_events_arrived(
        outcomes: Outcomes) -> None:
    outcomes.note('back', '/', Outcome(True))
    outcomes.note('refused', '/', Outcome(False, REJECTED))
    assert outcomes.settled('back', '/')
    assert not outcomes.settled('refused', '/')
    assert not outcomes.settled('did not ask', '/')
    assert not outcomes.settled('back', '/chat')
    assert {name: count for name, count in outcomes.counts.items()
            if count} == {'recovered': 1}
