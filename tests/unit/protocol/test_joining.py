"""A large answer is what one step would have made of it."""
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.joining import join_json, join_msgpack, \
    Part
from redis_streams_adapter.protocol.messages import FetchSocketsResponse

ENCODER, OURS = Encoder('me'), Application('ours', 0)


def as_json(sockets: List[Any]) -> bytes:
    return ENCODER.encode('/', FetchSocketsResponse('r', tuple(sockets)))[-1]


def as_msgpack(sockets: List[Any]) -> bytes:
    return ENCODER.pack(
        '/', FetchSocketsResponse('r', tuple(sockets)), OURS)


@pytest.mark.parametrize('encode, join', [
    (as_json, join_json), (as_msgpack, join_msgpack)])
@pytest.mark.parametrize('sizes', [
    [1], [1, 1], [15, 1], [16, 20], [3] * 50, [40_000, 30_000]])
def test_join(encode: Callable[..., bytes], join: Callable[..., Any],
              sizes: List[int]) -> None:
    sockets = [{'id': f's{number}', 'data': {'text': ']}', 'n': [number]}}
               for number in range(sum(sizes))]
    parts, start = [], 0
    for size in sizes:
        parts.append(Part(size, encode(sockets[start:start + size])))
        start += size
    assert join(encode([]), parts) == encode(sockets)


def test_bytes_are_not_json() -> None:
    parts = [Part(1, as_json([{'data': data}])) for data in (1, b'')]
    assert join_json(as_json([]), parts) is None


def test_part_that_is_something_else() -> None:
    assert join_msgpack(as_msgpack([]), [Part(1, b'')]) is None
