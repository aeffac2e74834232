"""A node's actions for each message of another process."""
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Tuple

import pytest

from redis_streams_adapter.cluster.incoming import Incoming
from redis_streams_adapter.cluster.local_stats import LocalStats
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import Broadcast, BroadcastAck, \
    BroadcastClientCount, DisconnectSockets, FetchSockets, \
    FetchSocketsResponse, Message, ServerSideEmit, ServerSideEmitResponse, \
    SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.protocol.transport import Way

#: Local clients: their sids, and the ids of their connections.
ONE, TWO = ('one', 'eio-one'), ('two', 'eio-two')

ROOM = Target(('room',))

#: A value that cannot be serialised.
UNSENDABLE = 'unsendable'


def can_be_sent(value: Any) -> bool:
    return UNSENDABLE not in repr(value)


class World:
    """The parts of a process, which record their calls."""

    def __init__(self) -> None:
        self.calls: List[Any] = []
        #: The answers to other nodes: the request and the answer.
        self.replies: List[Tuple[Act, Message]] = []
        #: The local clients that any target matches.
        self.clients = [ONE, TWO]
        #: The arguments of the handlers of a server-side event.
        self.handled: Any = None
        self.sessions: Dict[str, Any] = {}
        self.runtime = SimpleNamespace(
            engine='engine', can_carry=can_be_sent,
            requester=SimpleNamespace(
                reply=self.reply, prepare_reply=self.prepare_reply))
        rooms: Dict[Any, Any] = {
            None: {'one': '', 'two': ''}, 'one': {'one': ''},
            'two': {'two': ''}, 'room': {'one': '', 'two': ''}}
        self.server = SimpleNamespace(
            manager=SimpleNamespace(
                rooms={'/': rooms},
                get_participants=lambda namespace, room:
                    list(rooms[room].items())),
            environ={'eio-one': {'REMOTE_ADDR': '10.0.0.1'}, 'eio-two': {}},
            eio=SimpleNamespace(
                get_session=lambda eio_sid: {
                    '/': self.sessions.get(eio_sid)}))
        self.local: Any = SimpleNamespace(
            join=self.note('join'), leave=self.note('leave'))
        self.outgoing: Any = SimpleNamespace(
            emit_locally=self.note('emit_locally'), ask=self.ask,
            recipients=self.recipients, local=self.local)
        self.lifecycle: Any = SimpleNamespace(
            runtime=lambda: self.runtime, server=self.server)
        self.incoming = Incoming(
            self.lifecycle, self.outgoing,
            SimpleNamespace(handle=self.handle),  # type: ignore[arg-type]
            LocalStats(self.server.manager, {}, dict, dict, dict))
        self.incoming.tracking = SimpleNamespace(  # type: ignore[assignment]
            disconnect=self.note('disconnect'))

    def note(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))

    def recipients(self, namespace: str, target: Target) -> List[Any]:
        self.calls.append(('recipients', namespace, target))
        return self.clients

    def ask(self, namespace: str, args: Any, clients: Any,
            acknowledge: Callable[..., None], received: bool) -> None:
        self.acknowledge = acknowledge
        self.calls.append(('ask', namespace, args, clients, received))

    def handle(self, *args: Any) -> None:
        self.handled = args

    def reply(self, act: Act, message: Message) -> None:
        self.replies.append((act, message))

    def prepare_reply(self, act: Act, message: Message) -> Any:
        if not can_be_sent(message):
            raise TypeError('cannot be serialised')
        return lambda: self.replies.append((act, message))

    def act(self, message: Message, namespace: str = '/chat',
            way: Any = None) -> Act:
        """Process a message of another process."""
        act = Act(namespace, 'other', message, way)
        self.incoming.act(act)
        return act


@pytest.fixture
def world() -> World:
    return World()


# -- events ------------------------------------------------------------------

def test_event_is_delivered_to_local_clients_only(world: World) -> None:
    world.act(Broadcast(('hi', 1), ROOM))
    assert world.calls == [
        ('emit_locally', '/chat', Broadcast(('hi', 1), ROOM))]
    assert world.replies == []


@pytest.mark.parametrize('way, received', [
    (None, True), (Way.PLAIN, False)])
def test_event_with_acknowledgement_is_delivered_and_counted(
        world: World, way: Any, received: bool) -> None:
    """Only events from the stream have just been read by the reader."""
    act = world.act(Broadcast(('hi',), ROOM, 'r'), way=way)
    assert world.calls == [
        ('recipients', '/chat', ROOM),
        ('ask', '/chat', ('hi',), [ONE, TWO], received)]
    assert world.replies == [(act, BroadcastClientCount('r', 2))]


def test_each_acknowledgement_is_passed_on(world: World) -> None:
    act = world.act(Broadcast(('hi',), ROOM, 'r'))
    world.replies.clear()
    world.acknowledge('yes', 5)
    world.acknowledge()
    assert world.replies == [(act, BroadcastAck('r', ('yes', 5))),
                             (act, BroadcastAck('r', ()))]


