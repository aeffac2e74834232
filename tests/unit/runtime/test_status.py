"""The counters and the health of a process, from those of its parts."""
import logging
import math
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import pytest

from redis_streams_adapter.concurrency.availability import Availability
from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.log_limiter import LogLimiter
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.losses import Loss, MISSING, TRIMMED
from redis_streams_adapter.runtime.status import LossReport, Status
from redis_streams_adapter.runtime.tasks import State

from ...support.wait import DEADLINE, wait_until
from ..nodes import Call


def channel(stored: int = 0, batches: int = 0, found_stored: int = 0,
            refused: int = 0, received: int = 0, failed: int = 0,
            lag: Optional[float] = 0.0, duplicates: int = 0) -> Any:
    """A stream, by what its two tasks have counted."""
    return SimpleNamespace(
        duplicates=duplicates, writer=SimpleNamespace(
            outbox=SimpleNamespace(stored=stored, refused=refused),
            batches=batches, found_stored=found_stored),
        reader=SimpleNamespace(received=received, failed=failed, lag=lag))


def task(restarts: int = 0) -> Any:
    return SimpleNamespace(restarts=restarts)


class World:
    """A status and the parts that it reads. One part of each server can be
    made to fail."""

    def __init__(self) -> None:
        self.channels: List[Any] = []
        self.tasks: Dict[str, Any] = {}
        self.capacity: Any = SimpleNamespace(count=0, bytes=0)
        logger = logging.getLogger('unheard')
        logger.disabled = True
        self.losses = LossReport(ThreadEngine(), lambda: logger, None)
        self.redis, self.pubsub, self.sessions = (
            Availability(what, lambda: logger, str)
            for what in ('Redis', 'PUB/SUB', 'sessions'))
        for each in self.redis, self.pubsub, self.sessions:
            each.add('part', lambda: None)
            each.up('part')
        self.state = State()
        self.node: Any = SimpleNamespace(others=0)
        #: What connects anew.
        self.renewed: List[str] = []
        self.requests: Any = SimpleNamespace(
            dropped=0, renew=lambda: self.renewed.append('PUB/SUB'))
        self.stalled: List[str] = []
        self.watchdog: Any = SimpleNamespace(
            look=lambda now: self.stalled, deaths=0, stalls=0)
        self.status = Status(
            self.node, threading.Lock(), ThreadEngine(),  # type: ignore
            LogLimiter(lambda: logger), self.state, self.channels, self.tasks,
            self.capacity, self.losses, self.redis,
            (self.pubsub, self.sessions), self.watchdog, lambda: self.requests,
            lambda: self.renewed.append('sessions'))

    def start(self, **lags: Optional[float]) -> None:
        """Start a reader for each of these streams, by its lag."""
        for key, lag in lags.items():
            self.tasks[f'reader of {key}'] = task()
            self.channels.append(channel(lag=lag))

    def health(self, closed: bool = False, others: int = 0
               ) -> Dict[str, Any]:
        """That of a member, if it was started."""
        self.state.closed, self.state.member = closed, bool(self.tasks)
        self.node.others = others
        return self.status.health()


@pytest.fixture
def world() -> World:
    return World()


# -- stats -------------------------------------------------------------------

def test_counters_start_at_zero(world: World) -> None:
    assert world.status.stats() == dict.fromkeys((
        'sent', 'batches', 'found_after_break', 'refused', 'outbox',
        'outbox_bytes', 'received', 'malformed', 'duplicates', 'failed',
        'messages_lost', 'entries_trimmed', 'streams_deleted',
        'stream_setbacks', 'messages_vanished', 'entries_evicted',
        'writer_restarts',
        'reader_restarts', 'requests_dropped', 'outages', 'task_deaths',
        'stalls'), 0)


def test_counters_of_streams_are_added(world: World) -> None:
    world.channels += [channel(1, 2, 3, 4, 5, 6),
                       channel(10, 20, 30, 40, 50, 60)]
    stats = world.status.stats()
    assert {name: stats[name] for name in (
        'sent', 'batches', 'found_after_break', 'refused', 'received',
        'failed')} == {
            'sent': 11, 'batches': 22, 'found_after_break': 33,
            'refused': 44, 'received': 55, 'failed': 66}


