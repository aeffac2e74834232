"""Topologies that the tests of this directory share. Who was killed is
started again by the test that did it."""
from typing import Any, Iterator

import pytest

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


@pytest.fixture(params=['cluster', 'sentinels'])
def replicated(request: Any) -> Replicated:
    """One after the other."""
    servers: Replicated = request.getfixturevalue(request.param)
    return servers
