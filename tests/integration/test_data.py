"""Every node's clients receive exactly the data that was sent."""
import math
import random
from typing import Any, Callable, Dict, List, Tuple

import pytest
from socketio import packet

from ..support.client import Client
from ..support.json_values import Unserialisable
from ..support.node_process import RemoteError
from .conftest import Cluster

Connect = Callable[..., Client]
Unique = Callable[[str], str]

#: Emitted data, and the arguments that a client receives.
PAYLOADS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    'nothing': (None, ()),
    'text': ('hello', ('hello',)),
    'empty text': ('', ('',)),
    'unicode': ('grüße, мир, 世界, 🎉\u2028\x00"\\', (
        'grüße, мир, 世界, 🎉\u2028\x00"\\',)),
    'integer': (42, (42,)),
    'zero': (0, (0,)),
    'big integers': ([2 ** 53, -2 ** 63, 2 ** 64 - 1],
                     ([2 ** 53, -2 ** 63, 2 ** 64 - 1],)),
    'floats': ([0.1, -1.5e300, 5e-324], ([0.1, -1.5e300, 5e-324],)),
    'truth': (True, (True,)),
    'falsehood': (False, (False,)),
    'list': ([1, 'two', [3]], ([1, 'two', [3]],)),
    'empty list': ([], ([],)),
    'mapping': ({'a': {'b': [None, {}]}}, ({'a': {'b': [None, {}]}},)),
    'keys that are no text': ({1: 'one', 2: 'two'}, (
        {'1': 'one', '2': 'two'},)),
    'several': (('a', 2, None, [4]), ('a', 2, None, [4])),
    'nothing several times': ((None, None), (None, None)),
    'no arguments': ((), ()),
    'tuple inside': ([(1, 2)], ([[1, 2]],)),
    'bytes': (b'\x00\xff', (b'\x00\xff',)),
    'no bytes': (b'', (b'',)),
    'bytearray': (bytearray(b'\x01\xfe'), (b'\x01\xfe',)),
    'bytes inside': (
        {'a': [b'\x00', {'b': bytearray(b'\x01')}], 'c': 'text'},
        ({'a': [b'\x00', {'b': b'\x01'}], 'c': 'text'},)),
    'bytes among several': ((1, b'\x02', 'three', {'four': b'\x04'}),
                            (1, b'\x02', 'three', {'four': b'\x04'})),
    'bytes, unicode and numbers': (
        [b'\x80', '世界', 2 ** 40, -1, 1.5, None, True],
        ([b'\x80', '世界', 2 ** 40, -1, 1.5, None, True],)),
    'bytes and keys that are no text': ({1: b'one'}, ({'1': b'one'},)),
    'what looks like a placeholder': (
        {'_placeholder': True, 'num': 0}, (
            {'_placeholder': True, 'num': 0},)),
}


def knows_bytearray() -> bool:
    """Whether this python-socketio can send a ``bytearray``."""
    try:
        packet.Packet(packet.EVENT, data=['event', bytearray()]).encode()
    except TypeError:
        return False
    return True


@pytest.mark.parametrize('name', PAYLOADS)
def test_data(cluster: Cluster, listeners: List[Client], unique: Unique,
              name: str) -> None:
    data, expected = PAYLOADS[name]
    if 'bytearray' in repr(data) and not knows_bytearray():
        pytest.skip('this python-socketio does not know bytearray')
    event = unique('data')
    cluster.a.emit(event, data)
    for client in listeners:
        assert client.wait_for(event) == [expected]


def test_numbers_keep_their_types(cluster: Cluster, listeners: List[Client],
                                  unique: Unique) -> None:
    event = unique('data')
    for data in ([1, 1.0, True], [1, 1.0, True, b'binary']):
        cluster.b.emit(event, data)
    for client in listeners:
        for (received,) in client.wait_for(event, 2):
            assert [type(each) for each in received[:3]] == [
                int, float, bool]


@pytest.mark.parametrize('kind', ['text', 'bytes'])
def test_a_megabyte(cluster: Cluster, listeners: List[Client],
                    unique: Unique, kind: str) -> None:
    event = unique('big')
    # Random, so that it cannot be compressed.
    data: Any = random.Random(1).randbytes(1_000_000)
    if kind == 'text':
        data = data[:500_000].hex()
    cluster.a.emit(event, ('before', data, 'after'))
    for client in listeners:
        assert client.wait_for(event) == [('before', data, 'after')]


@pytest.mark.parametrize('data, error', [
    (Unserialisable(), 'TypeError'),
    ({'a': [1, Unserialisable()]}, 'TypeError'),
    (('fine', Unserialisable()), 'TypeError'),
    ([b'binary', Unserialisable()], 'TypeError'),
    ({'a': [1, math.nan]}, 'ValueError'),
    ([b'binary', -math.inf], 'ValueError')],
    ids=['alone', 'inside', 'several', 'with bytes', 'NaN',
         'infinity with bytes'])
def test_unserialisable_data_are_refused(cluster: Cluster,
                                         listeners: List[Client],
                                         redis_server: Any, unique: Unique,
                                         data: Any, error: str) -> None:
    """It raises in the caller, and no client receives anything."""
    event, marker = unique('event'), unique('marker')
    with pytest.raises(RemoteError) as info:
        cluster.a.emit(event, data)
    assert error in info.value.types
    cluster.a.emit(marker)
    for client in listeners:
        client.wait_for(marker)
        assert client.received(event) == []
    assert cluster.a.flush()
    with redis_server.client() as redis:
        written = b''.join(
            value for _, fields in redis.xrevrange('socket.io', count=20)
            for value in fields.values())
    assert marker.encode() in written
    assert event.encode() not in written


def test_bytes_for_both_transports(cluster: Cluster, connect: Connect,
                                   unique: Unique) -> None:
    """A polling client gets base64, a WebSocket client the bytes."""
    clients = [connect(node, transport=transport)
               for node in (cluster.a, cluster.b)
               for transport in ('websocket', 'polling', 'websocket')]
    event = unique('event')
    for number in range(5):
        cluster.a.emit(event, (number, b'\x00\xff'))
    for client in clients:
        client.wait_for(event, 5)
        assert client.received(event) == [
            (number, b'\x00\xff') for number in range(5)]
