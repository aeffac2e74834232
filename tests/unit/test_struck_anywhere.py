"""An exception at any line leaves the state consistent: a task is started
once, an entry is counted once, and no lock is held."""
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.cluster import members
from redis_streams_adapter.protocol import discovery
from redis_streams_adapter.concurrency.limiter import Limiter
from redis_streams_adapter.concurrency.locks import ThreadEvent
from redis_streams_adapter.protocol.messages import MessageType

from ..support.wait import DEADLINE, wait_for_value, wait_until
from .fake_server import FakeClient
from redis_streams_adapter.testing.stream import FakeStream
from .nodes import Call, messages, Node
from .striking import held_locks, STEP, strike, Striker

Make = Callable[..., RedisStreamsManager]
MakeNode = Callable[..., Node]
Streams = Dict[str, FakeStream]

#: Recovery off and on.
RECOVERY = [{}, {'connection_state_recovery': True}]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A struck request for members is soon repeated."""
    for module in members, discovery:
        monkeypatch.setattr(module, 'ASK_INTERVAL', 0.05)


def numbers(stream: FakeStream) -> List[int]:
    """The stored numbers, in order."""
    return [message.args[1]
            for message in messages(stream, MessageType.BROADCAST)]


def check(stream: FakeStream, manager: RedisStreamsManager,
          where: str) -> None:
    """The strike has left no trace, and the manager works."""
    assert not held_locks(manager), where
    Call(manager.emit, 'number', 999).result()
    assert Call(manager.flush, DEADLINE).result(), where
    assert numbers(stream)[-1] == 999, where
    stats = manager.stats()
    assert (stats['outbox'], stats['outbox_bytes']) == (0, 0), where
    runtime = manager._live()
    for channel in runtime.channels:
        assert not channel.writer._waiters.flushing, where
        assert not channel.writer._waiters.impatient, where
    assert not runtime.status._waiting, where


def check_emitted(stream: FakeStream, where: str, returned: List[int],
                  raised: List[int]) -> None:
    """An emit that returned is stored once and in order. One that raised is
    stored at most once."""
    stored = numbers(stream)
    assert stored == sorted(set(stored)), where
    assert set(returned) <= set(stored) <= {*returned, *raised, 999}, where


def check_end(stream: FakeStream, manager: RedisStreamsManager,
              connections: int, where: str) -> None:
    """Each task runs once, and no task is left after the close."""
    wait_for_value(lambda: stream.connections, connections)
    Call(manager.close, 1).result()
    wait_for_value(lambda: stream.connections, 0)
    assert not held_locks(manager), where


@pytest.mark.parametrize('publish', ['background', 'sync'])
def test_first_emit(streams: Streams, make_manager: Make,
                    publish: str) -> None:
    def first_emit(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        manager = make_manager(write_only=True, publish=publish)
        _, raised = striker.run(lambda: manager.emit('number', 1))
        check(stream, manager, striker.where)
        check_emitted(stream, striker.where, [] if raised else [1], [1])
        check_end(stream, manager, 1, striker.where)

    strike(first_emit)


@pytest.mark.parametrize('options', RECOVERY, ids=['plain', 'recovery'])
def test_start(streams: Streams, make_node: MakeNode, options: Any) -> None:
    def start(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        manager = make_node(**options).manager
        striker.run(manager.start)
        Call(manager.start).result()
        check(stream, manager, striker.where)
        wait_until(lambda: manager.health()['connected'], what=striker.where)
        check_end(stream, manager, 2, striker.where)

    strike(start, step=max(STEP, 5 * STEP // 4))


@pytest.mark.parametrize('options', RECOVERY, ids=['plain', 'recovery'])
def test_close(streams: Streams, make_node: MakeNode, options: Any) -> None:
    """The next close() completes it."""
    def close(striker: Striker) -> None:
        stream = streams['socket.io'] = FakeStream()
        manager = make_node(**options).manager
        manager.start()
        manager.emit('number', 1)
        striker.run(lambda: manager.close(1))
        Call(manager.close, 1).result()
        wait_for_value(lambda: stream.connections, 0)
        assert numbers(stream) == [1], striker.where
        assert 1 <= len(messages(stream, MessageType.ADAPTER_CLOSE)) <= 4
        assert not held_locks(manager), striker.where
        Call(manager.start).result()
        check(stream, manager, striker.where)
        check_end(stream, manager, 2, striker.where)

    strike(close, step=2 * STEP)


@pytest.fixture
def make_member(streams: Streams, make_node: MakeNode
                ) -> Callable[..., Node]:
    """Makes a node that has joined, on a new stream."""
    def make(**options: Any) -> Node:
        streams['socket.io'] = FakeStream()
        node = make_node(**options)
        node.manager.start()
        return node

    return make


Act = Callable[[Node, FakeClient], Any]

#: Calls that put entries into the outbox or deliver.
EMITS: Dict[str, Act] = {
    'emit': lambda node, client: node.manager.emit('number', 1),
    'emit to a client': lambda node, client: node.manager.emit(
        'number', 1, to=client.sid),
    'emit here only': lambda node, client: node.manager.emit(
        'number', 1, ignore_queue=True),
    'emit with callback': lambda node, client: node.manager.emit(
        'number', 1, to=client.sid, callback=print),
    'broadcast with callback': lambda node, client: node.manager.emit(
        'number', 1, callback=print),
    'close_room': lambda node, client: node.manager.close_room('room'),
}

#: Other calls, and calls that do this in the same way.
OTHERS: Dict[str, Act] = {
    'flush': lambda node, client: node.manager.flush(DEADLINE),
    'enter_room': lambda node, client: node.manager.enter_room(
        client.sid, '/', 'room'),
    'enter_room elsewhere': lambda node, client: node.manager.enter_room(
        'stranger', '/', 'room'),
    'leave_room': lambda node, client: node.manager.leave_room(
        client.sid, '/', 'room'),
    'sockets_join': lambda node, client: node.manager.sockets_join('room'),
    'disconnect elsewhere': lambda node, client: node.manager.disconnect(
        'stranger', '/'),
    'fetch_sockets': lambda node, client: node.manager.fetch_sockets(),
    'server_side_call': lambda node, client: node.manager.server_side_call(
        'hello'),
    'on_server_side': lambda node, client: node.manager.on_server_side(
        'hello', print, namespace='/chat'),
    'await_connection': lambda node, client:
        node.manager._live().await_connection(1.0),
    'stats': lambda node, client: (
        node.manager.stats(), node.manager.health()),
}

CASES = [
    *[pytest.param(act, options, id=f'{name}-{kind}')
      for name, act in EMITS.items()
      for kind, options in (
          ('plain', {}), ('recovery', {'connection_state_recovery': True}))],
    *[pytest.param(act, {}, id=name) for name, act in OTHERS.items()]]


@pytest.mark.parametrize('act, options', CASES)
def test_calls(streams: Streams, make_member: Callable[..., Node],
               act: Act, options: Any) -> None:
    node = make_member(**options)
    client, stream = node.connect(), streams['socket.io']
    node.manager.enter_room(client.sid, '/', 'room')
    before = 0

    def struck(striker: Striker) -> None:
        nonlocal before
        striker.run(lambda: act(node, client))
        check(stream, node.manager, striker.where)
        stored = numbers(stream)
        # At most once, besides the emit of the check.
        assert stored[before:] in ([1, 999], [999]), striker.where
        before = len(stored)
        count = stored.count(999)
        # With recovery an offset follows the number.
        wait_until(lambda: [args[0] for args in client.received('number')
                            ].count(999) == count, what=striker.where)
        # A task that waits for an answer has already sent the event.
        assert node.open_acks <= len(
            [event for event in client.events() if event.ack_id])
        assert node.open_requests <= len(
            [each for each in messages(stream) if getattr(
                each, 'request_id', None)]), striker.where

    strike(struck)
    check_end(stream, node.manager, 2, '')


def test_emit_with_ack(make_cluster: Callable[..., List[Node]],
                       stream: FakeStream) -> None:
    """There are two nodes, each with a client that answers."""
    here, there = make_cluster(2)
    clients = [here.connect(), there.connect()]

    def struck(striker: Striker) -> None:
        for client in clients:
            client.socket.packets.clear()
        call = Call(striker.run, lambda: here.manager.emit_with_ack(
            'number', 1, timeout=DEADLINE))
        for client in clients:
            # The event may be that of the check.
            wait_until(lambda: not call.waits or any(
                event.ack_id for event in client.events()))
            for event in client.events():
                if event.ack_id:
                    client.acknowledge(event, 'yes')
        responses, raised = call.result()
        assert raised or responses == ['yes', 'yes'], striker.where
        assert not here.open_acks, striker.where
        check(stream, here.manager, striker.where)

    strike(struck, step=2 * STEP)


def test_limiter() -> None:
    """A struck task releases its own slot and no other one."""
    def acquire(striker: Striker) -> None:
        limiter = Limiter(1, ThreadEvent)
        first = limiter.slot()
        assert first.acquire(0)

        def pass_through() -> bool:
            slot = limiter.slot()
            try:
                return slot.acquire(DEADLINE)
            finally:
                try:
                    slot.release()
                finally:
                    slot.release()

        call = Call(striker.run, pass_through)
        wait_until(lambda: len(limiter.queue) == 2 or not call.waits)
        first.release()
        acquired, raised = call.result()
        assert acquired or raised
        assert not limiter.queue, striker.where
        assert not held_locks(limiter), striker.where

    strike(acquire, step=1)


def test_event() -> None:
    """A waiting task wakes up, at the latest at the next set()."""
    def wait(striker: Striker) -> None:
        event = ThreadEvent()
        call = Call(striker.run, lambda: event.wait(DEADLINE))
        wait_until(lambda: event._waiting or not call.waits)
        event.set()
        woken, raised = call.result()
        assert woken or raised
        assert not event._waiting, striker.where
        assert event.wait(0)

    def set_it(striker: Striker) -> None:
        event = ThreadEvent()
        calls = [Call(event.wait, DEADLINE) for _ in range(2)]
        wait_until(lambda: len(event._waiting) == 2)
        striker.run(event.set)
        event.set()
        assert all(call.result() for call in calls), striker.where

    strike(wait, step=1)
    strike(set_it, step=1)
