"""A process that is controlled over ``POST /control``."""
import http.client
import tempfile
from pathlib import Path
from typing import Any, List, Optional, Sequence, TypeVar

from . import json_values
from .process import OwnProcess
from .wait import wait_until

#: Seconds: the time limit of a control call. A handler that takes longer has
#: failed.
CONTROL_TIMEOUT = 20.0

_Self = TypeVar('_Self', bound='ControlledProcess')


class RemoteError(Exception):
    """An exception that was raised in the process.

    :param types: the names of its class and of the base classes.
    :param text: its text.
    :param remote_traceback: its traceback.
    :param responses: the responses that it contains, if any.
    :param missing: the servers that it names as missing, if any.
    """

    def __init__(self, types: List[str], text: str,
                 remote_traceback: str, responses: Any = None,
                 missing: Any = None) -> None:
        super().__init__(f'{types[0]}: {text}')
        self.types = types
        self.text = text
        self.remote_traceback = remote_traceback
        self.responses = responses
        self.missing = missing


class ControlledProcess:
    """A process that prints ``port <n>`` as soon as it serves.

    :param name: its name in the messages of failed tests.
    :param command: program and arguments.
    """

    #: The running processes, for the report of a failed test.
    running: 'List[ControlledProcess]' = []

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.port = 0
        self._command = command
        self._process: Optional[OwnProcess] = None

    def state(self) -> str:
        """What it does now, for the report of a failed test."""
        return ''

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f'http://127.0.0.1:{self.port}'

    def launch(self: _Self) -> _Self:
        """Start the process, without waiting until it serves."""
        with tempfile.NamedTemporaryFile(
                prefix=f'{self.name}-', suffix='.out', delete=False) as file:
            output = Path(file.name)
        self._process = self._begin(output)
        self.running.append(self)
        return self

    def _begin(self, output: Path) -> OwnProcess:
        return OwnProcess(self._command, output)

    def wait_ready(self: _Self) -> _Self:
        """Wait until the process serves."""
        process = self.process

        def announced() -> int:
            for line in process.output().splitlines():
                if line.startswith('port '):
                    return int(line.split()[1])
            if process.returncode is not None:
                raise AssertionError(
                    f'{self.name} has ended:\n{process.tail()}')
            return 0

        self.port = wait_until(announced, 30.0, lambda: (
            f'{self.name} to serve:\n{process.tail()}'))
        return self

    def start(self: _Self) -> _Self:
        """Start the process, and wait until it serves."""
        return self.launch().wait_ready()

    @property
    def process(self) -> OwnProcess:
        """The process. It must have been started."""
        assert self._process is not None, f'{self.name} was not started'
        return self._process

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        if self in self.running:
            self.running.remove(self)

    def prepare_stop(self) -> None:
        """Prepare for a stop: finish operations in progress."""

    def stop(self) -> None:
        """Stop the process, gracefully if possible."""
        try:
            if self.process.returncode is None:
                self.prepare_stop()
        except (OSError, RemoteError):
            pass  # it is stopped below
        finally:
            self.kill()
            self.process.output_file.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Suspend the process. Its connections stay open."""
        self.process.freeze()

    def thaw(self) -> None:
        """Resume the process."""
        self.process.thaw()

    def control(self, operation: str, *arguments: Any,
                timeout: float = CONTROL_TIMEOUT) -> Any:
        """Run an operation in a request handler of the process.

        :raises RemoteError: the operation raised.
        """
        connection = http.client.HTTPConnection(
            '127.0.0.1', self.port, timeout=timeout)
        try:
            connection.request('POST', '/control', json_values.dumps(
                {'operation': operation, 'arguments': list(arguments)}))
            answer = json_values.loads(connection.getresponse().read())
        finally:
            connection.close()
        if 'error' in answer:
            error = answer['error']
            raise RemoteError(error['types'], error['text'],
                              error['traceback'], error.get('responses'),
                              error.get('missing'))
        return answer['result']

    def recorded(self, what: str) -> List[Any]:
        """The records of one kind: connects, disconnects, losses, or the calls
        of a callback."""
        return list(self.control('recorded', what))
