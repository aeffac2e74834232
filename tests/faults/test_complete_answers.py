"""Answers over PUB/SUB to those who have just started, and while connections
come back: all of what there is, or an error, never a part."""
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..conftest import running, skip_or_fail
from ..integration.conftest import STEADY
from ..integration.helpers import BACK_WITHIN
from ..support.node_process import NodeProcess, RemoteError
from ..support.proxy import Proxy
from ..support.redis_binaries import redis_binaries
from ..support.redis_server import free_port, RedisServer
from ..support.wait import DEADLINE, wait_until

#: A namespace that one of the nodes serves, and whoever asks does not.
ELSEWHERE = '/elsewhere'

#: Seconds that a question may take while it is asked again and again.
PATIENCE = 1.0


@pytest.fixture(scope='module', params=['pubsub', 'sharded-pubsub'])
def transport(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope='module')
def redis() -> Iterator[RedisServer]:
    for version, path in redis_binaries().items():
        if int(version.partition('.')[0]) >= 7:
            with RedisServer(append_only=True, binary=path) as server:
                yield server.start()
            return
    skip_or_fail('there is no redis-server of version 7')


@pytest.fixture(scope='module')
def proxies(redis: RedisServer) -> Iterator[List[Proxy]]:
    """Of each node one."""
    with Proxy(free_port(), redis.port) as first, \
            Proxy(free_port(), redis.port) as second:
        for each in first, second:
            each.open()
        yield [first, second]


@pytest.fixture(scope='module')
def nodes(mode: str, transport: str, proxies: List[Proxy],
          ) -> Iterator[List[NodeProcess]]:
    """Two that answer an event with their names; the second one also
    elsewhere."""
    with running([NodeProcess(mode, proxy.url, {
            **STEADY, 'request_transport': transport,
            'stream_name': transport,
            'redis_options': {'socket_timeout': 1.0}})
            for proxy in proxies]) as nodes:
        for node in nodes:
            node.start_manager()
            node.handle_server_side('who', node.name)
        nodes[1].handle_server_side('who', nodes[1].name, ELSEWHERE)
        for node in nodes:
            node.wait_server_count(2)
        nodes[1].wait_server_count(1, ELSEWHERE)
        yield nodes


@pytest.mark.parametrize('delay, firsts', [
    (0.0, (0, 1, 2, 3)), (0.02, (1, 2)), (0.2, (2,))])
def test_new_member_gets_complete_answers(redis: RedisServer, transport: str,
                                          nodes: List[NodeProcess],
                                          make_proxy: Callable[[int], Proxy],
                                          delay: float,
                                          firsts: List[int]) -> None:
    """From its first call on, whichever that is, in namespaces that it serves
    and in others, however far Redis is away."""
    proxy = make_proxy(redis.port)
    proxy.delay_replies(delay)
    proxy.open()
    names = sorted(node.name for node in nodes)
    calls: List[Callable[[RedisStreamsManager], Any]] = [
        lambda manager: manager.server_count() == 3,
        lambda manager: sorted(manager.server_side_call('who')) == names,
        lambda manager: manager.server_side_call(
            'who', namespace=ELSEWHERE) == [nodes[1].name],
        lambda manager: manager.server_count(ELSEWHERE) == 1]
    for number in firsts:
        with RedisStreamsManager(proxy.url, transport,
                                 request_transport=transport) as manager:
            for call in calls[number:] + calls[:number]:
                assert call(manager)
    for node in nodes:
        node.wait_server_count(2, timeout=BACK_WITHIN)


class Asking:
    """Asks again and again, and remembers what was answered."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._over = threading.Event()
        #: What came, and how often; errors by their names.
        self.answers: Dict[str, int] = {}

    def run(self) -> None:
        while not self._over.is_set():
            try:
                answer = str(self._node.server_side_call(
                    'who', timeout=PATIENCE))
            except RemoteError as exc:
                answer = exc.types[0]
            self.answers[answer] = self.answers.get(answer, 0) + 1

    def stop(self) -> None:
        self._over.set()


@pytest.mark.parametrize('how', ['killed', 'frozen', 'cut off'])
def test_answers_are_complete_while_redis_returns(
        redis: RedisServer, nodes: List[NodeProcess], proxies: List[Proxy],
        how: str) -> None:
    """For all of them, or for the one that is asked, and for longer."""
    first, second = nodes
    for node in nodes:
        assert len(node.server_side_call('who')) == 1
    asking = Asking(first)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asking.run)
        try:
            wait_until(lambda: f"['{second.name}']" in asking.answers)
            if how == 'killed':
                redis.kill()
                proxies[1].cut()
                second.wait_health('degraded')
                redis.start()
            elif how == 'frozen':
                redis.freeze()
                wait_until(lambda: 'ClusterTimeoutError' in asking.answers)
                proxies[1].cut()
                redis.thaw()
            else:
                proxies[1].cut()
            first.wait_health('ok', BACK_WITHIN)
            errors = asking.answers.get('ClusterTimeoutError', 0)
            wait_until(lambda: asking.answers.get(
                'ClusterTimeoutError', 0) > errors, BACK_WITHIN,
                lambda: f'an error; there are {asking.answers}')
            assert first.server_count() == 2
            proxies[1].open()
            second.wait_health('ok', BACK_WITHIN)
            before = asking.answers[f"['{second.name}']"]
            wait_until(lambda: asking.answers[f"['{second.name}']"] > before,
                       BACK_WITHIN, 'an answer')
        finally:
            asking.stop()
            if not proxies[1].is_open:
                proxies[1].open()
            running.result(DEADLINE)
    assert set(asking.answers) == {f"['{second.name}']",
                                   'ClusterTimeoutError'}
