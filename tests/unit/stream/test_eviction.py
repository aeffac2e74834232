"""A writer whose server has no memory left."""
from typing import Any, Callable, List, Optional

import pytest

from redis_streams_adapter.protocol.transport import OutOfMemory, Unavailable
from redis_streams_adapter.stream.eviction import Eviction, SHARE
from redis_streams_adapter.testing.stream import CLOCK_START, FakeLink, \
    FakeStream, Fault

from ..driving import UntilDone
from .writers import Make, put, send


@pytest.fixture
def full(stream: FakeStream, monkeypatch: pytest.MonkeyPatch,
         ) -> Callable[[int], None]:
    """Limits how many entries the server has memory for."""
    append = FakeLink.append
    limits: List[int] = []

    def limited(self: Any, batch: Any, *args: Any) -> Any:
        if limits and len(stream.entries) + len(batch) > limits[-1]:
            raise OutOfMemory('OOM')
        return append(self, batch, *args)

    monkeypatch.setattr(FakeLink, 'append', limited)
    return limits.append


def old(stream: FakeStream, count: int) -> None:
    for _ in range(count):
        stream.put(b'old')


@pytest.mark.parametrize('retention', [None, 60.0])
def test_writer_trims_its_stream_and_goes_on(
        stream: FakeStream, make_writer: Make, full: Callable[[int], None],
        retention: Optional[float]) -> None:
    evicted: List[int] = []
    old(stream, 80)
    full(80)
    writer = make_writer(evicted=evicted.append, retention=retention)
    for number in range(30):
        put(writer, number)
        errors = send(writer)
        assert [type(each) for each in errors] in ([], [OutOfMemory])
    assert [int(entry.fields[1]) for entry in stream.history[80:]] \
        == list(range(30))
    # A small part at a time.
    assert evicted == [80 // SHARE] * 3
    assert len(stream.entries) == 80


def test_expired_entries_are_no_loss(stream: FakeStream, make_writer: Make,
                                     full: Callable[[int], None]) -> None:
    evicted: List[int] = []
    old(stream, 80)
    full(80)
    stream.clock += 61_000
    writer = make_writer(evicted=evicted.append, retention=60.0)
    put(writer, 1)
    assert len(send(writer)) == 1
    assert (evicted, len(stream.entries)) == ([], 1)


def test_memory_that_others_use(stream: FakeStream, make_writer: Make,
                                full: Callable[[int], None]) -> None:
    """Half of the history is kept, however long it takes; when there is
    memory again, all is sent, in order."""
    evicted: List[int] = []
    old(stream, 80)
    full(0)
    writer = make_writer(evicted=evicted.append)
    put(writer, *range(10))
    for _ in range(50):
        with pytest.raises(OutOfMemory):
            writer.work(UntilDone(lambda: False))
    assert sum(evicted) == 40 == len(stream.entries)
    put(writer, *range(10, 20))
    full(10_000)
    assert send(writer) == []
    assert [int(entry.fields[1]) for entry in stream.history[80:]] \
        == list(range(20))
    # Later it may be trimmed again.
    full(0)
    put(writer, 20)
    with pytest.raises(OutOfMemory):
        writer.work(UntilDone(lambda: False))
    assert sum(evicted) == 40 + 60 // SHARE


@pytest.mark.parametrize('operation', ['trim', 'ends', 'time'])
@pytest.mark.parametrize('fault', [Fault.ERROR, Fault.BREAK_BEFORE])
def test_trimming_that_fails_is_no_error(stream: FakeStream, operation: str,
                                         fault: Fault) -> None:
    """The user may have no permission for XTRIM."""
    old(stream, 80)
    link = stream.link()
    link.connect()
    stream.plan(operation, fault)
    evicted: List[int] = []
    stream.clock = CLOCK_START
    Eviction(60.0, evicted.append).free(link, 0)
    assert (evicted, len(stream.entries)) == ([], 80)


def test_empty_stream(stream: FakeStream) -> None:
    link = stream.link()
    link.connect()
    Eviction(None, [].append).free(link, 0)


def test_it_is_an_outage_like_others() -> None:
    assert issubclass(OutOfMemory, Unavailable)
    assert not OutOfMemory('OOM').in_doubt
