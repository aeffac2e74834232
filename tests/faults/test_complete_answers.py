"""Answers over PUB/SUB to a server that has just started, and while
connections return: complete, or an error."""
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..conftest import running, skip_incapable
from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN
from ..support.node_process import NodeProcess, RemoteError
from ..support.proxy import Proxy
from ..support.redis_binaries import sharding_binary
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import DEADLINE, wait_until
from .fixtures import MakeProxy

#: A namespace that one of the nodes serves, but not the one that asks.
ELSEWHERE = '/elsewhere'

#: The timeout in seconds of requests that are repeated.
TIMEOUT = 1.0


@pytest.fixture(scope='module', params=['pubsub', 'sharded-pubsub'])
def transport(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope='module')
def redis() -> Iterator[RedisServer]:
    binary = sharding_binary()
    if binary is None:
        skip_incapable('no sharded channels')
    with RedisServer(append_only=True, binary=binary.path) as server:
        yield server.start()


@pytest.fixture(scope='module')
def proxies(redis: RedisServer) -> Iterator[List[Proxy]]:
    """One for each node."""
    with Proxy(free_port(), redis.port) as first, \
            Proxy(free_port(), redis.port) as second:
        for each in first, second:
            each.open()
        yield [first, second]


@pytest.fixture(scope='module')
def nodes(mode: str, transport: str, proxies: List[Proxy],
          ) -> Iterator[List[NodeProcess]]:
    """Two nodes that answer an event with their names. The second one also
    serves another namespace."""
    with running([NodeProcess(mode, proxy.url, {
            **STEADY, 'request_transport': transport,
            'stream_name': transport,
            'redis_options': {'socket_timeout': 1.0}})
            for proxy in proxies]) as nodes:
        for node in nodes:
            node.start_manager()
            node.handle_server_side('name', node.name)
        nodes[1].handle_server_side('name', nodes[1].name, ELSEWHERE)
        for node in nodes:
            node.wait_server_count(2)
        nodes[1].wait_server_count(1, ELSEWHERE)
        yield nodes


@pytest.mark.parametrize('delay, firsts', [
    (0.0, (0, 1, 2, 3)), (0.02, (1, 2)), (0.2, (2,))])
def test_new_member_gets_complete_answers(redis: RedisServer, transport: str,
                                          nodes: List[NodeProcess],
                                          make_proxy: MakeProxy,
                                          delay: float,
                                          firsts: List[int]) -> None:
    """Its first call is complete, whichever that is, in namespaces that it
    serves and in others, however slow the connection to Redis is."""
    proxy = make_proxy(redis.port)
    proxy.delay_replies(delay)
    proxy.open()
    names = sorted(node.name for node in nodes)
    calls: List[Callable[[RedisStreamsManager], Any]] = [
        lambda manager: manager.server_count() == 3,
        lambda manager: sorted(manager.server_side_call('name')) == names,
        lambda manager: manager.server_side_call(
            'name', namespace=ELSEWHERE) == [nodes[1].name],
        lambda manager: manager.server_count(ELSEWHERE) == 1]
    for number in firsts:
        with RedisStreamsManager(proxy.url, transport,
                                 request_transport=transport) as manager:
            for call in calls[number:] + calls[:number]:
                assert call(manager)
    for node in nodes:
        node.wait_server_count(2, timeout=BACK_WITHIN)


class Requests:
    """Repeats a request, and counts the answers."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._stopped = threading.Event()
        #: How often each answer came; errors by their names.
        self.answers: Dict[str, int] = {}

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                answer = str(self._node.server_side_call(
                    'name', timeout=TIMEOUT))
            except RemoteError as exc:
                answer = exc.types[0]
            self.answers[answer] = self.answers.get(answer, 0) + 1

    def stop(self) -> None:
        self._stopped.set()


@pytest.mark.parametrize('how', ['killed', 'frozen', 'cut off'])
def test_answers_are_complete_while_redis_returns(
        redis: RedisServer, nodes: List[NodeProcess], proxies: List[Proxy],
        how: str) -> None:
    """Redis is away for all nodes, or only for the node that is asked, which
    is cut off for longer."""
    first, second = nodes
    for node in nodes:
        assert len(node.server_side_call('name')) == 1
    requests = Requests(first)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(requests.run)
        try:
            wait_until(lambda: f"['{second.name}']" in requests.answers)
            if how == 'killed':
                redis.kill()
                proxies[1].cut()
                second.wait_health('degraded')
                redis.start()
            elif how == 'frozen':
                redis.freeze()
                wait_until(lambda: 'ClusterTimeoutError' in requests.answers)
                proxies[1].cut()
                redis.thaw()
            else:
                proxies[1].cut()
            first.wait_health('ok', BACK_WITHIN)
            errors = requests.answers.get('ClusterTimeoutError', 0)
            wait_until(lambda: requests.answers.get(
                'ClusterTimeoutError', 0) > errors, BACK_WITHIN,
                lambda: f'an error; there are {requests.answers}')
            assert first.server_count() == 2
            proxies[1].open()
            second.wait_health('ok', BACK_WITHIN)
            before = requests.answers[f"['{second.name}']"]
            wait_until(lambda: requests.answers[f"['{second.name}']"] > before,
                       BACK_WITHIN, 'an answer')
        finally:
            requests.stop()
            if not proxies[1].is_open:
                proxies[1].open()
            running.result(DEADLINE)
    assert set(requests.answers) == {f"['{second.name}']",
                                     'ClusterTimeoutError'}
