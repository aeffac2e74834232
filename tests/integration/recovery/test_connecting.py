"""A new client connects, and its connect handler may refuse it."""
import logging
import threading
from typing import Any, Dict, List

import pytest
import socketio
from socketio.packet import ACK, BINARY_ACK, CONNECT, DISCONNECT, Packet

from redis_streams_adapter.clients.registry import HAS_PRE_CONNECT
from redis_streams_adapter.recovery.session import Outcome

from ...support.wait import DEADLINE, wait_for_value, wait_until
from ...unit.fake_server import FakeClient
from ...unit.nodes import Call
from .harness import ALWAYS, MakeNode, Node, pid_of, received, StoredSession


@ALWAYS
def test_new_client(make: MakeNode, stored_session: StoredSession,
                    always_connect: bool) -> None:
    node = make({'always_connect': always_connect})

    def enter(sid: str) -> None:
        node.server.enter_room(sid, 'x')
        node.server.save_session(sid, {'a': 1})

    node.on_connect = enter
    clients = [node.connect(auth={'token': 't'}) for _ in range(3)]
    assert node.connects == [
        (client.sid, Outcome(False), {'token': 't'}) for client in clients]
    # 128 random bits or more, six in each character.
    assert all(len(pid_of(client)) >= 22 for client in clients)
    assert len({pid_of(client) for client in clients}) == 3
    for client in clients:
        wait_until(
            lambda: set(stored_session(client).rooms)  # type: ignore
            == {client.sid, 'x'})
        session = stored_session(client)
        assert session is not None
        assert (session.sid, session.data) == (client.sid, {'a': 1})
        assert node.manager.recovery(client.sid) is None
    assert node.manager.stats()['recovered'] == 0


def test_event_has_its_offset(node: Node, redis: Any, stream: str) -> None:
    client = node.connect()
    node.server.emit('hello', 1)
    (_, offset), = client.wait_for('hello')
    assert redis.xrange(stream, offset, offset)


@pytest.mark.parametrize('answer', ['text', b'binary'])
def test_answer_arrives_after_earlier_events(node: Node, answer: Any) -> None:
    @node.server.on('ask')
    def ask(sid: str, number: int) -> Any:
        node.server.emit('event', number, to=sid)
        return answer

    client = node.connect()
    for number in range(1, 20):
        client.emit('ask', number, ack_id=number)
    wait_until(lambda: len(client.packets()) == 39)
    seen = set()
    for packet in client.packets()[1:]:
        if packet.packet_type in (ACK, BINARY_ACK):
            assert packet.data == [answer]
            assert packet.id in seen
        else:
            seen.add(packet.data[1])
    node.manager.flush()
    client.emit('ask', 20, ack_id=20)
    client.wait_for('event', 20)


@ALWAYS
def test_second_connect_to_a_namespace(make: MakeNode,
                                       always_connect: bool) -> None:
    """A second CONNECT ends the connection without notice: its client returns
    by itself, and is recovered."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    sid, before = client.sid, len(client.socket.packets)
    node.server._handle_connect(client.eio_sid, '/', None)
    assert client.socket.closed
    assert len(client.socket.packets) == before
    assert node.disconnects == [(sid, 'transport close')]
    node.server.emit('missed')
    again = node.reconnect(client)
    assert node.outcome(again) == Outcome(True)
    again.wait_for('missed')


@ALWAYS
@pytest.mark.parametrize('kind', [CONNECT, DISCONNECT])
@pytest.mark.parametrize('returns', [False, True])
def test_second_connect_during_the_handler(make: MakeNode,
                                           always_connect: bool, kind: int,
                                           returns: bool) -> None:
    """The same for the first of two attempts, and for one that is withdrawn:
    nothing is left of either."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    node.server.emit('event', 0)
    client.wait_for('event')
    client.lose()
    node.server.emit('event', 1)
    node.manager.flush()
    began, may_end = threading.Event(), threading.Event()

    def wait(sid: str) -> None:
        began.set()
        may_end.wait(DEADLINE)

    node.on_connect = wait
    before = set(node.server.environ)
    call = Call(node.reconnect, client) if returns else Call(node.connect)
    assert began.wait(DEADLINE)
    eio_sid, = set(node.server.environ) - before
    node.server._handle_eio_message(eio_sid, Packet(kind).encode())
    may_end.set()
    again = call.result()
    assert again.socket.closed
    assert again.refusal() is None and not again.was_disconnected()
    wait_until(lambda: node.server.manager.rooms == {})
    node.on_connect = lambda sid: None
    third = node.reconnect(client)
    third.wait_for('event')
    assert received(third) == [('event', 1)]


def test_accepts(make: MakeNode) -> None:
    asked: List[Any] = []

    def accepts(sid: str, environ: Dict[str, Any], auth: Any) -> bool:
        asked.append((sid, environ, auth))
        return bool(auth and auth.get('js'))

    node = make(recovery={'accepts': accepts})
    client = node.connect(auth={'js': True, 'pid': 'x'})
    guest = node.connect(auth={'python': True})
    assert [(sid, auth) for sid, _, auth in asked] == [
        (client.sid, {'js': True}), (guest.sid, {'python': True})]
    assert asked[0][1] is node.server.environ[client.eio_sid]
    assert guest.reply() == {'sid': guest.sid}
    node.server.emit('hello', ('a', 'b'))
    guest.wait_for('hello')
    client.wait_for('hello')
    assert guest.received('hello') == [('a', 'b')]
    assert len(client.received('hello')[0]) == 3
    assert node.outcome(guest) == Outcome(False)
    guest.lose()
    # A client that is not accepted any more.
    client.lose()
    again = node.connect(auth={'pid': pid_of(client)})
    assert node.outcome(again) == Outcome(False, 'rejected')
    assert again.reply() == {'sid': again.sid}


