"""Connections of valkey-py, from URLs and from clients. None is opened. What
they do on real servers, the suites of ``tests/faults/topologies`` and
``tests/integration/stream`` show with ``REDIS_CLIENT=valkey``."""
import sys
from typing import Any, Dict, List

import pytest
import redis
import valkey

from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.protocol.transport import Unavailable
from redis_streams_adapter.stream.connection import Connection
from redis_streams_adapter.stream.driver import Driver, open_driver
from redis_streams_adapter.stream.topology import Members, Sentinels

from ..test_dependencies import missing, OF_A_CLUSTER, OF_A_CONNECTION, \
    OF_A_POOL, OF_A_SENTINEL, OF_REDIS

PLAIN, TLS = valkey.Connection, valkey.SSLConnection


def driver_of(url: Any, **options: Any) -> Driver:
    return open_driver(url, options, 'the-stream')


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The Sentinels and the members of clusters that were asked. All say that
    the server is at master:7001."""
    found: List[Any] = []

    def reply(asked: Any, *slot: int) -> Any:
        found.append(asked)
        return 'master', 7001

    monkeypatch.setattr(Sentinels, 'master', reply)
    monkeypatch.setattr(Members, 'master_of', reply)
    return found


def check(connection: Any, kind: type) -> None:
    """It is a connection of valkey-py, with our settings."""
    assert type(connection) is kind
    assert connection.retry._retries == 0
    assert connection.protocol == 2
    assert connection.health_check_interval == 0
    assert connection.socket_timeout == 1.0
    assert not connection.encoder.decode_responses
    # Some proxies end a connection over CLIENT SETINFO.
    assert connection.lib_name is connection.lib_version is None


@pytest.mark.parametrize('url, kind, host', [
    ('valkey://user:p%40w@host', PLAIN, 'host'),
    ('valkeys://user:p%40w@host', TLS, 'host'),
    ('valkey+sentinel://user:p%40w@host/0/name', PLAIN, 'master'),
    ('valkeys+sentinel://user:p%40w@host/0/name', TLS, 'master'),
    ('valkey+cluster://user:p%40w@host', PLAIN, 'master'),
    ('valkeys+cluster://user:p%40w@host', TLS, 'master')])
@pytest.mark.parametrize('options', [
    {}, {'retry_on_timeout': True}, {'protocol': 3},
    {'decode_responses': True}, {'health_check_interval': 5}])
def test_urls(url: str, kind: type, host: str, asked: List[Any],
              options: Dict[str, Any]) -> None:
    driver = driver_of(url + '?client_name=x&socket_timeout=2.5', **options)
    assert driver.module is valkey
    assert driver.socket_timeout == 2.5
    connection = driver.make(1.0, 'x')
    check(connection, kind)
    assert connection.host == host
    assert (connection.username, connection.password) == ('user', 'p@w')
    assert connection.client_name == 'x'
    for each in asked:
        # Questions go over the same kind of connection.
        assert type(each._connect(('a', 1))) is kind


@pytest.mark.parametrize('make, kind', [
    (lambda: valkey.Valkey(password='pw', protocol=3), PLAIN),
    (lambda: valkey.StrictValkey(password='pw'), PLAIN),
    (lambda: valkey.Valkey(password='pw', ssl=True), TLS),
    (lambda: valkey.from_url('valkeys://:pw@host'), TLS),
    (lambda: valkey.Valkey(password='pw', unix_socket_path='/tmp/x'),
     valkey.UnixDomainSocketConnection),
    (lambda: valkey.sentinel.Sentinel([('a', 1)], password='pw').master_for(
        'name'), PLAIN),
    (lambda: valkey.sentinel.Sentinel(
        [('a', 1)], password='pw', ssl=True).master_for('name'), TLS)],
    ids=['Valkey', 'StrictValkey', 'TLS', 'from_url', 'unix', 'Sentinel',
         'Sentinel with TLS'])
def test_clients(make: Any, kind: type) -> None:
    driver = driver_of(make())
    assert driver.module is valkey
    connection = driver.make(1.0, 'x')
    check(connection, kind)
    assert connection.password == 'pw'


def cluster(**methods: Any) -> valkey.ValkeyCluster:
    """A client of a cluster that was not asked for its members."""
    client = valkey.ValkeyCluster.__new__(valkey.ValkeyCluster)
    client.nodes_manager = type('Nodes', (), {
        'initialize': lambda self: None})()
    for name, method in methods.items():
        setattr(client, name, method)
    return client


def test_client_of_a_cluster() -> None:
    node = type('Node', (), {
        'host': 'master', 'port': 7001,
        'redis_connection': None, 'valkey_connection': valkey.Valkey(
            host='master', port=7001, password='pw')})
    driver = driver_of(cluster(get_node_from_key=lambda key: node))
    connection = driver.make(1.0, 'x')
    check(connection, PLAIN)
    assert (connection.host, connection.port) == ('master', 7001)
    assert connection.password == 'pw'


def test_client_of_an_unreachable_cluster() -> None:
    """The client's exceptions are not its package's usual ones."""
    def fail(key: str) -> Any:
        raise valkey.exceptions.ValkeyClusterException('unreachable')

    with pytest.raises(Unavailable, match='unreachable'):
        Connection(driver_of(cluster(get_node_from_key=fail)), 'x',
                   1.0).connect()


def test_asynchronous_clients() -> None:
    with pytest.raises(ConfigurationError, match='synchronous'):
        driver_of(valkey.asyncio.Valkey())


@pytest.mark.parametrize('url', [
    'valkey://host', 'valkeys://host', 'valkey+sentinel://host/0/name',
    'valkey+cluster://host', valkey.Valkey()], ids=str)
def test_unknown_options_are_named(url: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        driver_of(url, no_such_option=1)
    assert str(caught.value).endswith(
        "redis_options: valkey-py has no option 'no_such_option'")


@pytest.mark.parametrize('scheme', [
    'valkey', 'valkeys', 'valkey+sentinel', 'valkeys+sentinel',
    'valkey+cluster', 'valkeys+cluster'])
def test_missing_package(monkeypatch: pytest.MonkeyPatch,
                         scheme: str) -> None:
    monkeypatch.setitem(sys.modules, 'valkey', None)
    with pytest.raises(ConfigurationError) as caught:
        driver_of(f'{scheme}://host')
    assert str(caught.value) == (
        "url: the package valkey is not installed; run: pip install "
        "'redis-streams-adapter[valkey]'")


def test_unix_sockets_are_for_redis_py() -> None:
    assert driver_of('unix:///tmp/x').module is redis


def test_names_that_are_used() -> None:
    """The undocumented ones that a new version might lack."""
    names = [each.replace('RedisError', 'ValkeyError').replace(
        'RedisCluster', 'ValkeyCluster') for each in OF_REDIS]
    pool = valkey.ConnectionPool.from_url('valkey://localhost')
    sentinels = valkey.sentinel.Sentinel([('localhost', 1)])
    for what, which in ((valkey, names), (pool, OF_A_POOL),
                        (valkey.ValkeyCluster, OF_A_CLUSTER),
                        (sentinels, OF_A_SENTINEL)):
        assert missing(what, which) == []
    for kind in PLAIN, TLS:
        assert missing(kind(socket_timeout=1.0, protocol=2),
                       OF_A_CONNECTION) == []
