"""How much may be written before others have read it."""
from typing import Any, List, Tuple

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol import flow_control
from redis_streams_adapter.protocol.flow_control import FlowControl, \
    PATIENCE, RETURN_PATIENCE

WINDOW = 100

#: A time in seconds at which no timeout has passed.
NOW = 1000.0


@pytest.fixture
def flow() -> FlowControl:
    flow = FlowControl()
    flow.window = WINDOW
    return flow


def write(flow: FlowControl, last: int, now: float = NOW) -> None:
    """A batch whose last entry has this number, from which its id is made."""
    flow.wrote((last, 0), last, now)


def test_no_limit_without_readers() -> None:
    flow = FlowControl()
    assert flow.room(NOW) is None
    write(flow, 1_000_000)
    assert flow.room(NOW) is None


def test_entries_unread_by_the_local_reader_count(flow: FlowControl) -> None:
    flow.seen(0, NOW)
    assert flow.room(NOW) == WINDOW
    write(flow, 60)
    assert flow.room(NOW) == WINDOW - 60
    write(flow, 120)
    assert flow.room(NOW) == 0
    flow.seen(50, NOW)
    assert flow.room(NOW) == WINDOW - 70
    flow.seen(120, NOW)
    assert flow.room(NOW) == WINDOW


def test_lagging_reader_counts(flow: FlowControl) -> None:
    for last in (10, 20, 30, 90):
        write(flow, last)
    flow.seen(90, NOW)
    assert flow.room(NOW) == WINDOW
    # It has read the second batch, and part of the third.
    flow.lags('a', (25, 0), NOW)
    assert flow.room(NOW) == WINDOW - 70
    flow.lags('a', (30, 0), NOW)
    assert flow.room(NOW) == WINDOW - 60
    flow.caught_up('a')
    assert flow.room(NOW) == WINDOW


def test_slowest_reader_counts(flow: FlowControl) -> None:
    for last in (10, 20, 30):
        write(flow, last)
    flow.lags('a', (20, 0), NOW)
    flow.lags('b', (10, 0), NOW)
    assert flow.room(NOW) == WINDOW - 20
    flow.caught_up('b')
    assert flow.room(NOW) == WINDOW - 10
    flow.caught_up('b')
    flow.caught_up('never heard of')
    assert flow.room(NOW) == WINDOW - 10


def test_reader_before_all_written_entries(flow: FlowControl) -> None:
    write(flow, 50)
    flow.lags('a', (3, 0), NOW)
    assert flow.room(NOW) == WINDOW - 50


def test_no_reader_holds_the_writer_for_ever(flow: FlowControl) -> None:
    flow.seen(0, NOW)
    write(flow, WINDOW)
    assert flow.room(NOW + PATIENCE) == 0
    assert flow.room(NOW + PATIENCE + 0.1) == WINDOW
    # From then on it counts again.
    write(flow, 2 * WINDOW, NOW + PATIENCE + 0.1)
    assert flow.room(NOW + PATIENCE + 0.1) == 0


def test_progressing_reader_is_waited_for(flow: FlowControl) -> None:
    write(flow, 300)
    for step in range(1, 10):
        now = NOW + step * 0.9 * PATIENCE
        flow.seen(step, now)
        assert flow.room(now) == 0


def test_idle_reader_is_not_late(flow: FlowControl) -> None:
    flow.seen(0, NOW)
    much_later = NOW + 100 * PATIENCE
    write(flow, WINDOW, much_later)
    assert flow.room(much_later) == 0


def test_repeated_position_is_no_progress(flow: FlowControl) -> None:
    write(flow, 10)
    write(flow, 200)
    for step in range(10):
        flow.lags('a', (10, 0), NOW + step)
    assert flow.room(NOW + PATIENCE + 0.1) == WINDOW


def test_dead_reader_holds_the_writer_once(flow: FlowControl) -> None:
    """An emitter is not informed that a node is gone."""
    write(flow, 10)
    flow.lags('a', (10, 0), NOW)
    write(flow, 10 + WINDOW)
    assert flow.room(NOW + PATIENCE) == 0
    later = NOW + PATIENCE + 0.1
    assert flow.room(later) == WINDOW
    write(flow, 10 + 2 * WINDOW, later)
    assert flow.room(later) == WINDOW
    # Until it sends something new.
    flow.lags('a', (10, 0), later)
    assert flow.room(later) == WINDOW
    flow.lags('a', (10 + WINDOW, 0), later)
    assert flow.room(later) == 0


