"""The undocumented parts of other packages that this package uses. If a new
version lacks one of them, a test fails and names it."""
import configparser
import pathlib
import re
from importlib.metadata import version
from typing import Any, List

import engineio
import engineio.exceptions
import engineio.packet
import pytest
import redis
import redis.cluster
import redis.sentinel

ROOT = pathlib.Path(__file__).parents[2]

#: Names in the package redis.
OF_REDIS = (
    'ConnectionPool.from_url', 'connection.Connection',
    'connection.SSLConnection', 'connection.parse_url', 'retry.Retry',
    'backoff.NoBackoff', 'cluster.key_slot', 'exceptions.ConnectionError',
    'exceptions.RedisError', 'exceptions.RedisClusterException',
    'exceptions.ResponseError', 'exceptions.MovedError',
    'exceptions.TryAgainError', 'exceptions.AskError',
    'exceptions.ReadOnlyError', 'exceptions.MasterDownError',
    'exceptions.ClusterDownError',
    'exceptions.InvalidResponse')

#: Names of a connection, with TCP and with TLS.
OF_A_CONNECTION = (
    'connect', 'disconnect', 'pack_command', 'send_command',
    'send_packed_command', 'read_response', 'can_read', 'socket_timeout',
    'host', '_sock', '_parser.parse_error')

#: Names of a pool, of a client of a cluster, and of a pool that Sentinels
#: watch.
OF_A_POOL = ('connection_kwargs', 'connection_class')
OF_A_CLUSTER = ('get_node', 'get_node_from_key', 'get_primaries')
OF_A_SENTINEL = ('sentinels', 'min_other_sentinels')

#: Names of Engine.IO.
OF_ENGINE_IO = ('packet.Packet', 'packet.MESSAGE',
                'exceptions.SocketIsClosedError')


def missing(package: Any, names: Any) -> List[str]:
    """The names that a package or an object does not have."""
    found = []
    for name in names:
        value = package
        for part in name.split('.'):
            if not hasattr(value, part):
                found.append(name)
                break
            value = getattr(value, part)
    return found


def sentence(package: str, names: List[str]) -> str:
    return (f'{package} {version(package)} has no {", ".join(names)}, which '
            f'redis_streams_adapter uses')


@pytest.mark.parametrize('what, names', [
    (redis, OF_REDIS),
    (redis.ConnectionPool.from_url('redis://localhost'), OF_A_POOL),
    (redis.cluster.RedisCluster, OF_A_CLUSTER),
    (redis.sentinel.Sentinel([('localhost', 1)]), OF_A_SENTINEL)])
def test_redis(what: Any, names: Any) -> None:
    gone = missing(what, names)
    assert not gone, sentence('redis', gone)


@pytest.mark.parametrize('name', ['Connection', 'SSLConnection'])
def test_connection_of_redis(name: str) -> None:
    connection = getattr(redis.connection, name)(
        socket_timeout=1.0, protocol=2,
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    gone = missing(connection, OF_A_CONNECTION)
    assert not gone, sentence('redis', gone)


def test_engine_io() -> None:
    gone = missing(engineio, OF_ENGINE_IO)
    assert not gone, sentence('python-engineio', gone)


def test_imported_packages_are_required() -> None:
    """Each requirement has a lower and an upper limit."""
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    declared = {
        re.split(r'[\[<>=]', line)[0]: line for line in
        config['options']['install_requires'].split()}
    assert set(declared) == {'python-socketio', 'python-engineio', 'bidict',
                             'redis', 'hiredis', 'msgpack'}
    for name, line in declared.items():
        assert '>=' in line and ',<' in line, line
