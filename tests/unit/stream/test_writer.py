"""The outbox, and how it is sent, over the fake stream."""
import logging
import threading
from typing import Any, Callable, List, Optional, Sequence

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.errors import OutboxFullError, RedisStreamsError
from redis_streams_adapter.protocol.flow_control import PATIENCE
from redis_streams_adapter.stream import writer as writer_module
from redis_streams_adapter.stream.outbox import Capacity, ENTRY_OVERHEAD, \
    Pending
from redis_streams_adapter.stream.writer import BATCH_BYTES, BATCH_ENTRIES, \
    BREAKS, LARGE, LISTEN_EVERY, TRIM_INTERVAL, Writer
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import EntryRefused, Unavailable

from ...support.wait import DEADLINE, wait_until
from ..driving import UntilDone, drive
from redis_streams_adapter.testing.stream import FakeStream, Fault

Logger = Callable[[], logging.Logger]
Make = Callable[..., Writer]


def unexpected(count: int) -> None:
    raise AssertionError(f'{count} messages have vanished')


@pytest.fixture
def make(stream: FakeStream, logger: Logger) -> Make:
    """Makes a writer to the stream."""
    def make_writer(limit: int = 10_000, max_bytes: int = 1 << 30,
                    patience: float = DEADLINE,
                    vanished: Callable[[int], None] = unexpected,
                    **options: Any) -> Writer:
        return Writer(stream.link, ThreadEngine(), logger,
                      capacity=Capacity(limit, max_bytes),
                      patience=patience, vanished=vanished, **options)

    return make_writer


@pytest.fixture
def writer(make: Make) -> Writer:
    return make()


def put(writer: Writer, *numbers: int, filling: int = 0) -> List[Pending]:
    """Put entries into the outbox."""
    return [writer.append([b'number', b'%d' % number, b'filling',
                           b'x' * filling]) for number in numbers]


def send(writer: Writer) -> List[Unavailable]:
    """Do the task's work until the outbox is empty.

    :return: what went wrong.
    """
    return drive(writer.work, lambda: not writer.depth)


def stored(stream: FakeStream) -> List[int]:
    """The entries that ever stood in the stream."""
    return [int(entry.fields[1]) for entry in stream.history]


@pytest.fixture
def start(logger: Logger, writer: Writer) -> Any:
    """Starts the writer's task; ends it after the test."""
    task = Task('writer', writer.work, ThreadEngine(), None, logger)
    yield task.start
    task.stop()
    writer.interrupt()
    assert task.join(DEADLINE)


# -- what goes in ------------------------------------------------------------

def test_an_entry_as_it_is_stored(writer: Writer,
                                  stream: FakeStream) -> None:
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


def test_each_writer_has_its_own_id(make: Make) -> None:
    assert make().writer_id != make().writer_id


def test_the_order(writer: Writer, stream: FakeStream) -> None:
    for start in range(0, 100, 10):
        put(writer, *range(start, start + 10))
        if start % 20:
            send(writer)
    send(writer)
    assert stored(stream) == list(range(100))


def test_the_order_of_each_task(writer: Writer, stream: FakeStream,
                                start: Callable[[], None]) -> None:
    start()
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
    # Numbers are given in the order of the outbox.
    assert [int(entry.fields[-3]) for entry in stream.history] == list(
        range(1, 1501))


def test_the_limit_of_entries(make: Make, stream: FakeStream) -> None:
    writer = make(limit=3)
    put(writer, 1, 2, 3)
    for number in (4, 5):
        with pytest.raises(OutboxFullError, match='outbox_limit=3'):
            put(writer, number)
    assert writer.depth == 3
    send(writer)
    put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 6]
    # A refused one leaves no gap in the numbers.
    assert stream.entries[-1].fields[-3] == b'4'


def test_the_limit_of_bytes(make: Make, stream: FakeStream) -> None:
    writer = make(max_bytes=4 * ENTRY_OVERHEAD)
    put(writer, 1, 2, 3)
    size = writer.size
    assert 3 * ENTRY_OVERHEAD < size < 4 * ENTRY_OVERHEAD
    with pytest.raises(OutboxFullError, match='outbox_max_bytes'):
        put(writer, 4)
    assert (writer.depth, writer.size) == (3, size)
    send(writer)
    assert (writer.depth, writer.size) == (0, 0)
    with pytest.raises(OutboxFullError, match='outbox_max_bytes'):
        put(writer, 5, filling=4 * ENTRY_OVERHEAD)
    put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 6]


