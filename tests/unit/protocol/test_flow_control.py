"""How much may be written before others have read it."""
from typing import Any, List, Tuple

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol import flow_control
from redis_streams_adapter.protocol.flow_control import ASK_AGAIN, \
    ASSUMED_AFTER, emitter_share, FlowControl, mark_every, MARKS, \
    node_share, PATIENCE, reach, RETURN_PATIENCE

WINDOW, REACH = 100, 400

#: A time in seconds at which no timeout has passed.
NOW = 1000.0


@pytest.fixture
def flow() -> FlowControl:
    flow = FlowControl()
    flow.window, flow.reach = WINDOW, REACH
    return flow


def write(flow: FlowControl, last: int, now: float = NOW) -> None:
    """A batch whose last entry has this number, from which its id is made."""
    flow.wrote((last, 0), last, now)


def read(flow: FlowControl, last: int, now: float = NOW) -> None:
    """The local reader has read the entry with this number."""
    flow.passed((last, 0), last, now)


def ask(flow: FlowControl, last: int, now: float = NOW) -> None:
    """That entry is a question."""
    flow.asked((last, 0), last, now)


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


def test_lagging_local_reader_counts(flow: FlowControl) -> None:
    for last in (10, 20, 30, 90):
        write(flow, last)
    # It has read the second batch, and part of the third.
    flow.lags((25, 0), NOW)
    assert flow.room(NOW) == WINDOW - 70
    flow.lags((30, 0), NOW)
    assert flow.room(NOW) == WINDOW - 60
    # An earlier position is out of date.
    flow.lags((25, 0), NOW)
    assert flow.room(NOW) == WINDOW - 60
    flow.seen(90, NOW)
    assert flow.room(NOW) == WINDOW


def test_local_reader_before_all_written_entries(flow: FlowControl) -> None:
    write(flow, 50)
    flow.lags((3, 0), NOW)
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
        flow.lags((10, 0), NOW + step)
    assert flow.room(NOW + PATIENCE + 0.1) == WINDOW


def test_local_reader_progressing_through_others_entries_is_waited_for(
        flow: FlowControl) -> None:
    """New entries would trim those that it has not read yet."""
    write(flow, 10)
    write(flow, 1000)
    for step in range(1, 10):
        now = NOW + step * 0.9 * PATIENCE
        flow.lags((10 + step, 0), now)
        assert flow.room(now) == 0


# -- the readers of other nodes ----------------------------------------------

