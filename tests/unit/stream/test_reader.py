"""The cursor, and how it is moved, over the fake stream."""
import logging
import threading
from typing import Any, List, Optional

import pytest
from hypothesis import given, HealthCheck, settings, strategies as st

from redis_streams_adapter.stream.reader import LAG
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Entry, Unavailable

from ...support.wait import DEADLINE, wait_until
from ..driving import UntilDone
from redis_streams_adapter.testing.stream import CLOCK_START, FakeStream, Fault
from ..readings import Clock, put, Readings


# -- the first position ------------------------------------------------------

def test_it_begins_with_what_comes_next(readings: Readings,
                                        stream: FakeStream) -> None:
    put(stream, 1, 2)
    readings.idle()
    assert readings.numbers == []
    assert readings.reader.cursor == stream.last
    put(stream, 3, 4, 5, 6, 7)
    readings.idle()
    assert readings.numbers == [3, 4, 5, 6, 7]


def test_a_stream_that_is_not_there_yet(readings: Readings,
                                        stream: FakeStream) -> None:
    readings.idle()
    assert readings.reader.cursor == START
    put(stream, 1)
    readings.idle()
    assert readings.numbers == [1]


def test_the_first_position_is_resolved_once(readings: Readings,
                                             stream: FakeStream) -> None:
    """What comes while the connection is gone is not missed."""
    put(stream, 1)
    readings.idle()
    put(stream, 2, 3)
    readings.idle()
    assert readings.numbers == [2, 3]


def test_a_break_before_the_first_entry(readings: Readings,
                                        stream: FakeStream) -> None:
    put(stream, 1)
    stream.plan('read', Fault.BREAK_BEFORE)
    with pytest.raises(Unavailable):
        readings.reader.work(UntilDone(lambda: False))
    put(stream, 2)
    readings.until(1)
    assert readings.numbers == [2]


# -- the cursor --------------------------------------------------------------

def test_pages(readings: Readings, stream: FakeStream) -> None:
    readings.idle()
    put(stream, *range(20))
    readings.idle()
    assert readings.numbers == list(range(20))
    assert readings.reader.received == 20
    assert readings.reader.cursor == stream.last


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 7), st.lists(
    st.sampled_from([Fault.NONE, Fault.BREAK_BEFORE, Fault.ERROR]),
    max_size=4)), max_size=8), st.sampled_from(['read', 'ends', 'time',
                                                'connect']))
def test_each_entry_once_whatever_breaks(plans: Any, operation: str) -> None:
    stream = FakeStream()
    readings = Readings(stream)
    readings.idle()
    number = 0
    for count, faults in plans:
        stream.plan(operation, *faults)
        put(stream, *range(number, number + count))
        number += count
        readings.until(number)
    assert readings.numbers == list(range(number))


def test_an_entry_that_makes_trouble(stream: FakeStream,
                                     logged: Any) -> None:
    def handle(entry: Entry) -> None:
        if entry.fields[0] in (b'1', b'3'):
            raise KeyError('trouble')

    readings = Readings(stream, handle=handle)
    readings.idle()
    ids = put(stream, 0, 1, 2, 3)
    assert readings.idle() == []
    readings.idle()
    assert readings.numbers == [0, 1, 2, 3]
    assert readings.reader.failed == 2
    assert readings.reader.received == 4
    lines = logged(logging.ERROR)
    assert [str(ids[1]) in lines[0], str(ids[3]) in lines[1]] == [
        True, True]
    assert len(lines) == 2


def test_an_entry_that_makes_trouble_and_a_log_that_does(
        stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(entry: Entry) -> None:
        raise ValueError('x')

    def full(*_: Any) -> None:
        raise OSError('no space left')

    monkeypatch.setattr(logging.getLogger('tests.unit'), 'exception', full)
    readings = Readings(stream, handle=trouble)
    readings.idle()
    put(stream, 1, 2)
    for _ in range(2):
        with pytest.raises(OSError):
            readings.reader.work(UntilDone(lambda: False))
    assert readings.numbers == [1, 2]


def test_an_entry_in_the_middle_of_a_page_is_not_handed_on_again(
        stream: FakeStream) -> None:
    """The cursor moves with each entry, not with the page."""
    seen: List[Optional[bytes]] = []
    readings = Readings(stream)
    readings._handle = lambda entry: seen.append(readings.reader.cursor)
    readings.idle()
    first, second, third = put(stream, 1, 2, 3)
    readings.idle()
    assert seen == [START, first, second]
    assert readings.reader.cursor == third


def test_it_reports_each_time_it_reaches_redis(readings: Readings,
                                               stream: FakeStream) -> None:
    for expected in (1, 2):
        task = UntilDone(lambda: True)
        readings.reader.work(task)
        assert len(readings.resumed.calls) == expected
        assert readings.began.calls == [(START, CLOCK_START)]
        assert task.got_through == 1


@pytest.mark.parametrize('operation', ['connect', 'time', 'ends', 'read'])
@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.ERROR])
def test_the_first_time_counts_only_when_it_reaches_redis(
        readings: Readings, stream: FakeStream, operation: str,
        fault: Fault) -> None:
    """A node would never be a member otherwise."""
    stream.plan(operation, fault)
    task = UntilDone(lambda: True)
    with pytest.raises(Unavailable):
        readings.reader.work(task)
    assert readings.resumed.calls == readings.began.calls == []
    assert task.got_through == 0
    readings.reader.work(UntilDone(lambda: True))
    assert len(readings.resumed.calls) == 1
    assert readings.began.calls == [(START, CLOCK_START)]


