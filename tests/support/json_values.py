"""JSON with further types for the tests' control calls.

``bytes``, ``bytearray``, tuples and the keys of mappings keep their types.
Placeholders stand for values that the decoding process creates: a callback, a
date, and an object that no serialiser accepts.
"""
import base64
import json
from typing import Any, Callable, NamedTuple


class Callback(NamedTuple):
    """A placeholder for a function that records its arguments under a tag."""

    tag: str


class Date(NamedTuple):
    """A placeholder for a JavaScript ``Date``.

    :param milliseconds: since 1970.
    """

    milliseconds: int


class Unserialisable(NamedTuple):
    """A placeholder for an object that cannot be serialised."""


def dumps(value: Any) -> bytes:
    """Encode a value. Unknown types become their ``repr``."""
    return json.dumps(_encode(value)).encode()


def loads(raw: bytes,
          make_callback: Callable[[str], Any] = Callback) -> Any:
    """Decode a value.

    :param make_callback: creates the function for a :class:`Callback`.
    """
    def revive(pairs: Any) -> Any:
        if len(pairs) != 1 or not pairs[0][0].startswith('$'):
            return dict(pairs)
        kind, content = pairs[0]
        if kind == '$bytes':
            return base64.b64decode(content)
        if kind == '$bytearray':
            return bytearray(base64.b64decode(content))
        if kind == '$tuple':
            return tuple(content)
        if kind == '$dict':
            return {key: value for key, value in content}
        if kind == '$date':
            return Date(content)
        if kind == '$callback':
            return make_callback(content)
        if kind == '$unserialisable':
            return object()
        if kind == '$repr':
            return content
        raise ValueError(f'unknown kind of value: {kind}')

    return json.loads(raw, object_pairs_hook=revive)


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (bytes, bytearray)):
        kind = '$' + type(value).__name__
        return {kind: base64.b64encode(value).decode()}
    if isinstance(value, Callback):
        return {'$callback': value.tag}
    if isinstance(value, Date):
        return {'$date': value.milliseconds}
    if isinstance(value, Unserialisable):
        return {'$unserialisable': None}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {'$tuple': [_encode(item) for item in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith('$')
               for key in value):
            return {key: _encode(item) for key, item in value.items()}
        return {'$dict': [[_encode(key), _encode(item)]
                          for key, item in value.items()]}
    return {'$repr': repr(value)}