def test_dead_readers_are_forgotten(monkeypatch: pytest.MonkeyPatch,
                                    flow: FlowControl) -> None:
    monkeypatch.setattr(flow_control, 'REMEMBERED', WINDOW)
    write(flow, 10)
    now = NOW
    for number in range(100):
        flow.lags(f'node-{number}', (10 + number * WINDOW, 0), now)
        write(flow, 10 + (number + 1) * WINDOW, now)
        now += PATIENCE + 0.1
        assert flow.room(now) == WINDOW
    assert len(flow._readers) < 5


def test_reader_progressing_through_others_entries_is_waited_for(
        flow: FlowControl) -> None:
    """New entries would trim those that it has not read yet."""
    write(flow, 10)
    write(flow, 1000)
    for uid in ('a', None):
        for step in range(1, 10):
            now = NOW + step * 0.9 * PATIENCE
            flow.lags(uid, (10 + step, 0), now)
            assert flow.room(now) == 0
        flow.caught_up(uid)


def test_reader_that_may_be_away_is_awaited(flow: FlowControl) -> None:
    write(flow, 500)
    flow.await_readers([None, 'a', 'b', 'c'], NOW)
    assert flow.room(NOW) == WINDOW
    write(flow, 500 + WINDOW)
    for speak in (lambda: flow.seen(600, NOW), lambda: flow.caught_up('a'),
                  lambda: flow.lags('b', (600, 0), NOW)):
        assert flow.room(NOW) == 0
        speak()
    assert flow.room(NOW) == 0
    # An outage of this node does not bring it back.
    flow.forget_readers()
    assert flow.room(NOW + RETURN_PATIENCE) == 0
    assert flow.room(NOW + RETURN_PATIENCE + 0.1) == WINDOW
    # Only once: a node that cannot answer no longer counts.
    write(flow, 500 + 10 * WINDOW)
    assert flow.room(NOW + RETURN_PATIENCE + 0.1) == WINDOW


def test_unheard_reader_does_not_count(flow: FlowControl) -> None:
    flow.seen(0, NOW)
    write(flow, WINDOW)
    assert flow.room(NOW) == 0
    flow.forget_readers()
    assert flow.room(NOW) == WINDOW


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch,
                           flow: FlowControl) -> None:
    """Apart from the window: a reader further back leaves no room."""
    monkeypatch.setattr(flow_control, 'REMEMBERED', 20)
    flow.window = 50
    for last in range(10, 101, 10):
        write(flow, last)
    assert flow.forgotten == 40
    assert len(flow.checkpoints) == 6
    flow.lags('b', (65, 0), NOW)
    assert flow.room(NOW) == 10
    flow.lags('a', (15, 0), NOW)
    assert flow.room(NOW) == 0
    flow.window = None
    write(flow, 110)
    assert flow.forgotten == 80


def test_heartbeats_add_nothing_to_memory(flow: FlowControl) -> None:
    """They have no number of their own, and continue for months."""
    write(flow, 10)
    for moment in range(11, 1000):
        flow.wrote((moment, 0), 10, NOW)
    assert list(flow.checkpoints) == [((10, 0), 10)]
    flow.lags('a', (500, 0), NOW)
    assert flow.room(NOW) == WINDOW
    write(flow, 1000)
    assert list(flow.checkpoints) == [((10, 0), 10), ((1000, 0), 1000)]


def test_widest_window(flow: FlowControl) -> None:
    flow.window = 10**9
    assert flow.window == flow_control.MAX_WINDOW


@given(st.lists(st.tuples(
    st.sampled_from(['wrote', 'seen', 'behind', 'up', 'away']),
    st.integers(0, 50), st.floats(0, 5))))
def test_any_reports(said: List[Tuple[str, int, float]]) -> None:
    """The room is never below 0, and a waiting task gets some."""
    flow = FlowControl()
    flow.window = WINDOW
    written, now = 0, NOW
    for what, number, seconds in said:
        now += seconds
        if what == 'wrote':
            written += number
            write(flow, written, now)
        elif what == 'seen':
            flow.seen(min(number, written), now)
        elif what == 'behind':
            flow.lags('a', (number, 0), now)
        elif what == 'away':
            flow.await_readers([None, 'a'], now)
        else:
            flow.caught_up('a')
        room: Any = flow.room(now)
        assert 0 <= room <= WINDOW
    assert flow.room(now + RETURN_PATIENCE + 0.1)
