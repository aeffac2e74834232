"""A server takes over a client, from itself or from another server."""
import threading
from typing import Any, List

import pytest

from redis_streams_adapter.recovery.handover import YIELD_EVERY

from ...support.wait import wait_until
from .harness import client_with_offset, emit, lose_session, MakeNode, \
    wait_nothing_left


def test_client_gets_missed_event_from_other_server(
        make_node: MakeNode) -> None:
    """A client that returns to another server gets the missed event."""
    one, two = make_node(), make_node()
    client = client_with_offset(one)
    client.lose()
    emit(one, 'b')
    again = two.client().connect(client.back())
    again.await_names('b')
    assert again.sid == client.sid


def test_client_stays_connected_when_connect_handler_fails(
        make_node: MakeNode) -> None:
    """With ``always_connect`` a client whose connect handler raises is still
    connected, as without recovery."""
    one = make_node(always_connect=True)

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


def test_client_moves_to_other_server_and_back(make_node: MakeNode) -> None:
    """A client moves to another server and back, before its first server
    has read about the move."""
    one, two = make_node(), make_node()
    client = client_with_offset(one)
    wait_until(lambda: one.writer.local.of_pid(client.pid).stored)
    # The first server is frozen.
    frozen = threading.Event()
    handle = one.manager._live().channels[0].reader._handle

    def freeze(entry: Any) -> None:
        frozen.wait(20)
        handle(entry)

    one.manager._live().channels[0].reader._handle = freeze
    moved = two.client().connect(client.back())
    assert moved.sid == client.sid
    two.server.enter_room(moved.sid, 'new')
    two.server.save_session(moved.sid, {'name': 'new'})
    value = two.writer.local.of_pid(client.pid)
    wait_until(lambda: not value.has_changed and value.stored)
    emit(two, 'b')
    moved.await_names('b')
    lose_session(two, moved)
    emit(two, 'c', to='new')
    moved.sid = client.sid
    shown = {'pid': client.pid, 'offset': moved.offset}
    # It thaws while the client returns.
    threading.Timer(0.5, frozen.set).start()
    again = one.client().connect(shown)
    assert again.sid == client.sid
    assert 'new' in one.server.rooms(client.sid)
    assert one.server.get_session(client.sid) == {'name': 'new'}
    again.await_names('c')


@pytest.mark.parametrize('same', [True, False])
def test_session_is_claimed_by_one_connection(
        make_node: MakeNode, same: bool) -> None:
    """Two connections claim one session, and the second one is faster."""
    one = make_node()
    two = one if same else make_node()
    client = client_with_offset(one)
    client.lose()
    two.manager.start()
    wait_until(lambda: two.manager._live().is_connected)
    delivery = one.manager._live().delivery('/')
    reach, held, waits = delivery.reach, threading.Event(), threading.Event()

    def slow(*args: Any) -> bool:
        delivery.reach = reach
        waits.set()
        held.wait(10)
        return reach(*args)

    delivery.reach = slow
    first = one.client()
    task = threading.Thread(target=first.connect, args=(client.back(),))
    task.start()
    waits.wait(10)
    second = two.client().connect(client.back())
    emit(two, 'b')
    second.await_names('b')
    wait_until(lambda: not two.manager._live().delivery('/')._waiting)
    position = two.manager._live().delivery('/').position
    reach(position, 5)
    held.set()
    task.join()
    first.receive()
    # It gets no answer, least of all a new session: if it is the connection
    # that is still alive, the client retries.
    assert (first.socket.closed, first.sid) == (True, None)
    assert second.sid == client.sid


@pytest.mark.parametrize('same', [True, False])
@pytest.mark.parametrize('when', ['after', 'before'])
def test_newer_connection_replaces_lost_one(make_node: MakeNode, same: bool,
                                            when: str) -> None:
    """A returning client loses its connection again, and its next one shows
    the same session. The lost one is registered while the session is looked
    up, before or after Redis has answered."""
    one = make_node()
    other = one if same else make_node()
    client = client_with_offset(one)
    client.lose()
    other.manager.start()
    wait_until(lambda: other.manager._live().is_connected)
    emit(one, 'b')
    find, lost = one.writer.sessions.find, other.client()

    def slow(*args: Any) -> Any:
        one.writer.sessions.find = find
        found = find(*args) if when == 'after' else None
        assert lost.connect(client.back()).sid == client.sid
        return found or find(*args)

    one.writer.sessions.find = slow
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    again.await_names('b')
    wait_until(lambda: lost.socket.closed, what='the lost one to be dropped')
    assert again.socket.connected


