"""A client changes rooms, and leaves: on purpose, or because its connection
is lost."""
import logging
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Outcome, REJECTED
from redis_streams_adapter.recovery.states import State

from .tracking import ME, OTHER, World


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


def unchanged(world: World, **kept: Any) -> ClientSession:
    """A connected client of which all is written."""
    client = world.connected(**kept)
    client.content = State.UNCHANGED
    return client


# -- rooms -------------------------------------------------------------------

def test_enter_room_is_recorded(world: World) -> None:
    client = unchanged(world)
    world.tracker.entered('s', '/', 'room')
    assert client.rooms == {'s', 'room'}
    assert client.has_changed


def test_leave_room_is_recorded(world: World) -> None:
    client = unchanged(world, rooms={'s', 'room'})
    world.tracker.left('s', '/', 'room')
    assert client.rooms == {'s'}
    assert client.has_changed


@pytest.mark.parametrize('sid, namespace, room', [
    ('s', '/', 'already'), ('s', '/', None), ('other', '/', 'room'),
    ('s', '/chat', 'room')])
def test_failed_enter_is_not_recorded(world: World, sid: str, namespace: str,
                                      room: Any) -> None:
    client = unchanged(world, rooms={'s', 'already'})
    world.tracker.entered(sid, namespace, room)
    assert client.rooms == {'s', 'already'}
    assert not client.has_changed


@pytest.mark.parametrize('sid, namespace, room', [
    ('s', '/', 'not in there'), ('other', '/', 'room'),
    ('s', '/chat', 'room')])
def test_failed_leave_is_not_recorded(world: World, sid: str, namespace: str,
                                      room: Any) -> None:
    client = unchanged(world, rooms={'s', 'room'})
    world.tracker.left(sid, namespace, room)
    assert client.rooms == {'s', 'room'}
    assert not client.has_changed


def test_leaving_client_keeps_rooms(world: World) -> None:
    """python-socketio takes it out of all of them then."""
    client = world.connected(rooms={'s', 'room'})
    world.tracker.leave('s', '/')
    world.tracker.left('s', '/', 'room')
    assert client.rooms == {'s', 'room'}


# -- about to be disconnected ------------------------------------------------

def test_lost_connection_leaves_session(world: World) -> None:
    """The state and position at that time count."""
    client = world.connected(rooms={'s', 'room'})
    world.delivery.sent['s'] = Position(99)
    world.connection.closing = True
    world.tracker.leave('s', '/')
    assert client.presence is State.LEAVING
    assert not client.is_discarded
    assert client.leaving_task == ME
    assert (client.upto, client.sent) == (Position(100), Position(99))
    assert client.last is not None and client.last.rooms == ('room', 's')
    # It gets the rest where it returns.
    assert world.timeline().calls == []


def test_disconnect_deletes_session(world: World) -> None:
    """It gets what was emitted before, held events included."""
    client = world.connected()
    world.tracker.leave('s', '/')
    assert client.is_discarded and client.presence is State.LEAVING
    assert world.timeline().calls == [('flush', 's')]
    assert world.delivery.released == [('s', 'e')]


def test_disconnect_before_lost_connection_deletes_session(
        world: World) -> None:
    client = world.connected()
    world.local.discard(client)
    world.connection.closed = True
    world.tracker.leave('s', '/')
    assert world.timeline().calls == [('flush', 's')]


def test_client_leaves_once(world: World) -> None:
    client = world.connected(rooms={'s', 'room'})
    world.connection.closing = True
    world.tracker.leave('s', '/')
    client.rooms.clear()
    client.leaving_task = OTHER
    world.timeline().handed_over = Position(200)
    world.tracker.leave('s', '/')
    assert client.leaving_task == OTHER
    assert client.last is not None and client.last.rooms == ('room', 's')
    assert client.upto == Position(1)


def test_client_without_recovery_gets_waiting_events(world: World) -> None:
    world.connect('e')
    world.manager.register('s', 'e', '/', ())
    world.tracker.leave('s', '/')
    assert world.timeline().calls == [('flush', 's')]
    assert world.delivery.released == [('s', 'e')]


def test_unknown_client_leaves(world: World) -> None:
    world.tracker.leave('s', '/')
    assert world.timeline().calls == []


def test_client_is_leaving_except_for_its_handler(world: World) -> None:
    """It does not follow the client, but for what its disconnect handler
    does."""
    client = world.connected()
    assert not world.tracker.is_leaving('s', '/')
    client.leaving_task = OTHER
    assert not world.tracker.is_leaving('s', '/')
    world.local.leave(client)
    assert world.tracker.is_leaving('s', '/')
    assert not world.tracker.is_leaving('s', '/chat')
    assert not world.tracker.is_leaving('other', '/')
    client.leaving_task = ME
    assert not world.tracker.is_leaving('s', '/')


