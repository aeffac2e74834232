"""``stats``, ``health`` and ``server_count``."""
from typing import Callable

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...support.wait import DEADLINE, wait_for_value, wait_until
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Node, Pair

MakeManager = Callable[..., RedisStreamsManager]


def test_stats_have_all_counters(pair: Pair) -> None:
    a, b = pair.connect()
    for _ in range(5):
        pair.a.server.emit('hello')
    b.wait_for('hello', 5)
    sender, receiver = pair.a.manager.stats(), pair.b.manager.stats()
    assert set(sender) == {
        'delivered', 'sent', 'batches', 'found_after_break', 'refused',
        'outbox', 'outbox_bytes', 'received', 'malformed', 'messages_lost',
        'entries_trimmed', 'messages_vanished', 'entries_evicted',
        'duplicates', 'failed',
        'streams_deleted', 'stream_setbacks', 'writer_restarts',
        'reader_restarts', 'requests_dropped', 'outages', 'task_deaths',
        'stalls'}
    assert sender['delivered'] == receiver['delivered'] == 5
    assert sender['sent'] >= 5
    assert receiver['received'] >= 5
    for name in ('malformed', 'messages_lost', 'duplicates', 'failed',
                 'refused', 'outages', 'writer_restarts', 'reader_restarts'):
        assert sender[name] == receiver[name] == 0
    assert all(type(value) is int for value in sender.values())


def test_health_reports_outage(make_node: Callable[..., Node],
                               stream: FakeStream) -> None:
    node = make_node()
    health = node.manager.health
    assert health() == {
        'status': 'ok', 'connected': None, 'reader_lag': None, 'outbox': 0,
        'outbox_bytes': 0, 'nodes': 1, 'messages_lost': 0,
        'entries_evicted': 0, 'stalled': [], 'last_error': None,
        'outage': None, 'last_outage': None}
    node.manager.start()
    assert node.manager.flush(DEADLINE)
    wait_until(lambda: health()['connected'])
    assert health() == {
        'status': 'ok', 'connected': True, 'reader_lag': 0.0, 'outbox': 0,
        'outbox_bytes': 0, 'nodes': 1, 'messages_lost': 0,
        'entries_evicted': 0, 'stalled': [], 'last_error': None,
        'outage': None, 'last_outage': None}
    stream.go_away()
    node.server.emit('hello')
    wait_until(lambda: health()['status'] == 'degraded')
    degraded = health()
    assert not degraded['connected']
    assert degraded['reader_lag'] is None
    assert degraded['outbox'] == 1
    assert degraded['outbox_bytes'] > 0
    assert 'refused' in degraded['last_error'] \
        or 'broken' in degraded['last_error']
    wait_until(lambda: health()['outage'])
    assert health()['last_outage'] is None
    stream.come_back()
    wait_until(lambda: health()['status'] == 'ok')
    assert health()['outage'] is None
    past = health()['last_outage']
    assert past['lasted'] > 0 and past['ended'] >= 0
    assert 'refused' in past['reason'] or 'broken' in past['reason']
    assert node.manager.flush(DEADLINE)
    node.manager.close()
    assert not health()['connected']


def test_server_count_counts_members(make_manager: MakeManager) -> None:
    members = []
    for count in range(1, 4):
        members.append(make_manager())
        members[-1].start()
        for member in members:
            wait_for_value(member.server_count, count)
    assert members[0].server_count('/chat') == 0
    members.pop().close()
    for member in members:
        wait_for_value(member.server_count, 2)


@pytest.mark.parametrize('write_only', [True, False])
def test_health_contradicts_nothing(make_manager: MakeManager,
                                    write_only: bool) -> None:
    """Before a process has tried, and after that."""
    manager = make_manager(write_only=write_only)
    health = manager.health()
    assert health['connected'] is None
    assert health['nodes'] == (0 if write_only else 1)
    if write_only:
        manager.emit('news', 1)
    else:
        assert manager.server_count() == 1
    wait_until(lambda: manager.health()['connected'])
    assert manager.health()['nodes'] == (0 if write_only else 1)
