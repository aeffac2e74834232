"""Sessions are written on changes, from time to time, and at the end."""
import logging
import threading
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
from hypothesis import given, settings, strategies as st

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.session import Gap, Session
from redis_streams_adapter.recovery.session_writer import BATCH

from ..examples import examples
from .writing import AMPLE, DURATION, FakeSessions, Node, INTERVAL, \
    set_clock, take_over


def test_each_connect_writes_once(node: Node, store: FakeSessions) -> None:
    client = node.connect()
    client.data = {'name': 'x'}
    # A change in the connect handler.
    node.enter_room(client, 'x')
    node.run_once()
    assert store.calls == []
    node.writer.write_first(client)
    assert node.stored(client) == Session(
        's', 'pid of s', ('s', 'x'), {'name': 'x'}, '/', 'claim', Position(1),
        since=Position(0, 1), obeyed=Position(100))
    node.local.settle(client)
    for _ in range(3):
        assert node.run_once()
    assert store.calls == [('put', ['pid of s'])]


def test_event_writes_nothing(node: Node, store: FakeSessions,
                              clock: Any) -> None:
    node.connected()
    for number in range(200, 300):
        node.position = node.sent = Position(number)
        node.run_once()
    assert store.calls == []


def test_change_is_written_once(node: Node, store: FakeSessions) -> None:
    client = node.connected()
    node.position, node.sent = Position(200), Position(199)
    node.gap = Gap(None, Position(150))
    for number in range(10):
        node.enter_room(client, str(number))
    node.run_once()
    assert store.calls == [('swap', [client.pid])]
    stored = node.stored(client)
    assert stored is not None and len(stored.rooms) == 11
    # The client's position is written, too.
    assert (stored.upto, stored.sent, stored.gap, stored.since) == (
        Position(200), Position(199), (None, Position(150)), Position(0, 1))


def test_unchanged_session_is_not_written(node: Node,
                                          store: FakeSessions) -> None:
    client = node.connected()
    node.enter_room(client, 'x')
    client.rooms.discard('x')
    node.local.change(client)
    node.position = Position(200)
    node.run_once()
    assert store.calls == []


def test_change_before_end_of_connect_is_written(
        node: Node, store: FakeSessions) -> None:
    """This happens with ``always_connect``."""
    client = node.connect()
    node.writer.write_first(client)
    node.enter_room(client, 'x')
    node.run_once()
    assert store.writes == 1
    node.local.settle(client)
    node.run_once()
    stored = node.stored(client)
    assert stored is not None and stored.rooms == ('s', 'x')
    assert store.writes == 2


def test_sessions_are_written_in_batches(node: Node,
                                         store: FakeSessions) -> None:
    clients = [node.connected(f's{number}') for number in range(2 * BATCH + 1)]
    for client in clients:
        node.enter_room(client, 'x')
    node.run_once()
    assert [len(pids) for _, pids in store.calls] == [BATCH, BATCH, 1]
    for client in clients:
        stored = node.stored(client)
        assert stored is not None and 'x' in stored.rooms


def test_change_wakes_task(node: Node) -> None:
    client = node.connected()
    woken = node.writer._work_there
    woken.clear()
    node.enter_room(client, 'x')
    assert woken.is_set()
    woken.clear()
    node.disconnect(client)
    assert woken.is_set() and client.gone.is_set()


def test_task_ends(node: Node, store: FakeSessions) -> None:
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=node.writer.work, args=(task,))
    thread.start()
    task.stopping = True
    node.writer.interrupt()
    thread.join(10.0)
    assert not thread.is_alive()
    assert store.interrupted


def test_touch_renews_expiry(node: Node, store: FakeSessions,
                             clock: Any) -> None:
    clients = [node.connected(), node.connected('other')]
    node.connect('connecting')
    clock.now += INTERVAL - 1
    node.run_once()
    assert store.calls == []
    clock.now += 1
    node.run_once()
    assert store.calls == [('touch', [client.pid for client in clients])]
    node.run_once()
    assert len(store.calls) == 1


