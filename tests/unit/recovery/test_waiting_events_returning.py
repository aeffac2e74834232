"""Waiting events, and clients that leave or return."""
import logging
from typing import Any, Callable

import pytest

from redis_streams_adapter.protocol.messages import DisconnectSockets, \
    EVERYONE, SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.recovery.replay import Replay
from redis_streams_adapter.recovery.session import Origin, Refusal, Session, \
    UNKNOWN_SESSION

from ..fake_server import FakeClient
from .stream_orders import got, Process


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    return Process(logger)


# -- a client leaves ---------------------------------------------------------

def test_flush_delivers_waiting_events_to_client(process: Process) -> None:
    leaving, here = process.connect('x'), process.connect('x')
    first, alone = process.emit('first'), process.emit(
        'alone', to=[leaving.sid])
    process.locally('local', 5)
    last = process.emit('last', to=['x'])
    process.delivery.flush(leaving.sid)
    # None of these events was read, so there is no new offset. But the client
    # would take a last text argument for one.
    assert got(leaving) == [
        ('first', '100-0'), ('alone', '100-0'), ('local', 5),
        ('last', '100-0')]
    assert got(here) == []
    for number, pending in enumerate([first, alone, last], 101):
        process.back(pending, Position(number))
    assert len(got(leaving)) == 4
    assert got(here) == [('first', '101-0'), ('local', 5),
                         ('last', '103-0')]
    process.delivery.flush('nobody')


# -- a client returns --------------------------------------------------------

def session_of(sid: str, *rooms: Any) -> Session:
    return Session(sid, 'p', rooms, {}, upto=Position(100),
                   obeyed=Position(100))


def returns(process: Process, client: FakeClient, *rooms: Any,
            namespace: str = '/') -> FakeClient:
    """Recover a client on a new connection, with these rooms in its session.

    :return: the connection.
    """
    sid = client.sid
    client.leave()
    connection = FakeClient(process.server, '/chat')
    replay = Replay(session_of(sid, *rooms), Position(100), 100)
    process.delivery.admit((sid, connection.eio_sid), namespace, replay)()
    process.local.sent[sid] = None
    return connection


def test_waiting_events_reach_returning_client(process: Process) -> None:
    other, client = process.connect('x'), process.connect()
    own = [process.emit('all'), process.emit('room', to=['x']),
           process.emit('elsewhere', to=['y']),
           process.emit('except', skip=['x']),
           process.emit('alone', to=[client.sid])]
    again = returns(process, client, 'x')
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    # Its room was excluded at the time of the emit.
    assert got(again) == [('all', '101-0'), ('room', '102-0'),
                          ('except', '104-0'), ('alone', '105-0')]
    assert got(client) == []
    assert got(other) == [('all', '101-0'), ('room', '102-0')]


def test_event_for_former_room_is_delivered_once(process: Process) -> None:
    """The client is no longer in the room."""
    client = process.connect('x', 'y')
    pending = process.emit('hello', to=['x', 'y'])
    again = returns(process, client)
    process.back(pending, Position(101))
    assert got(again) == [('hello', '101-0')]
    assert got(client) == []


def test_event_without_recipients_reaches_returning_client(
        process: Process) -> None:
    client, data = process.connect(), [1]
    sid = client.sid
    client.leave()
    assert sid not in process.server.manager.rooms.get('/', {})
    pending = process.emit('hello', data, to=['x'])
    data.append(2)
    connection = FakeClient(process.server, '/chat')
    process.delivery.admit((sid, connection.eio_sid), '/', Replay(
        Session(sid, 'p', ('x',), {}, upto=Position(100)), Position(100),
        100))()
    process.local.sent[sid] = None
    process.back(pending, Position(101))
    assert got(connection) == [('hello', [1], '101-0')]
    assert process.local.sent[sid] == Position(101)
    assert process.delivery.history.has('/', Position(101))


def test_failed_registration_leaves_waiting_events(process: Process) -> None:
    """The waiting events do not change."""
    client = process.connect('x')
    own = [process.emit('all'), process.emit('nobody', to=['y'])]
    connection = FakeClient(process.server, '/chat')
    process.delivery.admit((client.sid, connection.eio_sid), '/', Replay(
        session_of(client.sid, 'x', 'y'), Position(100), 100))
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    assert got(client) == [('all', '101-0')]
    assert got(connection) == []


