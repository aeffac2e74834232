"""Several connections of one client, and several tasks that end one."""
import threading
from typing import Any, Callable, Dict, List

import pytest
from socketio.packet import CONNECT, DISCONNECT, Packet

from redis_streams_adapter.clients import hooks
from redis_streams_adapter.clients.registry import HAS_PRE_CONNECT
from redis_streams_adapter.recovery.session import Outcome
from redis_streams_adapter.recovery.handover import YIELD_EVERY

from ...support.wait import DEADLINE, wait_until
from ...unit.fake_server import FakeClient
from ...unit.nodes import Call
from .harness import got, MakeNode, Node, pid_of


@pytest.mark.parametrize('where', ['here', 'there'])
def test_the_old_connection_looks_alive(node: Node, other: Node,
                                        where: str) -> None:
    """Its disconnect handler runs once; and it may come back to where it
    was."""
    client = node.connect()
    sid = client.sid
    client.socket.queue.put = lambda packet: None
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


def is_responsive(node: Node, client: FakeClient, sid: str) -> None:
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
    is_responsive(node, again, sid)
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
    is_responsive(node, again, sid)


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
    is_responsive(node, again.result(), sid)


@pytest.mark.parametrize('order', ['the last first', 'the last last'])
def test_two_on_their_way_into_one_node(
        node: Node, other: Node, order: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them another node has had the session, whose word that the
    first is superseded is still on its way."""
    client = node.connect()
    sid = client.sid
    client.lose()
    backlog = node.manager._parts.tracker._admission._backlog  # type: ignore
    taken: Dict[str, FakeClient] = {}

    def take(name: str) -> None:
        taken[name] = node.take(client)

    first = Late(monkeypatch, backlog, 'read', take, 'first')
    with monkeypatch.context() as patch:
        tracker: Any = other.manager._parts.tracker
        claims_there: Any = tracker._claims
        patch.setattr(claims_there, '_publish', lambda *args: None)
        between = other.take(client)
    assert between.sid == sid
    last = Late(monkeypatch, backlog, 'read', take, 'last')
    for each in (last, first) if order == 'the last first' else (first, last):
        each.go_on()
    wait_until(lambda: between.socket.closed)
    assert taken['first'].socket.closed
    is_responsive(node, taken['last'], sid)


def test_another_server_takes_it_over_before_its_reply(
        node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has not told yet: it gets nothing of what it has missed, of which
    the other server would not know, and comes again."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    winners: List[FakeClient] = []
    monkeypatch.setattr(node.manager._parts.tracker, 'superseded',
                        lambda *args: None)
    node.on_connect = lambda sid: winners.append(other.take(client))
    gone = node.take(client)
    assert gone.events() == []
    assert gone.reply() is None and gone.refusal() is None
    assert gone.socket.closed
    winner, = winners
    winner.wait_for('missed')
    is_responsive(other, winner, winner.sid)


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