def test_touch_is_batched(node: Node, store: FakeSessions,
                          clock: Any) -> None:
    for number in range(BATCH + 1):
        node.connected(f's{number}')
    clock.now += INTERVAL
    node.run_once()
    assert [(name, len(pids)) for name, pids in store.calls] == [
        ('touch', BATCH), ('touch', 1)]


def test_touch_notices_claim_of_other_node(node: Node, store: FakeSessions,
                                           clock: Any) -> None:
    gone, here = node.connected(), node.connected('other')
    del store.values[gone.pid]
    clock.now += INTERVAL
    node.run_once()
    assert not gone.is_held and here.is_held
    node.run_once()
    assert gone.pid not in store.values


def test_touch_notices_dropped_session(node: Node, store: FakeSessions,
                                       clock: Any) -> None:
    client = node.connected()
    store.values.clear()
    store.connections += 1
    clock.now += INTERVAL
    node.run_once()
    node.run_once()
    assert client.is_held
    assert client.pid in store.values


def test_failed_touch_is_retried(node: Node, store: FakeSessions,
                                 clock: Any) -> None:
    node.connected()
    clock.now += INTERVAL
    store.faults.append('before')
    assert not node.run_once()
    assert node.run_once()
    assert [name for name, _ in store.calls] == ['touch']


def test_refused_touch_is_retried(node: Node, store: FakeSessions,
                                  clock: Any) -> None:
    """One server refuses. The touch is retried at once."""
    clients = [node.connected('s'), node.connected('t')]
    store.refusing = {clients[0].pid}
    clock.now += INTERVAL
    assert not node.run_once()
    store.refusing.clear()
    assert node.run_once()
    assert [name for name, _ in store.calls] == ['touch', 'touch']


def test_expiry_is_renewed_before_writes(node: Node, store: FakeSessions,
                                         clock: Any) -> None:
    """Renewing works even if Redis refuses writes."""
    client = node.connected()
    node.enter_room(client, 'x')
    clock.now += INTERVAL
    store.faults.extend(['none', 'refused'])
    assert not node.run_once()
    assert store.calls == [('touch', [client.pid])]
    assert node.run_once()
    assert [name for name, _ in store.calls] == ['touch', 'swap']


def test_position_is_written_from_time_to_time(
        node: Node, store: FakeSessions, clock: Any) -> None:
    """The position in a session must not be older than the stream's first
    entry."""
    client = node.connected()
    node.position, node.sent = Position(500), Position(400)
    began = clock.now
    while clock.now - began <= DURATION / 2:
        stored = node.stored(client)
        assert stored is not None and stored.upto == Position(1)
        clock.now += INTERVAL
        node.run_once()
    assert [name for name, _ in store.calls] == ['touch'] * 13 + ['swap']
    stored = node.stored(client)
    assert stored is not None
    assert (stored.upto, stored.sent) == (Position(500), Position(400))


def test_position_before_takeover_is_kept(node: Node, store: FakeSessions,
                                          clock: Any) -> None:
    """The client was lost at that position."""
    client = node.connect()
    value = node.writer.codec.encode(client.marked(node.describe(client)))
    store.values[client.pid] = value
    node.writer.claimed(client, value)
    node.writer.write_first(client)
    node.local.settle(client)
    node.run_once()
    assert store.calls == []
    clock.now += INTERVAL
    node.run_once()
    assert [name for name, _ in store.calls] == ['touch', 'swap']
    stored = node.stored(client)
    assert stored is not None and stored.upto == Position(100)
    clock.now += INTERVAL
    node.run_once()
    assert [name for name, _ in store.calls] == ['touch', 'swap', 'touch']


def test_close_writes_all_sessions(node: Node, store: FakeSessions) -> None:
    clients = [node.connected(f's{number}') for number in range(BATCH + 1)]
    connecting, lost = node.connect('connecting'), node.connected('lost')
    take_over(store, lost)
    node.local.supersede(lost)
    leaves = node.connected('leaves')
    node.disconnect(leaves, intended=True)
    node.position = Position(900)
    node.writer.close(AMPLE)
    assert store.patience == AMPLE
    for client in [*clients, connecting]:
        stored = node.stored(client)
        assert stored is not None and stored.obeyed == Position(900)
        # A connecting client has not received its missed events.
        assert stored.upto == Position(
            1 if client is connecting else 900)
    assert leaves.pid not in store.values
    assert store.values[lost.pid] == b'of another'


