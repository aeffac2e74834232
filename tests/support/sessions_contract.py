"""The contract between recovery and the session store in Redis.

A test module imports all names of this module and adds the fixture
``driver``: a driver for an empty Redis.
"""
import contextlib
import logging
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.protocol.position import Position, START
from redis_streams_adapter.stream.driver import Driver
from redis_streams_adapter.stream.link import open_link
from redis_streams_adapter.stream.session_store import ABSENT, CHANGED, DONE, \
    SessionStore, Swap

from .wait import DEADLINE, wait_until

STREAM = 'a-stream'


Make = Callable[..., SessionStore]


@pytest.fixture
def make(driver: Driver,
         logger: Callable[[], logging.Logger]) -> Iterator[Make]:
    """Makes session stores with their tasks: ``make(ttl)``, in seconds."""
    with contextlib.ExitStack() as stack:
        def make_one(ttl: float = 100.0) -> SessionStore:
            sessions = SessionStore(driver, ThreadEngine(), 'sessions:', ttl)
            task = Task('sessions', sessions.work, ThreadEngine(), None,
                        logger)
            task.start()

            def end() -> None:
                task.stop()
                sessions.interrupt()
                assert task.join(DEADLINE)

            stack.callback(end)
            assert task.tried.wait(DEADLINE)
            return sessions

        yield make_one


def append(driver: Driver, *values: bytes) -> List[Position]:
    """Write entries to the stream."""
    link: Any = open_link(driver, STREAM, 1000)
    link.connect()
    try:
        return [Position.parse(bytes(each)) for each in link.append(
            [[b'field', value] for value in values])]
    finally:
        link.close()


@pytest.mark.parametrize('value', [b'1', bytes(range(256)) * 100])
def test_put(make: Make, value: bytes) -> None:
    sessions = make()
    assert sessions.get('p') is None
    sessions.put('p', value)
    assert sessions.get('p') == value
    sessions.put('p', b'another')
    assert sessions.get('p') == b'another'
    assert sessions.get('q') is None


@pytest.mark.parametrize('before, new, expected, result, after', [
    (b'1', b'2', [b'1'], DONE, b'2'),
    (b'1', b'2', [b'0', b'x', b'1'], DONE, b'2'),
    (b'1', b'', [b'1'], DONE, None),
    (b'1', b'2', [b'0'], CHANGED, b'1'),
    (b'1', b'2', [b''], CHANGED, b'1'),
    (b'1', b'2', [], CHANGED, b'1'),
    (None, b'2', [b'1'], ABSENT, None),
    (None, b'2', [b'1', b''], DONE, b'2'),
    (None, b'', [b''], DONE, None),
    (None, b'', [b'1'], ABSENT, None)])
def test_swap(make: Make, before: Optional[bytes], new: bytes,
              expected: Sequence[bytes], result: int,
              after: Optional[bytes]) -> None:
    sessions = make()
    if before is not None:
        sessions.put('p', before)
    assert sessions.swap([Swap('p', new, expected)]) == [result]
    assert sessions.get('p') == after


def test_touch(make: Make) -> None:
    sessions = make()
    sessions.put('p', b'1')
    assert sessions.touch(['p', 'q']) == [True, False]


@pytest.mark.parametrize('write', [
    lambda sessions: sessions.put('p', b'2'),
    lambda sessions: sessions.swap([Swap('p', b'2', [b'1'])]),
    lambda sessions: sessions.touch(['p'])])
def test_each_write_sets_the_time(make: Make, write: Any) -> None:
    lasting = make()
    lasting.put('p', b'1')
    write(make(0.05))
    wait_until(lambda: lasting.get('p') is None)
    assert lasting.touch(['p']) == [False]
    assert lasting.swap([Swap('p', b'3', [b'2'])]) == [ABSENT]


def test_find(make: Make, driver: Driver) -> None:
    sessions = make()
    assert sessions.find('p', STREAM, START) == (None, False, None, None)
    first, second, third = append(driver, b'1', b'2', b'3')
    sessions.put('p', b'session')
    assert sessions.find('p', STREAM, second) == (
        b'session', True, first, third)
    assert sessions.find('p', STREAM, None) == (
        b'session', False, first, third)
    missing = Position(third.milliseconds, third.number + 1)
    assert not sessions.find('p', STREAM, missing).is_there


def test_page(make: Make, driver: Driver) -> None:
    sessions = make()
    assert sessions.page(STREAM, START, 10) == ([], None)
    first, second, third = append(driver, b'1', b'2', b'3')

    def page(after: Position, count: int) -> Tuple[List[bytes], Any]:
        entries, oldest = sessions.page(STREAM, after, count)
        return [entry.fields[1] for entry in entries], oldest

    assert page(START, 10) == ([b'1', b'2', b'3'], first)
    assert page(first, 10) == ([b'2', b'3'], first)
    assert page(first, 1) == ([b'2'], first)
    assert page(third, 10) == ([], first)
