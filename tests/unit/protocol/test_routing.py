"""The stream of each namespace."""
from typing import List

import pytest
from hypothesis import given, strategies as st
from redis.crc import key_slot

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.routing import application_channel, \
    hash_code, marker_channel, member_channel, private_channel, \
    public_channel, slot_key, stream_index, stream_names


def test_names() -> None:
    assert stream_names('socket.io', 1) == ['socket.io']
    assert stream_names('x', 3) == ['x-0', 'x-1', 'x-2']


def test_channels() -> None:
    """The names in ``dist/adapter.js`` of the adapter 0.3."""
    assert public_channel('socket.io', '/') == 'socket.io#/#'
    assert public_channel('x', '/chat') == 'x#/chat#'
    assert private_channel('socket.io', '/', 'uid') == 'socket.io#/#uid#'


@pytest.mark.parametrize('prefix, namespace', [
    ('socket.io', '/'), ('socket.io', '/chat'), ('{x}', '/'), ('x', '/{a}b'),
    ('a{b', '/'), ('x', '/a{b}c{d}')])
def test_channels_that_are_counted_are_in_one_slot(
        prefix: str, namespace: str) -> None:
    """They differ from each other and from those of Node.js, and one pattern
    of an access control list matches them all."""
    public = public_channel(prefix, namespace)
    counted = [marker_channel(prefix, namespace),
               application_channel(prefix, namespace, 'one'),
               application_channel(prefix, namespace, 'two'),
               member_channel(prefix, namespace, 'one', 'uid'),
               member_channel(prefix, namespace, 'one', 'uid2')]
    assert len({public, private_channel(prefix, namespace, 'one'),
                *counted}) == 2 + len(counted)
    assert all(each.startswith(f'{prefix}#') for each in counted)
    slots = {key_slot(each.encode()) for each in counted}
    assert len({slot_key(each) for each in counted}) == len(slots) == 1
    if '{' not in public or '}' in public:
        assert slots == {key_slot(public.encode())}


@given(st.text(st.sampled_from('ab{}#'), max_size=12))
def test_slots(channel: str) -> None:
    """As a server computes them."""
    assert key_slot(slot_key(channel).encode()) == key_slot(channel.encode())


@given(st.text(), st.text(), st.integers(0, 15), st.integers(0, 15))
def test_names_of_applications(one: str, other: str, database: int,
                               number: int) -> None:
    try:
        first = Application(one, database)
        second = Application(other, number)
    except UnicodeEncodeError:
        return  # invalid as the key of a stream
    same = (one, database) == (other, number)
    assert (first.name == second.name) is same
    assert first.is_foreign(second.name) is not same
    assert not {*'#{}'} & {*first.name}
    assert not first.is_foreign(None)


#: Computed by JavaScript: the hash, and its remainders by 2, 3, 4, 7. Negative
#: ones name streams that no server reads.
IN_NODE = [
    ('', 0, [0, 0, 0, 0]),
    ('/', 47, [1, 2, 3, 5]),
    ('/a', 1554, [0, 0, 2, 0]),
    ('/chat', 46457863, [1, 1, 3, 4]),
    ('/admin', 1438238848, [0, 1, 0, 4]),
    ('/custom', 1708878944, [0, 2, 0, 3]),
    ('/notifications', -1014064871, [-1, -2, -3, -1]),
    ('/\xfcn\xefc\xf6d\xe9', -301514778, [0, 0, -2, -5]),
    ('/\U0001f600', 1818066, [0, 0, 2, 5]),
    ('/socket', -2134048670, [0, -2, -2, -5]),
]


@pytest.mark.parametrize('namespace, number, remainders', IN_NODE)
def test_same_stream_as_in_node_js(namespace: str, number: int,
                                   remainders: List[int]) -> None:
    assert hash_code(namespace) == number
    for count, remainder in zip((2, 3, 4, 7), remainders):
        index = stream_index(namespace, count)
        if remainder >= 0:
            assert index == remainder
        else:
            assert index == (number & 0x7fffffff) % count


@given(st.text(), st.integers(1, 100))
def test_it_is_one_of_the_streams(namespace: str, count: int) -> None:
    assert 0 <= stream_index(namespace, count) < count
    assert -2**31 <= hash_code(namespace) < 2**31
