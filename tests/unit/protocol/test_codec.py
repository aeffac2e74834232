"""What stands on the wire, and what becomes of anything that stands there."""
import base64
import datetime
import decimal
import json
import math
import struct
from typing import Any, Dict, List, Tuple

import msgpack
import pytest
from hypothesis import example, given, strategies as st
from socketio.packet import EVENT, Packet

from redis_streams_adapter.protocol.codec import decode, Encoder, MAX_NAME, \
    open_envelope
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    BroadcastAck, BroadcastClientCount, CAUGHT_UP, DisconnectSockets, \
    EVERYONE, FetchSockets, FetchSocketsResponse, Heartbeat, \
    InitialHeartbeat, MessageType, ServerSideEmit, ServerSideEmitResponse, \
    SocketsJoin, SocketsLeave, Target
from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.values import LAST_DATE, MAX_DEPTH

from ..fake_server import DateJSON

UID = '0011223344556677'
REQUEST = '8899aabbccddeeff'
TARGET = Target(('room', 7), ('sid',), {'volatile': True})
OPTS = {'rooms': ['room', 7], 'except': ['sid'], 'flags': {'volatile': True}}
ALL = {'rooms': [], 'except': [], 'flags': {}}
SOCKET = {'id': 'sid', 'handshake': {'url': '/'}, 'rooms': ['sid', 'room'],
          'data': {'name': 'x'}}

#: A message, its number, and its data as Node.js writes them.
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
    # `args` is our own: Node.js reads the first argument alone.
    (BroadcastAck(REQUEST, ('yes', 2)), 12,
     {'requestId': REQUEST, 'packet': 'yes', 'args': ['yes', 2]}),
    (BroadcastAck(REQUEST, ()), 12, {'requestId': REQUEST, 'args': []}),
    (AdapterClose(), 13, None),
]

#: Whether msgpack may be used for it; by type.
MAY_BE_BINARY = (3, 8, 9, 10, 12)

encoder = Encoder(UID)


