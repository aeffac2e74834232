"""Emitted entries are sent in batches and in order."""
import logging
import threading
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.errors import EventTooLargeError, \
    OutboxFullError, RedisStreamsError
from redis_streams_adapter.stream import outbox
from redis_streams_adapter.stream.eviction import TRIM_INTERVAL
from redis_streams_adapter.stream.latency import total
from redis_streams_adapter.stream.outbox import Capacity, ENTRY_OVERHEAD
from redis_streams_adapter.stream.writer import BATCH_BYTES, BATCH_ENTRIES, \
    BREAKS, LARGE, Writer
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.protocol.transport import EntryRefused, Unavailable
from redis_streams_adapter.testing.link import FakeLink
from redis_streams_adapter.testing.stream import FakeStream, Fault

from ...support.wait import DEADLINE, wait_until
from ..driving import UntilDone
from ..readings import Clock
from .writers import Logger, Make, put, send, stored, unexpected


# -- entries -----------------------------------------------------------------

def test_stored_entry(writer: Writer, stream: FakeStream) -> None:
    stream.clock = 1
    for _ in range(8):
        stream.put(b'older', b'entry')
    put(writer, 1, 2)
    send(writer)
    assert [entry.fields for entry in stream.entries[8:]] == [
        [b'number', b'%d' % number, b'filling', b'',
         b'wid', writer.writer_id, b'seq', b'%d' % number,
         b'since', b'1-7']
        for number in (1, 2)]
    assert len(writer.writer_id) == 16


def test_writer_that_made_the_stream_began_before_its_first_entry(
        writer: Writer, stream: FakeStream) -> None:
    """A stream that began with this writer may be deleted and created
    again."""
    stream.clock = 1234
    for number in (1, 2, 3):
        put(writer, number)
        send(writer)
    assert [entry.fields[-1] for entry in stream.entries] == [
        b'0-0', *2 * [bytes(stream.entries[0].id.before())]]


def test_writer_whose_first_entry_is_refused_made_the_stream(
        writer: Writer, stream: FakeStream) -> None:
    stream.clock = 1234
    stream.refuses = lambda fields: fields[1] == b'1'
    put(writer, 1, 2)
    send(writer)
    put(writer, 3)
    send(writer)
    assert [entry.fields[-1] for entry in stream.entries] == [
        b'0-0', bytes(stream.entries[0].id.before())]


def test_each_writer_has_its_own_id(make_writer: Make) -> None:
    assert make_writer().writer_id != make_writer().writer_id


def test_order(writer: Writer, stream: FakeStream) -> None:
    for start in range(0, 100, 10):
        put(writer, *range(start, start + 10))
        if start % 20:
            send(writer)
    send(writer)
    assert stored(stream) == list(range(100))


def test_order_of_each_task(writer: Writer, stream: FakeStream,
                            start_writer: Callable[[], None]) -> None:
    start_writer()
    threads = [threading.Thread(target=lambda first=first: put(
        writer, *range(first, first + 500))) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(DEADLINE)
    found = stored(stream)
    assert len(found) == 1500
    for first in (0, 1000, 2000):
        assert [number for number in found
                if first <= number < first + 500] == list(
                    range(first, first + 500))
    # Numbers follow the order of the outbox.
    assert [int(entry.fields[-3]) for entry in stream.history] == list(
        range(1, 1501))


def test_limit_of_entries(make_writer: Make, stream: FakeStream) -> None:
    writer = make_writer(limit=3)
    put(writer, 1, 2, 3)
    for number in (4, 5):
        with pytest.raises(OutboxFullError, match='outbox_limit=3'):
            put(writer, number)
    assert len(writer.outbox) == 3
    send(writer)
    put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 6]
    # A refused entry leaves no gap in the numbers.
    assert stream.entries[-1].fields[-3] == b'4'


def test_limit_of_bytes(make_writer: Make, stream: FakeStream) -> None:
    writer = make_writer(max_bytes=4 * ENTRY_OVERHEAD)
    put(writer, 1, 2, 3)
    size = writer.outbox.bytes
    assert 3 * ENTRY_OVERHEAD < size < 4 * ENTRY_OVERHEAD
    with pytest.raises(OutboxFullError, match='outbox_max_bytes'):
        put(writer, 4)
    assert (len(writer.outbox), writer.outbox.bytes) == (3, size)
    send(writer)
    assert (len(writer.outbox), writer.outbox.bytes) == (0, 0)
    with pytest.raises(EventTooLargeError, match='outbox_max_bytes'):
        put(writer, 5, filling=4 * ENTRY_OVERHEAD)
    put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 6]


def test_closed_writer_accepts_nothing(writer: Writer,
                                       stream: FakeStream) -> None:
    put(writer, 1)
    writer.close()
    with pytest.raises(RedisStreamsError, match='closed'):
        put(writer, 2)
    send(writer)
    assert stored(stream) == [1]