def test_client_claimed_by_other_node_keeps_session(world: World) -> None:
    client = world.connected()
    world.local.supersede(client)
    assert world.tracker.is_leaving('s', '/')


# -- unregistered ------------------------------------------------------------

def test_disconnecting_task_unregisters_client(world: World) -> None:
    client = world.connected()
    client.leaving_task = ME
    assert world.tracker.may_unregister('s', '/')
    assert client.is_leaving and not client.is_discarded


@pytest.mark.parametrize('leaving_task', [None, OTHER])
def test_other_task_does_not_unregister_client(
        world: World, leaving_task: Any) -> None:
    client = world.connected()
    client.leaving_task = leaving_task
    assert not world.tracker.may_unregister('s', '/')
    assert not client.is_leaving


def test_any_task_unregisters_client_without_recovery(world: World) -> None:
    assert world.tracker.may_unregister('s', '/')


def test_refused_client_loses_session(world: World) -> None:
    visit = world.visit()
    assert world.tracker.may_unregister('s', '/')
    assert visit.client is not None and visit.client.is_discarded
    assert world.server.environ['e']['socketio.recovery'] == Outcome(
        False, REJECTED)
    assert world.tracker.stats()['not_recovered_rejected'] == 1


def test_refused_client_without_pid_is_not_counted(world: World) -> None:
    visit = world.visit(shown=None)
    assert world.tracker.may_unregister('s', '/')
    assert visit.client is not None and visit.client.is_discarded
    assert 'socketio.recovery' not in world.server.environ['e']
    assert world.tracker.stats()['not_recovered_rejected'] == 0


def test_visit_of_ended_connection_is_not_refused(world: World) -> None:
    visit = world.visit()
    world.connection.closing = True
    assert world.tracker.may_unregister('s', '/')
    assert visit.client is not None and not visit.client.is_discarded
    assert world.tracker.stats()['not_recovered_rejected'] == 0


@pytest.mark.parametrize('what', ['another task', 'it leaves already',
                                  'another client'])
def test_visit_of_other_task_is_not_unregistered(
        world: World, what: str) -> None:
    visit = world.visit()
    client: Any = visit.client
    if what == 'another task':
        visit.task = OTHER
    elif what == 'it leaves already':
        client.leaving_task = OTHER
    else:
        visit.client = None
    assert not world.tracker.may_unregister('s', '/')
    assert not client.is_discarded and not client.is_leaving


def test_client_is_unregistered(world: World) -> None:
    client = world.connected()
    world.tracker._outcomes.note('s', '/', Outcome(True))
    world.tracker._outcomes.note('s', '/chat', Outcome(True))
    world.tracker.unregister('s', '/')
    assert client.presence is State.GONE and client.gone.is_set()
    assert world.delivery.forgotten == ['s']
    assert world.tracker.count == 0
    assert world.tracker.outcome('s', '/') is None
    assert world.tracker.outcome('s', '/chat') == Outcome(True)


def test_client_without_recovery_is_unregistered(world: World) -> None:
    """Its outcome is forgotten, too."""
    world.tracker._outcomes.note('s', '/', Outcome(False, REJECTED))
    world.tracker.unregister('s', '/')
    assert world.tracker.outcome('s', '/') is None
    assert world.delivery.forgotten == []


# -- going to be disconnected ------------------------------------------------

def connection_of_two(world: World) -> List[ClientSession]:
    """Two clients on a connection, and one on another."""
    return [unchanged(world), unchanged(world, sid='t', namespace='/chat'),
            unchanged(world, sid='o', eio_sid='f')]


@pytest.mark.parametrize('close, discarded', [
    (False, [True, False, False]), (True, [True, True, False])])
def test_disconnected_clients_are_not_recovered(
        world: World, close: bool, discarded: List[bool]) -> None:
    """Redis gets to know it, too."""
    clients = connection_of_two(world)
    world.tracker.discard('/', ('s', 'e'), close)
    assert [each.is_discarded for each in clients] == discarded
    assert [each.has_changed for each in clients] == discarded
    assert world.timeline().calls == []


def test_clients_of_closing_connection_are_not_recovered(world: World) -> None:
    clients = connection_of_two(world)
    world.tracker.discard_connection('e')
    assert [each.is_discarded for each in clients] == [True, True, False]
    assert [each.has_changed for each in clients] == [True, True, False]
    # They get what was emitted before.
    assert world.timeline().calls == [('flush', 's')]
    assert world.timeline('/chat').calls == [('flush', 't')]


def test_client_without_recovery_is_disconnected(world: World) -> None:
    world.manager.register('s', 'e', '/', ())
    world.tracker.discard('/', ('s', 'e'))
    world.tracker.discard_connection('e')
    assert world.timeline().calls == [('flush', 's')]
