"""What stands in a message, as bytes and back: JSON and msgpack. Pure, and
total in both directions.

What nodes exchange is what JSON can say, and bytes; only with bytes in it (or
infinity, or NaN) it is msgpack. What Node.js writes as an extension of
msgpack, a date, becomes what JSON would make of it.
"""
import base64
import binascii
import json as standard_json
import math
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Dict, Protocol

import msgpack

from .errors import DecodeError

#: How deeply lists and mappings may be nested. The packet classes of
#: python-socketio walk data recursively with three Python frames a level,
#: and the interpreter's limit is 1000 frames: deeper data would be accepted
#: here and then fail on its way to a client, on somebody else's node.
MAX_DEPTH = 100

#: How many levels of every message are ours rather than the application's:
#: the data, the packet, its list.
_OWN_DEPTH = 3

#: Half the cost of json.loads, which looks for white space on both sides.
_from_json = standard_json.JSONDecoder().raw_decode
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: The range of JavaScript's dates, in seconds from 1970 (ECMA-262, "Time
#: Values and Time Range"), and the length of 400 years.
LAST_DATE = 8_640_000_000_000
_CYCLE = 146_097 * 86_400


class JSONModule(Protocol):
    """What an application may give as ``json``, as in python-socketio."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """As :func:`json.dumps`."""


# -- from bytes -----------------------------------------------------------

def load_json(raw: bytes) -> Any:
    """JSON.

    :raises DecodeError: it is none.
    """
    try:
        text = raw.decode()
        data, end = _from_json(text)
    except (ValueError, RecursionError) as exc:
        raise DecodeError('field data is not JSON') from exc
    if end != len(text) and not text[end:].isspace():
        raise DecodeError('field data is not JSON')
    # Counting is quick, and no text without so many brackets can be deep.
    if raw.count(b'[') + raw.count(b'{') > MAX_DEPTH:
        _check_depth(data, MAX_DEPTH + _OWN_DEPTH)
    return data


def _check_depth(value: Any, depth: int) -> None:
    if isinstance(value, dict):
        children: Any = value.values()
    elif isinstance(value, list):
        children = value
    else:
        return
    if not depth:
        raise DecodeError('field data is nested too deeply')
    for child in children:
        _check_depth(child, depth - 1)


def load_base64(raw: bytes) -> Any:
    """Msgpack in base64, as values that can be sent to a client.

    :raises DecodeError: it is none.
    """
    try:
        packed = base64.b64decode(raw, validate=True)
    except binascii.Error as exc:
        raise DecodeError('field data is neither JSON nor base64') from exc
    return load_msgpack(packed)


def load_msgpack(packed: bytes) -> Any:
    """Msgpack, as values that can be sent to a client.

    :raises DecodeError: it is none.
    """
    try:
        data = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError,
            msgpack.UnpackException) as exc:
        raise DecodeError('field data is not msgpack') from exc
    return _plain(data, MAX_DEPTH + _OWN_DEPTH)


def _plain(value: Any, depth: int) -> Any:
    """Make of a msgpack value what can be sent to a client."""
    if isinstance(value, (list, dict)) and not depth:
        raise DecodeError('field data is nested too deeply')
    if isinstance(value, list):
        return [_plain(child, depth - 1) for child in value]
    if isinstance(value, dict):
        try:
            return {_text_of_key(key): _plain(child, depth - 1)
                    for key, child in value.items()}
        except TypeError as exc:
            raise DecodeError('field data holds a mapping whose key is no '
                              'text') from exc
    if isinstance(value, msgpack.Timestamp):
        return _iso8601(value)
    if isinstance(value, msgpack.ExtType):
        raise DecodeError('field data holds an unknown msgpack extension')
    return value


def _iso8601(stamp: Any) -> str:
    """A ``Date`` of JavaScript, as ``JSON.stringify`` would have it."""
    if abs(stamp.seconds) > LAST_DATE:
        raise DecodeError('field data holds a date out of range')
    # Python's years end at 9999 and JavaScript's at 275760; the calendar
    # repeats itself every 400 years.
    cycles, seconds = divmod(stamp.seconds, _CYCLE)
    moment = _EPOCH + timedelta(
        seconds=seconds, milliseconds=stamp.nanoseconds // 10**6)
    year = moment.year + 400 * cycles
    text = f'{year:04}' if 0 <= year <= 9999 else f'{year:+07}'
    rest = moment.isoformat(timespec='milliseconds')[4:]
    return text + rest.replace('+00:00', 'Z')


# -- to bytes -------------------------------------------------------------

class Serialiser:
    """Makes bytes of what an application sends.

    :param json: the application's JSON module: what it can serialise, we
                 can.
    :param only_plaintext: refuse what JSON cannot carry.
    """

    def __init__(self, json: JSONModule, only_plaintext: bool) -> None:
        self._only_plaintext = only_plaintext
        dumps = json.dumps
        if dumps is standard_json.dumps:
            # The same, without making an encoder for each message.
            self._dumps = standard_json.JSONEncoder(
                separators=(',', ':')).encode
        else:
            self._dumps = partial(dumps, separators=(',', ':'))

    def dump(self, data: Dict[str, Any]) -> bytes:
        """JSON, or msgpack in base64 where JSON will not do.

        :raises TypeError: something in it cannot be serialised.
        :raises ValueError: something in it is nested too deeply.
        """
        if self._wants_msgpack(data):
            return base64.b64encode(self._pack(data))
        return self._dumps(data).encode()

    def pack(self, data: Dict[str, Any]) -> bytes:
        """Msgpack.

        :raises TypeError, ValueError: as :meth:`dump`.
        """
        self._wants_msgpack(data)
        return self._pack(data)

    def _wants_msgpack(self, data: Dict[str, Any]) -> bool:
        wanted = _wants_msgpack(data, MAX_DEPTH + _OWN_DEPTH)
        if wanted and self._only_plaintext:
            raise TypeError('with only_plaintext, data must hold no bytes, '
                            'NaN or infinity')
        return wanted

    def _pack(self, data: Dict[str, Any]) -> bytes:
        try:
            packed: bytes = msgpack.packb(
                _packable(data), default=self._as_json)
        except OverflowError as exc:
            raise ValueError('a whole number next to bytes must have '
                             'at most 64 bits') from exc
        return packed

    def _as_json(self, value: Any) -> Any:
        # An application's JSON module may know types that msgpack does not.
        return standard_json.loads(self._dumps(value))


def _wants_msgpack(value: Any, depth: int) -> bool:
    """Whether only msgpack can carry this: bytes, infinity and NaN.

    :raises ValueError: it is nested too deeply.
    """
    if isinstance(value, (str, int)) or value is None:
        return False
    if isinstance(value, dict):
        children: Any = value.values()
    elif isinstance(value, (list, tuple)):
        children = value
    elif isinstance(value, float):
        return not math.isfinite(value)
    else:
        return isinstance(value, (bytes, bytearray))
    if not depth:
        raise ValueError(f'data is nested more than {MAX_DEPTH} levels deep')
    wanted = False
    for child in children:
        # Not any(): the depth of every child counts.
        if _wants_msgpack(child, depth - 1):
            wanted = True
    return wanted


def _packable(value: Any) -> Any:
    """With the keys that JSON would make, and without what msgpack alone
    knows: no node could decode it.

    :raises TypeError: a key is none that JSON could make text of.
    """
    if isinstance(value, msgpack.ExtType):
        raise TypeError('a msgpack extension cannot be sent')
    if isinstance(value, (list, tuple)):
        return [_packable(child) for child in value]
    if isinstance(value, dict):
        return {_text_of_key(key): _packable(child)
                for key, child in value.items()}
    return value


def _text_of_key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, int, float)):
        return standard_json.dumps(key)
    raise TypeError(f'keys must be text or numbers, not '
                    f'{type(key).__name__}')
