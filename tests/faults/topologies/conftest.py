"""The topologies that these tests share. A test that kills a server starts it
again."""
import importlib.util
from typing import Any, Iterator, List

import pytest

from ...conftest import skip_incapable, skip_or_fail
from ...support.certificates import Authority, Certificate, HOST
from ...support.client_library import REDIS_CLIENT
from ...support.redis_binaries import RedisBinary, redis_binaries, tls_binary
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


@pytest.fixture(scope='session')
def authority(tmp_path_factory: Any) -> Authority:
    if importlib.util.find_spec('trustme') is None:
        skip_or_fail('trustme is not installed')
    return Authority(tmp_path_factory.mktemp('certificates'))


@pytest.fixture(scope='session')
def certificate(authority: Authority) -> Certificate:
    """The certificate of a client."""
    return authority.issue('client')


@pytest.fixture(scope='session')
def tls_server(authority: Authority, certificate: Certificate,
               ) -> Iterator[RedisServer]:
    """A server that requires TLS, and a certificate of its clients."""
    binary = tls_binary()
    if binary is None:
        skip_incapable('no TLS')
    with RedisServer(
            append_only=True, binary=binary.path,
            client_options={'ssl': True, **certificate.client_options},
            ) as server:
        yield server.start(
            '--port', '0', '--tls-port', str(server.port),
            *authority.issue('server').server_arguments)


def tls_url(server: RedisServer, query: str) -> str:
    return f'{REDIS_CLIENT}s://{HOST}:{server.port}/0?{query}'


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
