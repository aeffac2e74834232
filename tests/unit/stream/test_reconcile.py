"""The writer finds which of its entries the stream contains."""
from typing import Any, Iterator, List, Optional, Sequence

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import EntryRefused
from redis_streams_adapter.stream.pages import Pages
from redis_streams_adapter.stream.reconcile import before_first, find_kept, \
    find_stored, Kept, Mark
from redis_streams_adapter.testing.stream import FakeStream

OURS, THEIRS = b'our-writer', b'their-writer'


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def link(stream: FakeStream) -> Iterator[Any]:
    link = stream.link()
    link.connect()
    yield link
    link.close()


def put(stream: FakeStream, *numbers: int,
        writer: bytes = OURS) -> List[Position]:
    """Store entries of a writer, each shortly after the previous one."""
    positions = []
    for number in numbers:
        stream.advance(1.0)
        positions.append(stream.put(
            b'name', b'value', b'wid', writer,
            b'seq', b'%d' % number, b'since', b'0-0'))
    return positions


def test_position_before_the_first_entry_that_was_stored() -> None:
    refused = EntryRefused('too large', 0)
    assert before_first([refused, b'7-1', b'7-2']) == Position(7)
    assert before_first([refused]) == START


# -- after a connection broke ------------------------------------------------

@given(st.integers(0, 12), st.integers(1, 12), st.lists(
    st.integers(0, 30), max_size=10), st.booleans())
def test_stream_holds_the_first_entries_in_flight(stored: int, count: int,
                                                  others: List[int],
                                                  between: bool) -> None:
    """Any number of entries of others may be between them."""
    stream = FakeStream()
    link = stream.link()
    link.connect()
    after = put(stream, 1, 2, 3)[-1]
    if between:
        put(stream, *others, writer=THEIRS)
    stored = min(stored, count)
    positions = put(stream, *range(4, 4 + stored))
    put(stream, *others, writer=THEIRS)
    in_flight = range(4, 4 + count)
    assert find_stored(link, OURS, after, in_flight, Pages(3)) == (
        3 + stored, positions[-1] if stored else after)
    link.close()


def test_earlier_entries_are_not_read(stream: FakeStream, link: Any) -> None:
    after = put(stream, 4, 5)[-1]
    assert find_stored(link, OURS, after, [4, 5], Pages(3)) == (3, after)


@pytest.mark.parametrize('fields', [
    (), (b'wid', OURS), (b'a', b'b', b'wid', OURS, b'seq', b'4'),
    (b'wid', OURS, b'since', b'0-0', b'seq', b'4'),
    (b'wid', OURS, b'seq', b'04', b'since', b'0-0'),
    (b'wid', OURS, b'seq', b'x', b'since', b'0-0'),
    (b'wid', OURS, b'seq', b'9', b'since', b'0-0'),
    (b'wid', THEIRS, b'seq', b'4', b'since', b'0-0')])
def test_entries_that_resemble_the_writers(stream: FakeStream, link: Any,
                                           fields: Sequence[bytes]) -> None:
    """Any program can write to the stream."""
    stream.put(b'name', b'value', *fields)
    assert find_stored(link, OURS, START, [4, 5], Pages(3))[0] == 3


# -- after a server took over ------------------------------------------------

def marks(positions: Sequence[Position]) -> List[Mark]:
    """Each entry was a separate batch."""
    return [(position, number)
            for number, position in enumerate(positions, 1)]


def test_complete_stream(stream: FakeStream, link: Any) -> None:
    positions = put(stream, 1, 2, 3)
    assert find_kept(link, positions[-1], marks(positions), 0) == Kept(
        positions[-1])


@pytest.mark.parametrize('goes_on', [True, False])
@pytest.mark.parametrize('kept', range(5))
def test_replica_that_lacked_the_last_entries(stream: FakeStream, link: Any,
                                              kept: int,
                                              goes_on: bool) -> None:
    put(stream, 1, writer=THEIRS)
    positions = put(stream, *range(1, 6))
    stream.set_back(positions[kept - 1] if kept else stream.entries[0].id)
    end = stream.last
    if goes_on:
        put(stream, 7, 8, writer=THEIRS)
    # Without later entries the stream ends before the acknowledged ones.
    assert find_kept(link, positions[-1], marks(positions), 0) == Kept(
        positions[-1] if goes_on else end, kept)


def test_entries_without_a_mark_count_as_stored(stream: FakeStream,
                                                link: Any) -> None:
    """The number of marks is limited, so older ones are gone."""
    put(stream, 1, writer=THEIRS)
    positions = put(stream, *range(1, 6))
    stream.set_back(stream.entries[0].id)
    assert find_kept(link, positions[-1], marks(positions)[2:], 2
                     ).sequence == 2


@pytest.mark.parametrize('lose', [
    FakeStream.trim, FakeStream.delete,
    lambda stream: stream.trim(1)])
def test_trimmed_entries_are_not_lost(stream: FakeStream, link: Any,
                                      lose: Any) -> None:
    """Readers had time to read them. The readers detect deletions."""
    positions = put(stream, 1, 2, 3)
    put(stream, 1, writer=THEIRS)
    lose(stream)
    sequence: Optional[int] = find_kept(
        link, positions[-1], marks(positions), 0).sequence
    assert sequence is None