def fields_of(kind: int, data: Any = None, **others: bytes) -> List[bytes]:
    """An entry.

    :param data: the field as it stands, or a value to write as JSON.
    :param others: more fields, or other values of those that there are.
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
    """What becomes of an argument on its way."""
    fields = encoder.encode('/', Broadcast(('event', value)))
    name, argument = understand(fields).args
    assert name == 'event'
    return argument


# -- to the letter ---------------------------------------------------------

@pytest.mark.parametrize('message, number, data', WIRE)
def test_the_wire(message: Any, number: int, data: Any) -> None:
    fields = encoder.encode('/chat', message)
    assert all(type(each) is bytes for each in fields)
    named = dict(zip(fields[::2], fields[1::2]))
    text = named.pop(b'data', None)
    assert named == {b'uid': UID.encode(), b'nsp': b'/chat',
                     b'type': str(number).encode()}
    if data is None:
        assert text is None
    else:
        assert text is not None and text.startswith(b'{')
        assert json.loads(text) == data
        assert message.type == number


@pytest.mark.parametrize('message, number, data', WIRE)
def test_round_trip(message: Any, number: int, data: Any) -> None:
    envelope = open_envelope(encoder.encode('/chat', message))
    assert envelope.uid == UID
    assert envelope.namespace == '/chat'
    assert envelope.type is MessageType(number)
    assert envelope.writer is None
    assert decode(envelope) == message


@pytest.mark.parametrize('message, number, data', [
    each for each in WIRE if each[2] is not None])
def test_what_node_writes(message: Any, number: int, data: Any) -> None:
    data = {name: value for name, value in data.items() if name != 'args'}
    if number == 12:
        message = BroadcastAck(REQUEST, message.args[:1])
    assert understand(fields_of(number, data, nsp=b'/chat')) == message
    if number in MAY_BE_BINARY:
        assert understand(fields_of(
            number, nsp=b'/chat', data=binary(data))) == message


def test_every_type_stands_here() -> None:
    assert {message.type for message, _, _ in WIRE} == set(MessageType)


def test_fields_of_others_are_ignored() -> None:
    data = {'opts': {**ALL, 'more': 1}, 'more': 2,
            'packet': {'type': 2, 'data': ['a'], 'nsp': '/', 'more': 3}}
    assert understand(fields_of(3, data, more=b'\xff')) == Broadcast(('a',))


@pytest.mark.parametrize('data, message', [
    ({'opts': {'rooms': [], 'except': []},
      'packet': {'type': 2, 'data': ['a'], 'nsp': '/'}, 'requestId': None},
     Broadcast(('a',))),
    # An event with binary attachments, as Node.js calls it inside.
    ({'opts': ALL, 'packet': {'type': 5, 'data': ['a'], 'nsp': '/'}},
     Broadcast(('a',))),
    ({'opts': ALL, 'packet': {'type': 2, 'data': [1, 2], 'nsp': '/'}},
     Broadcast((1, 2))),
], ids=['no flags', 'binary event', 'number'])
def test_broadcasts_of_others(data: Any, message: Broadcast) -> None:
    assert understand(fields_of(3, data)) == message


def test_close_may_be_left_out() -> None:
    assert understand(fields_of(6, {'opts': ALL})) == \
        DisconnectSockets(EVERYONE, False)


@pytest.mark.parametrize('data, args', [
    ({}, ()), ({'packet': None}, (None,)), ({'packet': [1, 2]}, ([1, 2],)),
    ({'packet': 1, 'args': [1, 2]}, (1, 2)), ({'args': []}, ())])
def test_acknowledgements(data: Dict[str, Any], args: Any) -> None:
    message = understand(fields_of(12, {'requestId': REQUEST, **data}))
    assert message == BroadcastAck(REQUEST, args)


def test_everyone_is_made_once() -> None:
    """It is what most broadcasts mean."""
    data = {'opts': ALL, 'packet': {'type': 2, 'data': ['a'], 'nsp': '/'}}
    assert understand(fields_of(3, data)).target is EVERYONE


# -- the writer's fields ---------------------------------------------------

def test_the_writers_fields() -> None:
    envelope = open_envelope(fields_of(2, wid=b'abc', seq=b'17'))
    assert (envelope.writer, envelope.sequence) == (b'abc', 17)


def test_a_position_in_a_heartbeat() -> None:
    for position in (Position(1700000000000, 12), CAUGHT_UP):
        fields = encoder.encode('/', Heartbeat(position))
        assert fields[-2:] == (
            b'behind', bytes(position) if position else b'')
        assert understand(fields) == Heartbeat(position)
    # In another message it means nothing.
    assert understand(fields_of(13, behind=b'x')) == AdapterClose()


@pytest.mark.parametrize('position', [
    b'x', b'1', b'-', b'1-', b'-1', b'1-1-1', b'1-x', b' 1-1', b'1-1\n',
    b'9' * 5000 + b'-0', '\u0661-1'.encode()])
def test_no_position(position: bytes) -> None:
    with pytest.raises(DecodeError):
        understand(fields_of(2, behind=position))


# -- bytes, dates, numbers -------------------------------------------------

@pytest.mark.parametrize('value', [
    b'', b'\x00\xff', bytes(range(256)), [b'a'], {'a': {'b': [b'c']}},
    (b'a', 'b'), [1, [2, [b'3']]]])
def test_bytes_go_by_msgpack(value: Any) -> None:
    fields = encoder.encode('/', Broadcast(('event', value)))
    assert not fields[-1].startswith(b'{')
    data = msgpack.unpackb(base64.b64decode(fields[-1], validate=True))
    assert set(data) == {'opts', 'packet'}
    assert data['packet']['nsp'] == '/'
    assert again(value) == plain(value)


@pytest.mark.parametrize('message', [
    FetchSocketsResponse(REQUEST, ({**SOCKET, 'data': {'blob': b'x'}},)),
    ServerSideEmit(('hello', b'x')), ServerSideEmit(('hello', b'x'), REQUEST),
    ServerSideEmitResponse(REQUEST, b'x'),
    BroadcastAck(REQUEST, (b'x', 1)), BroadcastAck(REQUEST, (1, b'x')),
    Broadcast(('hello', b'x'), TARGET, REQUEST)])
def test_bytes_in_any_message_that_may_have_them(message: Any) -> None:
    fields = encoder.encode('/', message)
    assert not fields[-1].startswith(b'{')
    assert understand(fields) == message


def test_a_bytearray_becomes_bytes() -> None:
    assert again([bytearray(b'abc')]) == [b'abc']


@pytest.mark.parametrize('number', [
    0, -1, 2**31, 2**53 + 1, 2**63, 2**64, -2**63 - 1, 2**200, 1.5, -0.1,
    1e300, 5e-324])
def test_numbers(number: Any) -> None:
    assert again(number) == number


def test_a_number_too_long_to_go_with_bytes() -> None:
    for number in (2**64 - 1, -2**63):
        assert again([number, b'x']) == [number, b'x']
    for number in (2**64, -2**63 - 1):
        with pytest.raises((TypeError, ValueError)):
            again([number, b'x'])
        # A key is text.
        assert again({number: b'x'}) == {str(number): b'x'}


@pytest.mark.parametrize('key, text', [
    (1, '1'), (1.5, '1.5'), (True, 'true'), (None, 'null'),
    (math.inf, 'Infinity')])
def test_keys_are_those_of_json(key: Any, text: str) -> None:
    assert again({key: 'x'}) == {text: 'x'}
    assert again({key: b'x'}) == {text: b'x'}


@pytest.mark.parametrize('value', [
    object(), {1, 2}, [object()], {'a': object()}, 1j,
    datetime.datetime(2024, 1, 1), decimal.Decimal(1), {b'key': 1},
    {(1, 2): 'x'}, {'a': {b'key': 1}}, range(3), msgpack.ExtType(5, b'x')])
@pytest.mark.parametrize('companion', ['text', b'bytes'])
def test_what_cannot_be_serialised(value: Any, companion: Any) -> None:
    """It raises here, not on somebody else's node."""
    with pytest.raises((TypeError, ValueError)):
        encoder.encode('/', Broadcast(('event', value, companion)))


