"""Connections from URLs and from clients. None is opened, except to servers of
the tests."""
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import pytest
import redis
import redis.asyncio

from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.stream import driver
from redis_streams_adapter.stream.driver import Driver, open_driver, \
    SOCKET_TIMEOUT
from redis_streams_adapter.stream.topology import Address, Members, Sentinels
from redis_streams_adapter.stream.link import READ_MARGIN, RedisLink
from redis_streams_adapter.protocol.transport import Unavailable


def driver_of(url: Any, **options: Any) -> Driver:
    return open_driver(url, options, 'the-stream')


def connection_of(url: Any, timeout: float = 1.0, **options: Any) -> Any:
    return driver_of(url, **options).make(timeout, 'x')


def error_of(url: Any, **options: Any) -> str:
    """The error for a wrong URL or wrong options."""
    with pytest.raises(ConfigurationError) as caught:
        driver_of(url, **options)
    return str(caught.value)


# -- schemes -----------------------------------------------------------------

@pytest.mark.parametrize('url, expected', [
    ('redis://', {'host': 'localhost', 'port': 6379, 'db': 0}),
    ('redis://host', {'host': 'host', 'port': 6379, 'db': 0}),
    ('redis://host:7000/5', {'host': 'host', 'port': 7000, 'db': 5}),
    ('redis://[::1]:7000', {'host': '::1', 'port': 7000}),
    ('redis://:p%2Fw@host', {'password': 'p/w', 'username': None}),
    ('redis://user:p%40w@host', {'password': 'p@w', 'username': 'user'}),
    ('redis://host?db=3', {'db': 3}),
    ('redis://host?client_name=x', {'client_name': 'x'}),
    ('rediss://host:7000', {'host': 'host', 'port': 7000}),
    ('unix:///tmp/redis.sock', {'path': '/tmp/redis.sock', 'db': 0}),
    ('unix://:pw@/tmp/redis.sock?db=2',
     {'path': '/tmp/redis.sock', 'db': 2, 'password': 'pw'}),
])
def test_urls(url: str, expected: Mapping[str, Any]) -> None:
    connection = connection_of(url)
    assert {name: getattr(connection, name)
            for name in expected} == dict(expected)
    kind = {'redis': redis.Connection, 'rediss': redis.SSLConnection,
            'unix': redis.UnixDomainSocketConnection}[url.split(':')[0]]
    assert type(connection) is kind


@pytest.mark.parametrize('url', [
    '', 'host', 'host:6379', ':password@host', '//host', 'http://host',
    'amqp://host', 'redis+host://', 'redis+streams://host',
    'unix+sentinel://host', 'unix+cluster://host', 'redis+://x+y',
    'redis+sentinel+cluster://host', 'unixs://host'])
def test_unknown_schemes(url: str) -> None:
    assert 'url' in error_of(url)


@pytest.mark.parametrize('url', [
    None, 5, b'redis://host', object(), ['redis://host'], redis.Redis,
    redis.ConnectionPool()])
def test_neither_url_nor_client(url: Any) -> None:
    assert 'url' in error_of(url)


@pytest.mark.parametrize('scheme', [
    'valkey', 'valkeys', 'valkey+sentinel', 'valkey+cluster'])
def test_missing_valkey_package(monkeypatch: pytest.MonkeyPatch,
                                scheme: str) -> None:
    monkeypatch.setitem(sys.modules, 'valkey', None)
    assert 'the package valkey is not installed' in error_of(
        f'{scheme}://host')


def test_construction_does_not_connect() -> None:
    """Redis may be away, and a worker may be forked later."""
    for url in ('redis://unreachable.invalid', 'rediss://unreachable.invalid',
                'redis+sentinel://unreachable.invalid/0/name',
                'redis+cluster://unreachable.invalid', 'unix:///no/such.sock'):
        driver_of(url)


@pytest.mark.parametrize('url, options', [
    ('redis://host', {}), ('redis://host/5', {}), ('redis://host?db=3', {}),
    ('redis://host', {'db': 4}), ('redis://host/5', {'db': 4}),
    ('rediss://host/2', {}), ('unix:///tmp/redis.sock?db=2', {}),
    ('redis+sentinel://a:1/2/name', {}), ('redis+sentinel://a:1', {'db': 4}),
    (redis.Redis(), {}), (redis.Redis(db=6), {}),
    (redis.Redis(db=6), {'db': 4}), (redis.Redis(db='7'), {}),
    (redis.sentinel.Sentinel([('a', 1)]).master_for('name', db=6), {})])
