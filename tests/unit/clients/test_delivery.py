"""Packets are delivered to the local clients."""
import math
from typing import Any, List

import pytest
import socketio
from engineio.packet import MESSAGE
from socketio.packet import BINARY_EVENT, EVENT, Packet

from redis_streams_adapter.clients.delivery import Delivery
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, Target
from redis_streams_adapter.protocol.position import Position

from ..conftest import Log
from .conftest import Connect

NEEDS_BYTEARRAY = pytest.mark.skipif(
    Packet(data=[bytearray()]).packet_type != BINARY_EVENT,
    reason='this python-socketio does not know bytearray')


def sids(clients: Any) -> List[str]:
    return [sid for sid, _ in clients]


# -- recipients --------------------------------------------------------------

def test_recipients_are_chosen_by_room(delivery: Delivery,
                                       server: socketio.Server,
                                       connect: Connect) -> None:
    a, b, c = connect().sid, connect().sid, connect().sid
    other = connect('/chat').sid
    for sid, room in ((a, 'x'), (b, 'x'), (b, 'y'), (c, 7)):
        server.enter_room(sid, room)

    def found(*rooms: Any, skip: Any = (), namespace: str = '/') -> Any:
        return set(sids(delivery.recipients(
            namespace, Target(rooms, tuple(skip)))))

    assert found() == {a, b, c}
    assert found('x') == {a, b}
    assert found('x', 'y') == {a, b}
    assert found('x', 7) == {a, b, c}
    assert found(a) == {a}
    assert found(a, 'y') == {a, b}
    assert found('nobody') == found('') == found('7') == set()
    assert found(skip=[a]) == {b, c}
    assert found(skip=['x']) == {c}
    assert found('x', skip=['y']) == {a}
    assert found('x', skip=['x']) == set()
    assert found('x', skip=[7, 'nobody']) == {a, b}
    assert found(other) == set()
    assert found(namespace='/chat') == {other}
    assert found(namespace='/nobody') == set()
    assert found('x', namespace='/chat') == set()


@pytest.mark.parametrize('rooms', [('x',), ()])
def test_recipients_are_copied_in_one_step(
        delivery: Delivery, server: socketio.Server, connect: Connect,
        monkeypatch: pytest.MonkeyPatch, rooms: Any) -> None:
    """A name of python-socketio's dictionaries is needed for that. It is
    there; in a version without it, the public way leads to the same."""
    expected = {connect().sid, connect().sid}
    for sid in expected:
        server.enter_room(sid, 'x')
    public = server.manager.get_participants
    calls: List[Any] = []
    monkeypatch.setattr(
        server.manager, 'get_participants',
        lambda *args: calls.append(args) or public(*args))

    def found() -> Any:
        return set(sids(delivery.recipients('/', Target(rooms))))

    assert found() == expected
    assert not calls
    members = server.manager.rooms['/']
    room = rooms[0] if rooms else None
    clients = dict(members[room])
    monkeypatch.setitem(members, room, object())
    monkeypatch.setattr(server.manager, 'get_participants',
                        lambda *args: calls.append(args) or clients.items())
    assert found() == expected
    assert calls == [('/', room)]


def test_every_client_is_found_once(delivery: Delivery,
                                    server: socketio.Server,
                                    connect: Connect) -> None:
    client = connect()
    for room in 'xyz':
        server.enter_room(client.sid, room)
    target = Target(('x', 'y', 'z', client.sid))
    assert delivery.recipients('/', target) == [(client.sid, client.eio_sid)]


# -- packets -----------------------------------------------------------------

@pytest.mark.parametrize('args', [
    (), ('text',), (1, 'two', [3], {'four': None}), (b'bytes',),
    ({'a': [b'1', b'2']}, b'', 'x'),
    pytest.param((bytearray(b'abc'),), marks=NEEDS_BYTEARRAY)])
@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_packet_is_sent_to_recipients(delivery: Delivery, connect: Connect,
                                      args: Any, namespace: str) -> None:
    clients = [connect(namespace) for _ in range(3)]
    delivery.hand_over(delivery.pack(namespace, Broadcast(('hello', *args))))
    for client in clients:
        assert client.received('hello', namespace) == [args]
        assert client.events(namespace)[0].ack_id is None
        # This is the form for a WebSocket.
        assert all(type(part.data) in (str, bytes)
                   for part in client.socket.packets)
    assert delivery.delivered == 3


@pytest.mark.parametrize('args', [
    (), ('text', '"\\\n\u2603\U0001f600\ud800'), (1, -2, 1.5, 1e300, 2**70),
    (None, True, False), ([], {}, [[{}]], {'a': {'b': [None]}}),
    ({1: 'one', None: 'none', 1.5: 'x'}, {True: 'y'}), (('a', ('b',)),),
    (math.nan, math.inf), (b'x',), ('text', {'a': [b'x', 'y', b'z']})],
    ids=repr)
