"""How much may be written before others have read it."""
from typing import Any, List, Tuple

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol import flow_control as pace_module
from redis_streams_adapter.protocol.flow_control import Pace, PATIENCE, \
    RETURN_PATIENCE

WINDOW = 100

#: A moment, in seconds, at which nobody has lost patience with anybody.
NOW = 1000.0


@pytest.fixture
def pace() -> Pace:
    pace = Pace()
    pace.window = WINDOW
    return pace


def write(pace: Pace, last: int, now: float = NOW) -> None:
    """A batch whose last entry has this number; its id is made of it."""
    pace.wrote((last, 0), last, now)


def test_where_nobody_reads_there_is_no_limit() -> None:
    pace = Pace()
    assert pace.room(NOW) is None
    write(pace, 1_000_000)
    assert pace.room(NOW) is None


def test_what_our_own_reader_has_not_seen_counts(pace: Pace) -> None:
    pace.seen(0, NOW)
    assert pace.room(NOW) == WINDOW
    write(pace, 60)
    assert pace.room(NOW) == WINDOW - 60
    write(pace, 120)
    assert pace.room(NOW) == 0
    pace.seen(50, NOW)
    assert pace.room(NOW) == WINDOW - 70
    pace.seen(120, NOW)
    assert pace.room(NOW) == WINDOW


def test_a_reader_that_lags_counts(pace: Pace) -> None:
    for last in (10, 20, 30, 90):
        write(pace, last)
    pace.seen(90, NOW)
    assert pace.room(NOW) == WINDOW
    # It is behind the second batch, and somewhere in the third.
    pace.behind('a', (25, 0), NOW)
    assert pace.room(NOW) == WINDOW - 70
    pace.behind('a', (30, 0), NOW)
    assert pace.room(NOW) == WINDOW - 60
    pace.caught_up('a')
    assert pace.room(NOW) == WINDOW


def test_the_slowest_counts(pace: Pace) -> None:
    for last in (10, 20, 30):
        write(pace, last)
    pace.behind('a', (20, 0), NOW)
    pace.behind('b', (10, 0), NOW)
    assert pace.room(NOW) == WINDOW - 20
    pace.caught_up('b')
    assert pace.room(NOW) == WINDOW - 10
    pace.caught_up('b')
    pace.caught_up('never heard of')
    assert pace.room(NOW) == WINDOW - 10


def test_one_that_is_before_all_that_we_wrote(pace: Pace) -> None:
    write(pace, 50)
    pace.behind('a', (3, 0), NOW)
    assert pace.room(NOW) == WINDOW - 50


def test_nobody_holds_us_back_for_ever(pace: Pace) -> None:
    pace.seen(0, NOW)
    write(pace, WINDOW)
    assert pace.room(NOW + PATIENCE) == 0
    assert pace.room(NOW + PATIENCE + 0.1) == WINDOW
    # But it counts again from there.
    write(pace, 2 * WINDOW, NOW + PATIENCE + 0.1)
    assert pace.room(NOW + PATIENCE + 0.1) == 0


def test_who_gets_on_is_waited_for(pace: Pace) -> None:
    write(pace, 300)
    for step in range(1, 10):
        now = NOW + step * 0.9 * PATIENCE
        pace.seen(step, now)
        assert pace.room(now) == 0


def test_who_had_nothing_to_read_is_not_late(pace: Pace) -> None:
    pace.seen(0, NOW)
    much_later = NOW + 100 * PATIENCE
    write(pace, WINDOW, much_later)
    assert pace.room(much_later) == 0


def test_saying_the_same_again_is_not_getting_on(pace: Pace) -> None:
    write(pace, 10)
    write(pace, 200)
    for step in range(10):
        pace.behind('a', (10, 0), NOW + step)
    assert pace.room(NOW + PATIENCE + 0.1) == WINDOW


def test_who_died_while_it_lagged_holds_us_back_once(pace: Pace) -> None:
    """Who only writes never hears that a node is gone."""
    write(pace, 10)
    pace.behind('a', (10, 0), NOW)
    write(pace, 10 + WINDOW)
    assert pace.room(NOW + PATIENCE) == 0
    later = NOW + PATIENCE + 0.1
    assert pace.room(later) == WINDOW
    write(pace, 10 + 2 * WINDOW, later)
    assert pace.room(later) == WINDOW
    # Until it says something new.
    pace.behind('a', (10, 0), later)
    assert pace.room(later) == WINDOW
    pace.behind('a', (10 + WINDOW, 0), later)
    assert pace.room(later) == 0


