"""A client changes rooms, and leaves: it disconnects, or its connection is
lost."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Outcome, REJECTED
from redis_streams_adapter.recovery.states import State

from .tracking import ME, OTHER, Fakes


@pytest.fixture
def fakes(logger: Callable[[], logging.Logger]) -> Fakes:
    return Fakes(logger)


def unchanged(fakes: Fakes, **kept: Any) -> ClientSession:
    """A connected client whose session is in Redis."""
    client = fakes.connected(**kept)
    client.content = State.UNCHANGED
    return client


# -- rooms -------------------------------------------------------------------

def test_enter_room_is_recorded(fakes: Fakes) -> None:
    client = unchanged(fakes)
    fakes.tracker.entered('s', '/', 'room')
    assert client.rooms == {'s', 'room'}
    assert client.has_changed


def test_leave_room_is_recorded(fakes: Fakes) -> None:
    client = unchanged(fakes, rooms={'s', 'room'})
    fakes.tracker.left('s', '/', 'room')
    assert client.rooms == {'s'}
    assert client.has_changed


@pytest.mark.parametrize('sid, namespace, room', [
    ('s', '/', 'already'), ('s', '/', None), ('other', '/', 'room'),
    ('s', '/chat', 'room')])
def test_failed_enter_is_not_recorded(fakes: Fakes, sid: str, namespace: str,
                                      room: Any) -> None:
    client = unchanged(fakes, rooms={'s', 'already'})
    fakes.tracker.entered(sid, namespace, room)
    assert client.rooms == {'s', 'already'}
    assert not client.has_changed


@pytest.mark.parametrize('sid, namespace, room', [
    ('s', '/', 'not in there'), ('other', '/', 'room'),
    ('s', '/chat', 'room')])
def test_failed_leave_is_not_recorded(fakes: Fakes, sid: str, namespace: str,
                                      room: Any) -> None:
    client = unchanged(fakes, rooms={'s', 'room'})
    fakes.tracker.left(sid, namespace, room)
    assert client.rooms == {'s', 'room'}
    assert not client.has_changed


def test_leaving_client_keeps_rooms(fakes: Fakes) -> None:
    """python-socketio removes a leaving client from all rooms."""
    client = fakes.connected(rooms={'s', 'room'})
    fakes.tracker.leave('s', '/')
    fakes.tracker.left('s', '/', 'room')
    assert client.rooms == {'s', 'room'}


# -- a client is about to be disconnected ------------------------------------

def test_lost_connection_leaves_session(fakes: Fakes) -> None:
    """The session has the state and position of that moment."""
    client = fakes.connected(rooms={'s', 'room'})
    fakes.delivery.sent['s'] = Position(99)
    fakes.connection.closing = True
    fakes.tracker.leave('s', '/')
    assert client.presence is State.LEAVING
    assert not client.is_discarded
    assert client.leaving_task == ME
    assert (client.upto, client.sent) == (Position(100), Position(99))
    assert client.last is not None and client.last.rooms == ('room', 's')
    # It gets the rest when it returns.
    assert fakes.timeline().calls == []


def test_disconnect_deletes_session(fakes: Fakes) -> None:
    """The client gets all earlier events, including held ones."""
    client = fakes.connected()
    fakes.tracker.leave('s', '/')
    assert client.is_discarded and client.presence is State.LEAVING
    assert fakes.timeline().calls == [('flush', 's')]
    assert fakes.delivery.released == [('s', 'e')]


def test_disconnect_before_lost_connection_deletes_session(
        fakes: Fakes) -> None:
    client = fakes.connected()
    fakes.local.discard(client)
    fakes.connection.closed = True
    fakes.tracker.leave('s', '/')
    assert fakes.timeline().calls == [('flush', 's')]


def test_client_leaves_once(fakes: Fakes) -> None:
    client = fakes.connected(rooms={'s', 'room'})
    fakes.connection.closing = True
    fakes.tracker.leave('s', '/')
    client.rooms.clear()
    client.leaving_task = OTHER
    fakes.timeline().handed_over = Position(200)
    fakes.tracker.leave('s', '/')
    assert client.leaving_task == OTHER
    assert client.last is not None and client.last.rooms == ('room', 's')
    assert client.upto == Position(1)


def test_client_without_recovery_gets_waiting_events(fakes: Fakes) -> None:
    fakes.connect('e')
    fakes.manager.register('s', 'e', '/', ())
    fakes.tracker.leave('s', '/')
    assert fakes.timeline().calls == [('flush', 's')]
    assert fakes.delivery.released == [('s', 'e')]


def test_unknown_client_leaves(fakes: Fakes) -> None:
    fakes.tracker.leave('s', '/')
    assert fakes.timeline().calls == []


def test_client_is_leaving_except_for_its_handler(fakes: Fakes) -> None:
    """The tracker ignores the client, except for changes by its disconnect
    handler."""
    client = fakes.connected()
    assert not fakes.tracker.is_leaving('s', '/')
    client.leaving_task = OTHER
    assert not fakes.tracker.is_leaving('s', '/')
    fakes.local.leave(client)
    assert fakes.tracker.is_leaving('s', '/')
    assert not fakes.tracker.is_leaving('s', '/chat')
    assert not fakes.tracker.is_leaving('other', '/')
    client.leaving_task = ME
    assert not fakes.tracker.is_leaving('s', '/')


def test_client_claimed_by_other_node_keeps_session(fakes: Fakes) -> None:
    client = fakes.connected()
    fakes.local.supersede(client)
    assert fakes.tracker.is_leaving('s', '/')


# -- a client is unregistered ------------------------------------------------

def test_disconnecting_task_unregisters_client(fakes: Fakes) -> None:
    client = fakes.connected()
    client.leaving_task = ME
    assert fakes.tracker.may_unregister('s', '/')
    assert client.is_leaving and not client.is_discarded


@pytest.mark.parametrize('leaving_task', [None, OTHER],
                         ids=['none', 'other'])
def test_other_task_does_not_unregister_client(
        fakes: Fakes, leaving_task: Any) -> None:
    client = fakes.connected()
    client.leaving_task = leaving_task
    assert not fakes.tracker.may_unregister('s', '/')
    assert not client.is_leaving


def test_any_task_unregisters_client_without_recovery(fakes: Fakes) -> None:
    assert fakes.tracker.may_unregister('s', '/')


def test_refused_client_loses_session(fakes: Fakes) -> None:
    visit = fakes.visit()
    assert fakes.tracker.may_unregister('s', '/')
    assert visit.client is not None and visit.client.is_discarded
    assert fakes.server.environ['e']['socketio.recovery'] == Outcome(
        False, REJECTED)
    assert fakes.tracker.stats()['not_recovered_rejected'] == 1


def test_refused_client_without_pid_is_not_counted(fakes: Fakes) -> None:
    visit = fakes.visit(shown=None)
    assert fakes.tracker.may_unregister('s', '/')
    assert visit.client is not None and visit.client.is_discarded
    assert 'socketio.recovery' not in fakes.server.environ['e']
    assert fakes.tracker.stats()['not_recovered_rejected'] == 0


def test_visit_of_ended_connection_is_not_refused(fakes: Fakes) -> None:
    visit = fakes.visit()
    fakes.connection.closing = True
    assert fakes.tracker.may_unregister('s', '/')
    assert visit.client is not None and not visit.client.is_discarded
    assert fakes.tracker.stats()['not_recovered_rejected'] == 0


@pytest.mark.parametrize('what', ['another task', 'it leaves already',
                                  'another client'])
def test_visit_of_other_task_is_not_unregistered(
        fakes: Fakes, what: str) -> None:
    visit = fakes.visit()
    client: Any = visit.client
    if what == 'another task':
        visit.task = OTHER
    elif what == 'it leaves already':
        client.leaving_task = OTHER
    else:
        visit.client = None
    assert not fakes.tracker.may_unregister('s', '/')
    assert not client.is_discarded and not client.is_leaving


def test_client_is_unregistered(fakes: Fakes) -> None:
    client = fakes.connected()
    fakes.tracker._outcomes.note('s', '/', Outcome(True))
    fakes.tracker._outcomes.note('s', '/chat', Outcome(True))
    fakes.tracker.unregister('s', '/')
    assert client.presence is State.GONE and client.gone.is_set()
    assert fakes.delivery.forgotten == ['s']
    assert fakes.tracker.count == 0
    assert fakes.tracker.outcome('s', '/') is None
    assert fakes.tracker.outcome('s', '/chat') == Outcome(True)


def test_client_without_recovery_is_unregistered(fakes: Fakes) -> None:
    """Its outcome is removed, too."""
    fakes.tracker._outcomes.note('s', '/', Outcome(False, REJECTED))
    fakes.tracker.unregister('s', '/')
    assert fakes.tracker.outcome('s', '/') is None
    assert fakes.delivery.forgotten == ['s']


# -- the application disconnects a client ------------------------------------

def connection_of_two(fakes: Fakes) -> List[ClientSession]:
    """Two clients on one connection, and one on another."""
    return [unchanged(fakes), unchanged(fakes, sid='t', namespace='/chat'),
            unchanged(fakes, sid='o', eio_sid='f')]


@pytest.mark.parametrize('close, discarded', [
    (False, [True, False, False]), (True, [True, True, False])])
def test_disconnected_clients_are_not_recovered(
        fakes: Fakes, close: bool, discarded: List[bool]) -> None:
    """Their sessions are deleted from Redis."""
    clients = connection_of_two(fakes)
    fakes.tracker.discard('/', ('s', 'e'), close)
    assert [each.is_discarded for each in clients] == discarded
    assert [each.has_changed for each in clients] == discarded
    assert fakes.timeline().calls == []


def test_clients_of_closing_connection_are_not_recovered(fakes: Fakes) -> None:
    clients = connection_of_two(fakes)
    fakes.tracker.discard_connection('e')
    assert [each.is_discarded for each in clients] == [True, True, False]
    assert [each.has_changed for each in clients] == [True, True, False]
    # They get all earlier events.
    assert fakes.timeline().calls == [('flush', 's')]
    assert fakes.timeline('/chat').calls == [('flush', 't')]


def test_client_without_recovery_is_disconnected(fakes: Fakes) -> None:
    fakes.manager.register('s', 'e', '/', ())
    fakes.tracker.discard('/', ('s', 'e'))
    fakes.tracker.discard_connection('e')
    assert fakes.timeline().calls == [('flush', 's')]
