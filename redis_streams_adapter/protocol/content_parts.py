"""Parts of the data that several types of messages share, from the wire and
to the wire. Pure.

See :mod:`redis_streams_adapter.protocol.content`.
"""
from types import MappingProxyType
from typing import Any, Dict, Mapping, Tuple

from ..errors import DecodeError
from .messages import EVERYONE, is_room, Room, Target

#: The longest uid, namespace, writer id or request id that is accepted, in
#: bytes. Each server that reads one keeps it in memory; the uids of Node.js
#: have 16.
MAX_NAME = 1024

#: The ``opts`` of most events, as they are read.
_FOR_EVERYONE: Mapping[str, Any] = {'rooms': [], 'except': [], 'flags': {}}

_NO_FLAGS: Mapping[str, Any] = MappingProxyType({})

#: The data of a message, to be written.
Data = Dict[str, Any]


# -- from the wire --------------------------------------------------------

def want(condition: bool, what: str) -> None:
    if not condition:
        raise DecodeError(f'{what} is missing or of the wrong type')


def read_rooms(value: Any, what: str) -> Tuple[Room, ...]:
    if not isinstance(value, list):
        raise DecodeError(f'{what} is missing or of the wrong type')
    for room in value:
        if not is_room(room):
            raise DecodeError(f'{what} holds a value that is not a room')
    return tuple(value)


def read_target(data: Dict[str, Any]) -> Target:
    opts = data.get('opts')
    if opts == _FOR_EVERYONE:
        return EVERYONE
    if not isinstance(opts, dict):
        raise DecodeError('opts is missing or of the wrong type')
    flags = opts.get('flags')
    if flags is None:
        flags = _NO_FLAGS
    elif not isinstance(flags, dict):
        raise DecodeError('opts.flags is of the wrong type')
    rooms = read_rooms(opts.get('rooms'), 'opts.rooms')
    except_rooms = read_rooms(opts.get('except'), 'opts.except')
    if not rooms and not except_rooms and not flags:
        return EVERYONE
    return Target(rooms, except_rooms, flags)


def read_request_id(data: Dict[str, Any]) -> str:
    request_id = data.get('requestId')
    if not isinstance(request_id, str) \
            or not 0 < len(request_id) <= MAX_NAME:
        raise DecodeError('requestId is missing or of the wrong type')
    return request_id


# -- to the wire ----------------------------------------------------------

def opts_of(target: Target) -> Data:
    return {'rooms': target.rooms, 'except': target.except_rooms,
            'flags': dict(target.flags)}