def test_the_dead_are_forgotten(monkeypatch: pytest.MonkeyPatch,
                                pace: Pace) -> None:
    monkeypatch.setattr(pace_module, 'REMEMBERED', WINDOW)
    write(pace, 10)
    now = NOW
    for number in range(100):
        pace.behind(f'node-{number}', (10 + number * WINDOW, 0), now)
        write(pace, 10 + (number + 1) * WINDOW, now)
        now += PATIENCE + 0.1
        assert pace.room(now) == WINDOW
    assert len(pace._readers) < 5


def test_who_gets_on_among_the_entries_of_others_is_waited_for(
        pace: Pace) -> None:
    """Ours would push out what it has not come to yet."""
    write(pace, 10)
    write(pace, 1000)
    for uid in ('a', None):
        for step in range(1, 10):
            now = NOW + step * 0.9 * PATIENCE
            pace.behind(uid, (10 + step, 0), now)
            assert pace.room(now) == 0
        pace.caught_up(uid)


def test_who_may_be_away_is_awaited(pace: Pace) -> None:
    write(pace, 500)
    pace.expect([None, 'a', 'b', 'c'], NOW)
    assert pace.room(NOW) == WINDOW
    write(pace, 500 + WINDOW)
    for speak in (lambda: pace.seen(600, NOW), lambda: pace.caught_up('a'),
                  lambda: pace.behind('b', (600, 0), NOW)):
        assert pace.room(NOW) == 0
        speak()
    assert pace.room(NOW) == 0
    # That nothing can be heard just now does not make it come back.
    pace.forget_readers()
    assert pace.room(NOW + RETURN_PATIENCE) == 0
    assert pace.room(NOW + RETURN_PATIENCE + 0.1) == WINDOW
    # Once: who does not know how to answer counts no more.
    write(pace, 500 + 10 * WINDOW)
    assert pace.room(NOW + RETURN_PATIENCE + 0.1) == WINDOW


def test_whom_nobody_hears_does_not_count(pace: Pace) -> None:
    pace.seen(0, NOW)
    write(pace, WINDOW)
    assert pace.room(NOW) == 0
    pace.forget_readers()
    assert pace.room(NOW) == WINDOW


def test_not_everything_is_remembered(
        monkeypatch: pytest.MonkeyPatch, pace: Pace) -> None:
    """But for what is in the window: who is further back has no room."""
    monkeypatch.setattr(pace_module, 'REMEMBERED', 20)
    pace.window = 50
    for last in range(10, 101, 10):
        write(pace, last)
    assert pace.forgotten == 40
    assert len(pace.checkpoints) == 6
    pace.behind('b', (65, 0), NOW)
    assert pace.room(NOW) == 10
    pace.behind('a', (15, 0), NOW)
    assert pace.room(NOW) == 0
    pace.window = None
    write(pace, 110)
    assert pace.forgotten == 80


def test_who_only_gives_signs_of_life_remembers_no_more_by_it(
        pace: Pace) -> None:
    """They have no number of their own, and go on for months."""
    write(pace, 10)
    for moment in range(11, 1000):
        pace.wrote((moment, 0), 10, NOW)
    assert list(pace.checkpoints) == [((10, 0), 10)]
    pace.behind('a', (500, 0), NOW)
    assert pace.room(NOW) == WINDOW
    write(pace, 1000)
    assert list(pace.checkpoints) == [((10, 0), 10), ((1000, 0), 1000)]


def test_the_widest_window(pace: Pace) -> None:
    pace.window = 10**9
    assert pace.window == pace_module.MAX_WINDOW


@given(st.lists(st.tuples(
    st.sampled_from(['wrote', 'seen', 'behind', 'up', 'away']),
    st.integers(0, 50), st.floats(0, 5))))
def test_whatever_is_said(said: List[Tuple[str, int, float]]) -> None:
    """The room is never below 0, and somebody who waits gets some."""
    pace = Pace()
    pace.window = WINDOW
    written, now = 0, NOW
    for what, number, seconds in said:
        now += seconds
        if what == 'wrote':
            written += number
            write(pace, written, now)
        elif what == 'seen':
            pace.seen(min(number, written), now)
        elif what == 'behind':
            pace.behind('a', (number, 0), now)
        elif what == 'away':
            pace.expect([None, 'a'], now)
        else:
            pace.caught_up('a')
        room: Any = pace.room(now)
        assert 0 <= room <= WINDOW
    assert pace.room(now + RETURN_PATIENCE + 0.1)