def test_a_circle() -> None:
    circle: List[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match='deep'):
        again(circle)


def test_the_json_module_of_the_application() -> None:
    knows_dates = Encoder(UID, DateJSON())
    day = datetime.date(2024, 2, 29)
    for companion in ('text', b'bytes'):
        fields = knows_dates.encode('/', Broadcast(('e', [day], companion)))
        assert understand(fields).args == ('e', ['2024-02-29'], companion)
    with pytest.raises((TypeError, ValueError, AttributeError)):
        knows_dates.encode('/', Broadcast(('e', object(), b'bytes')))


def test_only_plaintext() -> None:
    plaintext = Encoder(UID, only_plaintext=True)
    message = Broadcast(('event', 'text', 1.5))
    assert understand(plaintext.encode('/', message)) == message
    for value in (b'x', [b'x'], bytearray(b'')):
        with pytest.raises(TypeError, match='only_plaintext'):
            plaintext.encode('/', Broadcast(('event', value)))
    with pytest.raises(TypeError, match='only_plaintext'):
        plaintext.encode('/', ServerSideEmit(('event', math.inf)))


def test_only_plaintext_reads_everything() -> None:
    """It is about what this node writes."""
    assert again(b'x') == b'x'


# -- as @msgpack/msgpack 2.8.0 writes it, which Node's adapter uses ---------