def test_acknowledgement_goes_to_the_runtime_that_was_asked(
        world: World) -> None:
    """Even after the manager was closed and started again."""
    act = world.act(Broadcast(('hi',), ROOM, 'r'))
    world.replies.clear()
    world.runtime = None  # type: ignore[assignment]
    world.acknowledge('yes')
    assert world.replies == [(act, BroadcastAck('r', ('yes',)))]


def test_no_clients_are_counted_as_none(world: World) -> None:
    world.clients = []
    act = world.act(Broadcast(('hi',), ROOM, 'r'))
    assert world.replies == [(act, BroadcastClientCount('r', 0))]


def test_event_that_cannot_be_delivered_is_not_counted(world: World) -> None:
    """The asking node must not wait for clients that do not have it."""
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    world.outgoing.ask = fail
    with pytest.raises(ZeroDivisionError):
        world.act(Broadcast(('hi',), ROOM, 'r'))
    assert world.replies == []


# -- sockets -----------------------------------------------------------------

def answered_sockets(world: World) -> Any:
    """The sockets in the answer to FETCH_SOCKETS."""
    act = world.act(FetchSockets(ROOM, 'r'), '/')
    (replied, answer), = world.replies
    assert replied is act
    assert isinstance(answer, FetchSocketsResponse)
    # Messages are immutable.
    assert isinstance(answer.sockets, tuple)
    assert answer.request_id == 'r'
    return answer.sockets


def test_local_clients_are_described(world: World) -> None:
    sockets = answered_sockets(world)
    assert world.calls == [('recipients', '/', ROOM)]
    assert [(each['id'], each['rooms'], each['handshake']['address'])
            for each in sockets] == [('one', ['one', 'room'], '10.0.0.1'),
                                     ('two', ['two', 'room'], '')]


def test_node_without_such_clients_still_answers(world: World) -> None:
    """It needs no server for that."""
    world.clients = []
    world.lifecycle.server = None
    assert answered_sockets(world) == ()


def test_unserialisable_data_is_left_out(world: World) -> None:
    world.sessions['eio-one'] = {'name': 'One', 'socket': UNSENDABLE}
    world.sessions['eio-two'] = {'name': 'Two'}
    assert [each['data'] for each in answered_sockets(world)] == [
        {'name': 'One'}, {'name': 'Two'}]


# -- server-side events ------------------------------------------------------

@pytest.mark.parametrize('request_id', [None, 'r'])
def test_server_side_event_is_handled(world: World, request_id: Any) -> None:
    world.act(ServerSideEmit(('hello', 1), request_id))
    assert world.handled[:3] == ('engine', '/chat', ('hello', 1))
    assert world.replies == [] == world.calls


def test_response_is_encoded_before_it_is_sent(world: World) -> None:
    act = world.act(ServerSideEmit(('hello',), 'r'))
    *_, encode, answer = world.handled
    send = encode(['yes'])
    assert world.replies == []
    answer(send)
    assert world.replies == [(act, ServerSideEmitResponse('r', ['yes']))]


def test_unserialisable_response_fails_in_its_handler(world: World) -> None:
    world.act(ServerSideEmit(('hello',), 'r'))
    *_, encode, _ = world.handled
    with pytest.raises(TypeError):
        encode(UNSENDABLE)


def test_emit_is_not_answered(world: World) -> None:
    """A handler's result is not even serialised for it."""
    world.act(ServerSideEmit(('hello',)))
    *_, encode, answer = world.handled
    answer(encode(UNSENDABLE))
    assert world.replies == []


# -- commands ----------------------------------------------------------------

@pytest.mark.parametrize('message, call', [
    (SocketsJoin(ROOM, ('a', 'b')), ('join', '/chat', ROOM, ('a', 'b'))),
    (SocketsLeave(ROOM, ('a', 'b')), ('leave', '/chat', ROOM, ('a', 'b'))),
    (DisconnectSockets(ROOM, True),
     ('disconnect', '/chat', DisconnectSockets(ROOM, True)))])
def test_command_is_carried_out_and_not_answered(world: World,
                                                 message: Message,
                                                 call: Any) -> None:
    world.act(message)
    assert world.calls == [call]
    assert world.replies == []


@pytest.mark.parametrize('message', [
    SocketsJoin(ROOM, ('a',)), SocketsLeave(ROOM, ('a',)),
    DisconnectSockets(ROOM)])
def test_commands_before_there_is_a_server(world: World,
                                           message: Message) -> None:
    """There are no clients yet to which they could apply."""
    world.outgoing.local = None
    world.act(message)
    assert world.calls == []


def test_disconnect_before_clients_are_tracked(world: World) -> None:
    world.incoming.tracking = None
    world.act(DisconnectSockets(ROOM))
    assert world.calls == []
