"""Sending events and commands: the entry in the outbox, the delivery to
local clients, and the wait of the call."""
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from redis_streams_adapter import OutboxFullError
from redis_streams_adapter.cluster.outgoing import Outgoing
from redis_streams_adapter.protocol.messages import Broadcast, \
    DisconnectSockets, EVERYONE, FetchSockets, Message, ServerSideEmit, \
    SocketsJoin, SocketsLeave, Target

ONE, TWO = ('one', 'eio-one'), ('two', 'eio-two')

ROOM = Target(('room',))


class World:
    """The parts of a process, which record their calls."""

    def __init__(self, sync: bool = False) -> None:
        self.calls: List[Any] = []
        #: The exceptions to raise, by the name of the call.
        self.errors: Dict[str, Exception] = {}
        self.asks_in_stream = True
        #: The connections of local clients, by sid and namespace.
        self.connections = {('one', '/chat'): 'eio-one'}
        delivery = self.noting('emit', 'locally', 'command')
        delivery.ask = self.ask
        self.runtime: Any = SimpleNamespace(
            encoder=SimpleNamespace(encode=self.note('encode', 'fields'),
                                    event=self.encode_event),
            capacity=SimpleNamespace(presses=True), sync=sync,
            append=self.note('append', 'appended'),
            wait=self.note('wait'), make_room=self.note('make_room'),
            delivery=lambda namespace: {'/chat': delivery}[namespace],
            requester=self)
        self.registry: Any = SimpleNamespace(
            eio_sid_from_sid=lambda sid, namespace:
                self.connections.get((sid, namespace)),
            expect_ack=self.note('expect_ack', 5),
            forget_acks=self.note('forget_acks'))
        lifecycle: Any = SimpleNamespace(runtime=lambda: self.runtime)
        self.outgoing = Outgoing(lifecycle, self.registry)

    def encode_event(self, namespace: str, args: Any, target: Target) -> Any:
        self.note('event')(namespace, args, target)
        return Broadcast(args, target), 'fields'

    def note(self, name: str, result: Any = None) -> Any:
        def called(*args: Any) -> Any:
            self.calls.append((name, *args))
            if name in self.errors:
                raise self.errors[name]
            return result

        return called

    def noting(self, *names: str) -> Any:
        """A part whose methods return their entry in the outbox."""
        return SimpleNamespace(**{
            name: self.note(name, f'pending {name}') for name in names})

    def ask(self, namespace: str, args: Any, clients: Any, ack_id: Any,
            append: Any, received: bool, in_stream: bool) -> Any:
        """Like a delivery: each client is expected to acknowledge, then the
        event is put into the outbox."""
        self.calls.append((
            'ask', namespace, args, [ack_id(sid) for sid, _ in clients],
            received, in_stream))
        if 'ask' in self.errors:
            raise self.errors['ask']
        return None if append is None else append()

    @property
    def names(self) -> List[str]:
        return [name for name, *_ in self.calls]


@pytest.fixture
def world() -> World:
    return World()


# -- targets -----------------------------------------------------------------

def test_no_local_clients_before_there_is_a_server(world: World) -> None:
    assert world.outgoing.recipients('/chat', ROOM) == []


def test_local_clients_of_a_target(world: World) -> None:
    world.outgoing.local = SimpleNamespace(  # type: ignore[assignment]
        recipients=world.note('recipients', [ONE, TWO]))
    assert world.outgoing.recipients('/chat', ROOM) == [ONE, TWO]
    assert world.calls == [('recipients', '/chat', ROOM)]


@pytest.mark.parametrize('namespace, target, is_one', [
    ('/chat', Target(('one',)), True),
    ('/', Target(('one',)), False),
    ('/chat', Target(('elsewhere',)), False),
    ('/chat', Target(('one', 'room')), False),
    ('/chat', EVERYONE, False)])
def test_one_local_client(world: World, namespace: str, target: Target,
                          is_one: bool) -> None:
    assert world.outgoing.is_one_local_client(namespace, target) is is_one


# -- events ------------------------------------------------------------------

def test_event_is_encoded_and_passed_to_its_delivery(world: World) -> None:
    message = Broadcast(('hi', 1), ROOM)
    world.outgoing.emit('/chat', ('hi', 1), ROOM)
    assert world.calls == [('event', '/chat', ('hi', 1), ROOM),
                           ('emit', '/chat', message, 'fields'),
                           ('make_room', '/chat', 'pending emit')]


def test_event_waits_only_while_the_outbox_presses(world: World) -> None:
    world.runtime.capacity.presses = False
    world.outgoing.emit('/chat', ('hi', 1), ROOM)
    world.outgoing.command('/chat', SocketsJoin(ROOM, ('a',)))
    assert 'make_room' not in world.names


def test_event_that_cannot_be_encoded_is_not_delivered(world: World) -> None:
    world.errors['event'] = TypeError('cannot be serialised')
    with pytest.raises(TypeError):
        world.outgoing.emit('/chat', (object(),), ROOM)
    assert world.names == ['event']


