"""Which stream a namespace goes to."""
from typing import List

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.routing import hash_code, private_channel, \
    public_channel, stream_index, stream_names


def test_names() -> None:
    assert stream_names('socket.io', 1) == ['socket.io']
    assert stream_names('x', 3) == ['x-0', 'x-1', 'x-2']


def test_channels() -> None:
    """As ``dist/adapter.js`` of the adapter 0.3 has them."""
    assert public_channel('socket.io', '/') == 'socket.io#/#'
    assert public_channel('x', '/chat') == 'x#/chat#'
    assert private_channel('socket.io', '/', 'uid') == 'socket.io#/#uid#'


#: As JavaScript computed them: the hash, and its remainders by 2, 3, 4, 7.
#: Those below 0 name streams that nobody reads.
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
def test_as_in_node(namespace: str, number: int,
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
