"""What the own clients have of a stream, and what waits to come back."""
import logging
import threading
from typing import Any, Callable, List, Optional, Tuple

import pytest
import socketio

from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.clients.delivery import Delivery
from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, EVERYONE, Message, ServerSideEmit, SocketsJoin, \
    SocketsLeave, Target
from redis_streams_adapter.recovery.replay import Replay
from redis_streams_adapter.recovery.session import Origin, Refusal, Session, \
    UNKNOWN_SESSION
from redis_streams_adapter.stream.outbox import Pending
from redis_streams_adapter.recovery.stream_order import Load, MANY, Timeline
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Entry, EntryRefused

from ...support.wait import DEADLINE, wait_until
from ..fake_server import FakeClient, make_server
from ..nodes import Call

#: Seconds that a wait which ends by itself is given.
AMPLE = 5.0


class Process:
    """A server's clients, and a timeline whose stream is written by hand."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self.server = make_server(client_manager=socketio.Manager())
        self.delivery = Delivery(self.server.manager, self.server, logger)
        self.order = threading.RLock()
        self.timeline = Timeline(b'w', self.order, threading.Event, logger)
        self.timeline.delivery = self.delivery
        self.timeline.begin(Position(100))
        self.timeline.serve(['/', '/chat'])
        self._encoder = Encoder('uid')
        self._sequence = 0

    def connect(self, *rooms: Any, takes_part: bool = True) -> FakeClient:
        client = FakeClient(self.server)
        for room in rooms:
            self.server.enter_room(client.sid, room)
        if takes_part:
            self.delivery.sent[client.sid] = None
        return client

    # -- what the manager does -------------------------------------------

    def put(self, message: Message, namespace: str = '/') -> Pending:
        self._sequence += 1
        fields = self._encoder.encode(namespace, message)
        return Pending(fields, sum(map(len, fields)), self._sequence, True)

    def loads(self, args: Any, target: Target = EVERYONE,
              ack_id: Optional[int] = None,
              recoverable: bool = False) -> List[Load]:
        clients = self.delivery.recipients('/', target)
        return [Load(clients, self.delivery.encode('/', args, ack_id),
                     recoverable)] if clients else []

    def emit(self, *args: Any, to: Any = (), skip: Any = (),
             flags: Any = {}) -> Pending:
        target = Target(tuple(to), tuple(skip), flags)
        message = Broadcast(args, target)
        loads = self.loads(args, target, recoverable=True)
        pending = self.put(message)
        self.timeline.emitted(pending, '/', message, loads)
        return pending

    def command(self, message: Message, namespace: str = '/') -> Pending:
        pending = self.put(message, namespace)
        self.timeline.emitted(pending, namespace, message)
        return pending

    def ask(self, *args: Any, ack_id: int = 1) -> Pending:
        """Emit something that is to be acknowledged."""
        pending = self.put(Broadcast(args, EVERYONE, 'request'))
        self.timeline.emitted(pending, '/', None,
                              self.loads(args, ack_id=ack_id))
        return pending

    def locally(self, *args: Any) -> None:
        self.timeline.locally('/', self.loads(args))

    # -- what the reader does --------------------------------------------

    def back(self, pending: Pending, entry_id: bytes) -> None:
        """An own message is read."""
        self.timeline.arrived = entry_id
        self.timeline.came_back(
            Entry(entry_id, pending.fields), pending.sequence, True)
        self.timeline.moved(entry_id)

    def heartbeat(self, after: Pending, entry_id: bytes) -> None:
        """An own sign of life is read, sent after a message."""
        self.timeline.arrived = entry_id
        self.timeline.came_back(Entry(entry_id, []), after.sequence, False)
        self.timeline.moved(entry_id)

    def receive(self, entry_id: bytes, *args: Any, to: Any = (),
                flags: Any = {}, namespace: str = '/') -> None:
        """Another node's event is read."""
        self.timeline.arrived = entry_id
        message = Broadcast(args, Target(tuple(to), (), flags))
        self.timeline.received(
            Entry(entry_id, self._encoder.encode(namespace, message)),
            namespace, message, lambda: self.timeline.deliver(
                namespace,
                self.delivery.recipients(namespace, message.target), message))
        self.timeline.moved(entry_id)


