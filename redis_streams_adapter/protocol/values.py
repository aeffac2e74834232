"""Turns values into bytes and back: JSON and msgpack. Pure, and total in both
directions.

Nodes exchange values that JSON can express, and bytes. A value that holds
bytes, infinity or NaN is written as msgpack, any other as JSON. Node.js writes
a date as an extension of msgpack; it is read as the text that JSON has for it.

*Infinity and NaN* are not JSON, although Python's ``json`` reads and writes
them. A browser that gets them in an event closes its connection with a parse
error. Therefore ``emit`` refuses them in an event for clients. Read from
msgpack in such an event, they become ``null``, as with JavaScript's
``JSON.stringify``. In JSON they are malformed, and so is a number that no
double can hold, such as ``1e999``. Servers exchange them in msgpack.
"""
import base64
import binascii
import json as standard_json
import math
import re
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Callable, Dict, Iterable, Optional, Protocol, \
    Sequence, Tuple

import msgpack

from ..errors import DecodeError
from .json_encoder import FiniteEncoder
from .json_parser import COUNTED, MAX_DEPTH, OWN_DEPTH, parse_text

#: The types of most values. JSON can carry them.
_COMMON = frozenset({str, int, bool, type(None)})

#: Text from an application's JSON module that may not be JSON: what Python's
#: ``json`` writes for infinity and NaN, and a number that may be beyond the
#: range of a double (1.8e308), with an exponent or with many digits.
_DOUBTFUL = re.compile(r'NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{309}')


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: The range of JavaScript's dates, in seconds from 1970 (ECMA-262, "Time
#: Values and Time Range"), and the length of 400 years.
LAST_DATE = 8_640_000_000_000
_CYCLE = 146_097 * 86_400


