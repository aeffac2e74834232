"""One run of the demo, as a user starts it."""
import sys
import uuid
from pathlib import Path
from typing import List

import psutil

from .process import ROOT, OwnProcess
from .wait import wait_until

DEMO = [sys.executable, '-m', 'redis_streams_adapter', 'demo']

#: Seconds for a whole run on a busy machine.
RUN_TIMEOUT = 60.0

#: A variable in the environment of the demo and of its processes.
TOKEN = 'DEMO_TEST_TOKEN'


class Run:
    """One run of the demo, its output and its processes."""

    def __init__(self, command: List[str], directory: Path,
                 **environment: str) -> None:
        self.token = uuid.uuid4().hex
        self.process = OwnProcess(
            command, directory / f'{self.token}.out',
            {**environment, TOKEN: self.token, 'PYTHONPATH': str(ROOT)})

    def wait(self) -> int:
        return self.process.wait(RUN_TIMEOUT)

    @property
    def text(self) -> str:
        return self.process.output()

    @property
    def summary(self) -> str:
        return self.text.splitlines()[-1]

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.text, RUN_TIMEOUT,
                   lambda: f'{text!r} in:\n{self.text}')

    def processes(self) -> List[str]:
        """The command lines of all its processes that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if (process.environ().get(TOKEN) == self.token
                        and process.status() != psutil.STATUS_ZOMBIE):
                    found.append(' '.join(process.cmdline()))
            except (psutil.Error, OSError):
                pass  # it has ended, or belongs to another user
        return found