def test_database_number(url: Any, options: Dict[str, Any]) -> None:
    """The connections select this database."""
    driver = driver_of(url, **options)
    assert driver.database == int(driver.make(1.0, 'x').db)


@pytest.mark.parametrize('url, options', [
    ('redis+cluster://host/1', {}), ('rediss+cluster://host/12', {}),
    ('redis+cluster://host?db=1', {}), ('redis+cluster://host/0', {'db': 1})])
def test_cluster_has_one_database(url: str, options: Dict[str, Any]) -> None:
    text = error_of(url, **options)
    assert 'url' in text and 'database 0' in text


def test_database_of_a_cluster() -> None:
    for url in ('redis+cluster://host', 'redis+cluster://host/',
                'redis+cluster://host/0', 'redis+cluster://host/0?db=0'):
        assert driver_of(url).database == 0


# -- sentinel and cluster ----------------------------------------------------

@pytest.fixture(autouse=True)
def sentinels(monkeypatch: pytest.MonkeyPatch) -> List[Sentinels]:
    """The Sentinels that were asked. They answer that the master is at
    master:7001."""
    found: List[Sentinels] = []

    def master(asked: Sentinels) -> Address:
        found.append(asked)
        return 'master', 7001

    monkeypatch.setattr(Sentinels, 'master', master)
    return found


@pytest.mark.parametrize('url, hosts, service, expected', [
    ('redis+sentinel://a:1/2/name', [('a', 1)], 'name', {'db': 2}),
    ('redis+sentinel://a,b:5,[::1]:7,[::2]/0/name',
     [('a', 6379), ('b', 5), ('::1', 7), ('::2', 6379)], 'name', {'db': 0}),
    ('redis+sentinel://a:1', [('a', 1)], 'the-stream', {'db': 0}),
    ('redis+sentinel://a:1/3', [('a', 1)], 'the-stream', {'db': 3}),
    ('redis+sentinel://a:1//name', [('a', 1)], 'name', {'db': 0}),
    ('redis+sentinel://user:p%40w@a:1,b:2/0/name', [('a', 1), ('b', 2)],
     'name', {'username': 'user', 'password': 'p@w'}),
])
def test_sentinel(sentinels: List[Any], url: str, hosts: Any, service: str,
                  expected: Dict[str, Any]) -> None:
    connection = connection_of(url)
    assert type(connection) is redis.Connection
    assert (connection.host, connection.port) == ('master', 7001)
    assert {name: getattr(connection, name)
            for name in expected} == expected
    (asked,) = sentinels
    assert asked._service == service
    assert asked._known == {*hosts}
    # Requests to a Sentinel must not hang either, nor be retried.
    asking = asked._connect(('a', 1))
    assert (asking.host, asking.port) == ('a', 1)
    assert asking.socket_connect_timeout == SOCKET_TIMEOUT
    assert asking.username is asking.password is None
    check_settings(asking, SOCKET_TIMEOUT)


def test_sentinels_with_their_own_password(sentinels: List[Sentinels]) -> None:
    connection = connection_of('redis+sentinel://:pw@a:1/0/name',
                               sentinel_kwargs={'password': 'other'})
    assert connection.password == 'pw'
    (asked,) = sentinels
    assert asked._connect(('a', 1)).password == 'other'