class JSONModule(Protocol):
    """What an application may pass as ``json``, as in python-socketio."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """As :func:`json.dumps`."""


# -- from bytes -----------------------------------------------------------

def load_base64(raw: bytes) -> Any:
    """Read msgpack in base64, as values that can be sent to a client.

    :raises DecodeError: it is not base64, or as :func:`load_msgpack`.
    """
    return plain(load_packed(raw), MAX_DEPTH + OWN_DEPTH)


def load_packed(raw: bytes) -> Any:
    """Read msgpack in base64, as it is.

    :raises DecodeError: it is not msgpack in base64.
    """
    try:
        packed = base64.b64decode(raw, validate=True)
    except binascii.Error as exc:
        raise DecodeError('field data is neither JSON nor base64') from exc
    return _unpack(packed)


def load_msgpack(packed: bytes) -> Any:
    """Read msgpack, as values that can be sent to a client.

    :raises DecodeError: it is not msgpack, is nested too deeply, or holds what
                         JSON cannot express.
    """
    return plain(_unpack(packed), MAX_DEPTH + OWN_DEPTH)


def _unpack(packed: bytes) -> Any:
    try:
        return msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError,
            msgpack.UnpackException) as exc:
        raise DecodeError('field data is not msgpack') from exc


def plain(value: Any, depth: int) -> Any:
    """Turn a msgpack value into one that can be sent to a client.

    :param depth: how deeply lists and mappings may be nested.
    :raises DecodeError: it is nested more deeply, or JSON cannot express it.
    """
    if isinstance(value, (list, dict)) and not depth:
        raise DecodeError('field data is nested too deeply')
    if isinstance(value, list):
        return [plain(child, depth - 1) for child in value]
    if isinstance(value, dict):
        return {key_text(key): plain(child, depth - 1)
                for key, child in value.items()}
    if isinstance(value, msgpack.Timestamp):
        return _iso8601(value)
    if isinstance(value, msgpack.ExtType):
        raise DecodeError('field data holds an unknown msgpack extension')
    return value


def key_text(key: Any) -> str:
    """The text that JSON has for a key of msgpack.

    :raises DecodeError: it has none.
    """
    try:
        return key if type(key) is str else _text_of_key(key)
    except TypeError as exc:
        raise DecodeError('field data holds a mapping with a key that '
                          'is not text') from exc


def check_finite(value: Any) -> None:
    """Check that a value for clients holds neither infinity nor NaN.

    :raises ValueError: it holds one of them.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(
                f'an event for clients must not contain {value}, which is '
                f'not JSON: send None or a string')
    elif isinstance(value, dict):
        for child in value.values():
            check_finite(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            check_finite(child)


def without_nonfinite(value: Any) -> Any:
    """Replace infinity and NaN by ``None``, as ``JSON.stringify`` does, in a
    value that was just read. Lists and mappings are changed in place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        for index, child in enumerate(value):
            value[index] = without_nonfinite(child)
    elif isinstance(value, dict):
        for key, child in value.items():
            value[key] = without_nonfinite(child)
    return value


def _iso8601(stamp: Any) -> str:
    """A ``Date`` of JavaScript, as ``JSON.stringify`` writes it."""
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
    """Turns the values that an application sends into bytes.

    :param json: the application's JSON module. Values that it can serialise
                 can be sent.
    :param only_plaintext: refuse values that JSON cannot carry.
    """

    def __init__(self, json: JSONModule, only_plaintext: bool) -> None:
        self._only_plaintext = only_plaintext
        dumps = json.dumps
        self._try: Optional[Callable[[Any], str]] = None
        if dumps is standard_json.dumps:
            # The same, but without a new encoder for each message.
            self._dumps = standard_json.JSONEncoder(
                separators=(',', ':')).encode
            self._try = FiniteEncoder()
        else:
            self._dumps = partial(_dumps_checked, dumps)

    def dump(self, data: Dict[str, Any],
             for_clients: bool = False) -> bytes:
        """Write JSON, or msgpack in base64 if JSON cannot carry the data.

        :param for_clients: whether it is an event for clients, which must not
                            hold infinity or NaN.
        :raises TypeError: something in it cannot be serialised.
        :raises ValueError: something in it is nested too deeply, or is not
                            for clients.
        """
        text = self.text(data, MAX_DEPTH + OWN_DEPTH)
        return self.dump_any(data, for_clients) if text is None \
            else text.encode()

    def text(self, value: Any, depth: int = MAX_DEPTH + 1) -> Optional[str]:
        """Write JSON without white space, if that is quick and certain to be
        right: most data need no look at each value, which takes three times
        as long as the encoder in C.

        :param depth: how deeply it may be nested; the default is for the
                      tuple of an event's arguments.
        :return: ``None``: :meth:`dump_any` finds out what to do. The value
                 holds bytes, infinity or NaN, is nested too deeply, or cannot
                 be sent; or the JSON module is not Python's.
        """
        if self._try is None:
            return None
        try:
            text = self._try(value)
            size = len(text)
            # Text with fewer brackets cannot be too deep, and in short text
            # they are counted quickly.
            if size > 2 * MAX_DEPTH and (
                    size > COUNTED
                    or text.count('[') + text.count('{') > MAX_DEPTH):
                _needs_msgpack((value,), depth)
        except (TypeError, ValueError, RecursionError):
            return None
        return text

    def dump_any(self, data: Dict[str, Any], for_clients: bool) -> bytes:
        """As :meth:`dump`, if :meth:`text` has returned ``None`` for what is
        to be sent."""
        if self._needs_msgpack(data, for_clients):
            return base64.b64encode(self._pack(data))
        return self._dumps(data).encode()

    def dump_event(self, args: Tuple[Any, ...],
                   data_of: Callable[[Sequence[Any]], Dict[str, Any]]
                   ) -> bytes:
        """The same for the data of an event. Only its arguments are looked
        at, which takes half of the time: all else comes from this package.

        :param args: the arguments.
        :param data_of: returns the data, given the arguments.
        """
        needed = _needs_msgpack(args, MAX_DEPTH)
        if not needed:
            return self._dumps(data_of(args)).encode()
        check_finite(args)
        self._check_allowed()
        return base64.b64encode(self._pack(data_of(_packable(args)), True))

    def pack(self, data: Dict[str, Any],
             for_clients: bool = False) -> bytes:
        """Write msgpack.

        :raises TypeError, ValueError: as :meth:`dump`.
        """
        self._needs_msgpack(data, for_clients)
        return self._pack(data)

    def _needs_msgpack(self, data: Dict[str, Any],
                       for_clients: bool) -> bool:
        needed = _needs_msgpack(data.values(), MAX_DEPTH + OWN_DEPTH - 1)
        if needed and for_clients:
            check_finite(data)
        if needed:
            self._check_allowed()
        return needed

    def _check_allowed(self) -> None:
        if self._only_plaintext:
            raise TypeError('with only_plaintext, data must not contain '
                            'bytes, NaN or infinity')

    def _pack(self, data: Dict[str, Any], is_packable: bool = False) -> bytes:
        try:
            packed: bytes = msgpack.packb(
                data if is_packable else _packable(data),
                default=self._as_json)
        except OverflowError as exc:
            raise ValueError('integers in data that contains bytes must '
                             'fit into 64 bits') from exc
        return packed

    def _as_json(self, value: Any) -> Any:
        # An application's JSON module may know types that msgpack does not.
        return standard_json.loads(self._dumps(value))


def _dumps_checked(dumps: Callable[..., str], data: Any) -> str:
    """The text that an application's JSON module writes for a value.

    :raises ValueError: the text is not JSON.
    """
    text = dumps(data, separators=(',', ':'))
    if _DOUBTFUL.search(text):
        # The same words may stand in text, which is allowed.
        try:
            parse_text(text)
        except ValueError as exc:
            raise ValueError(
                f'the JSON module returned text that is not JSON: {exc}'
            ) from exc
    return text


def _needs_msgpack(values: Iterable[Any], depth: int) -> bool:
    """Whether only msgpack can carry one of these values: it holds bytes,
    infinity or NaN.

    Called for each list and mapping, not for each value: every message that
    is sent passes here.

    :param depth: how deeply they may be nested.
    :raises ValueError: they are nested too deeply.
    """
    needed = False
    for value in values:
        if type(value) in _COMMON:
            continue
        if isinstance(value, dict):
            children: Iterable[Any] = value.values()
        elif isinstance(value, (list, tuple)):
            children = value
        elif isinstance(value, float):
            needed = needed or not math.isfinite(value)
            continue
        else:
            needed = needed or isinstance(value, (bytes, bytearray))
            continue
        if not depth:
            raise ValueError(f'data is nested more than {MAX_DEPTH} levels '
                             f'deep')
        # Always: the depth of every child counts.
        if _needs_msgpack(children, depth - 1):
            needed = True
    return needed


def _packable(value: Any) -> Any:
    """Return the value with its keys as text, as JSON has them.

    :raises TypeError: JSON could not turn a key into text, or the value holds
                       a msgpack extension, which no node could decode.
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
    raise TypeError(f'keys must be strings or numbers, not '
                    f'{type(key).__name__}')
