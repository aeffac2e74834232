"""The outbox numbers entries without gaps and is bounded. Each entry stays
until it is known to be stored or refused."""
import threading
from typing import Any, List

import pytest
from hypothesis import given, strategies

from redis_streams_adapter.errors import EventTooLargeError, OutboxFullError, \
    RedisStreamsError
from redis_streams_adapter.protocol.transport import EntryRefused
from redis_streams_adapter.stream.outbox import Capacity, ENTRY_OVERHEAD, \
    Outbox, Pending, YIELD_EVERY

#: A limit that no test reaches.
AMPLE = 1 << 20


def fields(number: Any = 0) -> Any:
    return b'number', b'%d' % number


def numbers(entries: Any) -> List[int]:
    """The argument of :func:`fields` for each entry."""
    return [int(each.fields[1]) for each in entries]


@pytest.fixture
def capacity() -> Capacity:
    return Capacity(10, AMPLE)


@pytest.fixture
def outbox(capacity: Capacity) -> Outbox:
    return Outbox(capacity)


# -- numbers -----------------------------------------------------------------

def test_messages_are_numbered_without_gaps(outbox: Outbox) -> None:
    assert [outbox.put(fields()).sequence for _ in range(3)] == [1, 2, 3]
    outbox.settle([b'1-0', b'2-0'])
    assert outbox.put(fields()).sequence == 4
    outbox.settle([b'3-0', b'4-0'])
    # The last number is remembered while the outbox is empty.
    assert outbox.put(fields()).sequence == 5


def test_heartbeat_repeats_the_last_number(outbox: Outbox) -> None:
    assert outbox.put(fields(), numbered=False).sequence == 0
    assert outbox.put(fields()).sequence == 1
    for _ in range(2):
        assert outbox.put(fields(), numbered=False).sequence == 1
    assert outbox.put(fields()).sequence == 2


def test_refused_number_is_not_reused(outbox: Outbox) -> None:
    """Other servers may have read a part of it."""
    outbox.put(fields())
    outbox.settle([EntryRefused('too large', 0)])
    assert outbox.put(fields()).sequence == 2
    outbox.refuse(0, EntryRefused('too large', 0))
    assert outbox.put(fields()).sequence == 3


def test_entry_that_is_not_accepted_has_no_number(capacity: Capacity,
                                                  outbox: Outbox) -> None:
    capacity.limit = 1
    outbox.put(fields())
    with pytest.raises(OutboxFullError):
        outbox.put(fields())
    capacity.limit = 2
    assert outbox.put(fields()).sequence == 2


