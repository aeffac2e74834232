"""``exporter``: the metrics of a cluster over HTTP."""
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from redis_streams_adapter.monitoring.metrics import PREFIX

from ..conftest import connecting, running
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.ports import free_port
from ..support.process import OwnProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_until
from .conftest import COMMAND, environment, run_command

STREAM = 'exported'

#: Seconds that the exporter waits for Redis and for servers.
TIMEOUT = 2


class Exporter:
    """A running exporter."""

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self.port = free_port()
        self.process = OwnProcess(
            [*COMMAND, 'exporter', '--port', str(self.port), '--stream',
             STREAM, '--timeout', str(TIMEOUT)],
            directory / 'exporter.out', env=environment(server.url))
        wait_until(lambda: f':{self.port}/metrics' in self.process.output())

    def samples(self) -> Dict[Any, float]:
        """By name without the prefix, and the uid of the server."""
        with urllib.request.urlopen(
                f'http://127.0.0.1:{self.port}/metrics',
                timeout=30.0) as answer:
            text = answer.read().decode()
        return {(each.name[len(PREFIX):], each.labels.get('node')): each.value
                for family in text_string_to_metric_families(text)
                for each in family.samples}


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    return make_redis().start()


@pytest.fixture
def exporter(server: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(server, tmp_path)
    yield exporter
    exporter.process.kill()


def test_cluster(server: RedisServer, exporter: Exporter,
                 mode: str) -> None:
    with running([NodeProcess(mode, server.url, {'stream_name': STREAM})
                  for _ in range(2)]) as nodes, connecting(Client) as connect:
        for node in nodes:
            node.start_manager()
        connect(nodes[0])
        uids = [node.uid() for node in nodes]
        found = wait_until(lambda: (
            samples := exporter.samples())['cluster_servers', None] == 2.0
            and samples)
        assert found['cluster_complete', None] == 1
        assert found['stream_entries', None] > 0
        assert [found['server_clients', uid] for uid in uids] == [1, 0]
        for uid in uids:
            # The exporter is no server.
            assert found['nodes', uid] == 2
            assert found['server_memory_bytes', uid] > 1e6
            assert found['server_cpu_seconds_total', uid] > 0
            assert found['delivery_seconds_count', uid] > 0
            assert found['outbox_seconds_bucket', uid] > 0
        server.freeze()
        try:
            found = wait_until(lambda: not (
                samples := exporter.samples())['cluster_complete', None]
                and samples)
            assert found['cluster_servers', None] == 0
            assert ('ready', uids[0]) not in found
        finally:
            server.thaw()
        wait_until(lambda: exporter.samples()['cluster_complete', None])
        # Once, not at each scrape.
        lines = exporter.process.output().splitlines()
        assert sum('Redis cannot be used' in each for each in lines) == 1
        assert sum('Redis is back' in each for each in lines) == 1
        nodes[1].freeze()
        try:
            found = wait_until(lambda: (
                samples := exporter.samples())['cluster_servers_missing', None]
                and samples)
            assert found['server_clients', uids[0]] == 1
            assert ('server_clients', uids[1]) not in found
        finally:
            nodes[1].thaw()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM],
                         ids=lambda number: number.name)
def test_ends(exporter: Exporter, number: signal.Signals) -> None:
    exporter.process.signal(number)
    assert exporter.process.wait(30.0) == 0
    assert 'Traceback' not in exporter.process.output()


def test_starts_while_redis_is_away(make_redis: Callable[..., RedisServer],
                                    tmp_path: Path) -> None:
    server = make_redis()
    exporter = Exporter(server, tmp_path)
    try:
        assert exporter.samples()['cluster_complete', None] == 0
        server.start()
        wait_until(lambda: exporter.samples()['cluster_complete', None])
    finally:
        exporter.process.kill()


def test_port_is_taken(server: RedisServer, exporter: Exporter) -> None:
    done = run_command('exporter', '--port', str(exporter.port),
                       url=server.url)
    assert done.status == 1
    assert f'127.0.0.1, port {exporter.port}' in done.err


@pytest.mark.parametrize('port', ['-1', '65536', 'x'])
def test_wrong_port(port: str) -> None:
    assert run_command('exporter', f'--port={port}').status == 2


def test_package_is_missing(server: RedisServer,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'prometheus_client', None)
    done = run_command('exporter', url=server.url)
    assert done.status == 2
    assert "pip install 'redis-streams-adapter[prometheus]'" in done.err
