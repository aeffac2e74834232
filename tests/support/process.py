"""A process that a test starts, and that always ends.

The test ends it by its pid. Otherwise it ends when the interpreter exits, or
the kernel kills it when the test process ends (see :mod:`.leash`).
"""
import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from . import leash
from .wait import wait_until

#: The root of the repository: the working directory of every process.
ROOT = Path(__file__).resolve().parents[2]


class OwnProcess:
    """One process. Its output goes to a file.

    :param command: program and arguments.
    :param output: the file for its output.
    :param env: added to this process's environment.
    :param pass_fds: the file descriptors that it inherits.
    """

    def __init__(self, command: Sequence[str], output: Path,
                 env: Optional[Mapping[str, str]] = None,
                 pass_fds: Sequence[int] = ()) -> None:
        with output.open('ab') as out:
            popen = subprocess.Popen(
                [sys.executable, '-I', '-S', leash.__file__, *command],
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, cwd=ROOT, pass_fds=pass_fds,
                env={**os.environ, **(env or {})})
        self._own(Path(command[0]).name, popen, output)

    @classmethod
    def adopt(cls, name: str, popen: Any, output: Path) -> 'OwnProcess':
        """A process that was started in another way.

        :param name: its name in the messages of failed tests.
        :param popen: has the methods of ``subprocess.Popen``.
        :param output: the file with its output.
        """
        process = cls.__new__(cls)
        process._own(name, popen, output)
        return process

    def _own(self, name: str, popen: Any, output: Path) -> None:
        self.output_file = output
        self._name = name
        self._popen = popen
        self.pid = int(popen.pid)
        atexit.register(self.kill)

    @property
    def returncode(self) -> Optional[int]:
        """Its exit code; ``None`` while it runs."""
        code: Optional[int] = self._popen.poll()
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""
        self._popen.send_signal(number)

    def freeze(self) -> None:
        """Suspend the process. Its connections stay open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait until the process ends.

        :return: its exit code.
        """
        wait_until(lambda: self._popen.poll() is not None, timeout,
                   lambda: f'{self._name} to end:\n{self.tail()}')
        return int(self._popen.returncode)

    def stop(self, timeout: float = 10.0) -> int:
        """Terminate the process, and wait until it has ended.

        :return: its exit code.
        """
        try:
            self.signal(signal.SIGTERM)
            return self.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the process."""
        atexit.unregister(self.kill)
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def output(self) -> str:
        """The output so far."""
        return self.output_file.read_text(errors='replace')

    def tail(self, lines: int = 40) -> str:
        """The last lines of the output."""
        return '\n'.join(self.output().splitlines()[-lines:])
