"""The topologies that these tests share. A test that kills a server starts it
again."""
from typing import Any, Iterator, List

import pytest

from ...conftest import skip_incapable, skip_or_fail
from ...support.redis_binaries import RedisBinary, redis_binaries
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import Replicated
from ...support.sentinels import SentinelSet

#: No heartbeat is sent during a test.
SILENT = {'heartbeat_interval': 60.0, 'heartbeat_timeout': 120.0}


#: Which of the installed servers a test runs on.
EACH = ['oldest', 'newest'] if len(redis_binaries()) > 1 else ['only']


def binaries() -> List[RedisBinary]:
    """The installed redis-servers, oldest first; the chosen one alone."""
    found = redis_binaries()
    if not found:
        skip_or_fail('there is no redis-server')
    return found


def skip_if_incapable(transport: str, server: RedisServer) -> None:
    """Leave a test out because the server does not have the transport."""
    if transport == 'sharded-pubsub' \
            and not server.binary.has_sharded_channels:
        skip_incapable('no sharded channels')


@pytest.fixture(scope='session')
def cluster() -> Iterator[RedisCluster]:
    """Three masters with a replica each, of the newest version, which has
    sharded channels."""
    with RedisCluster(binary=binaries()[-1].path) as servers:
        yield servers.start()


@pytest.fixture(scope='session')
def sentinels(redis_binary: str) -> Iterator[SentinelSet]:
    """A master with a replica, and three Sentinels."""
    with SentinelSet() as servers:
        yield servers.start()


@pytest.fixture(scope='session', params=EACH)
def each_binary(request: Any) -> str:
    """The oldest installed redis-server, then the newest; the chosen one
    alone."""
    found = binaries()
    return found[-1 if request.param == 'newest' else 0].path


@pytest.fixture(params=['cluster', 'sentinels'])
def replicated(request: Any) -> Replicated:
    """A Redis Cluster, then a master with Sentinels."""
    servers: Replicated = request.getfixturevalue(request.param)
    return servers
