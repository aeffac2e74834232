"""A Python process writes and asks in a namespace of which it is no member;
servers in Node.js are."""
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
    """Two of them, which know each other in ``/chat``."""
    found = start_js([OLD, OLD], redis_server.url, stream_name=stream,
                     **STEADY)
    for server in found:
        server.wait_server_count(2, '/chat')
    return found


@pytest.fixture
def foreigner(redis_server: RedisServer, stream: str,
              servers: List[JsServer]) -> Iterator[RedisStreamsManager]:
    """A member of ``/`` alone."""
    with RedisStreamsManager(
            redis_server.url, stream, **STEADY  # type: ignore[arg-type]
            ) as manager:
        yield manager


def test_nobody_waits_for_who_is_no_member(
        foreigner: RedisStreamsManager, servers: List[JsServer],
        connect_js: Connect) -> None:
    clients = [connect_js(server, '/chat') for server in servers]
    foreigner.emit('news', 1, namespace='/chat')
    foreigner.sockets_join('room', namespace='/chat')
    foreigner.server_side_emit('x', namespace='/chat')
    for client in clients:
        client.wait_for('news')
    for server in servers:
        assert server.server_count('/chat') == 2
        # Well below the heartbeat timeout of a minute.
        found = server.fetch_sockets(namespace='/chat', timeout=DEADLINE)
        assert len(found) == 2
        assert server.server_count('/') == 3


def test_who_is_no_member_is_answered(
        foreigner: RedisStreamsManager, servers: List[JsServer],
        connect_js: Connect) -> None:
    clients = [connect_js(server, '/chat') for server in servers]
    for client in clients:
        client.answer('question', 'yes')
    for server in servers:
        server.handle_server_side('event', 'answer', '/chat')
    assert foreigner.server_count('/chat') == 2
    assert len(foreigner.nodes('/chat')) == 2
    assert {each.sid for each in foreigner.fetch_sockets(
        '/chat', timeout=DEADLINE)} == {
            client.sids['/chat'] for client in clients}
    assert foreigner.emit_with_ack('question', namespace='/chat',
                                   timeout=DEADLINE) == ['yes', 'yes']
    assert foreigner.server_side_call(
        'event', namespace='/chat', timeout=DEADLINE) == ['answer'] * 2
    answers: List[Any] = []
    foreigner.emit('question', None, namespace='/chat',
                   callback=answers.append)
    wait_for_value(lambda: answers, ['yes', 'yes'])
    for server in servers:
        assert server.server_count('/chat') == 2


def test_first_call(redis_server: RedisServer, stream: str,
                    servers: List[JsServer], connect_js: Connect) -> None:
    """They are known before they have answered."""
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
