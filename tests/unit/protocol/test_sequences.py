"""Copies and gaps among the entries of writers."""
from typing import Any, Dict, List, Tuple

from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.sequences import Sequences as _Sequences


class Sequences(_Sequences):
    """Accepts unknown writers, as a node does."""

    def missing_before(self, writer: bytes, sequence: int,
                       numbered: bool = True, since: Any = None,
                       at: Tuple[int, int] = (0, 0)) -> int:
        missing = self.missing_since(writer, sequence, numbered)
        if missing is None:
            self.meet(writer, since, at)
            missing = super().missing_before(writer, sequence, numbered)
        return missing


def test_in_order() -> None:
    sequences = Sequences()
    assert [sequences.missing_before(b'a', number)
            for number in range(1, 6)] == [0] * 5


def test_first_entry_may_have_any_number() -> None:
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
    # A late entry is a copy, as far as is known.
    assert sequences.missing_before(b'a', 7) < 0


def test_writers_are_separate() -> None:
    sequences = Sequences()
    sequences.missing_before(b'a', 5)
    sequences.missing_before(b'b', 1)
    assert sequences.missing_before(b'b', 2) == 0
    assert sequences.missing_before(b'a', 6) == 0


def test_silent_writers_are_forgotten() -> None:
    sequences = Sequences(remembered=3)
    sequences.missing_before(b'gone', 5)
    sequences.missing_before(b'here', 5)
    for number in range(10):
        sequences.missing_before(b'%d' % number, 1)
        assert sequences.missing_before(b'here', 6 + number) == 0
    # It would be a copy and a gap if it was remembered.
    assert sequences.missing_before(b'gone', 1) == 0
    assert sequences.missing_before(b'gone', 2) == 0


def test_number_of_remembered_writers() -> None:
    sequences = Sequences(remembered=3)
    writers = [b'a', b'b', b'c', b'd', b'e']
    for count in range(1, len(writers) + 1):
        sequences.missing_before(writers[count - 1], 5)
        for writer in writers[max(0, count - 3):count]:
            assert sequences.missing_before(writer, 5) < 0


@given(st.lists(st.tuples(st.sampled_from([b'a', b'b', b'c']),
                          st.integers(0, 20))))
def test_same_result_as_with_unlimited_memory(
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


def test_heartbeats() -> None:
    """They carry the number of the previous message."""
    sequences = Sequences()
    assert [sequences.missing_before(b'a', number, numbered)
            for number, numbered in [(0, False), (0, False), (1, True),
                                     (1, False), (4, False), (5, True),
                                     (9, True), (9, False)]] == [
        0, 0, 0, 0, 3, 0, 3, 0]
    # A number before the last one seen is a copy.
    assert sequences.missing_before(b'a', 8, False) < 0
    # The first entry seen of a writer may be a heartbeat.
    assert sequences.missing_before(b'b', 7, False) == 0
    assert sequences.missing_before(b'b', 8) == 0


def test_newer_writer_is_seen_from_its_first_entry() -> None:
    sequences = Sequences()
    # It is not yet known where the reader began.
    assert sequences.missing_before(b'x', 5, since=(9, 9)) == 0
    sequences.begin((5, 3))
    assert sequences.missing_before(b'a', 5, since=(5, 2)) == 0
    assert sequences.missing_before(b'b', 5, since=(5, 3)) == 4
    assert sequences.missing_before(b'c', 5, since=(6, 0)) == 4
    assert sequences.missing_before(b'd', 1, since=(6, 0)) == 0
    assert sequences.missing_before(b'e', 5, False, since=(6, 0)) == 5
    assert sequences.missing_before(b'f', 5) == 0
    # Only the first time.
    assert sequences.missing_before(b'b', 6, since=(5, 3)) == 0


def test_writer_of_another_stream_has_no_gaps() -> None:
    """The reader found none; an earlier one was deleted, or was lost when
    Redis was restarted."""
    sequences = Sequences()
    sequences.begin((0, 0), 1000)
    assert sequences.missing_before(b'a', 5, since=(999, 9)) == 0
    assert sequences.missing_before(b'b', 5, since=(1000, 0)) == 4
    # The beginning of that stream is unknown.
    assert sequences.missing_before(b'c', 5, since=(0, 0)) == 0


def test_writer_that_may_have_been_forgotten_has_no_gaps() -> None:
    sequences = Sequences(remembered=3)
    sequences.begin((1, 0))
    sequences.missing_before(b'quiet', 7, since=(2, 0), at=(2, 5))
    for number in range(10):
        sequences.missing_before(b'%d' % number, 1, since=(3, 0),
                                 at=(10, number))
    assert sequences.missing_since(b'quiet', 8) is None
    assert sequences.missing_before(b'quiet', 9, since=(2, 0),
                                    at=(11, 0)) == 0
    assert sequences.missing_before(b'young', 9, since=(11, 0),
                                    at=(12, 0)) == 8


def test_entries_of_this_process_before_it_closed() -> None:
    """Its clients received it when it was emitted, whatever its number."""
    sequences = Sequences(b'own')
    sequences.former = frozenset([b'former'])
    sequences.begin((5, 0))
    sequences.meet(b'former', (6, 0), (7, 0))
    for sequence in (3, 4, 9):
        assert sequences.missing_before(b'former', sequence) < 0
        assert sequences.missing_before(b'former', sequence, False) < 0
