"""What a stream has lost, as a reader of the fake stream finds it."""
from typing import List

import pytest

from redis_streams_adapter.losses import DELETED, SET_BACK, TRIMMED
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Entry
from redis_streams_adapter.stream.reader import LOOK_INTERVAL
from redis_streams_adapter.testing.stream import CLOCK_START, FakeStream

from ..driving import drive, UntilDone
from ..readings import Clock, put, Readings


def test_a_failover_that_lost_the_tail(readings: Readings,
                                       stream: FakeStream) -> None:
    readings.idle()
    first, *_ = put(stream, 1, 2, 3)
    readings.idle()
    stream.set_back(first)
    assert readings.lost.calls == []
    readings.idle()
    assert readings.lost.calls == [SET_BACK]
    put(stream, 4)
    readings.idle()
    assert readings.numbers == [1, 2, 3, 4]
    assert readings.lost.calls == [SET_BACK]


def test_a_failover_after_which_others_were_quicker(
        readings: Readings, stream: FakeStream) -> None:
    """The ids alone do not show it: those that came are higher."""
    readings.idle()
    first, *_ = put(stream, 1, 2, 3)
    readings.idle()
    stream.set_back(first)
    stream.advance(60)
    put(stream, 4)
    readings.idle()
    assert readings.numbers == [1, 2, 3, 4]
    assert readings.lost.calls == [SET_BACK]


@pytest.mark.parametrize('tells', [True, False])
def test_a_failover_after_which_more_came_than_was_lost(
        readings: Readings, stream: FakeStream, tells: bool) -> None:
    """Neither the ids nor how many there are show it."""
    stream.counts_added = tells
    readings.idle()
    first, *_ = put(stream, 1, 2, 3)
    readings.idle()
    stream.set_back(first)
    stream.advance(60)
    put(stream, 4, 5, 6)
    readings.idle()
    readings.idle()
    assert readings.numbers == [1, 2, 3, 4, 5, 6]
    assert readings.lost.calls == [SET_BACK]


def test_an_operator_who_deletes_what_was_read_last(
        readings: Readings, stream: FakeStream) -> None:
    """That looks like a failover, but only once."""
    readings.idle()
    put(stream, 1, 2, 3)
    readings.idle()
    del stream.entries[-1]
    readings.idle()
    readings.idle()
    put(stream, 4)
    readings.idle()
    assert readings.numbers == [1, 2, 3, 4]
    assert readings.lost.calls == [SET_BACK]


def grow(readings: Readings, stream: FakeStream, count: int) -> List[bytes]:
    """Let the stream become so long while it is read, between two looks.

    :return: the ids.
    """
    ids: List[bytes] = []
    readings._handle = lambda entry: None if ids else ids.extend(
        put(stream, *range(1, count)))
    ids_of_first = put(stream, 0)
    readings.reader.work(UntilDone(lambda: len(readings.numbers) >= count))
    readings._handle = None
    return ids_of_first + ids


def test_a_failover_where_all_that_was_known_is_trimmed(
        stream: FakeStream) -> None:
    """When it last looked, the stream ended before where it begins now."""
    readings = Readings(stream, count=2)
    readings.idle()
    ids = grow(readings, stream, 6)
    stream.trim(3)
    stream.set_back(ids[4])
    readings.idle()
    assert readings.lost.calls == [SET_BACK]


def test_a_stream_that_was_deleted_begins_again(readings: Readings,
                                                stream: FakeStream) -> None:
    readings.idle()
    put(stream, 1, 2)
    readings.idle()
    stream.delete()
    # The clock may have been set back as well.
    stream.clock = CLOCK_START - 3_600_000
    readings.idle()
    put(stream, 3)
    readings.idle()
    assert readings.numbers == [1, 2, 3]
    assert readings.lost.calls == [DELETED]


@pytest.mark.parametrize('tells', [True, False])
def test_a_stream_that_was_deleted_and_began_again_meanwhile(
        readings: Readings, stream: FakeStream, tells: bool) -> None:
    stream.counts_added = tells
    readings.idle()
    put(stream, 1, 2)
    readings.idle()
    stream.delete()
    stream.advance(60)
    put(stream, 3)
    readings.idle()
    assert readings.numbers == [1, 2, 3]
    # Redis 6.2 does not report what would show it.
    assert readings.lost.calls == [DELETED] * tells


