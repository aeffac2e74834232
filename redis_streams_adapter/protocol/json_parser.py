"""Reads JSON: exactly, with a limit for its depth, and with the fastest parser
that is installed. Pure.

That is ``msgspec`` (the extra ``speed``), or the parser in C of the standard
library. ``msgspec`` reads events with many values in less than half of the
time (10 KB of records in 40 instead of 85 microseconds), and texts as fast.
``orjson`` would read as fast, but it refuses whole numbers of more than 64
bits, and a number in an event would arrive on one server and not on another.
It is optional, because it needs a compiler if there is no wheel, and little
depends on it: an event is passed on as the text that came.

Both accept the same and read the same values, which
``tests/unit/protocol/test_json_parser.py`` checks. What ``msgspec`` refuses
is given to the other one, which decides: of what is JSON, that is text with
half of a surrogate pair.

Neither accepts what is not JSON: infinity, NaN, and a number that no double
can hold, such as ``1e999``. Whole numbers have up to 4300 digits, Python's own
limit (:func:`sys.get_int_max_str_digits`).
"""
import json
import math
from typing import Any, Callable, List, Optional, Tuple, Type

from ..errors import DecodeError

try:
    import msgspec
except ImportError:
    _fast: Optional[Callable[[bytes], Any]] = None
    _refusals: Tuple[Type[Exception], ...] = ValueError, RecursionError
else:
    _fast = msgspec.json.Decoder().decode
    _refusals = msgspec.MsgspecError, ValueError, RecursionError

#: How deeply lists and mappings may be nested. The packet classes of
#: python-socketio walk data recursively with three Python frames a level, and
#: the interpreter's limit is 1000 frames. Deeper data would be accepted here,
#: and then fail on another node, on its way to a client.
MAX_DEPTH = 100

#: How many levels of every message this package adds to the application's
#: data: the message, the packet, its list.
OWN_DEPTH = 3

#: In text of up to this many characters brackets are counted, which takes a
#: microsecond. In longer text they are searched for, which takes less time if
#: they are few: 3 instead of 45 microseconds for 100 KB.
COUNTED = 2000


def _refuse_constant(name: str) -> Any:
    raise ValueError(f'{name} is not JSON')


def finite(text: str) -> float:
    """Read a number.

    :raises ValueError: no double can hold it.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'{text:.20} is out of range')
    return number


#: Cheaper than ``json.loads``, which looks for white space on both sides.
_decoder: Any = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=finite)
_scan: Callable[[str, int], Tuple[Any, int]] = _decoder.scan_once


def parse_text(text: str) -> Any:
    """Read JSON, at any depth, with the parser of the standard library.

    :raises ValueError, RecursionError: it is not JSON.
    """
    try:
        data, end = _scan(text, 0)
    except StopIteration as exc:
        raise ValueError('not JSON') from exc
    if end != len(text) and not text[end:].isspace():
        raise ValueError('more than JSON')
    return data


def _parse(raw: bytes, depth: int) -> Any:
    try:
        # Unlike the other one, msgspec ignores white space at the beginning.
        data = parse_text(raw.decode()) \
            if _fast is None or not raw.startswith((b'{', b'[')) \
            else _fast(raw)
    except _refusals:
        try:
            data = parse_text(raw.decode())
        except (ValueError, RecursionError) as exc:
            raise DecodeError('field data is not JSON') from exc
    if (raw.count(b'[') + raw.count(b'{') > MAX_DEPTH
            if len(raw) <= COUNTED else _may_be_deep(raw)):
        check_depth(data, depth)
    return data


def _may_be_deep(raw: bytes) -> bool:
    """Whether long JSON has so many brackets that it may be nested too
    deeply."""
    left, place = MAX_DEPTH, -1
    for bracket in (b'[', b'{'):
        while (place := raw.find(bracket, place + 1)) >= 0:
            left -= 1
            if left < 0:
                return True
    return False


def check_depth(data: Any, depth: int) -> None:
    """Check how deeply lists and mappings are nested.

    :param data: one of them.
    :param depth: how many levels they may have.
    :raises DecodeError: they have more.
    """
    level: List[Any] = [data]
    for _ in range(depth):
        level = [
            child for each in level
            for child in (each.values() if type(each) is dict else each)
            if type(child) is list or type(child) is dict]
        if not level:
            return
    raise DecodeError('field data is nested too deeply')


def load_json(raw: bytes) -> Any:
    """Read JSON.

    :raises DecodeError: it is not JSON, or is nested too deeply.
    """
    return _parse(raw, MAX_DEPTH + OWN_DEPTH)


def load_event(raw: bytes) -> Tuple[Tuple[Any, ...], Optional[str]]:
    """Read an event: its name and its arguments, as one array.

    :return: these, and the array as text that every client can parse;
             ``None``: it has white space before the last bracket, where an
             offset is inserted.
    :raises DecodeError: it is not an array that starts with a name, or is
                         nested too deeply.
    """
    # The message and the packet around it are not there.
    data = _parse(raw, MAX_DEPTH + OWN_DEPTH - 2)
    args = tuple(data) if type(data) is list and data \
        and type(data[0]) is str else check_event(data, 'packet.data')
    return args, None if raw[-2:-1].isspace() or raw[-1:] != b']' \
        else raw.decode()


def check_event(value: Any, what: str) -> Tuple[Any, ...]:
    """An event's name and its arguments.

    :param what: what should hold them, for the error.
    :raises DecodeError: it does not.
    """
    if not isinstance(value, list) or not value \
            or not isinstance(value[0], (str, int)):
        raise DecodeError(f'{what} is missing or does not start with a name')
    return tuple(value)
