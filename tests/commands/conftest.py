"""Runs commands."""
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from redis_streams_adapter import cli

from ..support.process import OwnProcess, ROOT
from ..support.wait import wait_until

#: Seconds for one run on a busy machine.
RUN_TIMEOUT = 60.0

COMMAND = [sys.executable, '-m', 'redis_streams_adapter']

#: What the commands take from the environment.
VARIABLES = ('REDIS_STREAMS_URL', 'REDIS_URL')


class Done(NamedTuple):
    """A run that has ended."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> List[Dict[str, Any]]:
        """What was printed with ``--json``."""
        assert self.status in (0, 1), self.err
        return [json.loads(line) for line in self.out.splitlines()]


def environment(url: str = '') -> Dict[str, str]:
    """An environment in which this is the URL."""
    kept = {name: value for name, value in os.environ.items()
            if name not in VARIABLES}
    return {**kept, 'PYTHONPATH': os.pathsep.join(
        [str(ROOT), os.environ.get('PYTHONPATH', '')]),
        **({'REDIS_STREAMS_URL': url} if url else {})}


def run_command(*arguments: str, url: str = '') -> Done:
    """Run a command to its end, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        if url:
            patch.setenv(VARIABLES[0], url)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = cli.main(arguments)
            except SystemExit as exc:
                status = int(exc.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def run_process(*arguments: str, url: str = '') -> Done:
    """Run a command to its end, in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT,
        timeout=RUN_TIMEOUT, env=environment(url), stdin=subprocess.DEVNULL)
    assert 'Traceback' not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that goes on."""

    def __init__(self, process: OwnProcess) -> None:
        self.process = process

    @property
    def text(self) -> str:
        return self.process.output()

    @property
    def objects(self) -> List[Dict[str, Any]]:
        """The whole lines of JSON so far."""
        return [json.loads(line) for line in self.text.splitlines(True)
                if line.startswith('{') and line.endswith('\n')]

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the text was printed."""
        wait_until(lambda: self.text.count(text) >= count, RUN_TIMEOUT,
                   lambda: f'{text!r} in:\n{self.text}')


@pytest.fixture
def begin_command(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a command that goes on; ends it with the test."""
    started: List[Running] = []

    def start(*arguments: str, url: str) -> Running:
        command = Running(OwnProcess(
            [*COMMAND, *arguments], tmp_path / f'{len(started)}.out',
            environment(url)))
        started.append(command)
        return command

    yield start
    for each in started:
        each.process.stop()


@pytest.fixture
def stream(redis_server: Any, unique: Callable[[str], str]) -> Iterator[str]:
    """The key of a stream, deleted in the end."""
    name = unique('stream')
    yield name
    with redis_server.client() as client:
        client.delete(name)
