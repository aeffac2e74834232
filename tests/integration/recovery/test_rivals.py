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
from .harness import MakeNode, Node, pid_of, received


@pytest.mark.parametrize('where', ['here', 'there'])
def test_old_connection_that_looks_alive(node: Node, other: Node,
                                         where: str) -> None:
    """Its disconnect handler runs once, and it may return to the node it was
    on."""
    client = node.connect()
    sid = client.sid
    client.socket.queue.put = lambda packet: None
    node.server.emit('lost', to=sid)
    node.manager.flush()
    target = node if where == 'here' else other
    again = target.reconnect(client)
    again.wait_for('lost')
    wait_until(lambda: client.socket.closed)
    assert node.disconnects == [(sid, 'transport close')]
    assert target.outcome(again) == Outcome(True)
    again.lose()
    third = node.reconnect(again)
    assert third.reply()['sid'] == sid
    assert node.outcome(third) == Outcome(True)
    assert received(third) == []
    assert len(node.disconnects + other.disconnects) == 2


@pytest.mark.parametrize('when', ['in its handler', 'in the middle'])
def test_take_over_before_the_reply(node: Node,
                                    monkeypatch: pytest.MonkeyPatch,
                                    when: str) -> None:
    """While it receives missed events: it gets no more, and no reply."""
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
    first = Call(node.reconnect, client)
    assert began.wait(DEADLINE)
    eio_sid, = set(node.server.eio.sockets) - before
    second = Call(node.reconnect, client)
    wait_until(lambda: hooks.is_closing(node.server, eio_sid))
    may_go_on.set()
    gone = first.result()
    assert gone.reply() is None and gone.refusal() is None
    assert len(gone.received('missed')) <= 3 * YIELD_EVERY
    winner = second.result()
    if when == 'in the middle':
        # It may have received some: its next connect shows that, once it has
        # read its reply.
        assert winner.reply()['pid'] == pid_of(client)
        assert winner.socket.closed and winner.events() == []
        winner = node.reconnect(winner)
    winner.wait_for('missed', 3 * YIELD_EVERY)
    node.server.emit('live')
    winner.wait_for('live')
    assert node.outcome(winner) == Outcome(True)


def test_concurrent_returns_have_one_winner(node: Node, other: Node) -> None:
    for _ in range(5):
        client = node.connect()
        sid = client.sid
        client.lose()
        calls = [Call((node, other)[number % 2].reconnect, client)
                 for number in range(6)]
        again = [call.result() for call in calls]
        recovered = [each for each in again
                     if each.reply() and each.reply()['sid'] == sid]
        # The last one has taken over from all others, also from those without
        # a reply yet.
        wait_until(
            lambda: sum(not each.socket.closed for each in recovered) == 1,
            what=lambda: f'one alone of {[vars(each) for each in again]}; '
                         f'here are {node.remains()}, {other.remains()}')
        for each in again:
            if each not in recovered:
                assert each.reply()['pid'] != pid_of(client) \
                    if each.reply() else each.socket.closed


class Late:
    """Stops a thread in a method, once the result is computed.

    :param function: called immediately, in that thread.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any,
                 name: str, function: Callable[..., Any],
                 *args: Any) -> None:
        method = getattr(owner, name)
        is_paused, self._go_on = threading.Event(), threading.Event()

        def stop(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if threading.current_thread() is thread \
                    and not is_paused.is_set():
                is_paused.set()
                self._go_on.wait(DEADLINE)
            return result

        monkeypatch.setattr(owner, name, stop)
        self._thread = thread = threading.Thread(
            target=function, args=args, daemon=True)
        thread.start()
        assert is_paused.wait(DEADLINE), f'{name} is not called'

    def go_on(self) -> None:
        """Let the method return."""
        self._go_on.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def check_connected(node: Node, client: FakeClient, sid: str) -> None:
    """It is connected here, and receives events."""
    assert client.sid == sid
    assert not client.socket.closed and not client.was_disconnected()
    assert node.outcome(client) == Outcome(True)
    node.server.emit('well', to=sid)
    client.wait_for('well')
    assert set(node.server.rooms(sid)) == {sid}


@pytest.mark.parametrize('name', ['sid_from_eio_sid', 'is_connected'])
def test_late_end_of_a_connection(node: Node, name: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """A second task sees that a connection has ended, and before it reacts
    another one has taken over the client."""
    client = node.connect()
    sid = client.sid
    late = Late(monkeypatch, node.manager, name,
                node.server._handle_disconnect, client.eio_sid, '/')
    client.lose()
    again = node.reconnect(client)
    late.go_on()
    check_connected(node, again, sid)
    assert [each[0] for each in node.disconnects] == [sid]


@pytest.mark.parametrize('always', [True, False])
def test_client_that_is_disconnected_twice(
        make: MakeNode, always: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends while a task is about to disconnect it."""
    node = make({'always_connect': always})
    client = node.connect()
    sid = client.sid
    late = Late(monkeypatch, node.manager, 'is_connected',
                lambda: node.server.disconnect(sid, ignore_queue=True))
    client.lose()
    late.go_on()
    assert [each[0] for each in node.disconnects] == [sid]
    again = node.reconnect(client)
    check_connected(node, again, sid)


