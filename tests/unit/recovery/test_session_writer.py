"""When sessions are written."""
import logging
import threading
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
from hypothesis import given, settings, strategies as st

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.recovery.session import Gap, Session
from redis_streams_adapter.recovery.session_writer import BATCH

from .writing import AMPLE, DURATION, FakeSessions, House, INTERVAL, show, \
    taken


def test_each_connect_writes_once(house: House, store: FakeSessions) -> None:
    client = house.enter()
    client.data = {'name': 'x'}
    # In its connect handler.
    house.room(client, 'x')
    house.round()
    assert store.calls == []
    house.writer.write_first(client)
    assert house.kept(client) == Session(
        's', 'pid of s', ('s', 'x'), {'name': 'x'}, '/', 'claim', Position(1),
        since=Position(0, 1), obeyed=Position(100))
    house.local.settle(client)
    for _ in range(3):
        assert house.round()
    assert store.calls == [('put', ['pid of s'])]


def test_event_writes_nothing(house: House, store: FakeSessions,
                              clock: Any) -> None:
    house.stays()
    for number in range(200, 300):
        house.position = house.sent = Position(number)
        house.round()
    assert store.calls == []


def test_change_is_written_once(house: House, store: FakeSessions) -> None:
    client = house.stays()
    house.position, house.sent = Position(200), Position(199)
    house.gap = Gap(None, Position(150))
    for number in range(10):
        house.room(client, str(number))
    house.round()
    assert store.calls == [('swap', [client.pid])]
    kept = house.kept(client)
    assert kept is not None and len(kept.rooms) == 11
    # And with it how far the client has come.
    assert (kept.upto, kept.sent, kept.gap, kept.since) == (
        Position(200), Position(199), (None, Position(150)), Position(0, 1))


def test_unchanged_session_is_not_written(house: House,
                                          store: FakeSessions) -> None:
    client = house.stays()
    house.room(client, 'x')
    client.rooms.discard('x')
    house.local.change(client)
    house.position = Position(200)
    house.round()
    assert store.calls == []


def test_change_before_end_of_connect_is_written(
        house: House, store: FakeSessions) -> None:
    """As with ``always_connect``."""
    client = house.enter()
    house.writer.write_first(client)
    house.room(client, 'x')
    house.round()
    assert store.writes == 1
    house.local.settle(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None and kept.rooms == ('s', 'x')
    assert store.writes == 2


def test_sessions_are_written_in_batches(house: House,
                                         store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(2 * BATCH + 1)]
    for client in stays:
        house.room(client, 'x')
    house.round()
    assert [len(pids) for _, pids in store.calls] == [BATCH, BATCH, 1]
    for client in stays:
        kept = house.kept(client)
        assert kept is not None and 'x' in kept.rooms


def test_change_wakes_task(house: House) -> None:
    client = house.stays()
    woken = house.writer._work_there
    woken.clear()
    house.room(client, 'x')
    assert woken.is_set()
    woken.clear()
    house.leave(client)
    assert woken.is_set() and client.gone.is_set()


def test_task_ends(house: House, store: FakeSessions) -> None:
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=house.writer.work, args=(task,))
    thread.start()
    task.stopping = True
    house.writer.interrupt()
    thread.join(10.0)
    assert not thread.is_alive()
    assert store.interrupted


def test_touch_renews_expiry(house: House, store: FakeSessions,
                             clock: Any) -> None:
    stays = [house.stays(), house.stays('other')]
    house.enter('connecting')
    clock.now += INTERVAL - 1
    house.round()
    assert store.calls == []
    clock.now += 1
    house.round()
    assert store.calls == [('touch', [client.pid for client in stays])]
    house.round()
    assert len(store.calls) == 1


def test_touch_is_batched(house: House, store: FakeSessions,
                          clock: Any) -> None:
    for number in range(BATCH + 1):
        house.stays(f's{number}')
    clock.now += INTERVAL
    house.round()
    assert [(name, len(pids)) for name, pids in store.calls] == [
        ('touch', BATCH), ('touch', 1)]


