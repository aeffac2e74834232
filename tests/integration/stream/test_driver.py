"""Connections over a Unix socket, and as a user with a password."""
from pathlib import Path
from typing import Any, Callable

from redis_streams_adapter.stream.driver import open_driver
from redis_streams_adapter.stream.link import RedisLink
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import NO_STREAM

from ...support.client_library import library, REDIS_CLIENT


def driver_of(place: Any) -> Any:
    return open_driver(place, {}, 'stream')


def test_unix_socket(make_redis: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / 'redis.sock'
    make_redis().start('--unixsocket', str(path))
    link = RedisLink(driver_of(f'unix://{path}?db=3'), 'stream', 100)
    link.connect()
    stored, = link.append([[b'name', b'value']])
    assert [bytes(entry.id)
            for entry in link.read(START, 10, None)] == [stored]
    other = RedisLink(driver_of(f'unix://{path}'), 'stream', 100)
    other.connect()
    assert other.ends() == NO_STREAM
    for each in (link, other):
        each.close()


def test_user_and_password(make_redis: Callable[..., Any]) -> None:
    server = make_redis().start()
    with server.client() as admin:
        admin.acl_setuser('user', enabled=True, passwords=['+p/w@d'],
                          categories=['+@all'], keys=['*'])
    url = f'{REDIS_CLIENT}://user:p%2Fw%40d@127.0.0.1:{server.port}/0'
    for each in (url, library.Redis.from_url(url)):
        link = RedisLink(driver_of(each), 'stream', 100)
        link.connect()
        link.append([[b'name', b'value']])
        link.close()
