"""A node's sessions and the Redis that stores them."""
import logging
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from .writing import FakeSessions, Node, set_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The session writer's clock; ``clock.now`` is the time."""
    clock = SimpleNamespace(now=1000.0)
    set_clock(clock, monkeypatch)
    return clock


@pytest.fixture
def store() -> FakeSessions:
    return FakeSessions()


@pytest.fixture
def node(store: FakeSessions, clock: Any,
         logger: Callable[[], logging.Logger]) -> Node:
    return Node(store, logger)
