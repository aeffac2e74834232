"""The data of each type of message, from the wire and to the wire.

Keys and types are those of ``dist/cluster-adapter.js`` of the npm package
``socket.io-adapter`` 2.5. Whatever another process has written, a reader here
returns a valid message or raises
:class:`~redis_streams_adapter.errors.DecodeError`.
"""
import json as standard_json
from types import MappingProxyType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from ..errors import DecodeError
from .json_parser import check_event, load_json
from .messages import AdapterClose, Broadcast, BroadcastAck, \
    BroadcastClientCount, CAUGHT_UP, DisconnectSockets, EVERYONE, \
    FetchSockets, FetchSocketsResponse, Heartbeat, InitialHeartbeat, is_room, \
    Message, MessageType, Room, ServerSideEmit, ServerSideEmitResponse, \
    SocketsJoin, SocketsLeave, Target
from .position import Position

#: The longest uid, namespace, writer id or request id that is accepted, in
#: bytes. Each server that reads one keeps it in memory; the uids of Node.js
#: have 16.
MAX_NAME = 1024

#: The greatest age of a listed member, in seconds: no option is longer.
MAX_AGE = 10**6

#: ``type`` of an EVENT and of a BINARY_EVENT packet (``socket.io-parser``).
EVENT_PACKETS = (2, 5)

#: The ``opts`` of most events, as they are read.
_FOR_EVERYONE: Mapping[str, Any] = {'rooms': [], 'except': [], 'flags': {}}

_NO_FLAGS: Mapping[str, Any] = MappingProxyType({})


# -- the data of each type: from the wire ---------------------------------

def _want(condition: bool, what: str) -> None:
    if not condition:
        raise DecodeError(f'{what} is missing or of the wrong type')


def _rooms(value: Any, what: str) -> Tuple[Room, ...]:
    if not isinstance(value, list):
        raise DecodeError(f'{what} is missing or of the wrong type')
    for room in value:
        if not is_room(room):
            raise DecodeError(f'{what} holds a value that is not a room')
    return tuple(value)


def _target(data: Dict[str, Any]) -> Target:
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
    rooms = _rooms(opts.get('rooms'), 'opts.rooms')
    except_rooms = _rooms(opts.get('except'), 'opts.except')
    if not rooms and not except_rooms and not flags:
        return EVERYONE
    return Target(rooms, except_rooms, flags)


def _request_id(data: Dict[str, Any]) -> str:
    request_id = data.get('requestId')
    if not isinstance(request_id, str) \
            or not 0 < len(request_id) <= MAX_NAME:
        raise DecodeError('requestId is missing or of the wrong type')
    return request_id


def read_position(raw: bytes, field: str) -> Position:
    """Read a position.

    :param field: the name of the field, for the error.
    :raises DecodeError: it is not a position.
    """
    try:
        return Position.parse(raw)
    except DecodeError as exc:
        raise DecodeError(f'field {field} is {exc}') from exc


#: The fields of heartbeats that only this package has.
EXTRA = frozenset((b'behind', b'read', b'reader', b'members', b'at',
                   b'asks'))

#: Those of a HEARTBEAT that concern the whole stream, whatever its namespace.
STREAM_WIDE = frozenset((b'behind', b'asks', b'members'))


def read_heartbeat(extra: Mapping[bytes, bytes]) -> Heartbeat:
    behind, reader = extra.get(b'behind'), extra.get(b'reader')
    members, at = extra.get(b'members'), extra.get(b'at')
    report = None if behind is None else behind and read_position(
        behind, 'behind') or CAUGHT_UP
    read, asks = extra.get(b'read'), bool(extra.get(b'asks'))
    reached = None if read is None else read_position(read, 'read')
    if members is None or at is None:
        return Heartbeat(report, _read_reader(reader), read=reached, asks=asks)
    return Heartbeat(report, _read_reader(reader), _read_members(members),
                     read_position(at, 'at'), reached, asks)


def _read_reader(reader: Optional[bytes]) -> Optional[str]:
    if reader is None:
        return None
    _want(0 < len(reader) <= MAX_NAME, 'reader')
    try:
        return reader.decode()
    except UnicodeDecodeError as exc:
        raise DecodeError('field reader is not UTF-8') from exc


def _read_members(raw: bytes) -> Mapping[str, float]:
    members = load_json(raw)
    if not isinstance(members, dict):
        raise DecodeError('members is of the wrong type')
    for uid, seconds in members.items():
        # A comparison that NaN does not pass either.
        if not 0 < len(uid) <= MAX_NAME or type(seconds) not in (int, float) \
                or not 0 <= seconds <= MAX_AGE:
            raise DecodeError('members holds an invalid member')
    return members


