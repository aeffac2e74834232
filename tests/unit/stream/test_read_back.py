"""A reader reads history before it starts, from the fake stream."""
import time
from typing import Any, List, Optional

import pytest

from redis_streams_adapter.protocol.discovery import Span
from redis_streams_adapter.stream import read_back as module
from redis_streams_adapter.stream.pages import BYTES, Pages
from redis_streams_adapter.stream.read_back import ReadBack
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Unavailable

from ..conftest import Log
from redis_streams_adapter.testing.stream import CLOCK_START, FakeStream, Fault
from .test_reader import Readings

#: The age in seconds up to which entries matter.
SECONDS = 10.0

MAX_LEN = 1000


class Reading:
    """A read of the history, and its entries."""

    def __init__(self, stream: FakeStream, count: Optional[int] = 3,
                 max_len: Any = MAX_LEN) -> None:
        self.stream = stream
        self.numbers: List[int] = []
        self.ages: List[float] = []
        self.done = Log()
        self.pages = 0
        self._read_back = ReadBack(
            self._note, self.done, seconds=SECONDS, pause=self._pause,
            max_len=max_len)
        if count is not None:
            self._read_back._pages = Pages(count)

    def _pause(self) -> None:
        self.pages += 1

    def _note(self, entry: Any, at: float) -> None:
        self.numbers.append(int(entry.fields[0]))
        self.ages.append(time.monotonic() - at)

    def read(self, cursor: bytes = b'', ago: float = 0.0,
             failed: bool = False) -> Span:
        link = self.stream.link()
        link.connect()
        ends = link.ends()
        ahead = self.stream.clock / 1000 - time.monotonic()
        cursor = cursor or ends.last_id
        self._read_back(link, ahead, cursor, ends,
                        time.monotonic() - ago, failed)
        link.close()
        where, span = self.done.calls[-1]
        assert where == cursor
        assert isinstance(span, Span)
        return span


def put(stream: FakeStream, *numbers: int) -> List[bytes]:
    return [stream.put(b'%d' % number) for number in numbers]


def test_no_stream(stream: FakeStream) -> None:
    reading = Reading(stream)
    assert reading.read(START) == Span(0.0, True)
    assert reading.numbers == []


@pytest.mark.parametrize('count', [1, 3, 100])
def test_recent_entries(stream: FakeStream, count: int) -> None:
    """Older entries are not even read."""
    put(stream, 1, 2)
    stream.advance(SECONDS + 1)
    put(stream, 3)
    stream.advance(4.0)
    put(stream, *range(4, 10))
    reading = Reading(stream, count)
    span = reading.read()
    assert span.seconds == SECONDS
    assert reading.numbers == list(range(3, 10))
    assert abs(reading.ages[0] - 4.0) < 1.0 and reading.ages[1] < 1.0


def test_not_beyond_the_cursor(stream: FakeStream) -> None:
    """Later entries are read as usual."""
    ids = put(stream, *range(10))
    reading = Reading(stream)
    reading.read(ids[4])
    assert reading.numbers == list(range(5))


def test_idle_stream(stream: FakeStream) -> None:
    put(stream, 1)
    stream.advance(60.0)
    reading = Reading(stream)
    assert reading.read().seconds == SECONDS
    assert reading.numbers == []


@pytest.mark.parametrize('counts', [False, True])
def test_young_stream(stream: FakeStream, counts: bool) -> None:
    stream.counts_added = counts
    put(stream, 1)
    stream.advance(3.0)
    put(stream, 2)
    span = Reading(stream).read()
    assert span.whole and abs(span.seconds - 3.0) < 1.0


