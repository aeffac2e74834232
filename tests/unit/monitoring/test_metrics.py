"""The metrics of a server, from its two dictionaries."""
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.losses import COUNTERS
from redis_streams_adapter.monitoring.metrics import CLUSTER_METRICS, \
    HISTOGRAMS, METRICS, PREFIX, samples, SERVER_METRICS, STREAM_METRICS
from redis_streams_adapter.recovery.session import REASONS

PAGE = Path(__file__).parents[3] / 'docs' / 'monitoring.rst'

#: Alert rules and dashboards rely on these. A name that is removed or changed
#: is a change for users.
NAMES = """
ready degraded redis_connected redis_outage_seconds redis_outages_total nodes
reader_lag_seconds outbox_entries outbox_bytes entries_sent_total
batches_sent_total entries_received_total packets_delivered_total
messages_lost_total entries_trimmed_total streams_deleted_total
stream_setbacks_total messages_vanished_total entries_evicted_total
entries_refused_total entries_malformed_total entries_failed_total
entries_duplicate_total entries_found_after_break_total requests_dropped_total
task_restarts_total task_deaths_total task_stalls_total stalled_tasks sessions
recoveries_total
""".split()

#: Those of the exporter alone.
CLUSTER_NAMES = """
server_info server_last_seen_seconds server_uptime_seconds server_clients
server_rooms server_namespaces server_memory_bytes server_cpu_seconds_total
cluster_complete cluster_servers cluster_servers_missing
stream_entries stream_bytes stream_span_seconds stream_entries_added_total
stream_away_seconds
""".split()

HISTOGRAM_NAMES = ['outbox_seconds', 'delivery_seconds']

ALL = (*METRICS, *SERVER_METRICS, *CLUSTER_METRICS, *STREAM_METRICS)

#: The labels of those that have some.
LABELS = {'task_restarts_total': ('task',), 'recoveries_total': ('result',),
          'server_info': ('language', 'version', 'process')}

#: The keys of health() that have no metric, because they are texts, and those
#: that are in stats() too.
NOT_READ = {'last_error', 'last_outage', 'outbox', 'outbox_bytes',
            'messages_lost', 'entries_evicted'}