def test_accepts_that_raises(make: MakeNode,
                             caplog: pytest.LogCaptureFixture) -> None:
    def accepts(*_: Any) -> bool:
        raise KeyError('a defect of the application')

    logger = logging.getLogger('tests.unit')
    node = make(recovery={'accepts': accepts}, logger=logger)
    client = node.connect()
    assert client.reply() == {'sid': client.sid}
    assert 'a defect of the application' in caplog.text


def refuse(how: str) -> Any:
    if how == 'False':
        return False
    if how == 'socketio':
        raise socketio.exceptions.ConnectionRefusedError('no')
    raise ConnectionRefusedError('no')


@ALWAYS
@pytest.mark.parametrize('how', [
    'False', 'socketio', pytest.param('builtin', marks=pytest.mark.skipif(
        not HAS_PRE_CONNECT, reason='this python-socketio knows its own'))])
@pytest.mark.parametrize('returns', [False, True])
def test_handler_that_refuses(make: MakeNode, stored_session: StoredSession,
                              redis: Any, stream: str, always_connect: bool,
                              how: str, returns: bool) -> None:
    """Nothing that it missed is sent, and its session is deleted."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    node.on_connect = lambda sid: refuse(how)
    again = node.reconnect(client) if returns else node.connect()
    if always_connect:
        assert again.was_disconnected()
    else:
        assert again.refusal() is not None and again.reply() is None
    node.server.emit('live')
    node.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    assert again.events() == []
    if returns:
        wait_for_value(lambda: stored_session(client), None)
        node.on_connect = lambda sid: None
        third = node.reconnect(client)
        refused_now = node.outcome(third)
        assert refused_now == Outcome(False, 'unknown-session')
        assert node.manager.stats()['not_recovered_rejected'] == 1
    else:
        wait_for_value(lambda: len(redis.keys(f'{stream}:*')), 1)


@ALWAYS
@pytest.mark.parametrize('returns', [False, True])
def test_handler_that_raises(make: MakeNode, always_connect: bool,
                             returns: bool) -> None:
    """As without recovery: with ``always_connect`` the client is connected
    anyway, and without it gets no answer."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()

    def fail(sid: str) -> None:
        raise KeyError('a defect of the application')

    node.on_connect = fail
    shown = {'pid': pid_of(client)} if returns else None
    server, before = node.server, set(node.server.environ)
    with pytest.raises(KeyError):
        FakeClient(server, auth=shown)
    eio_sid, = set(server.environ) - before
    socket = server.eio.sockets[eio_sid]
    assert bool(socket.packets) is always_connect
    # It ends when the client has waited long enough.
    socket.close(reason='transport close')
    node.on_connect = lambda sid: None
    if returns and not always_connect:
        third = node.reconnect(client)
        # It has not missed anything because of that.
        if node.outcome(third) == Outcome(True):
            third.wait_for('missed')


@ALWAYS
@pytest.mark.parametrize('returns', [False, True])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_connection_lost_during_the_handler(make: MakeNode,
                                            always_connect: bool,
                                            returns: bool, where: str) -> None:
    node, other = (make({'always_connect': always_connect})
                   for _ in range(2))
    wait_for_value(other.manager.server_count, 2)
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    client.lose()
    node.server.emit('missed', 1, to='x')
    node.manager.flush()
    node.disconnects.clear()

    def die(sid: str) -> None:
        eio_sid = node.server.manager.eio_sid_from_sid(sid, '/')
        node.server.eio.sockets[eio_sid].close(reason='transport close')

    node.on_connect = die
    again = node.reconnect(client) if returns else node.connect()
    sid_again = node.connects[-1][0]
    assert node.disconnects == [(sid_again, 'transport close')]
    node.on_connect = lambda sid: None
    if returns:
        assert sid_again == sid
        target = node if where == 'here' else other
        node.server.emit('missed', 2, to='x')
        node.manager.flush()
        # The packets put on its connection have never reached it.
        third = target.reconnect(client)
        third.wait_for('missed', 2)
        assert received(third) == [('missed', 1), ('missed', 2)]
        assert target.outcome(third) == Outcome(True)
    assert again.socket.closed


@ALWAYS
def test_handler_that_disconnects(make: MakeNode,
                                  always_connect: bool) -> None:
    """It can do so with ``always_connect`` and with an old python-socketio;
    the client receives the events emitted before."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()

    def disconnect(sid: str) -> None:
        node.server.emit('goodbye', to=sid)
        node.server.disconnect(sid)

    node.on_connect = disconnect
    again = node.reconnect(client)
    again.wait_for('goodbye')
    assert again.was_disconnected() is (
        always_connect or not HAS_PRE_CONNECT)
    names = [event.name for event in again.events()]
    assert names[-1] == 'goodbye'
