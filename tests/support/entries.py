"""Malformed and odd entries, which no node writes."""
import base64
import json
from typing import Any, Dict

import msgpack
import redis

Fields = Dict[bytes, bytes]


def add_entry(admin: redis.Redis, stream: str, fields: Fields) -> str:
    """Write an entry.

    :return: its id.
    """
    # A list of pairs: redis-py does not accept an empty name in a mapping.
    flat = [part for pair in fields.items() for part in pair]
    return str(admin.execute_command('XADD', stream, '*', *flat).decode())


def entry(data: Any = None, kind: Any = 3, **fields: Any) -> Fields:
    """The fields of an entry of another node.

    :param data: encoded as JSON; ``bytes`` are used as they are.
    """
    found: Fields = {b'uid': b'0123456789abcdef', b'nsp': b'/',
                     b'type': str(kind).encode()}
    if data is not None:
        found[b'data'] = (data if isinstance(data, bytes)
                          else json.dumps(data).encode())
    for name, value in fields.items():
        found[name.encode()] = value
    return found


def without(*names: str) -> Fields:
    """A valid entry without the named fields."""
    return {name: value for name, value in broadcast().items()
            if name.decode() not in names}


def broadcast(opts: Any = None, packet: Any = None,
              **more: Any) -> Fields:
    """A BROADCAST. It is valid unless arguments replace parts."""
    if opts is None:
        opts = {'rooms': [], 'except': [], 'flags': {}}
    if packet is None:
        packet = {'type': 2, 'data': ['malformed'], 'nsp': '/'}
    return entry({'opts': opts, 'packet': packet, **more})


def with_opts(**opts: Any) -> Fields:
    """A BROADCAST with odd ``opts``."""
    return broadcast({'rooms': [], 'except': [], 'flags': {}, **opts})


def with_packet(**packet: Any) -> Fields:
    """A BROADCAST with an odd packet."""
    return broadcast(packet={'type': 2, 'data': ['malformed'], 'nsp': '/',
                             **packet})


def packed(raw: bytes) -> bytes:
    """The encoding of data that are not JSON."""
    return base64.b64encode(raw)


OPTS: Dict[str, Any] = {'rooms': [], 'except': [], 'flags': {}}
DEEP = 100_000

#: Entries without a valid message.
MALFORMED: Dict[str, Fields] = {
    # The fields.
    'one strange field': {b'a': b'b'},
    'an empty field': {b'': b''},
    'no uid': without('uid'),
    'no namespace': without('nsp'),
    'no type': without('type'),
    'no data': without('data'),
    'empty uid': entry(OPTS, uid=b''),
    'uid is not UTF-8': entry(OPTS, uid=b'\xff\xfe'),
    'namespace is not UTF-8': entry(OPTS, nsp=b'/\xff'),
    'data is not UTF-8': entry(b'{"opts": "\xff\xfe"}'),
    'a huge uid': entry(OPTS, uid=b'u' * 1_000_000),
    'a huge namespace': entry(OPTS, nsp=b'/' + b'n' * 1_000_000),
    # The type.
    'unknown type': entry(OPTS, 99),
    'type zero': entry(OPTS, 0),
    'negative type': entry(OPTS, -3),
    'type with a fraction': entry(OPTS, '3.0'),
    'type in words': entry(OPTS, 'three'),
    'type is empty': entry(OPTS, ''),
    'type out of range': entry(OPTS, '9' * 5000),
    'type in other digits': entry(OPTS, '\u0663'),
    'type with blanks': entry(OPTS, ' 3 '),
    'type with an underscore': entry(OPTS, '1_0'),
    'type is not UTF-8': entry(OPTS, **{'type': b'\xff'}),
    # The encoding of the data.
    'empty data': entry(b''),
    'broken JSON': entry(b'{"opts": {'),
    'JSON and more': entry(b'{} {}'),
    'a list': entry(b'[1, 2]'),
    'a number': entry(b'17'),
    'deep JSON': entry(b'{"a":' * DEEP + b'1' + b'}' * DEEP),
    'deep lists': entry(b'{"opts":' + b'[' * DEEP + b']' * DEEP + b'}'),
    'a number of many digits': entry(b'{"opts": ' + b'9' * 100_000 + b'}'),
    **{f'{word} in JSON': entry(
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
        b'{"type":2,"nsp":"/","data":["malformed",{"a":[%s]}]}}'
        % word.encode())
        for word in ('NaN', 'Infinity', '-Infinity', '1e999', '-1E+400')},
    'not base64': entry(b'%%%%'),
    'half of base64': entry(b'abc'),
    'base64 of nothing known': entry(packed(b'\xc1')),
    'msgpack that breaks off': entry(packed(b'\x85\xa4opts')),
    'msgpack and more': entry(packed(msgpack.packb({}) + b'\x00')),
    'msgpack of a list': entry(packed(msgpack.packb([1]))),
    'msgpack of nothing': entry(packed(msgpack.packb(None))),
    'deep msgpack': entry(packed(b'\x91' * DEEP + b'\x01')),
    'msgpack that promises too much': entry(packed(
        b'\xdf\xff\xff\xff\xff')),
    'msgpack of text that is not UTF-8': entry(packed(
        b'\x81\xa4opts\xa2\xff\xfe')),
    'msgpack of an unknown extension': entry(packed(msgpack.packb(
        {'opts': OPTS, 'packet': {
            'type': 2, 'nsp': '/',
            'data': ['malformed', msgpack.ExtType(42, b'x')]}}))),
    'msgpack with a list for a key': entry(packed(b'\x81\x91\x01\x01')),
    # The contents of the data.
    'nothing in the data': entry({}),
    'no opts': entry({'packet': {'type': 2, 'data': ['malformed']}}),
    'no packet': entry({'opts': OPTS}),
    'opts is nothing': entry({'opts': None, 'packet': {
        'type': 2, 'data': ['malformed'], 'nsp': '/'}}),
    'opts is a list': broadcast([1]),
    'opts is text': broadcast('rooms'),
    'rooms is text': with_opts(rooms='room'),
    'rooms is a number': with_opts(rooms=1),
    'rooms is a mapping': with_opts(rooms={'a': 1}),
    'rooms of lists': with_opts(rooms=[['a']]),
    'rooms of mappings': with_opts(rooms=[{}]),
    'rooms of nothing': with_opts(rooms=[None]),
    'except is text': with_opts(**{'except': 'room'}),
    'except of lists': with_opts(**{'except': [[]]}),
    'packet is a list': broadcast(packet=[2]),
    'packet is text': broadcast(packet='2'),
    'no data in the packet': broadcast(packet={'type': 2, 'nsp': '/'}),
    'data of the packet is text': with_packet(data='malformed'),
    'data of the packet is a mapping': with_packet(data={'a': 1}),
    'no event': with_packet(data=[]),
    'the event is a mapping': with_packet(data=[{'a': 1}]),
    'the event is nothing': with_packet(data=[None]),
    'request id is a list': broadcast(requestId=['a']),
    'request id is a mapping': broadcast(requestId={'a': 1}),
    # The other types of messages.
    'join without rooms': entry({'opts': OPTS}, 4),
    'join with text for rooms': entry({'opts': OPTS, 'rooms': 'a'}, 4),
    'join with lists for rooms': entry({'opts': OPTS, 'rooms': [[1]]}, 4),
    'join without opts': entry({'rooms': ['a']}, 4),
    'leave without rooms': entry({'opts': OPTS}, 5),
    'disconnect without opts': entry({'close': True}, 6),
    'disconnect with text for opts': entry({'opts': 'all'}, 6),
    'count that is text': entry(
        {'requestId': 'a', 'clientCount': 'many'}, 11),
    'count without a request': entry({'clientCount': 1}, 11),
    'acknowledgement without a request': entry({'packet': 1}, 12),
    # The two fields of this package.
    'sequence number is text': {**broadcast(), b'wid': b'w', b'seq': b'x'},
    'sequence number is negative': {
        **broadcast(), b'wid': b'w', b'seq': b'-1'},
    'sequence number is missing': {**broadcast(), b'wid': b'w'},
    'sequence number is out of range': {
        **broadcast(), b'wid': b'w', b'seq': b'9' * 5000},
}