def test_takeover_during_replay_keeps_order(make_node: MakeNode) -> None:
    """Events under way to the old connection change neither the order of
    events on the new one nor its state."""
    one = make_node()
    client = client_with_offset(one)
    client.lose()
    missed = [f'missed-{number}' for number in range(3 * YIELD_EVERY)]
    emit(one, *missed)
    runtime = one.manager._live()
    wait_until(lambda: not runtime.delivery('/').is_waiting)
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
    # It may have received some of them, and first has to send its offset.
    assert between.sid == client.sid and between.events == []
    wait_until(lambda: between.socket.closed)
    second = begin('second')
    sent = one.manager._parts.tracker._clients.delivery.sent
    *_, last = connections['second'].receive()
    assert str(sent[client.sid]) == last[-1]
    emit(one, 'live')
    wait_until(lambda: not runtime.delivery('/').is_waiting)
    go_on['second'].set()
    second.join()
    connections['second'].await_names(*missed, 'live')


def test_client_lost_before_takeover_keeps_session(
        make_node: MakeNode) -> None:
    """The client may be returning to another server: its session stays as
    it is."""
    one = make_node()
    client = client_with_offset(one)
    lose_session(one, client)
    before = one.writer.sessions.get(client.pid)
    lost = one.client()
    find = one.writer.sessions.find

    def slow(*args: Any) -> Any:
        lost.lose()
        return find(*args)

    one.writer.sessions.find = slow
    assert lost.connect(client.back()).sid is None
    assert one.writer.sessions.get(client.pid) == before


def test_client_lost_during_takeover_keeps_session(
        make_node: MakeNode) -> None:
    """The user session is there when the client returns the next time."""
    one = make_node()
    client = one.client().connect()
    one.server.save_session(client.sid, {'name': 'Ada'})
    client.lose()
    lost, register = one.client(), one.writer.local.register

    def lose(session: Any) -> None:
        register(session)
        lost.lose()

    one.writer.local.register = lose
    with pytest.raises(KeyError):
        # python-socketio does not find the connection any more.
        lost.connect({'pid': client.pid})
    one.writer.local.register = register
    assert lost.sid is None
    again = one.client().connect({'pid': client.pid})
    assert again.sid == client.sid
    assert one.server.get_session(again.sid) == {'name': 'Ada'}


def test_client_lost_in_connect_handler_keeps_session(
        make_node: MakeNode) -> None:
    """What the connect handler stored is there when the client returns."""
    one = make_node()
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


def test_returning_clients_wait_for_start(make_node: MakeNode) -> None:
    """Clients that return to a server wait until it has started."""
    one = make_node()
    clients = [one.client().connect() for _ in range(5)]
    emit(one, 'a')
    for client in clients:
        client.await_names('a')
        client.lose()
    two = make_node()
    begin = threading.Barrier(5)
    back: List[Any] = []

    def return_to_two(client: Any) -> None:
        begin.wait(5)
        back.append(two.client().connect(client.back()))

    tasks = [threading.Thread(target=return_to_two, args=(client,))
             for client in clients]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert {each.sid for each in back} == {each.sid for each in clients}


def test_superseded_session_is_not_written_again(
        make_node: MakeNode, redis_server: Any) -> None:
    """A session that another node has taken over and deleted is not written
    again, not even after Redis may have lost its data."""
    one = make_node()
    client = one.client().connect()
    lose_session(one, client)

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        one.writer.history_is_gone()
        one.writer.local.supersede(one.writer.local.of_sid(sid, '/'))
        with redis_server.client() as admin:
            admin.delete('sio:session:' + client.pid)
        one.server.enter_room(sid, 'room')

    again = one.client().connect(client.back())
    again.lose()
    wait_nothing_left(one)
    assert one.writer.sessions.get(client.pid) is None