#: The arguments of an event ``e`` to the room ``r1``, and what
#: ``Buffer.from(encode({packet, opts})).toString('base64')`` gives.
NODE_EVENTS: List[Tuple[str, List[Any]]] = [
    # Buffer.from([1, 2, 3])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGSoWXEAwECA6Nuc3ChL6RvcHRzg6Vyb29tc5GicjGmZXh'
     'jZXB0kKVmbGFnc4A=',
     [b'\x01\x02\x03']),
    # new Uint8Array([255, 0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGSoWXEAv8Ao25zcKEvpG9wdHODpXJvb21zkaJyMaZleGN'
     'lcHSQpWZsYWdzgA==',
     [b'\xff\0']),
    # new Date(0), Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGToWXW/wAAAADEAQCjbnNwoS+kb3B0c4Olcm9vbXORonI'
     'xpmV4Y2VwdJClZmxhZ3OA',
     ['1970-01-01T00:00:00.000Z', b'\0']),
    # new Date(1700000000123), Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGToWXX/x1TUwBlU/EAxAEAo25zcKEvpG9wdHODpXJvb21'
     'zkaJyMaZleGNlcHSQpWZsYWdzgA==',
     ['2023-11-14T22:13:20.123Z', b'\0']),
    # new Date(-1), Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGToWXHDP87i4fA///////////EAQCjbnNwoS+kb3B0c4O'
     'lcm9vbXORonIxpmV4Y2VwdJClZmxhZ3OA',
     ['1969-12-31T23:59:59.999Z', b'\0']),
    # new Date(8640000000000000), JavaScript's last, Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGToWXHDP8AAAAAAAAH26ghgADEAQCjbnNwoS+kb3B0c4O'
     'lcm9vbXORonIxpmV4Y2VwdJClZmxhZ3OA',
     ['+275760-09-13T00:00:00.000Z', b'\0']),
    # new Date(NaN), of which Node.js makes the same, Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGToWXHDP8AAAAAAAAAAAAAAADEAQCjbnNwoS+kb3B0c4O'
     'lcm9vbXORonIxpmV4Y2VwdJClZmxhZ3OA',
     ['1970-01-01T00:00:00.000Z', b'\0']),
    # 1, -1, 255, 256, 65536, 2**32, 2**53, -(2**31), 1.5, 0.1,
    # Buffer.from([0])
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGcoWUB/8z/zQEAzgABAADPAAAAAQAAAADLQ0AAAAAAAAD'
     'SgAAAAMs/+AAAAAAAAMs/uZmZmZmZmsQBAKNuc3ChL6RvcHRzg6Vyb29tc5GicjGmZXhjZX'
     'B0kKVmbGFnc4A=',
     [1, -1, 255, 256, 65536, 2**32, 2**53, -2**31, 1.5, 0.1, b'\0']),
    # {a: [{b: Buffer.from('x')}], n: null, t: true, u: undefined,
    # s: 'h\u00e9llo \u2603 \ud83d\ude00'}
    ('gqZwYWNrZXSDpHR5cGUCpGRhdGGSoWWFoWGRgaFixAF4oW7AoXTDoXXAoXOvaMOpbGxvIOK'
     'YgyDwn5iAo25zcKEvpG9wdHODpXJvb21zkaJyMaZleGNlcHSQpWZsYWdzgA==',
     [{'a': [{'b': b'x'}], 'n': None, 't': True, 'u': None,
       's': 'h\xe9llo \u2603 \U0001f600'}]),
]


@pytest.mark.parametrize('text, args', NODE_EVENTS)
def test_events_of_node(text: str, args: List[Any]) -> None:
    message = understand(fields_of(3, text.encode()))
    assert message == Broadcast(('e', *args), Target(('r1',)))
    Packet(EVENT, data=list(message.args), namespace='/').encode()


@pytest.mark.parametrize('milliseconds, text', [
    (-62167219200000, '0000-01-01T00:00:00.000Z'),
    (-62167219200001, '-000001-12-31T23:59:59.999Z'),
    (-62135596800000, '0001-01-01T00:00:00.000Z'),
    (951782400001, '2000-02-29T00:00:00.001Z'),
    (253402300799999, '9999-12-31T23:59:59.999Z'),
    (253402300800000, '+010000-01-01T00:00:00.000Z'),
    (-210866803200000, '-004713-11-24T00:00:00.000Z'),
    (-8640000000000000, '-271821-04-20T00:00:00.000Z')])
def test_dates(milliseconds: int, text: str) -> None:
    """As JSON.stringify writes them."""
    seconds, rest = divmod(milliseconds, 1000)
    stamp = msgpack.Timestamp(seconds, rest * 10**6)
    data = {'requestId': REQUEST, 'packet': [b'x', {'date': stamp}]}
    assert understand(fields_of(10, binary(data))).response == [
        b'x', {'date': text}]


