"""A reader of the fake stream detects losses."""
from typing import Any, List

import pytest

from redis_streams_adapter.losses import DELETED, SET_BACK, TRIMMED
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import Ends, Entry
from redis_streams_adapter.stream.loss_detection import LossDetector
from redis_streams_adapter.stream.reader import LOOK_INTERVAL
from redis_streams_adapter.testing.stream import CLOCK_START, FakeStream

from ..driving import drive, UntilDone
from ..readings import Clock, put, Readings


def test_failover_that_lost_the_tail(readings: Readings,
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


def test_failover_after_which_others_wrote_first(readings: Readings,
                                                 stream: FakeStream) -> None:
    """The ids do not show the loss: the new ones are higher."""
    readings.idle()
    first, *_ = put(stream, 1, 2, 3)
    readings.idle()
    stream.set_back(first)
    stream.advance(60)
    put(stream, 4)
    readings.idle()
    assert readings.numbers == [1, 2, 3, 4]
    assert readings.lost.calls == [SET_BACK]


@pytest.mark.parametrize('counts', [True, False])
def test_failover_with_more_new_than_lost_entries(readings: Readings,
                                                  stream: FakeStream,
                                                  counts: bool) -> None:
    """Neither the ids nor the number of entries shows the loss."""
    stream.counts_added = counts
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


@pytest.mark.parametrize('counts', [True, False])
def test_trimming_during_the_start_is_one_loss(counts: bool) -> None:
    """It is reported when everything that was there has been read."""
    lost: List[Any] = []
    detector = LossDetector(lambda *loss: lost.append(loss), 4)

    def ends(first: int, last: int) -> Ends:
        return Ends(Position(first), Position(last), last if counts else None,
                    last - first + 1)

    cursor = detector.begin(ends(10, 20), Position(12))
    link: Any = None
    for first, cursor in ((14, 15), (17, 18), (19, 19)):
        detector.check(link, ends(first, 22), Position(cursor),
                       cursor - 13, False)
        assert lost == [] and detector.unsure is not None
    detector.check(link, ends(19, 22), Position(22), 8, False)
    assert lost == [(TRIMMED, None)] and detector.unsure is None


def test_deletion_of_the_last_entry_read(readings: Readings,
                                         stream: FakeStream) -> None:
    """The deletion looks like a failover, but only once."""
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
    """Grow the stream to this length while it is read, between two checks.

    :return: the ids.
    """
    ids: List[bytes] = []
    readings._handle = lambda entry: None if ids else ids.extend(
        put(stream, *range(1, count)))
    ids_of_first = put(stream, 0)
    readings.reader.work(UntilDone(lambda: len(readings.numbers) >= count))
    readings._handle = None
    return ids_of_first + ids


def test_failover_after_which_all_known_entries_are_trimmed(
        stream: FakeStream) -> None:
    """At the last check the stream ended before its current start."""
    readings = Readings(stream, count=2)
    readings.idle()
    ids = grow(readings, stream, 6)
    stream.trim(3)
    stream.set_back(ids[4])
    readings.idle()
    assert readings.lost.calls == [SET_BACK]


def test_deleted_stream_that_starts_again(readings: Readings,
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


@pytest.mark.parametrize('counts', [True, False])
def test_stream_deleted_and_recreated_between_reads(readings: Readings,
                                                    stream: FakeStream,
                                                    counts: bool) -> None:
    stream.counts_added = counts
    readings.idle()
    put(stream, 1, 2)
    readings.idle()
    stream.delete()
    stream.advance(60)
    put(stream, 3)
    readings.idle()
    assert readings.numbers == [1, 2, 3]
    # Redis 6.2 does not report the number that would show it.
    assert readings.lost.calls == [DELETED] * counts


def test_stream_deleted_during_a_read(readings: Readings,
                                      stream: FakeStream) -> None:
    """The connection stays, and the read would wait for ids above the
    cursor."""
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


def test_stream_deleted_after_it_had_grown(stream: FakeStream) -> None:
    """The stream has fewer entries than were read, but more than at the
    reader's last check."""
    readings = Readings(stream, count=2)
    readings.idle()
    grow(readings, stream, 8)
    stream.delete()
    stream.advance(60)
    put(stream, *range(8, 12))
    readings.idle()
    assert readings.lost.calls == [DELETED]
    assert readings.numbers == list(range(12))


def test_reader_checks_while_entries_arrive_constantly(stream: FakeStream,
                                                       clock: Clock) -> None:
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


def test_trimmed_stream_is_not_set_back(readings: Readings,
                                        stream: FakeStream) -> None:
    readings.idle()
    put(stream, 1, 2, 3)
    readings.idle()
    stream.trim()
    readings.idle()
    put(stream, 4)
    readings.idle()
    assert readings.lost.calls == []
    assert readings.numbers == [1, 2, 3, 4]


def test_entries_trimmed_before_they_were_read(readings: Readings,
                                               stream: FakeStream) -> None:
    """The loss is detected even if no entry of their writers remains."""
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


def test_server_that_does_not_count_entries(readings: Readings,
                                            stream: FakeStream) -> None:
    stream.counts_added = False
    readings.idle()
    put(stream, 1, 2, 3)
    stream.trim(1)
    readings.idle()
    # After an upgrade it counts the existing entries.
    stream.counts_added = True
    stream.added = 1
    put(stream, 4)
    readings.idle()
    readings.idle()
    assert readings.numbers == [3, 4]
    assert readings.lost.calls == []


@pytest.mark.parametrize('counts', [False, True])
def test_undetectable_loss(readings: Readings, stream: FakeStream,
                           counts: bool) -> None:
    """All entries that were read are gone, and others may be. Only a server
    that counts entries can show that no others are."""
    stream.counts_added = counts
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
    assert readings.doubtful.calls == ([] if counts else [()])
    assert readings.lost.calls == []
    assert readings.reader.counts is counts
