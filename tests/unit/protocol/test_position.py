"""The id of an entry as a value."""
import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.position import HIGHEST, Position, START

NUMBERS = st.integers(0, HIGHEST)
POSITIONS = st.builds(Position, NUMBERS, NUMBERS)


@given(POSITIONS)
def test_round_trip(position: Position) -> None:
    assert Position.parse(bytes(position)) == position
    assert Position.parse(str(position).encode()) == position
    assert f'{position}' == '%s' % (position,) == str(position)


def test_positions_are_ordered_as_numbers() -> None:
    ordered = [START, Position(0, 1), Position(9, 10), Position(9, 11),
               Position(10), Position(10, 2), Position(100)]
    assert sorted(reversed(ordered)) == ordered
    assert len({*ordered, Position.parse(b'9-10')}) == len(ordered)


def test_other_forms_of_the_same_position() -> None:
    assert Position.parse(b'0009-01') == Position(9, 1)


@given(POSITIONS)
def test_no_position_between_two_neighbours(position: Position) -> None:
    before = position.before()
    if position == START:
        assert before == START
    elif position.number:
        assert before == Position(position.milliseconds, position.number - 1)
    else:
        assert before == Position(position.milliseconds - 1, HIGHEST)


@pytest.mark.parametrize('text', [
    b'', b'-', b'5', b'5-', b'-5', b'5-0-1', b'+5-0', b' 5-0', b'5-0\n',
    b'5_0-0', b'5.0-0', b'-5-0', b'$', b'\xd9\xa5-0',
    b'18446744073709551616-0', b'0-18446744073709551616',
    b'0' * 40 + b'-0', b'9' * 10_000 + b'-0'])
def test_invalid_ids(text: bytes) -> None:
    with pytest.raises(DecodeError, match='^not an entry id$'):
        Position.parse(text)
