"""Control of a child process: one JSON object per line, both ways.

The child reads commands from its standard input and answers on its standard
output, in order. A child ends when its input does, so none outlives a parent
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
"""Seconds for a command that does no work worth mentioning."""

STOP_TIMEOUT = 5.0
"""Seconds a child has to end by itself before it is killed."""

READ_SIZE = 65536
"""Bytes asked of the pipe at once; answers are far smaller."""


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
        # A session of its own keeps an interrupt typed at the terminal from
        # the children: they are ended in order by their parent.
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
        """End the process at once, without a goodbye."""
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        """End the process: by the end of its input, else by a signal."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # what was still to be written reaches nobody
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answer(**values: Any) -> None:
    """Called in a child: answer the command in hand."""
    try:
        os.write(1, json.dumps(values).encode() + b'\n')
    except BrokenPipeError:
        pass  # the parent has ended, and so will the input