@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_packet_equals_that_of_python_socketio(
        delivery: Delivery, connect: Connect, args: Any,
        namespace: str) -> None:
    client = connect(namespace)
    expected = Packet(EVENT, namespace=namespace,
                      data=['hello', *args]).encode()
    if not isinstance(expected, list):
        expected = [expected]
    delivery.hand_over(delivery.pack(namespace, Broadcast(('hello', *args))))
    sent = client.socket.packets[-len(expected):]
    assert [part.data for part in sent] == expected
    assert all(part.packet_type == MESSAGE for part in sent)


def test_packet_is_encoded_once(delivery: Delivery, connect: Connect,
                                server: socketio.Server) -> None:
    class Counting(server.packet_class):  # type: ignore[name-defined]
        encoded = 0

        def encode(self) -> Any:
            Counting.encoded += 1
            return super().encode()

    for _ in range(5):
        connect()
    server.packet_class = Counting
    load, = delivery.pack('/', Broadcast(('hello', 'x')))
    assert len(load.clients) == 5
    assert Counting.encoded == 1


def test_an_event_for_no_client_is_not_encoded(delivery: Delivery,
                                               connect: Connect) -> None:
    client = connect()
    for target in (Target(('nobody',)), Target((), (client.sid,))):
        assert delivery.pack('/', Broadcast(('hello', object()), target)) == []
    delivery.hand_over([])
    assert delivery.delivered == 0


def test_unencodable_packet_raises(delivery: Delivery,
                                   connect: Connect) -> None:
    connect()
    with pytest.raises(TypeError):
        delivery.pack('/', Broadcast(('hello', object())))


def test_binary_packets_are_bytes_for_websockets(
        delivery: Delivery, connect: Connect) -> None:
    """Engine.IO may encode a packet for a polling client first."""
    polling, client = connect(), connect()
    delivery.hand_over(delivery.pack('/', Broadcast(('hello', b'x'))))
    assert polling.socket.packets[-1].encode(b64=True) == 'beA=='
    assert client.socket.packets[-1].encode() == b'x'


@NEEDS_BYTEARRAY
def test_bytearray_may_change_after_emit(delivery: Delivery,
                                         connect: Connect) -> None:
    client, data = connect(), bytearray(b'abc')
    delivery.hand_over(delivery.pack('/', Broadcast(('hello', data))))
    data[:] = b'xyz'
    assert client.received('hello') == [(b'abc',)]


# -- offsets -----------------------------------------------------------------

OFFSET = Position(1700000000000, 12)
LATER = Position(1700000000000, 13)


def hand(delivery: Delivery, *args: Any, recoverable: bool = True,
         position: bytes = OFFSET) -> None:
    delivery.hand_over(delivery.pack(
        '/', Broadcast(('hello', *args)), recoverable), position)


def test_clients_that_can_recover_get_offsets(delivery: Delivery,
                                              connect: Connect) -> None:
    client, guest = connect(), connect()
    delivery.has_recovery = True
    delivery.sent[client.sid] = None
    delivery.exempt.add(guest.sid)
    for args in ((), (1,), ('text',), (b'x',)):
        hand(delivery, *args)
        assert client.received('hello')[-1] == (*args, str(OFFSET))
        assert guest.received('hello')[-1] == args
    assert delivery.sent == {client.sid: OFFSET}
    # An event that is not replayed has none, unless its last text looks like
    # an offset.
    hand(delivery, 1, recoverable=False, position=LATER)
    hand(delivery, 'text', recoverable=False, position=LATER)
    assert client.received('hello')[4:] == [
        (1,), ('text', str(LATER))]
    assert delivery.delivered == 12


def test_binary_packets_with_offsets_are_bytes_for_websockets(
        delivery: Delivery, connect: Connect) -> None:
    polling, client = connect(), connect()
    delivery.has_recovery = True
    for each in polling, client:
        delivery.sent[each.sid] = None
    hand(delivery, b'x')
    assert polling.socket.packets[-1].encode(b64=True) == 'beA=='
    assert client.socket.packets[-1].encode() == b'x'


def test_held_packets_follow_missed_ones(delivery: Delivery,
                                         connect: Connect) -> None:
    """Held packets have their own offsets."""
    client, other = connect(), connect()
    sid = client.sid
    delivery.has_recovery = True
    delivery.sent[sid] = Position(1)
    delivery.exempt.add(other.sid)
    delivery.hold(sid)
    hand(delivery, 1)
    hand(delivery, 2, recoverable=False)
    hand(delivery, 'text', recoverable=False, position=LATER)
    assert client.events() == []
    assert len(other.events()) == 3
    assert delivery.sent[sid] == Position(1)
    for number in range(2):
        delivery.send_again(
            (sid, client.eio_sid),
            delivery.encode('/', Broadcast(('missed', number))),
            Position(2, number))
    assert delivery.sent[sid] == Position(2, 1)
    delivery.release((sid, client.eio_sid))
    assert [event.args for event in client.events()] == [
        (0, '2-0'), (1, '2-1'), (1, str(OFFSET)), (2,),
        ('text', str(LATER))]
    assert delivery.sent[sid] == LATER
    hand(delivery, 3, position=Position(1700000000001))
    assert client.received('hello')[-1] == (3, '1700000000001-0')
    # No packets are held any more.
    delivery.release((sid, client.eio_sid))
    assert len(client.events()) == 6