#: Odd entries. A node may accept or skip them.
ODD: Dict[str, Fields] = {
    'unknown namespace': entry(OPTS, nsp=b'/not/served'),
    'more fields than any node knows': {
        **broadcast(), **{b'field %d' % n: b'x' for n in range(1000)}},
    'unknown flags': with_opts(flags={'nonsense': [1], 'volatile': 'yes'}),
    'flags is a list': with_opts(flags=[1]),
    'a timeout out of range': with_opts(flags={'timeout': 10 ** 400}),
    'a room of ten thousand letters': with_opts(rooms=['r' * 10_000]),
    'ten thousand rooms': with_opts(rooms=[f'r{n}' for n in range(10_000)]),
    'rooms of truths': with_opts(rooms=[True]),
    'rooms of fractions': with_opts(rooms=[1.5]),
    'the event is a number': with_packet(data=[7]),
    'the event has a reserved name': with_packet(data=['disconnect']),
    'another type of packet': with_packet(type=4),
    'another namespace in the packet': with_packet(nsp='/elsewhere'),
    'an acknowledgement id in the packet': with_packet(id=7),
    'data with a placeholder': with_packet(
        data=['malformed', {'_placeholder': True, 'num': 0}]),
    'data with half a surrogate': entry(
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
        b'{"type":2,"nsp":"/","data":["malformed","\\ud800"]}}'),
    'join of a sid': entry({'opts': OPTS, 'rooms': ['somebody']}, 4),
    'leave of nothing': entry({'opts': OPTS, 'rooms': []}, 5),
    'fetch of sockets': entry({'opts': OPTS, 'requestId': 'a'}, 7),
    'sockets that were not requested': entry(
        {'requestId': 'a', 'sockets': [{}, None, 7]}, 8),
    'server-side event': entry({'packet': ['event', 1]}, 9),
    'response to an unknown request': entry(
        {'requestId': 'a', 'packet': {}}, 10),
    'count out of range': entry({'requestId': 'a', 'clientCount': 1e300}, 11),
    'negative count': entry({'requestId': 'a', 'clientCount': -1}, 11),
    'count for an unknown request': entry(
        {'requestId': 'a', 'clientCount': 1}, 11),
    'acknowledgement for an unknown request': entry(
        {'requestId': 'a', 'packet': [1]}, 12),
    'goodbye of an unknown server': entry(kind=13),
    'goodbye with data': entry({'a': 1}, 13),
}
