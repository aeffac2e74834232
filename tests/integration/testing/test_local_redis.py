"""A real Redis fulfils the same contract as the Redis in memory."""
from typing import Iterator

import pytest

from redis_streams_adapter.stream.driver import Driver, open_driver

from ...support.redis_server import RedisServer
# The tests, and their fixtures.
from ...support.sessions_contract import *  # noqa: F401, F403
from ...support.sessions_contract import STREAM


@pytest.fixture(scope='module')
def server(redis_binary: str) -> Iterator[RedisServer]:
    with RedisServer() as own:
        yield own.start()


@pytest.fixture
def driver(server: RedisServer) -> Driver:
    with server.client() as client:
        client.flushall()
    return open_driver(server.url, {}, STREAM)
