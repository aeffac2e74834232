"""Helpers shared by the tests of the writer."""
import logging
from typing import Callable, List

import pytest

from redis_streams_adapter.stream.outbox import Pending
from redis_streams_adapter.stream.writer import Writer
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.testing.stream import FakeStream, Fault

from ..driving import UntilDone, drive

Logger = Callable[[], logging.Logger]
Make = Callable[..., Writer]


def unexpected(count: int) -> None:
    raise AssertionError(f'{count} messages have vanished')


def put(writer: Writer, *numbers: int, filling: int = 0) -> List[Pending]:
    """Put entries into the outbox."""
    return [writer.append([b'number', b'%d' % number, b'filling',
                           b'x' * filling]) for number in numbers]


def send(writer: Writer) -> List[Unavailable]:
    """Run the writer's work until the outbox is empty.

    :return: the errors.
    """
    return drive(writer.work, lambda: not len(writer.outbox))


def stored(stream: FakeStream) -> List[int]:
    """All entries that were ever in the stream."""
    return [int(entry.fields[1]) for entry in stream.history]


def breaks(writer: Writer, stream: FakeStream) -> None:
    """Make the writer reconnect."""
    with pytest.raises(Unavailable):
        stream.plan('append', Fault.BREAK_BEFORE)
        put(writer, 999)
        writer.work(UntilDone(lambda: False))


def has_stored(stream: FakeStream, count: int) -> Callable[[], bool]:
    return lambda: len(stream.history) == count