def test_many_tasks(capacity: Capacity, outbox: Outbox) -> None:
    """Numbers follow the order of the outbox and of each task."""
    capacity.limit = AMPLE

    def put(first: int) -> None:
        for number in range(first, first + 500):
            outbox.put(fields(number))

    threads = [threading.Thread(target=put, args=(each * 1000,))
               for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.sequence for each in outbox] == list(range(1, 2001))
    for first in range(4):
        mine = [each for each in numbers(outbox) if each // 1000 == first]
        assert mine == sorted(mine) and len(mine) == 500


# -- limits ------------------------------------------------------------------

def test_limit_of_entries(outbox: Outbox) -> None:
    for _ in range(10):
        outbox.put(fields())
    with pytest.raises(OutboxFullError, match='outbox_limit=10'):
        outbox.put(fields())
    assert len(outbox) == 10
    outbox.settle([b'1-0'])
    outbox.put(fields())


@pytest.mark.parametrize('waiting', [0, 1, 10])
def test_entry_that_never_fits(waiting: int) -> None:
    """It says so at any time, also while the outbox is full."""
    size = ENTRY_OVERHEAD + len(b''.join(fields()))
    outbox = Outbox(Capacity(10, 10 * size))
    for _ in range(waiting):
        outbox.put(fields())
    with pytest.raises(EventTooLargeError, match=f'={10 * size}') as caught:
        outbox.put((b'data', b'x' * 10 * size))
    assert not isinstance(caught.value, OutboxFullError)
    assert len(outbox) == waiting


def test_limit_of_bytes() -> None:
    size = ENTRY_OVERHEAD + len(b''.join(fields()))
    outbox = Outbox(Capacity(AMPLE, 2 * size))
    outbox.put(fields())
    outbox.put(fields())
    with pytest.raises(OutboxFullError, match='outbox_max_bytes'):
        outbox.put(fields())
    outbox.settle([b'1-0'])
    outbox.put(fields())


def test_more_than_half_in_use_is_crowded() -> None:
    size = ENTRY_OVERHEAD + len(b'number0')
    for capacity in (Capacity(4, AMPLE), Capacity(100, 5 * size)):
        outbox, other = Outbox(capacity), Outbox(capacity)
        crowded = []
        for each in (outbox, other, outbox, other):
            each.put(fields())
            crowded.append(capacity.crowded)
        assert crowded == [False, False, capacity.limit == 100, True]
        outbox.settle([b'1-0'] * 2)
        other.settle([b'1-0'] * 2)
        outbox.put(fields())
        assert not capacity.crowded


def test_many_entries_press() -> None:
    """Every so many entries, and as long as it is crowded."""
    capacity = Capacity(4 * YIELD_EVERY, AMPLE)
    outbox, other = Outbox(capacity), Outbox(capacity)
    pressed = []
    for number in range(2 * YIELD_EVERY + 2):
        (outbox if number % 2 else other).put(fields())
        if capacity.presses:
            pressed.append(number + 1)
    assert pressed == [YIELD_EVERY, 2 * YIELD_EVERY, 2 * YIELD_EVERY + 2]


@given(strategies.lists(strategies.binary(max_size=9), max_size=16))
def test_size_of_fields(parts: List[bytes]) -> None:
    if len(parts) == 8:
        parts[::2] = b'uid', b'nsp', b'type', b'data'
    size = Outbox(Capacity(1, AMPLE)).put(parts).size
    assert size == ENTRY_OVERHEAD + len(b''.join(parts))


def test_limits_apply_to_all_outboxes_of_a_process(capacity: Capacity,
                                                   outbox: Outbox) -> None:
    other = Outbox(capacity)
    for _ in range(5):
        outbox.put(fields())
        other.put(fields())
    for each in (outbox, other):
        with pytest.raises(OutboxFullError):
            each.put(fields())
    assert capacity.count == 10
    assert capacity.bytes == outbox.bytes + other.bytes
    other.settle([b'1-0'])
    outbox.put(fields())


def test_bytes_are_those_of_waiting_entries(outbox: Outbox) -> None:
    def total() -> int:
        return sum(each.size for each in outbox)

    assert outbox.bytes == 0
    for number in (1, 10 ** 3, 10 ** 30, 10 ** 6, 10 ** 9):
        outbox.put(fields(number))
        assert outbox.bytes == total()
    outbox.refuse(2, EntryRefused('too large', 2))
    assert numbers(outbox) == [1, 10 ** 3, 10 ** 6, 10 ** 9]
    assert outbox.bytes == total()
    outbox.settle([b'1-0', b'2-0'])
    assert outbox.bytes == total()
    outbox.put(fields(5))
    assert outbox.bytes == total()
    outbox.settle([b'3-0', b'4-0', b'5-0'])
    assert outbox.bytes == 0


# -- waking ------------------------------------------------------------------

def test_first_entry_wakes_the_task_that_waits(capacity: Capacity) -> None:
    woken: List[int] = []

    def wake() -> None:
        assert not capacity.lock._is_owned()
        woken.append(len(outbox))

    outbox = Outbox(capacity, wake=wake)
    outbox.put(fields())
    outbox.is_awaited = True
    outbox.put(fields())
    outbox.put(fields())
    assert woken == [2]
    outbox.is_awaited = True
    outbox.put(fields())
    # Its task is woken by whatever closes it.
    outbox.is_awaited = True
    outbox.close([fields()])
    assert woken == [2, 4]


# -- batches -----------------------------------------------------------------

def test_batch(outbox: Outbox) -> None:
    for number in range(5):
        outbox.put(fields(number))
    assert numbers(outbox.first(3, AMPLE)) == [0, 1, 2]
    # The batch stays until its result is known.
    assert numbers(outbox.first(10, AMPLE)) == [0, 1, 2, 3, 4]
    assert len(outbox) == 5


def test_batch_has_a_bounded_size(outbox: Outbox) -> None:
    for number in range(3):
        outbox.put(fields(number))
    size = outbox.first(1, AMPLE)[0].size
    assert numbers(outbox.first(3, 2 * size)) == [0, 1]
    # A single entry may exceed the limit. It is sent alone.
    assert numbers(outbox.first(3, 1)) == [0]
    assert Outbox(Capacity(1, 1)).first(3, AMPLE) == []


@pytest.mark.parametrize('before', [0, 3])
@given(sizes=strategies.lists(strategies.integers(0, 2000), min_size=1),
       count=strategies.integers(1, 10), limit=strategies.integers(0, 9000))
def test_batch_is_the_longest_that_fits(before: int, sizes: List[int],
                                        count: int, limit: int) -> None:
    outbox = Outbox(Capacity(AMPLE, AMPLE))
    for size in (*[7] * before, *sizes):
        outbox.put((b'x' * size,))
    outbox.settle([b'1-0'] * before)
    batch = outbox.first(count, limit)
    assert batch == list(outbox)[:len(batch)]
    longest = [n for n in range(1, min(count, len(sizes)) + 1) if n == 1
               or sum(sizes[:n]) + n * ENTRY_OVERHEAD <= limit][-1]
    assert len(batch) == longest


def test_settle(outbox: Outbox) -> None:
    entries = [outbox.put(fields(number)) for number in range(4)]
    refused = EntryRefused('too large', 1)
    settled = outbox.settle([b'1-0', refused, b'3-0'])
    assert (settled.last, settled.last_id) == (entries[2], b'3-0')
    assert settled.refused == [refused]
    assert [each.settled for each in entries] == [True] * 3 + [False]
    assert entries[1].refused is refused
    assert entries[0].refused is None
    assert (outbox.stored, outbox.refused) == (2, 1)
    assert numbers(outbox) == [3]


def test_only_refused_entries_leave(outbox: Outbox) -> None:
    outbox.put(fields())
    settled = outbox.settle([EntryRefused('too large', 0)])
    assert settled.last is settled.last_id is None


def test_refuse_one_in_the_middle(outbox: Outbox) -> None:
    entries = [outbox.put(fields(number)) for number in range(3)]
    error = EntryRefused('too large', 1)
    assert outbox.refuse(1, error).refused == [error]
    assert entries[1].settled and entries[1].refused is error
    assert numbers(outbox) == [0, 2]
    assert (outbox.stored, outbox.refused) == (0, 1)


def test_settled_entries_before_an_exception(outbox: Outbox) -> None:
    """An entry is first marked and later removed. It is not sent again."""
    first, second = outbox.put(fields(1)), outbox.put(fields(2))
    first.settled = True
    assert outbox.first(10, AMPLE) == [second]
    assert list(outbox) == [second]


# -- the end -----------------------------------------------------------------

def test_closed_outbox_accepts_nothing(outbox: Outbox) -> None:
    outbox.put(fields(1))
    outbox.close([])
    with pytest.raises(RedisStreamsError, match='closed'):
        outbox.put(fields(2))
    assert numbers(outbox) == [1]


def test_there_is_always_room_for_goodbyes(capacity: Capacity,
                                           outbox: Outbox) -> None:
    capacity.limit = 1
    message = outbox.put(fields(1))
    outbox.close([fields(2), fields(3)])
    outbox.close([fields(4)])
    assert numbers(outbox) == [1, 2, 3]
    assert outbox.last is not None
    assert outbox.last.sequence == message.sequence
    assert not outbox.last.numbered


def test_fields_are_signed_in_the_order_of_the_outbox(
        capacity: Capacity) -> None:
    """A signature depends on the preceding entries."""
    count: List[Pending] = []

    def sign(given: Any) -> Any:
        count.append(given)
        return (*given, b'signed', b'%d' % len(count))

    outbox = Outbox(capacity, sign)
    for number in range(3):
        outbox.put(fields(number))
    assert [each.fields[-1] for each in outbox] == [b'1', b'2', b'3']
    # Refused entries are not signed.
    capacity.limit = 3
    with pytest.raises(OutboxFullError):
        outbox.put(fields())
    assert len(count) == 3