def test_after_close_nothing_is_accepted(writer: Writer,
                                         stream: FakeStream) -> None:
    put(writer, 1)
    writer.close()
    with pytest.raises(RedisStreamsError, match='closed'):
        put(writer, 2)
    send(writer)
    assert stored(stream) == [1]


# -- batches -----------------------------------------------------------------

def test_what_has_gathered_is_one_batch(writer: Writer,
                                        stream: FakeStream) -> None:
    put(writer, *range(100))
    send(writer)
    put(writer, 100)
    send(writer)
    assert stream.batches == [100, 1]
    assert (writer.batches, writer.stored) == (2, 101)


def test_a_batch_has_a_bounded_number_of_entries(
        writer: Writer, stream: FakeStream) -> None:
    put(writer, *range(2 * BATCH_ENTRIES + 1))
    send(writer)
    assert stream.batches == [BATCH_ENTRIES, BATCH_ENTRIES, 1]


def test_a_batch_has_a_bounded_size(writer: Writer,
                                    stream: FakeStream) -> None:
    put(writer, *range(10), filling=BATCH_BYTES // 4)
    put(writer, 10, filling=2 * BATCH_BYTES)
    put(writer, 11)
    send(writer)
    assert stored(stream) == list(range(12))
    assert max(stream.batches) <= 4
    # One that is larger by itself goes alone.
    assert stream.batches[-2:] == [1, 1]


# -- in doubt ----------------------------------------------------------------

@pytest.mark.parametrize('fault, found', [
    (Fault.BREAK_BEFORE, 0), (Fault.BREAK_AFTER, 3), (Fault.BREAK_LATE, 0)])
def test_in_doubt(writer: Writer, stream: FakeStream, fault: Fault,
                  found: int) -> None:
    put(writer, 1, 2, 3)
    stream.plan('append', fault)
    failures = send(writer)
    assert len(failures) == 1
    assert writer.found_stored == found
    put(writer, 4)
    send(writer)
    # Too late: its connection was ended on the server's side.
    stream.arrive()
    assert stored(stream) == [1, 2, 3, 4]
    assert writer.stored == 4


def test_in_doubt_among_the_entries_of_others(
        writer: Writer, make: Make, stream: FakeStream) -> None:
    """Far more of them than are looked through at once."""
    other = make()
    put(writer, 1)
    send(writer)
    put(other, *range(100, 1600))
    send(other)
    put(writer, 2, 3)
    stream.plan('append', Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    put(other, *range(1600, 3100))
    send(other)
    put(writer, 4)
    send(writer)
    assert [number for number in stored(stream) if number < 100] == [
        1, 2, 3, 4]


@pytest.mark.parametrize('fields', [
    [], [b'x'], [b'wid', b'seq', b'2'], [b'seq', b'2'], [b'seq', b'x'],
    [b'seq', b'-2'], [b'seq', b'999999'], [b'seq', b'9' * 5000]])
@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER])
def test_in_doubt_among_forged_entries(
        writer: Writer, stream: FakeStream, fields: List[bytes],
        fault: Fault) -> None:
    put(writer, 1, 2)
    send(writer)
    put(writer, 3, 4)
    stream.plan('append', fault)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    forged = stream.put(b'wid', writer.writer_id, *fields)
    send(writer)
    stream.history = [entry for entry in stream.history
                      if entry.id != forged]
    assert stored(stream) == [1, 2, 3, 4]


def test_several_breaks_in_a_row(writer: Writer, stream: FakeStream) -> None:
    put(writer, 1, 2)
    send(writer)
    put(writer, 3, 4)
    stream.plan('append', Fault.BREAK_AFTER, Fault.BREAK_BEFORE,
                Fault.BREAK_AFTER)
    stream.plan('connect', Fault.NONE, Fault.BREAK_BEFORE,
                Fault.BREAK_BEFORE)
    stream.plan('end_other', Fault.BREAK_BEFORE, Fault.BREAK_AFTER)
    stream.plan('read', Fault.BREAK_BEFORE, Fault.ERROR)
    failures = send(writer)
    assert len(failures) == 7
    put(writer, 5, 6)
    send(writer)
    put(writer, 7)
    send(writer)
    assert not stream.planned
    assert stored(stream) == [1, 2, 3, 4, 5, 6, 7]


