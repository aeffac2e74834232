"""The sessions in Redis: doubtful writes, refusals, and other nodes."""
import logging
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.recovery.session_writer import BATCH
from redis_streams_adapter.recovery.stored_sessions import MAX_DOUBTFUL

from .writing import AMPLE, DURATION, FakeSessions, House, INTERVAL, taken


@pytest.mark.parametrize('fault', ['before', 'after'])
def test_first_write_without_reply_is_in_doubt(
        house: House, store: FakeSessions, fault: str) -> None:
    """The client is admitted, and its session is written later."""
    client = house.enter()
    store.faults.append(fault)
    house.writer.write_first(client)
    house.room(client, 'x')
    house.local.settle(client)
    assert house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('faults', [
    ['before'], ['after'], ['after', 'before'], ['after'] * 3,
    ['before', 'after', 'before', 'after']])
@pytest.mark.parametrize('intended', [None, False, True])
def test_write_without_reply_is_in_doubt(house: House, store: FakeSessions,
                                         faults: List[str],
                                         intended: Optional[bool]) -> None:
    client = house.stays()
    store.faults.extend(faults)
    for number, _ in enumerate(faults):
        house.room(client, str(number))
        assert not house.round()
    if intended is not None:
        house.leave(client, intended)
    assert house.round()
    kept = house.kept(client)
    if intended:
        assert kept is None
    else:
        assert kept is not None
        assert len(kept.rooms) == 1 + len(faults)
    assert client.is_held
    assert (house.local.of_pid(client.pid) is None) is (intended is not None)


def test_refused_write_is_not_in_doubt(house: House,
                                       store: FakeSessions) -> None:
    """Nothing was written, and the value is not sent again."""
    fresh, client = house.enter('fresh'), house.stays()
    store.faults.append('refused: OOM')
    house.writer.write_first(fresh)
    assert fresh.doubtful == []
    for number in range(20):
        house.room(client, str(number))
        store.faults.append('refused: OOM')
        assert not house.round()
        assert client.doubtful == []
    assert house.round()
    kept = house.kept(client)
    assert kept is not None and len(kept.rooms) == 21


def test_refusal_keeps_earlier_doubt(house: House,
                                     store: FakeSessions) -> None:
    """The same value was sent before, without a reply."""
    client = house.stays()
    house.room(client, 'x')
    for fault in ('after', 'refused: OOM'):
        store.faults.append(fault)
        assert not house.round()
    assert len(client.doubtful) == 1
    assert house.round()
    assert client.is_held and client.doubtful == []


@pytest.mark.parametrize('fault', ['before', 'after'])
@pytest.mark.parametrize('intended', [None, False, True])
def test_number_of_doubtful_values_is_bounded(
        house: House, store: FakeSessions, fault: str,
        intended: Optional[bool]) -> None:
    """It is bounded, however often a reply is lost and a session changes."""
    client = house.stays()
    for number in range(50):
        house.room(client, str(number))
        store.faults.append(fault)
        assert not house.round()
        assert len(client.doubtful) <= MAX_DOUBTFUL
    if intended is not None:
        house.leave(client, intended)
    store.sent = 0
    assert house.round() and house.round()
    assert store.sent < 20_000
    kept = house.kept(client)
    if intended:
        assert kept is None
    else:
        assert kept is not None and len(kept.rooms) == 51
    assert client.is_held and client.doubtful == []
    assert (house.local.of_pid(client.pid) is None) is (intended is not None)


def test_batch_without_reply_is_in_doubt(house: House,
                                         store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(BATCH + 10)]
    for client in stays:
        house.room(client, 'x')
    store.faults.append('after')
    assert not house.round()
    assert house.round()
    for client in stays:
        kept = house.kept(client)
        assert kept is not None and kept.rooms[-1] == 'x'
        assert client.is_held


def test_lost_session_is_not_written_again(house: House, store: FakeSessions,
                                           clock: Any) -> None:
    client, other = house.stays(), house.stays('other')
    taken(store, client)
    house.room(client, 'x')
    assert house.round()
    assert not client.is_held and other.is_held
    store.calls.clear()
    house.room(client, 'y')
    clock.now += DURATION
    house.round()
    store.connections += 1
    house.writer.history_is_gone()
    clock.now += INTERVAL
    house.round()
    house.writer.close(AMPLE)
    house.leave(client)
    house.round()
    assert all(client.pid not in pids for _, pids in store.calls)
    assert store.values[client.pid] == b'of another'
    assert house.local.of_pid(client.pid) is None


@pytest.mark.parametrize('intended', [False, True])
def test_session_lost_before_disconnect_is_not_written(
        house: House, store: FakeSessions, intended: bool) -> None:
    client = house.stays()
    taken(store, client)
    house.leave(client, intended)
    house.round()
    assert store.values[client.pid] == b'of another'
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.writes == 1


