"""Entries and messages shared by the tests of the codec."""
import base64
import json
from typing import Any, List, Tuple

import msgpack

from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    BroadcastAck, BroadcastClientCount, DisconnectSockets, EVERYONE, \
    FetchSockets, FetchSocketsResponse, Heartbeat, InitialHeartbeat, \
    ServerSideEmit, ServerSideEmitResponse, SocketsJoin, SocketsLeave, Target


UID = '0011223344556677'
REQUEST = '8899aabbccddeeff'
TARGET = Target(('room', 7), ('sid',), {'volatile': True})
OPTS = {'rooms': ['room', 7], 'except': ['sid'], 'flags': {'volatile': True}}
ALL = {'rooms': [], 'except': [], 'flags': {}}
SOCKET = {'id': 'sid', 'handshake': {'url': '/'}, 'rooms': ['sid', 'room'],
          'data': {'name': 'x'}}

#: A message, its number, and its data in the form of Node.js.
WIRE: List[Tuple[Any, int, Any]] = [
    (InitialHeartbeat(), 1, None),
    (Heartbeat(), 2, None),
    (Broadcast(('hello', 1, 'two', None)), 3,
     {'opts': ALL, 'packet': {'type': 2, 'data': ['hello', 1, 'two', None],
                              'nsp': '/chat'}}),
    (Broadcast(('hello',), TARGET, REQUEST), 3,
     {'opts': OPTS, 'requestId': REQUEST,
      'packet': {'type': 2, 'data': ['hello'], 'nsp': '/chat'}}),
    (SocketsJoin(TARGET, ('a', 5)), 4, {'opts': OPTS, 'rooms': ['a', 5]}),
    (SocketsLeave(TARGET, ('a',)), 5, {'opts': OPTS, 'rooms': ['a']}),
    (DisconnectSockets(TARGET, True), 6, {'opts': OPTS, 'close': True}),
    (DisconnectSockets(EVERYONE), 6, {'opts': ALL, 'close': False}),
    (FetchSockets(TARGET, REQUEST), 7, {'opts': OPTS, 'requestId': REQUEST}),
    (FetchSocketsResponse(REQUEST, (SOCKET,)), 8,
     {'requestId': REQUEST, 'sockets': [SOCKET]}),
    (ServerSideEmit(('hello', {'a': [1]})), 9,
     {'packet': ['hello', {'a': [1]}]}),
    (ServerSideEmit(('hello',), REQUEST), 9,
     {'packet': ['hello'], 'requestId': REQUEST}),
    (ServerSideEmitResponse(REQUEST, {'ok': True}), 10,
     {'requestId': REQUEST, 'packet': {'ok': True}}),
    (BroadcastClientCount(REQUEST, 3), 11,
     {'requestId': REQUEST, 'clientCount': 3}),
    # `args` is this package's own: Node.js reads only the first argument.
    (BroadcastAck(REQUEST, ('yes', 2)), 12,
     {'requestId': REQUEST, 'packet': 'yes', 'args': ['yes', 2]}),
    (BroadcastAck(REQUEST, ()), 12, {'requestId': REQUEST, 'args': []}),
    (AdapterClose(), 13, None),
]

#: The types of messages that may be encoded with msgpack.
MAY_BE_BINARY = (3, 8, 9, 10, 12)

encoder = Encoder(UID)


def fields_of(kind: int, data: Any = None, **others: bytes) -> List[bytes]:
    """An entry.

    :param data: the field's bytes, or a value to write as JSON.
    :param others: further fields, or other values of these.
    """
    fields = {'uid': UID.encode(), 'nsp': b'/', 'type': b'%d' % kind}
    if data is not None:
        fields['data'] = data if isinstance(data, bytes) \
            else json.dumps(data).encode()
    fields.update(others)
    return [each for name, value in fields.items()
            for each in (name.encode(), value)]


def binary(data: Any) -> bytes:
    return base64.b64encode(msgpack.packb(data))


def understand(fields: Any) -> Any:
    """The message in an entry."""
    return decode(open_envelope(fields))


def again(value: Any) -> Any:
    """An argument after its transport."""
    fields = encoder.encode('/', Broadcast(('event', value)))
    name, argument = understand(fields).args
    assert name == 'event'
    return argument


def plain(value: Any) -> Any:
    """A value after its conversion by JSON; bytes stay."""
    if isinstance(value, (list, tuple)):
        return [plain(child) for child in value]
    if isinstance(value, dict):
        return {next(iter(json.loads(json.dumps({key: 0})))): plain(child)
                for key, child in value.items()}
    if isinstance(value, bytearray):
        return bytes(value)
    return value