def read_broadcast(data: Dict[str, Any]) -> Broadcast:
    """Read the data of an event.

    :raises DecodeError: they are not those of an event.
    """
    packet = data.get('packet')
    if not isinstance(packet, dict) \
            or packet.get('type') not in EVENT_PACKETS:
        raise DecodeError('packet is missing or not an event')
    request_id = None
    if data.get('requestId') is not None:
        request_id = _request_id(data)
    return Broadcast(check_event(packet.get('data'), 'packet.data'),
                     _target(data), request_id)


def _read_join(data: Dict[str, Any]) -> SocketsJoin:
    return SocketsJoin(_target(data), _rooms(data.get('rooms'), 'rooms'))


def _read_leave(data: Dict[str, Any]) -> SocketsLeave:
    return SocketsLeave(_target(data), _rooms(data.get('rooms'), 'rooms'))


def _read_disconnect(data: Dict[str, Any]) -> DisconnectSockets:
    close = data.get('close', False)
    _want(isinstance(close, bool), 'close')
    return DisconnectSockets(_target(data), close)


def _read_fetch(data: Dict[str, Any]) -> FetchSockets:
    return FetchSockets(_target(data), _request_id(data))


def _read_fetched(data: Dict[str, Any]) -> FetchSocketsResponse:
    sockets = data.get('sockets')
    _want(isinstance(sockets, list), 'sockets')
    for socket in sockets or ():
        _want(isinstance(socket, dict), 'sockets[]')
        _want(isinstance(socket.get('id'), str), 'sockets[].id')
        _want(isinstance(socket.get('handshake'), dict),
              'sockets[].handshake')
        _rooms(socket.get('rooms'), 'sockets[].rooms')
    return FetchSocketsResponse(_request_id(data), tuple(sockets or ()))


def _read_server_side(data: Dict[str, Any]) -> ServerSideEmit:
    request_id = None
    if data.get('requestId') is not None:
        request_id = _request_id(data)
    return ServerSideEmit(check_event(data.get('packet'), 'packet'),
                          request_id)


def _read_response(data: Dict[str, Any]) -> ServerSideEmitResponse:
    return ServerSideEmitResponse(_request_id(data), data.get('packet'))


def _read_count(data: Dict[str, Any]) -> BroadcastClientCount:
    count = data.get('clientCount')
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DecodeError('clientCount is missing or of the wrong type')
    return BroadcastClientCount(_request_id(data), count)


def _read_ack(data: Dict[str, Any]) -> BroadcastAck:
    # Only this package has `args`. Node.js sends the first argument, as
    # `packet`, and leaves it out if it is undefined.
    args = data.get('args')
    if args is None:
        args = [data['packet']] if 'packet' in data else []
    _want(isinstance(args, list), 'args')
    return BroadcastAck(_request_id(data), tuple(args))


READERS: Dict[MessageType, Callable[[Dict[str, Any]], Message]] = {
    MessageType.BROADCAST: read_broadcast,
    MessageType.SOCKETS_JOIN: _read_join,
    MessageType.SOCKETS_LEAVE: _read_leave,
    MessageType.DISCONNECT_SOCKETS: _read_disconnect,
    MessageType.FETCH_SOCKETS: _read_fetch,
    MessageType.FETCH_SOCKETS_RESPONSE: _read_fetched,
    MessageType.SERVER_SIDE_EMIT: _read_server_side,
    MessageType.SERVER_SIDE_EMIT_RESPONSE: _read_response,
    MessageType.BROADCAST_CLIENT_COUNT: _read_count,
    MessageType.BROADCAST_ACK: _read_ack,
}

BARE: Dict[MessageType, Message] = {
    MessageType.INITIAL_HEARTBEAT: InitialHeartbeat(),
    MessageType.HEARTBEAT: Heartbeat(),
    MessageType.ADAPTER_CLOSE: AdapterClose(),
}


# -- the data of each type: to the wire -----------------------------------

_Data = Dict[str, Any]

_to_json = standard_json.JSONEncoder(separators=(',', ':')).encode
_quoted = standard_json.encoder.encode_basestring_ascii

_TO_EVERYONE = '{"rooms":[],"except":[],"flags":{}}'


