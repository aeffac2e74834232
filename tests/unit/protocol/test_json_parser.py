"""Both parsers accept the same JSON and read the same values."""
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given, HealthCheck, settings, \
    strategies as st

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol import json_parser
from redis_streams_adapter.protocol.json_parser import check_depth, COUNTED, \
    load_event, load_json, MAX_DEPTH, OWN_DEPTH

from ..examples import examples

BOTH = pytest.mark.usefixtures('parser')

NOT_JSON = [
    b'', b'[', b'{', b'[]x', b'[] []', b'[NaN]', b'[Infinity]',
    b'[-Infinity]', b'[1e999]', b'[-1e999]', b'{"a":1e400}',
    b'[' + b'1' * 400 + b'.5]', b'[' + b'1' * 400 + b'e5]',
    b'[' + b'1' * 4301 + b']', b'[-' + b'1' * 5000 + b']', b'[01]', b'[1.]',
    b'[.5]', b'[-]', b'[+1]', b'[1e]', b'[0x1]', b'["\\x"]', b'["\\u12"]',
    b'["\\uZZZZ"]', b'["\x01"]', b'["\t"]', b'["\xff"]', b'{"\xff":1}',
    b'["\xed\xa0\x80"]', b'["\xc0\x80"]', b'[1,]', b'[,1]', b'[1 2]',
    b'{"a":1,}', b'{"a" 1}', b'{a:1}', b"{'a':1}", b'{1:2}', b'["a":1]',
    b'[tru]', b'[nul]', b'[truex]', b'[True]', b'[undefined]', b'["abc',
    b'["\\"]', b'\xef\xbb\xbf[1]', b' [1]', b'[1\xc2\xa0]', b'[1\x00]',
    b'[1]\x00', b'[1\x0b]', b'[/**/1]', b'[\xe2\x80\xa8]', b'[1}', b'{]',
    b'[' * 100_000, b'[' * 100_000 + b']' * 100_000]

VALUES = [
    (b'[1, 2 ,\t3\r\n]', [1, 2, 3]), (b'[]\n ', []), (b'{ }', {}),
    (b'[1]\xc2\xa0', [1]),  # more than JSON's own white space at the end
    (b'{"a":1,"a":2}', {'a': 2}), (b'{"\\u0061":1}', {'a': 1}),
    (b'["\\ud800"]', ['\ud800']), (b'["\\udc00x"]', ['\udc00x']),
    (b'["\\ud83d\\ude00"]', ['\U0001f600']), (b'["\x7f\\u0000"]', ['\x7f\0']),
    (b'["\xe2\x98\x83\\/"]', ['\u2603/']), (b'[-0]', [0]),
    (b'[1e5,1E+2,1.5e-3]', [1e5, 1e2, 1.5e-3]), (b'[1e-400]', [0.0]),
    (b'[9007199254740993]', [2**53 + 1]), (b'[18446744073709551616]', [2**64]),
    (b'[-9223372036854775809]', [-2**63 - 1]),
    (b'[' + b'9' * 4300 + b']', [10**4300 - 1]),
    (b'[1.7976931348623157e308]', [sys.float_info.max]),
    (b'[0.' + b'1' * 5000 + b']', [1 / 9]), (b'[true,false,null]', [
        True, False, None])]


@BOTH
@pytest.mark.parametrize('raw', NOT_JSON, ids=lambda raw: repr(raw[:20]))
def test_not_json(raw: bytes) -> None:
    for load in (load_json, load_event):
        with pytest.raises(DecodeError):
            load(raw)


@BOTH
@pytest.mark.parametrize('raw, value', VALUES, ids=lambda raw: repr(raw)[:20])
def test_json(raw: bytes, value: Any) -> None:
    data = load_json(raw)
    assert data == value
    assert [*map(type, data)] == [*map(type, value)]


@BOTH
@pytest.mark.parametrize('filler', [b'', b'x' * COUNTED])
@pytest.mark.parametrize('mapping', [False, True])
def test_depth(filler: bytes, mapping: bool) -> None:
    """In short text and in long text."""
    before, after = (b'{"a":', b'}') if mapping else (b'[', b']')
    for levels, good in ((MAX_DEPTH + OWN_DEPTH, True),
                         (MAX_DEPTH + OWN_DEPTH + 1, False), (900, False)):
        raw = before * levels + b'"%b"' % filler + after * levels
        if good:
            load_json(raw)
        else:
            with pytest.raises(DecodeError, match='deep'):
                load_json(raw)


@BOTH
def test_depth_of_event() -> None:
    """As deep as in the whole message."""
    for levels in (MAX_DEPTH, MAX_DEPTH + 1):
        raw = b'["e",' + b'[' * levels + b']' * levels + b']'
        if levels == MAX_DEPTH:
            load_event(raw)
        else:
            with pytest.raises(DecodeError, match='deep'):
                load_event(raw)


