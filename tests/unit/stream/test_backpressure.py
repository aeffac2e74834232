"""A writer slows down for readers that lag."""
import time
from typing import Callable, List, Optional, Tuple

import pytest

from redis_streams_adapter.protocol.flow_control import PATIENCE
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.stream import writer as writer_module
from redis_streams_adapter.stream.backpressure import LISTEN_EVERY, \
    QUESTION
from redis_streams_adapter.stream.writer import BATCH_ENTRIES, Writer
from redis_streams_adapter.testing.stream import FakeStream

from ...support.wait import wait_until
from ..driving import drive
from .writers import has_stored, Make, put, send, stored


# -- flow control -------------------------------------------------------------

WINDOW = 10


def fields_of(entry: Entry) -> Tuple[bytes, ...]:
    return tuple(entry.fields)


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
    """It may be so many entries after the local reader, and no more."""
    backpressure = writer.backpressure
    backpressure.set_window(WINDOW, reach=WINDOW)
    put(writer, *range(5))
    send(writer)
    backpressure.seen(5)
    for number, entry in enumerate(stream.entries):
        backpressure.passed(entry.id, number + 1)
    backpressure.node_reported('other', stream.entries[1].id, True)
    put(writer, *range(5, 25))
    start_writer()
    # What the local reader has not read is within our share.
    wait_until(lambda: len(writer.outbox) == 10)
    backpressure.passed(stream.entries[11].id, 12)
    backpressure.seen(12)
    wait_until(lambda: backpressure.held)
    # It asks where that reader is.
    wait_until(lambda: QUESTION in map(fields_of, stream.history))
    assert len(writer.outbox) == 10
    backpressure.node_reported('other', stream.entries[11].id, False)
    wait_until(lambda: len(writer.outbox) == 3)
    backpressure.seen(22)
    wait_until(lambda: not len(writer.outbox))


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
            writer.backpressure.node_reported('other', None, False)
        return not len(writer.outbox)

    drive(writer.work, done)
    assert waited == [[0, -1, *range(1, WINDOW + 1)]]
    assert stored(stream) == [0, -1, *range(1, 26)]


def test_writer_is_never_held_for_ever(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
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
    heard: List[Entry] = []
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
    assert heard[-1].fields == [b'news', b'1']


def test_writer_skips_old_entries(make_writer: Make,
                                  stream: FakeStream) -> None:
    """A stream that is trimmed by time may have grown by a million entries
    since the writer last read it. Reading them would delay its own entries."""
    heard: List[Entry] = []
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
        writer.backpressure.node_reported(
            'dead', stream.entries[0].id, True)
        put(writer, *range(BATCH_ENTRIES + 1))
        return False

    drive(writer.work, done)
    assert [int(entry.fields[1]) for entry in heard
            if entry.fields[0] == b'age'] \
        == list(range(int(PATIENCE) - 1, -1, -1))
    # The known positions of readers are outdated, too.
    assert 'dead' not in writer.backpressure.flow.readers


def test_held_writer_listens(make_writer: Make, stream: FakeStream,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """No other task would report that the readers have caught up."""
    monkeypatch.setattr(writer_module, 'HOLD', 0.001)
    own: Optional[Writer] = None

    def overhear(entry: Entry) -> None:
        assert own is not None
        fields = entry.fields
        if fields[-5] == own.writer_id:
            own.backpressure.seen(int(fields[-3]))

    own = make_writer(overhear=overhear)
    own.backpressure.set_window(WINDOW)
    own.backpressure.seen(0)
    put(own, *range(95))
    send(own)
    assert stored(stream) == list(range(95))
    assert max(stream.batches) == WINDOW


def test_writer_that_listens_does_not_pause(
        make_writer: Make, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads its own entries at once: no other task makes room. So small
    streams do not slow down a process that only writes."""
    monkeypatch.setattr(writer_module, 'HOLD', 10.0)
    own: Optional[Writer] = None

    def overhear(entry: Entry) -> None:
        assert own is not None
        own.backpressure.seen(int(entry.fields[-3]))

    own = make_writer(overhear=overhear)
    own.backpressure.set_window(WINDOW)
    own.backpressure.seen(0)
    put(own, *range(10 * WINDOW))
    began = time.monotonic()
    send(own)
    assert stored(stream) == list(range(10 * WINDOW))
    assert time.monotonic() - began < 5.0


def test_question_is_asked_before_the_writer_pauses(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, 'HOLD', 10.0)
    backpressure = writer.backpressure
    backpressure.set_window(WINDOW, reach=WINDOW)
    backpressure.node_reported('other', Position(1, 0), False)
    backpressure.passed(Position(1, 0), 0)
    backpressure.passed(Position(2, 0), WINDOW)
    put(writer, 1)
    asked: List[float] = []

    def done() -> bool:
        if stream.history and not asked:
            asked.append(time.monotonic())
            backpressure.node_reported('other', Position(2, 0), False)
        return not len(writer.outbox)

    began = time.monotonic()
    drive(writer.work, done)
    assert fields_of(stream.history[0]) == QUESTION
    assert asked[0] - began < 5.0
    assert len(stream.history) == 2
