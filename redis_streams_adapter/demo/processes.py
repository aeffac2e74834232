"""The processes of the demo: started, spoken to, ended by their ids.

Each has a session of its own, so that a Ctrl-C at the terminal reaches the
demo alone, which then ends them in good order.
"""
from __future__ import annotations

from contextlib import suppress
from http.client import HTTPConnection, HTTPException
import json
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import redis_streams_adapter

from .errors import DemoError
from .orders import QUEUE, STREAM, WORKER

#: The application of the workers, as gunicorn takes it.
APPLICATION = 'redis_streams_adapter.demo.worker:app'

#: Seconds between two requests to a worker that is starting.
POLL_INTERVAL = 0.05

#: Seconds from SIGTERM to SIGKILL. gunicorn's gevent worker checks once a
#: second whether it is to end, and whether its connections have ended.
END_TIMEOUT = 6.0

#: Characters of a process's log that an error quotes at most.
LOG_TAIL = 300


class Process:
    """One process, with its standard error in a file.

    :param name: its name in the report.
    :param directory: where it runs and where its log is.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.log = directory / f'{name.replace(" ", "-")}.log'
        self.process: subprocess.Popen[str] | None = None

    def start(self, command: list[str], environment: dict[str, str],
              listener: socket.socket | None = None,
              with_pipes: bool = False) -> None:
        """Start it with this Python.

        :param command: the arguments of ``python``.
        :param environment: what to add to this process's environment.
        :param listener: a socket that it inherits.
        :param with_pipes: whether to connect its input and output.
        """
        fds = () if listener is None else (listener.fileno(),)
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], text=True, cwd=self.directory,
                stdin=subprocess.PIPE if with_pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if with_pipes else log,
                stderr=log, pass_fds=fds, start_new_session=True,
                env={**child_environment(), **environment})

    def check(self) -> None:
        """Raise if it has ended by itself."""
        status = self.process.poll() if self.process is not None else None
        if status is not None:
            raise DemoError(f'{self.name} ended with status {status}: '
                            f'{self.last_log_line()}')

    def last_log_line(self) -> str:
        """Return the last line of its log, on one line."""
        try:
            lines = self.log.read_text('utf-8', 'replace').splitlines()
        except OSError:
            lines = []
        # The last line of a traceback that is not indented names the error;
        # gunicorn logs two or three more lines after it.
        said = [line for line in lines
                if line[:1].strip() and '[INFO]' not in line
                and 'Warning: ' not in line]
        errors = [line for line in said
                  if line.partition(':')[0].endswith(('Error', 'Exception'))]
        return (errors or said or ['its log is empty'])[-1].strip()[-LOG_TAIL:]

    def terminate(self) -> None:
        """Ask it to end; :meth:`wait` waits for that."""
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """Kill it and its children with ``SIGKILL``."""
        if self.process is not None and self.process.poll() is None:
            # Not waited for yet, so no other process can have its id; and
            # it leads the group that its children are in.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self) -> None:
        """Wait until it has ended, and kill it if it does not."""
        if self.process is None:
            return
        try:
            self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                # Nothing reads what was not written yet.
                with suppress(OSError):
                    pipe.close()
        self.process = None


class Worker(Process):
    """gunicorn with one gevent worker, on a port of its own.

    :param number: its number, from 1.
    :param directory: where it runs and where its log is.
    """

    def __init__(self, number: int, directory: Path) -> None:
        super().__init__(f'worker {number}', directory)
        self.number = number
        self.pid = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def serve(self, application: str, environment: dict[str, str]) -> None:
        """Start it.

        :param application: as gunicorn takes it, ``module:name``.
        :param environment: where the cluster meets.
        """
        # The port is bound here and inherited: no other process can take it.
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            self.port = listener.getsockname()[1]
            self.start(
                ['-m', 'gunicorn', '--config',
                 'python:redis_streams_adapter.demo.gunicorn_conf',
                 '--bind', f'fd://{listener.fileno()}', application],
                {**environment, WORKER: self.name}, listener)

    def wait_until_member(self, count: int, timeout: float) -> None:
        """Wait until this worker knows the whole cluster.

        :param count: how many servers the cluster has. For some seconds
                      there may be one more: one that was killed.
        :param timeout: in seconds.

        A worker that has heard from every other one reads what they write.
        """
        deadline = time.monotonic() + timeout
        seen: dict[str, Any] = {}
        while seen.get('servers', 0) < count:
            self.check()
            left = deadline - time.monotonic()
            if left <= 0:
                state = 'did not answer' if not seen else (
                    f'knew {seen["servers"]} of {count} servers '
                    f'(health: {seen["health"]})')
                raise DemoError(f'{self.name} {state} within {timeout:g} s: '
                                f'{self.last_log_line()}')
            with suppress(OSError):
                seen = self._request('GET', '/status', None, left)
            if seen.get('servers', 0) < count:
                time.sleep(POLL_INTERVAL)
        self.pid = seen['pid']

    def carry_out(self, order: dict[str, Any], timeout: float) -> Any:
        """Have it emit something; return the answer to it.

        :param order: see :mod:`.orders`.
        :param timeout: in seconds.
        """
        try:
            return self._request('POST', '/orders', order, timeout)['answer']
        except OSError as exc:
            self.check()
            raise DemoError(f'{self.name} does not answer: {exc}') from exc

    def _request(self, method: str, path: str,
                 body: dict[str, Any] | None, timeout: float) -> Any:
        connection = HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        try:
            connection.request(
                method, path, body=None if body is None else json.dumps(body),
                headers={'Content-Type': 'application/json'})
            response = connection.getresponse()
            content = response.read()
        except HTTPException as exc:
            raise OSError(str(exc)) from exc
        finally:
            connection.close()
        if response.status != 200:
            raise DemoError(f'{self.name} failed to serve {path}: '
                            f'{self.last_log_line()}')
        return json.loads(content)


class Emitter(Process):
    """The external process.

    :param directory: where it runs and where its log is.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__('the external process', directory)

    def launch(self, environment: dict[str, str]) -> None:
        """Start it.

        :param environment: where the cluster meets.
        """
        self.start(['-m', 'redis_streams_adapter.demo.emitter'], environment,
                   with_pipes=True)

    def carry_out(self, order: dict[str, Any], timeout: float) -> Any:
        """Have it emit something; return once Redis has it.

        :param order: see :mod:`.orders`.
        :param timeout: in seconds.
        """
        process = self.process
        if process is None or process.stdin is None:
            raise DemoError(f'{self.name} is not running')
        answers: list[str] = []
        # A pipe has no timeout; a thread that is waited for has.
        reader = threading.Thread(
            target=self._read_line, args=(process.stdout, answers),
            daemon=True)
        reader.start()
        with suppress(OSError):
            process.stdin.write(json.dumps(order) + '\n')
            process.stdin.flush()
        reader.join(timeout)
        if not answers or not answers[0]:
            # Its output ends a moment before itself.
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_INTERVAL)
            self.check()
            raise DemoError(f'{self.name} did not emit within '
                            f'{timeout:g} s: {self.last_log_line()}')
        return json.loads(answers[0])['answer']

    @staticmethod
    def _read_line(pipe: Any, answers: list[str]) -> None:
        answers.append(pipe.readline())


def child_environment() -> dict[str, str]:
    """Return this process's environment, fit for the demo's processes."""
    environment = dict(os.environ)
    # It would be read as more options on the command line.
    environment.pop('GUNICORN_CMD_ARGS', None)
    home = Path(redis_streams_adapter.__file__).parent.parent
    if home.name not in ('site-packages', 'dist-packages'):
        # Run from a checkout that is not installed.
        environment['PYTHONPATH'] = os.pathsep.join(
            filter(None, [str(home), environment.get('PYTHONPATH')]))
    return environment


def cluster_environment(message_queue: str, stream: str) -> dict[str, str]:
    """Return the variables that say where the cluster meets."""
    return {QUEUE: message_queue, STREAM: stream}