def test_refused_event_is_not_waited_for() -> None:
    world = World(sync=True)
    world.errors['emit'] = OutboxFullError()
    with pytest.raises(OutboxFullError):
        world.outgoing.emit('/chat', ('hi',), ROOM)
    assert world.names == ['event', 'emit']


def test_event_for_local_clients_is_not_sent(world: World) -> None:
    world.outgoing.emit_locally('/chat', Broadcast(('hi',), ROOM))
    assert world.calls == [('locally', '/chat', Broadcast(('hi',), ROOM))]


# -- acknowledgements --------------------------------------------------------

@pytest.mark.parametrize('received', [True, False])
@pytest.mark.parametrize('in_stream', [True, False])
def test_each_client_is_asked(world: World, received: bool,
                              in_stream: bool) -> None:
    world.asks_in_stream = in_stream
    callback, append = world.note('callback'), world.note('append', 'pending')
    pending: Any = world.outgoing.ask(
        '/chat', ('hi',), [ONE, TWO], callback, append, received)
    assert pending == 'pending'
    assert world.calls == [
        ('expect_ack', 'one', callback), ('expect_ack', 'two', callback),
        ('ask', '/chat', ('hi',), [5, 5], received, in_stream), ('append',)]


def test_only_local_clients_are_asked(world: World) -> None:
    assert world.outgoing.ask(
        '/chat', ('hi',), [ONE], world.note('callback')) is None
    assert world.calls[-1] == ('ask', '/chat', ('hi',), [5], False, True)


@pytest.mark.parametrize('struck', [OutboxFullError(), KeyboardInterrupt()])
def test_no_acknowledgement_is_waited_for_after_a_failure(
        world: World, struck: Any) -> None:
    """Including clients that were registered before it."""
    callback = world.note('callback')
    world.errors['ask'] = struck
    with pytest.raises(type(struck)):
        world.outgoing.ask('/chat', ('hi',), [ONE, TWO], callback)
    assert world.calls[-1] == ('forget_acks', [ONE, TWO], callback)


def test_closed_process_sends_no_requests(world: World) -> None:
    def closed() -> None:
        raise ZeroDivisionError

    lifecycle: Any = SimpleNamespace(runtime=closed)
    outgoing = Outgoing(lifecycle, world.registry)
    with pytest.raises(ZeroDivisionError):
        outgoing.ask('/chat', ('hi',), [ONE], world.note('callback'))
    assert world.calls == []


def test_acknowledgements_can_be_forgotten(world: World) -> None:
    world.outgoing.forget_acks([ONE], print)
    assert world.calls == [('forget_acks', [ONE], print)]


# -- commands ----------------------------------------------------------------

@pytest.mark.parametrize('message', [
    SocketsJoin(ROOM, ('a',)), SocketsLeave(ROOM, ('a',)),
    DisconnectSockets(ROOM)])
def test_command_is_carried_out_in_the_order_of_events(
        world: World, message: Message) -> None:
    carry_out = world.note('carry_out')
    world.outgoing.command('/chat', message, carry_out)
    assert world.calls == [
        ('encode', '/chat', message),
        ('command', '/chat', message, 'fields', carry_out),
        ('make_room', '/chat', 'pending command')]


@pytest.mark.parametrize('message', [
    FetchSockets(ROOM, 'r'), ServerSideEmit(('hello',))])
def test_unordered_message_goes_directly_to_the_outbox(
        world: World, message: Message) -> None:
    """Also in a namespace whose events local clients do not receive."""
    world.outgoing.command('/other', message)
    assert world.calls == [('encode', '/other', message),
                           ('append', '/other', 'fields'),
                           ('make_room', '/other', 'appended')]


@pytest.mark.parametrize('message, pending', [
    (SocketsJoin(ROOM, ('a',)), 'pending command'),
    (ServerSideEmit(('hello',)), 'appended')])
def test_entry_is_returned_without_waiting(world: World, message: Message,
                                           pending: str) -> None:
    put: Any = world.outgoing.put(world.runtime, '/chat', message)
    assert put == pending
    assert not {'wait', 'make_room'} & set(world.names)


# -- the option ``publish`` --------------------------------------------------

def test_synchronous_calls_wait_until_redis_has_their_message() -> None:
    world = World(sync=True)
    world.outgoing.emit('/chat', ('hi',), ROOM)
    world.outgoing.command('/chat', SocketsJoin(ROOM, ('a',)))
    world.outgoing.command('/other', ServerSideEmit(('hello',)))
    assert [call for call in world.calls if call[0] in ('wait', 'make_room')
            ] == [('wait', '/chat', 'pending emit'),
                  ('wait', '/chat', 'pending command'),
                  ('wait', '/other', 'appended')]


def test_unconfirmed_message_fails_its_call() -> None:
    world = World(sync=True)
    world.errors['wait'] = OutboxFullError()
    with pytest.raises(OutboxFullError):
        world.outgoing.emit('/chat', ('hi',), ROOM)
