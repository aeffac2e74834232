"""The reader's cursor, with the fake stream."""
import logging
import threading
from typing import Any, List, Optional

import pytest
from hypothesis import given, HealthCheck, settings, strategies as st

from redis_streams_adapter.stream.latency import total
from redis_streams_adapter.stream.reader import FIRST_PAUSE, LAG, \
    LONGEST_PAUSE
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Entry, Unavailable

from ...support.wait import DEADLINE, wait_until
from ..driving import UntilDone
from redis_streams_adapter.testing.stream import CLOCK_START, FakeStream, Fault
from ..readings import Clock, put, Readings


# -- the first position ------------------------------------------------------

def test_reader_starts_at_the_next_entry(readings: Readings,
                                         stream: FakeStream) -> None:
    put(stream, 1, 2)
    readings.idle()
    assert readings.numbers == []
    assert readings.reader.cursor == stream.last
    put(stream, 3, 4, 5, 6, 7)
    readings.idle()
    assert readings.numbers == [3, 4, 5, 6, 7]


def test_stream_that_does_not_exist_yet(readings: Readings,
                                        stream: FakeStream) -> None:
    readings.idle()
    assert readings.reader.cursor == START
    put(stream, 1)
    readings.idle()
    assert readings.numbers == [1]


def test_first_position_is_resolved_once(readings: Readings,
                                         stream: FakeStream) -> None:
    """Entries stored while the connection is gone are not missed."""
    put(stream, 1)
    readings.idle()
    put(stream, 2, 3)
    readings.idle()
    assert readings.numbers == [2, 3]


def test_break_before_the_first_entry(readings: Readings,
                                      stream: FakeStream) -> None:
    put(stream, 1)
    stream.plan('read', Fault.BREAK_BEFORE)
    with pytest.raises(Unavailable):
        readings.reader.work(UntilDone(lambda: False))
    put(stream, 2)
    readings.until(1)
    assert readings.numbers == [2]


# -- a server that does not wait ----------------------------------------------