def test_shared_counters_are_counted_once(world: World) -> None:
    world.channels += [channel(duplicates=1), channel(duplicates=3)]
    world.capacity.count, world.capacity.bytes = 7, 800
    for _ in range(3):
        world.status.skip(DecodeError('nonsense'))
    world.requests.dropped = 5
    stats = world.status.stats()
    assert {name: stats[name] for name in (
        'outbox', 'outbox_bytes', 'malformed', 'duplicates',
        'requests_dropped')} == {
            'outbox': 7, 'outbox_bytes': 800, 'malformed': 3,
            'duplicates': 4, 'requests_dropped': 5}


def test_flood_of_malformed_entries_is_two_lines(
        world: World) -> None:
    lines: List[str] = []
    logger: Any = SimpleNamespace(
        warning=lambda text, *args: lines.append(text % args))
    world.status._logger = LogLimiter(lambda: logger)
    for number in range(1000):
        world.status.skip(DecodeError(f'nonsense {number}'), f'entry {number}')
    assert lines == ['entry 0 was skipped: nonsense 0']
    world.status.log_more(math.inf)
    assert len(lines) == 2 and '999 more' in lines[1]
    assert world.status.stats()['malformed'] == 1000


def test_losses_are_counted_by_kind(world: World) -> None:
    world.losses(Loss(MISSING, 'socket.io', 3, 'other'))
    world.losses(Loss(TRIMMED, 'socket.io', 8))
    stats = world.status.stats()
    assert stats['messages_lost'] == 3
    assert stats['entries_trimmed'] == 8


def test_restarts_are_counted_by_kind_of_task(world: World) -> None:
    world.tasks.update({
        'writer of a': task(1), 'reader of a': task(10),
        'writer of b': task(2), 'reader of b': task(20),
        'heartbeat': task(100)})
    stats = world.status.stats()
    assert (stats['writer_restarts'], stats['reader_restarts']) == (3, 30)


def test_task_may_be_added_during_count(world: World) -> None:
    """Another task starts it, while this one counts."""
    class Adds:
        @property
        def restarts(self) -> int:
            world.tasks['writer of b'] = task(5)
            return 1

    world.tasks['writer of a'] = Adds()
    assert world.status.stats()['writer_restarts'] == 1
    assert world.status.stats()['writer_restarts'] == 6


def test_only_outages_of_redis_are_counted(world: World) -> None:
    """One for each, whatever the number of attempts; those of PUB/SUB alone
    are not among them."""
    world.redis.down('part', 'refused')
    world.redis.down('part', 'refused again')
    world.pubsub.down('part', 'no permissions')
    assert world.status.stats()['outages'] == 1


# -- health ------------------------------------------------------------------

def test_unstarted_process_is_ok(world: World) -> None:
    """It has no problem to report, and knows nothing of Redis and of other
    nodes. Its server_count() is 1."""
    assert world.health(others=3) == {
        'status': 'ok', 'connected': None, 'reader_lag': None, 'outbox': 0,
        'outbox_bytes': 0, 'nodes': 1, 'messages_lost': 0,
        'entries_evicted': 0, 'stalled': [], 'last_error': None,
        'outage': None, 'last_outage': None}


def test_has_joined(world: World) -> None:
    """A member, once the first attempt of each reader and writer is over."""
    events = {name: threading.Event() for name in (
        'reader of a', 'writer of a', 'heartbeat')}
    world.tasks.update((name, SimpleNamespace(tried=event))
                       for name, event in events.items())
    events['reader of a'].set()
    world.state.member = True
    assert not world.status.has_joined
    events['writer of a'].set()
    assert world.status.has_joined
    world.state.member = False
    assert not world.status.has_joined


def test_health_of_member(world: World) -> None:
    world.start(a=0.0)
    world.capacity.count, world.capacity.bytes = 7, 800
    world.losses(Loss(MISSING, 'socket.io', 3, 'other'))
    world.losses(Loss(TRIMMED, 'socket.io', 8))
    assert world.health(others=2) == {
        'status': 'ok', 'connected': True, 'reader_lag': 0.0, 'outbox': 7,
        'outbox_bytes': 800, 'nodes': 3, 'messages_lost': 3,
        'entries_evicted': 0, 'stalled': [], 'last_error': None,
        'outage': None, 'last_outage': None}


def test_stalled_tasks_degrade(world: World) -> None:
    world.start(a=0.0)
    world.stalled = ['writer of a']
    health = world.health()
    assert (health['status'], health['stalled'], health['connected']) == (
        'degraded', ['writer of a'], True)
    # Closed: its tasks have ended.
    assert world.health(closed=True)['stalled'] == []
    world.watchdog.deaths, world.watchdog.stalls = 2, 3
    stats = world.status.stats()
    assert (stats['task_deaths'], stats['stalls']) == (2, 3)


