"""Values as bytes and back: total in both directions."""
import base64
import json
import math
from typing import Any, Callable, Dict

import msgpack
import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.json_parser import load_json, MAX_DEPTH
from redis_streams_adapter.protocol.values import check_finite, LAST_DATE, \
    load_base64, load_msgpack, Serialiser, \
    without_nonfinite

PLAIN = Serialiser(json, False)

#: Values that JSON can express; with whole numbers that msgpack can, too.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.text(), children, max_size=4), max_leaves=20)


#: What an application may pass: most of it can be sent.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.binary() | st.binary().map(bytearray) | st.just(1j),
    lambda children: st.lists(children, max_size=4)
    | st.lists(children, max_size=4).map(tuple)
    | st.dictionaries(
        st.text() | st.integers() | st.floats() | st.none() | st.booleans()
        | st.binary(), children, max_size=4), max_leaves=20)


def nested(depth: int, leaf: Any = None, mapping: bool = False) -> Any:
    value = leaf
    for _ in range(depth):
        value = {'a': value} if mapping else [value]
    return value


# -- round trips -------------------------------------------------------------

@given(VALUES)
def test_json_values(value: Any) -> None:
    data = {'value': value}
    raw = PLAIN.dump(data)
    assert load_json(raw) == data
    assert json.loads(raw) == data
    assert load_msgpack(PLAIN.pack(data)) == data


@given(VALUES, st.binary())
def test_with_bytes(value: Any, binary: bytes) -> None:
    data = {'value': value, 'bytes': binary}
    assert load_base64(PLAIN.dump(data)) == data
    assert load_msgpack(PLAIN.pack(data)) == data


def outcome(serialiser: Serialiser, *arguments: Any) -> Any:
    """What is written, or why nothing is."""
    try:
        return serialiser.dump(*arguments)
    except (TypeError, ValueError) as exc:
        return type(exc), str(exc)


class OtherModule:
    """Not the json module itself: each value is looked at."""

    dumps = staticmethod(lambda *args, **kwargs: json.dumps(*args, **kwargs))


@given(ANYTHING, st.booleans(), st.booleans())
def test_encoder_in_c_writes_what_a_look_at_each_value_does(
        value: Any, for_clients: bool, only_plaintext: bool) -> None:
    fast, slow = (outcome(Serialiser(module, only_plaintext),
                          {'a': value}, for_clients)
                  for module in (json, OtherModule()))
    assert fast == slow


@pytest.mark.parametrize('depth', [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1,
                                   MAX_DEPTH + 2, MAX_DEPTH + 3, 5000, 200000])
@pytest.mark.parametrize('mapping', [False, True])
@pytest.mark.parametrize('leaf', [None, b'x', math.nan, 1j])
def test_depth_that_is_allowed_does_not_depend_on_the_way(
        depth: int, mapping: bool, leaf: Any) -> None:
    data = {'a': nested(depth, leaf, mapping)}
    fast, slow = (outcome(Serialiser(module, False), data)
                  for module in (json, OtherModule()))
    assert fast == slow
    if depth > MAX_DEPTH + 2:
        assert fast[0] is ValueError


def test_value_that_contains_itself_is_nested_too_deeply() -> None:
    value: Any = []
    value += [value, value]
    assert outcome(PLAIN, {'a': value})[0] is ValueError


class Row(Dict[str, Any]):
    """Notes how often it is written."""

    written = 0

    def items(self) -> Any:
        self.written += 1
        return super().items()


def test_value_that_contains_itself_is_written_once() -> None:
    """A large one would take all memory, or time."""
    row = Row(b=1)
    value: Any = [row]
    value.append(value)
    assert outcome(PLAIN, {'a': value})[0] is ValueError
    assert row.written == 1


def test_many_shallow_lists_are_not_deep() -> None:
    data = {'a': [[]] * (2 * MAX_DEPTH)}
    assert load_json(PLAIN.dump(data)) == data


def test_many_lists_are_written_once() -> None:
    """It is most of the work for a large message."""
    rows = [Row(b=[]) for _ in range(MAX_DEPTH)]
    PLAIN.dump({'a': rows})
    assert {row.written for row in rows} == {1}


def test_without_blanks() -> None:
    assert PLAIN.dump({'a': [1, 2]}) == b'{"a":[1,2]}'


@pytest.mark.parametrize('number', [math.inf, -math.inf, math.nan])
def test_infinity_and_nan(number: float) -> None:
    """Servers exchange them in msgpack; clients must not get them."""
    data: Dict[str, Any] = {'a': [{'b': number}]}
    assert repr(load_base64(PLAIN.dump(data))) == repr(data)
    for call in (PLAIN.dump, PLAIN.pack):
        with pytest.raises(ValueError, match='not JSON'):
            call(data, for_clients=True)
    with pytest.raises(ValueError, match='not JSON'):
        check_finite(data)
    assert without_nonfinite(data) == {'a': [{'b': None}]}


def test_finite_values_pass() -> None:
    data = {'a': [1.5, {'b': (2, 'x', None, b'y')}]}
    check_finite(data)
    assert without_nonfinite({'a': [1.5]}) == {'a': [1.5]}
    PLAIN.dump(data, for_clients=True)


# -- from bytes --------------------------------------------------------------

@given(st.binary())
@pytest.mark.parametrize('load', [load_json, load_base64, load_msgpack])
def test_any_bytes(load: Callable[[bytes], Any], raw: bytes) -> None:
    """A value or a DecodeError, nothing else."""
    try:
        load(raw)
    except DecodeError:
        pass


