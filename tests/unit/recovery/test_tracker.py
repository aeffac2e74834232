"""Clients that come and return, on servers over a real Redis.

Whatever happens to them: when all are gone, nothing of them is left in the
memory of a server.
"""
import base64
import contextlib
import itertools
import logging
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import msgpack
import pytest
import socketio
from engineio.socket import Socket
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, \
    DISCONNECT, EVENT, Packet

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.clients import hooks
from redis_streams_adapter.recovery import admission, claims
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.recovery.session import load_session, Outcome, \
    Session
from redis_streams_adapter.clients.registry import HAS_PRE_CONNECT
from redis_streams_adapter.recovery.tracker import YIELD_EVERY

from ...support.redis_server import free_port, RedisServer
from ...support.wait import DEADLINE, wait_for_value, wait_until
from ..conftest import Log
from ..fake_server import FakeClient, make_server
from ..nodes import Call

_numbers = itertools.count(1)

#: No sign of life is written while a test looks, nor a session renewed.
SILENT = {'heartbeat_interval': 60.0, 'heartbeat_timeout': 120.0}


class Node:
    """A server, its manager, and the clients that were connected to it."""

    def __init__(self, server: socketio.Server,
                 manager: RedisStreamsManager) -> None:
        self.server = server
        self.manager = manager
        self.clients: List[FakeClient] = []
        #: The calls of its connect and disconnect handlers.
        self.connects: List[Tuple[str, Any, Any]] = []
        self.disconnects: List[Tuple[str, str]] = []
        #: What the connect handler does.
        self.on_connect: Callable[[str], Any] = lambda sid: None
        server.on('connect', self._connect)
        server.on('disconnect', self._disconnect)

    def _connect(self, sid: str, environ: Dict[str, Any],
                 auth: Any = None) -> Any:
        self.connects.append((sid, environ['socketio.recovery'], auth))
        return self.on_connect(sid)

    def _disconnect(self, sid: str, reason: str) -> None:
        self.disconnects.append((sid, reason))

    def connect(self, *namespaces: str, auth: Any = None) -> FakeClient:
        client = FakeClient(self.server, *namespaces, auth=auth)
        self.clients.append(client)
        return client

    def take(self, client: FakeClient, namespace: str = '/',
             **changes: Any) -> FakeClient:
        """Let a client return here, as the JavaScript client does."""
        shown = {'pid': pid_of(client, namespace), **changes}
        offset = offset_of(client, namespace)
        if offset is not None:
            shown.setdefault('offset', offset)
        return self.connect(namespace, auth=shown)

    def outcome(self, client: FakeClient) -> Any:
        """What became of a client that is here."""
        outcome = self.server.environ[client.eio_sid]['socketio.recovery']
        told = self.manager.recovery(client.sid)
        assert told is None or told == outcome
        return outcome

    def fall_silent(self) -> None:
        """End its tasks, as a process is killed: without a word."""
        self.manager._live().abandon()
        self.clients.clear()

    def is_written(self) -> bool:
        """Whether Redis has all that has changed."""
        keeper: Any = self.manager._live().keeper
        return not any(client.has_changed
                       for client in keeper.local.connected())

    @property
    def is_clean(self) -> bool:
        return not any(self.remains().values())

    def remains(self) -> Dict[str, Any]:
        """What is in memory of clients."""
        manager: Any = self.manager
        runtime = manager._live()
        returning, keeper = manager._returning, runtime.keeper
        timeline = runtime.timeline('/')
        return {
            'visits': returning._visits,
            'outcomes': returning._outcomes._outcomes,
            'connected': keeper.local._by_sid, 'leaving': keeper.local._by_pid,
            'sent': manager._delivery.sent, 'held': manager._delivery._held,
            'waiting': list(timeline._waiting),
            'awaited': timeline._awaited, 'rooms': manager.rooms,
            'pending': getattr(manager, 'pending_connect', ()),
            'pending to leave': manager.pending_disconnect,
            'environ': self.server.environ,
            'callbacks': manager.callbacks}


def pid_of(client: FakeClient, namespace: str = '/') -> str:
    return str(client.reply(namespace)['pid'])


def offset_of(client: FakeClient, namespace: str = '/') -> Optional[str]:
    """What the JavaScript client takes for the offset."""
    texts = [event.args[-1] for event in client.events(namespace)
             if event.args and isinstance(event.args[-1], str)]
    return texts[-1] if texts else None


def got(client: FakeClient, namespace: str = '/') -> List[Tuple[Any, ...]]:
    """The events of a client, without their offsets."""
    found = []
    for event in client.events(namespace):
        assert str(event.args[-1]).partition('-')[0].isdigit()
        found.append((event.name, *event.args[:-1]))
    return found


@pytest.fixture(scope='module')
def redis_server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server.start()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def stream() -> str:
    """The name of this test's stream, and what its keys begin with."""
    return f'test-{next(_numbers)}'


MakeNode = Callable[..., Node]


@pytest.fixture
def make(redis_server: RedisServer, stream: str) -> Iterator[MakeNode]:
    """Makes nodes that are members; the options of the server are named
    ``server``, those of recovery by themselves."""
    nodes: List[Node] = []

    def make_one(server: Any = None, url: str = '',
                 recovery: Any = None, **options: Any) -> Node:
        manager = RedisStreamsManager(
            url or redis_server.url, stream, session_key_prefix=stream + ':',
            connection_state_recovery=recovery or True,
            **{**SILENT, **options})
        node = Node(make_server(client_manager=manager, **(server or {})),
                    manager)
        nodes.append(node)
        manager.start()
        return node

    with contextlib.ExitStack() as stack:
        for_each = stack.callback
        yield make_one
        for node in nodes:
            for_each(node.manager.close, 1.0)
        for node in nodes:
            for client in node.clients:
                if not client.socket.closed:
                    client.lose()
            if node.manager._live()._tasks['session keeper'].stopping:
                continue
            wait_until(lambda: node.is_clean,
                       what=lambda: f'nothing to be left of '
                                    f'{node.remains()}')


@pytest.fixture
def node(make: MakeNode) -> Node:
    return make()


@pytest.fixture
def other(make: MakeNode, node: Node) -> Node:
    """Another node of the same cluster."""
    other = make()
    wait_for_value(node.manager.server_count, 2)
    wait_for_value(other.manager.server_count, 2)
    return other


