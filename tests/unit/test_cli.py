"""The command line and its exit status. tests/demo tests the demo itself."""
import io
import os
import signal
import subprocess
import sys
from typing import Any, List

import pytest

from redis_streams_adapter import cli
from redis_streams_adapter.demo import requirements, run
from redis_streams_adapter.version import VERSION
from redis_streams_adapter.demo.errors import RequirementError
from redis_streams_adapter.demo.web import run as web


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The calls of the demo, which is replaced. All requirements are met."""
    calls: List[Any] = []

    def demo(out: Any, err: Any, *arguments: Any) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setattr(run, 'run', demo)
    monkeypatch.setattr(requirements, 'check_requirements',
                        lambda needs_redis: None)
    return calls


def test_demo(runs: List[Any]) -> None:
    assert cli.main(['demo']) == 0
    assert cli.main(['demo', '--redis-url', 'redis://host/3', '--timeout',
                     '2.5']) == 0
    assert runs == [(None, cli.TIMEOUT), ('redis://host/3', 2.5)]


def test_page_of_the_demo(runs: List[Any],
                          monkeypatch: pytest.MonkeyPatch) -> None:
    pages: List[Any] = []

    def page(out: Any, err: Any, *arguments: Any) -> int:
        pages.append(arguments)
        return 0

    monkeypatch.setattr(web, 'run', page)
    assert cli.main(['demo', '--web']) == 0
    assert cli.main(['demo', '--web', '--port', '0', '--redis-url',
                     'redis://host/3', '--timeout', '2.5']) == 0
    assert pages == [(None, cli.TIMEOUT, None), ('redis://host/3', 2.5, 0)]
    assert runs == []


def test_port_without_page(runs: List[Any],
                           capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['demo', '--port', '8788']) == 2
    assert '--port is the port of --web' in capsys.readouterr().err
    assert runs == []


@pytest.mark.parametrize('arguments', [
    [], ['unknown'], ['demo', 'more'], ['demo', '--timeout', '0'],
    ['demo', '--timeout', '-1'], ['demo', '--timeout', 'nan'],
    ['demo', '--timeout', 'inf'], ['demo', '--timeout', 'x'],
    ['demo', '--redis-url', 'localhost'], ['demo', '--port', '65536'],
    ['demo', '--port', 'x'], ['demo', '--port', '-1']])
def test_wrong_arguments(runs: List[Any], arguments: List[str],
                         capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert 'usage:' in capsys.readouterr().err
    assert runs == []


def test_password_is_not_repeated(runs: List[Any],
                                  capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['demo', '--redis-url', ':secret@host'])
    assert 'secret' not in capsys.readouterr().err


def test_missing_requirement(runs: List[Any], monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:
    needed: List[bool] = []

    def check(needs_redis: bool) -> None:
        needed.append(needs_redis)
        raise RequirementError('gunicorn is not installed')

    monkeypatch.setattr(requirements, 'check_requirements', check)
    assert cli.main(['demo']) == 2
    assert cli.main(['demo', '--redis-url', 'redis://host']) == 2
    assert 'gunicorn is not installed' in capsys.readouterr().err
    assert needed == [True, False]
    assert runs == []


def test_interrupt_before_the_start(runs: List[Any],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, 'run', interrupted)
    assert cli.main(['demo']) == 128 + signal.SIGINT


def test_closed_output(runs: List[Any],
                       monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status is 1, and the interpreter reports no error at its
    exit."""
    def broken(*arguments: Any) -> int:
        raise BrokenPipeError

    read, write = os.pipe()
    os.close(read)
    try:
        with io.TextIOWrapper(os.fdopen(write, 'wb', 0)) as output:
            monkeypatch.setattr(run, 'run', broken)
            monkeypatch.setattr(sys, 'stdout', output)
            assert cli.main(['demo']) == 1
            # The output goes to /dev/null now.
            output.write('more')
            output.flush()
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize('command', [
    ['-m', 'redis_streams_adapter'],
    ['-c', 'import sys; from redis_streams_adapter.cli import main; '
           'sys.exit(main())']])
def test_version(command: List[str]) -> None:
    """``python -m redis_streams_adapter`` is the same command."""
    done = subprocess.run([sys.executable, *command, '--version'],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [cli.PROGRAM, VERSION]