def test_a_stream_that_is_deleted_while_it_is_read(
        readings: Readings, stream: FakeStream) -> None:
    """The connection goes on, and would wait for ids above the cursor."""
    readings.idle()
    put(stream, 1)
    steps = [
        lambda: readings.numbers == [1] and not stream.delete(),
        lambda: readings.reader.cursor == START and put(stream, 2),
        lambda: readings.numbers == [1, 2]]
    stream.clock -= 3_600_000

    def done() -> bool:
        if steps[0]():
            steps.pop(0)
        return not steps

    drive(readings.reader.work, done)
    assert readings.lost.calls == [DELETED]


def test_a_stream_that_was_deleted_after_it_had_grown(
        stream: FakeStream) -> None:
    """It has less than what was read of it, and more than when the reader
    last looked."""
    readings = Readings(stream, count=2)
    readings.idle()
    grow(readings, stream, 8)
    stream.delete()
    stream.advance(60)
    put(stream, *range(8, 12))
    readings.idle()
    assert readings.lost.calls == [DELETED]
    assert readings.numbers == list(range(12))


def test_it_looks_while_entries_come_all_the_time(
        stream: FakeStream, clock: Clock) -> None:
    readings = Readings(stream, count=3)
    readings.idle()
    put(stream, *range(8))

    def delete(entry: Entry) -> None:
        if entry.fields == [b'7']:
            stream.delete()
            clock.now += LOOK_INTERVAL + 1
            stream.advance(60)
            put(stream, *range(8, 11))

    readings._handle = delete
    task = UntilDone(lambda: len(readings.numbers) > 9)
    readings.reader.work(task)
    assert readings.lost.calls == [DELETED]
    assert readings.numbers == list(range(11))


def test_a_stream_that_was_trimmed_is_not_set_back(
        readings: Readings, stream: FakeStream) -> None:
    readings.idle()
    put(stream, 1, 2, 3)
    readings.idle()
    stream.trim()
    readings.idle()
    put(stream, 4)
    readings.idle()
    assert readings.lost.calls == []
    assert readings.numbers == [1, 2, 3, 4]


def test_entries_that_were_trimmed_before_they_were_read(
        readings: Readings, stream: FakeStream) -> None:
    """Nothing of their writers need be left."""
    readings.idle()
    put(stream, 1, 2, 3)
    readings.idle()
    put(stream, 4, 5, 6, 7)
    stream.trim(1)
    readings.idle()
    put(stream, 8)
    readings.idle()
    assert readings.numbers == [1, 2, 3, 7, 8]
    assert readings.lost.calls == [(TRIMMED, 3)]


def test_where_the_server_does_not_tell_how_many_entries_there_were(
        readings: Readings, stream: FakeStream) -> None:
    stream.counts_added = False
    readings.idle()
    put(stream, 1, 2, 3)
    stream.trim(1)
    readings.idle()
    # It is upgraded, and counts what is there.
    stream.counts_added = True
    stream._added = 1
    put(stream, 4)
    readings.idle()
    readings.idle()
    assert readings.numbers == [3, 4]
    assert readings.lost.calls == []


@pytest.mark.parametrize('tells', [False, True])
def test_a_loss_that_nothing_shows(readings: Readings, stream: FakeStream,
                                   tells: bool) -> None:
    """All that was read is gone, and more may be. A server that counts knows
    that it is not."""
    stream.counts_added = tells
    readings.idle()
    put(stream, 1, 2)
    readings.idle()
    assert readings.doubtful.calls == []
    put(stream, 3)
    stream.trim(1)
    stream.go_away()
    stream.come_back()
    readings.idle()
    assert readings.numbers == [1, 2, 3]
    assert readings.doubtful.calls == ([] if tells else [()])
    assert readings.lost.calls == []
    assert readings.reader.counts is tells
