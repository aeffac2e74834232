"""Clients that are disconnected while they are lost or connect."""
import threading
from typing import Any

import pytest

from redis_streams_adapter.clients import hooks

from ...support.wait import wait_until
from .harness import check_is_new, emit, MakeNode, \
    pause_disconnect_handler


def test_disconnected_client_is_not_recovered(make_node: MakeNode) -> None:
    """A client that was disconnected on purpose is new, even if it returns
    before its session is deleted."""
    one = make_node()
    client = one.client().connect()
    wait_until(lambda: one.writer.local.of_pid(client.pid).is_settled)
    held = threading.Event()
    swap = one.writer.sessions.swap

    def slow(swaps: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            held.wait(5)
        return swap(swaps)

    one.writer.sessions.swap = slow
    try:
        one.server.disconnect(client.sid)
        again = one.client().connect(client.back())
    finally:
        held.set()
    assert again.sid != client.sid


@pytest.mark.parametrize('by_another', [False, True])
@pytest.mark.parametrize('close', [False, True])
def test_client_lost_before_disconnect_is_not_recovered(
        make_node: MakeNode, close: bool, by_another: bool) -> None:
    """Many clients are disconnected at once, one handler after the other. A
    client whose connection breaks before its turn still counts as
    disconnected on purpose."""
    one, two = make_node(), make_node()
    two.manager.start()
    clients = [one.client().connect() for _ in range(2)]
    emit(one, 'a')
    for client in clients:
        client.await_names('a')
    runs, sids, go_on = pause_disconnect_handler(one)
    (two if by_another else one).manager.disconnect_sockets(close=close)
    assert runs.wait(10)
    waiting, = [each for each in clients if each.sid not in sids]
    waiting.lose()
    go_on.set()
    check_is_new(one, waiting)


@pytest.mark.parametrize('handled', [False, True])
def test_client_lost_during_disconnect_is_not_recovered(
        make_node: MakeNode, handled: bool) -> None:
    """The application disconnects a client whose connection was just lost,
    before or while its disconnect handler runs."""
    one = make_node()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')
    client = one.client()
    client.connect(namespace='/more')
    client.connect()
    runs, _, go_on = pause_disconnect_handler(
        one, '/' if handled else '/more')
    task = threading.Thread(target=client.lose)
    task.start()
    assert runs.wait(10)
    one.server.disconnect(client.sid)
    go_on.set()
    task.join()
    check_is_new(one, client)


@pytest.mark.parametrize('same', [True, False])
def test_room_changes_apply_when_client_is_lost(
        make_node: MakeNode, same: bool) -> None:
    """Room changes made while the disconnect handler runs apply when the
    client returns; those of the handler itself do not."""
    one = make_node()
    two = one if same else make_node()
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
    wait_until(lambda: one.writer.local.of_pid(client.pid) is None)
    again = two.client().connect(client.back())
    assert again.sid == client.sid
    assert set(two.server.rooms(again.sid)) == {again.sid, 'kept', 'new'}


def test_client_disconnected_while_connecting_is_not_recovered(
        make_node: MakeNode) -> None:
    """disconnect_sockets() also ends a client whose connect handler runs."""
    one = make_node()

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        one.manager.disconnect_sockets(to=sid)
        wait_until(lambda: one.writer.local.of_sid(sid, '/').is_discarded)

    client = one.client().connect()
    assert '1' in client.received
    one.server.on('connect', lambda sid, environ: None)
    check_is_new(one, client)


def test_rejected_client_gets_no_answer(make_node: MakeNode) -> None:
    """A client that connects while its connection ends gets no answer, even
    if the end takes long, so that it returns in all namespaces."""
    one = make_node()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')
    client = one.client().connect()
    client.lose()
    again = one.client()
    again.connect(namespace='/more')
    runs, _, go_on = pause_disconnect_handler(one, '/more')
    task = threading.Thread(target=again.lose)
    task.start()
    assert runs.wait(10)
    again.connect(client.back())
    go_on.set()
    task.join()
    assert again.refused is None


def test_second_loss_spares_new_connection(make_node: MakeNode) -> None:
    """Two tasks notice that a connection is lost. The second one does not
    disturb the connection that has taken over the client."""
    one = make_node()
    other, client = one.client().connect(), one.client().connect()
    tracker = one.manager._parts.tracker
    leave, calls = tracker.leave, []
    paused, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            paused.set()
            go_on.wait(10)
        leave(*args)

    tracker.leave = slow
    first = threading.Thread(target=client.lose)
    first.start()
    assert paused.wait(10)
    # As at the end of the client's connect.
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