def test_what_is_told_comes_before_the_first_entry(
        readings: Readings, stream: FakeStream) -> None:
    readings.idle()
    put(stream, 1)
    told: List[int] = []
    readings._handle = lambda entry: told.append(len(readings.resumed.calls))
    readings.idle()
    assert told == [2]


def test_others_get_their_turn_between_full_pages(
        readings: Readings, stream: FakeStream) -> None:
    readings.idle()
    put(stream, *range(7))
    readings.idle()
    assert len(readings.paused.calls) == 2


def test_a_task_that_was_stopped_while_it_connected(
        readings: Readings, stream: FakeStream) -> None:
    class Stopped:
        stopping = True

    readings.reader.work(Stopped())  # type: ignore[arg-type]
    assert readings.resumed.calls == []
    assert stream.connections == 0


# -- how far behind ----------------------------------------------------------

def test_lag(stream: FakeStream, clock: Clock) -> None:
    lags: List[Any] = []
    readings = Readings(stream, handle=lambda entry: lags.append(
        readings.reader.lag))
    assert readings.reader.lag is None
    readings.idle()
    assert readings.reader.lag is None
    put(stream, 1, 2, 3)
    stream.advance(7.0)
    put(stream, 4)
    readings.until(4)
    # A full page: the first three are 7 seconds old; then there is no more.
    assert lags[1:] == [pytest.approx(7.0), pytest.approx(7.0), 0.0]


def test_one_that_keeps_up_does_not_complain(readings: Readings,
                                             stream: FakeStream,
                                             clock: Clock) -> None:
    readings.idle()
    for number in range(20):
        put(stream, number, number, number)
        readings.until(3 * number + 3)
    assert readings.lagging.calls == []


def test_one_that_lags_says_where_it_is(stream: FakeStream,
                                        clock: Clock) -> None:
    readings = Readings(stream)

    def handle(entry: Entry) -> None:
        clock.now += 2 * LAG
        stream.advance(2 * LAG)

    readings._handle = handle
    readings.idle()
    ids = put(stream, *range(8))
    readings.idle()
    *positions, end = readings.lagging.calls
    assert end is None
    assert positions
    assert set(positions) <= {START, *ids}
    assert positions == sorted(positions)
    # It says it once more when it lags again.
    readings.lagging.calls.clear()
    put(stream, *range(8))
    readings.idle()
    assert readings.lagging.calls[-1] is None


def test_it_says_where_it_is_when_it_is_asked(stream: FakeStream,
                                              clock: Clock) -> None:
    readings = Readings(
        stream, handle=lambda entry: readings.reader.report_position())
    readings.idle()
    first, _, _, _ = put(stream, *range(4))
    readings.until(4)
    told = readings.lagging.calls
    # Within a full page, the entry before the present one; in the last
    # page, that there is nothing more.
    assert told[1] == first
    assert None not in told[:3]
    assert told[3:] and set(told[3:]) == {None}


def test_reports_are_not_made_for_each_entry(
        stream: FakeStream, clock: Clock) -> None:
    readings = Readings(stream, count=100)
    readings.idle()
    put(stream, *range(1000))
    stream.advance(1.0)
    clock.now += 1.0
    readings.until(1000)
    readings.idle()
    assert len([call for call in readings.lagging.calls if call]) == 1


# -- its end -----------------------------------------------------------------

@pytest.mark.parametrize('frozen', [False, True])
def test_interrupt(stream: FakeStream, frozen: bool) -> None:
    readings = Readings(stream, block=10 * DEADLINE)
    task = Task('reader', readings.reader.work, ThreadEngine(), None,
                lambda: logging.getLogger('tests.unit'))
    readings.reader.interrupt()
    task.start()
    wait_until(lambda: stream.waiting)
    assert readings.reader.connected
    if frozen:
        stream.freeze()
        put(stream, 1)
    task.stop()
    readings.reader.interrupt()
    assert task.join(DEADLINE)
    assert not readings.reader.connected
    assert stream.connections == 0
    readings.reader.interrupt()


def test_it_wakes_when_something_comes(stream: FakeStream) -> None:
    arrived = threading.Event()
    readings = Readings(stream, block=10 * DEADLINE,
                        handle=lambda entry: arrived.set())
    task = Task('reader', readings.reader.work, ThreadEngine(), None,
                lambda: logging.getLogger('tests.unit'))
    task.start()
    wait_until(lambda: stream.waiting)
    put(stream, 1)
    assert arrived.wait(DEADLINE)
    task.stop()
    readings.reader.interrupt()
    assert task.join(DEADLINE)


def test_abandon(readings: Readings, stream: FakeStream) -> None:
    readings.reader.abandon()
    links: List[Any] = []

    def done() -> bool:
        links.append(readings.reader._link)
        readings.reader.abandon()
        return True

    readings.reader.work(UntilDone(done))
    assert links[0].abandoned


@pytest.mark.parametrize('fault', [Fault.NONE, Fault.BREAK_BEFORE,
                                   Fault.ERROR])
def test_links_are_closed(readings: Readings, stream: FakeStream,
                          fault: Fault) -> None:
    stream.plan('read', fault)
    readings.idle()
    assert stream.connections == 0
