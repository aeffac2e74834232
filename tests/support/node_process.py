"""A server process, and its controls as methods."""
import http.client
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import json_values
from .process import OwnProcess
from .wait import DEADLINE, wait_for_value, wait_until

#: Seconds that a control call may take. A handler that hangs for longer is
#: a failure.
CONTROL_TIMEOUT = 20.0

_numbers = itertools.count(1)

#: One call in a script: target, method, arguments, keyword arguments.
Step = Tuple[str, str, List[Any], Dict[str, Any]]


class RemoteError(Exception):
    """An exception that was raised in the node.

    :param types: the names of its class and of that class's bases.
    :param text: its text.
    :param remote_traceback: where it was raised.
    """

    def __init__(self, types: List[str], text: str,
                 remote_traceback: str) -> None:
        super().__init__(f'{types[0]}: {text}')
        self.types = types
        self.text = text
        self.remote_traceback = remote_traceback


class NodeProcess:
    """A process that runs :mod:`.node_app`.

    :param mode: ``'threading'``, ``'gevent'`` or ``'eventlet'``.
    :param redis_url: the Redis of its manager.
    :param options: the other options of its manager.
    :param flask: a Flask-SocketIO application instead.
    """

    #: Those that run, for the report of a test that fails.
    running: 'List[NodeProcess]' = []

    def __init__(self, mode: str, redis_url: str,
                 options: Optional[Dict[str, Any]] = None,
                 flask: bool = False) -> None:
        self.name = f'node-{next(_numbers)}'
        self.port = 0
        self.options = options or {}
        self._command = [
            sys.executable, '-m', 'tests.support.node_app', '--mode', mode,
            '--redis-url', redis_url, '--options', json.dumps(self.options),
            *(['--flask'] if flask else [])]
        self._process: Optional[OwnProcess] = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f'http://127.0.0.1:{self.port}'

    # -- the process --------------------------------------------------------

    def launch(self) -> 'NodeProcess':
        """Start it, without waiting until it serves."""
        with tempfile.NamedTemporaryFile(
                prefix=f'{self.name}-', suffix='.out', delete=False) as file:
            output = Path(file.name)
        self._process = OwnProcess(self._command, output)
        self.running.append(self)
        return self

    def wait_ready(self) -> 'NodeProcess':
        """Wait until it serves."""
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

    def start(self) -> 'NodeProcess':
        """Start it and wait until it serves."""
        return self.launch().wait_ready()

    @property
    def process(self) -> OwnProcess:
        """The process, once started."""
        assert self._process is not None, f'{self.name} was not started'
        return self._process

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        if self in self.running:
            self.running.remove(self)

    def stop(self) -> None:
        """End the process, with leave taken of the cluster if it can."""
        try:
            if self.process.returncode is None:
                # Nobody waits for what a test has left in an outbox.
                self.close_manager(timeout=0.5)
        except (OSError, RemoteError):
            pass  # it is ended all the same
        finally:
            self.kill()
            self.process.output_file.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop its execution; its connections stay open."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.process.thaw()

    # -- operations ---------------------------------------------------------

    def control(self, operation: str, *arguments: Any,
                timeout: float = CONTROL_TIMEOUT) -> Any:
        """Carry out an operation in a request handler of the node.

        :raises RemoteError: it raised.
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
                              error['traceback'])
        return answer['result']

    def invoke(self, target: str, method: str, *args: Any,
               timeout: float = CONTROL_TIMEOUT, **kwargs: Any) -> Any:
        """Call a method of ``server``, ``manager``, ``front``, ``emitter``.
        """
        return self.control('invoke', target, method, list(args), kwargs,
                            timeout=timeout)

    def script(self, *steps: Step) -> None:
        """Make several calls, one right after the other, in one handler."""
        self.control('script', list(steps))

    def emit(self, event: str, data: Any = None, **kwargs: Any) -> None:
        """``Server.emit``."""
        self.invoke('server', 'emit', event, data, **kwargs)

    def send(self, data: Any, **kwargs: Any) -> None:
        """``Server.send``."""
        self.invoke('server', 'send', data, **kwargs)

    def call(self, event: str, data: Any = None, **kwargs: Any) -> Any:
        """``Server.call``, which waits for the client's answer."""
        kwargs.setdefault('timeout', DEADLINE)
        return self.control('invoke', 'server', 'call', [event, data],
                            kwargs, timeout=kwargs['timeout'] + 10)

    def disconnect(self, sid: str, **kwargs: Any) -> None:
        """``Server.disconnect``."""
        self.invoke('server', 'disconnect', sid, **kwargs)

    def enter_room(self, sid: str, room: str, **kwargs: Any) -> None:
        """``Server.enter_room``."""
        self.invoke('server', 'enter_room', sid, room, **kwargs)

    def leave_room(self, sid: str, room: str, **kwargs: Any) -> None:
        """``Server.leave_room``."""
        self.invoke('server', 'leave_room', sid, room, **kwargs)

    def close_room(self, room: str, **kwargs: Any) -> None:
        """``Server.close_room``."""
        self.invoke('server', 'close_room', room, **kwargs)

    def rooms(self, sid: str, **kwargs: Any) -> List[str]:
        """``Server.rooms``, without the client's own."""
        rooms = self.invoke('server', 'rooms', sid, **kwargs)
        return sorted(room for room in rooms if room != sid)

    def storm(self, event: str, emitters: int, each: int, padding: int = 0,
              **kwargs: Any) -> List[List[int]]:
        """Emit from many tasks at once.

        :return: what each of them got accepted.
        """
        return [list(numbers) for numbers in self.control(
            'storm', event, emitters, each, kwargs, padding, timeout=60.0)]

    def identify(self) -> Tuple[int, str]:
        """The process that answers, and the id of its node."""
        pid, uid = self.control('identify')
        return int(pid), str(uid)

    def fork(self) -> None:
        """Make a child process."""
        self.control('fork')

    def in_child(self, target: str, method: str, *args: Any,
                 **kwargs: Any) -> Any:
        """Call a method in it."""
        return self.control('in_child', target, method, list(args), kwargs)

    def end_child(self) -> int:
        """Let it end.

        :return: its exit code.
        """
        return int(self.control('end_child'))

    def start_pulse(self, event: str, interval: float = 0.002,
                    target: str = 'server', **kwargs: Any) -> None:
        """Emit 0, 1, 2, … in the background.

        :param interval: seconds between two of them.
        """
        self.control('start_pulse', event, interval, target, kwargs)

    def stop_pulse(self, event: str) -> int:
        """Stop that.

        :return: how many were emitted.
        """
        emitted, error = self.control('stop_pulse', event)
        assert error is None, f'emit raised after {emitted} times: {error}'
        return int(emitted)

    def time_emits(self, event: str, count: int, target: str = 'server',
                   **kwargs: Any) -> Dict[str, float]:
        """Emit 0, 1, 2, … as fast as it goes.

        :return: how many seconds one took: the ``median``, the ``longest``.
        """
        return dict(self.control('time_emits', event, count, target,
                                 kwargs, timeout=60.0))

    def cpu_time(self) -> float:
        """How many seconds of CPU the process has used."""
        return float(self.control('cpu_time'))

    def start_watch(self) -> None:
        """Watch how long a task that wants to run has to wait for it."""
        self.control('start_watch')

    def stop_watch(self) -> float:
        """Stop that.

        :return: the longest time between two runs, in seconds.
        """
        return float(self.control('stop_watch'))

    def make_emitter(self, **options: Any) -> None:
        """Make a write-only manager there, the target ``emitter``."""
        self.control('make_emitter', options)

    def recorded(self, what: str) -> List[Any]:
        """What was recorded: connects, disconnects, losses, a callback's
        calls."""
        return list(self.control('recorded', what))

    def disconnects_of(self, sid: str) -> List[Tuple[str, str]]:
        """The calls of the disconnect handler: namespace and reason."""
        return [(namespace, reason) for namespace, who, reason
                in self.recorded('disconnect') if who == sid]

    def logs(self, level: int = 0, start: int = 0) -> List[str]:
        """What the process has logged at this level or above.

        :param start: leave out so many of all records.
        """
        return [record['text'] for record in self.control('logs')[start:]
                if record['level'] >= level]

    # -- the manager's own --------------------------------------------------

    def start_manager(self) -> None:
        """``RedisStreamsManager.start``."""
        self.invoke('manager', 'start')

    def close_manager(self, timeout: float = 5.0) -> None:
        """``RedisStreamsManager.close``."""
        self.control('invoke', 'manager', 'close', [timeout], {})

    def flush(self, timeout: float = DEADLINE) -> bool:
        """``RedisStreamsManager.flush``."""
        return bool(self.control('invoke', 'manager', 'flush', [timeout],
                                 {}, timeout=timeout + 10))

    def server_count(self, namespace: str = '/') -> int:
        """``RedisStreamsManager.server_count``."""
        return int(self.invoke('manager', 'server_count', namespace))

    def stats(self) -> Dict[str, Any]:
        """``RedisStreamsManager.stats``."""
        return dict(self.invoke('manager', 'stats'))

    def health(self) -> Dict[str, Any]:
        """``RedisStreamsManager.health``."""
        return dict(self.invoke('manager', 'health'))

    def wait_server_count(self, count: int, namespace: str = '/',
                          timeout: float = DEADLINE) -> None:
        """Wait until it counts so many nodes."""
        wait_for_value(lambda: self.server_count(namespace), count, timeout,
                       f"{self.name}'s server_count({namespace!r})")

    def wait_health(self, status: str, timeout: float = DEADLINE) -> None:
        """Wait until its health is so."""
        wait_for_value(lambda: self.health()['status'], status, timeout,
                       f"{self.name}'s health")
