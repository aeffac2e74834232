"""Encoders in C are used again, and never by two calls at a time."""
import json
import math
import threading
from typing import Any, Dict, Iterable, List

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.json_encoder import FiniteEncoder, \
    LONG, quoted

from ..striking import strike, Striker
from .test_values import ANYTHING


def expected(value: Any) -> str:
    return json.dumps(value, separators=(',', ':'), allow_nan=False)


class Meddling(Dict[str, Any]):
    """Runs code of the application while it is being encoded."""

    def __init__(self, meddle: Any) -> None:
        super().__init__(a=1)
        self.meddle = meddle

    def items(self) -> Any:
        self.meddle()
        return super().items()


class WithoutC(FiniteEncoder):
    """As under an interpreter that has no encoder in C."""

    def __init__(self) -> None:
        super().__init__()
        self._make = None


@pytest.mark.parametrize('make', [FiniteEncoder, WithoutC])
@given(value=ANYTHING)
def test_it_writes_what_json_writes(make: Any, value: Any) -> None:
    encode = make()
    for _ in range(2):
        try:
            text = expected([value])
        except (TypeError, ValueError) as exc:
            with pytest.raises(type(exc)):
                encode([value])
        else:
            assert encode([value]) == text


@given(st.lists(ANYTHING, max_size=3), st.text() | st.text(
    st.characters(max_codepoint=127)))
def test_arguments_that_end_with_long_text(values: List[Any],
                                           text: str) -> None:
    encode, filling = FiniteEncoder(), 'x' * LONG
    for each in (text, filling + text, text + filling):
        arguments = (*values, each)
        try:
            found = expected(arguments)
        except (TypeError, ValueError):
            continue
        assert encode(arguments) == found


def test_no_arguments() -> None:
    assert FiniteEncoder()(()) == '[]'
    assert FiniteEncoder()(('x' * 2 * LONG,)) == expected(['x' * 2 * LONG])


def test_every_character_of_long_text() -> None:
    encode, filling = FiniteEncoder(), 'x' * LONG
    for code in (*range(300), 0x2028, 0xd800, 0xffff, 0x10ffff):
        arguments = ('name', filling + chr(code))
        assert encode(arguments) == expected(arguments)
        assert quoted(chr(code)) == expected(chr(code))


@pytest.mark.parametrize('bad', [math.nan, b'', object()])
def test_errors_leave_nothing(bad: Any) -> None:
    """An encoder that has failed takes these lists for parts of
    themselves."""
    encode = FiniteEncoder()
    inner: List[Any] = ['a']
    outer = {'inner': inner, 'bad': bad}
    for _ in range(3):
        with pytest.raises((TypeError, ValueError)):
            encode([[inner, [outer]]])
        outer['bad'] = 1
        assert encode([[inner, [outer]]]) == expected([[inner, [outer]]])
        outer['bad'] = bad


def test_what_contains_itself_is_refused() -> None:
    encode = FiniteEncoder()
    value: List[Any] = []
    value.append(value)
    for _ in range(2):
        with pytest.raises(ValueError, match='Circular'):
            encode(value)


def test_calls_inside_a_call() -> None:
    """They may encode what the outer call is encoding."""
    encode = FiniteEncoder()
    texts: List[str] = []
    shared = [1]
    plain = [shared, shared]
    value = [shared, Meddling(lambda: texts.append(encode(plain)))]
    for _ in range(3):
        assert encode([value]) == '[[[1],{"a":1}]]'
    assert texts == ['[[1],[1]]'] * 3


def test_threads_share_what_they_encode() -> None:
    encode = FiniteEncoder()
    value: Dict[str, Any] = {}
    value['a'] = [Meddling(lambda: event.wait(0.0001)), [1, 2]]
    event = threading.Event()
    texts: List[str] = []

    def run() -> None:
        for _ in range(50):
            texts.append(encode(value))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ['{"a":[{"a":1},[1,2]]}'] * 200
    assert len(encode._free) <= 4


def test_exceptions_that_strike() -> None:
    value = {'a': [Meddling(lambda: None)]}

    def try_it(striker: Striker) -> None:
        encode = FiniteEncoder()
        encode(value)
        striker.run(lambda: encode(value))
        for _ in range(2):
            assert encode(value) == '{"a":[{"a":1}]}'

    strike(try_it)


def test_encoders_are_used_again() -> None:
    encode = FiniteEncoder()
    made: List[Any] = []
    make: Any = encode._make

    def noting(*args: Any) -> Any:
        made.append(make(*args))
        return made[-1]

    encode._make = noting
    values: Iterable[Any] = ([1], {'a': [2]}, [math.inf], [3], [4])
    for value in values:
        try:
            encode(value)
        except ValueError:
            continue
    assert len(made) == 2