def test_local_reader_stays_within_reach(flow: FlowControl) -> None:
    """All that others have not read counts, whatever writer it is of."""
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    read(flow, REACH - 1)
    assert flow.room(NOW) == WINDOW
    read(flow, REACH)
    assert flow.room(NOW) == 0
    flow.reported('a', (REACH // 2, 0), False, NOW)
    # It is as far as the last mark before its position.
    read(flow, REACH + REACH // 2 - 1)
    assert flow.room(NOW) == 0
    flow.reported('a', (REACH, 0), False, NOW)
    assert flow.room(NOW) == WINDOW


@pytest.mark.parametrize('lags', [False, True])
def test_slowest_reader_counts(flow: FlowControl, lags: bool) -> None:
    for last in (0, 100, 200, 300):
        read(flow, last)
    flow.reported('a', (200, 0), lags, NOW)
    flow.reported('b', (100, 0), lags, NOW)
    read(flow, 100 + REACH)
    assert flow.room(NOW) == 0
    flow.gone('b')
    assert flow.room(NOW) == WINDOW
    flow.gone('b')
    flow.gone('never heard of')
    read(flow, 200 + REACH)
    assert flow.room(NOW) == 0
    # A node that is alone waits for no other reader.
    flow.reach = None
    assert flow.room(NOW) == WINDOW


def test_lagging_reader_is_not_assumed_to_read(flow: FlowControl) -> None:
    read(flow, 0)
    for uid in 'a', 'b':
        flow.reported(uid, (0, 0), False, NOW)
    read(flow, REACH)
    assert flow.room(NOW) == 0
    read(flow, REACH + 1, NOW + ASSUMED_AFTER)
    # Neither has answered, and nobody has asked.
    assert flow.room(NOW + ASSUMED_AFTER) == WINDOW
    flow.reported('a', (0, 1), True, NOW + ASSUMED_AFTER)
    assert flow.room(NOW + ASSUMED_AFTER) == 0
    flow.reported('a', (REACH, 0), False, NOW + ASSUMED_AFTER)
    assert flow.room(NOW + ASSUMED_AFTER) == WINDOW


def test_reader_that_has_not_answered_is_not_assumed_to_read(
        flow: FlowControl) -> None:
    """It may get no CPU time."""
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    ask(flow, 1)
    for step in range(1, 5):
        read(flow, REACH + step, NOW + step * ASSUMED_AFTER / 2)
    assert flow.room(NOW + PATIENCE) == 0
    flow.reported('a', (1, 0), False, NOW + PATIENCE)
    read(flow, REACH + 5, NOW + PATIENCE)
    assert flow.room(NOW + PATIENCE) == WINDOW


def test_lagging_reader_before_all_marks(flow: FlowControl) -> None:
    read(flow, 50_000)
    flow.reported('a', (3, 0), True, NOW)
    assert flow.room(NOW) == 0


def test_dead_reader_holds_the_writer_once(flow: FlowControl) -> None:
    """An emitter is not informed that a node is gone."""
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    ask(flow, REACH)
    assert flow.room(NOW + PATIENCE) == 0
    later = NOW + PATIENCE + 0.1
    assert flow.room(later) == WINDOW
    ask(flow, 2 * REACH, later)
    assert flow.room(later) == WINDOW
    # Until it sends something new.
    flow.reported('a', (0, 0), True, later)
    assert flow.room(later) == WINDOW
    flow.reported('a', (REACH, 0), True, later)
    assert flow.room(later) == 0


def test_idle_reader_of_another_node_is_not_late(flow: FlowControl) -> None:
    """It had no question to answer."""
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    much_later = NOW + 100 * PATIENCE
    ask(flow, 1, much_later)
    for last in range(REACH // 4, REACH + 2, REACH // 4):
        read(flow, last, much_later)
    read(flow, REACH + 1, much_later)
    assert flow.room(much_later + PATIENCE) == 0
    assert flow.room(much_later + PATIENCE + 0.1) == WINDOW


@pytest.mark.parametrize('lags', [False, True])
def test_progressing_reader_of_another_node_is_waited_for(
        flow: FlowControl, lags: bool) -> None:
    for last in range(0, 20 * REACH, REACH):
        read(flow, last)
    for step in range(1, 10):
        now = NOW + step * 0.9 * PATIENCE
        flow.reported('a', (step, 0), lags, now)
        assert flow.room(now) == 0


def test_dead_readers_are_forgotten(flow: FlowControl) -> None:
    now, last = NOW, 0
    for number in range(100):
        flow.reported(f'node-{number}', (last, 0), False, now)
        for _ in range(4):
            last += REACH // 4 + 1
            ask(flow, last, now)
        now += PATIENCE + 0.1
        assert flow.room(now) == WINDOW
    assert len(flow.readers) < 2 * MARKS / 4


def test_stream_that_was_set_back(flow: FlowControl) -> None:
    """Redis has lost data: former positions mean nothing there."""
    read(flow, 5000)
    flow.reported('a', (5000, 0), True, NOW)
    flow.passed((3, 0), 5001, NOW)
    assert flow.readers == {}
    flow.reported('a', (3, 0), False, NOW)
    flow.passed((9, 0), 5001 + REACH, NOW)
    assert flow.room(NOW) == 0


def test_reader_that_takes_over_counts_anew(flow: FlowControl) -> None:
    """Until it runs, the task of the writer reads, and counts."""
    ask(flow, 5000)
    flow.reported('a', (5000, 0), False, NOW)
    flow.asked((5001, 0), 1, NOW)
    flow.reported('a', (5001, 0), False, NOW)
    flow.passed((6000, 0), REACH // 4, NOW)
    assert not flow.asks(NOW)
    flow.passed((6001, 0), 1 + REACH // 4, NOW)
    assert flow.asks(NOW)
    flow.passed((7000, 0), 1 + REACH, NOW)
    assert flow.room(NOW) == 0


# -- questions ---------------------------------------------------------------

def test_writer_asks_each_quarter_of_the_reach(flow: FlowControl) -> None:
    asked = []
    for last in range(2 * REACH + 1):
        # Others write, too.
        read(flow, last)
        if flow.asks(NOW):
            asked.append(last)
            ask(flow, last)
    assert asked == list(range(REACH // 4, 2 * REACH + 1, REACH // 4))


def test_writer_asks_nothing_if_another_has(flow: FlowControl) -> None:
    read(flow, REACH // 4 - 1)
    ask(flow, REACH // 4)
    read(flow, REACH // 2 - 1)
    assert not flow.asks(NOW)
    read(flow, REACH // 2)
    assert flow.asks(NOW)


def test_writer_asks_nothing_at_low_rates(flow: FlowControl) -> None:
    """Up to a quarter of the reach a second."""
    now, last = NOW, 0
    flow.reported('a', (0, 0), False, now)
    for _ in range(1000):
        now += ASSUMED_AFTER / 10
        last += REACH // 50
        read(flow, last, now)
        assert not flow.asks(now)
        assert flow.room(now) == WINDOW


def test_lost_question_is_repeated(flow: FlowControl) -> None:
    """The connection may have broken before it was stored."""
    read(flow, REACH)
    assert flow.asks(NOW)
    assert not flow.asks(NOW + ASK_AGAIN - 0.01)
    assert flow.asks(NOW + ASK_AGAIN)


def test_question_is_repeated_while_an_answer_is_missing(
        flow: FlowControl) -> None:
    """It may be lost."""
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    read(flow, REACH)
    assert flow.asks(NOW)
    ask(flow, REACH + 1)
    assert flow.room(NOW) == 0
    assert not flow.asks(NOW + ASK_AGAIN - 0.01)
    assert flow.asks(NOW + ASK_AGAIN)
    flow.reported('a', (REACH + 1, 0), False, NOW + ASK_AGAIN)
    ask(flow, REACH + 2, NOW + ASK_AGAIN)
    assert not flow.asks(NOW + 2 * ASK_AGAIN)


def test_node_that_is_alone_asks_nothing(flow: FlowControl) -> None:
    flow.reach = None
    read(flow, 100 * REACH)
    assert not flow.asks(NOW)


# -- after an outage ---------------------------------------------------------

def test_reader_that_may_be_away_is_awaited(flow: FlowControl) -> None:
    write(flow, 500)
    flow.await_readers([None, 'a', 'b', 'c', 'd'], NOW)
    assert flow.room(NOW) == WINDOW
    write(flow, 500 + WINDOW)
    for speak in (lambda: flow.seen(600, NOW), lambda: flow.gone('a'),
                  lambda: flow.reported('b', (600, 0), True, NOW),
                  lambda: flow.reported('c', (600, 0), False, NOW)):
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


def test_readers_are_remembered_for_a_moment(flow: FlowControl) -> None:
    """The connection of the reader may return before anyone has lost it."""
    flow.seen(0, NOW)
    write(flow, WINDOW)
    read(flow, 0)
    flow.reported('a', (0, 0), False, NOW)
    flow.hears(False, NOW)
    flow.hears(False, NOW + PATIENCE)
    assert 'a' in flow.readers and flow.room(NOW) == 0
    flow.hears(True, NOW + PATIENCE)
    flow.hears(False, NOW + 2 * PATIENCE)
    flow.hears(False, NOW + 3 * PATIENCE)
    assert 'a' in flow.readers
    flow.hears(False, NOW + 3 * PATIENCE + 0.1)
    assert flow.readers == {}
    assert flow.room(NOW) == WINDOW


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
    flow.lags((15, 0), NOW)
    assert flow.room(NOW) == 0
    flow.lags((65, 0), NOW)
    assert flow.room(NOW) == 10
    flow.window = None
    write(flow, 110)
    assert flow.forgotten == 80


def test_heartbeats_add_nothing_to_memory(flow: FlowControl) -> None:
    """They have no number of their own, and continue for months."""
    write(flow, 10)
    for moment in range(11, 1000):
        flow.wrote((moment, 0), 10, NOW)
    assert list(flow.checkpoints) == [((10, 0), 10)]
    flow.lags((500, 0), NOW)
    assert flow.room(NOW) == WINDOW
    write(flow, 1000)
    assert list(flow.checkpoints) == [((10, 0), 10), ((1000, 0), 1000)]


def test_widest_window(flow: FlowControl) -> None:
    flow.window = 10**9
    assert flow.window == flow_control.MAX_WINDOW


def test_shares() -> None:
    """With the reach they are at most 3/4 of what a stream keeps."""
    for max_len in (1_000, 10_000, 1_000_000):
        for nodes in (1, 2, 3, 50):
            assert nodes * node_share(max_len, nodes) + reach(
                max_len, nodes) <= max_len * 3 / 4 + 8 * (nodes + 1)
    assert emitter_share(10_000) == 625
    assert node_share(1, 9) == emitter_share(1) == mark_every(1) == 1


@given(st.lists(st.tuples(
    st.sampled_from(['wrote', 'seen', 'lags', 'passed', 'asked', 'reported',
                     'reported that it lags', 'gone', 'away', 'deaf']),
    st.integers(0, 50), st.floats(0, 5))))
def test_any_reports(said: List[Tuple[str, int, float]]) -> None:
    """The room is never below 0, and a waiting task gets some."""
    flow = FlowControl()
    flow.window, flow.reach = WINDOW, REACH
    written, now, count = 0, NOW, 0
    for what, number, seconds in said:
        now += seconds
        count += 10 * number
        if what == 'wrote':
            written += number
            write(flow, written, now)
        elif what == 'seen':
            flow.seen(min(number, written), now)
        elif what == 'lags':
            flow.lags((number, 0), now)
        elif what == 'passed':
            flow.passed((number, 0), count, now)
        elif what == 'asked':
            flow.asked((number, 0), count, now)
        elif what == 'away':
            flow.await_readers([None, 'a'], now)
        elif what == 'gone':
            flow.gone('a')
        elif what == 'deaf':
            flow.hears(number > 25, now)
        else:
            flow.reported('a', (number, 0), what != 'reported', now)
        room: Any = flow.room(now)
        assert 0 <= room <= WINDOW
        flow.asks(now)
    assert flow.room(now + RETURN_PATIENCE + 0.1)
