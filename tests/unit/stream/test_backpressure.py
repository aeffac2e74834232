"""A writer slows down for readers that lag."""
from typing import Callable, List, Optional, Sequence

import pytest

from redis_streams_adapter.protocol.flow_control import PATIENCE
from redis_streams_adapter.stream import writer as writer_module
from redis_streams_adapter.stream.backpressure import LISTEN_EVERY
from redis_streams_adapter.stream.writer import BATCH_ENTRIES, Writer
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import wait_until
from ..driving import drive
from .writers import has_stored, Make, put, send, stored


# -- flow control -------------------------------------------------------------

WINDOW = 10


def test_writer_sends_no_more_than_the_window(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    writer.backpressure.set_window(WINDOW)
    writer.backpressure.seen(0)
    put(writer, *range(25))
    start_writer()
    wait_until(has_stored(stream, 10))
    wait_until(lambda: writer.backpressure.held)
    assert len(writer.outbox) == 15
    writer.backpressure.seen(4)
    wait_until(has_stored(stream, 14))
    writer.backpressure.seen(14)
    wait_until(has_stored(stream, 24))
    writer.backpressure.set_window(None)
    writer.wake()
    wait_until(has_stored(stream, 25))


def test_lagging_reader_of_another_server(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    writer.backpressure.set_window(WINDOW)
    put(writer, *range(5))
    send(writer)
    position = stream.entries[1].id
    writer.backpressure.reader_lags('other', position)
    put(writer, *range(5, 25))
    start_writer()
    # The current batch counts as a whole.
    wait_until(has_stored(stream, WINDOW))
    wait_until(lambda: writer.backpressure.held)
    assert len(writer.outbox) == 15
    writer.backpressure.reader_lags('other', None)
    wait_until(has_stored(stream, 25))


def test_readers_that_reconnect_later_than_the_writer(
        make_writer: Make, stream: FakeStream) -> None:
    """After an outage the writers ask the readers for their positions. No
    writer sends more than a window before they have answered."""
    question = (b'number', b'-1')
    writer = make_writer(absent=lambda: (['other'], [question]))
    writer.backpressure.set_window(WINDOW)
    put(writer, 0)
    send(writer)
    # No reader had lost its connection.
    assert stored(stream) == [0]
    put(writer, *range(1, 26))
    waited: List[List[int]] = []

    def done() -> bool:
        if writer.backpressure.held:
            waited.append(stored(stream))
            writer.backpressure.reader_lags('other', None)
        return not len(writer.outbox)

    drive(writer.work, done)
    assert waited == [[0, -1, *range(1, WINDOW + 1)]]
    assert stored(stream) == [0, -1, *range(1, 26)]


def test_writer_is_never_held_for_ever(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(writer_module.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(writer_module, 'HOLD', 0.001)
    writer.backpressure.set_window(WINDOW)
    writer.backpressure.seen(0)
    put(writer, *range(25))
    rounds: List[int] = []

    def done() -> bool:
        rounds.append(len(stream.history))
        now[0] += PATIENCE / 10
        return not len(writer.outbox)

    drive(writer.work, done)
    assert stored(stream) == list(range(25))
    # It has waited.
    assert rounds.count(10) > 5


def test_writer_without_a_reader_listens(make_writer: Make,
                                         stream: FakeStream) -> None:
    heard: List[Sequence[bytes]] = []
    stream.put(b'before', b'its time')
    writer = make_writer(overhear=heard.append)
    put(writer, *range(LISTEN_EVERY - 1))
    send(writer)
    assert heard == []
    put(writer, *range(BATCH_ENTRIES + 1))

    def done() -> bool:
        if stream.batches[-1] == BATCH_ENTRIES:
            stream.put(b'news', b'1')
        return not len(writer.outbox)

    drive(writer.work, done)
    assert stream.batches[-2:] == [BATCH_ENTRIES, 1]
    assert len(heard) == BATCH_ENTRIES + 1
    assert heard[-1] == [b'news', b'1']


def test_writer_skips_old_entries(make_writer: Make,
                                  stream: FakeStream) -> None:
    """A stream that is trimmed by time may have grown by a million entries
    since the writer last read it. Reading them would delay its own entries."""
    heard: List[Sequence[bytes]] = []
    writer = make_writer(overhear=heard.append)
    put(writer, 0)
    grown: List[bool] = []

    def done() -> bool:
        if len(writer.outbox):
            return False
        if grown:
            return True
        grown.append(True)
        for age in range(10 * int(PATIENCE), -1, -1):
            stream.put(b'age', b'%d' % age)
            stream.advance(age and 1)
        writer.backpressure.reader_lags('dead', stream.entries[0].id)
        put(writer, *range(BATCH_ENTRIES + 1))
        return False

    drive(writer.work, done)
    assert [int(fields[1]) for fields in heard if fields[0] == b'age'] \
        == list(range(int(PATIENCE) - 1, -1, -1))
    # The known positions of readers are outdated, too.
    assert 'dead' not in writer.backpressure.flow._readers


def test_held_writer_listens(make_writer: Make, stream: FakeStream,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """No other task would report that the readers have caught up."""
    monkeypatch.setattr(writer_module, 'HOLD', 0.001)
    own: Optional[Writer] = None

    def overhear(fields: Sequence[bytes]) -> None:
        assert own is not None
        if fields[-5] == own.writer_id:
            own.backpressure.seen(int(fields[-3]))

    own = make_writer(overhear=overhear)
    own.backpressure.set_window(WINDOW)
    own.backpressure.seen(0)
    put(own, *range(95))
    send(own)
    assert stored(stream) == list(range(95))
    assert max(stream.batches) == WINDOW