def test_in_doubt_before_anything_was_acknowledged(
        writer: Writer, stream: FakeStream) -> None:
    stream.put(b'number', b'0')
    stream.plan('append', Fault.BREAK_AFTER)
    put(writer, 1)
    send(writer)
    assert stored(stream) == [0, 1]


def test_in_doubt_where_none_of_it_may_be_ended(
        writer: Writer, stream: FakeStream) -> None:
    """Then a copy may come, which readers know by its number."""
    stream.permissive = False
    put(writer, 1)
    stream.plan('append', Fault.BREAK_LATE)
    send(writer)
    put(writer, 2)
    send(writer)
    stream.arrive()
    assert stored(stream) == [1, 2, 1]
    assert stream.entries[0].fields == stream.entries[2].fields


def test_in_doubt_and_trimmed(writer: Writer, stream: FakeStream) -> None:
    """Where nobody can know, it is sent again rather than lost."""
    put(writer, 1)
    stream.plan('append', Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    stream.trim()
    send(writer)
    assert stored(stream) == [1, 1]
    assert stream.history[0].fields == stream.history[1].fields


def test_in_doubt_after_a_refused_entry(writer: Writer,
                                        stream: FakeStream) -> None:
    """There is a gap in the numbers then."""
    stream.chokes_on = lambda fields: fields[1] == b'2'
    put(writer, 1, 2, 3)
    stream.plan('append', Fault.NONE, Fault.BREAK_AFTER)
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    with pytest.raises(Unavailable):
        writer.work(UntilDone(lambda: False))
    put(writer, 4, 5)
    send(writer)
    assert stored(stream) == [1, 3, 4, 5]
    assert (writer.stored, writer.refused) == (4, 1)


faults = st.lists(st.sampled_from(list(Fault)), max_size=6)


@given(plans=st.lists(st.tuples(
    st.integers(0, 5), faults, faults, faults, faults), max_size=8),
    refused=st.sets(st.integers(0, 40), max_size=3),
    choking=st.sets(st.integers(0, 40), max_size=3))
def test_exactly_once_and_in_order(plans: Any, refused: Any,
                                   choking: Any) -> None:
    """Whatever breaks, and whenever."""
    stream = FakeStream()
    writer = Writer(stream.link, ThreadEngine(),
                    lambda: logging.getLogger('tests.unit.quiet'),
                    capacity=Capacity(1000, 1 << 30), patience=DEADLINE,
                    vanished=unexpected)
    # A batch with an entry that is refused in its place, of which the reply
    # is lost, is beyond what can be found out.
    stream.refuses = lambda fields: False
    stream.chokes_on = lambda fields: int(fields[1]) in choking | refused
    number = 0
    for count, *planned in plans:
        for operation, some in zip(
                ('append', 'read', 'connect', 'end_other'), planned):
            stream.plan(operation, *some)
        put(writer, *range(number, number + count))
        number += count
        send(writer)
        stream.arrive()
    assert stored(stream) == [
        each for each in range(number) if each not in choking | refused]


logging.getLogger('tests.unit.quiet').setLevel(logging.CRITICAL + 1)


# -- errors ------------------------------------------------------------------

def test_an_error_that_passes(writer: Writer, stream: FakeStream) -> None:
    put(writer, 1, 2)
    stream.plan('append', Fault.ERROR, Fault.ERROR)
    assert len(send(writer)) == 2
    assert stored(stream) == [1, 2]
    # Nothing was in doubt, so nothing had to be looked for.
    assert writer.found_stored == 0


def test_an_entry_that_is_refused(writer: Writer, stream: FakeStream,
                                  logged: Any) -> None:
    stream.refuses = lambda fields: fields[1] == b'2'
    pending = put(writer, 1, 2, 3)
    assert send(writer) == []
    assert stored(stream) == [1, 3]
    assert (writer.stored, writer.refused) == (2, 1)
    assert len(logged(logging.ERROR)) == 1
    assert pending[1].settled
    assert isinstance(pending[1].refused, EntryRefused)
    assert pending[0].refused is pending[2].refused is None


@pytest.mark.parametrize('bad', [1, 2, 3])
def test_an_entry_over_which_the_server_hangs_up(
        writer: Writer, stream: FakeStream, logged: Any, bad: int) -> None:
    stream.chokes_on = lambda fields: fields[1] == b'%d' % bad
    put(writer, 1, 2, 3)
    assert len(send(writer)) == 1
    assert stored(stream) == [each for each in (1, 2, 3) if each != bad]
    assert (writer.stored, writer.refused) == (2, 1)
    assert len(logged(logging.ERROR)) == 1
    assert writer.size == 0


def test_a_large_entry_that_breaks_the_connection_each_time(
        writer: Writer, stream: FakeStream, logged: Any) -> None:
    """A server may hang up without a word that reaches us."""
    put(writer, 1)
    send(writer)
    put(writer, 2, filling=LARGE)
    put(writer, 3)
    stream.plan('append', *[Fault.BREAK_BEFORE] * BREAKS)
    send(writer)
    assert stored(stream) == [1, 3]
    assert writer.refused == 1
    assert len(logged(logging.ERROR)) == 1
    assert not stream.planned


def test_a_large_entry_that_was_unlucky(writer: Writer,
                                        stream: FakeStream) -> None:
    put(writer, 1, filling=LARGE)
    put(writer, 2)
    stream.plan('append', *[Fault.BREAK_BEFORE] * (BREAKS - 1),
                Fault.BREAK_AFTER)
    send(writer)
    assert stored(stream) == [1, 2]
    assert writer.refused == 0


def test_a_small_entry_is_never_given_up(writer: Writer,
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


# -- waiting -----------------------------------------------------------------

def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a thread.

    :return: the thread, and the list for its result.
    """
    result: List[Any] = []

    def run() -> None:
        try:
            result.append(function(*args))
        except RedisStreamsError as exc:
            result.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def test_wait_until_it_is_stored(writer: Writer, stream: FakeStream,
                                 start: Callable[[], None]) -> None:
    start()
    for number in range(10):
        pending, = put(writer, number)
        writer.wait(pending)
        assert stored(stream)[-1] == number
    # Again, for it is settled.
    writer.wait(pending)


def test_wait_for_one_that_is_refused(writer: Writer, stream: FakeStream,
                                      start: Callable[[], None]) -> None:
    stream.refuses = lambda fields: fields[1] == b'1'
    start()
    good, bad = put(writer, 0, 1)
    with pytest.raises(RedisStreamsError, match='refused'):
        writer.wait(bad)
    writer.wait(good)


def test_wait_through_a_connection_that_is_replaced(
        writer: Writer, stream: FakeStream,
        start: Callable[[], None]) -> None:
    """That is no outage."""
    start()
    writer.wait(*put(writer, 1))
    for fault in (Fault.BREAK_BEFORE, Fault.BREAK_AFTER):
        stream.plan('append', fault)
        pending, = put(writer, 2)
        writer.wait(pending)
        assert pending.settled


def test_wait_ends_in_an_outage(writer: Writer, stream: FakeStream,
                                start: Callable[[], None]) -> None:
    stream.go_away()
    start()
    first, second = put(writer, 1, 2)
    for pending in (first, second):
        thread, result = in_thread(writer.wait, pending)
        thread.join(DEADLINE)
        assert result == [None]
        assert not pending.settled
    stream.come_back()
    assert writer.flush(DEADLINE)
    assert stored(stream) == [1, 2]
    # From here it is waited for again.
    stream.freeze()
    thread, result = in_thread(writer.wait, *put(writer, 3))
    assert not result
    stream.thaw()
    thread.join(DEADLINE)
    assert result == [None] and stored(stream) == [1, 2, 3]


def test_wait_ends_where_redis_does_not_answer(
        make: Make, stream: FakeStream) -> None:
    writer = make(patience=0.05)
    stream.freeze()
    pending, = put(writer, 1)
    writer.wait(pending)
    assert not pending.settled


def test_flush(writer: Writer, stream: FakeStream,
               start: Callable[[], None]) -> None:
    assert writer.flush(0)
    put(writer, 1)
    assert not writer.flush(0)
    assert not writer.flush(0.01)
    start()
    assert writer.flush(None)
    assert stored(stream) == [1]


def test_flush_waits_for_what_is_there_now(writer: Writer) -> None:
    writer.set_window(5)
    writer.seen(0)
    put(writer, *range(5))
    thread, result = in_thread(writer.flush, DEADLINE)
    wait_until(lambda: writer._waiting)
    put(writer, 5)
    writer.work(UntilDone(lambda: writer.depth == 1))
    thread.join(DEADLINE)
    assert result == [True]


def test_flush_through_an_outage(writer: Writer, stream: FakeStream,
                                 start: Callable[[], None]) -> None:
    stream.go_away()
    start()
    put(writer, 1, 2)
    assert not writer.flush(0.05)
    stream.come_back()
    assert writer.flush(DEADLINE)
    assert stored(stream) == [1, 2]


def test_who_gives_up_waiting_leaves_nothing_behind(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of gevent is raised wherever it finds one waiting."""
    class Impatient(threading.Event):
        def wait(self, timeout: Optional[float] = None) -> bool:
            raise KeyboardInterrupt

    pending, = put(writer, 1)
    monkeypatch.setattr(writer._engine, 'event', Impatient)
    with pytest.raises(KeyboardInterrupt):
        writer.wait(pending)
    assert not writer._impatient


def test_flushing_in_vain_leaves_nothing_behind(writer: Writer) -> None:
    put(writer, 1)
    for _ in range(10):
        assert not writer.flush(0.0)
    assert not writer._waiting
    assert writer.depth == 1


def test_nobody_waits_for_a_task_that_has_ended(writer: Writer) -> None:
    put(writer, 1)
    thread, result = in_thread(writer.flush, None)
    wait_until(lambda: writer._waiting)
    writer.close()
    writer.end()
    thread.join(DEADLINE)
    assert result == [False]
    assert writer.flush(None) is False


@pytest.mark.parametrize('frozen', [False, True])
def test_interrupt(writer: Writer, stream: FakeStream, logger: Logger,
                   frozen: bool) -> None:
    """Whatever it waits for, on its connection or here."""
    task = Task('writer', writer.work, ThreadEngine(), None, logger)
    task.start()
    put(writer, 1)
    assert writer.flush(DEADLINE)
    if frozen:
        stream.freeze()
        put(writer, 2)
        wait_until(lambda: len(stream.batches) == 2)
    task.stop()
    writer.interrupt()
    assert task.join(DEADLINE)
    assert stream.connections == 0


def test_abandon(writer: Writer, stream: FakeStream) -> None:
    writer.abandon()
    links: List[Any] = []

    def seen() -> bool:
        links.append(writer._link)
        return True

    writer.work(UntilDone(seen))
    writer._link = links[0]
    writer.abandon()
    assert links[0].abandoned


def test_it_gets_through_when_something_is_stored(
        writer: Writer, stream: FakeStream) -> None:
    """Not when it is merely connected: it may not be allowed to write."""
    def task() -> UntilDone:
        return UntilDone(lambda: not writer.depth)

    put(writer, 1)
    stream.error = 'OOM'
    refused, accepted, idle = task(), task(), task()
    with pytest.raises(Unavailable):
        writer.work(refused)
    assert refused.got_through == 0
    stream.error = None
    writer.work(accepted)
    assert accepted.got_through == 1
    # With nothing to write that is all there is to know.
    writer.work(idle)
    assert idle.got_through == 1


def test_what_is_urgent_goes_first(writer: Writer,
                                   stream: FakeStream) -> None:
    put(writer, 1, 2)
    writer.say_now([b'urgent', b'7'])
    writer.say_now([b'urgent', b'8'])
    send(writer)
    # Once, and the last one alone.
    assert stored(stream) == [8, 1, 2]
    assert stream.history[0].fields == [b'urgent', b'8']


def test_what_is_urgent_needs_no_outbox(writer: Writer, stream: FakeStream,
                                        start: Callable[[], None]) -> None:
    """Nor does it wait for readers, whom it tells about."""
    writer.set_window(1)
    writer.seen(0)
    start()
    put(writer, 1, 2)
    wait_until(has_stored(stream, 1))
    wait_until(lambda: writer._held)
    writer.say_now([b'urgent', b'7'])
    wait_until(has_stored(stream, 2))
    assert stored(stream) == [1, 7]
    assert writer.depth == 1


def test_nothing_is_urgent_behind_the_last_words(
        writer: Writer, stream: FakeStream,
        start: Callable[[], None]) -> None:
    """Others would take us for a member again."""
    put(writer, 1)
    writer.say_now([b'urgent', b'7'])
    writer.close([[b'bye', b'9']])
    start()
    wait_until(has_stored(stream, 3))
    writer.say_now([b'urgent', b'8'])
    assert writer._urgent is None
    assert stored(stream) == [7, 1, 9]


@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER,
                                   Fault.ERROR])
