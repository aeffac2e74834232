"""Tasks that have ended, or make no progress."""
import logging
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.runtime.watchdog import LOOKS, PATIENCE, Watchdog

BLOCK, INTERVAL, TIMEOUT = 5.0, 3.0, 2.0

#: From when on a writer with work stalls.
LIMIT = PATIENCE + TIMEOUT


class Outbox:
    """An outbox, by its counts."""

    def __init__(self) -> None:
        self.waiting = self.stored = self.refused = 0

    def __len__(self) -> int:
        return self.waiting


class World:
    """A watchdog, and what it looks after."""

    def __init__(self, logger: Callable[[], logging.Logger]) -> None:
        self.outbox = Outbox()
        self.interrupted: List[str] = []
        self.reader: Any = SimpleNamespace(
            looked=0.0, connected=True, received=0,
            interrupt=lambda: self.interrupted.append('reader'))
        self.redis = Availability('Redis', logger, str)
        self.redis.add('part', lambda: None)
        self.redis.up('part')
        self.tasks: Any = {}
        channel: Any = SimpleNamespace(
            key='a', reader=self.reader, writer=SimpleNamespace(
                outbox=self.outbox,
                interrupt=lambda: self.interrupted.append('writer')))
        self.watchdog = Watchdog(
            self.tasks, [channel], self.redis, logger, block=BLOCK,
            interval=INTERVAL, timeout=TIMEOUT)

    def look(self, now: float) -> List[str]:
        self.reader.looked = now
        return self.watchdog.look(now)


@pytest.fixture
def world(logger: Callable[[], logging.Logger]) -> World:
    return World(logger)


def test_writer_without_work(world: World) -> None:
    for now in range(0, 1000, 5):
        assert world.look(now) == []


def test_writer_that_goes_on(world: World) -> None:
    for now in range(0, 1000, 5):
        world.outbox.waiting = 7
        if now % 2:
            world.outbox.stored += 1
        else:
            world.outbox.refused += 1
        assert world.look(now) == []


def test_writer_with_work_and_no_progress(world: World,
                                          logged: Any) -> None:
    world.outbox.waiting = 7
    assert world.look(100.0) == []
    assert world.look(100.0 + LIMIT) == []
    for _ in range(3):
        assert world.look(101.0 + LIMIT) == ['writer of a']
    # What it waits for is ended, once.
    assert world.interrupted == ['writer']
    assert ['writer of a' in line for line in logged(logging.ERROR)] == [True]
    assert world.watchdog.stalls == 1
    world.outbox.stored += 1
    assert logged(logging.WARNING) == []
    assert world.look(102.0 + LIMIT) == []
    # Since the line before.
    assert logged(logging.WARNING) == [
        'writer of a makes progress again after 1 s']
    assert world.look(103.0 + 2 * LIMIT) == ['writer of a']
    assert world.watchdog.stalls == 2


def test_outage_is_no_stall(world: World) -> None:
    world.outbox.waiting = 7
    world.redis.broken('part', 'away')
    for now in range(0, 1000, 5):
        assert world.look(now) == []
    world.redis.up('part')
    assert world.look(1000.0) == []
    assert world.look(1001.0 + LIMIT) == ['writer of a']


def test_reader_that_never_looks_at_its_stream(world: World,
                                               logged: Any) -> None:
    world.reader.looked = 50.0
    assert world.watchdog.look(50.0) == []
    limit = 50.0 + BLOCK + LOOKS + LIMIT
    assert world.watchdog.look(limit) == []
    assert world.watchdog.look(limit + 1) == ['reader of a']
    assert world.watchdog.look(limit + 2) == ['reader of a']
    assert world.interrupted == ['reader']
    assert len(logged(logging.ERROR)) == 1
    world.reader.connected = False
    assert world.watchdog.look(limit + 3) == []


def test_reader_whose_page_takes_long(world: World, logged: Any) -> None:
    """It looks at its stream between pages only. Each entry is progress."""
    for now in range(0, 1000, 5):
        world.reader.received += 1
        assert world.watchdog.look(now) == []
    assert (world.interrupted, logged(logging.ERROR)) == ([], [])


@pytest.mark.parametrize('seconds', [LIMIT + 1, 60.0, 86_400.0])
@pytest.mark.parametrize('health_first', [False, True])
def test_process_that_was_stopped(world: World, logged: Any, seconds: float,
                                  health_first: bool) -> None:
    """It, or its machine, was suspended: all tasks are late, and those that
    are due first look at the others. Nothing is wrong."""
    world.outbox.waiting = 7
    for now in (100.0, 100.0 + INTERVAL):
        world.reader.looked = now
        world.watchdog.beat(now)
    now += seconds
    if health_first:
        assert set(world.watchdog.look(now)) <= {'heartbeat'}
    world.watchdog.beat(now)
    assert world.watchdog.look(now) == []
    assert (world.interrupted, logged(logging.ERROR)) == ([], [])
    # From here on, time counts.
    end = now + LIMIT + BLOCK + LOOKS + 1
    while now < end:
        now += INTERVAL
        world.watchdog.beat(now)
    assert world.watchdog.look(now) == ['writer of a', 'reader of a']
    assert world.watchdog.stalls == 2


def test_heartbeat(world: World) -> None:
    """A process that only writes has none."""
    assert world.look(1000.0) == []
    world.watchdog.beat(2000.0)
    assert world.look(2000.0 + INTERVAL + LIMIT) == []
    assert world.look(2001.0 + INTERVAL + LIMIT) == ['heartbeat']


def test_tasks_that_have_ended(world: World) -> None:
    world.tasks.update({
        'writer of a': SimpleNamespace(dead=True, deaths=3),
        'listener': SimpleNamespace(dead=False, deaths=1)})
    assert world.look(0.0) == ['writer of a']
    assert world.watchdog.deaths == 4
    # Each is named once.
    world.outbox.waiting = 7
    world.look(0.0)
    assert world.look(1.0 + LIMIT) == ['writer of a']