def test_touch_notices_claim_of_other_node(house: House, store: FakeSessions,
                                           clock: Any) -> None:
    gone, here = house.stays(), house.stays('other')
    del store.values[gone.pid]
    clock.now += INTERVAL
    house.round()
    assert not gone.is_held and here.is_held
    house.round()
    assert gone.pid not in store.values


def test_touch_notices_dropped_session(house: House, store: FakeSessions,
                                       clock: Any) -> None:
    client = house.stays()
    store.values.clear()
    store.connections += 1
    clock.now += INTERVAL
    house.round()
    house.round()
    assert client.is_held
    assert client.pid in store.values


def test_failed_touch_is_retried(house: House, store: FakeSessions,
                                 clock: Any) -> None:
    house.stays()
    clock.now += INTERVAL
    store.faults.append('before')
    assert not house.round()
    assert house.round()
    assert [name for name, _ in store.calls] == ['touch']


def test_refused_touch_is_retried(house: House, store: FakeSessions,
                                  clock: Any) -> None:
    """One server refuses: the touch is tried again at once."""
    clients = [house.stays('s'), house.stays('t')]
    store.refusing = {clients[0].pid}
    clock.now += INTERVAL
    assert not house.round()
    store.refusing.clear()
    assert house.round()
    assert [name for name, _ in store.calls] == ['touch', 'touch']


def test_expiry_is_renewed_before_writes(house: House, store: FakeSessions,
                                         clock: Any) -> None:
    """That works even if Redis refuses to write."""
    client = house.stays()
    house.room(client, 'x')
    clock.now += INTERVAL
    store.faults.extend(['none', 'refused'])
    assert not house.round()
    assert store.calls == [('touch', [client.pid])]
    assert house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap']


def test_position_is_written_from_time_to_time(
        house: House, store: FakeSessions, clock: Any) -> None:
    """The position in a session must not be older than the stream."""
    client = house.stays()
    house.position, house.sent = Position(500), Position(400)
    began = clock.now
    while clock.now - began <= DURATION / 2:
        kept = house.kept(client)
        assert kept is not None and kept.upto == Position(1)
        clock.now += INTERVAL
        house.round()
    assert [name for name, _ in store.calls] == ['touch'] * 13 + ['swap']
    kept = house.kept(client)
    assert kept is not None
    assert (kept.upto, kept.sent) == (Position(500), Position(400))


def test_position_before_takeover_is_kept(house: House, store: FakeSessions,
                                          clock: Any) -> None:
    """It is the position at which the client was lost."""
    client = house.enter()
    value = house.writer.codec.encode(client.marked(house.describe(client)))
    store.values[client.pid] = value
    house.writer.claimed(client, value)
    house.writer.write_first(client)
    house.local.settle(client)
    house.round()
    assert store.calls == []
    clock.now += INTERVAL
    house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap']
    kept = house.kept(client)
    assert kept is not None and kept.upto == Position(100)
    clock.now += INTERVAL
    house.round()
    assert [name for name, _ in store.calls] == ['touch', 'swap', 'touch']


def test_close_writes_all_sessions(house: House, store: FakeSessions) -> None:
    stays = [house.stays(f's{number}') for number in range(BATCH + 1)]
    connecting, lost = house.enter('connecting'), house.stays('lost')
    taken(store, lost)
    house.local.supersede(lost)
    leaves = house.stays('leaves')
    house.leave(leaves, intended=True)
    house.position = Position(900)
    house.writer.close(AMPLE)
    assert store.patience == AMPLE
    for client in [*stays, connecting]:
        kept = house.kept(client)
        assert kept is not None and kept.obeyed == Position(900)
        # Who is connecting has not got what it missed.
        assert kept.upto == Position(
            1 if client is connecting else 900)
    assert leaves.pid not in store.values
    assert store.values[lost.pid] == b'of another'


