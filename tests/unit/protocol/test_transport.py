"""The values of a transport's contract. The contract itself is tested for each
transport, see tests/support/transport_contract.py."""
import pytest

from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.protocol.transport import EntryRefused, is_there, \
    NO_STREAM, NotReplicated, TransportError, Unavailable
from redis_streams_adapter.testing.stream import FakeStream


def test_errors() -> None:
    """A writer has to know whether something may be stored."""
    assert not Unavailable('away').in_doubt
    assert Unavailable('broken', in_doubt=True).in_doubt
    # It is stored, and may vanish.
    assert NotReplicated('0 of 1').in_doubt
    assert EntryRefused('too large', 3).index == 3
    for error in (Unavailable, NotReplicated, EntryRefused):
        assert issubclass(error, TransportError)
    assert not issubclass(EntryRefused, Unavailable)


def test_missing_stream() -> None:
    assert NO_STREAM.first_id is None
    assert NO_STREAM.last_id == START
    assert NO_STREAM.added == NO_STREAM.length == 0


def test_is_there() -> None:
    stream = FakeStream()
    link = stream.link()
    link.connect()
    assert not is_there(link, START)
    first, second, third = (stream.put(b'a', b'b') for _ in range(3))
    for position in (first, second, third):
        assert is_there(link, position)
        assert not is_there(link, Position(
            position.milliseconds, position.number + 10))
    assert not is_there(link, first.before())
    stream.trim(1)
    assert [is_there(link, each) for each in (first, second, third)] == [
        False, False, True]
    stream.kill(link)
    with pytest.raises(Unavailable):
        is_there(link, third)
