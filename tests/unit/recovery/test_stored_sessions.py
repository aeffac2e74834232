"""The sessions in Redis: doubtful writes, refusals, other nodes."""
import logging
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.recovery.session_writer import BATCH
from redis_streams_adapter.recovery.stored_sessions import MAX_DOUBTFUL

from .writing import AMPLE, DURATION, FakeSessions, Node, INTERVAL, take_over


@pytest.mark.parametrize('fault', ['before', 'after'])
def test_first_write_without_reply_is_in_doubt(
        node: Node, store: FakeSessions, fault: str) -> None:
    """The client is admitted, and its session is written later."""
    client = node.connect()
    store.faults.append(fault)
    node.writer.write_first(client)
    node.enter_room(client, 'x')
    node.local.settle(client)
    assert node.run_once()
    stored = node.stored(client)
    assert stored is not None and stored.rooms == ('s', 'x')
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('faults', [
    ['before'], ['after'], ['after', 'before'], ['after'] * 3,
    ['before', 'after', 'before', 'after']])
@pytest.mark.parametrize('intended', [None, False, True])
def test_write_without_reply_is_in_doubt(node: Node, store: FakeSessions,
                                         faults: List[str],
                                         intended: Optional[bool]) -> None:
    client = node.connected()
    store.faults.extend(faults)
    for number, _ in enumerate(faults):
        node.enter_room(client, str(number))
        assert not node.run_once()
    if intended is not None:
        node.disconnect(client, intended)
    assert node.run_once()
    stored = node.stored(client)
    if intended:
        assert stored is None
    else:
        assert stored is not None
        assert len(stored.rooms) == 1 + len(faults)
    assert client.is_held
    assert (node.local.of_pid(client.pid) is None) is (intended is not None)


def test_refused_write_is_not_in_doubt(node: Node,
                                       store: FakeSessions) -> None:
    """Redis has not written the value, and the value is not sent again."""
    fresh, client = node.connect('fresh'), node.connected()
    store.faults.append('refused: OOM')
    node.writer.write_first(fresh)
    assert fresh.doubtful == []
    for number in range(20):
        node.enter_room(client, str(number))
        store.faults.append('refused: OOM')
        assert not node.run_once()
        assert client.doubtful == []
    assert node.run_once()
    stored = node.stored(client)
    assert stored is not None and len(stored.rooms) == 21


def test_refusal_keeps_earlier_doubt(node: Node,
                                     store: FakeSessions) -> None:
    """The same value was sent before, without a reply."""
    client = node.connected()
    node.enter_room(client, 'x')
    for fault in ('after', 'refused: OOM'):
        store.faults.append(fault)
        assert not node.run_once()
    assert len(client.doubtful) == 1
    assert node.run_once()
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('fault', ['before', 'after'])
@pytest.mark.parametrize('intended', [None, False, True])
def test_number_of_doubtful_values_is_bounded(
        node: Node, store: FakeSessions, fault: str,
        intended: Optional[bool]) -> None:
    """It stays bounded, however often a reply is lost and a session
    changes."""
    client = node.connected()
    for number in range(50):
        node.enter_room(client, str(number))
        store.faults.append(fault)
        assert not node.run_once()
        assert len(client.doubtful) <= MAX_DOUBTFUL
    if intended is not None:
        node.disconnect(client, intended)
    store.sent = 0
    assert node.run_once() and node.run_once()
    assert store.sent < 20_000
    stored = node.stored(client)
    if intended:
        assert stored is None
    else:
        assert stored is not None and len(stored.rooms) == 51
    assert client.is_held and client.doubtful == []
    assert (node.local.of_pid(client.pid) is None) is (intended is not None)


def test_batch_without_reply_is_in_doubt(node: Node,
                                         store: FakeSessions) -> None:
    clients = [node.connected(f's{number}') for number in range(BATCH + 10)]
    for client in clients:
        node.enter_room(client, 'x')
    store.faults.append('after')
    assert not node.run_once()
    assert node.run_once()
    for client in clients:
        stored = node.stored(client)
        assert stored is not None and stored.rooms[-1] == 'x'
        assert client.is_held


def test_lost_session_is_not_written_again(node: Node, store: FakeSessions,
                                           clock: Any) -> None:
    client, other = node.connected(), node.connected('other')
    take_over(store, client)
    node.enter_room(client, 'x')
    assert node.run_once()
    assert not client.is_held and other.is_held
    store.calls.clear()
    node.enter_room(client, 'y')
    clock.now += DURATION
    node.run_once()
    store.connections += 1
    node.writer.history_is_gone()
    clock.now += INTERVAL
    node.run_once()
    node.writer.close(AMPLE)
    node.disconnect(client)
    node.run_once()
    assert all(client.pid not in pids for _, pids in store.calls)
    assert store.values[client.pid] == b'of another'
    assert node.local.of_pid(client.pid) is None


@pytest.mark.parametrize('intended', [False, True])
def test_session_lost_before_disconnect_is_not_written(
        node: Node, store: FakeSessions, intended: bool) -> None:
    client = node.connected()
    take_over(store, client)
    node.disconnect(client, intended)
    node.run_once()
    assert store.values[client.pid] == b'of another'
    assert node.local.of_pid(client.pid) is None
    node.run_once()
    assert store.writes == 1


def test_superseded_session_is_not_written(node: Node,
                                           store: FakeSessions) -> None:
    client = node.connected()
    node.local.supersede(client)
    node.enter_room(client, 'x')
    node.run_once()
    node.disconnect(client)
    assert node.local.of_pid(client.pid) is None
    assert store.calls == []
    assert client.gone.is_set()


