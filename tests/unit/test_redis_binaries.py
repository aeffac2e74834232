"""The server that ``REDIS_SERVER`` chooses for the tests."""
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from ..support import redis_binaries as binaries
from ..support.redis_binaries import chosen_binary, default_binary, NoServer, \
    RedisBinary, VARIABLE

MakeServer = Callable[[str, str, str], str]


@pytest.fixture
def make_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                ) -> MakeServer:
    """Puts a server on an empty PATH: ``make_server(product, version,
    name)``."""
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv(VARIABLE, raising=False)
    for package in binaries.PACKAGED:
        monkeypatch.setitem(sys.modules, package, None)

    def make(product: str, version: str, name: str) -> str:
        path = tmp_path / f'{product}-{version}' / name
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\necho "{product} server v={version} "\n')
        path.chmod(0o755)
        monkeypatch.setenv('PATH', str(path.parent), prepend=os.pathsep)
        return str(path)

    return make


@pytest.mark.parametrize('choice, product, version', [
    ('redis-6.2', 'Redis', (6, 2, 14)), ('redis-7.0', 'Redis', (7, 0, 15)),
    ('valkey-9.1', 'Valkey', (9, 1, 2))])
def test_product_and_version_choose(make_server: MakeServer,
                                    monkeypatch: pytest.MonkeyPatch,
                                    choice: str, product: str,
                                    version: tuple) -> None:
    make_server('Redis', '6.2.14', 'redis-server')
    make_server('Redis', '7.0.15', 'redis-server')
    make_server('Valkey', '9.1.2', 'valkey-server')
    monkeypatch.setenv(VARIABLE, choice)
    found = chosen_binary()
    assert found is not None
    assert found[:2] == (product, version)
    assert found.name == choice
    assert binaries.redis_binaries() == [found] == [default_binary()]


def test_valkey_is_not_redis_whatever_its_file_is_called(
        make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_server('Valkey', '9.1.2', 'redis-server')
    monkeypatch.setenv(VARIABLE, 'redis-9.1')
    with pytest.raises(NoServer, match='only: valkey-9.1'):
        chosen_binary()
    monkeypatch.setenv(VARIABLE, path)
    assert chosen_binary() == ('Valkey', (9, 1, 2), path)


@pytest.mark.parametrize('choice', [
    'redis-8.2', 'redis', '7.0', '/nonexistent/redis-server'])
def test_server_that_is_not_there_is_an_error(
        make_server: MakeServer, monkeypatch: pytest.MonkeyPatch,
        choice: str) -> None:
    make_server('Redis', '7.0.15', 'redis-server')
    monkeypatch.setenv(VARIABLE, choice)
    for function in chosen_binary, default_binary, binaries.redis_binaries:
        with pytest.raises(NoServer, match=f'^{VARIABLE}={choice}: '):
            function()


def test_run_without_the_chosen_server_fails() -> None:
    """No test starts, and none is skipped."""
    for directory in 'tests/unit', 'tests/faults/topologies':
        reply = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', directory],
            env={**os.environ, VARIABLE: 'redis-5.0'}, text=True,
            capture_output=True)
        assert reply.returncode == pytest.ExitCode.USAGE_ERROR
        assert f'{VARIABLE}=redis-5.0: there is no such server' \
            in reply.stderr
        assert 'skipped' not in reply.stdout


def test_without_choice_each_redis_is_used(make_server: MakeServer) -> None:
    make_server('Valkey', '9.1.2', 'valkey-server')
    make_server('Redis', '10.0.1', 'redis-server')
    make_server('Redis', '7.0.15', 'redis-server')
    assert [each.name for each in binaries.redis_binaries()] == [
        'redis-7.0', 'redis-10.0']
    assert default_binary().name == 'redis-7.0'


def test_valkey_is_used_where_there_is_no_redis(make_server: MakeServer,
                                                ) -> None:
    make_server('Valkey', '9.1.2', 'valkey-server')
    assert [each.name for each in binaries.redis_binaries()] == ['valkey-9.1']


@pytest.mark.parametrize('product, version, expected', [
    ('Redis', (6, 2), False), ('Redis', (7, 0), True), ('Redis', (8, 2), True),
    ('Valkey', (7, 2), True), ('Valkey', (9, 1), True)])
def test_capabilities(product: str, version: tuple, expected: bool) -> None:
    binary = RedisBinary(product, version, 'redis-server')
    assert binary.counts_entries is expected
    assert binary.has_sharded_channels is expected
