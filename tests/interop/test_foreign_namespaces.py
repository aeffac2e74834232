"""A Python process emits and sends requests in a namespace of which it is not
a member. The members are servers in Node.js."""
from typing import Any, Callable, Iterator, List

import pytest

from redis_streams_adapter import RedisStreamsManager

from ..integration.conftest import STEADY
from ..support.js_server import JsServer
from ..support.redis_server import RedisServer
from ..support.wait import DEADLINE, wait_for_value
from .helpers import OLD

Connect = Callable[..., Any]


@pytest.fixture
def stream(unique: Callable[[str], str]) -> str:
    return unique('stream')


@pytest.fixture
def servers(redis_server: RedisServer, stream: str,
            start_js: Callable[..., List[JsServer]]) -> List[JsServer]:
    """Two servers that know each other in ``/chat``."""
    found = start_js([OLD, OLD], redis_server.url, stream_name=stream,
                     **STEADY)
    for server in found:
        server.wait_server_count(2, '/chat')
    return found


@pytest.fixture
def outsider(redis_server: RedisServer, stream: str,
             servers: List[JsServer]) -> Iterator[RedisStreamsManager]:
    """A member of only ``/``."""
    with RedisStreamsManager(
            redis_server.url, stream, **STEADY  # type: ignore[arg-type]
            ) as manager:
        yield manager


def test_members_do_not_wait_for_other_processes(
        outsider: RedisStreamsManager, servers: List[JsServer],
        connect_js: Connect) -> None:
    clients = [connect_js(server, '/chat') for server in servers]
    outsider.emit('news', 1, namespace='/chat')
    outsider.sockets_join('room', namespace='/chat')
    outsider.server_side_emit('x', namespace='/chat')
    for client in clients:
        client.wait_for('news')
    for server in servers:
        assert server.server_count('/chat') == 2
        # Far less than the heartbeat timeout of a minute.
        found = server.fetch_sockets(namespace='/chat', timeout=DEADLINE)
        assert len(found) == 2
        assert server.server_count('/') == 3


def test_members_answer_other_processes(
        outsider: RedisStreamsManager, servers: List[JsServer],
        connect_js: Connect) -> None:
    clients = [connect_js(server, '/chat') for server in servers]
    for client in clients:
        client.answer('question', 'yes')
    for server in servers:
        server.handle_server_side('event', 'answer', '/chat')
    assert outsider.server_count('/chat') == 2
    assert len(outsider.nodes('/chat')) == 2
    assert {each.sid for each in outsider.fetch_sockets(
        '/chat', timeout=DEADLINE)} == {
            client.sids['/chat'] for client in clients}
    assert outsider.emit_with_ack('question', namespace='/chat',
                                  timeout=DEADLINE) == ['yes', 'yes']
    assert outsider.server_side_call(
        'event', namespace='/chat', timeout=DEADLINE) == ['answer'] * 2
    answers: List[Any] = []
    outsider.emit('question', None, namespace='/chat',
                  callback=answers.append)
    wait_for_value(lambda: answers, ['yes', 'yes'])
    for server in servers:
        assert server.server_count('/chat') == 2


def test_first_call_knows_all_servers(
        redis_server: RedisServer, stream: str, servers: List[JsServer],
        connect_js: Connect) -> None:
    """A manager knows the servers before they have answered it."""
    for server in servers:
        connect_js(server, '/', '/chat')
    for namespace, count in (('/', 3), ('/chat', 2)):
        for _ in range(3):
            with RedisStreamsManager(
                    redis_server.url, stream, **STEADY  # type: ignore
                    ) as manager:
                assert manager.server_count(namespace) == count
            with RedisStreamsManager(
                    redis_server.url, stream, **STEADY  # type: ignore
                    ) as manager:
                assert len(manager.fetch_sockets(
                    namespace, timeout=DEADLINE)) == 2