@pytest.fixture
def process(logger: Callable[[], logging.Logger]) -> Process:
    return Process(logger)


def got(client: FakeClient) -> List[Tuple[Any, ...]]:
    """The events of a client, with their arguments."""
    return [(event.name, *event.args) for event in client.events()]


# -- own messages come back --------------------------------------------------

def test_in_the_order_of_the_stream(process: Process) -> None:
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
    assert process.timeline.position == Position(103)
    assert process.delivery.sent == {client.sid: Position(103)}


def test_recipients_are_those_of_the_emit(process: Process) -> None:
    stays, leaves, enters = (
        process.connect('x'), process.connect('x'), process.connect())
    pending = process.emit('hello', to=['x'])
    process.server.leave_room(leaves.sid, 'x')
    process.server.enter_room(enters.sid, 'x')
    late = process.connect('x')
    process.back(pending, Position(101))
    assert got(stays) == got(leaves) == [('hello', '101-0')]
    assert got(enters) == got(late) == []


def test_it_is_as_it_was_emitted(process: Process) -> None:
    client, data = process.connect(), {'a': [1]}
    pending = process.emit('hello', data)
    data['a'].append(2)
    process.back(pending, Position(101))
    assert got(client) == [('hello', {'a': [1]}, '101-0')]


def test_nobody_is_there(process: Process) -> None:
    process.back(process.emit('hello'), Position(101))
    assert process.timeline.position == Position(101)
    assert process.timeline.history.has('/', Position(101))
    assert not process.timeline._waiting


def test_what_was_emitted_before_there_were_clients(
        process: Process) -> None:
    """It does not wait here; but clients of others may have missed it."""
    client, history = process.connect(), process.timeline.history
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
def test_of_others(process: Process, flags: Any) -> None:
    """What is volatile is not sent again, and is no offset."""
    client = process.connect('x')
    process.receive(Position(101), 'hello', 1, to=['x'], flags=flags)
    assert got(client) == [
        ('hello', 1) if flags else ('hello', 1, '101-0')]
    assert process.delivery.sent[client.sid] == (
        None if flags else Position(101))
    assert process.timeline.history.has('/', Position(101)) is not bool(flags)


def test_a_text_is_never_taken_for_an_offset(process: Process) -> None:
    client = process.connect()
    process.receive(Position(101), 'first')
    process.receive(Position(102), 'hello', 'text', flags={'volatile': True})
    process.locally('local', 'text')
    process.locally('local', 1)
    process.locally('local')
    assert got(client) == [
        ('first', '101-0'), ('hello', 'text', '102-0'),
        ('local', 'text', '102-0'), ('local', 1), ('local', '102-0')]


def test_another_message_than_the_last_is_not_delivered(
        process: Process) -> None:
    client = process.connect()
    process.receive(Position(101), 'hello')
    process.timeline.deliver('/', [(client.sid, client.eio_sid)],
                             Broadcast(('hello',)))
    assert got(client) == [('hello', '101-0')]


def test_without_clients_there_is_no_delivery(
        logger: Callable[[], logging.Logger]) -> None:
    """As in a member without a server."""
    timeline = Timeline(b'w', threading.RLock(), threading.Event, logger)
    timeline.begin(Position(1))
    timeline.received(Entry(Position(2), []), '/', Broadcast(('x',)),
                      lambda: None)
    assert timeline.position == Position(2)
    with pytest.raises(RuntimeError):
        timeline.hand_over([Load([], None)])  # type: ignore[arg-type]


# -- what does not pass through the stream -----------------------------------

def test_it_waits_for_what_was_emitted_before(process: Process) -> None:
    client = process.connect()
    process.locally('now')
    assert got(client) == [('now', '100-0')]
    first = process.emit('first')
    process.locally('second')
    process.locally('third')
    fourth = process.emit('fourth')
    process.locally('fifth')
    assert len(got(client)) == 1
    process.receive(Position(101), 'other')
    process.back(first, Position(102))
    assert got(client)[1:] == [
        ('other', '101-0'), ('first', '102-0'), ('second', '102-0'),
        ('third', '102-0')]
    process.back(fourth, Position(103))
    assert got(client)[5:] == [('fourth', '103-0'), ('fifth', '103-0')]
    process.locally('now')
    assert got(client)[7:] == [('now', '103-0')]