def test_numbers_of_node_that_json_has_no_word_for() -> None:
    # NaN, Infinity, -Infinity, Buffer.from([0])
    text = ('gqZwYWNrZXSDpHR5cGUCpGRhdGGVoWXLf/gAAAAAAADLf/AAAAAAAADL//AAAAAA'
            'AADEAQCjbnNwoS+kb3B0c4Olcm9vbXORonIxpmV4Y2VwdJClZmxhZ3OA')
    message = understand(fields_of(3, text.encode()))
    # As JSON.stringify has it: so a server in Node.js tells its clients.
    assert message.args == ('e', None, None, None, b'\x00')


@pytest.mark.parametrize('number, text, message', [
    (8, 'gqlyZXF1ZXN0SWSwMDBmZjAwZmYwMGZmMDBmZqdzb2NrZXRzkYSiaWSiczGpaGFuZH'
        'NoYWtliadoZWFkZXJzgKR0aW1lo25vd6dhZGRyZXNzozo6Mad4ZG9tYWluwqZzZWN1'
        'cmXCpmlzc3VlZAGjdXJsoS+lcXVlcnmApGF1dGiApXJvb21zkqJzMaFypGRhdGGBpG'
        'Jsb2LEAXg=',
     FetchSocketsResponse('00ff00ff00ff00ff', ({
         'id': 's1', 'rooms': ['s1', 'r'], 'data': {'blob': b'x'},
         'handshake': {'headers': {}, 'time': 'now', 'address': '::1',
                       'xdomain': False, 'secure': False, 'issued': 1,
                       'url': '/', 'query': {}, 'auth': {}}},))),
    (9, 'gqZwYWNrZXSSpWhlbGxvxAF4qXJlcXVlc3RJZLAwMGZmMDBmZjAwZmYwMGZm',
     ServerSideEmit(('hello', b'x'), '00ff00ff00ff00ff')),
    (10, 'gqlyZXF1ZXN0SWSwMDBmZjAwZmYwMGZmMDBmZqZwYWNrZXSBom9rxAF4',
     ServerSideEmitResponse('00ff00ff00ff00ff', {'ok': b'x'})),
    (12, 'gqlyZXF1ZXN0SWSwMDBmZjAwZmYwMGZmMDBmZqZwYWNrZXTEAm9r',
     BroadcastAck('00ff00ff00ff00ff', (b'ok',))),
])
def test_other_messages_of_node(number: int, text: str,
                                message: Any) -> None:
    assert understand(fields_of(number, text.encode())) == message


# -- depth -----------------------------------------------------------------

def nested(levels: int, core: Any = 1) -> Any:
    for level in range(levels):
        core = [core] if level % 2 else {'a': core}
    return core


@pytest.mark.parametrize('core', [1, b'x'])
def test_the_deepest_that_is_accepted(core: Any) -> None:
    value = nested(MAX_DEPTH, core)
    assert again(value) == value
    Packet(EVENT, data=['event', value], namespace='/').encode()
    with pytest.raises(ValueError, match='deep'):
        again(nested(MAX_DEPTH + 1, core))


def broadcast_with(value: bytes) -> bytes:
    return (b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
            b'{"type":2,"nsp":"/","data":["e",%s]}}' % value)


def test_too_deep_json() -> None:
    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 1000, 100_000):
        data = broadcast_with(b'[' * levels + b']' * levels)
        fields = fields_of(3, data=data)
        if levels == MAX_DEPTH:
            assert len(understand(fields).args) == 2
        else:
            with pytest.raises(DecodeError):
                understand(fields)


def test_many_brackets_are_not_deep() -> None:
    data = broadcast_with(b'[' + b'[],' * 1000 + b'{}]')
    assert len(understand(fields_of(3, data=data)).args[1]) == 1001


def test_too_deep_msgpack() -> None:
    for levels in (MAX_DEPTH + 1, 400, 100_000):
        # One list in the other, without its end: it is too deep before.
        packed = msgpack.packb({'opts': ALL, 'packet': {
            'type': 2, 'nsp': '/', 'data': ['e', 'X']}})
        packed = packed.replace(b'\xa1X', b'\x91' * levels + b'\x01')
        with pytest.raises(DecodeError):
            understand(fields_of(3, data=base64.b64encode(packed)))


