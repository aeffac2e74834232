"""Events are delivered in the order of the stream."""
import logging
from typing import Any, Callable

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.event_text import find_event
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    ServerSideEmit, SocketsJoin, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry, EntryRefused

from ..fake_server import FakeClient
from .stream_orders import got, Process


@pytest.fixture(params=['built', 'as they came'])
def process(request: Any, logger: Callable[[], logging.Logger]) -> Process:
    process = Process(logger)
    process.as_they_came = request.param == 'as they came'
    return process


# -- local messages are read -------------------------------------------------

def test_events_come_in_order_of_stream(process: Process) -> None:
    client, guest = process.connect(), process.connect(takes_part=False)
    own = [process.emit('own', number) for number in range(2)]
    assert got(client) == []
    process.receive(Position(101), 'other')
    process.back(own[0], Position(102))
    process.receive(Position(102, 1), 'other')
    process.back(own[1], Position(103))
    assert got(client) == [
        ('other', '101-0'), ('own', 0, '102-0'), ('other', '102-1'),
        ('own', 1, '103-0')]
    assert got(guest) == [('other',), ('own', 0), ('other',), ('own', 1)]
    assert process.delivery.position == Position(103)
    assert process.local.sent == {client.sid: Position(103)}


def test_recipients_are_chosen_at_emit(process: Process) -> None:
    stays, leaves, enters = (
        process.connect('x'), process.connect('x'), process.connect())
    pending = process.emit('hello', to=['x'])
    process.server.leave_room(leaves.sid, 'x')
    process.server.enter_room(enters.sid, 'x')
    late = process.connect('x')
    process.back(pending, Position(101))
    assert got(stays) == got(leaves) == [('hello', '101-0')]
    assert got(enters) == got(late) == []


def test_event_keeps_data_from_time_of_emit(process: Process) -> None:
    client, data = process.connect(), {'a': [1]}
    pending = process.emit('hello', data)
    data['a'].append(2)
    process.back(pending, Position(101))
    assert got(client) == [('hello', {'a': [1]}, '101-0')]


def test_event_without_recipients_is_recorded(process: Process) -> None:
    process.back(process.emit('hello'), Position(101))
    assert process.delivery.position == Position(101)
    assert process.delivery.history.has('/', Position(101))
    assert not process.delivery._waiting


def test_emit_before_first_client_is_recorded(process: Process) -> None:
    """The event does not wait here, but clients of other nodes may have missed
    it."""
    client, history = process.connect(), process.delivery.history
    for number, (message, remembered) in enumerate([
            (Broadcast(('hello', 1)), True),
            (SocketsJoin(EVERYONE, ('x',)), True),
            (Broadcast(('x',), Target(flags={'volatile': True})), False),
            (Broadcast(('x',), EVERYONE, 'request'), False),
            (ServerSideEmit(('x',)), False)], 101):
        entry_id = Position(number)
        process.back(process.put(message), entry_id)
        assert history.has('/', entry_id) is remembered
    pending = process.emit('hello')
    process.locally('local', 1)
    process.back(pending, Position(200))
    assert got(client) == [('hello', '200-0'), ('local', 1)]
    missed = history.after('/', Position(199))
    assert missed is not None and len(missed) == 1


@pytest.mark.parametrize('flags', [{'volatile': True}, {}])
def test_events_of_other_nodes_are_delivered(
        process: Process, flags: Any) -> None:
    """A volatile event is not replayed and has no offset."""
    client = process.connect('x')
    process.receive(Position(101), 'hello', 1, to=['x'], flags=flags)
    assert got(client) == [
        ('hello', 1) if flags else ('hello', 1, '101-0')]
    assert process.local.sent[client.sid] == (
        None if flags else Position(101))
    assert process.delivery.history.has('/', Position(101)) is not bool(flags)