@pytest.fixture
def kept(redis: Any, stream: str) -> Callable[..., Optional[Session]]:
    """What Redis has of a client: ``kept(client)``."""
    def look(client: FakeClient,
             namespace: str = '/') -> Optional[Session]:
        pid = pid_of(client, namespace)
        raw = redis.get(f'{stream}:{pid}')
        return raw and load_session(  # type: ignore[no-any-return]
            raw, pid, namespace, Application(stream, 0))

    return look


Kept = Callable[..., Optional[Session]]

ALWAYS = pytest.mark.parametrize('always_connect', [False, True])


# -- a new client ------------------------------------------------------------

@ALWAYS
def test_a_new_client(make: MakeNode, kept: Kept,
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
        wait_until(lambda: set(kept(client).rooms) == {  # type: ignore
            client.sid, 'x'})
        session = kept(client)
        assert session is not None
        assert (session.sid, session.data) == (client.sid, {'a': 1})
        assert node.manager.recovery(client.sid) is None
    assert node.manager.stats()['recovered'] == 0


def test_an_event_has_its_offset(node: Node, redis: Any,
                                 stream: str) -> None:
    client = node.connect()
    node.server.emit('hello', 1)
    (_, offset), = client.wait_for('hello')
    assert redis.xrange(stream, offset, offset)


@pytest.mark.parametrize('answer', ['text', b'binary'])
def test_an_answer_comes_behind_what_was_emitted(node: Node,
                                                 answer: Any) -> None:
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
def test_a_connection_is_in_a_namespace_once(make: MakeNode,
                                             always_connect: bool) -> None:
    """A second CONNECT ends the connection, without a word: its client
    returns by itself, and is recovered."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    sid, before = client.sid, len(client.socket.packets)
    node.server._handle_connect(client.eio_sid, '/', None)
    assert client.socket.closed
    assert len(client.socket.packets) == before
    assert node.disconnects == [(sid, 'transport close')]
    node.server.emit('missed')
    again = node.take(client)
    assert node.outcome(again) == Outcome(True)
    again.wait_for('missed')


@ALWAYS
@pytest.mark.parametrize('kind', [CONNECT, DISCONNECT])
@pytest.mark.parametrize('returns', [False, True])
def test_while_it_is_let_in(make: MakeNode, always_connect: bool, kind: int,
                            returns: bool) -> None:
    """The same, of the first of two attempts and of one that is taken
    back: nothing is left of either."""
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
    call = Call(node.take, client) if returns else Call(node.connect)
    assert began.wait(DEADLINE)
    eio_sid, = set(node.server.environ) - before
    node.server._handle_eio_message(eio_sid, Packet(kind).encode())
    may_end.set()
    again = call.result()
    assert again.socket.closed
    assert again.refusal() is None and not again.was_disconnected()
    wait_until(lambda: node.server.manager.rooms == {})
    node.on_connect = lambda sid: None
    third = node.take(client)
    third.wait_for('event')
    assert got(third) == [('event', 1)]


# -- a client returns --------------------------------------------------------

@ALWAYS
@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('had_received', [False, True])
def test_a_short_loss(make: MakeNode, always_connect: bool, where: str,
                      had_received: bool) -> None:
    node, other = (make({'always_connect': always_connect})
                   for _ in range(2))
    wait_for_value(node.manager.server_count, 2)
    wait_for_value(other.manager.server_count, 2)
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    node.server.enter_room(sid, 7)
    node.server.save_session(sid, {'name': 'ü', 'raw': b'\0'})
    if had_received:
        node.server.emit('first', to='x')
        client.wait_for('first')
    client.lose()
    assert node.disconnects == [(sid, 'transport close')]
    wait_until(lambda: where == 'here' or not node.remains()['leaving'])
    for number in range(5):
        (node, other)[number % 2].server.emit('missed', number, to='x')
        node.manager.flush()
        other.manager.flush()
        node.server.emit('missed by others', to='y')
    target = node if where == 'here' else other
    found: List[Any] = []
    target.on_connect = lambda sid: found.append((
        set(target.server.rooms(sid)), target.server.get_session(sid)))
    again = target.take(client)
    assert again.reply() == {'sid': sid, 'pid': pid_of(client)}
    assert found == [({sid, 'x', 7}, {'name': 'ü', 'raw': b'\0'})]
    again.wait_for('missed', 5)
    assert got(again) == [('missed', number) for number in range(5)]
    node.server.emit('live', to=[7])
    again.wait_for('live')
    assert target.outcome(again) == Outcome(True)
    assert target.manager.recovery(sid) == Outcome(True)
    assert target.manager.stats()['recovered'] == 1
    # Each offset is higher than the one before.
    offsets = [[int(part) for part in event.args[-1].split('-')]
               for event in client.events() + again.events()]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize('where', ['here', 'there'])
def test_the_old_connection_looks_alive(node: Node, other: Node,
                                        where: str) -> None:
    """Its disconnect handler runs once; and it may come back to where it
    was."""
    client = node.connect()
    sid = client.sid
    client.socket.send = lambda packet: None  # type: ignore[method-assign]
    node.server.emit('sent to nobody', to=sid)
    node.manager.flush()
    target = node if where == 'here' else other
    again = target.take(client)
    again.wait_for('sent to nobody')
    wait_until(lambda: client.socket.closed)
    assert node.disconnects == [(sid, 'transport close')]
    assert target.outcome(again) == Outcome(True)
    again.lose()
    third = node.take(again)
    assert third.reply()['sid'] == sid
    assert node.outcome(third) == Outcome(True)
    assert got(third) == []
    assert len(node.disconnects + other.disconnects) == 2


def test_a_node_is_killed(node: Node, other: Node) -> None:
    clients = [node.connect() for _ in range(20)]
    sids = [client.sid for client in clients]
    for client in clients:
        node.server.enter_room(client.sid, 'x')
    node.server.emit('first', to='x')
    for client in clients:
        client.wait_for('first')
    wait_until(node.is_written)
    node.fall_silent()
    other.server.emit('missed', to='x')
    calls = [Call(other.take, client) for client in clients]
    for client, sid, call in zip(clients, sids, calls):
        again = call.result()
        again.wait_for('missed')
        assert again.reply()['sid'] == sid
        assert got(again) == [('missed',)]


def test_a_node_is_closed(node: Node, other: Node) -> None:
    client = node.connect()
    node.server.enter_room(client.sid, 'x')
    node.server.emit('first', 1)
    node.manager.close()
    # What has not come back by then it gets where it returns.
    before = got(client)
    node.clients.clear()
    again = other.take(client)
    assert set(other.server.rooms(again.sid)) == {again.sid, 'x'}
    other.server.emit('live', to='x')
    again.wait_for('live')
    assert before + got(again) == [('first', 1), ('live',)]


def test_two_namespaces(node: Node, other: Node) -> None:
    client = node.connect('/', '/chat')
    sids = client.sid_in('/'), client.sid_in('/chat')
    assert pid_of(client) != pid_of(client, '/chat')
    client.lose()
    node.server.emit('missed', 1)
    node.server.emit('missed', 2, namespace='/chat')
    node.manager.flush()
    for namespace, sid, number in zip(('/', '/chat'), sids, (1, 2)):
        again = other.take(client, namespace)
        assert again.reply(namespace)['sid'] == sid
        again.wait_for('missed', namespace=namespace)
        assert got(again, namespace) == [('missed', number)]


def test_what_was_missed_comes_first(node: Node) -> None:
    """Then what its connect handler emits, then what comes live."""
    client = node.connect()
    client.lose()
    for number in range(3):
        node.server.emit('event', number)
    node.manager.flush()

    def greet(sid: str) -> None:
        node.server.emit('event', 3, to=sid)
        node.manager.flush()
        node.server.emit('event', 4, to=sid, ignore_queue=True)

    node.on_connect = greet
    again = node.take(client)
    node.server.emit('event', 5)
    again.wait_for('event', 6)
    assert [args[0] for args in again.received('event')] == [*range(6)]


@ALWAYS
@pytest.mark.parametrize('count', [1, YIELD_EVERY, 2 * YIELD_EVERY + 1])
def test_what_was_missed_comes_before_the_reply(
        make: MakeNode, always_connect: bool, count: int) -> None:
    """The JavaScript client hands it to its application before it says that
    it is connected. With ``always_connect`` the reply comes before the
    handler runs, which may refuse: then it comes when that is done. What was
    held is always behind both."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    missed: List[Any] = [(number, b'raw') if number % 7 else number
                         for number in range(count)]
    for data in missed:
        node.server.emit('missed', data)
    node.manager.flush()
    seen: List[Any] = []

    def greet(sid: str) -> None:
        node.server.emit('held', to=sid)
        node.manager.flush()
        node.server.emit('held', to=sid, ignore_queue=True)
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        seen.extend(node.server.eio.sockets[connection].packets)

    node.on_connect = greet
    again = node.take(client)
    node.server.emit('live')
    again.wait_for('live')
    assert len(seen) == always_connect
    kinds = [packet.data[0] if packet.packet_type in (EVENT, BINARY_EVENT)
             else 'reply' for packet in again.packets()]
    reply, all_missed = ['reply'], ['missed'] * count
    assert kinds == [
        *(reply + all_missed if always_connect else all_missed + reply),
        'held', 'held', 'live']
    assert again.reply() == {'sid': again.sid, 'pid': pid_of(client)}
    assert [args[:-1] for args in again.received('missed')] == [
        data if isinstance(data, tuple) else (data,) for data in missed]


