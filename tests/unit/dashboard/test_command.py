"""The arguments of the command. tests/commands/test_dashboard.py runs it."""
from typing import List

import pytest

from redis_streams_adapter import cli
from redis_streams_adapter.commands.errors import UsageError
from redis_streams_adapter.dashboard.command import SHORTEST, token_of, \
    VARIABLE

URL = 'redis://127.0.0.1:1'


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_no_token() -> None:
    assert token_of(None) is None


def test_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_of('x' * SHORTEST) == 'x' * SHORTEST
    monkeypatch.setenv(VARIABLE, 'e' * SHORTEST)
    assert token_of(None) == 'e' * SHORTEST
    assert token_of('x' * SHORTEST) == 'x' * SHORTEST
    monkeypatch.setenv(VARIABLE, '')
    assert token_of(None) is None


def test_token_that_is_made_up() -> None:
    made = {token_of('auto') for _ in range(10)}
    assert len(made) == 10
    assert all(each is not None and len(each) >= 32 for each in made)


@pytest.mark.parametrize('token', ['', 'x' * (SHORTEST - 1)])
def test_short_token(token: str) -> None:
    with pytest.raises(UsageError, match='characters or more') as raised:
        token_of(token)
    assert 'xxx' not in str(raised.value)


@pytest.mark.parametrize('arguments, text', [
    (['--host', '0.0.0.0'], 'others can reach 0.0.0.0'),
    (['--host', ''], 'others can reach'),
    (['--token', 'short'], '16 characters')])
def test_wrong_use(arguments: List[str], text: str,
                   capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['dashboard', '--url', URL, *arguments]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [
    ['--port', '65536'], ['--port', '-1'], ['--port', 'x'],
    ['--interval', '0']])
def test_wrong_arguments(arguments: List[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(['dashboard', '--url', URL, *arguments])
    assert raised.value.code == 2


def test_host_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    """An address for documentation, which no machine has."""
    assert cli.main(['dashboard', '--url', URL, '--host', '192.0.2.1',
                     '--token', 'auto']) == 1
    assert 'cannot listen on port 8787 of 192.0.2.1' \
        in capsys.readouterr().err