def test_last_text_argument_is_no_offset(process: Process) -> None:
    client = process.connect()
    process.receive(Position(101), 'first')
    process.receive(Position(102), 'hello', 'text', flags={'volatile': True})
    process.locally('local', 'text')
    process.locally('local', 1)
    process.locally('local')
    assert got(client) == [
        ('first', '101-0'), ('hello', 'text', '102-0'),
        ('local', 'text', '102-0'), ('local', 1), ('local', '102-0')]


# -- closing -----------------------------------------------------------------

def test_closing_node_delivers_local_events_without_offset(
        process: Process) -> None:
    """A closing node no longer delivers other nodes' messages. The offset of a
    local event would skip them. A recovered client gets both from its next
    node."""
    client, guest = process.connect(), process.connect(takes_part=False)
    process.receive(Position(101), 'before')
    own = process.emit('own', 1)
    process.locally('local', 2)
    process.locally('local', 'text')
    process.delivery.leave()
    process.back(own, Position(103))
    assert got(client) == [('before', '101-0'), ('local', 2),
                           ('local', 'text', '101-0')]
    assert got(guest) == [('before',), ('own', 1), ('local', 2),
                          ('local', 'text')]
    assert process.local.sent == {client.sid: Position(101)}


@pytest.mark.parametrize('leaves', [False, True])
@pytest.mark.parametrize('stays', [False, True])
def test_lost_client_gets_no_event_that_waited(
        process: Process, stays: bool, leaves: bool) -> None:
    """Its connection may still be closing, and its polls fetch what is put
    into its queue. The client gets the event again when it returns."""
    other = process.connect() if stays else None
    client, guest = process.connect(), process.connect(takes_part=False)
    binary = process.emit('own', b'1')
    text = process.emit('own', '2')
    process.lose(client)
    process.lose(guest)
    if leaves:
        process.delivery.leave()
    process.back(binary, Position(101))
    process.back(text, Position(102))
    assert got(client) == got(guest) == []
    assert process.local.delivered == 2 * (stays and not leaves)
    if other is not None and not leaves:
        assert got(other) == [('own', b'1', '101-0'), ('own', '2', '102-0')]


# -- lost messages -----------------------------------------------------------

def test_event_lost_by_redis_has_no_offset(process: Process) -> None:
    """The event can be delivered here. It has no offset, because no client
    could resume after it."""
    client = process.connect()
    process.emit('lost', 1)
    process.locally('local', 2)
    process.emit('lost', 3)
    pending = process.emit('last', 4)
    process.back(pending, Position(105))
    assert got(client) == [('lost', 1), ('local', 2), ('lost', 3),
                           ('last', 4, '105-0')]
    assert process.local.sent[client.sid] == Position(105)
    assert [record.id for record in process.delivery.history.after(
        '/', Position(100)) or ()] == [Position(105)]


def test_refused_event_is_not_delivered(process: Process) -> None:
    """The error was raised or logged. The event is delivered to no client on
    any node."""
    client = process.connect()
    refused = process.emit('refused')
    refused.refused = EntryRefused('too large', 0)
    process.locally('local', 1)
    pending = process.emit('last')
    process.back(pending, Position(101))
    assert got(client) == [('local', 1), ('last', '101-0')]


def test_heartbeat_shows_lost_event(process: Process) -> None:
    client = process.connect()
    first, second = process.emit('first', 1), process.emit('second', 2)
    process.heartbeat(first, Position(101))
    assert got(client) == [('first', 1)]
    assert process.delivery.position == Position(101)
    process.back(second, Position(102))
    assert got(client) == [('first', 1), ('second', 2, '102-0')]
    process.heartbeat(second, Position(103))
    assert len(got(client)) == 2


def test_local_delivery_does_not_wait_for_lost_event(process: Process) -> None:
    client = process.connect()
    last = process.emit('gone', 1)
    process.locally('local', 2)
    process.heartbeat(last, Position(101))
    assert got(client) == [('gone', 1), ('local', 2)]
    process.locally('local', 3)
    assert got(client)[2:] == [('local', 3)]