def test_what_asks_for_an_answer(process: Process) -> None:
    client = process.connect()
    first, question = process.emit('first'), process.ask('question', 'text')
    process.back(first, Position(101))
    assert got(client) == [('first', '101-0')]
    process.back(question, Position(102))
    name, args, ack_id = client.events()[1]
    # A function stands behind the text.
    assert (name, args, ack_id) == ('question', ('text',), 1)
    assert not process.timeline.history.has('/', Position(102))


# -- a client is on its way out ----------------------------------------------

def test_flush(process: Process) -> None:
    leaving, here = process.connect('x'), process.connect('x')
    first, alone = process.emit('first'), process.emit(
        'alone', to=[leaving.sid])
    process.locally('local', 5)
    last = process.emit('last', to=['x'])
    process.timeline.flush(leaving.sid)
    # Nothing of this is behind it in the stream, so it is no offset; but a
    # text at the end would be taken for one.
    assert got(leaving) == [
        ('first', '100-0'), ('alone', '100-0'), ('local', 5),
        ('last', '100-0')]
    assert got(here) == []
    for number, pending in enumerate([first, alone, last], 101):
        process.back(pending, Position(number))
    assert len(got(leaving)) == 4
    assert got(here) == [('first', '101-0'), ('local', 5),
                         ('last', '103-0')]
    process.timeline.flush('nobody')


# -- a client returns --------------------------------------------------------

def session_of(sid: str, *rooms: Any) -> Session:
    return Session(sid, 'p', rooms, {}, upto=Position(100),
                   obeyed=Position(100))


def returns(process: Process, client: FakeClient, *rooms: Any,
            namespace: str = '/') -> FakeClient:
    """Let a client return on a new connection, with these rooms in its
    session.

    :return: the connection.
    """
    sid = client.sid
    client.leave()
    connection = FakeClient(process.server, '/chat')
    replay = Replay(session_of(sid, *rooms), Position(100), 100)
    process.timeline.admit((sid, connection.eio_sid), namespace, replay)
    process.delivery.sent[sid] = None
    return connection


def test_what_waits_is_meant_for_it(process: Process) -> None:
    other, client = process.connect('x'), process.connect()
    own = [process.emit('all'), process.emit('room', to=['x']),
           process.emit('elsewhere', to=['y']),
           process.emit('except', skip=['x']),
           process.emit('alone', to=[client.sid])]
    again = returns(process, client, 'x')
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    # "except" was meant for it when it was emitted.
    assert got(again) == [('all', '101-0'), ('room', '102-0'),
                          ('except', '104-0'), ('alone', '105-0')]
    assert got(client) == []
    assert got(other) == [('all', '101-0'), ('room', '102-0')]


def test_it_was_meant_at_the_emit(process: Process) -> None:
    """And is no longer in the room; once is enough."""
    client = process.connect('x', 'y')
    pending = process.emit('hello', to=['x', 'y'])
    again = returns(process, client)
    process.back(pending, Position(101))
    assert got(again) == [('hello', '101-0')]
    assert got(client) == []


def test_nobody_was_meant_when_it_was_emitted(process: Process) -> None:
    client, data = process.connect(), [1]
    sid = client.sid
    client.leave()
    assert sid not in process.server.manager.rooms.get('/', {})
    pending = process.emit('hello', data, to=['x'])
    data.append(2)
    connection = FakeClient(process.server, '/chat')
    process.timeline.admit((sid, connection.eio_sid), '/', Replay(
        Session(sid, 'p', ('x',), {}, upto=Position(100)), Position(100), 100))
    process.delivery.sent[sid] = None
    process.back(pending, Position(101))
    assert got(connection) == [('hello', [1], '101-0')]
    assert process.delivery.sent[sid] == Position(101)
    assert process.timeline.history.has('/', Position(101))


def test_what_is_not_sent_again(process: Process) -> None:
    client = process.connect()
    own = [process.emit('volatile', flags={'volatile': True}),
           process.ask('question')]
    again = returns(process, client, 'x')
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    assert got(again) == []


