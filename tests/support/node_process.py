"""A server process with its operations as methods."""
import http.client
import itertools
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import psutil

from .controlled import CONTROL_TIMEOUT, ControlledProcess, RemoteError
from .forged import start_node
from .process import OwnProcess
from .wait import DEADLINE, wait_for_value

__all__ = ['NodeProcess', 'RemoteError', 'Step']

_numbers = itertools.count(1)

#: One call in a script: target, method, arguments, keyword arguments.
Step = Tuple[str, str, List[Any], Dict[str, Any]]


class NodeProcess(ControlledProcess):
    """A process that runs :attr:`module`.

    :param mode: ``'threading'``, ``'gevent'`` or ``'eventlet'``.
    :param redis_url: the Redis of its manager.
    :param options: further options of its manager.
    :param flask: run a Flask-SocketIO application instead.
    """

    #: A module like :mod:`.node_app`.
    module = 'tests.support.node_app'

    def __init__(self, mode: str, redis_url: str,
                 options: Optional[Dict[str, Any]] = None,
                 flask: bool = False) -> None:
        self.options = options or {}
        self._mode = mode
        self._arguments = {'redis_url': redis_url, 'flask': flask,
                           'options': json.dumps(self.options)}
        super().__init__(f'node-{next(_numbers)}', [])

    def _begin(self, output: Path) -> OwnProcess:
        return start_node(self._mode, self.module, self._arguments, output)

    def prepare_stop(self) -> None:
        # No test needs the events that remain in an outbox.
        self.close_manager(timeout=0.5)

    # -- operations ---------------------------------------------------------

    def invoke(self, target: str, method: str, *args: Any,
               timeout: float = CONTROL_TIMEOUT, **kwargs: Any) -> Any:
        """Call a method of ``server``, ``manager``, ``front`` or
        ``emitter``."""
        return self.control('invoke', target, method, list(args), kwargs,
                            timeout=timeout)

    def script(self, *steps: Step) -> None:
        """Make several calls in immediate succession, in one handler."""
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
        """``Server.rooms``, without the client's own room."""
        rooms = self.invoke('server', 'rooms', sid, **kwargs)
        return sorted(room for room in rooms if room != sid)

    def storm(self, event: str, emitters: int, each: int, padding: int = 0,
              **kwargs: Any) -> List[List[int]]:
        """Emit from many tasks at once.

        :return: the numbers that were accepted from each task.
        """
        return [list(numbers) for numbers in self.control(
            'storm', event, emitters, each, kwargs, padding, timeout=60.0)]

    def burst(self, event: str, count: int) -> None:
        """Emit 0, 1, 2, … without a pause."""
        self.script(*(('server', 'emit', [event, number], {})
                      for number in range(count)))

    def identify(self) -> Tuple[int, str]:
        """The process that answers, and the id of its node."""
        pid, uid = self.control('identify')
        return int(pid), str(uid)

    def uid(self, namespace: str = '/') -> str:
        """The id of its node, the same in every namespace."""
        return self.identify()[1]

    def fork(self) -> None:
        """Fork a child process."""
        self.control('fork')

    def in_child(self, target: str, method: str, *args: Any,
                 **kwargs: Any) -> Any:
        """Call a method in the child process."""
        return self.control('in_child', target, method, list(args), kwargs)

    def end_child(self) -> int:
        """End the child process.

        :return: its exit code.
        """
        return int(self.control('end_child'))

    def start_pulse(self, event: str, interval: float = 0.005,
                    target: str = 'server', limit: Optional[int] = None,
                    **kwargs: Any) -> None:
        """Emit 0, 1, 2, … in the background.

        :param interval: seconds between two events.
        :param limit: the number of events after which the pulse stops.
        """
        self.control('start_pulse', event, interval, target, kwargs, limit)

    def stop_pulse(self, event: str) -> int:
        """Stop a pulse.

        :return: the number of emitted events.
        """
        emitted, error = self.control('stop_pulse', event)
        assert error is None, f'emit raised after {emitted} times: {error}'
        return int(emitted)

    def time_emits(self, event: str, count: int, target: str = 'server',
                   **kwargs: Any) -> Dict[str, float]:
        """Emit 0, 1, 2, … as fast as possible.

        :return: seconds per emit: the ``median`` and the ``longest``.
        """
        return dict(self.control('time_emits', event, count, target,
                                 kwargs, timeout=60.0))

    def cpu_time(self) -> float:
        """The CPU time of the process, in seconds."""
        return float(self.control('cpu_time'))

    def start_watch(self) -> None:
        """Start measuring the delay of a task that is ready to run."""
        self.control('start_watch')

    def stop_watch(self) -> float:
        """Stop measuring.

        :return: the longest time between two runs, in seconds.
        """
        return float(self.control('stop_watch'))

    def make_emitter(self, **options: Any) -> None:
        """Create a write-only manager, the target ``emitter``."""
        self.control('make_emitter', options)

    def connected(self, sid: Optional[str] = None) -> List[Dict[str, Any]]:
        """The records of the connect handlers, for one client or for all."""
        return list(self.control('connected', sid))

    def refuse(self, how: Optional[str]) -> None:
        """Make the connect handlers ``'return'`` ``False``, ``'raise'``, or
        ``'wait'`` until the next call of this method. ``None`` restores the
        default."""
        self.control('refuse', how)

    def greet(self, event: Optional[str]) -> None:
        """Make the connect handlers emit this event to the client."""
        self.control('greet', event)

    def memory(self) -> int:
        """The memory of the process, in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def emit_range(self, event: str, numbers: Iterable[int],
                   **kwargs: Any) -> None:
        """Emit these numbers without a pause."""
        self.script(*(('server', 'emit', [event, number], kwargs)
                      for number in numbers))

    def disconnects_of(self, sid: str) -> List[Tuple[str, str]]:
        """The calls of the disconnect handler: namespace and reason."""
        return [(namespace, reason) for namespace, client, reason
                in self.recorded('disconnect') if client == sid]

    def logs(self, level: int = 0, start: int = 0) -> List[str]:
        """The process's log at this level or above.

        :param start: the number of records to skip.
        """
        return [record['text'] for record in self.control('logs')[start:]
                if record['level'] >= level]

    # -- requests to the cluster ---------------------------------------------

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the manager that may wait for other nodes."""
        kwargs.setdefault('timeout', DEADLINE)
        return self.control('invoke', 'manager', method, list(args), kwargs,
                            timeout=kwargs['timeout'] + 10)

    def fetch_sids(self, **kwargs: Any) -> List[str]:
        """The sids of the sockets, sorted."""
        return sorted(each['sid'] for each in self.fetch_sockets(**kwargs))

    def on_server_side(self, event: str, does: str = 'return',
                       value: Any = None, namespace: str = '/') -> None:
        """Handle a server-side event, see :mod:`.node_app`."""
        self.control('on_server_side', event, does, value, namespace)

    def open_calls(self) -> Tuple[int, ...]:
        """The numbers of open requests and of missing acknowledgements."""
        return tuple(self.control('open_calls'))

    def end_task(self, name: str, exception: str) -> None:
        """Let an exception strike a task of the manager, which ends it."""
        self.control('end_task', name, exception)

    def emit_elsewhere(self, how: str, event: str, first: int,
                       count: int) -> Dict[str, Any]:
        """Emit numbers from a thread of the system, see
        :mod:`.controlled_node`."""
        return dict(self.control('emit_elsewhere', how, event, first, count))

    # -- the manager ---------------------------------------------------------

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

    def fetch_sockets(self, namespace: str = '/',
                      timeout: float = DEADLINE,
                      **kwargs: Any) -> List[Dict[str, Any]]:
        """``RedisStreamsManager.fetch_sockets``, each as a mapping."""
        return list(self.control(
            'fetch_sockets', {'namespace': namespace, 'timeout': timeout,
                              **kwargs}, timeout=timeout + 10))

    def on_socket(self, sid: str, method: str, *args: Any,
                  namespace: str = '/') -> Any:
        """Call a method of a socket that ``fetch_sockets`` finds."""
        return self.control('on_socket', sid, namespace, method, list(args))

    def ask_socket(self, sid: str, event: str, data: Any,
                   namespace: str = '/', timeout: float = DEADLINE) -> Any:
        """``RemoteSocket.call``."""
        return self.on_socket(sid, 'call', event, data, timeout,
                              namespace=namespace)

    def save_session(self, sid: str, data: Dict[str, Any],
                     namespace: str = '/') -> None:
        """``Server.save_session``."""
        self.invoke('server', 'save_session', sid, data, namespace)

    def sockets_join(self, rooms: Any, **kwargs: Any) -> None:
        """``RedisStreamsManager.sockets_join``."""
        self.invoke('manager', 'sockets_join', rooms, **kwargs)

    def sockets_leave(self, rooms: Any, **kwargs: Any) -> None:
        """``RedisStreamsManager.sockets_leave``."""
        self.invoke('manager', 'sockets_leave', rooms, **kwargs)

    def disconnect_sockets(self, **kwargs: Any) -> None:
        """``RedisStreamsManager.disconnect_sockets``."""
        self.invoke('manager', 'disconnect_sockets', **kwargs)

    def emit_with_ack(self, event: str, data: Any = None,
                      timeout: float = DEADLINE,
                      **kwargs: Any) -> List[Any]:
        """``RedisStreamsManager.emit_with_ack``."""
        return list(self.control(
            'invoke', 'manager', 'emit_with_ack', [event, data],
            {'timeout': timeout, **kwargs}, timeout=timeout + 10))

    def server_side_emit(self, event: str, *args: Any,
                         namespace: str = '/') -> None:
        """``RedisStreamsManager.server_side_emit``."""
        self.invoke('manager', 'server_side_emit', event, *args,
                    namespace=namespace)

    def server_side_call(self, event: str, *args: Any,
                         timeout: float = DEADLINE,
                         **kwargs: Any) -> List[Any]:
        """``RedisStreamsManager.server_side_call``."""
        return list(self.control(
            'invoke', 'manager', 'server_side_call', [event, *args],
            {'timeout': timeout, **kwargs}, timeout=timeout + 10))

    def handle_server_side(self, event: str, answer: Any = None,
                           namespace: str = '/') -> None:
        """``RedisStreamsManager.on_server_side``: record these events, and
        answer them."""
        self.control('handle_server_side', event, answer, namespace)

    def server_side_events(self, event: str) -> List[Any]:
        """The arguments of the recorded events."""
        return self.recorded(f'server-side:{event}')

    def open_requests(self) -> int:
        """The number of its requests that wait for answers."""
        return int(self.control('open_requests'))

    def nodes(self, namespace: str = '/') -> List[str]:
        """The uids of ``RedisStreamsManager.nodes``."""
        return [uid for uid, *_ in self.invoke('manager', 'nodes', namespace)]

    def stats(self) -> Dict[str, Any]:
        """``RedisStreamsManager.stats``."""
        return dict(self.invoke('manager', 'stats'))

    def state(self) -> str:
        try:
            return str(self.control('state', timeout=5.0))
        except (OSError, RemoteError, http.client.HTTPException) as exc:
            return f'its state is not known: {exc!r}'

    def health(self) -> Dict[str, Any]:
        """``RedisStreamsManager.health``."""
        return dict(self.invoke('manager', 'health'))

    def wait_server_count(self, count: int, namespace: str = '/',
                          timeout: float = DEADLINE) -> None:
        """Wait until the node counts this number of nodes."""
        wait_for_value(lambda: self.server_count(namespace), count, timeout,
                       f"{self.name}'s server_count({namespace!r})")

    def wait_health(self, status: str, timeout: float = DEADLINE) -> None:
        """Wait until ``health()`` has this status."""
        wait_for_value(lambda: self.health()['status'], status, timeout,
                       f"{self.name}'s health")
