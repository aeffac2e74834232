"""Requests after Redis was away or lost its data, or after servers expired:
the answer is complete, or an error."""
import contextlib
import threading
from typing import Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..integration.conftest import start_managers
from ..integration.helpers import BACK_WITHIN
from ..integration.test_membership import MISSED_WITHIN, QUICK
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until
from .fixtures import Connect, MakeRedis, StartNodes, Unique


#: Servers that do not expire while Redis restarts.
LASTING = {'heartbeat_interval': 1.0, 'heartbeat_timeout': 10.0}


class Requests:
    """Makes a server send requests all the time, and keeps the answers that
    are no errors."""

    def __init__(self, node: NodeProcess, namespace: str) -> None:
        self.answers: List[int] = []
        self.errors = 0
        self._node = node
        self._namespace = namespace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.append(len(self._node.fetch_sockets(
                    self._namespace, timeout=1.0)))
            except RemoteError as exc:
                assert exc.types[0] == 'ClusterTimeoutError', exc
                self.errors += 1

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30.0)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def requests(node: NodeProcess, namespace: str) -> Iterator[Requests]:
    running = Requests(node, namespace)
    try:
        wait_until(lambda: running.answers)
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize('keeps', [True, False])
def test_answers_are_complete_after_redis_restarts(
        make_redis: MakeRedis, start_nodes: StartNodes, connect: Connect,
        keeps: bool) -> None:
    """Redis restarts with its data, or without. Servers from before send
    requests all the time, and new processes do so soon after."""
    redis = make_redis(append_only=keeps).start()
    nodes = start_nodes(3, redis.url, **LASTING)
    start_managers(nodes)
    for node in nodes:
        for namespace in ('/', '/chat'):
            connect(node, namespace)
    with requests(nodes[0], '/') as one, \
            requests(nodes[1], '/chat') as other:
        redis.kill()
        wait_until(lambda: one.errors and other.errors)
        redis.start()
        before = len(one.answers), len(other.answers)
        wait_until(lambda: len(one.answers) > before[0] + 3
                   and len(other.answers) > before[1] + 3, BACK_WITHIN)
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    for namespace, count in (('/', 4), ('/chat', 3)):
        with RedisStreamsManager(
                redis.url, **LASTING) as manager:  # type: ignore[arg-type]
            assert manager.server_count(namespace) == count
            assert len(manager.fetch_sockets(namespace, timeout=10.0)) == 3
    # Never only some of them.
    assert set(one.answers) == set(other.answers) == {3}


def test_expired_server_rejoins_at_once(redis_server: RedisServer,
                                        unique: Unique, connect: Connect,
                                        start_nodes: StartNodes) -> None:
    """A server that expired for others is a member at once when it wakes
    up, and asks all others."""
    stream = unique('stream')
    nodes = start_nodes(3, redis_server.url, stream_name=stream,
                        **{**QUICK, 'heartbeat_interval': 2.0})
    start_managers(nodes)
    sleeper, *others = nodes
    clients = [connect(node, '/chat') for node in nodes]
    sids = sorted(client.sid for client in clients)
    sleeper.freeze()
    try:
        for node in others:
            node.wait_server_count(2, '/chat', MISSED_WITHIN)
        assert len(others[0].fetch_sids(namespace='/chat')) == 2
    finally:
        sleeper.thaw()
    assert sleeper.fetch_sids(namespace='/chat') == sids
    for node in others:
        for namespace in ('/chat', '/'):
            # Its next heartbeat alone would take longer.
            node.wait_server_count(3, namespace, timeout=1.5)
        assert node.fetch_sids(namespace='/chat') == sids


def test_servers_find_each_other_after_stream_deletion(
        redis_server: RedisServer, unique: Unique, connect: Connect,
        start_nodes: StartNodes) -> None:
    """The servers send a heartbeat each when their stream is deleted.

    Redis 6.2 does not show that a stream was deleted. There a server may have
    to wait for one heartbeat timeout until it knows all others."""
    stream = unique('stream')
    nodes = start_nodes(2, redis_server.url, stream_name=stream,
                        heartbeat_interval=8.0, heartbeat_timeout=16.0,
                        block_time=0.5)
    start_managers(nodes)
    for node in nodes:
        connect(node)
    with redis_server.client() as redis:
        redis.delete(stream)
        # Long before their next heartbeats.
        wait_for_value(
            lambda: {fields[b'uid'] for _, fields in redis.xrange(stream)},
            {node.identify()[1].encode() for node in nodes}, timeout=6.0)

    def count(node: NodeProcess) -> int:
        try:
            return node.server_count()
        except RemoteError as exc:
            assert exc.types[0] == 'ClusterTimeoutError'
            return 0

    for node in nodes:
        wait_until(lambda: count(node) == 2, 20.0, 'both to know each other')
        assert len(node.fetch_sids()) == 2
    with RedisStreamsManager(redis_server.url, stream) as manager:
        assert len(manager.fetch_sockets(timeout=10.0)) == 2
