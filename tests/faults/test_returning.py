"""What must not happen to clients that return: found by reading."""
import enum
import json
import threading
import time
from datetime import date
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from redis_streams_adapter.clients import hooks
from redis_streams_adapter.stream.session_store import CHANGED
from redis_streams_adapter.recovery.tracker import YIELD_EVERY
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Unavailable

from ..support.recovering import RecoveringNode
from ..support.wait import wait_until

Make = Callable[..., RecoveringNode]


@pytest.fixture
def node(redis_server: Any, unique: Any) -> Iterator[Make]:
    """Makes servers of one cluster, each with its own stream by test."""
    nodes: List[RecoveringNode] = []
    stream = unique('stream')

    def make(**options: Any) -> RecoveringNode:
        nodes.append(RecoveringNode(redis_server.url, stream_name=stream,
                                    **options))
        return nodes[-1]

    yield make
    for each in nodes:
        each.close()


def emit(node: RecoveringNode, *names: str, **options: Any) -> None:
    for name in names:
        node.server.emit(name, 1, **options)


def test_harness(node: Make) -> None:
    """A client that returns to another server gets what it has missed."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    again = two.client().connect(client.back())
    again.await_names('b')
    assert again.sid == client.sid


def test_nothing_received_yet(node: Make) -> None:
    """The first event of all was on its way when the connection broke."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    wait_until(lambda: one.manager.stats()['delivered'] == 1)
    # The network has swallowed it.
    client.lose()
    shown = {'pid': client.pid}
    again = one.client().connect(shown)
    assert again.sid == client.sid
    again.await_names('a')


