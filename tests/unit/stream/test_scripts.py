"""What the replies of the scripts mean. tests/integration/stream runs them."""
from typing import Any, List, Optional

import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.position import Position
from redis_streams_adapter.protocol.transport import Ends, Entry, NO_STREAM, \
    Unavailable
from redis_streams_adapter.stream import scripts
from redis_streams_adapter.stream.scripts import ends_of, read_in_parts

COMMAND = b'XREAD', b'4-0'


class Server:
    """A server with one entry, which runs the script that returns parts."""

    def __init__(self, fields: List[bytes]) -> None:
        self.entry_id = b'5-0'
        self.fields = fields
        self.largest = 0

    def run(self, script: bytes, begin: bytes, length: bytes,
            *command: bytes) -> Optional[List[Any]]:
        assert script == scripts.READ_PART and command == COMMAND
        part = b''.join(self.fields)[int(begin):][:int(length)]
        self.largest = max(self.largest, len(part))
        return [self.entry_id, [len(each) for each in self.fields], part]


@pytest.mark.parametrize('reply, ends', [
    ([], NO_STREAM),
    ([b'5-1', b'5-7', None, 2], Ends(Position(5, 1), Position(5, 7), None, 2)),
    ([None, b'5-7', 9, 0], Ends(None, Position(5, 7), 9, 0))])
def test_ends(reply: Any, ends: Ends) -> None:
    assert ends_of(reply) == ends


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
def test_entry_in_parts(fields: List[bytes], part: int) -> None:
    server = Server(fields)
    usual, scripts.PART = scripts.PART, part
    try:
        assert read_in_parts(server.run, *COMMAND) == [
            Entry(Position(5), fields)]
    finally:
        scripts.PART = usual
    assert server.largest <= part


def test_no_entry_and_no_permission() -> None:
    assert read_in_parts(lambda *command: [], *COMMAND) == []
    assert read_in_parts(lambda *command: None, *COMMAND) is None


@pytest.mark.parametrize('later', [
    [], [b'6-0', [3, 3], b'xxx'], [b'5-0', [9, 3], b'xxx']])
def test_entry_trimmed_between_parts(later: Any) -> None:
    """Parts of two entries are never one."""
    replies = iter([[b'5-0', [3, 3], b'abc'], later])
    with pytest.raises(Unavailable, match='trimmed'):
        read_in_parts(lambda *command: next(replies), *COMMAND)
