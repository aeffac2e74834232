"""The alert rules and the dashboard, with Prometheus' own tools where they are
installed: Debian's package ``prometheus``."""
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from redis_streams_adapter.monitoring.metrics import CLUSTER_METRICS, \
    HISTOGRAMS, METRICS, PREFIX, SERVER_METRICS, STREAM_METRICS

from tests.conftest import connecting, running
from tests.support.client import Client
from tests.support.node_process import NodeProcess
from tests.support.ports import free_port
from tests.support.process import OwnProcess, ROOT
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_for_value, wait_until

MONITORING = ROOT / 'examples' / 'monitoring'
ALERTS = MONITORING / 'alerts.yml'
DASHBOARD = MONITORING / 'dashboard.json'

KNOWN = {each.name for each in (
    *METRICS, *SERVER_METRICS, *CLUSTER_METRICS, *STREAM_METRICS)} | {
        f'{each.name}_bucket' for each in HISTOGRAMS}

#: The labels that rules and dashboard may use: ours, and Prometheus'.
LABELS = {'stream', 'instance', 'task', 'result', 'node', 'host', 'key',
          'language', 'le'}


def tool(name: str) -> str:
    """A program of Prometheus."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f'{name} is not on PATH (Debian: apt-get install '
                    f'--no-install-recommends prometheus)')
    return found


def expressions() -> List[str]:
    """What the panels of the dashboard show."""
    return [target['expr'] for panel in json.loads(DASHBOARD.read_text(
        'utf-8'))['panels'] for target in panel['targets']]


# -- without Prometheus ------------------------------------------------------

@pytest.mark.parametrize('file', sorted(MONITORING.iterdir()),
                         ids=lambda file: file.name)
def test_names_are_known(file: Path) -> None:
    found = set(re.findall(PREFIX + r'\w+', file.read_text('utf-8')))
    assert found - KNOWN == set()
    assert found or file.name == 'prometheus.yml'


def test_dashboard_shows_every_metric() -> None:
    shown = set(re.findall(PREFIX + r'\w+', ' '.join(expressions())))
    assert shown == KNOWN


def test_each_counter_is_shown_as_a_rate() -> None:
    for text in expressions():
        for name, following in re.findall(
                PREFIX + r'(\w+)(\{[^}]*\}\[)?', text):
            assert bool(following) == name.endswith(
                ('_total', '_bucket')), text


def test_labels_are_known() -> None:
    text = ALERTS.read_text('utf-8') + DASHBOARD.read_text('utf-8')
    used = [name for each in re.findall(r'by \(([\w, ]+)\)', text)
            for name in each.split(', ')] + re.findall(
        r'\$labels\.(\w+)', text) + re.findall(r'\{\{(\w+)\}\}', text)
    assert set(used) == LABELS


def test_panels_do_not_overlap() -> None:
    places: Dict[Any, str] = {}
    for panel in json.loads(DASHBOARD.read_text('utf-8'))['panels']:
        place = panel['gridPos']
        assert place['x'] + place['w'] <= 24
        for x in range(place['x'], place['x'] + place['w']):
            for y in range(place['y'], place['y'] + place['h']):
                assert places.setdefault((x, y), panel['title']) \
                    == panel['title']


# -- with promtool -----------------------------------------------------------

def promtool(*arguments: str) -> str:
    done = subprocess.run([tool('promtool'), *arguments], cwd=MONITORING,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_valid() -> None:
    assert 'SUCCESS' in promtool('check', 'rules', ALERTS.name)


def test_rules_do_what_they_should() -> None:
    assert 'SUCCESS' in promtool('test', 'rules', 'alerts.test.yml')


def test_configuration_is_valid() -> None:
    assert 'SUCCESS' in promtool('check', 'config', 'prometheus.yml')


# -- with Prometheus ---------------------------------------------------------

class Prometheus:
    """A Prometheus.

    :param targets: what it reads.
    """

    def __init__(self, directory: Path, *targets: str) -> None:
        config = directory / 'prometheus.yml'
        config.write_text(
            f'global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n'
            f'rule_files: ["{ALERTS}"]\n'
            f'scrape_configs:\n'
            f'  - job_name: test\n'
            f'    static_configs: [{{targets: {json.dumps(targets)}}}]\n')
        self._url = f'http://127.0.0.1:{free_port()}'
        self.process = OwnProcess([
            tool('prometheus'), f'--config.file={config}',
            f'--storage.tsdb.path={directory / "data"}',
            f'--web.listen-address={self._url[len("http://"):]}'],
            directory / 'prometheus.out')

    def _get(self, path: str, **arguments: str) -> Any:
        query = urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(f'{self._url}/api/v1/{path}?{query}',
                                    timeout=10.0) as answer:
            return json.loads(answer.read())['data']

    def query(self, expression: str) -> Any:
        """The values of the first series; empty: there is none."""
        try:
            result = self._get('query', query=expression)['result']
        except OSError:
            return None
        return float(result[0]['value'][1]) if result else None

    def alerts(self) -> List[str]:
        """The names of the alerts that are pending or firing."""
        return [each['labels']['alertname']
                for each in self._get('alerts')['alerts']]

    def errors(self) -> List[str]:
        """What the rules' evaluations failed with."""
        return [rule['lastError'] for group in self._get('rules')['groups']
                for rule in group['rules'] if rule.get('lastError')]