# -- malformed entries -------------------------------------------------------

@pytest.mark.parametrize('fields', [
    [], [b'uid'], fields_of(2)[2:], fields_of(2)[:2] + fields_of(2)[4:],
    fields_of(2)[:4], fields_of(2)[:5],
    *(fields_of(2, **{name: value})
      for name in ('uid', 'nsp') for value in (
          b'', b'\xff', b'\xed\xa0\x80', b'x' * (MAX_NAME + 1))),
    *(fields_of(2, type=kind) for kind in (
        b'', b'0', b'14', b'-1', b'02', b' 2', b'2 ', b'2.0', b'x', b'\xb2',
        '\u0662'.encode(), b'2' * 10_000)),
    *(fields_of(2, wid=b'abc', seq=number) for number in (
        b'', b'x', b'-1', b'1.0', b' 1', '\u0661'.encode(), b'9' * 20,
        b'9' * 5000)),
    fields_of(2, wid=b'abc'), fields_of(2, wid=b'', seq=b'1'),
    fields_of(2, wid=b'x' * (MAX_NAME + 1), seq=b'1'),
])
def test_no_envelope(fields: List[bytes]) -> None:
    with pytest.raises(DecodeError):
        open_envelope(fields)


def test_long_names_that_are_accepted() -> None:
    name = b'x' * MAX_NAME
    envelope = open_envelope(
        fields_of(2, uid=name, nsp=name, wid=name, seq=b'9' * 19))
    assert envelope.uid == envelope.namespace == name.decode()


EVENT_PACKET = {'type': 2, 'data': ['a'], 'nsp': '/'}

#: A type, and data that are not for it.
WRONG: List[Tuple[int, Any]] = [
    *((number, data) for number in range(3, 13)
      for data in ({}, {'opts': 1}, {'packet': 1}, {'requestId': 1})),
    *((3, {'opts': opts, 'packet': EVENT_PACKET}) for opts in (
        None, [], 'x', {}, {'rooms': []}, {'except': []},
        {'rooms': 'x', 'except': []}, {'rooms': [], 'except': {}},
        {'rooms': [None], 'except': []}, {'rooms': [[]], 'except': []},
        {'rooms': [True], 'except': []}, {'rooms': [1.5], 'except': []},
        {'rooms': [], 'except': [{}]},
        {'rooms': [], 'except': [], 'flags': []},
        {'rooms': [], 'except': [], 'flags': 1})),
    *((3, {'opts': ALL, 'packet': packet}) for packet in (
        None, [], 'x', {}, {**EVENT_PACKET, 'type': 0},
        {**EVENT_PACKET, 'type': 3}, {**EVENT_PACKET, 'type': '2'},
        {**EVENT_PACKET, 'type': [2]}, {**EVENT_PACKET, 'data': None},
        {**EVENT_PACKET, 'data': []}, {**EVENT_PACKET, 'data': 'x'},
        {**EVENT_PACKET, 'data': {'0': 'x'}},
        {**EVENT_PACKET, 'data': [None]}, {**EVENT_PACKET, 'data': [['x']]},
        {**EVENT_PACKET, 'data': [1.5]})),
    *((3, {'opts': ALL, 'packet': EVENT_PACKET, 'requestId': request})
      for request in ('', 1, [], {}, False, 'x' * (MAX_NAME + 1))),
    *((number, {'opts': ALL, 'rooms': rooms}) for number in (4, 5)
      for rooms in (None, 'x', {}, [None], [[]], [False])),
    *((6, {'opts': ALL, 'close': close}) for close in (0, 1, 'yes', [])),
    *((8, {'requestId': REQUEST, 'sockets': sockets}) for sockets in (
        None, {}, 'x', [1], [{}], [{**SOCKET, 'id': 1}],
        [{**SOCKET, 'handshake': None}], [{**SOCKET, 'rooms': 'x'}],
        [SOCKET, None])),
    *((9, {'packet': packet}) for packet in (None, [], 'x', {}, [None])),
    *((11, {'requestId': REQUEST, 'clientCount': count}) for count in (
        None, -1, 1.0, '1', True, [])),
    (12, {'requestId': REQUEST, 'args': 1}),
    (12, {'requestId': REQUEST, 'args': {}}),
]