@pytest.mark.parametrize('counts', [False, True])
@pytest.mark.parametrize('count', [3, 100])
def test_trimmed_stream(count: int, counts: bool) -> None:
    stream = FakeStream(max_len=5)
    stream.counts_added = counts
    put(stream, *range(10))
    stream.advance(2.0)
    put(stream, 10, 11)
    reading = Reading(stream, count, max_len=5)
    span = reading.read()
    assert not span.whole and abs(span.seconds - 2.0) < 1.0
    assert reading.numbers == [7, 8, 9, 10, 11]
    # A trimmed stream is sufficient if it still reaches back far enough.
    stream.advance(SECONDS)
    assert Reading(stream, count, max_len=5).read().seconds == SECONDS


def test_emptied_stream(stream: FakeStream) -> None:
    put(stream, 1, 2)
    stream.trim()
    for stream.counts_added in (False, True):
        assert Reading(stream).read() == Span(0.0, False)


def test_stream_trimmed_by_time_without_entry_count(
        stream: FakeStream) -> None:
    """The stream's length does not show how old its history is."""
    stream.counts_added = False
    put(stream, 1, 2)
    assert not Reading(stream, max_len=None).read().whole


def test_stream_trimmed_during_the_read() -> None:
    """The known history starts with entries that existed at the end of the
    read."""
    stream = FakeStream(max_len=8)
    put(stream, *range(4))
    stream.advance(5.0)
    ids = put(stream, *range(4, 8))
    reading = Reading(stream, 3, 8)
    pause = reading._read_back._pause

    def trim() -> None:
        pause()
        put(stream, *range(8, 12))

    reading._read_back._pause = trim
    span = reading.read(ids[-1])
    assert not span.whole and span.seconds < 1.0


def test_pages_grow_with_small_entries(stream: FakeStream) -> None:
    put(stream, *range(3000))
    reading = Reading(stream, None, 10_000)
    reading.read()
    assert reading.numbers == list(range(3000))
    assert reading.pages <= 6


