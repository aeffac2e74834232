"""Tasks wait for a position of the stream."""
import threading
from typing import Any, List

import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.recovery.position_waits import PositionWaits

from ...support.wait import DEADLINE, wait_until
from ..nodes import Call

#: Seconds: a limit that no wait of these tests reaches.
AMPLE = 5.0


class Stream:
    """A stream whose reader's position is set by tests."""

    def __init__(self) -> None:
        self.position = Position(100)
        self.make_event: Any = threading.Event
        self.waits = PositionWaits(
            lambda: self.position, lambda: self.make_event())

    def move(self, position: Position) -> None:
        self.position = position
        self.waits.reached(position)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_reached_position_needs_no_wait(stream: Stream) -> None:
    for position in (Position(100), Position(99, 5), START):
        assert stream.waits.reach(position, AMPLE)


def test_wait_for_position_times_out(stream: Stream) -> None:
    assert not stream.waits.reach(Position(100, 1), 0.01)
    assert stream.waits.waits == []


def test_wait_ends_at_position(stream: Stream) -> None:
    calls = [Call(stream.waits.reach, position, DEADLINE)
             for position in (Position(101), Position(101, 5), Position(103))]
    wait_until(lambda: len(stream.waits.waits) == 3)
    stream.move(Position(100, 7))
    assert all(call.waits for call in calls)
    stream.move(Position(102))
    assert calls[0].result() and calls[1].result()
    assert calls[2].waits
    stream.move(Position(110))
    assert calls[2].result()
    assert stream.waits.waits == []


def test_position_reached_before_wait_is_noticed(stream: Stream) -> None:
    """The position is reached between the first check and the wait."""
    def make_event() -> threading.Event:
        stream.move(Position(101))
        return threading.Event()

    stream.make_event = make_event
    assert stream.waits.reach(Position(101), AMPLE)


def test_killed_task_leaves_no_wait(stream: Stream) -> None:
    """The other waits are not disturbed."""
    class Struck(threading.Event):
        def wait(self, timeout: Any = None) -> bool:
            raise KeyboardInterrupt

    other = Call(stream.waits.reach, Position(101), DEADLINE)
    wait_until(lambda: len(stream.waits.waits) == 1)
    stream.make_event = Struck
    with pytest.raises(KeyboardInterrupt):
        stream.waits.reach(Position(101), AMPLE)
    left: List[Any] = stream.waits.waits
    assert len(left) == 1
    stream.move(Position(101))
    assert other.result()