# -- a new stream ------------------------------------------------------------

@pytest.mark.parametrize('how', ['own', 'other', 'nothing', 'heartbeat'])
def test_restart_clears_positions(process: Process, how: str) -> None:
    """Former positions are invalid in the new stream."""
    client = process.connect()
    process.receive(Position(200), 'hello')
    history = process.delivery.history
    assert history.has('/', Position(200))
    process.delivery.history_lost()
    # The first entry of the new stream sets the position again.
    assert history.has('/', Position(200))
    if how == 'own':
        process.back(process.emit('again'), Position(150, 3))
    elif how == 'other':
        process.receive(Position(150, 3), 'again')
    elif how == 'heartbeat':
        process.heartbeat(process.emit('again'), Position(150, 3))
    else:
        process.follower.moved(Position(150, 3))
    assert not history.has('/', Position(200))
    assert history.floor('/') == history.floor('/chat') == Position(150, 2)
    assert process.delivery.position == Position(150, 3)
    assert history.has('/', Position(150, 3)) is (how in ('own', 'other'))
    process.receive(Position(151), 'last')
    assert history.floor('/') == Position(150, 2)
    assert got(client)[-1] == ('last', '151-0')


def test_namespaces_are_added_and_removed(process: Process) -> None:
    delivery = process.delivery
    process.receive(Position(101), 'hello')
    # This happens during an entry: later entries are recorded.
    process.arrived = Position(102)
    delivery.serve(['/', '/new'])
    assert delivery.history.floor('/new') == Position(102)
    assert delivery.history.floor('/') == Position(100)
    assert delivery.history.floor('/chat') is None
    process.receive(Position(103), 'hello', namespace='/new')
    assert [record.id for record in delivery.history.after(
        '/new', Position(102)) or ()] == [Position(103)]


def receive_malformed(process: Process, *to: str) -> None:
    """Read another node's event whose text is not JSON, at 101."""
    *fields, data = Encoder('other').encode(
        '/', Broadcast(('hello', 1), Target(to)))
    data = data.replace(b'"hello"', b'"hello",,')
    message = find_event(data)
    assert message is not None
    at = Position(101)
    try:
        process.delivery.received(
            Entry(at, [*fields, data]), Act('/', 'other', message))
    finally:
        process.follower.moved(at)


def test_malformed_event_is_not_recorded(process: Process) -> None:
    client = process.connect('x')
    with pytest.raises(DecodeError):
        receive_malformed(process, 'x')
    assert not process.delivery.history.has('/', Position(101))
    process.receive(Position(102), 'next')
    assert got(client) == [('next', '102-0')]


def test_event_for_no_client_here_is_not_read(process: Process) -> None:
    """If it turns out to be malformed, it is not sent to clients that
    return."""
    client = process.connect('x')
    receive_malformed(process, 'y')
    process.receive(Position(102), 'next', to=['y'])
    missed = process.delivery.history.after('/', Position(100)) or ()
    assert [record.id for record in missed] == [Position(101), Position(102)]
    connection = FakeClient(process.server, '/chat')
    assert process.delivery.deliver_again(
        ('s', connection.eio_sid), '/', missed, lambda: True)
    assert got(connection) == [('next', '102-0')]
    assert got(client) == []


def test_event_without_local_recipients_is_not_encoded(
        process: Process) -> None:
    """The event cannot be encoded as a packet, and does not have to be."""
    client, encode = process.connect('x'), process.local.encode

    def fail(*args: Any) -> Any:
        raise TypeError

    process.local.encode = fail  # type: ignore[method-assign]
    pending = process.emit('hello', to=['x'], skip=[client.sid])
    process.take_in(Position(101), '/', Broadcast(
        ('other',), Target(('x',), (client.sid,))))
    process.local.encode = encode  # type: ignore[method-assign]
    process.back(pending, Position(102))
    assert got(client) == []
    assert process.delivery.history.has('/', Position(101))