def test_an_answer_is_not_asked_of_another_connection(
        process: Process) -> None:
    """Who asked waits no longer, and the number of the question may be
    given to another one."""
    client = process.connect()
    sid = client.sid
    own = [process.emit('first'), process.ask('question'),
           process.emit('volatile', flags={'volatile': True})]
    again = returns(process, client)
    process.delivery.hold(sid)
    for number, pending in enumerate(own, 101):
        process.back(pending, Position(number))
    process.delivery.release((sid, again.eio_sid))
    assert got(again) == [('first', '101-0')]


def test_what_is_of_another_namespace(process: Process) -> None:
    client = process.connect()
    pending = process.emit('hello')
    process.command(DisconnectSockets(EVERYONE))
    again = returns(process, client, namespace='/chat')
    process.back(pending, Position(101))
    assert got(again) == []


def test_commands_that_wait(process: Process) -> None:
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


def test_commands_that_wait_and_were_carried_out(process: Process) -> None:
    """While it was there: what the application did after them holds."""
    client = process.connect('x')
    assert process.timeline.commanded is None
    process.command(SocketsLeave(EVERYONE, ('x',)))
    process.command(DisconnectSockets(Target(('y',))))
    own = process.timeline.commanded
    assert own == Origin(b'w', 2)
    process.emit('event')
    assert process.timeline.commanded == own
    process.command(SocketsJoin(EVERYONE, ('z',)))
    client.leave()
    replay = Replay(session_of('s', 'x', 'y')._replace(own=own), Position(100),
                    100)
    process.timeline.admit(('s', 'e'), '/', replay)
    assert replay.rooms == {'s', 'x', 'y', 'z'}


def test_whose_commands_they_are(process: Process) -> None:
    """That can be told of those that were read, too."""
    pending = process.command(SocketsLeave(EVERYONE, ('x',)))
    process.timeline.came_back(
        Entry(Position(101), (*pending.fields, b'wid', b'w', b'seq', b'1')), 1,
        True)
    other = process.put(SocketsLeave(EVERYONE, ('x',)))
    process.timeline.received(
        Entry(Position(102), (*other.fields, b'wid', b'v', b'seq', b'9')), '/',
        SocketsLeave(EVERYONE, ('x',)), lambda: None)
    records = process.timeline.history.after('/', Position(100))
    assert [record.origin for record in records or ()] == [
        Origin(b'w', 1), Origin(b'v', 9)]


def test_it_is_disconnected_by_what_waits(process: Process) -> None:
    client = process.connect('x')
    pending = process.emit('hello')
    sid = client.sid
    process.command(DisconnectSockets(Target(('x',))))
    with pytest.raises(Refusal) as caught:
        returns(process, client, 'x')
    assert caught.value.reason == UNKNOWN_SESSION
    # It has not been added to what waits.
    again = FakeClient(process.server, '/chat')
    process.delivery.hold(sid)
    process.back(pending, Position(101))
    process.delivery.release((sid, again.eio_sid))
    assert again.eio_sid not in [
        eio_sid for waiting in process.timeline._waiting
        for load in waiting.loads for _, eio_sid in load.clients]


@pytest.mark.parametrize('count', [10, 3 * MANY])
def test_much_waits(process: Process, count: int) -> None:
    """As in an outage, in which clients leave, and return."""
    stays, leaves, client = (process.connect('x') for _ in range(3))
    targets: List[Any] = [(), ('x',), (stays.sid,), ('nobody',)]
    own = []
    for number in range(2 * count):
        if number == count:
            process.timeline.flush(leaves.sid)
            leaves.leave()
        own.append(process.emit('event', number, to=targets[number % 4]))
    again = returns(process, client, 'x')
    own.append(process.emit('event', 2 * count))
    for number, pending in enumerate(own):
        process.back(pending, Position(101, number))

    def numbers(client: FakeClient) -> List[int]:
        return [args[0] for args in client.received('event')]

    everything = range(2 * count)
    assert numbers(stays) == [
        number for number in everything if number % 4 < 3] + [2 * count]
    assert numbers(leaves) == [
        number for number in range(count) if number % 4 < 2]
    assert numbers(again) == [
        number for number in everything if number % 4 < 2]
    assert numbers(client) == []


def test_commands_are_no_events(process: Process) -> None:
    client = process.connect()
    process.back(process.command(SocketsJoin(EVERYONE, ('x',))), Position(101))
    assert got(client) == []
    assert process.timeline.history.has('/', Position(101))


