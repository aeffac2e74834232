"""The metrics of a cluster in Prometheus' form."""
import os
import threading
from typing import Any, Dict, List

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from redis_streams_adapter.errors import ClusterTimeoutError, \
    OutboxFullError, RedisStreamsError
from redis_streams_adapter.monitoring import cluster
from redis_streams_adapter.monitoring.cluster import \
    ClusterCollector
from redis_streams_adapter.monitoring.metrics import PREFIX
from redis_streams_adapter.nodes import NodeStats

from ...support.wait import DEADLINE
from ..nodes import Pair
from ..readings import Clock
from .test_prometheus import scraped

NODES = [NodeStats('u1', 'python', 0.0, 'web1', 7, '1.0', clients=3,
                   stats={'sent': 5}, health={'status': 'ok'},
                   latencies={'outbox': {'0.001': 4, '+Inf': 5, 'sum': 2.5}}),
         NodeStats('u2', 'javascript', 1.5)]

STREAM = ('stream', 'socket.io')
PYTHON = ('host', 'web1'), ('node', 'u1'), STREAM
NODE = ('host', ''), ('node', 'u2'), STREAM


class Source:
    """Answers as an observer does."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.timeouts: List[float] = []

    def cluster_stats(self, timeout: float) -> Any:
        self.timeouts.append(timeout)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def registry_of(source: Any, **options: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ClusterCollector(source, **options))
    return registry


def test_servers() -> None:
    source = Source(NODES)
    values = scraped(registry_of(source, timeout=2.5))
    assert source.timeouts == [2.5]
    assert values[f'{PREFIX}cluster_complete', STREAM] == 1
    assert values[f'{PREFIX}cluster_servers', STREAM] == 2
    assert values[(f'{PREFIX}server_clients', *PYTHON)] == 3
    assert values[(f'{PREFIX}entries_sent_total', *PYTHON)] == 5
    assert values[(f'{PREFIX}ready', *PYTHON)] == 1
    assert values[(f'{PREFIX}outbox_seconds_count', *PYTHON)] == 5
    assert values[(f'{PREFIX}outbox_seconds_sum', *PYTHON)] == 2.5
    assert values[(f'{PREFIX}server_last_seen_seconds', *NODE)] == 1.5
    # It has not said so: 0 would be a lie.
    assert (f'{PREFIX}ready', *NODE) not in values


def test_missing_servers() -> None:
    """What the others said is shown."""
    error = ClusterTimeoutError(NODES[:1], ['u3', 'u4'], 1, 3)
    values = scraped(registry_of(Source(error)))
    assert values[f'{PREFIX}cluster_complete', STREAM] == 0
    assert values[f'{PREFIX}cluster_servers', STREAM] == 3
    assert values[f'{PREFIX}cluster_servers_missing', STREAM] == 2
    assert values[(f'{PREFIX}server_clients', *PYTHON)] == 3


def test_redis_away() -> None:
    """The servers are not asked: that would only take time."""
    source = Source()
    values = scraped(registry_of(source, measure=lambda: None))
    assert values == {
        (f'{PREFIX}cluster_complete', STREAM): 0,
        (f'{PREFIX}cluster_servers', STREAM): 0,
        (f'{PREFIX}cluster_servers_missing', STREAM): 0}
    assert source.timeouts == []


@pytest.mark.parametrize('error', [
    OutboxFullError('full'), RedisStreamsError('the manager is closed')])
def test_servers_that_cannot_be_asked(error: Exception) -> None:
    """The other metrics of the registry are still collected."""
    values = scraped(registry_of(Source(error)))
    assert set(values.values()) == {0}


def test_histogram_of_another_version() -> None:
    node = NODES[0]._replace(latencies={'outbox': {'7.5': 3.0}})
    values = scraped(registry_of(Source([node])))
    assert values[(f'{PREFIX}server_clients', *PYTHON)] == 3
    assert not [each for each in values if 'outbox_seconds' in each[0]]


def test_question_of_a_parent_process(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was forked meanwhile asks by itself."""
    source = Source(NODES)
    collector = ClusterCollector(source)
    collector._asking = os.getpid() + 1, threading.Event()
    assert list(collector.collect())
    assert collector._asking is None


def test_streams() -> None:
    values = scraped(registry_of(
        Source([]), name='chat', measure=lambda: [
            {'stream': 'chat-1', 'length': 7, 'bytes': None, 'span': 2.5}]))
    labels = ('key', 'chat-1'), ('stream', 'chat')
    assert values[(f'{PREFIX}stream_entries', *labels)] == 7
    assert values[(f'{PREFIX}stream_span_seconds', *labels)] == 2.5
    assert (f'{PREFIX}stream_bytes', *labels) not in values


def test_fresh_answers_are_used_again(
        monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(cluster, 'time', clock)
    source = Source(NODES, NODES[:1])
    registry = registry_of(source)
    first = generate_latest(registry)
    clock.now += cluster.FRESH / 2
    assert generate_latest(registry) == first and len(source.timeouts) == 1
    clock.now += cluster.FRESH
    assert scraped(registry)[f'{PREFIX}cluster_servers', STREAM] == 1


def test_failed_question_is_asked_again() -> None:
    source = Source(RuntimeError('closed'), NODES)
    registry = registry_of(source)
    with pytest.raises(RuntimeError, match='closed'):
        generate_latest(registry)
    assert scraped(registry)[f'{PREFIX}cluster_servers', STREAM] == 2


def test_one_question_at_a_time() -> None:
    """Several scrapes at once share one answer."""
    asked, answer = threading.Event(), threading.Event()

    class Slow(Source):

        def cluster_stats(self, timeout: float) -> Any:
            asked.set()
            assert answer.wait(DEADLINE)
            return super().cluster_stats(timeout)

    source = Slow(NODES)
    registry = registry_of(source)
    results: List[Dict[Any, float]] = []
    threads = [threading.Thread(
        target=lambda: results.append(scraped(registry))) for _ in range(3)]
    for each in threads:
        each.start()
    assert asked.wait(DEADLINE)
    answer.set()
    for each in threads:
        each.join(DEADLINE)
    assert results[0] == results[1] == results[2]
    assert len(results) == 3 and len(source.timeouts) == 1


def test_of_a_manager(pair: Pair) -> None:
    values = scraped(registry_of(pair.a.manager, timeout=DEADLINE))
    for node in pair:
        found = {name: value for (name, *labels), value in values.items()
                 if ('node', node.manager.uid) in labels}
        assert found[f'{PREFIX}nodes'] == 2
        assert found[f'{PREFIX}server_uptime_seconds'] >= 0
        assert f'{PREFIX}delivery_seconds_count' in found
