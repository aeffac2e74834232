"""Sessions, and what stores them."""
import logging
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from .writing import FakeSessions, House, show


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the keeper takes for the time: ``clock.now``."""
    clock = SimpleNamespace(now=1000.0)
    show(clock, monkeypatch)
    return clock


@pytest.fixture
def store() -> FakeSessions:
    return FakeSessions()


@pytest.fixture
def house(store: FakeSessions, clock: Any,
          logger: Callable[[], logging.Logger]) -> House:
    return House(store, logger)
