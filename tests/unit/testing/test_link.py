"""What only the connection to a stream in memory does. test_stream tests the
contract."""
import pytest

from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.testing.faults import Fault
from redis_streams_adapter.testing.stream import FakeStream


def test_planned_fault_of_a_discard() -> None:
    stream = FakeStream()
    link = stream.link()
    link.connect()
    position = stream.put(b'name', b'value')
    stream.plan('discard', Fault.ERROR, Fault.BREAK_BEFORE)
    for _ in range(2):
        with pytest.raises(Unavailable):
            link.discard([position], 1.0)
    assert not link.connected
    assert len(stream.entries) == 1


def test_stream_without_entries_does_not_expire() -> None:
    stream = FakeStream()
    link = stream.link()
    link.connect()
    link.discard((), 0.0)
    stream.put(b'name', b'value')
    assert len(link.read(START, 10, None)) == 1
