"""Copies and gaps among the entries of writers."""
from typing import Dict, List, Tuple

from hypothesis import given, strategies as st

from redis_streams_adapter.sequences import Sequences


def test_in_order() -> None:
    sequences = Sequences()
    assert [sequences.missing_before(b'a', number)
            for number in range(1, 6)] == [0] * 5


def test_the_first_may_have_any_number() -> None:
    sequences = Sequences()
    assert sequences.missing_before(b'a', 1000) == 0
    assert sequences.missing_before(b'b', 0) == 0
    assert sequences.missing_before(b'a', 1001) == 0


def test_copies() -> None:
    sequences = Sequences()
    for number in (1, 2, 3):
        sequences.missing_before(b'a', number)
    assert all(sequences.missing_before(b'a', number) < 0
               for number in (1, 2, 3, 3, 0))
    assert sequences.missing_before(b'a', 4) == 0


def test_gaps() -> None:
    sequences = Sequences()
    sequences.missing_before(b'a', 5)
    assert sequences.missing_before(b'a', 9) == 3
    assert sequences.missing_before(b'a', 10) == 0
    # What comes after all is a copy, by all that is known.
    assert sequences.missing_before(b'a', 7) < 0


def test_writers_are_apart() -> None:
    sequences = Sequences()
    sequences.missing_before(b'a', 5)
    sequences.missing_before(b'b', 1)
    assert sequences.missing_before(b'b', 2) == 0
    assert sequences.missing_before(b'a', 6) == 0


def test_writers_of_whom_nothing_is_heard_are_forgotten() -> None:
    sequences = Sequences(remembered=3)
    sequences.missing_before(b'gone', 5)
    sequences.missing_before(b'here', 5)
    for number in range(10):
        sequences.missing_before(b'%d' % number, 1)
        assert sequences.missing_before(b'here', 6 + number) == 0
    # It would be a copy and a gap, if it was remembered.
    assert sequences.missing_before(b'gone', 1) == 0
    assert sequences.missing_before(b'gone', 2) == 0


def test_so_many_are_remembered() -> None:
    sequences = Sequences(remembered=3)
    writers = [b'a', b'b', b'c', b'd', b'e']
    for count in range(1, len(writers) + 1):
        sequences.missing_before(writers[count - 1], 5)
        for writer in writers[max(0, count - 3):count]:
            assert sequences.missing_before(writer, 5) < 0


@given(st.lists(st.tuples(st.sampled_from([b'a', b'b', b'c']),
                          st.integers(0, 20))))
def test_as_an_account_that_forgets_nothing(
        entries: List[Tuple[bytes, int]]) -> None:
    sequences = Sequences(remembered=3)
    account: Dict[bytes, int] = {}
    for writer, number in entries:
        last = account.get(writer, number - 1)
        missing = sequences.missing_before(writer, number)
        assert (missing < 0) == (number <= last)
        if missing >= 0:
            assert missing == number - last - 1
            account[writer] = number
