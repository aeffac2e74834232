"""One stream, as a process uses it."""
from types import SimpleNamespace
from typing import Any

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.sequences import Sequences
from redis_streams_adapter.runtime.channel import Channel


def make(own: bytes) -> Channel:
    parts: Any = SimpleNamespace(cursor=Position(5, 1), skip_to=None)
    nothing: Any = None
    return Channel('s', nothing, parts, Sequences(own), nothing, nothing,
                   nothing)


def test_channels_are_told_apart_by_identity() -> None:
    """They are looked for in lists, and two may have equal parts."""
    first, second = make(b'a'), make(b'a')
    assert first != second
    assert first in [second, first]
    assert not first.sending and not first.positioned


def test_a_manager_is_started_anew() -> None:
    """What its clients had from the former runtime does not come again, and
    no former writer counts as another process."""
    first, second, third = make(b'a'), make(b'b'), make(b'c')
    first.reader.cursor = Position(7)
    second.succeed(first)
    assert second.reader.skip_to == Position(7)
    assert second.sequences.former == {b'a'}
    third.succeed(second)
    assert third.sequences.former == {b'a', b'b'}
