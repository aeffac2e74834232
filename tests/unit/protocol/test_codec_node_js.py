"""Messages that Node.js writes with msgpack."""
from typing import Any, List, Tuple

import msgpack
import pytest
from socketio.packet import EVENT, Packet

from redis_streams_adapter.protocol.messages import Broadcast, BroadcastAck, \
    FetchSocketsResponse, ServerSideEmit, ServerSideEmitResponse, Target

from .entries import binary, fields_of, REQUEST, understand


# -- as written by @msgpack/msgpack 2.8.0, which Node's adapter uses --------

#: The arguments of an event ``e`` to the room ``r1``, and the result of
#: ``Buffer.from(encode({packet, opts})).toString('base64')``.
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
    # new Date(NaN), for which Node.js writes the same, Buffer.from([0])
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


def test_numbers_of_node_that_json_cannot_express() -> None:
    # NaN, Infinity, -Infinity, Buffer.from([0])
    text = ('gqZwYWNrZXSDpHR5cGUCpGRhdGGVoWXLf/gAAAAAAADLf/AAAAAAAADL//AAAAAA'
            'AADEAQCjbnNwoS+kb3B0c4Olcm9vbXORonIxpmV4Y2VwdJClZmxhZ3OA')
    message = understand(fields_of(3, text.encode()))
    # Written like JSON.stringify, as a server in Node.js sends it to clients.
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