# -- batches -----------------------------------------------------------------

def test_waiting_entries_are_one_batch(writer: Writer,
                                       stream: FakeStream) -> None:
    put(writer, *range(100))
    send(writer)
    put(writer, 100)
    send(writer)
    assert stream.batches == [100, 1]
    assert (writer.batches, writer.outbox.stored) == (2, 101)


def test_batch_has_a_bounded_number_of_entries(writer: Writer,
                                               stream: FakeStream) -> None:
    put(writer, *range(2 * BATCH_ENTRIES + 1))
    send(writer)
    assert stream.batches == [BATCH_ENTRIES, BATCH_ENTRIES, 1]


def test_batch_has_a_bounded_size(writer: Writer, stream: FakeStream) -> None:
    put(writer, *range(10), filling=BATCH_BYTES // 4)
    put(writer, 10, filling=2 * BATCH_BYTES)
    put(writer, 11)
    send(writer)
    assert stored(stream) == list(range(12))
    assert max(stream.batches) <= 4
    # An entry larger than the limit is sent alone.
    assert stream.batches[-2:] == [1, 1]


def test_server_without_transactions(writer: Writer, stream: FakeStream,
                                     monkeypatch: pytest.MonkeyPatch,
                                     logged: Callable[[int], List[str]],
                                     ) -> None:
    """The entries are sent one by one. One line in the log says so, however
    often the writer connects."""
    monkeypatch.setattr(FakeLink, 'atomic', False)
    for _ in range(2):
        put(writer, 1, 2, 3)
        send(writer)
    assert stream.batches == [1] * 6
    line, = logged(logging.WARNING)
    assert 'refuses transactions (MULTI)' in line
    monkeypatch.setattr(FakeLink, 'atomic', True)
    for _ in range(2):
        put(writer, 1, 2, 3)
        send(writer)
    assert logged(logging.INFO) == ['transactions work again']


# -- errors ------------------------------------------------------------------

def test_temporary_error(writer: Writer, stream: FakeStream) -> None:
    put(writer, 1, 2)
    stream.plan('append', Fault.ERROR, Fault.ERROR)
    assert len(send(writer)) == 2
    assert stored(stream) == [1, 2]
    # No entry was in doubt, so the stream was not searched.
    assert writer.found_stored == 0


def test_refused_entry(writer: Writer, stream: FakeStream,
                       logged: Any) -> None:
    stream.refuses = lambda fields: fields[1] == b'2'
    pending = put(writer, 1, 2, 3)
    assert send(writer) == []
    assert stored(stream) == [1, 3]
    assert (writer.outbox.stored, writer.outbox.refused) == (2, 1)
    assert len(logged(logging.ERROR)) == 1
    assert pending[1].settled
    assert isinstance(pending[1].refused, EntryRefused)
    assert pending[0].refused is pending[2].refused is None


@pytest.mark.parametrize('bad', [1, 2, 3])
def test_entry_that_makes_the_server_hang_up(writer: Writer,
                                             stream: FakeStream, logged: Any,
                                             bad: int) -> None:
    stream.chokes_on = lambda fields: fields[1] == b'%d' % bad
    put(writer, 1, 2, 3)
    assert len(send(writer)) == 1
    assert stored(stream) == [each for each in (1, 2, 3) if each != bad]
    assert (writer.outbox.stored, writer.outbox.refused) == (2, 1)
    assert len(logged(logging.ERROR)) == 1
    assert writer.outbox.bytes == 0


def test_large_entry_that_always_breaks_the_connection(writer: Writer,
                                                       stream: FakeStream,
                                                       logged: Any) -> None:
    """A server may close the connection before its reply arrives."""
    put(writer, 1)
    send(writer)
    put(writer, 2, filling=LARGE)
    put(writer, 3)
    stream.plan('append', *[Fault.BREAK_BEFORE] * BREAKS)
    send(writer)
    assert stored(stream) == [1, 3]
    assert writer.outbox.refused == 1
    assert len(logged(logging.ERROR)) == 1
    assert not stream.planned


def test_large_entry_during_an_unrelated_break(writer: Writer,
                                               stream: FakeStream) -> None:
    put(writer, 1, filling=LARGE)
    put(writer, 2)
    stream.plan('append', *[Fault.BREAK_BEFORE] * (BREAKS - 1),
                Fault.BREAK_AFTER)
    send(writer)
    assert stored(stream) == [1, 2]
    assert writer.outbox.refused == 0


def test_small_entry_is_never_given_up(writer: Writer,
                                       stream: FakeStream) -> None:
    put(writer, 1)
    stream.plan('append', *[Fault.BREAK_BEFORE] * 10 * BREAKS)
    send(writer)
    assert stored(stream) == [1]


def test_links_are_closed(writer: Writer, stream: FakeStream) -> None:
    put(writer, 1)
    stream.plan('append', Fault.ERROR, Fault.BREAK_AFTER, Fault.BREAK_BEFORE)
    send(writer)
    assert stream.connections == 0


# -- heartbeats --------------------------------------------------------------

def test_heartbeats_have_no_number(writer: Writer, stream: FakeStream) -> None:
    for numbered in (False, True, False, True, True, False):
        writer.append([b'number', b'0'], numbered)
    send(writer)
    assert [entry.fields[-3] for entry in stream.entries] == [
        b'0', b'1', b'1', b'2', b'3', b'3']


# -- the end -----------------------------------------------------------------

def test_goodbyes(make_writer: Make, stream: FakeStream) -> None:
    writer = make_writer(limit=2)
    put(writer, 1, 2)
    writer.close([[b'number', b'3'], [b'number', b'4']])
    writer.close([[b'number', b'5']])
    with pytest.raises(RedisStreamsError, match='closed'):
        put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 4]
    assert stream.entries[-1].fields[-3] == b'2'


