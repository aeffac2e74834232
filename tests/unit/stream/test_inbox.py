"""A server reads the answers to its requests.
tests/integration/test_inboxes.py does so with a real Redis."""
import logging
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.stream import inbox as module
from redis_streams_adapter.stream.connection import Refused
from redis_streams_adapter.stream.inbox import Inbox
from redis_streams_adapter.testing.faults import Fault
from redis_streams_adapter.testing.stream import FakeLink, FakeStream

from ...support.wait import DEADLINE, wait_for_value, wait_until


class Reading:
    """An inbox with its task."""

    def __init__(self, stream: FakeStream,
                 logger: Callable[[], logging.Logger]) -> None:
        self.taken: List[bytes] = []
        self.make_link: Callable[[], Any] = stream.link
        self.inbox = Inbox(
            lambda: self.make_link(), ThreadEngine(), logger,
            lambda entry: self.taken.append(entry.fields[1]), 60.0)
        self.task = Task(
            'inbox', self.inbox.work, ThreadEngine(), None, logger)

    def start(self) -> bool:
        self.task.start()
        return self.inbox.await_open(DEADLINE)

    def end(self) -> None:
        self.task.stop()
        self.inbox.interrupt()
        assert not self.task.begun or self.task.join(DEADLINE)


@pytest.fixture
def reading(stream: FakeStream, logger: Callable[[], logging.Logger]
            ) -> Iterator[Reading]:
    reading = Reading(stream, logger)
    yield reading
    reading.end()


def put(stream: FakeStream, name: bytes, *more: bytes) -> None:
    stream.put(b'name', name, *more)


def test_answers_are_read_and_deleted(stream: FakeStream,
                                      reading: Reading) -> None:
    put(stream, b'before')
    assert not reading.inbox.is_open
    assert reading.start() and reading.inbox.is_open
    put(stream, b'after')
    wait_for_value(lambda: reading.taken, [b'before', b'after'])
    wait_for_value(lambda: stream.entries, [])


def test_many_answers(stream: FakeStream, reading: Reading) -> None:
    names = [b'%d' % number for number in range(3 * module.COUNT + 1)]
    for name in names:
        put(stream, name)
    assert reading.start()
    wait_for_value(lambda: reading.taken, names)


@pytest.mark.parametrize('fault', [Fault.BREAK_BEFORE, Fault.ERROR])
def test_answer_is_taken_once(stream: FakeStream, reading: Reading,
                              fault: Fault) -> None:
    """Also if it could not be deleted, and if it was sent twice."""
    stream.plan('discard', Fault.NONE, fault)
    put(stream, b'a', b'wid', b'w', b'seq', b'1')
    # The failure may be counted a moment later.
    assert reading.start() or wait_until(lambda: reading.task.restarts)
    put(stream, b'b', b'wid', b'w', b'seq', b'2')
    put(stream, b'a', b'wid', b'w', b'seq', b'1')
    put(stream, b'b', b'wid', b'w', b'seq', b'2')
    put(stream, b'c', b'wid', b'other', b'seq', b'1')
    wait_for_value(lambda: reading.taken, [b'a', b'b', b'c'])


def test_broken_connection_is_replaced(stream: FakeStream,
                                       reading: Reading) -> None:
    assert reading.start()
    wait_until(lambda: stream.waiting)
    stream.go_away()
    wait_until(lambda: not reading.inbox.is_open)
    put(stream, b'a')
    stream.come_back()
    wait_for_value(lambda: reading.taken, [b'a'])
    wait_until(lambda: reading.inbox.is_open)


def test_ids_are_set_back(stream: FakeStream, reading: Reading) -> None:
    """As in a failover to a replica that was behind."""
    assert reading.start()
    put(stream, b'a')
    wait_for_value(lambda: stream.entries, [])
    stream.delete()
    put(stream, b'b')
    wait_for_value(lambda: reading.taken, [b'a', b'b'])


def test_redis_is_away_at_first(stream: FakeStream,
                                reading: Reading) -> None:
    stream.go_away()
    reading.task.start()
    assert not reading.inbox.await_open(DEADLINE)
    stream.come_back()
    wait_until(lambda: reading.inbox.is_open)


def test_without_the_right(stream: FakeStream, reading: Reading,
                           caplog: pytest.LogCaptureFixture) -> None:
    """The inbox stays closed, and says so once."""
    caplog.set_level(logging.INFO)

    class Forbidden(FakeLink):
        def discard(self, *args: Any) -> None:
            raise Refused("NoPermissionError: no permissions to run 'xdel'")

    made: List[Any] = []

    def make() -> Any:
        made.append(Forbidden(stream))
        return made[-1]

    reading.make_link = make
    assert not reading.start()
    wait_until(lambda: stream.connections == 0)
    reading.task.hurry()
    wait_until(lambda: made[1:] and stream.connections == 0)
    assert len([each for each in caplog.records
                if 'may not use an inbox' in each.getMessage()]) == 1
    reading.make_link = stream.link
    reading.task.hurry()
    wait_until(lambda: reading.inbox.is_open)
    wait_until(lambda: [each for each in caplog.records if 'may use an inbox'
                        in each.getMessage()])


def test_large_answers_are_read_one_by_one(stream: FakeStream,
                                           reading: Reading) -> None:
    """Redis, or a limit of ours, breaks the connection over many of them."""
    stream.page_limit = 1500
    for name in b'a', b'b', b'c':
        put(stream, name, b'text', b'x' * 1000)
    reading.task.start()
    wait_for_value(lambda: reading.taken, [b'a', b'b', b'c'])


def test_few_writers_are_remembered(
        stream: FakeStream, reading: Reading,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'MAX_WRITERS', 2)
    for writer in b'a', b'b', b'a', b'c', b'a':
        put(stream, b'x', b'wid', writer, b'seq', b'1')
    put(stream, b'malformed', b'wid', b'a', b'seq', b'x')
    put(stream, b'end')
    assert reading.start()
    wait_for_value(lambda: reading.taken,
                   [b'x', b'x', b'x', b'malformed', b'end'])


def test_abandon_and_interrupt_before_the_start(reading: Reading) -> None:
    reading.inbox.interrupt()
    reading.inbox.abandon()
    assert not reading.inbox.await_open(0.0)
