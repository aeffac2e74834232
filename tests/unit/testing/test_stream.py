"""The stream in memory fulfils the contract of a transport, as Redis does."""
import contextlib
from typing import Any, Iterator

import pytest

# The tests, and their fixtures.
from ...support.transport_contract import *  # noqa: F401, F403
from ...support.transport_contract import LONGEST
from redis_streams_adapter.testing.stream import FakeStream, Fault


class Backend:
    """The fake stream, as the contract needs it."""

    def __init__(self) -> None:
        self.stream = FakeStream()
        self.stream.chokes_on = lambda entry: any(
            len(value) > LONGEST for value in entry)
        self.kill = self.stream.kill
        self.trim = self.stream.trim
        self.delete = self.stream.delete

    def link(self, block: float = 0.0) -> Any:
        return self.stream.link()

    def unreachable_link(self) -> Any:
        nobody = FakeStream()
        nobody.go_away()
        return nobody.link()

    def link_losing_a_reply(self) -> Any:
        self.stream.plan('append', Fault.BREAK_AFTER)
        return self.stream.link()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        self.stream.error = 'OOM'
        yield
        self.stream.error = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.stream.freeze()
        yield
        self.stream.thaw()

    def waiting(self) -> int:
        return self.stream.waiting

    def pass_time(self, link: Any) -> None:
        self.stream.advance(1.0)


@pytest.fixture
def backend() -> Backend:
    return Backend()
