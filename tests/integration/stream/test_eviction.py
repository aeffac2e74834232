"""What a writer trims when the memory of a real Redis is full."""
from typing import Any, Iterator, List

import pytest

from redis_streams_adapter.protocol.transport import Link
from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.eviction import Eviction, SHARE
from redis_streams_adapter.stream.link import open_link

from .conftest import STREAM


@pytest.fixture
def link(server: Any, redis: Any) -> Iterator[Link]:
    link = open_link(open_driver(server.url, {}, STREAM), STREAM, 10_000)
    link.connect()
    yield link
    link.close()


def fill(redis: Any, count: int, size: int) -> None:
    for number in range(count):
        redis.xadd(STREAM, {'number': number, 'data': 'x' * size})


@pytest.mark.parametrize('count', [200, 210, 400, 1600])
@pytest.mark.parametrize('size', [1, 30, 130, 1000, 5000])
def test_something_is_trimmed(redis: Any, link: Link, count: int,
                              size: int) -> None:
    """Also if the share is less than a node of the stream, which is what
    Redis frees at once."""
    fill(redis, count, size)
    evicted: List[int] = []
    Eviction(None, evicted.append).free(link, 0)
    left = redis.xlen(STREAM)
    assert evicted == [count - left]
    assert 0 < evicted[0] <= max(100, count // SHARE)


@pytest.mark.parametrize('count, size', [(200, 1), (200, 130), (400, 1000)])
def test_half_is_kept(redis: Any, link: Link, count: int, size: int) -> None:
    fill(redis, count, size)
    evicted: List[int] = []
    eviction = Eviction(None, evicted.append)
    for _ in range(3 * SHARE):
        eviction.free(link, 0)
    left = redis.xlen(STREAM)
    assert sum(evicted) == count - left
    assert count // 2 <= left < count // 2 + 100


def test_less_than_a_node(redis: Any, link: Link) -> None:
    """There is nothing that could be freed without the newest entries."""
    fill(redis, 50, 1)
    evicted: List[int] = []
    Eviction(None, evicted.append).free(link, 0)
    assert (evicted, redis.xlen(STREAM)) == ([], 50)
