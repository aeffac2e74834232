"""Metrics of real servers, in each mode, as Prometheus reads them."""
import contextlib
import re
import statistics
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List

from prometheus_client.parser import text_string_to_metric_families

from redis_streams_adapter.monitoring.metrics import PREFIX
from redis_streams_adapter.stream.latency import NAMES

from ..support.client import Client
from ..support.gunicorn_process import GunicornProcess
from ..support.node_process import NodeProcess
from ..support.ports import free_port
from ..support.process import ROOT
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .conftest import STEADY, start_managers
from .helpers import BACK_WITHIN

StartNodes = Callable[..., List[NodeProcess]]

#: How many times the metrics are read while Redis is frozen, and the seconds
#: that half of these take at most. They take three milliseconds on an idle
#: machine.
READS, MEDIAN = 50, 0.1

#: The series of two histograms: the buckets, their sum and their number.
HISTOGRAMS = 2 * (len(NAMES) + 2)


def read(url: str) -> str:
    """What Prometheus would read."""
    with urllib.request.urlopen(f'{url}/metrics', timeout=10.0) as answer:
        return str(answer.read().decode())


def values(url: str) -> Dict[str, float]:
    """The values, by their names without the prefix, and by the labels other
    than that of the server."""
    found = {}
    for family in text_string_to_metric_families(read(url)):
        for each in family.samples:
            if each.name.startswith(PREFIX):
                each.labels.pop('stream')
                found[' '.join([each.name[len(PREFIX):],
                                *each.labels.values()])] = each.value
    return found


def test_two_servers(start_nodes: StartNodes, redis_server: RedisServer,
                     connect: Callable[..., Client],
                     unique: Callable[[str], str]) -> None:
    stream = unique('stream')
    a, b = nodes = start_nodes(2, redis_server.url, metrics=True,
                               stream_name=stream, **STEADY)
    assert values(a.url) == {'ready': 0, 'degraded': 0}
    start_managers(nodes)
    before = values(a.url), values(b.url)
    assert before[0]['ready'] == before[0]['redis_connected'] == 1
    assert before[0]['nodes'] == 2
    client = connect(b)
    event = unique('event')
    for number in range(20):
        a.emit(event, number)
    client.wait_for(event, 20)
    after = values(a.url), values(b.url)
    assert after[0]['entries_sent_total'] \
        - before[0]['entries_sent_total'] >= 20
    assert after[1]['entries_received_total'] \
        - before[1]['entries_received_total'] >= 20
    assert after[1]['packets_delivered_total'] \
        - before[1]['packets_delivered_total'] >= 20
    # A fixed number of series, and no client in a label.
    assert len(after[1]) == 30 + HISTOGRAMS
    assert client.sid not in read(b.url)


def test_recovery(start_nodes: StartNodes, redis_server: RedisServer,
                  connect: Callable[..., Client],
                  unique: Callable[[str], str]) -> None:
    node, = start_nodes(1, redis_server.url, metrics=True,
                        stream_name=unique('stream'),
                        connection_state_recovery=True, **STEADY)
    client = connect(node)
    wait_for_value(lambda: values(node.url).get('sessions'), 1.0)
    assert {name for name in values(node.url)
            if name.startswith('recoveries_total')} == {
        f'recoveries_total {each}' for each in (
            'recovered', 'unknown-session', 'offset-not-found',
            'invalid-offset', 'too-many-missed', 'redis-unavailable',
            'rejected')}
    assert len(values(node.url)) == 38 + HISTOGRAMS
    assert client.sid not in read(node.url)


def test_frozen_redis(make_redis: Callable[..., RedisServer],
                      start_nodes: StartNodes) -> None:
    redis = make_redis().start()
    node, = start_nodes(1, redis.url, metrics=True,
                        redis_options={'socket_timeout': 1.0}, **STEADY)
    node.start_manager()
    node.wait_health('ok')
    redis.freeze()
    node.emit('event', 'x')
    wait_until(lambda: values(node.url)['redis_outage_seconds'] > 0,
               BACK_WITHIN)
    took = []
    for _ in range(READS):
        begun = time.monotonic()
        read(node.url)
        took.append(time.monotonic() - begun)
    assert statistics.median(took) < MEDIAN
    found = values(node.url)
    assert found['degraded'] == 1
    # The heartbeat waits, too.
    assert found['outbox_entries'] >= 1
    assert found['redis_connected'] == 0
    assert found['redis_outages_total'] == 1
    redis.thaw()
    wait_for_value(lambda: values(node.url)['degraded'], 0, BACK_WITHIN)
    assert values(node.url)['redis_outage_seconds'] == 0


def documented_configuration(port: int) -> str:
    """The gunicorn.conf.py of the documentation, with another first port."""
    page = (ROOT / 'docs' / 'monitoring.rst').read_text('utf-8')
    lines = page[page.index('    from prometheus_client import start_http'):
                 page.index('A worker that takes the place')].splitlines()
    text = '\n'.join(line[4:] for line in lines)
    assert 'post_worker_init' in text
    return re.sub('9101', str(port), text)


def test_workers_of_gunicorn(
        start_gunicorn_process: Callable[..., GunicornProcess],
        redis_server: RedisServer, unique: Callable[[str], str],
        tmp_path: Path) -> None:
    """Each has its own port."""
    port = free_port()
    server = start_gunicorn_process(
        redis_server.url, {'stream_name': unique('stream')}, tmp_path, 2,
        documented_configuration(port), preload=False,
        application='tests.support.metrics_app')

    def known_servers() -> Any:
        with contextlib.suppress(OSError):
            return [values(f'http://127.0.0.1:{each}').get('nodes')
                    for each in (port, port + 1)]

    # Another process may have the second port.
    wait_until(lambda: known_servers() == [2, 2], 30.0,
               lambda: f'{known_servers()}\n{server.process.tail()}')
