"""Servers over a real Redis.

Every test checks at its end that, once all clients are gone, the memory of the
servers holds nothing of them.
"""
import contextlib
import itertools
from typing import Any, Callable, Iterator, List, Optional

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.recovery.session import load_session, Session

from ...support.redis_server import RedisServer
from ...support.wait import wait_for_value, wait_until
from ...unit.fake_server import FakeClient, make_server
from .harness import MakeNode, Node, pid_of, SILENT

_numbers = itertools.count(1)


@pytest.fixture(scope='module')
def redis_server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server.start()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def stream() -> str:
    """The name of this test's stream, and the prefix of its keys."""
    return f'test-{next(_numbers)}'


@pytest.fixture
def make(redis_server: RedisServer, stream: str) -> Iterator[MakeNode]:
    """Makes nodes that are members; options of the server are passed as
    ``server``, those of recovery as ``recovery``."""
    nodes: List[Node] = []

    def make_one(server: Any = None, url: str = '',
                 recovery: Any = None, **options: Any) -> Node:
        manager = RedisStreamsManager(
            url or redis_server.url, stream, session_key_prefix=stream + ':',
            connection_state_recovery=recovery or True,
            **{**SILENT, **options})
        node = Node(make_server(client_manager=manager, **(server or {})),
                    manager)
        nodes.append(node)
        manager.start()
        return node

    with contextlib.ExitStack() as stack:
        for_each = stack.callback
        yield make_one
        for node in nodes:
            for_each(node.manager.close, 1.0)
        for node in nodes:
            for client in node.clients:
                if not client.socket.closed:
                    client.lose()
            if node.manager._live().tasks.by_name['session writer'].stopping:
                continue
            wait_until(lambda: node.is_clean,
                       what=lambda: f'nothing to be left of '
                                    f'{node.remains()}')


@pytest.fixture
def node(make: MakeNode) -> Node:
    return make()


@pytest.fixture
def other(make: MakeNode, node: Node) -> Node:
    """Another node of the same cluster."""
    other = make()
    wait_for_value(node.manager.server_count, 2)
    wait_for_value(other.manager.server_count, 2)
    return other


@pytest.fixture
def stored_session(redis: Any,
                   stream: str) -> Callable[..., Optional[Session]]:
    """What Redis has of a client: ``stored_session(client)``."""
    def look(client: FakeClient,
             namespace: str = '/') -> Optional[Session]:
        pid = pid_of(client, namespace)
        raw = redis.get(f'{stream}:{pid}')
        return raw and load_session(  # type: ignore[no-any-return]
            raw, pid, namespace, Application(stream, 0))

    return look
