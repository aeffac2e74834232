"""The metrics of this process in Prometheus' form."""
import subprocess
import sys
from typing import Any, Callable, Dict

import flask
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.monitoring.metrics import HISTOGRAMS, METRICS, \
    PREFIX
from redis_streams_adapter.monitoring.prometheus import families, Report, \
    StreamsCollector
from redis_streams_adapter.testing.stream import FakeStream

from ..nodes import Node

MakeManager = Callable[..., RedisStreamsManager]


def scraped(registry: CollectorRegistry) -> Dict[Any, float]:
    """All values, by name and labels, as Prometheus would read them."""
    text = generate_latest(registry).decode()
    return {(each.name, *sorted(each.labels.items())): each.value
            for family in text_string_to_metric_families(text)
            for each in family.samples}


def test_member(make_node: Callable[..., Node]) -> None:
    node = make_node()
    registry = CollectorRegistry()
    registry.register(StreamsCollector(node.server))
    node.manager.start()
    for _ in range(3):
        node.manager.emit('event', None)
    assert node.manager.flush(10)
    values = scraped(registry)
    label = ('stream', 'socket.io')
    assert values[f'{PREFIX}ready', label] == 1
    assert values[f'{PREFIX}nodes', label] == 1
    sent = values[f'{PREFIX}entries_sent_total', label]
    assert sent >= 3
    assert values[f'{PREFIX}task_restarts_total', label,
                  ('task', 'reader')] == 0
    inf = ('le', '+Inf')
    assert values[f'{PREFIX}outbox_seconds_bucket', inf, label] \
        == values[f'{PREFIX}outbox_seconds_count', label] == sent
    assert values[f'{PREFIX}outbox_seconds_sum', label] > 0
    assert (f'{PREFIX}delivery_seconds_count', label) in values
    node.manager.emit('event', None)
    assert node.manager.flush(10)
    assert scraped(registry)[f'{PREFIX}entries_sent_total', label] > sent


def test_reading_starts_nothing(make_node: Callable[..., Node],
                                stream: FakeStream) -> None:
    node = make_node()
    registry = CollectorRegistry()
    registry.register(StreamsCollector(node.manager))
    assert scraped(registry) == {
        (f'{PREFIX}ready', ('stream', 'socket.io')): 0,
        (f'{PREFIX}degraded', ('stream', 'socket.io')): 0}
    assert node.manager._lifecycle.current is None
    node.manager.start()
    assert len(scraped(registry)) > 20
    node.manager.close()
    assert scraped(registry)[f'{PREFIX}ready', ('stream', 'socket.io')] == 0


def test_redis_away(make_node: Callable[..., Node],
                    stream: FakeStream) -> None:
    node = make_node()
    registry = CollectorRegistry()
    registry.register(StreamsCollector(node.manager))
    stream.go_away()
    node.manager.start()
    values = scraped(registry)
    label = ('stream', 'socket.io')
    assert values[f'{PREFIX}degraded', label] == 1
    assert values[f'{PREFIX}redis_connected', label] == 0
    assert (f'{PREFIX}reader_lag_seconds', label) not in values


def test_several_managers_and_labels(make_manager: MakeManager) -> None:
    registry = CollectorRegistry()
    managers = [make_manager(stream_name=name) for name in ('a', 'b')]
    registry.register(StreamsCollector(*managers, labels={'app': 'chat'}))
    managers[0].start()
    values = scraped(registry)
    assert [values[f'{PREFIX}ready', ('app', 'chat'), ('stream', name)]
            for name in ('a', 'b')] == [1, 0]


def test_flask(make_manager: MakeManager) -> None:
    """The manager may be made later."""
    front = SocketIO()
    registry = CollectorRegistry()
    registry.register(StreamsCollector(front))
    assert scraped(registry) == {}
    front.init_app(flask.Flask(__name__), async_mode='threading',
                   client_manager=make_manager())
    assert scraped(registry)[f'{PREFIX}ready', ('stream', 'socket.io')] == 0


def test_registry_knows_the_names_beforehand(
        make_manager: MakeManager) -> None:
    registry = CollectorRegistry()
    registry.register(StreamsCollector(make_manager()))
    with pytest.raises(ValueError, match='Duplicated'):
        registry.register(StreamsCollector(make_manager(stream_name='x')))


@pytest.mark.parametrize('sources', [[], ['a', 'a'], [None]], ids=repr)
def test_wrong_sources(make_manager: MakeManager, sources: Any) -> None:
    with pytest.raises(ConfigurationError):
        StreamsCollector(*(each and make_manager(stream_name=each)
                           for each in sources))


def test_reports_of_several_servers() -> None:
    """As those of a whole cluster; a server may lack some of it."""
    found = {each.name: each for each in families([
        Report({'sent': 1, 'reader_restarts': 4}, {'status': 'ok'},
               {'host': 'a', 'node': '1'}),
        Report({'sent': 2}, {'status': 'degraded'},
               {'node': '2', 'host': 'b'}),
        Report({}, {}, {'node': '3', 'host': 'b'})], ['node', 'host'])}
    assert [(each.labels, each.value) for each in
            found[f'{PREFIX}entries_sent'].samples] == [
        ({'node': '1', 'host': 'a'}, 1), ({'node': '2', 'host': 'b'}, 2)]
    assert [each.value for each in found[f'{PREFIX}ready'].samples] == [
        1, 1, 0]
    assert [each.labels for each in
            found[f'{PREFIX}task_restarts'].samples] == [
        {'node': '1', 'host': 'a', 'task': 'reader'}]


def test_described_names(make_manager: MakeManager) -> None:
    described = list(StreamsCollector(make_manager()).describe())
    assert len(described) == len(METRICS) + len(HISTOGRAMS)
    assert all(not each.samples for each in described)


def test_missing_package_is_named() -> None:
    done = subprocess.run(
        [sys.executable, '-c', 'import sys\n'
         'sys.modules["prometheus_client"] = None\n'
         'import redis_streams_adapter.monitoring.metrics\n'
         'import redis_streams_adapter.monitoring.prometheus'],
        capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: prometheus_client is not installed: pip install "
        "'redis-streams-adapter[prometheus]'")