def test_late_refusal(node: Node) -> None:
    """The connect handler that refuses it outlives its connection."""
    client = node.connect()
    sid = client.sid
    client.lose()
    is_refusing, go_on = threading.Event(), threading.Event()

    def refuse(sid: str) -> Any:
        node.on_connect = lambda sid: None
        is_refusing.set()
        go_on.wait(DEADLINE)
        return False

    node.on_connect = refuse
    late = Call(node.reconnect, client)
    assert is_refusing.wait(DEADLINE)
    lost = node.server.eio.sockets[max(
        node.server.eio.sockets, key=lambda name: int(name.split('-')[1]))]
    lost.close(reason='transport close')
    again = Call(node.reconnect, client)
    if HAS_PRE_CONNECT:
        # It stays registered until its handler returns.
        go_on.set()
    assert again.result().reply()['sid'] == sid
    go_on.set()
    late.result()
    check_connected(node, again.result(), sid)


@pytest.mark.parametrize('order', ['the last first', 'the last last'])
def test_two_connections_on_one_node(node: Node, other: Node, order: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """In between, another node has had the session; its message that the
    first is superseded has not arrived yet."""
    client = node.connect()
    sid = client.sid
    client.lose()
    backlog = node.manager._parts.tracker._admission._backlog  # type: ignore
    taken: Dict[str, FakeClient] = {}

    def take(name: str) -> None:
        taken[name] = node.reconnect(client)

    first = Late(monkeypatch, backlog, 'read', take, 'first')
    with monkeypatch.context() as patch:
        tracker: Any = other.manager._parts.tracker
        claims_there: Any = tracker._claims
        patch.setattr(claims_there, '_publish', lambda *args: None)
        between = other.reconnect(client)
    assert between.sid == sid
    last = Late(monkeypatch, backlog, 'read', take, 'last')
    for each in (last, first) if order == 'the last first' else (first, last):
        each.go_on()
    wait_until(lambda: between.socket.closed)
    assert taken['first'].socket.closed
    check_connected(node, taken['last'], sid)


def test_take_over_by_another_server_before_the_reply(
        node: Node, other: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other server has not announced it yet. The client gets none of the
    missed events, which the other server would not know of, and returns."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()
    winners: List[FakeClient] = []
    monkeypatch.setattr(node.manager._parts.tracker, 'superseded',
                        lambda *args: None)
    node.on_connect = lambda sid: winners.append(other.reconnect(client))
    gone = node.reconnect(client)
    assert gone.events() == []
    assert gone.reply() is None and gone.refusal() is None
    assert gone.socket.closed
    winner, = winners
    winner.wait_for('missed')
    check_connected(other, winner, winner.sid)


def test_disconnect_before_the_next_connect(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other clients on its connection are not affected."""
    client = node.connect()
    client.lose()
    node.server.emit('missed')
    node.manager.flush()

    def stop_reading(sid: str) -> None:
        connection = node.server.manager.eio_sid_from_sid(sid, '/')
        node.server.eio.sockets[connection].reads = False

    node.on_connect = stop_reading
    node.reconnect(client).wait_for('missed')
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