def test_all_connections_follow_to_another_server(world: World) -> None:
    """One that is left open at the old server hears too little."""
    world.start(a=0.0, b=0.0)
    for name, each in zip('ab', world.channels):
        each.key = name
        each.reader.interrupt = partial(
            world.renewed.append, f'reader of {name}')
        each.writer.interrupt = partial(
            world.renewed.append, f'writer of {name}')
    part = 'writer of a'
    world.redis.add(part, lambda: None)
    world.redis.broken(part, 'closed')
    world.redis.up(part)
    assert world.renewed == []
    world.redis.broken(part, 'ReadOnlyError: a replica')
    world.redis.up(part)
    assert world.renewed == ['reader of a', 'reader of b', 'writer of b',
                             'PUB/SUB', 'sessions']


def test_health_of_emitter(world: World) -> None:
    """It has a writer, and is no node; it does not count members."""
    world.start(a=0.0)
    del world.node.others
    health = world.status.health()
    assert (health['status'], health['connected']) == ('ok', True)
    assert (health['nodes'], health['reader_lag']) == (0, None)


def test_health_of_closed_process(world: World) -> None:
    world.start(a=0.0)
    health = world.health(closed=True)
    assert (health['status'], health['connected']) == ('degraded', False)


def test_health_while_redis_is_away(world: World) -> None:
    world.start(a=0.0)
    world.redis.down('part', 'refused')
    health = world.health()
    assert (health['status'], health['connected']) == ('degraded', False)
    assert health['last_error'] == 'refused'
    assert health['outage'] >= 0
    world.redis.up('part')
    health = world.health()
    assert (health['status'], health['connected']) == ('ok', True)
    assert health['outage'] is None
    assert health['last_outage']['reason'] == 'part: refused'
    # What went wrong last can still be read.
    assert health['last_error'] == 'refused'


@pytest.mark.parametrize('away', ['pubsub', 'sessions'])
def test_health_while_not_all_of_redis_is_away(world: World,
                                               away: str) -> None:
    """Events are still sent; only requests fail, or clients are new."""
    world.start(a=0.0)
    getattr(world, away).down('part', 'no permissions')
    health = world.health()
    assert (health['status'], health['connected']) == ('degraded', True)
    assert health['last_error'] == 'no permissions'
    assert health['outage'] is None


@pytest.mark.parametrize('away, last_error', [
    (['redis'], 'no Redis'), (['pubsub'], 'no PUB/SUB'),
    (['redis', 'pubsub'], 'no PUB/SUB'), ([], 'no Redis')])
def test_last_error_is_current_one(world: World, away: List[str],
                                   last_error: str) -> None:
    """Else the last one of Redis."""
    for name, each in ('redis', world.redis), ('pubsub', world.pubsub):
        each.down('part', f'no {"Redis" if name == "redis" else "PUB/SUB"}')
        if name not in away:
            each.up('part')
    assert world.health()['last_error'] == last_error


def test_past_error_of_pubsub_is_not_shown(world: World) -> None:
    world.pubsub.broken('part', 'reset')
    world.pubsub.up('part')
    assert world.health()['last_error'] == 'reset'


def test_unstarted_pubsub_has_no_error(world: World) -> None:
    """Redis may have one, which is the reason."""
    world.pubsub.add('another', lambda: None)
    world.redis.broken('part', 'refused')
    assert not world.pubsub.ok
    assert world.health()['last_error'] == 'refused'


def test_largest_lag_counts(world: World) -> None:
    world.start(a=0.5, b=7.5, c=0.0)
    assert world.health()['reader_lag'] == 7.5


def test_lag_is_unknown_while_reader_cannot_read(world: World) -> None:
    world.start(a=0.5, b=None)
    assert world.health()['reader_lag'] is None


# -- whether it reaches Redis ------------------------------------------------

def test_wait_ends_once_connected_or_away(world: World) -> None:
    """Until the streams can be read, or Redis is known to be away."""
    reader = world.start(a=0.0) or world.channels[0].reader
    reader.connected = False
    assert not world.status.is_connected
    assert not world.status.await_connection(0.01)
    call = Call(world.status.await_connection, DEADLINE)
    wait_until(lambda: world.status._waiting)
    world.redis.broken('part', 'reset')
    reader.connected = True
    world.redis.up('part')
    assert call.result() is True
    world.redis.down('part', 'refused')
    assert not world.status.await_connection(DEADLINE)
    assert not world.status._waiting
