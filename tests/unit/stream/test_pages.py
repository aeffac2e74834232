"""How many entries are asked for, given what the last reads had."""
import math
from types import SimpleNamespace
from typing import Any, Iterator, List

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream import pages as module
from redis_streams_adapter.stream.pages import BREAKS, BYTES, CAREFUL, \
    FORGET, GROWTH, LARGE, Pages, REGROW
from redis_streams_adapter.testing.stream import FakeStream, Fault

from ...support.wait import DEADLINE
from ..readings import Clock, Readings

MOST = 100


class Reading:
    """Reads a stream to its end, over new connections after breaks."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self.pages = Pages(MOST)
        self.position = START
        #: How many entries each read has asked for, and had; the latter is -1
        #: if the connection broke.
        self.asked: List[int] = []
        self.had: List[int] = []
        self.breaks: List[str] = []

    def once(self) -> int:
        """Read a page.

        :return: how many entries it has.
        """
        link = self._stream.link()
        link.connect()
        self.asked.append(self.pages.count)
        self.had.append(-1)
        try:
            page = self.pages.read(link, self.position)
        except Unavailable as exc:
            self.breaks.append(str(exc))
            return -1
        finally:
            link.close()
        self.had[-1] = len(page)
        if page:
            self.position = page[-1].id
        return len(page)

    def all(self) -> None:
        while self.position < self._stream.last:
            assert len(self.asked) < 5000
            self.once()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, 'time', SimpleNamespace(
        monotonic=clock.monotonic))
    return clock


@pytest.fixture
def reading(stream: FakeStream) -> Reading:
    return Reading(stream)


def put(stream: FakeStream, count: int, size: int) -> None:
    for _ in range(count):
        stream.put(b'x' * size)


def test_usual_entries(stream: FakeStream, reading: Reading) -> None:
    put(stream, 1000, 300)
    reading.all()
    assert reading.asked[:4] == [1, GROWTH, GROWTH ** 2, MOST]
    assert set(reading.asked[4:]) == {MOST}


def test_few_entries_at_most(stream: FakeStream, reading: Reading) -> None:
    put(stream, 30, 1)
    reading.pages = Pages(3)
    reading.all()
    assert set(reading.asked) == {1, 3}
    assert Pages(3, first=10).count == 3
    assert Pages(30, first=10).count == 10


def test_full_pages_are_known(stream: FakeStream, reading: Reading) -> None:
    put(stream, 1 + GROWTH + 2, 1)
    assert reading.once() == 1 and reading.pages.full
    assert reading.once() == GROWTH and reading.pages.full
    assert reading.once() == 2 and not reading.pages.full
    assert reading.once() == 0 and not reading.pages.full


@pytest.mark.parametrize('size', [10_000, 100_000, BYTES, 5 * BYTES])
def test_large_entries(stream: FakeStream, reading: Reading,
                       size: int) -> None:
    put(stream, 300, size)
    reading.all()
    assert max(reading.asked[1:]) == min(MOST, max(1, BYTES // size))
    assert reading.breaks == []


@pytest.mark.parametrize('size', [10_000, 100_000, BYTES])
@pytest.mark.parametrize('limit', [4 * BYTES, BYTES, BYTES // 2, BYTES // 8])
def test_limit_of_the_server(stream: FakeStream, reading: Reading, size: int,
                             limit: int, clock: Clock) -> None:
    """All entries are read once and in order; few connections break."""
    stream.page_limit = limit
    put(stream, 200, 100)
    put(stream, 300, size)
    put(stream, 200, 100)
    reading.all()
    assert sum(had for had in reading.had if had > 0) == 700
    assert len(reading.breaks) <= 12


def test_more_again_after_a_break(stream: FakeStream, reading: Reading
                                  ) -> None:
    put(stream, 1000, 100)
    stream.plan('read', *[Fault.NONE] * 4, Fault.BREAK_BEFORE)
    reading.all()
    assert reading.asked[4:10] == [MOST, 1, GROWTH, GROWTH ** 2, MOST, MOST]


def test_bound_of_the_server_is_tried_again(
        stream: FakeStream, reading: Reading, clock: Clock) -> None:
    stream.page_limit = BYTES // 2
    put(stream, 30, BYTES // 8)
    reading.all()
    assert reading.asked[-1] <= 4
    stream.page_limit = math.inf
    for _ in range(2):
        clock.now += REGROW + 1
        put(stream, 20, BYTES // 8)
        reading.all()
    assert reading.asked[-1] == 8


def test_small_entry_between_large_ones(stream: FakeStream,
                                        reading: Reading) -> None:
    """It does not make the next page a large one."""
    put(stream, 3, BYTES)
    put(stream, 1, 10)
    put(stream, 20, BYTES)
    stream.page_limit = 3 * BYTES
    reading.pages.count = 1
    reading.all()
    assert reading.breaks == []


@pytest.mark.parametrize('size', [LARGE + 1, 10 * LARGE])
def test_entry_that_is_larger_than_the_limit(
        stream: FakeStream, reading: Reading, size: int) -> None:
    stream.page_limit = LARGE
    put(stream, 5, 10)
    put(stream, 20, size)
    put(stream, 5, 10)
    reading.all()
    # In pages, alone, and then in parts.
    assert len(reading.breaks) <= 4
    assert sum(had for had in reading.had if had > 0) == 30


def test_no_wait_while_entries_are_read_in_parts(
        stream: FakeStream, reading: Reading, clock: Clock) -> None:
    """A read that waits would break over the next entry that is too large."""
    stream.page_limit = LARGE
    put(stream, 1, LARGE + 1)
    reading.all()
    assert reading.pages.careful
    link = stream.link()
    link.connect()
    assert reading.pages.read(link, reading.position, DEADLINE) == []
    clock.now += CAREFUL + 1
    assert not reading.pages.careful
    put(stream, 20, 10)
    reading.all()
    assert reading.asked[-1] > 1


def test_entry_of_usual_size_was_not_too_large(
        stream: FakeStream, reading: Reading) -> None:
    put(stream, 300, 10)
    stream.plan('read', *[Fault.BREAK_BEFORE] * 2)
    reading.all()
    assert reading.asked[-1] == MOST and not reading.pages.careful


def test_server_that_permits_no_scripts(stream: FakeStream,
                                        reading: Reading) -> None:
    stream.page_limit, stream.scripts = LARGE, False
    put(stream, 1, LARGE + 1)
    for _ in range(BREAKS + 2):
        assert reading.once() == -1
    assert 'client-output-buffer-limit' not in reading.breaks[0]
    for text in ('client-output-buffer-limit', 'EVAL', str(START)):
        assert text in reading.breaks[-1]
    # Once it is trimmed, or the limit is raised, it goes on.
    stream.page_limit = math.inf
    reading.all()


class Search(Reading):
    """Begins again at the same position after each break."""

    def __init__(self, stream: FakeStream, again: bool) -> None:
        super().__init__(stream)
        self._again = again

    def once(self) -> int:
        count = super().once()
        if count < 0:
            self.position = START
            self.had.clear()
            if self._again:
                self.pages = self.pages.again()
        return count


@pytest.mark.parametrize('again', [False, True])
@pytest.mark.parametrize('sizes', [
    [10, 5 * BYTES], [10] * 30 + [BYTES] * 5, [10] * 300 + [5 * BYTES] * 2,
    ([10] * 50 + [5 * BYTES]) * 4, ([10] * 90 + [BYTES] * 10) * 5])
def test_search_that_begins_again(stream: FakeStream, sizes: List[int],
                                  again: bool) -> None:
    """Small entries before large ones do not make it forget these."""
    stream.page_limit = 4 * BYTES
    for size in sizes:
        put(stream, 1, size)
    search = Search(stream, again)
    search.all()
    assert sum(search.had) == len(sizes)
    assert len(search.breaks) <= 12


def test_search_that_may_run_no_scripts(stream: FakeStream) -> None:
    """It reports the entry, though the ones before it are read."""
    stream.page_limit, stream.scripts = LARGE, False
    put(stream, 30, 10)
    put(stream, 1, LARGE + 1)
    search = Search(stream, False)
    while len(search.breaks) <= BREAKS + 3:
        search.once()
    assert 'permit EVAL' in search.breaks[-1]
    assert str(stream.entries[29].id) in search.breaks[-1]


def test_break_at_a_position_that_is_gone(stream: FakeStream,
                                          reading: Reading,
                                          clock: Clock) -> None:
    """The stream is set back: no entry is after the position."""
    put(stream, 300, 10)
    reading.position = stream.last
    stream.plan('read', *[Fault.BREAK_BEFORE] * 4)
    for _ in range(4):
        reading.once()
    reading.position = START
    clock.now += FORGET + 1
    reading.all()
    assert reading.asked[-1] == MOST
    assert not reading.pages.careful


def test_backwards(stream: FakeStream) -> None:
    """A position is passed in the other direction."""
    pages = Pages(MOST, backwards=True)
    pages._broke(Position(5))
    pages._broke(Position(7))
    assert pages._broke_at == Position(5)
    pages.full = True
    pages._passed(Position(7))
    assert pages._broke_at == Position(5)
    pages._passed(Position(5))
    assert pages._broke_at is None


def test_another_part_of_the_stream_begins_with_one_entry(
        stream: FakeStream, reading: Reading) -> None:
    stream.page_limit = BYTES // 2
    put(stream, 30, BYTES // 8)
    reading.all()
    again = reading.pages.again()
    assert again.count == 1 and again._bound == reading.pages._bound


# -- within the reader --------------------------------------------------------

@pytest.fixture
def readings(stream: FakeStream) -> Iterator[Readings]:
    yield Readings(stream, count=MOST)


def numbered(stream: FakeStream, count: int, size: int) -> None:
    for number in range(count):
        stream.put(b'%d' % number, b'x' * size)


@pytest.mark.parametrize('size', [10_000, 100_000, 1_000_000, 5_000_000])
def test_reader_behind_a_limit(stream: FakeStream, readings: Readings,
                               size: int) -> None:
    """All, once, in order, also what is larger than the limit."""
    stream.page_limit = 4 * BYTES
    readings.idle()
    numbered(stream, 300, size)
    errors = readings.until(300)
    assert readings.numbers == list(range(300))
    assert len(errors) <= 2
    assert readings.lost.calls == []


def test_reader_reports_no_lag_after_a_full_page_that_was_the_last(
        stream: FakeStream, readings: Readings) -> None:
    """Of large entries, each page is full."""
    readings.idle()
    numbered(stream, 3, 2 * BYTES)
    lags: List[Any] = []
    readings.until(3)
    numbered(stream, 1, 2 * BYTES)
    readings._handle = lambda entry: lags.append(readings.reader.lag)
    readings.idle()
    readings.reader.connected = True
    assert readings.reader.lag == 0.0