def test_what_is_urgent_is_never_in_doubt(
        writer: Writer, stream: FakeStream, fault: Fault) -> None:
    """It may be said twice, which does no harm; it is not lost."""
    put(writer, 1)
    send(writer)
    writer.say_now([b'urgent', b'7'])
    stream.plan('append', fault)
    put(writer, 2)
    assert len(send(writer)) == 1
    assert [number for number in stored(stream) if number != 7] == [1, 2]
    assert stored(stream).count(7) == (
        2 if fault is Fault.BREAK_AFTER else 1)


def test_what_is_urgent_survives_an_idle_connection(
        writer: Writer, stream: FakeStream, start: Callable[[], None]
        ) -> None:
    """Which shows only now that it has ended; nothing else is there to be
    sent."""
    start()
    stream.plan('append', Fault.BREAK_BEFORE)
    writer.say_now([b'urgent', b'7'])
    wait_until(has_stored(stream, 1))


def test_a_task_that_was_stopped_while_it_connected(
        writer: Writer, stream: FakeStream) -> None:
    class Stopped:
        stopping = True

    put(writer, 1)
    writer.work(Stopped())  # type: ignore[arg-type]
    assert stream.history == []
    assert stream.connections == 0


# -- the pace ----------------------------------------------------------------

WINDOW = 10


