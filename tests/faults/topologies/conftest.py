"""The topologies that these tests share. A test that kills a server starts it
again."""
from typing import Any, Iterator, List, Tuple

import pytest

from ...conftest import skip_or_fail
from ...support.client_library import REDIS_CLIENT
from ...support.redis_binaries import redis_binaries
from ...support.redis_cluster import RedisCluster
from ...support.replicated import Replicated
from ...support.sentinels import SentinelSet

#: No heartbeat is sent during a test.
SILENT = {'heartbeat_interval': 60.0, 'heartbeat_timeout': 120.0}


def binaries() -> List[Tuple[str, str]]:
    """Version and path of each installed redis-server, oldest first."""
    found = sorted(redis_binaries().items(), key=lambda each: [
        int(number) for number in each[0].split('.')])
    if not found:
        skip_or_fail('there is no redis-server')
    return found


@pytest.fixture(scope='session')
def cluster() -> Iterator[RedisCluster]:
    """Three masters with a replica each, of the newest version, which has
    sharded channels."""
    with RedisCluster(binary=binaries()[-1][1]) as servers:
        yield servers.start()


@pytest.fixture(scope='session')
def sentinels(redis_binary: str) -> Iterator[SentinelSet]:
    """A master with a replica, and three Sentinels."""
    with SentinelSet() as servers:
        yield servers.start()


@pytest.fixture(scope='session', params=['oldest', 'newest'])
def each_binary(request: Any) -> str:
    """The oldest installed redis-server, then the newest."""
    found = binaries()
    if request.param == 'newest' and len(found) == 1:
        leave_out = pytest.skip if REDIS_CLIENT == 'valkey' else skip_or_fail
        leave_out(f'there is only one server, {found[0][0]}')
    return found[0 if request.param == 'oldest' else -1][1]


@pytest.fixture(params=['cluster', 'sentinels'])
def replicated(request: Any) -> Replicated:
    """A Redis Cluster, then a master with Sentinels."""
    servers: Replicated = request.getfixturevalue(request.param)
    return servers