# -- the end -----------------------------------------------------------------

def test_drain(process: Process) -> None:
    timeline = process.timeline
    timeline.drain(AMPLE)
    first, last = process.emit('first'), process.emit('last')
    assert timeline.is_waiting
    timeline.drain(0.01)
    call = Call(timeline.drain, DEADLINE)
    wait_until(lambda: len(timeline._waiting) == 4)
    process.emit('later')
    process.back(first, Position(101))
    assert call.waits
    process.back(last, Position(102))
    call.result()
    assert timeline.is_waiting


def test_leave(process: Process) -> None:
    """Other nodes' messages are taken in no more, so an offset of an own one
    would lead past them: who can be recovered gets both where it returns."""
    client, guest = process.connect(), process.connect(takes_part=False)
    process.receive(Position(101), 'before')
    own = process.emit('own', 1)
    process.locally('local', 2)
    process.locally('local', 'text')
    process.timeline.leave()
    process.back(own, Position(103))
    assert got(client) == [('before', '101-0'), ('local', 2),
                           ('local', 'text', '101-0')]
    assert got(guest) == [('before',), ('own', 1), ('local', 2),
                          ('local', 'text')]
    assert process.delivery.sent == {client.sid: Position(101)}


def test_drain_of_what_never_comes_back(process: Process) -> None:
    gone = process.emit('gone')
    call = Call(process.timeline.drain, DEADLINE)
    wait_until(lambda: len(process.timeline._waiting) == 2)
    process.heartbeat(gone, Position(101))
    call.result()
    assert not process.timeline.is_waiting


# -- what never comes back ---------------------------------------------------

def test_it_was_overtaken(process: Process) -> None:
    """Redis has lost it. Here, at least, it can be delivered; it is no
    offset, for nobody could go on behind it."""
    client = process.connect()
    process.emit('lost', 1)
    process.locally('local', 2)
    process.emit('lost', 3)
    pending = process.emit('last', 4)
    process.back(pending, Position(105))
    assert got(client) == [('lost', 1), ('local', 2), ('lost', 3),
                           ('last', 4, '105-0')]
    assert process.delivery.sent[client.sid] == Position(105)
    assert [record.id for record in process.timeline.history.after(
        '/', Position(100)) or ()] == [Position(105)]


def test_redis_has_refused_it(process: Process) -> None:
    """Its emitter was told, or the log: nobody gets it, anywhere."""
    client = process.connect()
    refused = process.emit('refused')
    refused.refused = EntryRefused('too large', 0)
    process.locally('local', 1)
    pending = process.emit('last')
    process.back(pending, Position(101))
    assert got(client) == [('local', 1), ('last', '101-0')]


def test_a_sign_of_life_tells_that_it_is_gone(process: Process) -> None:
    client = process.connect()
    first, second = process.emit('first', 1), process.emit('second', 2)
    process.heartbeat(first, Position(101))
    assert got(client) == [('first', 1)]
    assert process.timeline.position == Position(101)
    process.back(second, Position(102))
    assert got(client) == [('first', 1), ('second', 2, '102-0')]
    process.heartbeat(second, Position(103))
    assert len(got(client)) == 2


def test_what_is_local_does_not_wait_for_what_is_gone(
        process: Process) -> None:
    client = process.connect()
    last = process.emit('gone', 1)
    process.locally('local', 2)
    process.heartbeat(last, Position(101))
    assert got(client) == [('gone', 1), ('local', 2)]
    process.locally('local', 3)
    assert got(client)[2:] == [('local', 3)]


# -- the stream is another one -----------------------------------------------

