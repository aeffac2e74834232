"""Control of a child process: one JSON object per line, both ways.

The child reads commands from its standard input and answers on its standard
output, in order. It ends with its input, so that it does not outlive a parent
that was killed.
"""
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

ANSWER_TIMEOUT = 20.0
"""Seconds in which a command without much work has to be answered."""

STOP_TIMEOUT = 5.0
"""Seconds in which a child may end by itself before it is killed."""

READ_SIZE = 65536
"""Bytes read from the pipe at once; answers are far smaller."""


class ChildError(RuntimeError):
    """A child process died, failed, or did not answer in time."""


class Child:
    """A process of ours, started from a module of this package.

    :param name: what to call it in messages.
    :param module: the module to run, or the script of another program.
    :param arguments: its command line.
    :param program: what runs it.
    """
    def __init__(self, name: str, module: str, *arguments: str,
                 program: Sequence[str] = (sys.executable, '-m')) -> None:
        self.name = name
        self._buffer = b''
        # In a separate session the children do not get the Ctrl-C of the
        # terminal: their parent ends them in order.
        self._process = subprocess.Popen(
            [*program, module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: str, **arguments: Any) -> None:
        """Send a command without waiting for its answer."""
        line = json.dumps({'command': command, **arguments}).encode() + b'\n'
        stdin = self._process.stdin
        if stdin is None:
            raise ChildError(f'{self.name}: no control channel')
        try:
            stdin.write(line)
            stdin.flush()
        except OSError as exc:
            raise ChildError(f'{self.name} has ended') from exc

    def receive(self, timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """Return the next answer.

        :raises ChildError: none in ``timeout`` seconds, or an error as the
                            answer, or the process ended.
        """
        deadline = time.monotonic() + timeout
        stdout = self._process.stdout
        if stdout is None:
            raise ChildError(f'{self.name}: no control channel')
        while b'\n' not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise ChildError(f'{self.name} did not answer in {timeout} s')
            data = os.read(stdout.fileno(), READ_SIZE)
            if not data:
                raise ChildError(f'{self.name} has ended')
            self._buffer += data
        line, self._buffer = self._buffer.split(b'\n', 1)
        answer: dict[str, Any] = json.loads(line)
        if 'error' in answer:
            raise ChildError(f'{self.name}: {answer["error"]}')
        return answer

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self.send(command, **arguments)
        return self.receive()

    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used so far."""
        return float(self.ask('cpu')['cpu'])

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """End the process: close its input, and kill it if that is not
        enough."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # the process has ended before it read its input
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answer(**values: Any) -> None:
    """Answer the current command; called in a child."""
    try:
        os.write(1, json.dumps(values).encode() + b'\n')
    except BrokenPipeError:
        pass  # the parent has ended, and so the input ends, too
