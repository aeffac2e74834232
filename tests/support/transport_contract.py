"""The contract of a transport: tests of any
:class:`redis_streams_adapter.protocol.transport.Link`.

A test module imports all names of this module, and adds the fixture
``backend``: an object that makes links and causes faults on its server. Its
methods are those of ``Backend`` in ``tests/unit/testing/test_stream.py`` and
of ``Redis`` in ``tests/integration/stream/test_link.py``.
"""
import contextlib
import threading
import time
from typing import Any, Callable, Iterator, List, Optional

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import EntryRefused, NO_STREAM, \
    Unavailable

from .wait import DEADLINE, wait_until

#: Bytes: the longest value that the server of these tests accepts. This is the
#: lowest limit of Redis.
LONGEST = 1 << 20

MAX_LEN = 1000

#: Seconds: longer than any test, so that this wait never times out.
UNLIMITED = 60.0


def fields(number: Any) -> List[bytes]:
    return [b'name', b'value', b'number', str(number).encode()]


def numbers(entries: Any) -> List[int]:
    """The argument of :func:`fields` for each entry."""
    return [int(entry.fields[3]) for entry in entries]


@pytest.fixture
def connect(backend: Any) -> Iterator[Callable[..., Any]]:
    """Makes a connected link, and closes it at the end."""
    with contextlib.ExitStack() as stack:
        def make(link: Any = None, **options: Any) -> Any:
            if link is None:
                link = backend.link(**options)
            link.connect()
            stack.callback(link.close)
            return link

        yield make


@pytest.fixture
def link(connect: Callable[..., Any]) -> Any:
    return connect()


def stored(link: Any, batch: List[List[bytes]],
           oldest: Optional[int] = None) -> List[Position]:
    """Append a batch.

    :return: the entries' positions.
    """
    return [Position.parse(each) for each in link.append(batch, oldest)]


