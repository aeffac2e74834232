"""The data of each type of message, from the wire and to the wire.

Keys and types are those of ``dist/cluster-adapter.js`` of the npm package
``socket.io-adapter`` 2.5. Whatever another process has written, a reader here
returns a valid message or raises
:class:`~redis_streams_adapter.errors.DecodeError`.
"""
import json as standard_json
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from ..errors import DecodeError
from . import request_content as requests
from .content_parts import Data, MAX_NAME, opts_of, read_request_id, \
    read_rooms, read_target, want
from .json_parser import check_event, load_json
from .messages import AdapterClose, Broadcast, BroadcastRequest, CAUGHT_UP, \
    DisconnectSockets, EVERYONE, Heartbeat, InitialHeartbeat, Message, \
    MessageType, Room, SocketsJoin, SocketsLeave, Target
from .position import Position

#: The greatest age of a listed member, in seconds: no option is longer.
MAX_AGE = 10**6

#: ``type`` of an EVENT and of a BINARY_EVENT packet (``socket.io-parser``).
EVENT_PACKETS = (2, 5)


# -- the data of each type: from the wire ---------------------------------

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
    want(0 < len(reader) <= MAX_NAME, 'reader')
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
    args = check_event(packet.get('data'), 'packet.data')
    if data.get('requestId') is None:
        return Broadcast(args, read_target(data))
    return BroadcastRequest(args, read_target(data), read_request_id(data),
                            requests.read_inbox(data))


def _read_join(data: Dict[str, Any]) -> SocketsJoin:
    return SocketsJoin(read_target(data),
                       read_rooms(data.get('rooms'), 'rooms'))


def _read_leave(data: Dict[str, Any]) -> SocketsLeave:
    return SocketsLeave(read_target(data),
                        read_rooms(data.get('rooms'), 'rooms'))


def _read_disconnect(data: Dict[str, Any]) -> DisconnectSockets:
    close = data.get('close', False)
    want(isinstance(close, bool), 'close')
    return DisconnectSockets(read_target(data), close)


READERS: Dict[MessageType, Callable[[Dict[str, Any]], Message]] = {
    MessageType.BROADCAST: read_broadcast,
    MessageType.SOCKETS_JOIN: _read_join,
    MessageType.SOCKETS_LEAVE: _read_leave,
    MessageType.DISCONNECT_SOCKETS: _read_disconnect,
    MessageType.FETCH_SOCKETS: requests.read_fetch,
    MessageType.FETCH_SOCKETS_RESPONSE: requests.read_fetched,
    MessageType.SERVER_SIDE_EMIT: requests.read_server_side,
    MessageType.SERVER_SIDE_EMIT_RESPONSE: requests.read_response,
    MessageType.BROADCAST_CLIENT_COUNT: requests.read_count,
    MessageType.BROADCAST_ACK: requests.read_ack,
}

BARE: Dict[MessageType, Message] = {
    MessageType.INITIAL_HEARTBEAT: InitialHeartbeat(),
    MessageType.HEARTBEAT: Heartbeat(),
    MessageType.ADAPTER_CLOSE: AdapterClose(),
}


# -- the data of each type: to the wire -----------------------------------

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


def _write_broadcast(namespace: str, message: Broadcast) -> Data:
    return requests.write_request(
        {'opts': opts_of(message.target),
         'packet': {'type': 2, 'data': message.args, 'nsp': namespace}},
        message.request_id, message.inbox)


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


def _write_rooms(_: str, message: Union[SocketsJoin, SocketsLeave]) -> Data:
    return {'opts': opts_of(message.target), 'rooms': message.rooms}


def _write_disconnect(_: str, message: DisconnectSockets) -> Data:
    return {'opts': opts_of(message.target), 'close': message.close}


WRITERS: Dict[MessageType, Callable[[str, Any], Data]] = {
    MessageType.BROADCAST: _write_broadcast,
    MessageType.SOCKETS_JOIN: _write_rooms,
    MessageType.SOCKETS_LEAVE: _write_rooms,
    MessageType.DISCONNECT_SOCKETS: _write_disconnect,
    MessageType.FETCH_SOCKETS: requests.write_fetch,
    MessageType.FETCH_SOCKETS_RESPONSE: requests.write_fetched,
    MessageType.SERVER_SIDE_EMIT: requests.write_server_side,
    MessageType.SERVER_SIDE_EMIT_RESPONSE: requests.write_response,
    MessageType.BROADCAST_CLIENT_COUNT: requests.write_count,
    MessageType.BROADCAST_ACK: requests.write_ack,
}