def test_superseded_session_is_not_written(house: House,
                                           store: FakeSessions) -> None:
    client = house.stays()
    house.local.supersede(client)
    house.room(client, 'x')
    house.round()
    house.leave(client)
    assert house.local.of_pid(client.pid) is None
    assert store.calls == []
    assert client.gone.is_set()


def test_session_lost_before_last_write_is_not_written(
        house: House, store: FakeSessions) -> None:
    """It returns to this node at once."""
    client = house.stays()
    house.leave(client)
    assert house.local.of_pid(client.pid) is client
    house.local.supersede(client)
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.calls == []


def test_session_of_newer_connection_is_kept(
        house: House, store: FakeSessions) -> None:
    """Of two of one name, the one that leaves is forgotten."""
    old = house.stays()
    house.local.supersede(old)
    house.leave(old)
    new = house.enter('s', pid=old.pid)
    new.claim = 'another'
    house.writer.claimed(new, store.values[old.pid])
    house.local.settle(new)
    assert house.local.of_pid(old.pid) is new
    house.local.forget(old)
    assert house.local.of_pid(old.pid) is new
    house.round()
    kept = house.kept(new)
    assert kept is not None and kept.claim == 'another'


def test_session_deleted_by_node_js_is_lost(house: House,
                                            store: FakeSessions) -> None:
    """A server in Node.js deletes the sessions that it claims."""
    client = house.stays()
    del store.values[client.pid]
    house.room(client, 'x')
    house.round()
    assert not client.is_held
    assert store.values == {}


def test_session_dropped_by_redis_is_written_again(
        house: House, store: FakeSessions) -> None:
    """We had to connect again since it was seen: it may be another
    Redis."""
    client = house.stays()
    store.values.clear()
    store.connections += 1
    house.room(client, 'x')
    house.round()
    kept = house.kept(client)
    assert kept is not None and client.is_held
    # Now it was seen.
    store.values.clear()
    house.room(client, 'y')
    house.round()
    assert not client.is_held and store.values == {}


def test_sessions_are_written_again_after_flush(
        house: House, store: FakeSessions) -> None:
    """The connection stays."""
    stays = [house.stays(), house.stays('other')]
    store.values.clear()
    house.writer.history_is_gone()
    house.round()
    assert set(store.values) == {client.pid for client in stays}
    assert store.writes == 2
    house.round()
    assert store.writes == 2


@pytest.mark.parametrize('how', ['touch', 'swap'])
def test_flush_noticed_by_writer_is_no_claim(
        house: House, store: FakeSessions, clock: Any, how: str) -> None:
    """It looks as if a server in Node.js had claimed all sessions."""
    client, taken_over = house.stays(), house.stays('other')
    taken(store, taken_over)
    house.room(taken_over, 'x')
    house.round()
    store.values.clear()
    if how == 'swap':
        house.room(client, 'x')
    else:
        clock.now += INTERVAL
    house.round()
    assert not client.is_held and not taken_over.is_held
    house.writer.history_is_gone()
    house.round()
    assert client.is_held and house.kept(client) is not None
    # This one was seen elsewhere.
    assert not taken_over.is_held and house.kept(taken_over) is None


@pytest.mark.parametrize('leaves', [False, True])
def test_reconnect_during_write_keeps_session(
        house: House, store: FakeSessions, leaves: bool) -> None:
    client = house.stays()
    house.room(client, 'x')
    if leaves:
        house.leave(client)
    store.faults.append('replaced')
    house.round()
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert client.is_held


def test_refused_write_is_logged_once(
        house: House, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    """No other session is affected; the refusal is logged once."""
    client = house.enter()
    store.faults.append('refused: NOPERM')
    house.writer.write_first(client)
    house.local.settle(client)
    for _ in range(3):
        store.faults.append('refused: NOPERM')
        assert not house.round()
    warning, = logged(logging.WARNING)
    assert 'NOPERM' in warning
    store.faults.append('refused: OOM')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 2
    assert house.round()
    assert house.kept(client) is not None
    house.room(client, 'x')
    store.faults.append('refused: OOM')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 3
    # Other tasks report the outage.
    store.faults.append('before')
    assert not house.round()
    assert len(logged(logging.WARNING)) == 3


def test_refusal_of_one_server_spares_others(
        house: House, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    """The sessions of other servers are written."""
    clients = [house.stays(f's{number}') for number in range(2 * BATCH)]
    store.refusing = {client.pid for client in clients[::2]}
    for attempt in range(3):
        clock.now += INTERVAL
        for client in clients:
            house.room(client, f'room {attempt}')
        assert not house.round()
        for client in clients[1::2]:
            kept = house.kept(client)
            assert kept is not None and f'room {attempt}' in kept.rooms
            assert not client.has_changed
        assert all(client.has_changed and not client.doubtful
                   for client in clients[::2])
    assert len(logged(logging.WARNING)) == 1
    store.refusing.clear()
    assert house.round()
    for client in clients:
        kept = house.kept(client)
        assert kept is not None and len(kept.rooms) == 4
    assert all(client.is_held for client in clients)