@pytest.fixture
def impatient(stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the server, or a proxy, answer at once."""
    link = type(stream.link())
    read = link.read
    monkeypatch.setattr(link, 'read', lambda self, after, count, block: read(
        self, after, count, None))


def rests(readings: Readings, count: int) -> List[float]:
    """The first pauses of a reader."""
    task = UntilDone(lambda: len(task.rests) >= count)
    readings.reader.work(task)  # type: ignore[arg-type]
    return task.rests


@pytest.mark.usefixtures('impatient')
def test_reads_that_do_not_wait_are_followed_by_longer_and_longer_pauses(
        stream: FakeStream, logged: Any) -> None:
    readings = Readings(stream, block=5.0)
    pauses = rests(readings, 20)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses == sorted(pauses) and pauses[-1] == LONGEST_PAUSE
    assert ['BLOCK' in line for line in logged(logging.WARNING)] == [True]
    # Entries still come, and the pauses begin anew; the log has it already.
    put(stream, 1, 2)
    assert rests(readings, 20)[0] == FIRST_PAUSE
    assert rests(readings, 20)[0] == LONGEST_PAUSE
    assert readings.numbers == [1, 2]
    assert len(logged(logging.WARNING)) == 1


def test_reads_that_wait_have_no_pause(readings: Readings,
                                       stream: FakeStream,
                                       logged: Any) -> None:
    task = UntilDone(lambda: len(reads) > 20)
    reads: List[int] = []
    take = readings.reader._take
    readings.reader._take = (  # type: ignore[method-assign]
        lambda page: (reads.append(1), take(page)))
    readings.reader.work(task)  # type: ignore[arg-type]
    put(stream, 1)
    readings.until(1)
    assert task.rests == []
    assert logged(logging.WARNING) == []


def test_one_read_that_is_ended_is_no_matter_for_the_log(
        stream: FakeStream, impatient: Any, logged: Any) -> None:
    """An operator has unblocked the connection."""
    assert rests(Readings(stream, block=5.0), 2) == [
        FIRST_PAUSE, 2 * FIRST_PAUSE]
    assert logged(logging.WARNING) == []


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
def test_each_entry_is_handled_once_despite_breaks(plans: Any,
                                                   operation: str) -> None:
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


def test_entry_whose_handler_raises(stream: FakeStream, logged: Any) -> None:
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


def test_entry_whose_handler_and_log_raise(
        stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(entry: Entry) -> None:
        raise ValueError('x')

    def full(*_: Any, **__: Any) -> None:
        raise OSError('no space left')

    monkeypatch.setattr(logging.getLogger('tests.unit'), 'exception', full)
    readings = Readings(stream, handle=trouble)
    readings.idle()
    put(stream, 1, 2)
    for _ in range(2):
        with pytest.raises(OSError):
            readings.reader.work(UntilDone(lambda: False))
    assert readings.numbers == [1, 2]


def test_entry_within_a_page_is_not_handled_again(stream: FakeStream) -> None:
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


def test_end_of_each_page_is_reported(readings: Readings,
                                      stream: FakeStream) -> None:
    readings.idle()
    put(stream, *range(7))
    before = len(readings.page_done.calls)
    ends: List[int] = []
    readings._handle = lambda entry: ends.append(
        len(readings.page_done.calls) - before)
    readings.until(7)
    assert ends == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize('operation', ['connect', 'time', 'ends', 'read'])
@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.ERROR])
def test_the_first_time_counts_only_when_it_reaches_redis(
        readings: Readings, stream: FakeStream, operation: str,
        fault: Fault) -> None:
    """Otherwise the node would never become a member."""
    stream.plan(operation, fault)
    task = UntilDone(lambda: True)
    with pytest.raises(Unavailable):
        readings.reader.work(task)
    assert readings.resumed.calls == readings.began.calls == []
    assert task.got_through == 0
    readings.reader.work(UntilDone(lambda: True))
    assert len(readings.resumed.calls) == 1
    assert readings.began.calls == [(START, CLOCK_START)]


def test_success_is_reported_before_the_first_entry(
        readings: Readings, stream: FakeStream) -> None:
    readings.idle()
    put(stream, 1)
    reports: List[int] = []
    readings._handle = lambda entry: reports.append(
        len(readings.resumed.calls))
    readings.idle()
    assert reports == [2]


def test_other_tasks_run_between_full_pages(readings: Readings,
                                            stream: FakeStream) -> None:
    readings.idle()
    put(stream, *range(7))
    readings.idle()
    assert len(readings.paused.calls) == 2


def test_clients_get_what_they_were_given_before_it_reads_on(
        readings: Readings, stream: FakeStream) -> None:
    """Green threads that write to them run after a page that is the last
    one for now; not after an empty one."""
    readings.idle()
    assert readings.switched.calls == []
    put(stream, *range(7))
    readings.idle()
    assert len(readings.switched.calls) == 1


def test_task_stopped_while_it_connected(readings: Readings,
                                         stream: FakeStream) -> None:
    class Stopped:
        stopping = True

    readings.reader.work(Stopped())  # type: ignore[arg-type]
    assert readings.resumed.calls == []
    assert stream.connections == 0


# -- lag --------------------------------------------------------------------

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
    # A full page: its three entries are 7 seconds old. No more entries follow.
    assert lags[1:] == [pytest.approx(7.0), pytest.approx(7.0), 0.0]


def test_reader_that_keeps_up_reports_no_lag(readings: Readings,
                                             stream: FakeStream,
                                             clock: Clock) -> None:
    readings.idle()
    for number in range(20):
        put(stream, number, number, number)
        readings.until(3 * number + 3)
    assert readings.lagging.calls == []


def test_lagging_reader_reports_its_position(stream: FakeStream,
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
    # It reports once more when it lags again.
    readings.lagging.calls.clear()
    put(stream, *range(8))
    readings.idle()
    assert readings.lagging.calls[-1] is None


def test_reader_that_has_caught_up_reports_it_before_it_waits(
        stream: FakeStream, clock: Clock) -> None:
    """Also if the last page was full. The writers of other nodes may wait
    for this report, and then no entry comes."""
    readings = Readings(stream, block=DEADLINE)

    def handle(entry: Entry) -> None:
        clock.now += 2 * LAG
        stream.advance(2 * LAG)

    readings._handle = handle
    task = UntilDone(lambda: False)
    reading = threading.Thread(target=readings.reader.work, args=(task,))
    reading.start()
    try:
        assert stream.wait_until_read(1, DEADLINE)
        put(stream, *range(6))
        assert stream.wait_until_read(1, DEADLINE)
        assert readings.numbers == list(range(6))
        assert readings.lagging.calls[-1] is None
    finally:
        task._done = lambda: True
        put(stream, 6)
        reading.join(DEADLINE)


def test_position_is_reported_on_request(stream: FakeStream,
                                         clock: Clock) -> None:
    readings = Readings(
        stream, handle=lambda entry: readings.reader.report_position())
    readings.idle()
    first, _, _, _ = put(stream, *range(4))
    readings.until(4)
    reports = readings.lagging.calls
    # Within a full page it reports the entry before the current one; in the
    # last page, that no more entries exist.
    assert reports[1] == first
    assert None not in reports[:3]
    assert reports[3:] and set(reports[3:]) == {None}


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


# -- the end -----------------------------------------------------------------

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


def test_reader_wakes_on_a_new_entry(stream: FakeStream) -> None:
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


# -- how long entries take ---------------------------------------------------

def test_age_of_entries(stream: FakeStream,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    """All entries of a page count with the age of the oldest one."""
    readings = Readings(stream)
    put(stream, 1)
    readings.idle()
    assert total([readings.reader.latency])['+Inf'] == 0
    put(stream, 2)
    stream.clock += 20_000
    put(stream, 3)
    readings.until(2)
    found = total([readings.reader.latency])
    assert found['+Inf'] == found['30.0'] - found['10.0'] == 2
    assert 40 <= found['sum'] < 44