def test_close_writes_sessions_of_other_servers(
        house: House, store: FakeSessions,
        logged: Callable[[int], List[str]]) -> None:
    """All sessions of the other servers are written."""
    stays = [house.stays(f's{number}') for number in range(2 * BATCH + 1)]
    store.refusing = {stays[0].pid}
    house.position = Position(900)
    house.writer.close(AMPLE)
    assert len(logged(logging.WARNING)) == 1
    for client in stays[1:]:
        kept = house.kept(client)
        assert kept is not None and kept.obeyed == Position(900)


def test_close_ends_while_redis_is_away(
        house: House, store: FakeSessions,
        logged: Callable[[int], List[str]]) -> None:
    house.stays()
    store.faults.append('before')
    house.writer.close(AMPLE)
    assert len(logged(logging.WARNING)) == 1


EVENTS = st.lists(st.sampled_from([
    'room', 'round', 'round', 'before', 'after', 'reconnect', 'time',
    'emptied', 'taken', 'leave', 'purpose']), max_size=30)


@settings(max_examples=500)
@given(EVENTS)
def test_random_faults_leave_right_sessions(events: List[str]) -> None:
    """What another node has is never touched; else Redis has what the client
    is like, in the end."""
    store, clock = FakeSessions(), SimpleNamespace(now=1000.0)
    other = False
    with pytest.MonkeyPatch.context() as patch:
        show(clock, patch)
        house = House(store, lambda: logging.getLogger('tests.unit'))
        client = house.enter()
        house.writer.write_first(client)
        house.local.settle(client)
        for number, event in enumerate(events):
            if event == 'room' and not client.is_leaving:
                house.room(client, str(number))
            elif event == 'round':
                house.round()
            elif event in ('before', 'after'):
                store.faults.append(event)
            elif event == 'reconnect':
                store.connections += 1
            elif event == 'time':
                clock.now += 3 * INTERVAL
            elif event == 'emptied' and not other \
                    and house.local.of_pid(client.pid):
                store.values.clear()
                house.writer.history_is_gone()
            elif event == 'taken' and client.pid in store.values:
                store.values[client.pid] = b'of another'
                other = True
            elif event in ('leave', 'purpose') and not client.is_leaving:
                house.leave(client, intended=event == 'purpose')
            if other:
                assert store.values[client.pid] == b'of another'
        store.faults.clear()
        clock.now += DURATION
        for _ in range(3):
            assert house.round()
    if other:
        assert store.values[client.pid] == b'of another'
        assert not client.is_held or client.is_leaving
    elif clock.now - client.left > DURATION:
        # Its client cannot return any more: it need not be written.
        assert client.is_leaving
    elif client.is_discarded:
        assert store.values == {}
    else:
        kept = house.kept(client)
        assert kept is not None
        assert kept.rooms == (client.last or house.describe(client)).rooms
    assert (house.local.of_pid(client.pid) is None) is (
        client.is_leaving)


def test_wait_ends_after_write_of_change(
        store: FakeSessions, logger: Callable[[], logging.Logger]) -> None:
    house = House(store, logger)
    client = house.stays()
    house.writer.catch_up(AMPLE)
    house.room(client, 'tea')
    task = SimpleNamespace(stopping=False, works=lambda: None)
    thread = threading.Thread(target=house.writer.work, args=(task,))
    waits = threading.Thread(target=house.writer.catch_up, args=(AMPLE,))
    waits.start()
    thread.start()
    waits.join(2 * AMPLE)
    kept = house.kept(client)
    assert kept is not None and 'tea' in kept.rooms
    task.stopping = True
    house.writer.interrupt()
    thread.join(AMPLE)
    # Nobody writes it any more.
    house.room(client, 'cake')
    house.writer.catch_up(0.1)