@pytest.mark.parametrize('number, data', WRONG)
def test_wrong_data(number: int, data: Any) -> None:
    for fields in (fields_of(number, data),
                   fields_of(number, data=binary(data))):
        with pytest.raises(DecodeError):
            understand(fields)


@pytest.mark.parametrize('number', range(3, 13))
@pytest.mark.parametrize('data', [
    b'', b'{', b'{}x', b'{"a":}', b'{"a":' + b'9' * 5000 + b'}', b'{\xff}',
    b'\xff', b'x', b'====', b'AAA', b'gg==', b'[]', b'null', b'"{"',
    base64.b64encode(b''), base64.b64encode(b'\xc1'),
    base64.b64encode(msgpack.packb([1])), base64.b64encode(b'\x80\x80'),
    base64.b64encode(b'\xdf\xff\xff\xff\xff'),
    base64.b64encode(b'\x81\x90\x01'),
    base64.b64encode(b'\x81\xa1a\xa1\xff')])
def test_data_that_are_none(number: int, data: bytes) -> None:
    with pytest.raises(DecodeError):
        understand(fields_of(number, data=data))


@pytest.mark.parametrize('value', [
    msgpack.ExtType(1, b'x'), {b'key': 1}, {'a': {b'key': 1}},
    msgpack.Timestamp(LAST_DATE + 1), msgpack.Timestamp(-LAST_DATE - 1),
    msgpack.Timestamp(2**62), msgpack.Timestamp(-2**62)])
def test_what_no_client_can_be_told(value: Any) -> None:
    data = {'opts': ALL, 'packet': {**EVENT_PACKET, 'data': ['a', value]}}
    with pytest.raises(DecodeError):
        understand(fields_of(3, data=binary(data)))


def test_the_error_does_not_repeat_the_payload() -> None:
    for fields in (fields_of(2, type=b'geheim'), fields_of(3, data=b'geheim'),
                   fields_of(3, data=b'{"geheim": geheim'),
                   fields_of(3, {'opts': 'geheim'}),
                   fields_of(8, {'requestId': REQUEST,
                                 'sockets': [{'id': ['geheim']}]})):
        with pytest.raises(DecodeError) as caught:
            understand(fields)
        assert 'geheim' not in str(caught.value)


@pytest.mark.parametrize('namespace', ['', 'x' * (MAX_NAME + 1), '\ud800'])
def test_names_that_cannot_be_sent(namespace: str) -> None:
    with pytest.raises(ValueError):
        encoder.encode(namespace, Heartbeat())


# -- whatever it is ----------------------------------------------------------

keys = st.one_of(st.text(max_size=5), st.integers(-10**6, 10**6),
                 st.booleans(), st.none(), st.floats(allow_nan=False))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2**63, 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20), st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray))
values = st.recursive(scalars, lambda children: st.one_of(
    st.lists(children, max_size=4),
    st.lists(children, max_size=4).map(tuple),
    st.dictionaries(keys, children, max_size=4)), max_leaves=10)


def plain(value: Any) -> Any:
    """What JSON makes of a value; bytes stay."""
    if isinstance(value, (list, tuple)):
        return [plain(child) for child in value]
    if isinstance(value, dict):
        return {next(iter(json.loads(json.dumps({key: 0})))): plain(child)
                for key, child in value.items()}
    if isinstance(value, bytearray):
        return bytes(value)
    return value


@given(values)
@example([b'', {1: 1, '1': 2}])
@example({'a': '\ud800'})
def test_all_that_is_accepted_arrives(value: Any) -> None:
    assert again(value) == plain(value)


names = st.sampled_from([b'uid', b'nsp', b'type', b'data', b'wid', b'seq',
                         b'behind'])
kinds = st.sampled_from([b'%d' % number for number in range(15)])
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(),
              st.text(st.characters(codec=None), max_size=5)),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.text(max_size=5), children, max_size=4)),
    max_leaves=10)