def test_close_writes_sessions_of_other_servers(
        node: Node, store: FakeSessions,
        logged: Callable[[int], List[str]]) -> None:
    """One server refuses. All sessions of the other servers are written."""
    clients = [node.connected(f's{number}') for number in range(2 * BATCH + 1)]
    store.refusing = {clients[0].pid}
    node.position = Position(900)
    node.writer.close(AMPLE)
    assert len(logged(logging.WARNING)) == 1
    for client in clients[1:]:
        stored = node.stored(client)
        assert stored is not None and stored.obeyed == Position(900)


def test_close_ends_while_redis_is_away(
        node: Node, store: FakeSessions,
        logged: Callable[[int], List[str]]) -> None:
    node.connected()
    store.faults.append('before')
    node.writer.close(AMPLE)
    assert len(logged(logging.WARNING)) == 1


EVENTS = st.lists(st.sampled_from([
    'room', 'round', 'round', 'before', 'after', 'reconnect', 'time',
    'emptied', 'taken', 'leave', 'purpose']), max_size=30)


@settings(max_examples=examples(500))
@given(EVENTS)
def test_random_faults_leave_right_sessions(events: List[str]) -> None:
    """A session that another node has claimed is never changed. Any other
    session is up to date in Redis in the end."""
    store, clock = FakeSessions(), SimpleNamespace(now=1000.0)
    other = False
    with pytest.MonkeyPatch.context() as patch:
        set_clock(clock, patch)
        node = Node(store, lambda: logging.getLogger('tests.unit'))
        client = node.connect()
        node.writer.write_first(client)
        node.local.settle(client)
        for number, event in enumerate(events):
            if event == 'room' and not client.is_leaving:
                node.enter_room(client, str(number))
            elif event == 'round':
                node.run_once()
            elif event in ('before', 'after'):
                store.faults.append(event)
            elif event == 'reconnect':
                store.connections += 1
            elif event == 'time':
                clock.now += 3 * INTERVAL
            elif event == 'emptied' and not other \
                    and node.local.of_pid(client.pid):
                store.values.clear()
                node.writer.history_is_gone()
            elif event == 'taken' and client.pid in store.values:
                store.values[client.pid] = b'of another'
                other = True
            elif event in ('leave', 'purpose') and not client.is_leaving:
                node.disconnect(client, intended=event == 'purpose')
            if other:
                assert store.values[client.pid] == b'of another'
        store.faults.clear()
        clock.now += DURATION
        for _ in range(3):
            assert node.run_once()
    if other:
        assert store.values[client.pid] == b'of another'
        assert not client.is_held or client.is_leaving
    elif clock.now - client.left > DURATION:
        # Its client cannot return, so the session need not be written.
        assert client.is_leaving
    elif client.is_discarded:
        assert store.values == {}
    else:
        stored = node.stored(client)
        assert stored is not None
        assert stored.rooms == (client.last or node.describe(client)).rooms
    assert (node.local.of_pid(client.pid) is None) is (
        client.is_leaving)


def test_wait_ends_after_write_of_change(
        store: FakeSessions, logger: Callable[[], logging.Logger]) -> None:
    node = Node(store, logger)
    client = node.connected()
    node.writer.catch_up(AMPLE)
    node.enter_room(client, 'tea')
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=node.writer.work, args=(task,))
    waits = threading.Thread(target=node.writer.catch_up, args=(AMPLE,))
    waits.start()
    thread.start()
    waits.join(2 * AMPLE)
    stored = node.stored(client)
    assert stored is not None and 'tea' in stored.rooms
    task.stopping = True
    node.writer.interrupt()
    thread.join(AMPLE)
    # The writer has ended, so the wait times out.
    node.enter_room(client, 'cake')
    node.writer.catch_up(0.1)