@pytest.mark.parametrize('raw', [
    b'', b'{', b'{}x', b'{} {}', b'\xff', b'NaN', b'[Infinity]',
    b'-Infinity', b'1e999', b'[-1e999]', b"{'a': 1}", b'undefined',
    b'[' * 100_000])
def test_not_json(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        load_json(raw)


def test_blanks_after_json() -> None:
    assert load_json(b'{"a": 1} \n') == {'a': 1}


@pytest.mark.parametrize('mapping', [False, True])
def test_maximum_depth(mapping: bool) -> None:
    """Three levels belong to the message itself."""
    deepest = nested(MAX_DEPTH + 3, mapping=mapping)
    too_deep = nested(MAX_DEPTH + 4, mapping=mapping)
    assert load_json(json.dumps(deepest).encode()) == deepest
    assert load_msgpack(msgpack.packb(deepest)) == deepest
    with pytest.raises(DecodeError, match='deep'):
        load_json(json.dumps(too_deep).encode())
    with pytest.raises(DecodeError, match='deep'):
        load_msgpack(msgpack.packb(too_deep))
    PLAIN.dump({'value': nested(MAX_DEPTH + 2, mapping=mapping)})
    with pytest.raises(ValueError, match='deep'):
        PLAIN.dump({'value': nested(MAX_DEPTH + 3, mapping=mapping)})


@pytest.mark.parametrize('seconds, nanoseconds, text', [
    (0, 0, '1970-01-01T00:00:00.000Z'),
    (1_700_000_000, 123_999_999, '2023-11-14T22:13:20.123Z'),
    (-1, 0, '1969-12-31T23:59:59.000Z'),
    (253_402_300_800, 0, '+010000-01-01T00:00:00.000Z'),
    (-62_198_755_200, 0, '-000001-01-01T00:00:00.000Z'),
    (LAST_DATE, 0, '+275760-09-13T00:00:00.000Z'),
    (-LAST_DATE, 0, '-271821-04-20T00:00:00.000Z')])
def test_dates_of_node(seconds: int, nanoseconds: int, text: str) -> None:
    """As ``JSON.stringify`` writes them."""
    stamp = msgpack.Timestamp(seconds, nanoseconds)
    assert load_msgpack(msgpack.packb([stamp])) == [text]


def test_values_that_node_cannot_send() -> None:
    for value in (msgpack.Timestamp(LAST_DATE + 1),
                  msgpack.ExtType(5, b'x')):
        with pytest.raises(DecodeError):
            load_msgpack(msgpack.packb([value]))


def test_keys_become_text() -> None:
    """As in JSON, in which all keys are strings."""
    data = {7: 'a', None: 'b', True: 'c', 'd': 'd', 2.5: 'e'}
    assert load_msgpack(msgpack.packb(data)) == json.loads(json.dumps(data))
    assert load_base64(PLAIN.dump({'x': data, 'y': b''}))['x'] \
        == json.loads(json.dumps(data))
    with pytest.raises(DecodeError):
        load_msgpack(msgpack.packb({b'x': 1}))
    with pytest.raises(TypeError, match='keys'):
        PLAIN.dump({'x': {(1, 2): 1}, 'y': b''})


# -- to bytes ----------------------------------------------------------------

def test_only_plaintext() -> None:
    serialiser = Serialiser(json, True)
    assert serialiser.dump({'a': [1, 'x', None]}) == b'{"a":[1,"x",null]}'
    for value in (b'x', bytearray(b'x'), math.nan):
        with pytest.raises(TypeError, match='only_plaintext'):
            serialiser.dump({'a': [value]})


@pytest.mark.parametrize('value', [object(), {1, 2}, 1j])
def test_unserialisable_values(value: Any) -> None:
    for data in ({'a': value}, {'a': value, 'b': b''}):
        with pytest.raises(TypeError):
            PLAIN.dump(data)


def test_values_that_msgpack_cannot_carry() -> None:
    for value in (2**64, -2**63 - 1):
        assert load_json(PLAIN.dump({'a': value})) == {'a': value}
        with pytest.raises(ValueError, match='64 bits'):
            PLAIN.dump({'a': value, 'b': b''})
    with pytest.raises(TypeError, match='extension'):
        PLAIN.dump({'a': msgpack.ExtType(5, b'x'), 'b': b''})


class Module:
    """An application's JSON module: it serialises complex numbers, and writes
    the given text."""

    def __init__(self, text: str = '') -> None:
        self.text = text

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return self.text or json.dumps(
            obj, default=lambda value: [value.real, value.imag], **kwargs)


def test_json_module_of_the_application() -> None:
    serialiser = Serialiser(Module(), False)
    assert serialiser.dump({'a': 1 + 2j}) == b'{"a":[1.0,2.0]}'
    assert load_base64(serialiser.dump({'a': 1 + 2j, 'b': b''})) == {
        'a': [1.0, 2.0], 'b': b''}


@pytest.mark.parametrize('text', ['{"a":NaN}', '[-Infinity]', '1e999',
                                  '[1' + '0' * 400 + '.5]'])
def test_json_module_that_writes_invalid_json(text: str) -> None:
    with pytest.raises(ValueError, match='not JSON'):
        Serialiser(Module(text), False).dump({})


@pytest.mark.parametrize('text', ['"NaN"', '["1e999"]', '[1e100]'])
def test_json_module_with_unusual_valid_text(text: str) -> None:
    assert Serialiser(Module(text), False).dump({}) == text.encode()


def test_base64_is_standard() -> None:
    raw = PLAIN.dump({'a': b'\xff' * 3})
    assert base64.b64decode(raw, validate=True)
    with pytest.raises(DecodeError):
        load_base64(b'not base64!')