#: Anything that msgpack can say: a client of ours would not.
packables = st.recursive(
    st.one_of(scalars, st.builds(msgpack.ExtType, st.integers(0, 127),
                                 st.binary(max_size=16)),
              st.builds(msgpack.Timestamp, st.integers(-2**63, 2**63 - 1),
                        st.integers(0, 10**9 - 1))),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.one_of(keys, st.binary(max_size=3)), children,
                        max_size=4)), max_leaves=10)


def known(children: Any) -> Any:
    """Mappings that look like the data of messages."""
    opts = st.fixed_dictionaries({}, optional={
        'rooms': children | st.lists(children), 'flags': children,
        'except': children | st.lists(children)})
    packet = st.fixed_dictionaries({}, optional={
        'type': st.sampled_from([2, 5]) | children,
        'data': st.lists(children, min_size=1) | children, 'nsp': children})
    event = st.builds(
        lambda args, opts: {'packet': {'type': 2, 'data': ['e', *args],
                                       'nsp': '/'}, 'opts': opts},
        st.lists(children), opts | st.just(ALL))
    return event | st.fixed_dictionaries({}, optional={
        'opts': opts | children, 'packet': packet | children,
        'requestId': st.just(REQUEST) | children,
        'rooms': st.lists(children) | children, 'close': children,
        'sockets': st.lists(children) | children,
        'clientCount': children, 'args': st.lists(children) | children})


def survive(fields: List[bytes]) -> None:
    """A message or a DecodeError; and what is for clients can be sent."""
    try:
        message = understand(fields)
    except DecodeError as exc:
        assert str(exc)
        return
    assert message.type in MessageType
    if isinstance(message, Broadcast):
        encoded = Packet(EVENT, data=list(message.args), namespace='/x',
                         id=1).encode()
        assert encoded


@given(st.lists(st.binary(max_size=50) | names))
def test_any_fields(fields: List[bytes]) -> None:
    survive(fields)


@given(st.dictionaries(names, st.binary(max_size=50) | kinds))
def test_any_values_of_the_fields(fields: Dict[bytes, bytes]) -> None:
    survive([each for pair in fields.items() for each in pair])


@given(kinds, st.binary(max_size=200))
def test_any_data(kind: bytes, data: bytes) -> None:
    survive(fields_of(0, type=kind, data=data))
    survive(fields_of(0, type=kind, data=b'{' + data))
    survive(fields_of(0, type=kind, data=base64.b64encode(data)))


@given(kinds, jsons | known(jsons))
@example(b'3', {'opts': ALL, 'packet': {
    'type': 2, 'nsp': '/', 'data': ['e', '\ud800', 1e400]}})
def test_any_json(kind: bytes, data: Any) -> None:
    survive(fields_of(0, type=kind, data=json.dumps(data).encode()))


@given(kinds, packables | known(packables))
def test_any_msgpack(kind: bytes, data: Any) -> None:
    survive(fields_of(0, type=kind, data=binary(data)))


@given(kinds, known(packables), st.data())
def test_damaged_msgpack(kind: bytes, data: Any, draw: Any) -> None:
    packed = bytearray(msgpack.packb(data))
    position = draw.draw(st.integers(0, len(packed) - 1))
    packed[position] = draw.draw(st.integers(0, 255))
    survive(fields_of(0, type=kind, data=base64.b64encode(packed)))


@given(st.integers(-2**63, 2**63 - 1), st.integers(0, 2**32 - 1))
@example(253_402_300_799, 999_999_999)
@example(-62_135_596_800, 0)
@example(LAST_DATE, 0)
@example(-LAST_DATE, 0)
def test_any_date(seconds: int, nanoseconds: int) -> None:
    """The extension's longest form holds more than a date can be."""
    packed = msgpack.packb({'opts': ALL, 'packet': {
        'type': 2, 'nsp': '/', 'data': ['e', 'X']}})
    stamp = b'\xc7\x0c\xff' + struct.pack('>Iq', nanoseconds, seconds)
    survive(fields_of(3, data=base64.b64encode(
        packed.replace(b'\xa1X', stamp))))