def test_writers_share_limits(stream: FakeStream, logger: Logger) -> None:
    capacity = Capacity(3, 1 << 20)
    one, other = (Writer(stream.link, ThreadEngine(), logger,
                         capacity=capacity, patience=DEADLINE,
                         vanished=unexpected) for _ in range(2))
    put(one, 1, 2)
    put(other, 3)
    for writer in (one, other):
        with pytest.raises(OutboxFullError):
            put(writer, 4)
    assert (len(one.outbox), len(other.outbox), capacity.count) == (2, 1, 3)
    assert capacity.bytes == one.outbox.bytes + other.outbox.bytes
    send(one)
    put(other, 5)
    send(other)
    assert (capacity.count, capacity.bytes) == (0, 0)
    assert stored(stream) == [1, 2, 3, 5]


# -- by time -----------------------------------------------------------------

def test_retention(make_writer: Make, stream: FakeStream) -> None:
    """The limit follows the server's clock: the last id minus the
    retention."""
    writer = make_writer(retention=10.0)
    for number in range(20):
        put(writer, number)
        send(writer)
        stream.advance(1.0)
    numbers = [int(entry.fields[1]) for entry in stream.entries]
    # The last known id is that of the previous entry.
    assert numbers == list(range(8, 20))


def test_retention_is_limited(logger: Logger,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    stream = FakeStream(max_len=5)
    writer = Writer(stream.link, ThreadEngine(), logger,
                    capacity=Capacity(1000, 1 << 20), patience=DEADLINE,
                    vanished=unexpected, retention=3600.0)
    put(writer, *range(20))
    send(writer)
    assert len(stream.entries) == 20
    now[0] += TRIM_INTERVAL + 0.1
    put(writer, 20)
    send(writer)
    assert [int(entry.fields[1]) for entry in stream.entries] == list(
        range(16, 21))


def test_forbidden_trim_is_an_outage(make_writer: Make,
                                     stream: FakeStream) -> None:
    """Otherwise the writer would fail at each trim, and work in between."""
    writer = make_writer(retention=10.0)
    put(writer, 1)
    stream.plan('trim', Fault.ERROR)
    task = UntilDone(lambda: False)
    with pytest.raises(Unavailable):
        writer.work(task)
    assert not task.got_through
    send(writer)
    assert len(stream.entries) == 1


# -- how long entries wait ----------------------------------------------------

def test_time_in_the_outbox(make_writer: Make, stream: FakeStream,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait through an outage count with all of it."""
    clock = Clock()
    monkeypatch.setattr(outbox, 'time', clock)
    writer = make_writer()
    # Before the task was started.
    clock.now += 1000.0
    put(writer, 1)
    send(writer)
    assert total([writer.outbox.latency])['0.001'] == 1
    before = total([writer.outbox.latency])['+Inf']
    put(writer, 2, 3)
    stream.plan('append', Fault.BREAK_BEFORE)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))  # type: ignore[arg-type]
    clock.now += 20.0
    send(writer)
    found = total([writer.outbox.latency])
    assert found['+Inf'] == before + 2
    assert found['30.0'] - found['10.0'] == 2
    assert found['sum'] == pytest.approx(40.0)


def test_idle_time_does_not_count(
        writer: Writer, stream: FakeStream, monkeypatch: pytest.MonkeyPatch,
        start_writer: Callable[[], None]) -> None:
    clock = Clock()
    monkeypatch.setattr(outbox, 'time', clock)
    start_writer()
    for number in range(3):
        # While it waits for work.
        wait_until(lambda: writer.outbox.is_awaited)
        clock.now += 100.0
        put(writer, number)
        wait_until(lambda: not len(writer.outbox))
    assert total([writer.outbox.latency])['0.001'] == 3