def write_extra(message: Message) -> Tuple[bytes, ...]:
    """The fields of a heartbeat that only this package has."""
    if isinstance(message, InitialHeartbeat):
        return (b'asks', b'1') if message.asks else ()
    if not isinstance(message, Heartbeat):
        return ()
    extra: Tuple[bytes, ...] = ()
    if message.behind is not None:
        extra += b'behind', \
            bytes(message.behind) if message.behind else b''
    if message.read is not None:
        extra += b'read', bytes(message.read)
    if message.reader is not None:
        extra += b'reader', message.reader.encode()
    if message.members is not None and message.at is not None:
        extra += (b'members', standard_json.dumps(
            dict(message.members), separators=(',', ':')).encode(),
            b'at', bytes(message.at))
    if message.asks:
        extra += b'asks', b'1'
    return extra


def _opts(target: Target) -> _Data:
    return {'rooms': target.rooms, 'except': target.except_rooms,
            'flags': dict(target.flags)}


def _with_request(data: _Data, request_id: Optional[str]) -> _Data:
    if request_id is not None:
        data['requestId'] = request_id
    return data


def _write_broadcast(namespace: str, message: Broadcast) -> _Data:
    return _with_request(
        {'opts': _opts(message.target),
         'packet': {'type': 2, 'data': message.args, 'nsp': namespace}},
        message.request_id)


def write_event(args: str, target: Target, rest: str) -> str:
    """The data of an event, as JSON: the text that
    :meth:`~redis_streams_adapter.protocol.values.Serialiser.dump` makes of
    what ``WRITERS`` returns, at a third of the time, because the arguments
    were written before.

    :param args: the arguments, as JSON.
    :param rest: what follows them, see :func:`after_arguments`.
    """
    if target is EVERYONE:
        opts = _TO_EVERYONE
    else:
        rooms, others, flags = target
        opts = f'{{"rooms":{_names(rooms) if rooms else "[]"},' \
            f'"except":{_names(others) if others else "[]"},' \
            f'"flags":{_to_json(dict(flags)) if flags else "{}"}}}'
    return f'{{"opts":{opts},"packet":{{"type":2,"data":{args}{rest}'


def after_arguments(namespace: str) -> str:
    """The end of the data of an event in a namespace."""
    return f',"nsp":{_to_json(namespace)}}}}}'


def _names(rooms: Tuple[Room, ...]) -> str:
    """Names of rooms, as JSON."""
    if len(rooms) == 1 and type(rooms[0]) is str:
        # A tenth of the time.
        return f'[{_quoted(rooms[0])}]'
    return _to_json(rooms)


def _write_rooms(_: str, message: Union[SocketsJoin, SocketsLeave]) -> _Data:
    return {'opts': _opts(message.target), 'rooms': message.rooms}


def _write_disconnect(_: str, message: DisconnectSockets) -> _Data:
    return {'opts': _opts(message.target), 'close': message.close}


def _write_fetch(_: str, message: FetchSockets) -> _Data:
    return {'opts': _opts(message.target), 'requestId': message.request_id}


def _write_fetched(_: str, message: FetchSocketsResponse) -> _Data:
    return {'requestId': message.request_id, 'sockets': message.sockets}


def _write_server_side(_: str, message: ServerSideEmit) -> _Data:
    return _with_request({'packet': message.args}, message.request_id)


def _write_response(_: str, message: ServerSideEmitResponse) -> _Data:
    return {'requestId': message.request_id, 'packet': message.response}


def _write_count(_: str, message: BroadcastClientCount) -> _Data:
    return {'requestId': message.request_id,
            'clientCount': message.client_count}


def _write_ack(_: str, message: BroadcastAck) -> _Data:
    data: _Data = {'requestId': message.request_id, 'args': message.args}
    if message.args:
        data['packet'] = message.args[0]
    return data


WRITERS: Dict[MessageType, Callable[[str, Any], _Data]] = {
    MessageType.BROADCAST: _write_broadcast,
    MessageType.SOCKETS_JOIN: _write_rooms,
    MessageType.SOCKETS_LEAVE: _write_rooms,
    MessageType.DISCONNECT_SOCKETS: _write_disconnect,
    MessageType.FETCH_SOCKETS: _write_fetch,
    MessageType.FETCH_SOCKETS_RESPONSE: _write_fetched,
    MessageType.SERVER_SIDE_EMIT: _write_server_side,
    MessageType.SERVER_SIDE_EMIT_RESPONSE: _write_response,
    MessageType.BROADCAST_CLIENT_COUNT: _write_count,
    MessageType.BROADCAST_ACK: _write_ack,
}