@BOTH
@pytest.mark.parametrize('filler', [b'', b'x' * COUNTED])
def test_many_brackets_without_depth(filler: bytes) -> None:
    raw = b'["%b",%b{}]' % (filler, b'[],{"a":[[1]]},' * MAX_DEPTH)
    assert len(load_json(raw)) == 2 * MAX_DEPTH + 2
    # In text they have no meaning.
    raw = b'["%b","%b"]' % (filler, b'[{' * MAX_DEPTH)
    assert len(load_json(raw)) == 2


@pytest.mark.parametrize('data, depth', [
    ([], 1), ({}, 1), ([1, 'a', None], 1), ([[]], 2), ({'a': {}}, 2),
    ([{'a': [1]}, 5, []], 3), ({'a': 1, 'b': [{}], 'c': []}, 3)])
def test_levels_are_counted(data: Any, depth: int) -> None:
    check_depth(data, depth)
    with pytest.raises(DecodeError, match='deep'):
        check_depth(data, depth - 1)


# -- events ------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize('raw, args, is_text', [
    (b'["a"]', ('a',), True), (b'["a",1,{"b":[]}]', ('a', 1, {'b': []}), True),
    (b'[5]', (5,), True), (b'[ "a" , 1]', ('a', 1), True),
    (b'["a" ]', ('a',), False), (b'["a"\n]', ('a',), False),
    (b'["a"] ', ('a',), False), (b'["\xe2\x98\x83"]', ('\u2603',), True)])
def test_event(raw: bytes, args: Any, is_text: bool) -> None:
    """An offset can be inserted before the last bracket of the text."""
    assert load_event(raw) == (args, raw.decode() if is_text else None)


@BOTH
@pytest.mark.parametrize('raw', [
    b'[]', b'{}', b'{"a":1}', b'[null]', b'[1.5]', b'[[]]', b'[{}]'])
def test_event_without_name(raw: bytes) -> None:
    with pytest.raises(DecodeError, match='name'):
        load_event(raw)


# -- the choice --------------------------------------------------------------

def test_parser_of_standard_library_is_used_without_msgspec() -> None:
    code = ("import sys; sys.modules['msgspec'] = None\n"
            'from redis_streams_adapter.protocol import json_parser\n'
            'assert json_parser._fast is None\n'
            "assert json_parser.load_json(b'[1]') == [1]")
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


# -- any text ----------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) \
    | st.integers(-10**40, 10**40) \
    | st.floats(allow_nan=False, allow_infinity=False)

JSON = st.recursive(
    SCALARS, lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=10)

#: Pieces of JSON, and of what is not JSON.
PIECES = st.lists(st.sampled_from([
    '[', ']', '{', '}', ',', ':', '"', '"a"', '"a":', '1', '-', '0', '.5',
    'e5', 'E999', '1e999', 'true', 'null', 'NaN', 'Infinity', ' ', '\n', '\t',
    '\\', '\\u', '\\ud800', 'd800', '\\n', '\x00', '\x7f', '\xe9', '\u2603',
    '\ud800', '\ufeff', '9' * 20, '9' * 400, '9' * 4301]), max_size=12).map(
        lambda pieces: ''.join(pieces).encode('utf-8', 'surrogatepass'))


@st.composite
def damaged(draw: Any) -> bytes:
    """JSON of which some bytes may be others."""
    raw = bytearray(json.dumps(
        draw(JSON), ensure_ascii=draw(st.booleans()), separators=draw(
            st.sampled_from([(',', ':'), (', ', ': '), (' ,\n', '\t:')]))
    ).encode('utf-8', 'surrogatepass'))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw) - 1))
        raw[place:place + draw(st.integers(0, 2))] = draw(PIECES)
        if not raw:
            break
    return bytes(raw)


def outcome(load: Any, raw: bytes) -> Any:
    try:
        # Types count, too, and so does the sign of zero.
        return repr(load(raw))
    except DecodeError as exc:
        return DecodeError, str(exc)


@pytest.mark.skipif(json_parser._fast is None, reason='without msgspec')
@settings(max_examples=examples(200), deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged() | PIECES | PIECES.map(lambda raw: b'[%b]' % raw)
       | PIECES.map(lambda raw: b'["%b"]' % raw))
@example(b'{"a":"\\ud800\\udc00"}')
@example(b'[-0.0,-0,0.0]')
def test_both_parsers_read_the_same(monkeypatch: pytest.MonkeyPatch,
                                    raw: bytes) -> None:
    for load in (load_json, load_event):
        fast = outcome(load, raw)
        with monkeypatch.context() as patch:
            patch.setattr(json_parser, '_fast', None)
            assert fast == outcome(load, raw)


@pytest.mark.skipif(json_parser._fast is None, reason='without msgspec')
@given(st.floats(allow_nan=False, allow_infinity=False),
       st.integers(0, 25), st.booleans())
def test_both_parsers_round_alike(number: float, digits: int,
                                  scientific: bool) -> None:
    text = f'{number:.{digits}{"e" if scientific else "f"}}'
    if math.isfinite(float(text)):
        assert load_json(f'[{text}]'.encode()) == [float(text)]