def has_stored(stream: FakeStream, count: int) -> Callable[[], bool]:
    return lambda: len(stream.history) == count


def test_no_more_than_the_window(writer: Writer, stream: FakeStream,
                                 start: Callable[[], None]) -> None:
    writer.set_window(WINDOW)
    writer.seen(0)
    put(writer, *range(25))
    start()
    wait_until(has_stored(stream, 10))
    wait_until(lambda: writer._held)
    assert writer.depth == 15
    writer.seen(4)
    wait_until(has_stored(stream, 14))
    writer.seen(14)
    wait_until(has_stored(stream, 24))
    writer.set_window(None)
    writer.wake()
    wait_until(has_stored(stream, 25))


def test_a_reader_elsewhere_that_lags(writer: Writer, stream: FakeStream,
                                      start: Callable[[], None]) -> None:
    writer.set_window(WINDOW)
    put(writer, *range(5))
    send(writer)
    position = stream.entries[1].id
    writer.reader_is_behind('other', position)
    put(writer, *range(5, 25))
    start()
    # The batch that it is in counts as a whole.
    wait_until(has_stored(stream, WINDOW))
    wait_until(lambda: writer._held)
    assert writer.depth == 15
    writer.reader_is_behind('other', None)
    wait_until(has_stored(stream, 25))


