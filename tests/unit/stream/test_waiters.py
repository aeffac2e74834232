"""Tasks that wait for the writer, and urgent entries."""
import threading
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.errors import RedisStreamsError
from redis_streams_adapter.stream.writer import Writer
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.testing.stream import FakeStream, Fault

from ...support.wait import DEADLINE, wait_until
from ..driving import UntilDone
from .writers import has_stored, Logger, Make, put, send, stored


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


# -- waiting -----------------------------------------------------------------

def test_wait_until_stored(writer: Writer, stream: FakeStream,
                           start_writer: Callable[[], None]) -> None:
    start_writer()
    for number in range(10):
        pending, = put(writer, number)
        writer.wait(pending)
        assert stored(stream)[-1] == number
    # A settled entry needs no wait.
    writer.wait(pending)


def test_wait_for_a_refused_entry(writer: Writer, stream: FakeStream,
                                  start_writer: Callable[[], None]) -> None:
    stream.refuses = lambda fields: fields[1] == b'1'
    start_writer()
    good, bad = put(writer, 0, 1)
    with pytest.raises(RedisStreamsError, match='refused'):
        writer.wait(bad)
    writer.wait(good)


def test_wait_survives_a_replaced_connection(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    """A replaced connection is not an outage."""
    start_writer()
    writer.wait(*put(writer, 1))
    for fault in (Fault.BREAK_BEFORE, Fault.BREAK_AFTER):
        stream.plan('append', fault)
        pending, = put(writer, 2)
        writer.wait(pending)
        assert pending.settled


def test_wait_ends_in_an_outage(writer: Writer, stream: FakeStream,
                                start_writer: Callable[[], None]) -> None:
    stream.go_away()
    start_writer()
    first, second = put(writer, 1, 2)
    for pending in (first, second):
        thread, result = in_thread(writer.wait, pending)
        thread.join(DEADLINE)
        assert result == [None]
        assert not pending.settled
    stream.come_back()
    assert writer.flush(DEADLINE)
    assert stored(stream) == [1, 2]
    # Waiting is possible again from here on.
    stream.freeze()
    thread, result = in_thread(writer.wait, *put(writer, 3))
    assert not result
    stream.thaw()
    thread.join(DEADLINE)
    assert result == [None] and stored(stream) == [1, 2, 3]


def test_pause_is_a_wait_that_accepts_a_refusal(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    start_writer()
    stream.refuses = lambda fields: fields[1] == b'1'
    pending, = put(writer, 1)
    writer.pause(pending, DEADLINE)
    assert pending.refused is not None
    stream.freeze()
    pending, = put(writer, 2)
    writer.pause(pending, 0.01)
    assert not pending.settled


def test_wait_ends_if_redis_does_not_answer(make_writer: Make,
                                            stream: FakeStream) -> None:
    writer = make_writer(patience=0.05)
    stream.freeze()
    pending, = put(writer, 1)
    writer.wait(pending)
    assert not pending.settled


def test_flush(writer: Writer, stream: FakeStream,
               start_writer: Callable[[], None]) -> None:
    assert writer.flush(0)
    put(writer, 1)
    assert not writer.flush(0)
    assert not writer.flush(0.01)
    start_writer()
    assert writer.flush(None)
    assert stored(stream) == [1]


def test_flush_waits_for_present_entries(writer: Writer) -> None:
    writer.backpressure.set_window(5)
    writer.backpressure.seen(0)
    put(writer, *range(5))
    thread, result = in_thread(writer.flush, DEADLINE)
    wait_until(lambda: writer._waiters.flushing)
    put(writer, 5)
    writer.work(UntilDone(lambda: len(writer.outbox) == 1))
    thread.join(DEADLINE)
    assert result == [True]


def test_flush_through_an_outage(writer: Writer, stream: FakeStream,
                                 start_writer: Callable[[], None]) -> None:
    stream.go_away()
    start_writer()
    put(writer, 1, 2)
    assert not writer.flush(0.05)
    stream.come_back()
    assert writer.flush(DEADLINE)
    assert stored(stream) == [1, 2]


def test_interrupted_wait_leaves_no_waiter(
        writer: Writer, stream: FakeStream,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A gevent timeout is raised in the wait."""
    class Impatient(threading.Event):
        def wait(self, timeout: Optional[float] = None) -> bool:
            raise KeyboardInterrupt

    pending, = put(writer, 1)
    monkeypatch.setattr(writer._engine, 'event', Impatient)
    with pytest.raises(KeyboardInterrupt):
        writer.wait(pending)
    assert not writer._waiters.impatient


def test_unsuccessful_flush_leaves_no_waiter(writer: Writer) -> None:
    put(writer, 1)
    for _ in range(10):
        assert not writer.flush(0.0)
    assert not writer._waiters.flushing
    assert len(writer.outbox) == 1


def test_no_wait_for_an_ended_task(writer: Writer) -> None:
    put(writer, 1)
    thread, result = in_thread(writer.flush, None)
    wait_until(lambda: writer._waiters.flushing)
    writer.close()
    writer.end()
    thread.join(DEADLINE)
    assert result == [False]
    assert writer.flush(None) is False


@pytest.mark.parametrize('frozen', [False, True])
def test_interrupt(writer: Writer, stream: FakeStream, logger: Logger,
                   frozen: bool) -> None:
    """The task may wait on its connection or for entries."""
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


def test_success_is_reported_once_something_is_stored(
        writer: Writer, stream: FakeStream) -> None:
    """A connection is not enough: writing may be forbidden."""
    def task() -> UntilDone:
        return UntilDone(lambda: not len(writer.outbox))

    put(writer, 1)
    stream.error = 'OOM'
    refused, accepted, idle = task(), task(), task()
    with pytest.raises(Unavailable):
        writer.work(refused)
    assert refused.got_through == 0
    stream.error = None
    writer.work(accepted)
    assert accepted.got_through == 1
    # Without an entry, the connection counts as success.
    writer.work(idle)
    assert idle.got_through == 1


def test_urgent_entry_is_sent_first(writer: Writer,
                                    stream: FakeStream) -> None:
    put(writer, 1, 2)
    writer.append_urgent([b'urgent', b'7'])
    writer.append_urgent([b'urgent', b'8'])
    send(writer)
    # It is sent once, and only the last one.
    assert stored(stream) == [8, 1, 2]
    assert stream.history[0].fields == [b'urgent', b'8']


def test_urgent_entry_needs_no_outbox(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    """An urgent entry does not wait for readers either, because it is about
    their positions."""
    writer.backpressure.set_window(1)
    writer.backpressure.seen(0)
    start_writer()
    put(writer, 1, 2)
    wait_until(has_stored(stream, 1))
    wait_until(lambda: writer.backpressure.held)
    writer.append_urgent([b'urgent', b'7'])
    wait_until(has_stored(stream, 2))
    assert stored(stream) == [1, 7]
    assert len(writer.outbox) == 1


def test_nothing_urgent_follows_the_goodbyes(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    """Otherwise other nodes would count the node as a member again."""
    put(writer, 1)
    writer.append_urgent([b'urgent', b'7'])
    writer.close([[b'bye', b'9']])
    start_writer()
    wait_until(has_stored(stream, 3))
    writer.append_urgent([b'urgent', b'8'])
    assert writer.outbox.urgent is None
    assert stored(stream) == [7, 1, 9]


@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.BREAK_AFTER,
                                   Fault.ERROR])
def test_urgent_entry_is_never_in_doubt(writer: Writer, stream: FakeStream,
                                        fault: Fault) -> None:
    """A second copy is harmless, so the entry is sent again."""
    put(writer, 1)
    send(writer)
    writer.append_urgent([b'urgent', b'7'])
    stream.plan('append', fault)
    put(writer, 2)
    assert len(send(writer)) == 1
    assert [number for number in stored(stream) if number != 7] == [1, 2]
    assert stored(stream).count(7) == (
        2 if fault is Fault.BREAK_AFTER else 1)


def test_urgent_entry_survives_an_ended_connection(
        writer: Writer, stream: FakeStream,
        start_writer: Callable[[], None]) -> None:
    """The end of the connection is detected only now, and no other entry has
    to be sent."""
    start_writer()
    stream.plan('append', Fault.BREAK_BEFORE)
    writer.append_urgent([b'urgent', b'7'])
    wait_until(has_stored(stream, 1))


def test_task_stopped_while_it_connected(writer: Writer,
                                         stream: FakeStream) -> None:
    class Stopped:
        stopping = True

    put(writer, 1)
    writer.work(Stopped())  # type: ignore[arg-type]
    assert stream.history == []
    assert stream.connections == 0