def test_pages_of_large_entries_do_not(stream: FakeStream) -> None:
    for number in range(30):
        stream.put(b'%d' % number, b'x' * (BYTES // 10))
    reading = Reading(stream, None)
    reading.read()
    assert len(reading.numbers) == 30
    assert reading.pages >= 3


def test_read_that_takes_too_long(stream: FakeStream,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """The start has to continue. Other members can be asked."""
    monkeypatch.setattr(module, 'PATIENCE', -1.0)
    put(stream, 1, 2)
    assert Reading(stream).read() == Span(0.0, False)


class SlowLink:
    """A connection over a network, with a clock that stands still otherwise.

    :param trip: how long each read takes, in seconds.
    :param rate: how many bytes arrive in a second besides.
    """

    def __init__(self, stream: FakeStream, trip: float, rate: float) -> None:
        self._link = stream.link()
        self._link.connect()
        self.now, self._trip, self._rate = 1000.0, trip, rate
        self.ends = self._link.ends
        self.page_bytes = 0

    def monotonic(self) -> float:
        return self.now

    def read(self, *args: Any) -> Any:
        page = self._link.read(*args)
        self.page_bytes = self._link.page_bytes
        self.now += self._trip + self.page_bytes / self._rate
        return page


@pytest.mark.parametrize('trip, rate, entries, size, is_read', [
    # 650,000 bytes a second: 6 MB are too much, 0.2 MB are not.
    (0.2, 650e3, 600, 10_000, False), (0.2, 650e3, 20, 10_000, True),
    (0.01, 130e3, 600, 10_000, False), (0.01, 130e3, 9, 10_000, True),
    (0.05, 100e3, 600, 10_000, False), (0.05, 100e3, 5, 10_000, True),
    # A long way with room for all of it.
    (0.1, 100e6, 600, 10_000, True), (0.1, 100e6, 9000, 100, True),
    (0.001, 1e6, 9000, 100, True)])
def test_slow_network(stream: FakeStream, monkeypatch: pytest.MonkeyPatch,
                      trip: float, rate: float, entries: int, size: int,
                      is_read: bool) -> None:
    """What cannot arrive in time is not asked for."""
    for number in range(entries):
        stream.put(b'%d' % number, b'x' * size)
    link = SlowLink(stream, trip, rate)
    monkeypatch.setattr(module, 'time', link)
    numbers: List[int] = []
    spans: List[Span] = []
    read_back = ReadBack(
        lambda entry, at: numbers.append(int(entry.fields[0])),
        lambda cursor, span: spans.append(span), seconds=SECONDS,
        pause=lambda: None, max_len=None)
    ends, begun = link.ends(), link.now
    read_back(link, stream.clock / 1000 - link.now, ends.last_id, ends)
    assert link.now - begun < module.PATIENCE + 2 * (trip + size / rate)
    assert (len(numbers) == entries) is is_read
    assert (spans[0].seconds > 0 or spans[0].whole) is is_read


def test_broken_connection(stream: FakeStream) -> None:
    put(stream, *range(10))
    reading = Reading(stream)
    stream.plan('read', Fault.NONE, Fault.BREAK_BEFORE)
    with pytest.raises(Unavailable):
        reading.read()
    assert reading.done.calls == []
    reading.numbers.clear()
    assert reading.read().whole
    assert reading.numbers == list(range(10))


def test_clock(stream: FakeStream) -> None:
    """Only the server's clock counts."""
    stream.clock = CLOCK_START - 10**9
    put(stream, 1)
    stream.advance(5.0)
    reading = Reading(stream)
    assert reading.read().whole
    assert abs(reading.ages[0] - 5.0) < 1.0


# -- after an outage ---------------------------------------------------------

def test_redis_that_answers_late(stream: FakeStream) -> None:
    """The relevant entries precede the first position. They do not show all
    members, because other members could not write either."""
    put(stream, 1)
    stream.advance(SECONDS - 1)
    put(stream, 2)
    stream.advance(SECONDS + 5)
    reading = Reading(stream)
    assert reading.read(ago=SECONDS + 5).late
    assert reading.numbers == [1, 2]


@pytest.mark.parametrize('ago, failed', [
    (module.LATE + 0.1, False), (0.0, True)])
def test_history_after_an_outage(stream: FakeStream, ago: float,
                                 failed: bool) -> None:
    """Members had no time to reconnect, although the stream is old enough."""
    put(stream, 1)
    stream.advance(SECONDS + 4)
    put(stream, 2)
    reading = Reading(stream)
    assert reading.read() == Span(SECONDS, False)
    assert reading.read(ago=ago, failed=failed) == Span(SECONDS, False, True)


def test_outage_without_a_stream(stream: FakeStream) -> None:
    assert Reading(stream).read(START, failed=True) == Span(0.0, True, True)


# -- within the reader -------------------------------------------------------

def readings(stream: FakeStream, read_back: Any = None) -> Readings:
    found = Readings(stream)
    found.reader._read_back = read_back
    return found


def test_reader_reads_back_once(stream: FakeStream) -> None:
    """The reader does this before it reports its start, and again after a
    failure."""
    put(stream, 1, 2)
    events: List[Any] = []

    def read_back(link: Any, ahead: float, cursor: bytes, ends: Any,
                  since: float, failed: bool) -> None:
        events.append((cursor, ends.last_id, failed))
        link.read(START, 1, None)

    found = readings(stream, read_back)
    found.reader._began = lambda *args: events.append('began')
    stream.plan('read', Fault.BREAK_BEFORE)
    found.idle()
    put(stream, 3)
    found.idle()
    last = stream.entries[1].id
    assert events == [(last, last, False), (last, last, True), 'began']
    assert found.numbers == [3]


def test_loss_precedes_the_horizon(stream: FakeStream) -> None:
    """A list of members that is older than the loss is not complete, whatever
    the stream contains now."""
    found = readings(stream)
    found.idle()
    put(stream, 1)
    found.idle()
    stream.advance(0.001)
    unread, = put(stream, 2)
    stream.delete()
    found.reader._clock_ahead = stream.clock / 1000 - time.monotonic()
    found.idle()
    assert found.lost.calls
    assert found.reader.horizon >= unread
