"""SIGTERM for a server without gunicorn, as ``docker stop`` sends it."""
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Iterator

import pytest

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.messages import MessageType

from ..support.client import Client
from ..support.process import ROOT
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value, wait_until

#: After how many seconds ``docker stop`` kills.
PATIENCE = 10.0

Make = Callable[..., subprocess.Popen]  # type: ignore[type-arg]


@pytest.fixture
def port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


@pytest.fixture
def run(mode: str, port: int) -> Iterator[Make]:
    started = []

    def start(way: str, url: str, stream: str) -> Any:
        app = subprocess.Popen(
            [sys.executable, '-m', 'tests.support.terminated_app', mode, way,
             url, stream, str(port)], cwd=ROOT, stdin=subprocess.DEVNULL)
        started.append(app)

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(
                    ('127.0.0.1', port)):
                return True
            return False

        wait_until(listens, what='the server')
        return app

    yield start
    for app in started:
        app.kill()
        app.wait()


def count(redis: RedisServer, stream: str, event: bytes) -> int:
    return sum(b'"%s"' % event in fields.get(b'data', b'')
               for _, fields in redis.client().xrange(stream))


@pytest.mark.parametrize('way', ['flask', 'wsgi'])
def test_everything_is_sent_and_the_server_leaves(
        run: Make, redis_server: RedisServer, port: int, way: str,
        unique: Callable[[str], str]) -> None:
    stream = unique('stream')
    app = run(way, redis_server.url, stream)
    with RedisStreamsManager(redis_server.url, stream) as other:
        client = Client(f'http://127.0.0.1:{port}')
        wait_for_value(other.server_count, 2, what='server_count')
        client.call('work', 200, True)
        assert app.wait(PATIENCE) == 0
        wait_for_value(other.server_count, 1, what='server_count')
        assert len(client.received('work')) == 200
        client.close()
    assert count(redis_server, stream, b'work') == 200
    assert count(redis_server, stream, b'left') == 1
    goodbyes = [fields for _, fields in redis_server.client().xrange(stream)
                if fields[b'type'] == b'%d' % MessageType.ADAPTER_CLOSE]
    assert goodbyes


def test_server_without_clients(run: Make, redis_server: RedisServer,
                                unique: Callable[[str], str]) -> None:
    app = run('flask', redis_server.url, unique('stream'))
    app.terminate()
    assert app.wait(PATIENCE) == 0


def test_redis_is_away(run: Make, make_redis: Callable[..., RedisServer],
                       port: int, unique: Callable[[str], str]) -> None:
    """It ends before it is killed."""
    redis = make_redis().start()
    app = run('flask', redis.url, unique('stream'))
    client = Client(f'http://127.0.0.1:{port}')
    redis.stop()
    client.call('work', 10, False)
    client.wait_for('work', 10)
    begun = time.monotonic()
    app.terminate()
    assert app.wait(PATIENCE) == 0
    assert time.monotonic() - begun < PATIENCE
    client.close()