def test_volatile_events_are_not_replayed(process: Process) -> None:
    client = process.connect()
    own = [process.emit('volatile', flags={'volatile': True}),
           process.ask('question')]
    again = returns(process, client, 'x')
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    assert got(again) == []


def test_acknowledgement_is_not_requested_from_new_connection(
        process: Process) -> None:
    """The emitter no longer waits, and the number of its acknowledgement may
    have been reused."""
    client = process.connect()
    sid = client.sid
    own = [process.emit('first'), process.ask('question'),
           process.emit('volatile', flags={'volatile': True})]
    again = returns(process, client)
    process.local.hold(sid)
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    process.local.release((sid, again.eio_sid))
    assert got(again) == [('first', '101-0')]


def test_events_of_other_namespace_are_ignored(process: Process) -> None:
    client = process.connect()
    pending = process.emit('hello')
    process.command(DisconnectSockets(EVERYONE))
    again = returns(process, client, namespace='/chat')
    process.back(pending, Position(101))
    assert got(again) == []


def test_waiting_commands_apply(process: Process) -> None:
    client = process.connect()
    process.locally('nothing waits')
    own = [process.emit('no', to=['x']),
           process.command(SocketsJoin(Target((client.sid,)), ('x', 'y'))),
           process.emit('yes', to=['x']),
           process.command(SocketsLeave(Target(('y',)), ('x',))),
           process.emit('no', to=['x']), process.emit('yes', to=['y'])]
    again = returns(process, client)
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    assert got(again) == [('yes', '103-0'), ('yes', '106-0')]


def test_applied_waiting_commands_are_not_repeated(process: Process) -> None:
    """They were applied while the client was connected. Later changes by the
    application stay."""
    client = process.connect('x')
    assert process.delivery.commanded is None
    process.command(SocketsLeave(EVERYONE, ('x',)))
    process.command(DisconnectSockets(Target(('y',))))
    own = process.delivery.commanded
    assert own == Origin(b'w', 2)
    process.emit('event')
    assert process.delivery.commanded == own
    process.command(SocketsJoin(EVERYONE, ('z',)))
    client.leave()
    replay = Replay(session_of('s', 'x', 'y')._replace(own=own), Position(100),
                    100)
    process.delivery.admit(('s', 'e'), '/', replay)
    assert replay.rooms == {'s', 'x', 'y', 'z'}


def test_commands_are_distinguished_by_node(process: Process) -> None:
    """Nodes are distinguished for commands that were read before, too."""
    pending = process.command(SocketsLeave(EVERYONE, ('x',)))
    process.follower.came_back(
        Entry(Position(101), (*pending.fields, b'wid', b'w', b'seq', b'1')), 1,
        True)
    message = SocketsLeave(EVERYONE, ('x',))
    process.take_in(Position(102), '/', message, (b'wid', b'v', b'seq', b'9'))
    assert [act.message for act in process.acts] == [message]
    records = process.delivery.history.after('/', Position(100))
    assert [record.origin for record in records or ()] == [
        Origin(b'w', 1), Origin(b'v', 9)]


def test_waiting_disconnect_ends_recovery(process: Process) -> None:
    client = process.connect('x')
    pending = process.emit('hello')
    sid = client.sid
    process.command(DisconnectSockets(Target(('x',))))
    with pytest.raises(Refusal) as caught:
        returns(process, client, 'x')
    assert caught.value.reason == UNKNOWN_SESSION
    # The disconnect does not wait itself.
    again = FakeClient(process.server, '/chat')
    process.local.hold(sid)
    process.back(pending, Position(101))
    process.local.release((sid, again.eio_sid))
    assert again.eio_sid not in [
        eio_sid for waiting in process.delivery._waiting
        for load in waiting.loads for _, eio_sid in load.clients]


def test_commands_are_not_counted_as_events(process: Process) -> None:
    client = process.connect()
    process.back(process.command(SocketsJoin(EVERYONE, ('x',))), Position(101))
    assert got(client) == []
    assert process.delivery.history.has('/', Position(101))
