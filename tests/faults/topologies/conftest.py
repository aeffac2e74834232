"""Topologies that the tests of this directory share. Who was killed is
started again by the test that did it."""
from typing import Any, Iterator

import pytest

from ...conftest import skip_or_fail
from ...support.redis_binaries import redis_binaries
from ...support.redis_cluster import RedisCluster
from ...support.replicated import Replicated
from ...support.sentinels import SentinelSet

#: No sign of life is written while a test looks.
SILENT = {'heartbeat_interval': 60.0, 'heartbeat_timeout': 120.0}


@pytest.fixture(scope='session')
def cluster(redis_binary: str) -> Iterator[RedisCluster]:
    """Three masters with a replica each."""
    with RedisCluster() as servers:
        yield servers.start()


@pytest.fixture(scope='session')
def sentinels(redis_binary: str) -> Iterator[SentinelSet]:
    """A master with a replica, and three Sentinels."""
    with SentinelSet() as servers:
        yield servers.start()


@pytest.fixture(scope='session', params=['oldest', 'newest'])
def each_binary(request: Any) -> str:
    """The redis-server of the oldest version that is here, then that of the
    newest."""
    binaries = sorted(redis_binaries().items(), key=lambda each: [
        int(number) for number in each[0].split('.')])
    if not binaries:
        skip_or_fail('there is no redis-server')
    if request.param == 'newest' and len(binaries) == 1:
        skip_or_fail(f'there is no redis-server but of {binaries[0][0]}')
    return binaries[0 if request.param == 'oldest' else -1][1]


@pytest.fixture(params=['cluster', 'sentinels'])
def replicated(request: Any) -> Replicated:
    """One after the other."""
    servers: Replicated = request.getfixturevalue(request.param)
    return servers