class Reads(Dict[str, Any]):
    """A dictionary that remembers what was read."""

    def __init__(self, values: Dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.read.add(key)
        return super().__contains__(key)


def values_of(stats: Any, health: Any) -> Dict[str, float]:
    """The values, by the names without the prefix and by their labels."""
    return {' '.join([each.metric.name[len(PREFIX):], *each.labels.values()]):
            each.value for each in samples(stats, health, {})}


@pytest.fixture
def member(make_manager: Callable[..., RedisStreamsManager]
           ) -> RedisStreamsManager:
    manager = make_manager()
    manager.start()
    return manager


def test_names_are_pinned() -> None:
    assert [each.name for each in METRICS] == [
        PREFIX + name for name in NAMES]
    assert [each.name for each in ALL[len(METRICS):]] == [
        PREFIX + name for name in CLUSTER_NAMES]
    assert [each.name for each in HISTOGRAMS] == [
        PREFIX + name for name in HISTOGRAM_NAMES]
    assert {each.name[len(PREFIX):]: each.labels
            for each in ALL if each.labels} == LABELS


@pytest.mark.parametrize('metric', ALL, ids=[
    each.name[len(PREFIX):] for each in ALL])
def test_names_follow_the_conventions(metric: Any) -> None:
    assert re.fullmatch(r'redis_streams_adapter(_[a-z]+)+', metric.name)
    assert metric.name.endswith('_total') == (metric.kind == 'counter')
    # Base units only.
    assert not re.search('_(milliseconds|ms|minutes|kilobytes|mib)',
                         metric.name)
    assert metric.text.endswith('.') and metric.text[0].isupper()


def test_everything_that_is_counted_is_a_metric(
        member: RedisStreamsManager) -> None:
    stats, health = Reads(dict(member.stats())), Reads(member.health())
    assert list(samples(stats, health, {}))
    assert set(stats) - stats.read == set()
    assert set(health) - health.read == NOT_READ


def test_every_loss_has_a_metric() -> None:
    assert {f'{each}_total' for each in COUNTERS.values()} <= set(NAMES)


def test_values_of_a_member(member: RedisStreamsManager) -> None:
    values = values_of(member.stats(), member.health())
    assert values['ready'] == values['redis_connected'] == 1
    assert values['degraded'] == values['redis_outage_seconds'] == 0
    assert values['nodes'] == 1
    # Without recovery.
    assert not [name for name in values if 'recover' in name
                or 'session' in name]
    assert set(values) >= {'task_restarts_total reader',
                           'task_restarts_total writer'}


def test_values() -> None:
    stats = {'delivered': 7, 'sent': 3, 'writer_restarts': 2,
             'reader_restarts': 5, 'recovered': 4, 'sessions': 9,
             'not_recovered_offset_not_found': 6, 'outbox': 8}
    health = {'status': 'degraded', 'connected': False, 'outage': 2.5,
              'reader_lag': None, 'stalled': ['writer of socket.io'],
              'nodes': 3}
    assert values_of(stats, health) == {
        'ready': 1, 'degraded': 1, 'redis_connected': 0,
        'redis_outage_seconds': 2.5, 'nodes': 3, 'stalled_tasks': 1,
        'packets_delivered_total': 7, 'entries_sent_total': 3,
        'outbox_entries': 8, 'sessions': 9, 'task_restarts_total reader': 5,
        'task_restarts_total writer': 2, 'recoveries_total recovered': 4,
        'recoveries_total offset-not-found': 6}


@pytest.mark.parametrize('status', ['starting', 'closing', None])
def test_server_that_is_no_member(status: Optional[str]) -> None:
    """What is not known has no sample; 0 would be a lie."""
    health = {'status': status} if status else {}
    assert values_of({}, health) == {'ready': 0, 'degraded': 0}


def test_server_asked_from_elsewhere() -> None:
    node = {'uid': 'a', 'language': 'python', 'version': '1.0', 'pid': 7,
            'last_seen': 0.5, 'clients': 3, 'namespaces': ['/', '/chat'],
            'cpu_seconds': 2.5}
    assert {each.metric.name[len(PREFIX):]: each.value
            for each in samples(node, {}, {}, SERVER_METRICS)} == {
        'server_info': 1, 'server_last_seen_seconds': 0.5,
        'server_clients': 3, 'server_namespaces': 2,
        'server_cpu_seconds_total': 2.5}


@pytest.mark.parametrize('value', ['x', [1], {'a': 1}])
def test_values_that_are_none(value: Any) -> None:
    """As another version may send: they have no sample."""
    health = {'status': 'ok', 'stalled': 5, **dict.fromkeys(
        ('connected', 'outage', 'nodes', 'reader_lag'), value)}
    assert values_of({'sent': value}, health) == {'ready': 1, 'degraded': 0}


def test_server_in_node_js() -> None:
    node = {'uid': 'a', 'language': 'javascript', 'last_seen': 0.5,
            'version': None, 'clients': None, 'namespaces': None}
    info, seen = samples(node, {}, {}, SERVER_METRICS)
    assert info.labels == {'language': 'javascript', 'version': '',
                           'process': ''}
    assert seen.value == 0.5


def test_labels_are_bounded() -> None:
    """Their values are known here: no sid, no room, no text of an error."""
    stats: Dict[str, int] = {'recovered': 1, 'not_recovered_by_a_sid': 1,
                             'reader_restarts': 1, 'writer_restarts': 1}
    stats.update(dict.fromkeys((
        'not_recovered_' + reason.replace('-', '_') for reason in REASONS), 1))
    found: List[str] = [value for each in samples(stats, {}, {})
                        for value in each.labels.values()]
    assert sorted(found) == sorted([
        'reader', 'writer', 'recovered', *REASONS])


def test_labels_of_the_server_come_first() -> None:
    labels = {'host': 'a', 'node': 'b'}
    found, = (each for each in samples({'reader_restarts': 1}, {}, labels)
              if each.metric.labels)
    assert list(found.labels.items()) == [
        ('host', 'a'), ('node', 'b'), ('task', 'reader')]


def test_page_explains_every_metric() -> None:
    page = PAGE.read_text('utf-8')
    table = page[page.index('.. begin: metrics'):page.index('.. end: metrics')]
    assert re.findall(r'^   \* - ``(\w+)``', table, re.MULTILINE) == [
        *NAMES, *HISTOGRAM_NAMES, *CLUSTER_NAMES]
    for name, labels in LABELS.items():
        assert f'``{name}``, by ' + ', '.join(
            f'``{each}``' for each in labels) in table