@pytest.mark.parametrize('when', ['in its handler', 'in the middle'])
def test_another_connection_takes_it_over_before_its_reply(
        node: Node, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """While it is given what it has missed: it gets no more, and no
    reply."""
    client = node.connect()
    client.lose()
    for number in range(3 * YIELD_EVERY):
        node.server.emit('missed', number)
    node.manager.flush()
    began, may_go_on = threading.Event(), threading.Event()
    tasks: List[int] = []

    def wait(*_: Any) -> None:
        if tasks == [threading.get_ident()] and not began.is_set():
            began.set()
            assert may_go_on.wait(DEADLINE)

    def connect(sid: str) -> None:
        tasks.append(threading.get_ident())
        if when == 'in its handler':
            wait()

    node.on_connect = connect
    monkeypatch.setattr(node.manager._live().engine, 'pause', wait)
    before = set(node.server.eio.sockets)
    first = Call(node.take, client)
    assert began.wait(DEADLINE)
    eio_sid, = set(node.server.eio.sockets) - before
    second = Call(node.take, client)
    wait_until(lambda: hooks.is_closing(node.server, eio_sid))
    may_go_on.set()
    gone = first.result()
    assert gone.reply() is None and gone.refusal() is None
    assert len(gone.received('missed')) <= 3 * YIELD_EVERY
    winner = second.result()
    if when == 'in the middle':
        # It may have some of it: that is read from what it shows when it has
        # read its reply.
        assert winner.reply()['pid'] == pid_of(client)
        assert winner.socket.closed and winner.events() == []
        winner = node.take(winner)
    winner.wait_for('missed', 3 * YIELD_EVERY)
    node.server.emit('live')
    winner.wait_for('live')
    assert node.outcome(winner) == Outcome(True)


@pytest.mark.parametrize('how, where', [
    ('lost', 'here'), ('lost', 'there'), ('half open', 'here'),
    ('half open', 'there'), ('killed', 'there')])
@pytest.mark.parametrize('offset', [True, False])
def test_it_has_not_read_its_reply(node: Node, other: Node, how: str,
                                   where: str, offset: bool) -> None:
    """It may have what was sent ahead of that, and hand it over with the
    next reply: it gets one, and comes again with what it has then."""
    client = node.connect()
    if offset:
        node.server.emit('event', 0)
        client.wait_for('event')
    shown = {'pid': pid_of(client), 'offset': offset_of(client)}
    client.lose()
    for number in range(1, 4):
        node.server.emit('event', number)
    node.manager.flush()

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        node.server.eio.sockets[connection].reads = False

    node.on_connect = stop_reading
    first = node.connect(auth=shown)
    assert [args[0] for args in first.received('event')] == [1, 2, 3]
    if how == 'killed':
        node.fall_silent()
    elif how == 'lost':
        first.lose()
    node.on_connect = lambda sid: None
    target = node if where == 'here' else other
    target.server.emit('event', 4)
    target.manager.flush()
    second = target.connect(auth=shown)
    assert second.events() == []
    assert second.reply() == {'sid': first.reply()['sid'],
                              'pid': shown['pid']}
    assert second.socket.closed
    # It had none of it; or one, which it has handed over by now.
    for got_before in (0, 1):
        if got_before:
            again = target.connect(auth={
                **shown, 'offset': first.events()[0].args[-1]})
        else:
            again = target.connect(auth=shown)
        again.wait_for('event', 4 - got_before)
        assert [args[0] for args in again.received('event')] == [
            1, 2, 3, 4][got_before:]
        assert target.outcome(again) == Outcome(True)
        again.lose()


@pytest.mark.parametrize('where', ['here', 'there'])
def test_it_has_read_its_reply(node: Node, other: Node, kept: Kept,
                               where: str) -> None:
    """Who shows the same offset after that is another client: it has
    nothing of what it missed, and gets all of it."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    first = node.take(client)
    first.wait_for('missed')
    wait_until(lambda: kept(client).ahead is None)  # type: ignore[union-attr]
    second = (node if where == 'here' else other).take(client)
    second.wait_for('missed')
    assert not second.socket.closed
    wait_until(lambda: first.socket.closed)


def test_redis_does_not_know_yet_that_it_has_read_its_reply(
        node: Node, other: Node) -> None:
    """It is waited for."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    sockets: List[Any] = []

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        sockets.append(node.server.eio.sockets[connection])
        sockets[0].reads = False

    node.on_connect = stop_reading
    node.take(client).wait_for('missed')
    call = Call(other.take, client)
    sockets[0].reads = True
    sockets[0].answer()
    second = call.result()
    second.wait_for('missed')
    assert not second.socket.closed


@pytest.mark.parametrize('count', [150, 700])
def test_much_was_missed(node: Node, other: Node, count: int,
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a page; here there is no history of it."""
    client = node.connect()
    client.lose()
    for number in range(count):
        node.server.emit('missed', number)
    node.manager.flush()
    timeline = other.manager._live().timeline('/')
    assert timeline is not None
    timeline.reach(other.manager._live().keeper.sessions.find(  # type: ignore
        'x', node.manager._options.stream_name, None).last or START, DEADLINE)
    with other.manager._live().order:
        timeline.history.restart(timeline.position)
    again = other.take(client)
    again.wait_for('missed', count)
    assert [args[0] for args in again.received('missed')] == [*range(count)]


def test_commands_while_it_was_away(node: Node, other: Node) -> None:
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    client.lose()
    other.manager.sockets_join('y', to='x')
    node.manager.flush(), other.manager.flush()
    wait_for_value(lambda: len(
        other.manager._live().timeline('/')._waiting), 0)  # type: ignore
    other.server.emit('yes', to='y')
    other.manager.sockets_leave('x', to=sid)
    other.server.emit('no', to='x')
    other.manager.flush()
    again = node.take(client)
    again.wait_for('yes')
    assert set(node.server.rooms(sid)) == {sid, 'y'}
    assert got(again) == [('yes',)]


def test_of_two_who_return_one_wins(node: Node, other: Node) -> None:
    for _ in range(5):
        client = node.connect()
        sid = client.sid
        client.lose()
        calls = [Call((node, other)[number % 2].take, client)
                 for number in range(6)]
        again = [call.result() for call in calls]
        recovered = [each for each in again
                     if each.reply() and each.reply()['sid'] == sid]
        # Who came later has driven out the others, also those that had no
        # reply yet.
        wait_until(
            lambda: sum(not each.socket.closed for each in recovered) == 1,
            what=lambda: f'one alone of {[vars(each) for each in again]}; '
                         f'here are {node.remains()}, {other.remains()}')
        for each in again:
            if each not in recovered:
                assert each.reply()['pid'] != pid_of(client) \
                    if each.reply() else each.socket.closed


class Late:
    """Stops a thread in the middle of a method, once it knows its result.

    :param function: called at once, in that thread.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any,
                 name: str, function: Callable[..., Any],
                 *args: Any) -> None:
        method = getattr(owner, name)
        stands, self._go_on = threading.Event(), threading.Event()

        def stop(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if threading.current_thread() is thread and not stands.is_set():
                stands.set()
                self._go_on.wait(DEADLINE)
            return result

        monkeypatch.setattr(owner, name, stop)
        self._thread = thread = threading.Thread(
            target=function, args=args, daemon=True)
        thread.start()
        assert stands.wait(DEADLINE), f'{name} is not called'

    def go_on(self) -> None:
        """Let it come to its end."""
        self._go_on.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def is_well(node: Node, client: FakeClient, sid: str) -> None:
    """It is here, and gets what is emitted."""
    assert client.sid == sid
    assert not client.socket.closed and not client.was_disconnected()
    assert node.outcome(client) == Outcome(True)
    node.server.emit('well', to=sid)
    client.wait_for('well')
    assert set(node.server.rooms(sid)) == {sid}


@pytest.mark.parametrize('name', ['sid_from_eio_sid', 'is_connected'])
def test_who_ends_a_connection_late(node: Node, name: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """A second task sees that a connection has ended, and before it does
    anything about it another one has the client."""
    client = node.connect()
    sid = client.sid
    late = Late(monkeypatch, node.manager, name,
                node.server._handle_disconnect, client.eio_sid, '/')
    client.lose()
    again = node.take(client)
    late.go_on()
    is_well(node, again, sid)
    assert [each[0] for each in node.disconnects] == [sid]


@pytest.mark.parametrize('always', [True, False])
def test_who_is_disconnected_twice(make: MakeNode, always: bool,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends while a task is about to disconnect it."""
    node = make({'always_connect': always})
    client = node.connect()
    sid = client.sid
    late = Late(monkeypatch, node.manager, 'is_connected',
                lambda: node.server.disconnect(sid, ignore_queue=True))
    client.lose()
    late.go_on()
    assert [each[0] for each in node.disconnects] == [sid]
    again = node.take(client)
    is_well(node, again, sid)


def test_who_is_refused_late(node: Node) -> None:
    """The connect handler that refuses it has outlived its connection."""
    client = node.connect()
    sid = client.sid
    client.lose()
    stands, go_on = threading.Event(), threading.Event()

    def refuse(sid: str) -> Any:
        node.on_connect = lambda sid: None
        stands.set()
        go_on.wait(DEADLINE)
        return False

    node.on_connect = refuse
    late = Call(node.take, client)
    assert stands.wait(DEADLINE)
    lost = node.server.eio.sockets[max(
        node.server.eio.sockets, key=lambda name: int(name.split('-')[1]))]
    lost.close(reason='transport close')
    again = Call(node.take, client)
    if HAS_PRE_CONNECT:
        # It stays registered until its handler is done.
        go_on.set()
    assert again.result().reply()['sid'] == sid
    go_on.set()
    late.result()
    is_well(node, again.result(), sid)


@pytest.mark.parametrize('order', ['the last first', 'the last last'])
def test_two_on_their_way_into_one_node(
        node: Node, other: Node, order: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them another node has had the session, whose word that the
    first is superseded is still on its way."""
    client = node.connect()
    sid = client.sid
    client.lose()
    backlog = node.manager._returning._admission._backlog  # type: ignore
    taken: Dict[str, FakeClient] = {}

    def take(name: str) -> None:
        taken[name] = node.take(client)

    first = Late(monkeypatch, backlog, 'read', take, 'first')
    with monkeypatch.context() as patch:
        claims_there: Any = other.manager._returning._claims  # type: ignore
        patch.setattr(claims_there, '_publish', lambda *args: None)
        between = other.take(client)
    assert between.sid == sid
    last = Late(monkeypatch, backlog, 'read', take, 'last')
    for each in (last, first) if order == 'the last first' else (first, last):
        each.go_on()
    wait_until(lambda: between.socket.closed)
    assert taken['first'].socket.closed
    is_well(node, taken['last'], sid)


def test_a_session_of_node(node: Node, redis: Any, stream: str) -> None:
    """It has been on a server in Node.js."""
    sender = node.connect()
    offsets = []
    for number in range(3):
        node.server.emit('event', number, to=['x', sender.sid])
    for args in sender.wait_for('event', 3):
        offsets.append(args[-1])
    redis.set(f'{stream}:of-node', base64.b64encode(msgpack.packb({
        'sid': 'sid-of-node', 'pid': 'of-node', 'rooms': ['sid-of-node', 'x'],
        'data': {'a': 1}})), px=120_000)
    again = node.connect(auth={'pid': 'of-node', 'offset': offsets[0]})
    assert again.reply() == {'sid': 'sid-of-node', 'pid': 'of-node'}
    assert got(again) == [('event', 1), ('event', 2)]
    assert node.server.get_session('sid-of-node') == {'a': 1}
    # It can be recovered from here as any other.
    again.lose()
    third = node.take(again)
    assert node.outcome(third) == Outcome(True)


# -- and is refused ----------------------------------------------------------

def refused(node: Node, client: FakeClient, reason: str,
            count: int = 1) -> None:
    """It is connected all the same, as a new one."""
    assert node.outcome(client) == Outcome(False, reason)
    assert node.manager.recovery(client.sid) == Outcome(False, reason)
    assert node.connects[-1][:2] == (client.sid, Outcome(False, reason))
    assert client.reply()['sid'] == client.sid
    assert got(client) == []
    counter = 'not_recovered_' + reason.replace('-', '_')
    assert node.manager.stats()[counter] == count
    assert node.manager.stats()['recovered'] == 0


@pytest.mark.parametrize('pid', [
    'nobody', '', 'x' * 5000, None, 5, ['p'], {'a': 1}, True, '\ud800',
    '*', '\0'], ids=lambda pid: repr(pid)[:20])
def test_nobody_knows_it(node: Node, pid: Any) -> None:
    client = node.connect(auth={'pid': pid, 'offset': '5-0'})
    refused(node, client, 'unknown-session')
    assert pid_of(client) != pid


@pytest.mark.parametrize('how', ['expired', 'taken', 'malformed', 'other'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_its_session_is_gone(node: Node, other: Node, redis: Any,
                             stream: str, how: str, where: str) -> None:
    client = node.connect()
    key = f'{stream}:{pid_of(client)}'
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    if how == 'malformed':
        redis.set(key, b'x')
    elif how == 'other':
        redis.set(key, redis.get(f'{stream}:{pid_of(other.connect())}'))
    else:
        redis.delete(key)
    target = node if where == 'here' else other
    again = target.take(client)
    refused(target, again, 'unknown-session')
    assert again.sid != client.reply()['sid']


def test_it_is_of_another_namespace(node: Node) -> None:
    client = node.connect('/chat')
    for _ in range(2):
        again = node.connect(auth={'pid': pid_of(client, '/chat')})
        assert again.reply()['sid'] != client.reply('/chat')['sid']
        client.lose()
    assert node.manager.stats()['not_recovered_unknown_session'] == 2
    # It is there for who has it.
    third = node.take(client, '/chat')
    assert third.reply('/chat') == client.reply('/chat')


@pytest.mark.parametrize('how', [
    'client', 'server', 'ignore_queue', 'sockets', 'close', 'elsewhere'])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_it_was_disconnected_on_purpose(
        node: Node, other: Node, kept: Kept, how: str, where: str) -> None:
    client = node.connect()
    sid = client.sid
    if how == 'client':
        client.say_goodbye()
    elif how in ('server', 'ignore_queue'):
        node.server.disconnect(sid, ignore_queue=how == 'ignore_queue')
    elif how == 'elsewhere':
        other.server.disconnect(sid)
    else:
        node.manager.disconnect_sockets(to=sid, close=how == 'close')
    wait_for_value(lambda: kept(client), None)
    # Its handler runs in a task of its own.
    wait_for_value(lambda: len(node.disconnects), 1)
    target = node if where == 'here' else other
    refused(target, target.take(client), 'unknown-session')


@pytest.mark.parametrize('offset', [
    '', 'x', '5', '5-', 5, ['5-0'], {'a': 1}, '1-0-0', True, '$',
    '99999999999999999999-0'])
def test_its_offset_is_malformed(node: Node, offset: Any) -> None:
    client = node.connect()
    client.lose()
    again = node.take(client, offset=offset)
    refused(node, again, 'invalid-offset')
    # Whose session it is may still come.
    third = node.take(client)
    assert node.outcome(third) == Outcome(True)


@pytest.mark.parametrize('where', ['here', 'there'])
@pytest.mark.parametrize('offset', [
    '5-0', '0-0', '18446744073709551615-18446744073709551615', 'future'])
def test_its_offset_was_never_there(node: Node, other: Node, where: str,
                                    offset: str) -> None:
    client = node.connect()
    node.server.emit('hello')
    (first,), = client.wait_for('hello')
    client.lose()
    if offset == 'future':
        milliseconds, _, number = first.partition('-')
        offset = f'{milliseconds}-{int(number) + 1}'
    target = node if where == 'here' else other
    refused(target, target.take(client, offset=offset), 'offset-not-found')
    third = target.take(client)
    assert target.outcome(third) == Outcome(True)


def test_its_offset_was_trimmed(node: Node, other: Node, redis: Any,
                                stream: str) -> None:
    client = node.connect()
    for number in range(3):
        node.server.emit('hello', number)
    first, *_ = client.wait_for('hello', 3)
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    redis.xtrim(stream, 1, approximate=False)
    wait_until(lambda: not other.remains()['waiting'])
    with other.manager._live().order:
        timeline: Any = other.manager._live().timeline('/')
        timeline.history.restart(timeline.position)
    again = other.take(client, offset=first[-1])
    refused(other, again, 'offset-not-found')


def test_it_had_received_less_than_was_sent(node: Node) -> None:
    """It has no offset, though it was given one: nobody knows what it
    has; so it goes on from where it began."""
    client = node.connect()
    node.server.emit('hello')
    client.wait_for('hello')
    client.lose()
    again = node.connect(auth={'pid': pid_of(client)})
    again.wait_for('hello')
    assert node.outcome(again) == Outcome(True)


@pytest.mark.parametrize('limit, recovered', [(5, True), (4, False)])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_too_much_was_missed(make: MakeNode, kept: Kept, limit: int,
                             recovered: bool, where: str) -> None:
    node, other = (make(recovery={'max_missed_packets': limit})
                   for _ in range(2))
    client = node.connect()
    client.lose()
    for number in range(5):
        node.server.emit('missed', number)
        node.server.emit('missed by others', to='x')
    node.manager.flush()
    target = node if where == 'here' else other
    again = target.take(client)
    if recovered:
        again.wait_for('missed', 5)
        assert target.outcome(again) == Outcome(True)
    else:
        refused(target, again, 'too-many-missed')
        # Nobody else could do better.
        assert kept(client) is None


def test_redis_is_away(make_redis: Callable[..., Any],
                       make: MakeNode) -> None:
    """It connects as new at once, and so does any other; when Redis is
    back, these can be recovered."""
    redis = make_redis(append_only=True).start()
    node = make(url=redis.url)
    client = node.connect()
    client.lose()
    redis.kill()
    wait_until(lambda: not node.manager.health()['connected'])
    again = node.take(client)
    refused(node, again, 'redis-unavailable')
    new = node.connect()
    assert node.outcome(new) == Outcome(False)
    assert pid_of(new) != pid_of(again) != pid_of(client)
    node.server.enter_room(again.sid, 'x')
    redis.start()
    wait_until(lambda: node.manager.health()['connected'])
    wait_until(node.is_written)
    again.lose()
    third = node.take(again)
    assert node.outcome(third) == Outcome(True)
    assert set(node.server.rooms(third.sid)) == {third.sid, 'x'}
    # And the one of before the outage.
    fourth = node.take(client)
    assert node.outcome(fourth) == Outcome(True)


def test_redis_was_never_there(make: MakeNode) -> None:
    node = make(url=f'redis://127.0.0.1:{free_port()}')
    client = node.connect(auth={'pid': 'p', 'offset': '5-0'})
    refused(node, client, 'redis-unavailable')
    client.lose()
    # What cannot be written stays, and is let go with the process.
    node.clients.clear()
    node.manager._live().keeper.local._by_pid.clear()  # type: ignore


def test_this_node_allows_only_smaller_ones(make: MakeNode) -> None:
    node, other = make(), make(recovery={'max_session_bytes': 400})
    client = node.connect()
    node.server.save_session(client.sid, {'a': 'x' * 1000})
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    refused(other, other.take(client), 'unknown-session')
    # It is there for one that allows it.
    again = node.take(client)
    assert node.outcome(again) == Outcome(True)


def test_its_disconnect_handler_does_not_end(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients with one sid cannot be."""
    monkeypatch.setattr(claims, 'PATIENCE', 0.1)
    client, hangs = node.connect(), threading.Event()
    node.server.on('disconnect', lambda sid, reason: hangs.wait(DEADLINE))
    call = Call(client.lose)
    wait_until(lambda: client.socket.closing)
    again = node.take(client)
    refused(node, again, 'unknown-session')
    hangs.set()
    call.result()


@pytest.mark.parametrize('where', ['here', 'there'])
def test_the_reader_is_behind(node: Node, other: Node, where: str,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """For too long. Its session is there for the next time."""
    client = node.connect()
    client.lose()
    target = node if where == 'here' else other
    runtime = target.manager._live()
    gate, take_in = threading.Event(), runtime._take_in

    def wait(*args: Any) -> None:
        assert gate.wait(DEADLINE)
        take_in(*args)

    monkeypatch.setattr(runtime, '_take_in', wait)
    node.server.emit('missed')
    node.manager.flush()
    with monkeypatch.context() as patch:
        patch.setattr(admission, 'PATIENCE', 0.1)
        refused(target, target.take(client), 'redis-unavailable')
    gate.set()
    again = target.take(client)
    again.wait_for('missed')
    assert target.outcome(again) == Outcome(True)


@pytest.mark.parametrize('never', ['after', 'floor', 'registered'])
def test_it_can_never_be_registered(node: Node, kept: Kept, never: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What it missed is forgotten again and again, or its old connection is
    registered again and again: the client is new, and its session stays."""
    client = node.connect()
    node.server.emit('a')
    client.wait_for('a')
    lost = client.sid
    client.lose()
    wait_until(lambda: kept(client) is not None and node.is_clean)
    node.server.emit('b')
    node.manager.flush()
    runtime: Any = node.manager._live()
    history, sessions = runtime.timeline('/').history, runtime.keeper.local
    calls = itertools.count()
    if never == 'after':
        monkeypatch.setattr(
            history, 'after', lambda *args: [next(calls)].clear())
    elif never == 'floor':
        # All is forgotten as soon as it is read.
        manager: Any = node.manager
        monkeypatch.setattr(history, 'floor',
                            lambda namespace: runtime.timeline('/').position)
        monkeypatch.setattr(manager._returning._admission._backlog, '_read',
                            lambda *args: next(calls))
    else:
        of_sid = sessions.of_sid

        def appears(sid: str, namespace: str) -> Any:
            # Not when its session is claimed; then at each second look.
            number = next(calls) if sid == lost else 0
            return object() if number and number % 2 == 0 \
                else of_sid(sid, namespace)

        monkeypatch.setattr(sessions, 'of_sid', appears)
    again = Call(node.take, client).result()
    monkeypatch.undo()
    assert next(calls) > 1
    assert node.outcome(again) == Outcome(False, 'redis-unavailable')
    assert again.sid != lost
    assert kept(client) is not None


def test_what_does_not_belong_in_the_stream(node: Node, other: Node,
                                            redis: Any, stream: str) -> None:
    """Nor in the way of who has missed what is around it."""
    client = node.connect()
    client.lose()
    for number in range(3):
        node.server.emit('missed', number)
        node.server.emit('elsewhere', number, namespace='/chat')
        node.manager.flush()
        # What a lost reply may leave, and what anybody may write.
        for entry_id, fields in redis.xrevrange(stream, count=2):
            redis.xadd(stream, fields)
        redis.xadd(stream, {'uid': 'x', 'nsp': '/', 'type': '3',
                            'data': '{"broken'})
        redis.xadd(stream, {'a': 'b'})
    node.server.emit('missed', 3)
    node.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    timeline: Any = other.manager._live().timeline('/')
    timeline.reach(Position.parse(
        redis.xrevrange(stream, count=1)[0][0]), DEADLINE)
    with other.manager._live().order:
        timeline.history.restart(timeline.position)
    again = other.take(client)
    again.wait_for('missed', 4)
    assert got(again) == [('missed', number) for number in range(4)]


# -- who takes part ----------------------------------------------------------

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
    # One that is no longer accepted.
    client.lose()
    again = node.connect(auth={'pid': pid_of(client)})
    assert node.outcome(again) == Outcome(False, 'rejected')
    assert again.reply() == {'sid': again.sid}


def test_accepts_fails(make: MakeNode, caplog: pytest.LogCaptureFixture
                       ) -> None:
    def accepts(*_: Any) -> bool:
        raise KeyError('a defect of the application')

    logger = logging.getLogger('tests.unit')
    node = make(recovery={'accepts': accepts}, logger=logger)
    client = node.connect()
    assert client.reply() == {'sid': client.sid}
    assert 'a defect of the application' in caplog.text


# -- its connect handler -----------------------------------------------------

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
def test_the_handler_refuses(make: MakeNode, kept: Kept, redis: Any,
                             stream: str, always_connect: bool, how: str,
                             returns: bool) -> None:
    """Nothing that it has missed is sent, and its session is gone."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    node.on_connect = lambda sid: refuse(how)
    again = node.take(client) if returns else node.connect()
    if always_connect:
        assert again.was_disconnected()
    else:
        assert again.refusal() is not None and again.reply() is None
    node.server.emit('live')
    node.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    assert again.events() == []
    if returns:
        wait_for_value(lambda: kept(client), None)
        node.on_connect = lambda sid: None
        third = node.take(client)
        refused_now = node.outcome(third)
        assert refused_now == Outcome(False, 'unknown-session')
        assert node.manager.stats()['not_recovered_rejected'] == 1
    else:
        wait_for_value(lambda: len(redis.keys(f'{stream}:*')), 1)


@ALWAYS
@pytest.mark.parametrize('returns', [False, True])
def test_the_handler_fails(make: MakeNode, always_connect: bool,
                           returns: bool) -> None:
    """As without recovery: with ``always_connect`` the client is connected
    all the same, and without it has no answer."""
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
    # Its end comes when the client is tired of waiting.
    socket.close(reason='transport close')
    node.on_connect = lambda sid: None
    if returns and not always_connect:
        third = node.take(client)
        # It has missed nothing by that.
        if node.outcome(third) == Outcome(True):
            third.wait_for('missed')


@ALWAYS
@pytest.mark.parametrize('returns', [False, True])
@pytest.mark.parametrize('where', ['here', 'there'])
def test_the_connection_dies_in_the_handler(
        make: MakeNode, always_connect: bool, returns: bool,
        where: str) -> None:
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
    again = node.take(client) if returns else node.connect()
    sid_again = node.connects[-1][0]
    assert node.disconnects == [(sid_again, 'transport close')]
    node.on_connect = lambda sid: None
    if returns:
        assert sid_again == sid
        target = node if where == 'here' else other
        node.server.emit('missed', 2, to='x')
        node.manager.flush()
        # What was put on its connection has never come to it.
        third = target.take(client)
        third.wait_for('missed', 2)
        assert got(third) == [('missed', 1), ('missed', 2)]
        assert target.outcome(third) == Outcome(True)
    assert again.socket.closed


@ALWAYS
def test_the_handler_disconnects_it(make: MakeNode,
                                    always_connect: bool) -> None:
    """With ``always_connect`` it can, and with an old python-socketio; it
    gets what was emitted before."""
    node = make({'always_connect': always_connect})
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()

    def disconnect(sid: str) -> None:
        node.server.emit('goodbye', to=sid)
        node.server.disconnect(sid)

    node.on_connect = disconnect
    again = node.take(client)
    again.wait_for('goodbye')
    assert again.was_disconnected() is (
        always_connect or not HAS_PRE_CONNECT)
    names = [event.name for event in again.events()]
    assert names[-1] == 'goodbye'


# -- what an application keeps -----------------------------------------------

def test_a_session_that_is_too_large(make: MakeNode, kept: Kept) -> None:
    node = make(recovery={'max_session_bytes': 600})
    client = node.connect()
    node.server.save_session(client.sid, {'a': 1})
    for value, error in (
            ('x' * 1000, ValueError), (object(), TypeError)):
        with pytest.raises(error):
            node.server.save_session(client.sid, {'a': value})
    assert node.server.get_session(client.sid) == {'a': 1}
    client.lose()
    again = node.take(client)
    assert node.server.get_session(again.sid) == {'a': 1}


@pytest.mark.parametrize('value', [
    'text', '', [], [1], 0, False, True, b'', b'raw', {}], ids=repr)
def test_a_session_that_is_no_mapping(node: Node, other: Node,
                                      value: Any) -> None:
    client = node.connect()
    node.server.save_session(client.sid, value)
    client.lose()
    wait_until(lambda: not node.remains()['leaving'])
    again = other.take(client)
    found = other.server.get_session(again.sid)
    assert (type(found), found) == (type(value), value)


def test_one_that_takes_no_part_keeps_what_it_likes(make: MakeNode) -> None:
    node = make(recovery={'max_session_bytes': 600,
                          'accepts': lambda *_: False})
    client = node.connect()
    value = {'a': object(), 'b': 'x' * 1000}
    node.server.save_session(client.sid, value)
    assert node.server.get_session(client.sid) is value


def test_what_changes_is_kept(node: Node, kept: Kept) -> None:
    client = node.connect()
    sid = client.sid

    def rooms() -> Any:
        session = kept(client)
        return session and set(session.rooms)

    node.server.enter_room(sid, 'x')
    node.server.enter_room(sid, 'y')
    wait_for_value(rooms, {sid, 'x', 'y'})
    node.server.leave_room(sid, 'x')
    wait_for_value(rooms, {sid, 'y'})
    node.manager.sockets_join(['a', 'b'], to='y')
    wait_for_value(rooms, {sid, 'y', 'a', 'b'})
    node.server.close_room('a')
    wait_for_value(rooms, {sid, 'y', 'b'})
    with node.server.session(sid) as session:
        session['name'] = 'x'
    wait_for_value(lambda: kept(client).data,  # type: ignore
                   {'name': 'x'})
    # Rooms that only Python can name are not.
    node.server.enter_room(sid, ('a', 'tuple'))
    node.server.enter_room(sid, 'last')
    wait_for_value(rooms, {sid, 'y', 'b', 'last'})


@pytest.mark.parametrize('how', ['lost', 'killed', 'at once'])
def test_a_room_that_is_closed_and_entered_again(
        node: Node, other: Node, kept: Kept, how: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the node has read back that it was closed: it is in the room
    also when it returns."""
    client = node.connect()
    sid, runtime = client.sid, node.manager._live()
    node.server.enter_room(sid, 'game')
    # The reader waits, as where it is busy with others' messages.
    gate, take_in = threading.Event(), runtime._take_in

    def wait(*args: Any) -> None:
        assert gate.wait(DEADLINE)
        take_in(*args)

    monkeypatch.setattr(runtime, '_take_in', wait)
    node.server.close_room('game')
    node.manager.disconnect_sockets(to='game')
    node.server.enter_room(sid, 'game')
    node.server.enter_room(sid, 'seen')
    wait_until(lambda: 'seen' in kept(client).rooms)  # type: ignore
    target = other
    if how == 'killed':
        gate.set()
        wait_until(lambda: not node.remains()['waiting'])
        node.fall_silent()
    else:
        client.lose()
        if how == 'at once':
            # It is let in while that waits, when all that was there is read.
            target, found = node, runtime.keeper.sessions  # type: ignore
            monkeypatch.setattr(found, 'find', without_end(found.find))
        else:
            gate.set()
    again = target.take(client)
    gate.set()
    assert set(target.server.rooms(sid)) == {sid, 'game', 'seen'}
    assert target.outcome(again) == Outcome(True)
    wait_until(lambda: not target.remains()['waiting'])
    assert set(target.server.rooms(sid)) == {sid, 'game', 'seen'}


def test_commands_before_its_last_session_is_written(
        node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns to where it was, before Redis has what it left."""
    client = node.connect()
    sid, keeper = client.sid, node.manager._live().keeper
    node.server.enter_room(sid, 'x')
    write = keeper._write_changed  # type: ignore[union-attr]
    monkeypatch.setattr(keeper, '_write_changed', lambda: None)
    client.lose()
    node.manager.sockets_join('y', to='x')
    node.manager.flush()
    other.manager.sockets_join('z', to='y')
    other.manager.flush()
    wait_until(lambda: not node.remains()['waiting'])
    assert node.remains()['leaving']
    again = node.take(client)
    assert node.outcome(again) == Outcome(True)
    assert set(node.server.rooms(sid)) == {sid, 'x', 'y', 'z'}
    monkeypatch.setattr(keeper, '_write_changed', write)


def without_end(find: Callable[..., Any]) -> Callable[..., Any]:
    """Have a client wait for nothing that the reader has not read."""
    return lambda *args: find(*args)._replace(last=None)


# -- with others -------------------------------------------------------------

def test_with_the_admin_ui(make: MakeNode,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('handle_post_request', '_websocket_handler', '_send_ping'):
        monkeypatch.setattr(Socket, name, getattr(Socket, name))
    node = make()
    node.server.instrument(auth=False)
    admin = node.connect('/admin', auth={'username': 'x'})
    client = node.connect()
    sid = client.sid
    node.server.enter_room(sid, 'x')
    client.lose()
    node.server.emit('missed', to='x')
    node.manager.flush()
    again = node.take(client)
    again.wait_for('missed')
    assert again.reply()['sid'] == sid
    wait_until(lambda: len(admin.received(
        'socket_connected', '/admin')) == 3)
    wait_until(lambda: admin.received('socket_disconnected', '/admin'))
    # The rest it tells on a task of its own.
    wait_until(lambda: not any(
        '(config)' in each.name for each in threading.enumerate()))


def test_a_manager_without_recovery(redis_server: RedisServer, stream: str,
                                    log: Log) -> None:
    """Nothing is different."""
    with RedisStreamsManager(redis_server.url, stream) as manager:
        server = make_server(client_manager=manager)

        @server.on('connect')
        def connect(sid: str, environ: Any, auth: Any) -> None:
            log(auth, environ.get('socketio.recovery'))

        shown = {'pid': 'p', 'offset': '5-0'}
        client = FakeClient(server, auth=shown)
        assert log.calls == [(shown, None)]
        assert client.reply() == {'sid': client.sid}
        assert manager.recovery(client.sid) is None
        server.emit('hello', 'text')
        assert client.wait_for('hello') == [('text',)]
        client.lose()
        assert 'recovered' not in manager.stats()


def test_another_server_takes_it_over_before_its_reply(
        node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has not told yet: it gets nothing of what it has missed, of which
    the other server would not know, and comes again."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    winners: List[FakeClient] = []
    monkeypatch.setattr(node.manager._returning, 'superseded',
                        lambda *args: None)
    node.on_connect = lambda sid: winners.append(other.take(client))
    gone = node.take(client)
    assert gone.events() == []
    assert gone.reply() is None and gone.refusal() is None
    assert gone.socket.closed
    winner, = winners
    winner.wait_for('missed')
    is_well(other, winner, winner.sid)


def test_it_leaves_before_it_has_to_come_again(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on its connection are none of its business."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        node.server.eio.sockets[connection].reads = False

    node.on_connect = stop_reading
    node.take(client).wait_for('missed')
    node.clients[-1].lose()
    tasks: List[Call] = []
    monkeypatch.setattr(
        node.server, 'start_background_task',
        lambda call, *args: tasks.append(Call(call, *args)))
    node.on_connect = lambda sid: None
    again = FakeClient(node.server, '/chat')
    again.socket.reads = False
    node.clients.append(again)
    node.server._handle_eio_message(again.eio_sid, Packet(
        CONNECT, data={'pid': pid_of(client)}).encode())
    assert again.reply('/') is not None
    node.server._handle_eio_message(
        again.eio_sid, Packet(DISCONNECT).encode())
    for task in tasks:
        task.result()
    assert tasks and not again.socket.closed
    again.socket.reads = True
    again.socket.answer()
    assert not again.socket.closed
    assert again.sid_in('/chat')
