"""What a node asks the runtime to do."""
import dataclasses
import typing

import pytest

from redis_streams_adapter.protocol.events import Act, Completed, Event, \
    Learned, NodeLeft, Returned
from redis_streams_adapter.protocol.messages import Broadcast

ALL = typing.get_args(Event)


@pytest.mark.parametrize('kind', ALL, ids=lambda kind: kind.__name__)
def test_events_are_immutable(kind: type) -> None:
    if dataclasses.is_dataclass(kind):
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    else:
        assert issubclass(kind, tuple)


def test_equality() -> None:
    assert NodeLeft('/', 'a', True) == NodeLeft('/', 'a', True)
    assert NodeLeft('/', 'a', True) != NodeLeft('/', 'a', False)
    waiter = object()
    assert Completed(waiter) == Completed(waiter) != Completed(object())
    assert Returned(1, True) != Returned(1, False)
    assert Learned() == Learned()


def test_default_way_is_the_stream() -> None:
    assert Act('/', 'a', Broadcast(('x',))).way is None