def in_thread(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Call a function in a thread.

    :return: a function that waits for the result, or raises the exception.
    """
    result: List[Any] = []

    def run() -> None:
        try:
            result.append((function(*args), None))
        except Exception as exc:
            result.append((None, exc))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> Any:
        thread.join(DEADLINE)
        assert result, 'the call has not ended'
        value, error = result[0]
        if error is not None:
            raise error
        return value

    return wait


# -- appending -----------------------------------------------------------

@pytest.mark.parametrize('count', [1, 2, 50])
def test_append_and_read(link: Any, count: int) -> None:
    batch = [fields(number) for number in range(count)]
    ids = link.append(batch)
    assert all(isinstance(each, bytes) for each in ids)
    entries = link.read(START, 100, None)
    assert [list(entry.fields) for entry in entries] == batch
    assert [bytes(entry.id) for entry in entries] == ids


def test_values_of_any_bytes(link: Any) -> None:
    content = [b'', bytes(range(256)), b'\r\n$5\r\n', b'\xff' * 100_000, b'k',
               b'\x00']
    link.append([content])
    link.append([content, content])
    assert [list(entry.fields) for entry in link.read(START, 10, None)] == [
        content] * 3


def test_ids_ascend(link: Any) -> None:
    ids = [entry_id for _ in range(20)
           for entry_id in stored(link, [fields(0)] * 10)]
    assert ids == sorted(set(ids))


def test_batches_stay_together(connect: Callable[..., Any]) -> None:
    writers, size = 4, 10
    done = [in_thread(lambda link, first: [
                link.append([fields(first)] * size) for _ in range(20)],
                connect(), writer) for writer in range(writers)]
    for wait in done:
        wait()
    found = numbers(connect().read(START, 10_000, None))
    assert len(found) == writers * size * 20
    for start in range(0, len(found), size):
        assert len(set(found[start:start + size])) == 1


def test_links_share_entries(
        link: Any, connect: Callable[..., Any]) -> None:
    position, = stored(connect(), [fields(7)])
    assert link.ends().last_id == position
    assert numbers(link.read(START, 10, None)) == [7]


def test_refused_append_is_not_in_doubt(backend: Any, link: Any) -> None:
    link.append([fields(0)])
    with backend.refusing():
        for batch in ([fields(1)], [fields(1), fields(2)]):
            with pytest.raises(Unavailable) as caught:
                link.append(batch)
            assert not caught.value.in_doubt
    # The connection still works.
    link.append([fields(3)])
    assert numbers(link.read(START, 10, None)) == [0, 3]


def test_append_on_killed_link_is_in_doubt(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    backend.kill(link)
    with pytest.raises(Unavailable) as caught:
        link.append([fields(1)])
    assert caught.value.in_doubt
    assert connect().read(START, 10, None) == []


@pytest.mark.parametrize('count', [1, 3])
def test_append_killed_after_command_is_in_doubt(
        backend: Any, connect: Callable[..., Any], count: int) -> None:
    link = connect(backend.link_losing_a_reply())
    with pytest.raises(Unavailable) as caught:
        link.append([fields(number) for number in range(count)])
    assert caught.value.in_doubt
    assert numbers(connect().read(START, 10, None)) == list(range(count))


def test_frozen_append_can_be_interrupted(backend: Any, link: Any) -> None:
    with backend.frozen():
        wait = in_thread(link.append, [fields(1)])
        with pytest.raises(Unavailable) as caught:
            interrupt_until(link, wait)
    assert caught.value.in_doubt


def interrupt_until(link: Any, wait: Callable[[], Any]) -> None:
    """Interrupt a call twice, and wait until it ends."""
    link.interrupt()
    link.interrupt()
    wait()


# -- a refused entry --------------------------------------------------------

@pytest.mark.parametrize('size', [LONGEST + 1, LONGEST * 16])
@pytest.mark.parametrize('count, index', [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_entry_that_can_never_be_stored(
        link: Any, connect: Callable[..., Any], count: int, index: int,
        size: int) -> None:
    batch = [fields(number) for number in range(count)]
    batch[index] = [b'name', b'x' * size]
    with pytest.raises((EntryRefused, Unavailable)) as caught:
        link.append(batch)
    # If the server closes the connection before it has read all bytes, its
    # reply may be lost.
    if isinstance(caught.value, EntryRefused):
        assert caught.value.index == index
    else:
        assert caught.value.in_doubt
    assert connect().read(START, 10, None) == []


# -- reading ---------------------------------------------------------------

def test_pages_without_gaps(link: Any) -> None:
    link.append([fields(number) for number in range(25)])
    position, found = START, []
    while page := link.read(position, 10, None):
        assert len(page) <= 10
        found += numbers(page)
        position = page[-1].id
    assert found == list(range(25))


def test_read_after_cursor(link: Any) -> None:
    ids = stored(link, [fields(number) for number in range(5)])
    assert numbers(link.read(ids[2], 10, None)) == [3, 4]
    assert link.read(ids[-1], 10, None) == []


def test_next_id(link: Any) -> None:
    assert link.next_id(START) is None
    ids = stored(link, [fields(number) for number in range(3)])
    assert [link.next_id(each) for each in (START, *ids)] == [*ids, None]


def test_entry_in_parts(link: Any) -> None:
    assert link.read_in_parts(START) == []
    large = [b'', b'x' * 700_000, b'name', bytes(range(256)) * 10]
    ids = stored(link, [large, fields(1)])
    (entry_id, found), = link.read_in_parts(START)
    assert (entry_id, list(found)) == (ids[0], large)
    assert link.page_bytes >= 700_000
    assert numbers(link.read_in_parts(ids[0])) == [1]
    assert link.read_in_parts(ids[1]) == []


def test_cursor_of_trimmed_entry(
        backend: Any, link: Any) -> None:
    ids = stored(link, [fields(number) for number in range(5)])
    backend.trim(2)
    assert numbers(link.read(ids[0], 10, None)) == [3, 4]
    assert numbers(link.read(ids[3], 10, None)) == [4]


def test_read_of_missing_stream(link: Any) -> None:
    assert link.read(START, 10, None) == []
    assert link.read(START, 10, 0.001) == []


def test_read_returns_existing_entries_at_once(
        connect: Callable[..., Any]) -> None:
    link = connect(block=UNLIMITED)
    link.append([fields(1)])
    assert numbers(in_thread(link.read, START, 10, UNLIMITED)()) == [1]


def test_read_wakes_on_append(backend: Any, link: Any,
                              connect: Callable[..., Any]) -> None:
    reader = connect(block=UNLIMITED)
    wait = in_thread(reader.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    link.append([fields(1), fields(2)])
    assert numbers(wait())[:1] == [1]


def test_read_wakes_on_the_first_append_after_a_deletion(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    last, = stored(link, [fields(1)])
    backend.delete()
    reader = connect(block=UNLIMITED)
    wait = in_thread(reader.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    link.append([fields(2)])
    assert numbers(wait()) == [2]


@pytest.mark.parametrize('block', [0.0001, 0.05])
def test_read_ends_after_block_time(connect: Callable[..., Any],
                                    block: float) -> None:
    link = connect(block=block)
    begun = time.monotonic()
    assert in_thread(link.read, START, 10, block)() == []
    assert time.monotonic() - begun >= block


def test_waiting_read_can_be_interrupted(
        backend: Any, connect: Callable[..., Any]) -> None:
    link = connect(block=UNLIMITED)
    wait = in_thread(link.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    with pytest.raises(Unavailable):
        interrupt_until(link, wait)


def test_read_after_interrupt_does_not_wait(
        connect: Callable[..., Any]) -> None:
    """An interrupt may come shortly before its read."""
    link = connect(block=UNLIMITED)
    link.interrupt()
    with pytest.raises(Unavailable):
        in_thread(link.read, START, 10, UNLIMITED)()


def test_waiting_read_ends_with_its_connection(
        backend: Any, connect: Callable[..., Any]) -> None:
    link = connect(block=UNLIMITED)
    wait = in_thread(link.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    backend.kill(link)
    with pytest.raises(Unavailable):
        wait()


# -- the ends --------------------------------------------------------------

def test_ends(backend: Any, link: Any) -> None:
    assert link.ends() == NO_STREAM
    ids = stored(link, [fields(1), fields(2)])
    assert link.ends()[:2] == (ids[0], ids[-1])
    backend.trim()
    assert link.ends()[:2] == (None, ids[-1])
    assert link.read(START, 10, None) == []
    later, = stored(link, [fields(3)])
    assert later > ids[-1]
    assert link.ends()[:2] == (later, later)
    # The server counts entries since 7.0.
    assert link.ends().added in (3, None)
    backend.delete()
    assert link.ends() == NO_STREAM


def test_position_from_which_read_finds_entry(link: Any) -> None:
    ids = stored(link, [fields(number) for number in range(3)])
    for entry_id in ids:
        entry, = link.read(entry_id.before(), 1, None)
        assert entry.id == entry_id
    assert Position(5).before() == Position(4, 2**64 - 1)
    assert Position(5, 1).before() == Position(5)


# -- trimming --------------------------------------------------------------

def test_old_entries_are_trimmed(link: Any, backend: Any) -> None:
    """Redis removes only whole nodes of 100 entries."""
    batch = [fields(number) for number in range(300)]
    ids = stored(link, batch)
    backend.pass_time(link)
    last, = stored(link, [fields(0)], 0)
    assert link.ends().first_id == ids[0]
    link.append([fields(0)], last.milliseconds)
    first = link.ends().first_id
    assert ids[199] < first <= last


# -- connections -----------------------------------------------------------

def test_connect_to_unreachable_server_fails(backend: Any) -> None:
    link = backend.unreachable_link()
    with pytest.raises(Unavailable) as caught:
        link.connect()
    assert not caught.value.in_doubt
    link.close()


def test_identities_differ(connect: Callable[..., Any]) -> None:
    identities = [connect().identity for _ in range(3)]
    assert len(set(identities)) == 3
    assert None not in identities


def test_end_other(link: Any, connect: Callable[..., Any]) -> None:
    other, third = connect(), connect()
    other.append([fields(1)])
    link.end_other(other.identity)
    # Its later commands have no effect.
    with pytest.raises(Unavailable):
        other.append([fields(2)])
    assert numbers(link.read(START, 10, None)) == [1]
    third.append([fields(3)])
    # Ending it again is no error.
    link.end_other(other.identity)
    assert numbers(link.read(START, 10, None)) == [1, 3]


def test_end_other_ends_a_waiting_read(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    other = connect(block=UNLIMITED)
    wait = in_thread(other.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    link.end_other(other.identity)
    with pytest.raises(Unavailable):
        wait()


def test_broken_link_stays_broken(backend: Any, link: Any,
                                  connect: Callable[..., Any]) -> None:
    """Its identity would not include later commands."""
    backend.kill(link)
    with pytest.raises(Unavailable):
        link.ends()
    for call in (link.ends, link.time,
                 lambda: link.read(START, 10, None),
                 lambda: link.append([fields(1)])):
        with pytest.raises(Unavailable):
            call()
    assert connect().read(START, 10, None) == []


def test_close_and_interrupt_never_fail(backend: Any) -> None:
    link = backend.link()
    link.interrupt()
    link.close()
    link = backend.link()
    link.connect()
    link.close()
    link.interrupt()
    link.close()


def test_time_is_the_servers_clock(link: Any) -> None:
    before = link.time()
    position, = stored(link, [fields(1)])
    assert before <= position.milliseconds <= link.time()


# -- an inbox --------------------------------------------------------------

def test_discarded_entries_are_gone(link: Any) -> None:
    ids = stored(link, [fields(number) for number in range(5)])
    link.discard([ids[0], ids[3]], UNLIMITED)
    assert numbers(link.read(START, 10, None)) == [1, 2, 4]
    # Some are gone already.
    link.discard(ids, UNLIMITED)
    assert link.read(START, 10, None) == []
    link.append([fields(5)])
    assert numbers(link.read(START, 10, None)) == [5]


def test_discard_of_nothing(link: Any) -> None:
    link.discard((), UNLIMITED)
    link.append([fields(1)])
    link.discard((), UNLIMITED)
    assert numbers(link.read(START, 10, None)) == [1]


def test_unused_inbox_expires(link: Any) -> None:
    link.append([fields(1)])
    link.discard((), 0.05)
    wait_until(lambda: link.read(START, 10, None) == [])
    link.append([fields(2)])
    assert numbers(link.read(START, 10, None)) == [2]


def test_read_waits_for_an_inbox_that_was_emptied(
        backend: Any, link: Any, connect: Callable[..., Any]) -> None:
    link.discard(stored(link, [fields(1)]), UNLIMITED)
    reader = connect(block=UNLIMITED)
    wait = in_thread(reader.read, START, 10, UNLIMITED)
    wait_until(backend.waiting)
    link.append([fields(2)])
    assert numbers(wait()) == [2]


def test_discard_on_killed_link(backend: Any, link: Any) -> None:
    backend.kill(link)
    with pytest.raises(Unavailable):
        link.discard((), UNLIMITED)