def test_emitted_before_the_first_client(node: Make) -> None:
    """What a server has emitted before it had a client, and a client that
    returns missed, it gets once."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    two = node()
    emit(two, 'b')
    two.manager.flush(5)
    again = two.client().connect(client.back())
    emit(two, 'c')
    wait_until(lambda: 'c' in again.names())
    assert again.names() == ['b', 'c']


def test_emits_without_clients_are_not_kept(node: Make) -> None:
    """A server that never has clients remembers nothing of its emits."""
    one = node()
    for _ in range(100):
        emit(one, 'a')
    one.manager.flush(5)
    timeline, = [each.timeline for each in one.manager._live()._channels]
    assert not timeline.is_waiting


def test_connection_of_sessions_was_cut(node: Make,
                                        redis_server: Any) -> None:
    """A server that was idle finds its connection for sessions dead."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    two = node()
    two.manager.start()
    # As a time limit of the server's or of the network's does it.
    sessions = two.keeper.sessions
    wait_until(lambda: sessions.connections)
    sock = sessions._servers._links[None]._connection._sock
    with redis_server.client() as admin:
        admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
    client.lose()
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_intended_is_not_recovered(node: Make) -> None:
    """A client that was disconnected, and is back before its session is
    deleted, is new."""
    one = node()
    client = one.client().connect()
    wait_until(lambda: one.keeper.local.of_pid(client.pid).is_settled)
    held = threading.Event()
    swap = one.keeper.sessions.swap

    def slow(swaps: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            held.wait(5)
        return swap(swaps)

    one.keeper.sessions.swap = slow
    try:
        one.server.disconnect(client.sid)
        again = one.client().connect(client.back())
    finally:
        held.set()
    assert again.sid != client.sid


def test_handler_fails_after_reply(node: Make) -> None:
    """With always_connect a client whose connect handler raises is still
    connected, as without recovery."""
    one = node(always_connect=True)

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        raise RuntimeError('the handler fails')

    client = one.client()
    with pytest.raises(RuntimeError):
        client.connect()
    client.receive()
    assert client.sid
    assert one.manager.is_connected(client.sid, '/')
    emit(one, 'a')
    client.await_names('a')


def test_back_where_it_came_from(node: Make) -> None:
    """A client moves to another server and back, before the first one has
    heard of it."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    wait_until(lambda: one.keeper.local.of_pid(client.pid).stored)
    # The first server is frozen.
    frozen = threading.Event()
    handle = one.manager._live()._channels[0].reader._handle

    def freeze(entry: Any) -> None:
        frozen.wait(20)
        handle(entry)

    one.manager._live()._channels[0].reader._handle = freeze
    moved = two.client().connect(client.back())
    assert moved.sid == client.sid
    two.server.enter_room(moved.sid, 'new')
    two.server.save_session(moved.sid, {'name': 'new'})
    value = two.keeper.local.of_pid(client.pid)
    wait_until(lambda: not value.has_changed and value.stored)
    emit(two, 'b')
    moved.await_names('b')
    moved.lose()
    wait_until(lambda: two.keeper.local.of_pid(client.pid) is None)
    emit(two, 'c', to='new')
    moved.sid = client.sid
    shown = {'pid': client.pid, 'offset': moved.offset}
    # It thaws while the client is on its way.
    threading.Timer(0.5, frozen.set).start()
    again = one.client().connect(shown)
    assert again.sid == client.sid
    assert 'new' in one.server.rooms(client.sid)
    assert one.server.get_session(client.sid) == {'name': 'new'}
    again.await_names('c')


def test_handler_clears_its_session(node: Make) -> None:
    """What a disconnect handler clears away is kept all the same."""
    one, two = node(), node()

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        with one.server.session(sid) as session:
            session.clear()

    client = one.client().connect()
    one.server.save_session(client.sid, {'name': 'me'})
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    assert two.server.get_session(again.sid) == {'name': 'me'}


def test_one_bad_session_harms_nobody_else(node: Make) -> None:
    """A session that cannot be described, whatever it raises, is one
    client's trouble."""
    one = node(recovery={'max_disconnection_duration': 4.0})
    bad, good = one.client().connect(), one.client().connect()
    wait_until(lambda: not one.keeper.local.of_pid(good.pid).has_changed)
    circle: Any = {}
    circle['circle'] = circle
    # As Flask-SocketIO keeps it.
    one.server.environ[bad.eio_sid]['saved_session'] = circle
    good_stay = one.keeper.local.of_pid(good.pid)
    written = good_stay.written
    wait_until(lambda: good_stay.written > written, 10,
               'the other session to be written again')


def test_page_fails(node: Make) -> None:
    """Redis cannot be asked for what was missed: the session stays."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    two.manager.start()
    page = two.keeper.sessions.page

    def fail(*args: Any) -> Any:
        two.keeper.sessions.page = page
        raise Unavailable('no reply from Redis in time')

    two.keeper.sessions.page = fail
    new = two.client().connect(client.back())
    assert new.sid != client.sid
    again = two.client().connect(client.back())
    assert again.sid == client.sid


@pytest.mark.parametrize('same', [True, False])
def test_one_session_has_one_winner(node: Make, same: bool) -> None:
    """Two connections show one session, and the second one is faster."""
    one = node()
    two = one if same else node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    two.manager.start()
    wait_until(lambda: two.manager._live().is_hearing)
    timeline = one.manager._live().timeline('/')
    reach, held, comes = timeline.reach, threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        timeline.reach = reach
        comes.set()
        held.wait(10)
        return reach(*args)

    timeline.reach = slow
    first = one.client()
    task = threading.Thread(target=first.connect, args=(client.back(),))
    task.start()
    comes.wait(10)
    second = two.client().connect(client.back())
    emit(two, 'b')
    second.await_names('b')
    wait_until(lambda: not two.manager._live().timeline('/')._waiting)
    position = two.manager._live().timeline('/').position
    reach(position, 5)
    held.set()
    task.join()
    first.receive()
    # It is told nothing, least of all that it is new: if this is the one
    # that lives, it comes back.
    assert (first.socket.closed, first.sid) == (True, None)
    assert second.sid == client.sid


@pytest.mark.parametrize('same', [True, False])
@pytest.mark.parametrize('when', ['after', 'before'])
def test_its_own_connection_was_faster(node: Make, same: bool,
                                       when: str) -> None:
    """A client loses its connection on its way back, and the next one shows
    the same session: while that is looked up, before or after Redis has
    answered, the one that is lost is registered."""
    one = node()
    other = one if same else node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    other.manager.start()
    wait_until(lambda: other.manager._live().is_hearing)
    emit(one, 'b')
    find, lost = one.keeper.sessions.find, other.client()

    def slow(*args: Any) -> Any:
        one.keeper.sessions.find = find
        found = find(*args) if when == 'after' else None
        assert lost.connect(client.back()).sid == client.sid
        return found or find(*args)

    one.keeper.sessions.find = slow
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')
    wait_until(lambda: lost.socket.closed, what='the lost one to be dropped')
    assert again.socket.connected


def test_taken_over_while_it_gets_what_it_missed(node: Make) -> None:
    """What is under way to the old connection does not disturb the new one:
    neither the order of what it gets, nor what is known of it."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    missed = [f'missed-{number}' for number in range(3 * YIELD_EVERY)]
    emit(one, *missed)
    runtime = one.manager._live()
    wait_until(lambda: not runtime.timeline('/').is_waiting)
    reached = {name: threading.Event() for name in ('first', 'second')}
    go_on = {name: threading.Event() for name in reached}
    pause = runtime.engine.pause

    def wait_between() -> None:
        name = threading.current_thread().name
        if name in reached:
            reached[name].set()
            go_on[name].wait(10)
        pause()

    runtime.engine.pause = wait_between
    connections = {name: one.client() for name in reached}

    def begin(name: str) -> threading.Thread:
        task = threading.Thread(target=connections[name].connect,
                                args=(client.back(),), name=name)
        task.start()
        assert reached[name].wait(10)
        return task

    first, between = begin('first'), one.client()
    task = threading.Thread(target=between.connect, args=(client.back(),))
    task.start()
    wait_until(lambda: connections['first'].socket.closed)
    go_on['first'].set()
    first.join()
    task.join()
    assert connections['first'].sid is None
    # It may have some of it: it has to say how much, first of all.
    assert between.sid == client.sid and between.events == []
    wait_until(lambda: between.socket.closed)
    second = begin('second')
    sent = one.manager._returning._clients.delivery.sent
    *_, last = connections['second'].receive()
    assert sent[client.sid].decode() == last[-1]
    emit(one, 'live')
    wait_until(lambda: not runtime.timeline('/').is_waiting)
    go_on['second'].set()
    second.join()
    connections['second'].await_names(*missed, 'live')


def test_lost_before_it_is_taken_over(node: Make) -> None:
    """It may be on its way elsewhere: its session stays as it is."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    before = one.keeper.sessions.get(client.pid)
    lost = one.client()
    find = one.keeper.sessions.find

    def slow(*args: Any) -> Any:
        lost.lose()
        return find(*args)

    one.keeper.sessions.find = slow
    assert lost.connect(client.back()).sid is None
    assert one.keeper.sessions.get(client.pid) == before


@pytest.mark.parametrize('missed', [(), ('b',), ('b', 'c')])
@pytest.mark.parametrize('sent', [False, True])
def test_begins_anew_and_receives_nothing(node: Make, sent: bool,
                                          missed: Any) -> None:
    """The JavaScript client still shows the offset of its former session,
    also when it was sent something over a connection that was half open."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    timeline = one.manager._live().timeline('/')
    emit(one, 'meanwhile')
    wait_until(lambda: not timeline.is_waiting)
    new = one.client().connect({'pid': 'unknown', 'offset': client.offset})
    assert new.sid != client.sid
    if sent:
        emit(one, 'half open')
        wait_until(lambda: not timeline.is_waiting)
    new.lose()
    emit(one, *missed)
    expected = ['half open', *missed] if sent else list(missed)
    for _ in range(2):
        again = one.client().connect(
            {'pid': new.pid, 'offset': client.offset})
        assert again.sid == new.sid
        again.await_names(*expected)
        again.lose()


def test_lost_while_it_is_taken_over(node: Make) -> None:
    """What its application keeps for it is there the next time."""
    one = node()
    client = one.client().connect()
    one.server.save_session(client.sid, {'name': 'Ada'})
    client.lose()
    lost, enter = one.client(), one.keeper.local.register

    def lose(stay: Any) -> None:
        enter(stay)
        lost.lose()

    one.keeper.local.register = lose
    with pytest.raises(KeyError):
        # python-socketio looks for what it knew of the connection.
        lost.connect({'pid': client.pid})
    one.keeper.local.register = enter
    assert lost.sid is None
    again = one.client().connect({'pid': client.pid})
    assert again.sid == client.sid
    assert one.server.get_session(again.sid) == {'name': 'Ada'}


def test_lost_in_its_connect_handler(node: Make) -> None:
    """What was kept for it before that is there the next time."""
    one = node()
    client = one.client().connect()
    client.lose()
    lost = one.client()

    def handler(sid: str, environ: Any) -> None:
        one.server.save_session(sid, {'name': 'Ada'})
        lost.lose()

    one.server.on('connect', handler)
    lost.connect({'pid': client.pid})
    one.server.on('connect', lambda sid, environ: None)
    again = one.client().connect({'pid': client.pid})
    assert again.sid == client.sid
    assert one.server.get_session(again.sid) == {'name': 'Ada'}


def test_comes_while_the_node_starts(node: Make) -> None:
    """Clients that return to a server that is just starting wait for it."""
    one = node()
    clients = [one.client().connect() for _ in range(5)]
    emit(one, 'a')
    for client in clients:
        client.await_names('a')
        client.lose()
    two = node()
    begin = threading.Barrier(5)
    back: List[Any] = []

    def come(client: Any) -> None:
        begin.wait(5)
        back.append(two.client().connect(client.back()))

    tasks = [threading.Thread(target=come, args=(client,))
             for client in clients]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert {each.sid for each in back} == {each.sid for each in clients}


def test_session_that_cannot_be_kept(node: Make) -> None:
    """A client returns to the server that still has it, and what is kept
    for it cannot be serialised: it is new, and not left without an
    answer."""
    one = node()
    client = one.client().connect()
    one.server.get_session(client.sid)['lock'] = threading.Lock()
    again = one.client().connect(client.back())
    assert again.sid and again.sid != client.sid
    outcome = one.manager.recovery(again.sid)
    assert outcome is not None and outcome.reason == 'unknown-session'


def test_sessions_live_on_in_a_full_redis(node: Make, make_redis: Any,
                                          caplog: Any) -> None:
    """Where Redis refuses to write, what is there is kept alive, and the
    log tells."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url,
                         recovery={'max_disconnection_duration': 3.0})
    try:
        client = one.client().connect()
        emit(one, 'a')
        client.await_names('a')
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: not stay.has_changed and stay.stored)
        key = 'sio:session:' + client.pid
        with server.client() as admin:
            admin.config_set('maxmemory', 1)
            one.server.enter_room(client.sid, 'room')
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 5.0
                       or not admin.exists(key))
            assert admin.exists(key)
            admin.config_set('maxmemory', 0)
            wait_until(lambda: not stay.has_changed and stay.is_held)
            assert admin.exists(key)
        # Redis 6.2 quotes it in an error of the script.
        assert any('session' in line
                   and ('OutOfMemory' in line or 'OOM' in line)
                   for line in caplog.messages)
    finally:
        one.close()


def left_over(node: RecoveringNode) -> Any:
    """What a server still knows of clients."""
    returning, delivery = node.manager._returning, node.manager._delivery
    timeline = node.manager._live().timeline('/')
    return {name: value for name, value in {
        'visits': returning._visits,
        'outcomes': returning._outcomes._outcomes,
        'sent': delivery.sent, 'held': delivery._held,
        'connected': node.keeper.local._by_sid,
        'sessions': node.keeper.local._by_pid,
        'rooms': node.manager.rooms, 'environ': node.server.environ,
        'pending': getattr(node.manager, 'pending_connect', None),
        'going': node.manager.pending_disconnect,
        'awaited': timeline._awaited, 'waiting': timeline._waiting,
    }.items() if value}


@pytest.mark.parametrize('returns', [False, True])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', [
    'refuses', 'raises', 'dies', 'dies and raises', 'dies and refuses',
    'disconnects'])
def test_nothing_is_left(node: Make, way: str, always_connect: bool,
                         returns: bool) -> None:
    """However a connect ends, nothing of it stays behind."""
    one = node(always_connect=always_connect)
    two = node(always_connect=always_connect)
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    calls: List[str] = []
    coming = two.client()

    @two.server.event
    def connect(sid: str, environ: Any) -> Any:
        calls.append('connect')
        two.server.emit('hello', 1, to=sid)
        if 'dies' in way:
            coming.lose()
        if way == 'disconnects':
            two.server.disconnect(sid)
        if 'raises' in way:
            raise RuntimeError('the handler fails')
        return False if 'refuses' in way else None

    @two.server.event
    def disconnect(sid: str, reason: str) -> None:
        calls.append('disconnect')

    try:
        coming.connect(client.back() if returns else None)
    except RuntimeError:
        assert 'raises' in way
    except KeyError:
        # So python-socketio has it: it is gone already.
        assert way == 'dies and refuses'
    coming.lose()
    if way == 'dies and refuses':
        # So python-socketio has it, too.
        two.manager.pending_disconnect.clear()
    wait_until(lambda: not left_over(two),
               what=lambda: f'nothing to be left, there is {left_over(two)}')
    if 'refuses' in way:
        assert 'b' not in coming.names()
    if way == 'refuses':
        assert 'disconnect' not in calls
    if way == 'dies':
        assert calls == ['connect', 'disconnect']


@pytest.mark.parametrize('shown', [None, {'pid': 'unknown'}])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', ['raises', 'dies', 'dies and raises'])
def test_nothing_is_left_of_who_takes_no_part(
        node: Make, way: str, always_connect: bool, shown: Any) -> None:
    one = node(always_connect=always_connect,
               recovery={'accepts': lambda *_: False})
    coming = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        if 'dies' in way:
            coming.lose()
        if 'raises' in way:
            raise RuntimeError('the handler fails')

    try:
        coming.connect(shown)
    except RuntimeError:
        assert 'raises' in way
    coming.lose()
    wait_until(lambda: not left_over(one),
               what=lambda: f'nothing to be left, there is {left_over(one)}')


@pytest.mark.parametrize('way', ['lost', 'disconnected'])
def test_disconnect_handler_fails(node: Make, way: str, caplog: Any) -> None:
    """Nothing of the client stays behind, in any namespace, and it can
    return."""
    one = node()
    client = one.client()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        raise RuntimeError('the handler fails')

    client.connect(namespace='/more')
    client.connect()
    if way == 'disconnected':
        one.server.disconnect(client.sid)
    client.lose()
    wait_until(lambda: not left_over(one),
               what=lambda: f'nothing to be left, there is {left_over(one)}')
    assert any('handler of' in line for line in caplog.messages)
    again = one.client().connect(client.back())
    assert (again.sid == client.sid) == (way == 'lost')


def test_refused_when_it_was_gone_already(node: Make) -> None:
    """A client whose connection was lost while it was refused returns, and
    is connected."""
    one = node(always_connect=True)
    coming = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> Any:
        if coming.socket.closed:
            return None
        coming.lose()
        return False

    try:
        coming.connect()
    except KeyError:
        # So python-socketio has it.
        coming.receive()
    again = one.client().connect(coming.back())
    assert again.sid == coming.sid
    assert one.manager.is_connected(again.sid, '/')


def test_one_bad_event_harms_nobody_else(node: Make) -> None:
    """A missed event that cannot be encoded for clients is left out."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b', 'bad', 'c')
    two.manager.start()
    delivery = two.manager._delivery
    encode = delivery.encode

    def picky(namespace: str, args: Any, *more: Any) -> Any:
        if args[0] == 'bad':
            raise OverflowError('msgpack cannot have it')
        return encode(namespace, args, *more)

    delivery.encode = picky
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b', 'c')
    emit(one, 'd')
    again.await_names('b', 'c', 'd')


def test_emitted_as_it_was(node: Make) -> None:
    """What is emitted is what it was when it was emitted, bytes too."""
    one = node()
    client = one.client().connect()
    data = bytearray(b'before')
    one.server.emit('a', data)
    data[:] = b'behind'
    parts: List[Any] = []

    def arrived() -> bool:
        while not client.socket.queue.empty():
            packet = client.socket.queue.get()
            if packet is not None and packet.binary:
                parts.append(packet.data)
        return bool(parts)

    wait_until(arrived)
    assert parts == [b'before']


class Name(str, enum.Enum):
    """How applications name rooms."""

    ROOM = 'room'


def test_rooms_with_names_of_a_class(node: Make) -> None:
    """A room whose name is text of another class is one that others can
    name."""
    one, two = node(), node()
    client = one.client().connect()
    one.server.enter_room(client.sid, Name.ROOM)
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert set(two.server.rooms(again.sid)) == {client.sid, 'room'}


def test_text_by_json_is_text(node: Make) -> None:
    """What a JSON module makes text of does not become the offset of a
    client."""
    class Json:
        """Knows dates."""

        loads = staticmethod(json.loads)

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            return json.dumps(value, default=str, **options)

    one = node()
    one.server.packet_class = type(
        'Packet', (one.server.packet_class,), {'json': Json})
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    one.server.emit('b', date(2026, 1, 1), ignore_queue=True)
    client.await_names('a', 'b')
    assert client.offset and '-' in client.offset
    assert not client.offset.startswith('2026-01')


def test_writes_that_never_went_out_are_not_kept(make_redis: Any) -> None:
    """While Redis is away the keeper tries again and again, and remembers
    of that what Redis may have, once."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url)
    try:
        client = one.client().connect()
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: not stay.has_changed and stay.stored)
        server.kill()
        one.server.enter_room(client.sid, 'room')
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 3)
        assert len(stay.doubtful) <= 2
    finally:
        one.close()


def test_comes_while_connections_are_made_anew(node: Make,
                                               redis_server: Any) -> None:
    """A client that returns in the moment in which a node's connections to
    Redis were cut is recovered."""
    one, two = node(), node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    two.manager.start()
    runtime = two.manager._live()
    with redis_server.client() as admin:
        admin.execute_command('CLIENT', 'KILL', 'TYPE', 'normal',
                              'SKIPME', 'yes')
    wait_until(lambda: not runtime.is_hearing)
    again = two.client().connect(client.back())
    assert again.sid == client.sid


def test_after_the_database_was_emptied(make_redis: Any) -> None:
    """Redis has lost everything, and clients stay connected: from then on
    they can be recovered again."""
    server = make_redis()
    server.start()
    if not server.counts_entries():
        pytest.skip('this Redis does not show that its stream is another one')
    one, two = RecoveringNode(server.url), RecoveringNode(server.url)
    try:
        client = one.client().connect()
        two.manager.start()
        emit(one, 'a')
        client.await_names('a')
        with server.client() as admin:
            admin.flushall()
        emit(two, 'b')
        client.await_names('a', 'b')
        key = 'sio:session:' + client.pid
        with server.client() as admin:
            wait_until(lambda: admin.exists(key))
        client.lose()
        emit(one, 'c')
        again = two.client().connect(client.back())
        assert again.sid == client.sid
        again.await_names('c')
    finally:
        one.close()
        two.close()


def test_clients_of_a_server_that_closes(node: Make) -> None:
    """A server ends in good order, and its clients are recovered."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    one.server.enter_room(client.sid, 'room')
    emit(one, 'b', to='room')
    one.close()
    emit(two, 'c', to='room')
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b', 'c')


def test_own_entry_stands_there_twice(node: Make, redis_server: Any) -> None:
    """A copy of an own entry, which a lost command has left, is not missed
    twice."""
    one = node()
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    one.manager.flush(5)
    key = one.manager._live()._channels[0].key
    with redis_server.client() as admin:
        fields = [fields for _, fields in admin.xrange(key)
                  if b'"b"' in fields.get(b'data', b'')][0]
        copy = admin.xadd(key, fields)
    assert one.manager._live().timeline('/').reach(
        Position.parse(copy), 5)
    again = one.client().connect(client.back())
    emit(one, 'c')
    again.await_names('b', 'c')


def test_outage_with_many_clients(make_redis: Any) -> None:
    """What waits in an outage does not cost memory by clients, and comes to
    all but those who were disconnected, who get it at once."""
    server = make_redis(append_only=True)
    server.start()
    one = RecoveringNode(server.url)
    try:
        clients = [one.client().connect() for _ in range(20)]
        server.kill()
        names = [f'e{number}' for number in range(500)]
        emit(one, *names[:400])
        one.server.disconnect(clients[0].sid)
        assert clients[0].names() == names[:400]
        emit(one, *names[400:])
        waiting = one.manager._live().timeline('/')._waiting
        lists = {id(load.clients) for each in waiting for load in each.loads}
        assert len(lists) < 250
        server.start()
        for client in clients[1:]:
            client.await_names(*names)
    finally:
        one.close()


def test_session_is_gone_on_a_new_connection(make_redis: Any) -> None:
    """A session that is written on a connection that was just made anew, to
    a Redis that has started empty, is written, not taken for claimed."""
    server = make_redis()
    server.start()
    one = RecoveringNode(server.url)
    try:
        client = one.client().connect()
        stay = one.keeper.local.of_pid(client.pid)
        wait_until(lambda: stay.stored and not stay.has_changed)
        key = 'sio:session:' + client.pid
        # As the reader has not noticed it yet.
        one.keeper.history_is_gone = lambda: None
        with server.client() as admin:
            admin.delete(key)
            sock = one.keeper.sessions._servers._links[None]._connection._sock
            admin.client_kill_filter(addr='%s:%d' % sock.getsockname())
            one.server.enter_room(client.sid, 'room')
            wait_until(lambda: admin.exists(key))
        assert stay.is_held
    finally:
        one.close()


def test_its_last_session_is_just_written(node: Make) -> None:
    """A client returns to its server, whose keeper writes the session while
    it is claimed: what the old connection left counts."""
    one = node()
    client = one.client().connect()
    wait_until(lambda: one.keeper.local.of_pid(client.pid).stored)
    swap, claims = one.keeper.sessions.swap, []

    def late(swaps: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise Unavailable('no reply from Redis in time')
        claims.append(swaps)
        return [CHANGED] if len(claims) == 1 else swap(swaps)

    one.keeper.sessions.swap = late
    one.server.enter_room(client.sid, 'late')
    again = one.client().connect({'pid': client.pid})
    assert len(claims) >= 2
    assert again.sid == client.sid
    assert 'late' in one.server.rooms(again.sid)


def check_turned_away(connection: Any, client: Any) -> None:
    """It is not told that it is new: it comes back by itself, and finds
    another server then."""
    connection.connect(client.back())
    assert (connection.socket.closed, connection.sid) == (True, None)


def test_returns_to_a_server_that_closes(node: Make) -> None:
    """From its goodbye on a server does not take in what others emit, so it
    takes nobody over; the next one does."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    reach = two.manager._live().timeline('/').reach

    def close(*args: Any) -> bool:
        done = reach(*args)
        two.manager._live().timeline('/').reach = reach
        two.manager.close()
        return bool(done)

    two.manager._live().timeline('/').reach = close
    check_turned_away(two.client(), client)
    # Also when it has closed.
    check_turned_away(two.client(), client)
    emit(one, 'b')
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


def stop_while_it_closes(node: RecoveringNode) -> Callable[[], None]:
    """Let a server take its leave, and stop before its tasks end.

    :return: goes on, and waits for the end.
    """
    runtime = node.manager._live()
    flush, there, go_on = runtime.flush, threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        there.set()
        go_on.wait(10)
        return flush(*args)

    runtime.flush = slow  # type: ignore
    task = threading.Thread(target=node.close)
    task.start()
    assert there.wait(10)

    def finish() -> None:
        go_on.set()
        task.join()

    return finish


def test_lost_while_its_server_closes(node: Make) -> None:
    """What is read behind the goodbye was handed to nobody."""
    one, two = node(), node()
    client = one.client().connect()
    two.manager.start()
    emit(one, 'a')
    client.await_names('a')
    finish = stop_while_it_closes(one)
    emit(two, 'b')
    timeline = two.manager._live().timeline('/')
    wait_until(lambda: not timeline.is_waiting)
    assert one.manager._live().timeline('/').reach(timeline.position, 5)
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    finish()
    assert client.names() == ['a']
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')


@pytest.mark.parametrize('takes_part', [False, True])
@pytest.mark.parametrize('when', ['while', 'after'])
def test_new_at_a_server_that_closes(node: Make, when: str,
                                     takes_part: bool) -> None:
    """It would get nothing of what others emit, and have no session: it is
    turned away, and comes to another server."""
    one = node(recovery={'accepts': lambda *_: takes_part})
    one.client().connect()
    finish = stop_while_it_closes(one)
    if when == 'after':
        finish()
    coming = one.client().connect()
    finish()
    assert (coming.socket.closed, coming.sid) == (True, None)
    assert coming.refused is None


def stop_in_disconnect_handler(node: RecoveringNode, namespace: str = '/'
                               ) -> Tuple[threading.Event, List[str],
                                          threading.Event]:
    """Let the first disconnect handler of a server take its time.

    :return: what is set when it runs, whose have run, and what lets it end.
    """
    runs, go_on, sids = threading.Event(), threading.Event(), []

    def disconnect(sid: str, reason: str) -> None:
        sids.append(sid)
        if len(sids) == 1:
            runs.set()
            go_on.wait(10)

    node.server.on('disconnect', disconnect, namespace=namespace)
    return runs, sids, go_on


def check_is_new(node: RecoveringNode, client: Any) -> None:
    """It returns, and is not recovered."""
    again = node.client().connect(client.back())
    assert again.sid and again.sid != client.sid


@pytest.mark.parametrize('by_another', [False, True])
@pytest.mark.parametrize('close', [False, True])
def test_lost_before_it_is_disconnected(node: Make, close: bool,
                                        by_another: bool) -> None:
    """Many are disconnected at once, which takes as long as their handlers
    do: one whose connection is lost before its turn comes is disconnected on
    purpose all the same."""
    one, two = node(), node()
    two.manager.start()
    clients = [one.client().connect() for _ in range(2)]
    emit(one, 'a')
    for client in clients:
        client.await_names('a')
    runs, sids, go_on = stop_in_disconnect_handler(one)
    (two if by_another else one).manager.disconnect_sockets(close=close)
    assert runs.wait(10)
    waiting, = [each for each in clients if each.sid not in sids]
    waiting.lose()
    go_on.set()
    check_is_new(one, waiting)


@pytest.mark.parametrize('handled', [False, True])
def test_disconnected_when_it_is_lost(node: Make, handled: bool) -> None:
    """An application disconnects a client whose connection was just lost:
    before its disconnect handler runs, or while it does."""
    one = node()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')
    client = one.client()
    client.connect(namespace='/more')
    client.connect()
    runs, _, go_on = stop_in_disconnect_handler(
        one, '/' if handled else '/more')
    task = threading.Thread(target=client.lose)
    task.start()
    assert runs.wait(10)
    one.server.disconnect(client.sid)
    go_on.set()
    task.join()
    check_is_new(one, client)


@pytest.mark.parametrize('same', [True, False])
def test_its_rooms_change_when_it_is_lost(node: Make, same: bool) -> None:
    """While its disconnect handler runs, an application lets a client enter
    one room and leave another; what the handler does itself is no matter."""
    one = node()
    two = one if same else node()
    client = one.client().connect()
    two.manager.start()
    for room in ('old', 'kept'):
        one.server.enter_room(client.sid, room)
    runs, go_on = threading.Event(), threading.Event()

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        one.server.leave_room(sid, 'kept')
        runs.set()
        go_on.wait(10)

    task = threading.Thread(target=client.lose)
    task.start()
    assert runs.wait(10)
    one.server.enter_room(client.sid, 'new')
    one.server.leave_room(client.sid, 'old')
    go_on.set()
    task.join()
    one.manager.flush(5)
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    assert set(two.server.rooms(again.sid)) == {again.sid, 'kept', 'new'}


def test_disconnected_while_it_comes(node: Make) -> None:
    """All clients are told to go, also one whose connect handler runs."""
    one = node()

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        one.manager.disconnect_sockets(to=sid)
        wait_until(lambda: one.keeper.local.of_sid(sid, '/').is_discarded)

    client = one.client().connect()
    assert '1' in client.received
    one.server.on('connect', lambda sid, environ: None)
    check_is_new(one, client)


def test_turned_away_while_its_connection_ends(node: Make) -> None:
    """It is told nothing, so that it comes back in all namespaces, also
    where the end takes its time."""
    one = node()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')
    client = one.client().connect()
    client.lose()
    again = one.client()
    again.connect(namespace='/more')
    runs, _, go_on = stop_in_disconnect_handler(one, '/more')
    task = threading.Thread(target=again.lose)
    task.start()
    assert runs.wait(10)
    again.connect(client.back())
    go_on.set()
    task.join()
    assert again.refused is None


def test_two_tasks_see_that_it_is_lost(node: Make) -> None:
    """The one that is second does not disturb the connection that has taken
    the client over by then."""
    one = node()
    other, client = one.client().connect(), one.client().connect()
    returning = one.manager._returning
    leave, calls = returning.leave, []
    stands, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            stands.set()
            go_on.wait(10)
        leave(*args)

    returning.leave = slow
    first = threading.Thread(target=client.lose)
    first.start()
    assert stands.wait(10)
    # As at the end of its connect.
    hooks.lose(one.server, client.eio_sid, '/')
    assert len(calls) == 1
    again = one.client()
    second = threading.Thread(target=again.connect, args=(client.back(),))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert again.sid == client.sid
    emit(one, 'b')
    again.await_names('b')
    other.await_names('b')


def test_comes_while_its_namespace_is_left(node: Make) -> None:
    """A namespace without handlers is served as long as there are clients:
    while a server puts together which ones there are, one comes."""
    one = node()
    one.server.namespaces = '*'
    client = one.client()
    client.connect(namespace='/own')
    client.lose()
    runtime = one.manager._live()
    namespaces, task = runtime._namespaces, threading.current_thread()
    looked, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        found = list(namespaces())
        if threading.current_thread() is task:
            looked.set()
            go_on.wait(10)
        return found

    runtime._namespaces = slow
    task = threading.Thread(target=runtime.serve_namespaces)
    task.start()
    assert looked.wait(10)
    again = one.client()
    comes = threading.Thread(
        target=again.connect, args=(client.back(), '/own'))
    comes.start()
    # It waits for the other one, or need not.
    comes.join(0.5)
    go_on.set()
    task.join()
    comes.join()
    assert again.sid == client.sid
    assert runtime._node.serves('/own')


def test_taken_over_while_its_connect_handler_runs(
        node: Make, redis_server: Any) -> None:
    """What another node has had, and deleted since, is not written again,
    also where Redis may have dropped it."""
    one = node()
    client = one.client().connect()
    client.lose()
    wait_until(lambda: one.keeper.local.of_pid(client.pid) is None)

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        one.keeper.history_is_gone()
        one.keeper.local.supersede(one.keeper.local.of_sid(sid, '/'))
        with redis_server.client() as admin:
            admin.delete('sio:session:' + client.pid)
        one.server.enter_room(sid, 'room')

    again = one.client().connect(client.back())
    again.lose()
    wait_until(lambda: not left_over(one))
    assert one.keeper.sessions.get(client.pid) is None