@pytest.fixture
def redis(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server.start()


def test_prometheus_reads_a_server(redis: RedisServer,
                                   tmp_path: Path) -> None:
    """It answers a query, and an alert begins while Redis is away."""
    tool('prometheus')
    node = NodeProcess('gevent', redis.url, {
        'metrics': True, 'heartbeat_interval': 1.0,
        'redis_options': {'socket_timeout': 1.0}})
    node.start()
    prometheus = Prometheus(tmp_path, f'127.0.0.1:{node.port}')
    try:
        node.start_manager()
        for number in range(7):
            node.emit('event', number)
        wait_for_value(
            lambda: prometheus.query(f'sum({PREFIX}ready)'), 1.0, 30.0,
            f'a query to be answered:\n{prometheus.process.tail()}')
        wait_until(lambda: (prometheus.query(
            f'{PREFIX}entries_sent_total{{stream="socket.io"}}') or 0) >= 7,
            30.0)
        for expression in expressions():
            # Grafana puts the values in.
            for name, value in (('$stream', '.*'),
                                ('$__rate_interval', '1m')):
                expression = expression.replace(name, value)
            # Raises if Prometheus does not take it.
            prometheus.query(expression)
        assert prometheus.alerts() == []
        redis.freeze()
        wait_until(lambda: 'ServerDegraded' in prometheus.alerts(), 30.0)
        redis.thaw()
        wait_until(lambda: 'ServerDegraded' not in prometheus.alerts(), 30.0)
        assert prometheus.errors() == []
    finally:
        prometheus.process.stop()
        node.stop()


def test_prometheus_reads_a_cluster(redis: RedisServer,
                                    tmp_path: Path) -> None:
    """By one exporter: the clients of each server, and how fast it is."""
    tool('prometheus')
    port = free_port()
    exporter = OwnProcess(
        [sys.executable, '-m', 'redis_streams_adapter', 'exporter', '--url',
         redis.url, '--port', str(port)], tmp_path / 'exporter.out')
    prometheus = Prometheus(tmp_path, f'127.0.0.1:{port}')
    try:
        with running([NodeProcess('gevent', redis.url)
                      for _ in range(2)]) as nodes, \
                connecting(Client) as connect:
            clients = [connect(node) for node in nodes]
            for number in range(7):
                nodes[0].emit('event', number)
            for each in clients:
                each.wait_for('event', 7)
            for expression, value in (
                    ('cluster_complete', 1.0), ('cluster_servers', 2.0),
                    ('server_clients', 2.0), ('packets_delivered_total', 14),
                    ('nodes', 4.0)):
                wait_for_value(
                    lambda: prometheus.query(f'sum({PREFIX}{expression})'),
                    value, 30.0, f'{expression}:\n{exporter.tail()}')
            assert prometheus.query(
                f'count({PREFIX}server_info{{language="python"}})') == 2
            # Of the events, on both servers.
            assert prometheus.query(
                f'sum({PREFIX}delivery_seconds_count)') >= 14
            # No handler of this cluster is slow.
            assert prometheus.query(
                f'sum({PREFIX}delivery_seconds_bucket{{le="60.0"}})') >= 14
    finally:
        prometheus.process.stop()
        exporter.stop()


def test_skips_name_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent))
    with pytest.raises(pytest.skip.Exception, match='not on PATH'):
        tool('promtool')