def test_options_of_a_sentinel_url(sentinels: List[Sentinels]) -> None:
    url = 'redis+sentinel://a:1/0/name?socket_timeout=2.5&client_name=x'
    driver = driver_of(url, min_other_sentinels=1, ssl=True,
                       force_master_ip='forced', sentinel_kwargs={
                           'socket_timeout': 1.5, 'ssl': True})
    assert driver.socket_timeout == 2.5
    connection = driver.make(1.0, 'x')
    assert type(connection) is redis.SSLConnection
    assert connection.client_name == 'x'
    assert (connection.host, connection.port) == ('forced', 7001)
    (asked,) = sentinels
    assert asked._others == 1
    asking = asked._connect(('a', 1))
    assert type(asking) is redis.SSLConnection
    assert asking.socket_timeout == 1.5
    assert 'no_such_option' in error_of(
        url, sentinel_kwargs={'no_such_option': 1})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The members and slots that a cluster's driver asks about. Every slot is
    at master:7001."""
    found: List[Any] = []

    def master_of(members: Members, slot: int) -> Any:
        found.append((members, slot))
        return 'master', 7001

    monkeypatch.setattr(Members, 'master_of', master_of)
    return found


@pytest.mark.parametrize('scheme, kind', [
    ('redis', redis.Connection), ('rediss', redis.SSLConnection)])
def test_cluster(asked: List[Any], scheme: str, kind: type) -> None:
    driver = driver_of(f'{scheme}+cluster://user:p%40w@a,b:5',
                       client_name='x', socket_timeout=2.0)
    assert driver.socket_timeout == 2.0
    connection = driver.make(1.0, 'x')
    assert type(connection) is kind
    check_settings(connection, 1.0)
    assert (connection.host, connection.port) == ('master', 7001)
    assert (connection.username, connection.password) == ('user', 'p@w')
    assert connection.client_name == 'x'
    ((members, slot),) = asked
    assert slot == redis.crc.key_slot(b'x')
    # Requests to a member use a connection of the same kind.
    asking = members._connect(('a', 6379))
    assert type(asking) is kind
    check_settings(asking, 2.0)
    assert (asking.host, asking.port) == ('a', 6379)
    assert (asking.username, asking.password) == ('user', 'p@w')


def test_first_servers_asked_in_a_cluster(
        monkeypatch: pytest.MonkeyPatch) -> None:
    made: List[Any] = []

    def make(ask: Any, errors: Any, addresses: Any) -> Members:
        made.append(addresses)
        return Members(ask, errors, addresses)

    monkeypatch.setattr(driver, 'Members', make)
    driver_of('redis+cluster://a,b:5,[::1]:7')
    assert made == [[('a', 6379), ('b', 5), ('::1', 7)]]


def test_cluster_without_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Members, 'master_of', lambda *_: None)
    link = RedisLink(driver_of('redis+cluster://a'), 'the-stream', 100)
    with pytest.raises(Unavailable, match='slot'):
        link.connect()


def test_cluster_is_asked_for_each_connection(asked: List[Any]) -> None:
    """A slot may have moved."""
    driver = driver_of('redis+cluster://a')
    for _ in range(2):
        driver.make(1.0, 'x')
    assert len(asked) == 2


# -- clients -----------------------------------------------------------------

def test_client_object() -> None:
    client = redis.Redis(host='host', port=7000, db=3, username='user',
                         password='pw', decode_responses=True,
                         client_name='x', socket_timeout=2.0)
    driver = driver_of(client)
    assert driver.socket_timeout == 2.0
    connection = driver.make(1.0, 'x')
    check_settings(connection, 1.0)
    assert (connection.host, connection.port, connection.db) == (
        'host', 7000, 3)
    assert (connection.username, connection.password) == ('user', 'pw')
    assert connection.client_name == 'x'
    assert not connection.encoder.decode_responses
    # The client has neither lost nor gained a connection.
    assert not client.connection_pool._available_connections


@pytest.mark.parametrize('make, kind', [
    (lambda: redis.Redis(ssl=True), redis.SSLConnection),
    (lambda: redis.Redis(unix_socket_path='/tmp/x'),
     redis.UnixDomainSocketConnection),
    (lambda: redis.Redis.from_url('rediss://host'), redis.SSLConnection),
    (lambda: redis.StrictRedis(), redis.Connection),
    (lambda: type('Mine', (redis.Redis,), {})(), redis.Connection),
    (lambda: redis.Redis(connection_pool=redis.BlockingConnectionPool()),
     redis.Connection),
], ids=['ssl', 'unix', 'from_url', 'strict', 'subclass', 'blocking pool'])
def test_kinds_of_clients(make: Callable[[], Any], kind: type) -> None:
    connection = connection_of(make())
    assert type(connection) is kind
    check_settings(connection, 1.0)


@pytest.mark.parametrize('ssl', [False, True])
def test_client_made_by_a_sentinel(sentinels: List[Sentinels],
                                   ssl: bool) -> None:
    client = redis.sentinel.Sentinel(
        [('a', 1), ('b', 2)], min_other_sentinels=1,
        sentinel_kwargs={'password': 'other'}, password='pw', ssl=ssl,
        ).master_for('name', db=3, socket_timeout=2.0)
    driver = driver_of(client)
    assert driver.socket_timeout == 2.0
    connection = driver.make(1.0, 'x')
    assert type(connection) is (
        redis.SSLConnection if ssl else redis.Connection)
    check_settings(connection, 1.0)
    assert (connection.host, connection.port, connection.db) == (
        'master', 7001, 3)
    assert connection.password == 'pw'
    (asked,) = sentinels
    assert asked._service == 'name'
    assert asked._known == {('a', 1), ('b', 2)}
    assert asked._others == 1
    asking = asked._connect(('b', 2))
    check_settings(asking, SOCKET_TIMEOUT)
    assert (asking.host, asking.port) == ('b', 2)
    assert asking.password == 'other'


def test_client_of_a_cluster() -> None:
    class Nodes:
        initialized = 0

        def initialize(self) -> None:
            self.initialized += 1

    asked: List[str] = []

    def get_node_from_key(key: str) -> Any:
        asked.append(key)
        return type('Node', (), {'redis_connection': redis.Redis(
            host='master', port=7001, username='u', password='pw',
            socket_timeout=3.0)})

    client = redis.RedisCluster.__new__(redis.RedisCluster)
    client.nodes_manager = Nodes()
    client.get_node_from_key = get_node_from_key
    driver = driver_of(client)
    connection = driver.make(1.0, 'x')
    check_settings(connection, 1.0)
    assert (connection.host, connection.port) == ('master', 7001)
    assert (connection.username, connection.password) == ('u', 'pw')
    driver.make(1.0, 'x')
    assert asked == ['x', 'x']
    assert client.nodes_manager.initialized == 2


def test_client_of_an_unreachable_cluster() -> None:
    """The client's exceptions are not redis-py's usual ones."""
    class Nodes:
        def initialize(self) -> None:
            raise redis.exceptions.RedisClusterException('unreachable')

    client = redis.RedisCluster.__new__(redis.RedisCluster)
    client.nodes_manager = Nodes()
    client.get_node_from_key = None
    with pytest.raises(Unavailable, match='unreachable'):
        RedisLink(driver_of(client), 'x', 1).connect()


def test_client_of_a_cluster_without_the_slot() -> None:
    """As with a URL, no server has it at present."""
    def get_node_from_key(key: str) -> Any:
        raise redis.exceptions.SlotNotCoveredError(key)

    client = redis.RedisCluster.__new__(redis.RedisCluster)
    client.nodes_manager = type('Nodes', (), {
        'initialize': lambda self: None})()
    client.get_node_from_key = get_node_from_key
    driver = driver_of(client)
    assert driver.cluster is not None
    assert driver.cluster.places()('x') is None


@pytest.mark.parametrize('make', [
    lambda: redis.asyncio.Redis(),
    lambda: redis.asyncio.RedisCluster(host='host')],
    ids=['Redis', 'RedisCluster'])
def test_asynchronous_clients(make: Callable[[], Any]) -> None:
    assert 'synchronous' in error_of(make())


# -- settings of the package -------------------------------------------------

def check_settings(connection: Any, timeout: float) -> None:
    """Commands are not retried, replies are not decoded, and the protocol is
    RESP2."""
    assert connection.retry._retries == 0
    assert not getattr(connection, 'retry_on_timeout', False)
    assert not getattr(connection, 'retry_on_error', None)
    assert connection.protocol == 2
    assert connection.socket_timeout == timeout
    assert connection.health_check_interval == 0
    assert not connection.encoder.decode_responses


@pytest.mark.parametrize('url', [
    'redis://host', 'rediss://host', 'unix:///tmp/x',
    'redis://host?protocol=3&retry_on_timeout=yes&health_check_interval=9',
    'redis+sentinel://host/0/name'])
def test_settings_of_connections_from_urls(url: str) -> None:
    retry = redis.retry.Retry(redis.backoff.ExponentialBackoff(), 10)
    for options in ({}, {'retry': retry}, {'retry_on_timeout': True},
                    {'retry_on_error': [OSError]}, {'protocol': 3},
                    {'health_check_interval': 5}, {'socket_timeout': 9.0},
                    {'decode_responses': True}):
        check_settings(connection_of(url, timeout=1.5, **options), 1.5)


@pytest.mark.filterwarnings('ignore:.*retry_on_timeout')
def test_settings_of_connections_from_clients() -> None:
    client = redis.Redis(
        retry=redis.retry.Retry(redis.backoff.ExponentialBackoff(), 10),
        retry_on_timeout=True, health_check_interval=5, protocol=3)
    check_settings(connection_of(client), 1.0)


def test_each_connection_is_new() -> None:
    driver = driver_of('redis://host')
    assert driver.make(1.0, 'x') is not driver.make(1.0, 'x')


@pytest.mark.parametrize('url, options, expected', [
    ('redis://host', {}, SOCKET_TIMEOUT),
    ('redis://host', {'socket_timeout': 2}, 2.0),
    ('redis://host', {'socket_timeout': None}, SOCKET_TIMEOUT),
    ('redis://host?socket_timeout=2.5', {}, 2.5),
    ('redis+sentinel://host/0/name', {'socket_timeout': 2}, 2.0),
    ('redis+cluster://host', {'socket_timeout': 2}, 2.0),
    ('redis+cluster://host?socket_timeout=2.5', {}, 2.5)])
def test_the_socket_timeout(url: str, options: Dict[str, Any],
                            expected: float) -> None:
    assert driver_of(url, **options).socket_timeout == expected


@pytest.mark.parametrize('value', [
    0, -1, 'x', [], float('nan'), float('inf'), 2**31 / 1000])
def test_no_socket_timeout(value: Any) -> None:
    for url in ('redis://host', 'redis+sentinel://host/0/name',
                'redis+cluster://host', redis.Redis()):
        assert 'socket_timeout' in error_of(url, socket_timeout=value)


def test_socket_timeout_exceeds_read_time() -> None:
    driver = driver_of('redis://host', socket_timeout=2.0)
    for block, expected in ((0.0, 2.0), (1.0, 1.0 + READ_MARGIN),
                            (60.0, 60.0 + READ_MARGIN)):
        made = []
        spying = driver._replace(
            make=lambda timeout, key: made.append(timeout) or _Unreachable())
        with pytest.raises(_Stop):
            RedisLink(spying, 'stream', 100, block).connect()
        assert made == [expected]


class _Stop(Exception):
    pass


class _Unreachable:
    def connect(self) -> None:
        raise _Stop()


# -- errors ------------------------------------------------------------------

@pytest.mark.parametrize('url', [
    'redis://host', 'rediss://host', 'unix:///tmp/x',
    'redis+sentinel://host/0/name', 'redis+cluster://host',
    'rediss+cluster://host', redis.Redis()],
    ids=lambda url: url if isinstance(url, str) else 'client')
def test_unknown_options_are_named(url: Any) -> None:
    assert error_of(url, no_such_option=1).endswith(
        "redis_options: redis-py has no option 'no_such_option'")


@pytest.mark.parametrize('url', [
    'redis://host', 'rediss://host', 'unix:///tmp/x',
    'redis+sentinel://host/0/name', 'redis+cluster://host'])
def test_unknown_options_in_a_url_are_named(url: str) -> None:
    assert error_of(url + '?no_such_option=1').endswith(
        "redis-py has no option 'no_such_option'")


def test_wrong_options_in_a_url_are_named() -> None:
    for url in ('redis://host?db=x', 'redis+sentinel://host?db=x'):
        assert 'db' in error_of(url)


@pytest.mark.parametrize('option', [
    'ssl_certfile', 'ssl_keyfile', 'ssl_ca_certs'])
@pytest.mark.parametrize('scheme', [
    'rediss', 'rediss+cluster'])
def test_missing_files(scheme: str, option: str, tmp_path: Path) -> None:
    path = tmp_path / 'file.pem'
    text = error_of(f'{scheme}://host', **{option: str(path)})
    assert option in text and str(path) in text
    assert option in error_of(f'{scheme}://host?{option}={path}')
    assert option in error_of(redis.Redis(ssl=True, **{option: str(path)}))
    path.touch()
    driver_of(f'{scheme}://host', **{option: str(path)})


SECRETS = ['geh/eim', 'geh#eim', 'geh?eim', 'geh:eim', 'geh@eim', 'geh[eim',
           'geh]eim', '1/geheim', '12:geheim/5', 'geh?db=eim',
           'geh?socket_timeout=eim']


@pytest.mark.parametrize('scheme', [
    'redis', 'rediss', 'redis+sentinel', 'redis+cluster', 'valkey', 'http'])
@pytest.mark.parametrize('secret', SECRETS)
def test_passwords_are_in_no_error(scheme: str, secret: str) -> None:
    """This holds even if a password is not percent-encoded, so that parts of
    it look like other parts of the URL."""
    for user in ('', 'user'):
        for rest in ('host', 'host:6379/0', 'host:port', 'host:6379/x/y',
                     'host/0?no_such_option=1', 'host/0?db=geheim',
                     'host/0?socket_timeout=geheim', '[host'):
            url = f'{scheme}://{user}:{secret}@{rest}'
            try:
                driver_of(url)
            except ConfigurationError as exc:
                shown = ' '.join(map(str, chain_of(exc)))
                for piece in ('geh', 'eim'):
                    assert piece not in shown, url


def chain_of(error: Optional[BaseException]) -> Any:
    """An error and all errors that a traceback shows with it."""
    while error is not None:
        yield error
        error = error.__cause__ or (
            None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize('url', [
    'redis://[::1', 'redis://host:port', 'redis://host:99999999',
    'redis://host:-1', 'redis+sentinel://host:port/0/name',
    'redis+sentinel://host/x/name', 'redis+cluster://host:port',
    'redis://host/x'])
def test_invalid_urls(url: str) -> None:
    assert 'url' in error_of(url)


@pytest.mark.parametrize('scheme', [
    'redis', 'rediss', 'redis+sentinel', 'redis+cluster'])
@pytest.mark.parametrize('query', [
    'S3cr3t=1@host', 'db=S3cr3t@host', 'socket_timeout=S3cr3t@host'])
def test_a_query_that_may_be_a_password_is_not_quoted(
        scheme: str, query: str) -> None:
    """The password is ``a@b?S3cr3t=1``, say."""
    with pytest.raises(ConfigurationError) as caught:
        driver_of(f'{scheme}://:a@b?{query}')
    assert 'S3cr3t' not in str(caught.value)
    assert 'percent-encode' in str(caught.value)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_connections_do_not_send_their_name() -> None:
    """Some proxies end a connection over CLIENT SETINFO."""
    made = open_driver('redis://localhost', {}, 'x').make(1.0, '')
    assert made.lib_name is made.lib_version is made.driver_info is None
    named = open_driver('redis://localhost', {'lib_name': 'shop'},
                        'x').make(1.0, '')
    assert getattr(named, 'driver_info', None) is not None \
        or named.lib_name == 'shop'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_clients_do_not_send_the_name_of_their_library() -> None:
    """Each client object has that name."""
    made = connection_of(redis.Redis())
    assert made.lib_name is made.lib_version is made.driver_info is None
    named = connection_of(redis.Redis(lib_name='shop'))
    assert getattr(named, 'driver_info', None) is not None \
        or named.lib_name == 'shop'


def test_sentinels_with_tls(sentinels: List[Sentinels]) -> None:
    url = 'rediss+sentinel://a:1/0/name?ssl_check_hostname=False'
    connection = connection_of(url)
    assert type(connection) is redis.SSLConnection
    (asked,) = sentinels
    asking = asked._connect(('a', 1))
    assert type(asking) is redis.SSLConnection
    assert connection.check_hostname is asking.check_hostname is False
    # The Sentinels alone, without it.
    connection = connection_of(url, sentinel_kwargs={'ssl': False})
    assert type(connection) is redis.SSLConnection
    assert type(sentinels[1]._connect(('a', 1))) is redis.Connection


def test_client_of_a_cluster_has_one_database() -> None:
    client = redis.RedisCluster.__new__(redis.RedisCluster)
    client.get_node_from_key = None
    assert 'database 0' in error_of(client, db=1)