@pytest.mark.parametrize('how', ['own', 'other', 'nothing', 'heartbeat'])
def test_it_begins_anew(process: Process, how: str) -> None:
    """What was read before has no place in it."""
    client = process.connect()
    process.receive(Position(200), 'hello')
    history = process.timeline.history
    assert history.has('/', Position(200))
    process.timeline.broken()
    # Until something is read.
    assert history.has('/', Position(200))
    if how == 'own':
        process.back(process.emit('again'), Position(150, 3))
    elif how == 'other':
        process.receive(Position(150, 3), 'again')
    elif how == 'heartbeat':
        process.heartbeat(process.emit('again'), Position(150, 3))
    else:
        process.timeline.moved(Position(150, 3))
    assert not history.has('/', Position(200))
    assert history.floor('/') == history.floor('/chat') == Position(150, 2)
    assert process.timeline.position == Position(150, 3)
    assert history.has('/', Position(150, 3)) is (how in ('own', 'other'))
    process.receive(Position(151), 'last')
    assert history.floor('/') == Position(150, 2)
    assert got(client)[-1] == ('last', '151-0')


def test_namespaces_come_and_go(process: Process) -> None:
    timeline = process.timeline
    process.receive(Position(101), 'hello')
    # While an entry is taken in: what comes behind it is recorded.
    timeline.arrived = Position(102)
    timeline.serve(['/', '/new'])
    assert timeline.history.floor('/new') == Position(102)
    assert timeline.history.floor('/') == Position(100)
    assert timeline.history.floor('/chat') is None
    process.receive(Position(103), 'hello', namespace='/new')
    assert [record.id for record in timeline.history.after(
        '/new', Position(102)) or ()] == [Position(103)]


# -- those who wait for a position -------------------------------------------

def test_reached_already(process: Process) -> None:
    assert process.timeline.reach(Position(100), AMPLE)
    assert process.timeline.reach(Position(99, 5), AMPLE)
    assert process.timeline.reach(START, AMPLE)


def test_time_runs_out(process: Process) -> None:
    assert not process.timeline.reach(Position(100, 1), 0.01)
    assert process.timeline._awaited == []


def test_reach(process: Process) -> None:
    timeline = process.timeline
    calls = [Call(timeline.reach, position, DEADLINE)
             for position in (Position(101), Position(101, 5), Position(103))]
    wait_until(lambda: len(timeline._awaited) == 3)
    timeline.moved(Position(100, 7))
    assert all(call.waits for call in calls)
    process.receive(Position(102), 'hello')
    assert calls[0].result() and calls[1].result()
    assert calls[2].waits
    process.back(process.emit('hello'), Position(110))
    assert calls[2].result()
    assert timeline._awaited == []


def test_the_reader_comes_there_in_between(process: Process) -> None:
    """Between the first look at the position and the wait."""
    timeline = process.timeline

    def make_event() -> threading.Event:
        timeline.moved(Position(101))
        return threading.Event()

    timeline._make_event = make_event
    assert timeline.reach(Position(101), AMPLE)


# -- what was missed ---------------------------------------------------------

def test_deliver_again(process: Process) -> None:
    """It comes before what is held; and is what it was when it was
    emitted."""
    client, data = process.connect(), {'a': 1}
    with_offset, own = process.connect('x'), process.emit('own', data)
    data['a'] = 2
    process.back(own, Position(101))
    process.receive(Position(102), 'other', b'bytes')
    process.receive(Position(103), 'other', to=['nobody'])
    missed = process.timeline.history.after('/', Position(100))
    assert missed is not None and len(missed) == 3
    returned = (client.sid, FakeClient(process.server, '/chat'))
    sid, connection = returned
    process.delivery.hold(sid)
    process.receive(Position(104), 'held')
    process.timeline.deliver_again(
        (sid, connection.eio_sid), '/', missed)
    assert process.delivery.sent[sid] == Position(103)
    process.delivery.release((sid, connection.eio_sid))
    assert got(connection) == [
        ('own', {'a': 1}, '101-0'), ('other', b'bytes', '102-0'),
        ('other', '103-0'), ('held', '104-0')]
    assert got(with_offset)[:2] == got(connection)[:2]
    assert process.delivery.sent[sid] == Position(104)


def test_own_messages_that_nobody_here_got(process: Process) -> None:
    """Their arguments are made of what stands in the stream."""
    data = [1, b'x']
    pending = process.emit('own', data, to=['x'])
    data.append(2)
    process.back(pending, Position(101))
    connection = FakeClient(process.server, '/chat')
    missed = process.timeline.history.after('/', Position(100))
    assert missed is not None
    process.timeline.deliver_again(
        ('s', connection.eio_sid), '/', missed)
    assert got(connection) == [('own', [1, b'x'], '101-0')]