def test_session_lost_before_last_write_is_not_written(
        node: Node, store: FakeSessions) -> None:
    """The client returns to this node at once."""
    client = node.connected()
    node.disconnect(client)
    assert node.local.of_pid(client.pid) is client
    node.local.supersede(client)
    assert node.local.of_pid(client.pid) is None
    node.run_once()
    assert store.calls == []


def test_session_of_newer_connection_is_kept(
        node: Node, store: FakeSessions) -> None:
    """If two sessions have one pid, only the leaving one is removed."""
    old = node.connected()
    node.local.supersede(old)
    node.disconnect(old)
    new = node.connect('s', pid=old.pid)
    new.claim = 'another'
    node.writer.claimed(new, store.values[old.pid])
    node.local.settle(new)
    assert node.local.of_pid(old.pid) is new
    node.local.forget(old)
    assert node.local.of_pid(old.pid) is new
    node.run_once()
    stored = node.stored(new)
    assert stored is not None and stored.claim == 'another'


def test_session_deleted_by_node_js_is_lost(node: Node,
                                            store: FakeSessions) -> None:
    """A server in Node.js deletes the sessions that it claims."""
    client = node.connected()
    del store.values[client.pid]
    node.enter_room(client, 'x')
    node.run_once()
    assert not client.is_held
    assert store.values == {}


def test_session_dropped_by_redis_is_written_again(
        node: Node, store: FakeSessions) -> None:
    """The node has reconnected since the last write: it may have reached
    another Redis."""
    client = node.connected()
    store.values.clear()
    store.connections += 1
    node.enter_room(client, 'x')
    node.run_once()
    stored = node.stored(client)
    assert stored is not None and client.is_held
    # The session was seen on this connection.
    store.values.clear()
    node.enter_room(client, 'y')
    node.run_once()
    assert not client.is_held and store.values == {}


def test_sessions_are_written_again_after_flush(
        node: Node, store: FakeSessions) -> None:
    """The connection is not lost."""
    clients = [node.connected(), node.connected('other')]
    store.values.clear()
    node.writer.history_is_gone()
    node.run_once()
    assert set(store.values) == {client.pid for client in clients}
    assert store.writes == 2
    node.run_once()
    assert store.writes == 2


@pytest.mark.parametrize('how', ['touch', 'swap'])
def test_flush_noticed_by_writer_is_no_claim(
        node: Node, store: FakeSessions, clock: Any, how: str) -> None:
    """All sessions are gone, as if a server in Node.js had claimed them."""
    client, taken_over = node.connected(), node.connected('other')
    take_over(store, taken_over)
    node.enter_room(taken_over, 'x')
    node.run_once()
    store.values.clear()
    if how == 'swap':
        node.enter_room(client, 'x')
    else:
        clock.now += INTERVAL
    node.run_once()
    assert not client.is_held and not taken_over.is_held
    node.writer.history_is_gone()
    node.run_once()
    assert client.is_held and node.stored(client) is not None
    # Another node had taken this one over.
    assert not taken_over.is_held and node.stored(taken_over) is None


@pytest.mark.parametrize('leaves', [False, True])
def test_reconnect_during_write_keeps_session(
        node: Node, store: FakeSessions, leaves: bool) -> None:
    client = node.connected()
    node.enter_room(client, 'x')
    if leaves:
        node.disconnect(client)
    store.faults.append('replaced')
    node.run_once()
    node.run_once()
    stored = node.stored(client)
    assert stored is not None and stored.rooms == ('s', 'x')
    assert client.is_held


def test_refused_write_is_logged_once(
        node: Node, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    """No other session is affected; the refusal is logged once."""
    client = node.connect()
    store.faults.append('refused: NOPERM')
    node.writer.write_first(client)
    node.local.settle(client)
    for _ in range(3):
        store.faults.append('refused: NOPERM')
        assert not node.run_once()
    warning, = logged(logging.WARNING)
    assert 'NOPERM' in warning
    store.faults.append('refused: OOM')
    assert not node.run_once()
    assert len(logged(logging.WARNING)) == 2
    assert logged(logging.INFO) == []
    assert node.run_once()
    assert logged(logging.INFO) == ['Redis keeps sessions again']
    assert node.stored(client) is not None
    node.enter_room(client, 'x')
    store.faults.append('refused: OOM')
    assert not node.run_once()
    assert len(logged(logging.WARNING)) == 3
    # Other tasks report the outage.
    store.faults.append('before')
    assert not node.run_once()
    assert len(logged(logging.WARNING)) == 3


def test_refusal_of_one_server_spares_others(
        node: Node, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    """The sessions of other servers are written."""
    clients = [node.connected(f's{number}') for number in range(2 * BATCH)]
    store.refusing = {client.pid for client in clients[::2]}
    for attempt in range(3):
        clock.now += INTERVAL
        for client in clients:
            node.enter_room(client, f'room {attempt}')
        assert not node.run_once()
        for client in clients[1::2]:
            stored = node.stored(client)
            assert stored is not None and f'room {attempt}' in stored.rooms
            assert not client.has_changed
        assert all(client.has_changed and not client.doubtful
                   for client in clients[::2])
    assert len(logged(logging.WARNING)) == 1
    store.refusing.clear()
    assert node.run_once()
    for client in clients:
        stored = node.stored(client)
        assert stored is not None and len(stored.rooms) == 4
    assert all(client.is_held for client in clients)
