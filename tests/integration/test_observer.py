"""An observer sees all servers and their clients, and no server notices it."""
import json
import logging
import subprocess
import sys
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter.observer import Observer

from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.wait import DEADLINE, wait_until
from .helpers import check_working, log_lengths

Unique = Callable[[str], str]

#: Short, so that a server that waits for the observer would show it.
TIMES = {'heartbeat_interval': 0.5, 'heartbeat_timeout': 2.0}

#: Seconds that an observer of these tests may wait.
PATIENT = 2 * DEADLINE


class Watched:
    """Two servers with a client on each, and the options of an observer."""

    def __init__(self, url: str, options: Any, nodes: List[NodeProcess],
                 clients: List[Client]) -> None:
        self.url = url
        self.options = options
        self.nodes = nodes
        self.clients = clients

    def observer(self) -> Observer:
        return Observer(self.url, **self.options)


@pytest.fixture(params=['stream', 'pubsub'])
def watched(request: Any, redis_server: Any, start_nodes: Any,
            connect: Callable[..., Client], unique: Unique
            ) -> Iterator[Watched]:
    name = unique('observed')
    options = {'stream_name': name, 'channel_prefix': name,
               'request_transport': request.param, **TIMES}
    nodes = start_nodes(2, redis_server.url, **options)
    for node in nodes:
        node.start_manager()
    for node in nodes:
        node.wait_server_count(2)
    yield Watched(redis_server.url, options, nodes,
                  [connect(node.url) for node in nodes])


def test_it_sees_all(watched: Watched, unique: Unique) -> None:
    room = unique('room')
    uids = {node.uid() for node in watched.nodes}
    for node, client in zip(watched.nodes, watched.clients):
        node.enter_room(client.sid, room)
    with watched.observer() as observer:
        assert {each.uid for each in observer.cluster_stats(PATIENT)} == uids
        assert {each.uid for each in observer.nodes()} == uids
        assert {(each.host, each.pid) for each in observer.nodes()} == {
            (each.host, each.pid)
            for each in observer.cluster_stats(PATIENT)}
        assert observer.server_count() == 2
        assert {each.sid for each in observer.fetch_sockets(
            timeout=PATIENT)} == {client.sid for client in watched.clients}
        assert observer.room_counts()[room] == 2
        for node in watched.nodes:
            assert node.server_count() == 2
            assert sorted(node.nodes()) == sorted(uids)


def test_no_one_notices_that_it_is_killed(watched: Watched,
                                          unique: Unique) -> None:
    starts = log_lengths(watched.nodes)
    with subprocess.Popen(
            [sys.executable, '-m', 'tests.support.observing_script',
             watched.url, json.dumps(watched.options)],
            stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == '2\n'
            for node in watched.nodes:
                assert node.server_count() == 2
        finally:
            process.kill()
    # Longer than it takes to miss a server.
    with watched.observer() as observer:
        observer.cluster_stats(PATIENT)
    check_working(watched.nodes, watched.clients, unique)
    for node, start in zip(watched.nodes, starts):
        assert node.logs(logging.INFO, start) == []
        assert node.server_count() == 2


def test_outage(make_redis: Any, start_nodes: Any) -> None:
    """It reports an error while Redis is away, and everybody after that."""
    redis = make_redis().start()
    nodes = start_nodes(2, redis.url, **TIMES)
    for node in nodes:
        node.start_manager()
    with Observer(redis.url, **TIMES) as observer:
        assert len(observer.cluster_stats(PATIENT)) == 2
        redis.stop()
        with pytest.raises(TimeoutError):
            observer.cluster_stats(timeout=0.5)
        redis.start()

        def all_answer() -> bool:
            try:
                return len(observer.cluster_stats()) == 2
            except TimeoutError:
                return False

        wait_until(all_answer, PATIENT, what='answers of both servers')
