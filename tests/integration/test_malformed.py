"""Entries that no node has written: each harms nobody but itself."""
import base64
import json
import logging
from typing import Any, Callable, Dict, Iterator, List, Tuple

import msgpack
import pytest
import redis

from ..conftest import running
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value
from .conftest import STEADY, start_managers

Connect = Callable[..., Client]
Unique = Callable[[str], str]
Fields = Dict[bytes, bytes]

STREAM = 'malformed'


def entry(data: Any = None, kind: Any = 3, **fields: Any) -> Fields:
    """The fields of an entry of another node.

    :param data: what is encoded as JSON; ``bytes`` go in as they are.
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
    """An entry in good order but for the fields that it lacks."""
    return {name: value for name, value in broadcast().items()
            if name.decode() not in names}


def broadcast(opts: Any = None, packet: Any = None,
              **more: Any) -> Fields:
    """A BROADCAST, in good order unless something else is given."""
    if opts is None:
        opts = {'rooms': [], 'except': [], 'flags': {}}
    if packet is None:
        packet = {'type': 2, 'data': ['malformed'], 'nsp': '/'}
    return entry({'opts': opts, 'packet': packet, **more})


def with_opts(**opts: Any) -> Fields:
    """A BROADCAST with something odd in its ``opts``."""
    return broadcast({'rooms': [], 'except': [], 'flags': {}, **opts})


def with_packet(**packet: Any) -> Fields:
    """A BROADCAST with something odd in its packet."""
    return broadcast(packet={'type': 2, 'data': ['malformed'], 'nsp': '/',
                             **packet})


def packed(raw: bytes) -> bytes:
    """As data that are not JSON travel."""
    return base64.b64encode(raw)


OPTS: Dict[str, Any] = {'rooms': [], 'except': [], 'flags': {}}
DEEP = 100_000

#: Entries that hold no valid message.
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
    # What stands in them.
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
    # Our own two fields.
    'sequence number is text': {**broadcast(), b'wid': b'w', b'seq': b'x'},
    'sequence number is negative': {
        **broadcast(), b'wid': b'w', b'seq': b'-1'},
    'sequence number is missing': {**broadcast(), b'wid': b'w'},
    'sequence number is out of range': {
        **broadcast(), b'wid': b'w', b'seq': b'9' * 5000},
}

#: Entries that are odd, and that a node may accept or skip as it likes.
ODD: Dict[str, Fields] = {
    'unknown namespace': entry(OPTS, nsp=b'/nobody/is/here'),
    'more fields than anybody knows': {
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
    'data with infinity': entry(
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
        b'{"type":2,"nsp":"/","data":["malformed",1e999,NaN]}}'),
    'data with half a surrogate': entry(
        b'{"opts":{"rooms":[],"except":[],"flags":{}},"packet":'
        b'{"type":2,"nsp":"/","data":["malformed","\\ud800"]}}'),
    'join of a sid': entry({'opts': OPTS, 'rooms': ['somebody']}, 4),
    'leave of nothing': entry({'opts': OPTS, 'rooms': []}, 5),
    'fetch of sockets': entry({'opts': OPTS, 'requestId': 'a'}, 7),
    'sockets that nobody has asked for': entry(
        {'requestId': 'a', 'sockets': [{}, None, 7]}, 8),
    'server-side event': entry({'packet': ['event', 1]}, 9),
    'response that nobody waits for': entry(
        {'requestId': 'a', 'packet': {}}, 10),
    'count out of range': entry({'requestId': 'a', 'clientCount': 1e300}, 11),
    'negative count': entry({'requestId': 'a', 'clientCount': -1}, 11),
    'count that nobody waits for': entry(
        {'requestId': 'a', 'clientCount': 1}, 11),
    'acknowledgement that nobody waits for': entry(
        {'requestId': 'a', 'packet': [1]}, 12),
    'goodbye of a stranger': entry(kind=13),
    'goodbye with data': entry({'a': 1}, 13),
}


@pytest.fixture(scope='module')
def pair(mode: str, redis_server: RedisServer) -> Iterator[List[NodeProcess]]:
    """Two nodes with a stream of their own."""
    with running([NodeProcess(mode, redis_server.url,
                              {'stream_name': STREAM, **STEADY})
                  for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield nodes


@pytest.fixture(scope='module')
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Writes what no node would."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def clients(pair: List[NodeProcess], connect: Connect) -> List[Client]:
    """A client on each node."""
    return [connect(node) for node in pair]


def add(admin: Any, fields: Fields) -> str:
    """Write an entry."""
    # Not a mapping: redis-py would not take an empty name.
    flat = [part for pair in fields.items() for part in pair]
    return str(admin.execute_command('XADD', STREAM, '*', *flat).decode())


def deliver(pair: List[NodeProcess], clients: List[Client],
            event: str) -> None:
    """Emit on both nodes, and see that all clients get it."""
    for node in pair:
        node.emit(event, 'good')
    for client in clients:
        assert client.wait_for(event, 2) == [('good',)] * 2


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed(pair: List[NodeProcess], clients: List[Client],
                   admin: Any, unique: Unique, name: str) -> None:
    before = [(node.stats()['malformed'], len(node.control('logs')))
              for node in pair]
    entry_id = add(admin, MALFORMED[name])
    deliver(pair, clients, unique('event'))
    for node, (count, start) in zip(pair, before):
        assert node.stats()['malformed'] == count + 1
        lines = node.logs(logging.INFO, start)
        about = [text for text in lines if entry_id in text]
        assert len(about) == 1
        assert 'Traceback' not in '\n'.join(lines)
        # The log is no place for what strangers write.
        assert len(about[0]) < 1000
    assert all(client.received('malformed') == [] for client in clients)


@pytest.mark.parametrize('name', ODD)
def test_odd(pair: List[NodeProcess], clients: List[Client], admin: Any,
             unique: Unique, name: str) -> None:
    starts = [len(node.control('logs')) for node in pair]
    entry_id = add(admin, ODD[name])
    deliver(pair, clients, unique('event'))
    for node, start in zip(pair, starts):
        lines = node.logs(logging.INFO, start)
        assert len([text for text in lines if entry_id in text]) <= 1
        assert 'Traceback' not in '\n'.join(lines)
    assert all(client.is_connected() for client in clients)


def test_many_at_once(pair: List[NodeProcess], clients: List[Client],
                      admin: Any, unique: Unique) -> None:
    """Every sort of them, between good ones, faster than they are read."""
    event = unique('event')
    before = [node.stats()['malformed'] for node in pair]
    good = 0
    for fields in [*MALFORMED.values(), *ODD.values()]:
        add(admin, fields)
        add(admin, broadcast(packet={
            'type': 2, 'data': [event, good], 'nsp': '/'}))
        good += 1
    for client in clients:
        client.wait_for(event, good)
        assert client.received(event) == [(each,) for each in range(good)]
    for node, count in zip(pair, before):
        found = node.stats()['malformed'] - count
        assert len(MALFORMED) <= found <= len(MALFORMED) + len(ODD)
        node.wait_health('ok')


def test_strangers_entry_is_a_sign_of_life(
        pair: List[NodeProcess], clients: List[Client], admin: Any,
        unique: Unique) -> None:
    """A valid message of a stranger makes it a member, as with Node.js,
    and its goodbye ends that."""
    before = [node.server_count() for node in pair]
    uid = b'fedcba9876543210'
    add(admin, entry(kind=1, uid=uid))
    for node, count in zip(pair, before):
        wait_for_value(node.server_count, count + 1, what='server_count')
    add(admin, entry(kind=13, uid=uid))
    for node, count in zip(pair, before):
        wait_for_value(node.server_count, count, what='server_count')


def test_messages_of_node_js(pair: List[NodeProcess],
                             connect: Connect, admin: Any,
                             unique: Unique) -> None:
    """Entries as the npm package writes them, without the fields of our
    own."""
    client, event = connect(pair[0]), unique('event')
    room = unique('room')
    opts = {'rooms': [client.sid], 'except': [], 'flags': {}}
    add(admin, entry({'opts': opts, 'rooms': [room]}, 4))
    sent: List[Tuple[Any, ...]] = [
        ('text', 1, None), (b'\x00\xff', {'a': [b'\x01']})]
    for args in sent:
        message = {'opts': {'rooms': [room], 'except': [], 'flags': {}},
                   'packet': {'type': 2, 'data': [event, *args],
                              'nsp': '/'}}
        if any(isinstance(arg, bytes) for arg in args):
            add(admin, entry(packed(msgpack.packb(message))))
        else:
            add(admin, entry(message))
    client.wait_for(event, 2)
    assert client.received(event) == sent
    add(admin, entry({'opts': opts, 'rooms': [room]}, 5))
    add(admin, entry({'opts': opts, 'close': True}, 6))
    client.wait_disconnected()
    assert pair[0].rooms(client.sid) == []