def test_client_lost_while_held_gets_nothing(
        delivery: Delivery, connect: Connect) -> None:
    client = connect()
    delivery.has_recovery = True
    delivery.sent[client.sid] = None
    delivery.hold(client.sid)
    hand(delivery, 1)
    delivery.forget(client.sid)
    delivery.release((client.sid, client.eio_sid))
    assert client.events() == []
    assert not (delivery.sent or delivery.gaps or delivery._held)


def test_gap_is_noted_for_idle_client(delivery: Delivery,
                                      connect: Connect) -> None:
    client = connect()
    sid = client.sid
    delivery.has_recovery = True
    delivery.long_time = 1000
    delivery.sent[sid] = None
    hand(delivery, position=Position(1700000000500, 1))
    # The gap precedes the client's first event.
    assert delivery.gaps[sid] == (None, Position(1700000000500))
    hand(delivery, position=Position(1700000001500))
    assert delivery.gaps[sid] == (None, Position(1700000000500))
    hand(delivery, position=Position(1700000002600, 5))
    assert delivery.gaps[sid] == (Position(1700000001500),
                                  Position(1700000002600, 4))
    # A position that is not an offset is ignored.
    hand(delivery, 5, recoverable=False, position=Position(1700000009000))
    assert delivery.gaps[sid] == (Position(1700000001500),
                                  Position(1700000002600, 4))
    delivery.hold(sid)
    delivery.send_again((sid, client.eio_sid), delivery.encode(
        '/', Broadcast(('missed',))), Position(1700000005000))
    assert delivery.gaps[sid] == (
        Position(1700000002600, 5), Position(1700000004999, 2**64 - 1))
    delivery.forget(sid)
    assert delivery.gaps == {}


# -- acknowledgements --------------------------------------------------------

@pytest.mark.parametrize('args', [(), (1,), (b'x', {'a': b'y'})])
def test_acknowledgements_are_counted(delivery: Delivery,
                                      server: socketio.Server,
                                      connect: Connect, log: Log,
                                      args: Any) -> None:
    clients = [connect(), connect()]
    delivery.hand_over(delivery.pack_with_acks(
        '/', ('question', *args), delivery.recipients('/', EVERYONE),
        lambda sid: server.manager._generate_ack_id(sid, log)))
    for number, client in enumerate(clients):
        event, = client.events()
        assert event[:2] == ('question', args)
        client.acknowledge(event, 'answer', number)
    assert log.calls == [('answer', 0), ('answer', 1)]
    # The second time no task waits.
    clients[0].acknowledge(clients[0].events()[0], 'again')
    assert len(log.calls) == 2


# -- rooms -------------------------------------------------------------------

def test_rooms_are_entered_and_left(delivery: Delivery,
                                    server: socketio.Server,
                                    connect: Connect) -> None:
    a, b, c = connect().sid, connect().sid, connect().sid
    delivery.join('/', Target((a, b)), ('x', 7))
    assert set(server.rooms(a)) == {a, 'x', 7}
    assert set(server.rooms(b)) == {b, 'x', 7}
    assert set(server.rooms(c)) == {c}
    delivery.leave('/', Target(('x',), (b,)), (7, 'nobody'))
    assert set(server.rooms(a)) == {a, 'x'}
    assert set(server.rooms(b)) == {b, 'x', 7}
    # All clients in a room can leave it.
    delivery.leave('/', Target(('x',)), ('x',))
    assert 'x' not in server.manager.rooms['/']


def test_client_that_just_left_enters_no_room(
        delivery: Delivery, server: socketio.Server, connect: Connect,
        monkeypatch: pytest.MonkeyPatch) -> None:
    gone, here = connect(), connect()
    clients = delivery.recipients('/', EVERYONE)
    monkeypatch.setattr(delivery, 'recipients', lambda *_: clients)
    gone.leave()
    delivery.join('/', EVERYONE, ('x', 'y'))
    assert set(server.rooms(here.sid)) == {here.sid, 'x', 'y'}


def test_clients_that_may_enter_room_do(delivery: Delivery,
                                        server: socketio.Server,
                                        connect: Connect) -> None:
    """Since python-socketio 5.17 a client may not enter another client's own
    room."""
    a, b = connect().sid, connect().sid
    delivery.join('/', EVERYONE, (a, 'x'))
    for sid in (a, b):
        assert 'x' in server.rooms(sid)