def test_readers_may_come_back_later_than_we(
        make: Make, stream: FakeStream) -> None:
    """After an outage they are asked, and nobody sends more than a window
    before they have answered."""
    question = (b'number', b'-1')
    writer = make(absent=lambda: (['other'], [question]))
    writer.set_window(WINDOW)
    put(writer, 0)
    send(writer)
    # Nobody was away.
    assert stored(stream) == [0]
    put(writer, *range(1, 26))
    waited: List[List[int]] = []

    def done() -> bool:
        if writer._held:
            waited.append(stored(stream))
            writer.reader_is_behind('other', None)
        return not writer.depth

    drive(writer.work, done)
    assert waited == [[0, -1, *range(1, WINDOW + 1)]]
    assert stored(stream) == [0, -1, *range(1, 26)]


def test_nobody_holds_it_for_ever(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(writer_module.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(writer_module, 'HOLD', 0.001)
    writer.set_window(WINDOW)
    writer.seen(0)
    put(writer, *range(25))
    rounds: List[int] = []

    def done() -> bool:
        rounds.append(len(stream.history))
        now[0] += PATIENCE / 10
        return not writer.depth

    drive(writer.work, done)
    assert stored(stream) == list(range(25))
    # It did wait.
    assert rounds.count(10) > 5


def test_a_writer_without_a_reader_listens(make: Make,
                                           stream: FakeStream) -> None:
    heard: List[Sequence[bytes]] = []
    stream.put(b'before', b'its time')
    writer = make(overhear=heard.append)
    put(writer, *range(LISTEN_EVERY - 1))
    send(writer)
    assert heard == []
    put(writer, *range(BATCH_ENTRIES + 1))

    def done() -> bool:
        if stream.batches[-1] == BATCH_ENTRIES:
            stream.put(b'news', b'1')
        return not writer.depth

    drive(writer.work, done)
    assert stream.batches[-2:] == [BATCH_ENTRIES, 1]
    assert len(heard) == BATCH_ENTRIES + 1
    assert heard[-1] == [b'news', b'1']


def test_it_does_not_listen_to_what_is_old(make: Make,
                                           stream: FakeStream) -> None:
    """A stream that is kept by time may have grown by a million entries
    since it last did, and what it has to say would wait meanwhile."""
    heard: List[Sequence[bytes]] = []
    writer = make(overhear=heard.append)
    put(writer, 0)
    grown: List[bool] = []

    def done() -> bool:
        if writer.depth:
            return False
        if grown:
            return True
        grown.append(True)
        for age in range(10 * int(PATIENCE), -1, -1):
            stream.put(b'age', b'%d' % age)
            stream.advance(age and 1)
        writer.reader_is_behind('dead', stream.entries[0].id)
        put(writer, *range(BATCH_ENTRIES + 1))
        return False

    drive(writer.work, done)
    assert [int(fields[1]) for fields in heard if fields[0] == b'age'] \
        == list(range(int(PATIENCE) - 1, -1, -1))
    # What it was told of others is old, too.
    assert 'dead' not in writer._flow._readers


def test_while_it_is_held_it_listens(
        make: Make, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else would tell it that there is room again."""
    monkeypatch.setattr(writer_module, 'HOLD', 0.001)
    own: Optional[Writer] = None

    def overhear(fields: Sequence[bytes]) -> None:
        assert own is not None
        if fields[-5] == own.writer_id:
            own.seen(int(fields[-3]))

    own = make(overhear=overhear)
    own.set_window(WINDOW)
    own.seen(0)
    put(own, *range(95))
    send(own)
    assert stored(stream) == list(range(95))
    assert max(stream.batches) == WINDOW


# -- signs of life -----------------------------------------------------------

def test_signs_of_life_have_no_number_of_their_own(
        writer: Writer, stream: FakeStream) -> None:
    for numbered in (False, True, False, True, True, False):
        writer.append([b'number', b'0'], numbered)
    send(writer)
    assert [entry.fields[-3] for entry in stream.entries] == [
        b'0', b'1', b'1', b'2', b'3', b'3']


@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER])
@pytest.mark.parametrize('flight', [
    [False], [True, False], [False, True], [False, False]])
def test_signs_of_life_in_doubt(writer: Writer, stream: FakeStream,
                                fault: Fault, flight: List[bool]) -> None:
    put(writer, 0)
    send(writer)
    for number, numbered in enumerate(flight, 1):
        writer.append([b'number', b'%d' % number], numbered)
    stream.plan('append', fault)
    send(writer)
    assert stored(stream) == list(range(len(flight) + 1))


# -- the end -----------------------------------------------------------------

def test_last_words(make: Make, stream: FakeStream) -> None:
    writer = make(limit=2)
    put(writer, 1, 2)
    writer.close([[b'number', b'3'], [b'number', b'4']])
    writer.close([[b'number', b'5']])
    with pytest.raises(RedisStreamsError, match='closed'):
        put(writer, 6)
    send(writer)
    assert stored(stream) == [1, 2, 3, 4]
    assert stream.entries[-1].fields[-3] == b'2'


def test_what_writers_share(stream: FakeStream, logger: Logger) -> None:
    capacity = Capacity(3, 1 << 20)
    one, other = (Writer(stream.link, ThreadEngine(), logger,
                         capacity=capacity, patience=DEADLINE,
                         vanished=unexpected) for _ in range(2))
    put(one, 1, 2)
    put(other, 3)
    for writer in (one, other):
        with pytest.raises(OutboxFullError):
            put(writer, 4)
    assert (one.depth, other.depth, capacity.count) == (2, 1, 3)
    assert capacity.bytes == one.size + other.size
    send(one)
    put(other, 5)
    send(other)
    assert (capacity.count, capacity.bytes) == (0, 0)
    assert stored(stream) == [1, 2, 3, 5]


# -- what has vanished -------------------------------------------------------

def breaks(writer: Writer, stream: FakeStream) -> None:
    """Have the writer connect anew."""
    with pytest.raises(Unavailable):
        stream.plan('append', Fault.BREAK_BEFORE)
        put(writer, 999)
        writer.work(UntilDone(lambda: False))


@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('kept', range(0, 8, 4))
@pytest.mark.parametrize('quicker', [False, True])
def test_a_failover_that_lost_what_was_acknowledged(
        make: Make, stream: FakeStream, log: Any, size: int, kept: int,
        quicker: bool) -> None:
    writer = make(vanished=log)
    stream.put(b'the', b'first')
    for start in range(0, 8, size):
        put(writer, *range(start, start + size))
        send(writer)
    breaks(writer, stream)
    stream.set_back(stream.entries[kept].id)
    if quicker:
        stream.advance(60)
        stream.put(b'of', b'another')
    send(writer)
    assert log.calls == [8 - kept]
    put(writer, 1000)
    breaks(writer, stream)
    send(writer)
    assert log.calls == [8 - kept]
    assert [entry.fields[1] for entry in stream.entries
            if entry.fields[0] == b'number'] == [
        b'%d' % number for number in (*range(kept), 999, 1000, 999)]


def test_signs_of_life_that_vanish_are_no_loss(
        writer: Writer, stream: FakeStream) -> None:
    put(writer, 1)
    send(writer)
    writer.append([b'number', b'2'], numbered=False)
    send(writer)
    breaks(writer, stream)
    stream.set_back(stream.entries[0].id)
    send(writer)
    assert stored(stream) == [1, 2, 999]


@pytest.mark.parametrize('how', ['trim', 'delete', 'begin again'])
def test_what_is_gone_with_its_stream_has_not_vanished(
        writer: Writer, stream: FakeStream, how: str) -> None:
    """The readers tell of that, and of what they miss."""
    put(writer, *range(4))
    send(writer)
    breaks(writer, stream)
    if how == 'trim':
        stream.trim()
    else:
        stream.delete()
    if how == 'begin again':
        stream.advance(60)
        stream.put(b'of', b'1000')
    send(writer)
    breaks(writer, stream)
    send(writer)
    assert [number for number in stored(stream) if number < 1000] == [
        0, 1, 2, 3, 999, 999]


def test_a_failover_after_much_was_trimmed(make: Make, stream: FakeStream,
                                           log: Any) -> None:
    writer = make(vanished=log)
    for number in range(20):
        put(writer, number)
        send(writer)
    stream.trim(keep=5)
    breaks(writer, stream)
    stream.set_back(stream.entries[1].id)
    send(writer)
    assert log.calls == [3]


# -- by time -----------------------------------------------------------------

def test_retention(make: Make, stream: FakeStream) -> None:
    """By the server's clock: the last id, less the retention."""
    writer = make(retention=10.0)
    for number in range(20):
        put(writer, number)
        send(writer)
        stream.advance(1.0)
    numbers = [int(entry.fields[1]) for entry in stream.entries]
    # The last id known is that of the entry before.
    assert numbers == list(range(8, 20))


def test_retention_has_a_cap(logger: Logger,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(writer_module.time, 'monotonic', lambda: now[0])
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


def test_who_may_not_trim_does_not_get_through(
        make: Make, stream: FakeStream) -> None:
    """Else it would fail each time it is to trim, and be well between."""
    writer = make(retention=10.0)
    put(writer, 1)
    stream.plan('trim', Fault.ERROR)
    task = UntilDone(lambda: False)
    with pytest.raises(Unavailable):
        writer.work(task)
    assert not task.got_through
    send(writer)
    assert len(stream.entries) == 1


# -- replicas ----------------------------------------------------------------

def test_what_no_replica_has_is_not_acknowledged(
        make: Make, stream: FakeStream) -> None:
    writer = make(replicated=True)
    pending, *_ = put(writer, 1, 2)
    stream.plan('append', Fault.LAG, Fault.LAG)
    for _ in range(2):
        with pytest.raises(Unavailable, match='replicas'):
            writer.work(UntilDone(lambda: False))
        assert writer.depth == 2 and not pending.settled
    send(writer)
    assert pending.settled
    # Found, not sent again; what was appended besides is nobody's.
    assert [entry.fields[1] for entry in stream.history] == [
        b'1', b'2', b'emitter', b'emitter']


def test_a_large_entry_is_not_to_blame_for_lagging_replicas(
        make: Make, stream: FakeStream) -> None:
    writer = make(replicated=True)
    pending, = put(writer, 1, filling=LARGE)
    stream.plan('append', *[Fault.LAG] * (BREAKS + 2))
    send(writer)
    assert pending.settled and pending.refused is None
