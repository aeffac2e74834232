"""Session stores over a real Redis, with their task."""
import contextlib
import logging
from typing import Any, Callable, Iterator

import pytest

from redis_streams_adapter.concurrency.engines import ThreadEngine
from redis_streams_adapter.concurrency.tasks import Task
from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.session_store import SessionStore

from ...support.proxy import Proxy
from ...support.ports import free_port
from ...support.redis_server import RedisServer
from ...support.wait import DEADLINE

#: The expiry of the sessions in these tests, in seconds.
TTL = 100.0

PREFIX = 'sessions:'
STREAM = 'a-stream'


@pytest.fixture(scope='module')
def server(redis_binary: str) -> Iterator[RedisServer]:
    """A server that keeps its data over restarts."""
    with RedisServer(append_only=True) as own:
        yield own.start()


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Any]:
    """A client of the server, which is emptied first."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(free_port(), server.port) as proxy:
        proxy.open()
        yield proxy


Make = Callable[..., SessionStore]


@pytest.fixture
def make(server: RedisServer, redis: Any,
         logger: Callable[[], logging.Logger]) -> Iterator[Make]:
    """Makes session stores with their task: ``make(url, ttl, **options)``."""
    with contextlib.ExitStack() as stack:
        def make_one(url: str = '', ttl: float = TTL,
                     **options: Any) -> SessionStore:
            sessions = SessionStore(
                open_driver(url or server.url, options, STREAM),
                ThreadEngine(), PREFIX, ttl)
            task = Task('sessions', sessions.work, ThreadEngine(), None,
                        logger)
            task.start()
            stack.callback(end, sessions, task)
            assert task.tried.wait(DEADLINE)
            return sessions

        yield make_one


def end(sessions: SessionStore, task: Task) -> None:
    task.stop()
    sessions.interrupt()
    assert task.join(DEADLINE)
    assert not sessions._servers._links and not sessions._jobs


@pytest.fixture
def sessions(make: Make) -> SessionStore:
    return make()
