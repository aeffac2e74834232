"""The application of :mod:`.node_app`, and the operations that the test
process calls."""
import logging
import os
import statistics
import sys
import time
import traceback
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import socketio

from redis_streams_adapter.cluster.remote_socket import RemoteSocket

from . import json_values, log_records
from .elsewhere import run_elsewhere
from .ending import strike
from .forked import ForkedChild

#: The logger of a node's manager.
LOGGER = 'node.manager'

#: Namespaces that have handlers.
NAMESPACES = ('/', '/chat')


class LogRecords(logging.Handler):
    """Keeps log records for the test."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: List[Dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = log_records.problem(record)
        if found is not None:
            # The test fails, and shows this line.
            print(found, flush=True)
            os._exit(70)
        text = record.getMessage()
        if record.exc_info:
            text += '\n' + ''.join(
                traceback.format_exception(*record.exc_info))
        self.records.append({'logger': record.name, 'level': record.levelno,
                             'text': text})


def plain(value: Any) -> Any:
    """Convert a result so that it can be sent to another process."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, RemoteSocket):
        return {name: getattr(value, name) for name in (
            'sid', 'namespace', 'node', 'rooms', 'data', 'handshake')}
    return value


class Node:
    """The application and the operations on it.

    Lists are only appended to and copied. Both are atomic in CPython.

    :param server: the Socket.IO server, with a manager.
    :param front: the object whose ``emit`` an application calls: the server
                  itself or Flask-SocketIO's object.
    :param make_emitter: makes a write-only manager from its options.
    :param with_auth: whether the connect handlers have a third argument.
    """

    def __init__(self, server: socketio.Server, front: Any,
                 make_emitter: Callable[..., Any],
                 with_auth: bool = True) -> None:
        self._with_auth = with_auth
        self.targets = {'server': server, 'manager': server.manager,
                        'front': front}
        self._server = server
        self._make_emitter = make_emitter
        self._recorded: Dict[str, List[Any]] = {
            'connect': [], 'disconnect': []}
        #: The records of each connect, see :meth:`welcome`.
        self._connected: List[Dict[str, Any]] = []
        self._refusal: Optional[str] = None
        self._greeting: Optional[str] = None
        self._pulses: Dict[str, Any] = {}
        self._watch: Dict[str, Any] = {}
        self._child: Optional[ForkedChild] = None
        self._logs = LogRecords()
        logging.getLogger().addHandler(self._logs)
        logging.getLogger(LOGGER).setLevel(logging.DEBUG)
        for namespace in NAMESPACES:
            self.register_handlers(namespace)

    def register_handlers(self, namespace: str) -> None:
        """Add the handlers of a namespace."""
        server = self._server

        def on_connect(sid: str, environ: Any, auth: Any) -> Any:
            self._recorded['connect'].append((namespace, sid, auth))
            return self.welcome(namespace, sid, environ, auth)

        def on_connect_without_auth(sid: str, environ: Any) -> Any:
            return self.welcome(namespace, sid, environ, None)

        def on_disconnect(sid: str, reason: str) -> None:
            self._recorded['disconnect'].append((namespace, sid, reason))

        def on_echo(sid: str, *args: Any) -> Any:
            return args

        def on_invoke(sid: str, target: str, method: str, args: List[Any],
                      kwargs: Dict[str, Any]) -> Any:
            return self.invoke(target, method, args, kwargs)

        def on_identify(sid: str) -> Any:
            return self.identify()

        for name, handler in (
                ('connect', on_connect if self._with_auth
                 else on_connect_without_auth), ('disconnect', on_disconnect),
                ('echo', on_echo), ('invoke', on_invoke),
                ('identify', on_identify)):
            server.on(name, handler, namespace=namespace)

    def welcome(self, namespace: str, sid: str, environ: Dict[str, Any],
                auth: Any) -> Any:
        """The connect handler: record its arguments and the client's state,
        emit and refuse as configured."""
        manager = self.targets['manager']

        session = self._server.get_session(sid, namespace)

        def outcome(recovery: Any) -> Any:
            return recovery and [recovery.recovered, recovery.reason]

        self._connected.append({
            'namespace': namespace, 'sid': sid, 'auth': auth,
            'environ': outcome(environ.get('socketio.recovery')),
            'manager': outcome(manager.recovery(sid, namespace)) if hasattr(
                manager, 'recovery') else None,
            'rooms': sorted(self._server.rooms(sid, namespace), key=str),
            # The data of a client of Node.js may have any type.
            'session': dict(session) if isinstance(session, dict)
            else session})
        if self._greeting is not None:
            self._server.emit(self._greeting, to=sid, namespace=namespace)
        while self._refusal == 'wait':
            self._server.sleep(0.01)
        if self._refusal == 'raise':
            raise ConnectionRefusedError('refused by the test')
        return self._refusal is None

    # -- operations ---------------------------------------------------------

    def connected(self, sid: Optional[str]) -> List[Dict[str, Any]]:
        """The records of the connect handlers, for one client or for all."""
        return [each for each in list(self._connected)
                if sid in (None, each['sid'])]

    def refuse(self, how: Optional[str]) -> None:
        """Make the connect handlers ``'return'`` ``False``, ``'raise'``, or
        ``'wait'`` until the next call of this method. ``None`` restores the
        default."""
        self._refusal = how

    def greet(self, event: Optional[str]) -> None:
        """Make the connect handlers emit this event to the client."""
        self._greeting = event

    def invoke(self, target: str, method: str, args: List[Any],
               kwargs: Dict[str, Any]) -> Any:
        """Call a method."""
        return plain(getattr(self.targets[target], method)(*args, **kwargs))

    def call_in_parallel(self, method: str, args: List[Any],
                         kwargs: Dict[str, Any], count: int) -> List[Any]:
        """Call a method of the manager from many tasks at once, and wait
        until all calls have returned.

        :return: the results, or the exceptions.
        """
        results: List[Any] = []

        def call() -> None:
            try:
                results.append(self.invoke('manager', method, args, kwargs))
            except Exception as exc:
                results.append(repr(exc))

        tasks = [self._server.start_background_task(call)
                 for _ in range(count)]
        # With eventlet a task that has not started cannot be joined
        # (python-engineio 4.15).
        self._server.sleep(0)
        for task in tasks:
            task.join()
        return results

    def time_calls(self, method: str, args: List[Any],
                   kwargs: Dict[str, Any], count: int) -> List[float]:
        """Call a method of the manager repeatedly.

        :return: the duration of each call, in seconds.
        """
        call, taken = getattr(self.targets['manager'], method), []
        for _ in range(count):
            begun = time.perf_counter()
            call(*args, **kwargs)
            taken.append(time.perf_counter() - begun)
        return taken

    def open_calls(self) -> Tuple[int, int]:
        """The number of open requests of the manager, and the number of
        acknowledgements that local clients have not sent. Key 0 is a
        counter."""
        manager = self.targets['manager']
        return len(manager._live().node._requests), sum(
            number != 0 for acks in list(manager.callbacks.values())
            for number in list(acks))

    def on_server_side(self, event: str, does: str, value: Any,
                       namespace: str) -> None:
        """Handle a server-side event, and record its arguments under its
        name.

        :param does: ``'return'`` the value, ``'raise'``, or ``'leave'`` the
                     cluster and then raise.
        """
        calls = self._recorded.setdefault(event, [])

        def handler(*args: Any) -> Any:
            calls.append(args)
            if does == 'leave':
                self.targets['manager'].close()
            if does != 'return':
                raise RuntimeError(f'{event} raises as configured')
            return value

        self.targets['manager'].on_server_side(event, handler, namespace)

    def script(self, steps: List[Any]) -> None:
        """Call several methods in immediate succession."""
        for target, method, args, kwargs in steps:
            self.invoke(target, method, args, kwargs)

    def identify(self) -> Tuple[int, str]:
        """The process id, and the id of its node."""
        return os.getpid(), self.targets['manager'].uid

    def make_emitter(self, options: Dict[str, Any]) -> None:
        """Create the target ``emitter``, a write-only manager."""
        self.targets['emitter'] = self._make_emitter(**options)

    def storm(self, event: str, emitters: int, each: int,
              kwargs: Dict[str, Any], padding: int = 0) -> List[List[int]]:
        """Emit from many tasks at once, and wait until all have finished.

        Every event has two arguments, the emitter's number and the event's
        number, and a third one of length ``padding`` unless that is 0.

        :return: for each emitter the numbers that the outbox accepted.
        """
        from redis_streams_adapter import OutboxFullError

        accepted: List[List[int]] = [[] for _ in range(emitters)]
        more = ('x' * padding,) if padding else ()

        def emit_all(emitter: int) -> None:
            for number in range(each):
                try:
                    self._server.emit(event, (emitter, number, *more),
                                      **kwargs)
                except OutboxFullError:
                    pass
                else:
                    accepted[emitter].append(number)
                # This lets other tasks run.
                self._server.sleep(0)

        tasks = [self._server.start_background_task(emit_all, emitter)
                 for emitter in range(emitters)]
        for task in tasks:
            task.join()
        return accepted

    def fork(self) -> None:
        """Fork a child process."""
        self._child = ForkedChild(self.in_process)

    def in_child(self, *call: Any) -> Any:
        """Call a method in the child, like :meth:`in_process`."""
        assert self._child is not None
        return self._child.invoke(*call)

    def end_child(self) -> int:
        """End the child.

        :return: its exit code.
        """
        assert self._child is not None
        return self._child.end()

    def in_process(self, target: str, method: str, args: List[Any],
                   kwargs: Dict[str, Any]) -> Any:
        """Call a method. The target ``node`` has the operations."""
        if target == 'node':
            return getattr(self, method)(*args)
        return self.invoke(target, method, args, kwargs)

    def start_pulse(self, event: str, interval: float, target: str,
                    kwargs: Dict[str, Any],
                    limit: Optional[int] = None) -> None:
        """Emit 0, 1, 2, … in the background until stopped, or up to a limit.

        The task catches up after a delay, so the number of messages per hour
        does not depend on the load of the machine.
        """
        pulse: Dict[str, Any] = {
            'going': True, 'emitted': 0, 'error': None}
        emit = self.targets[target].emit

        def beat() -> None:
            begun = time.monotonic()
            try:
                while pulse['going'] and pulse['emitted'] != limit:
                    emit(event, pulse['emitted'], **kwargs)
                    pulse['emitted'] += 1
                    due = begun + pulse['emitted'] * interval
                    self._server.sleep(max(0.0, due - time.monotonic()))
            except Exception as exc:
                pulse['error'] = repr(exc)

        pulse['task'] = self._server.start_background_task(beat)
        self._pulses[event] = pulse

    def pulses(self) -> List[str]:
        """The events of the running pulses."""
        return list(self._pulses)

    def stop_pulse(self, event: str) -> Any:
        """Stop a pulse.

        :return: the number of emitted events, and the error that ended the
                 pulse before, if any.
        """
        pulse = self._pulses.pop(event)
        pulse['going'] = False
        pulse['task'].join()
        return pulse['emitted'], pulse['error']

    def fetch_sockets(self, kwargs: Dict[str, Any]) -> List[Any]:
        """The sockets that ``fetch_sockets`` returns, as mappings."""
        return [{'sid': each.sid, 'handshake': each.handshake,
                 'rooms': each.rooms, 'data': each.data, 'node': each.node}
                for each in self.targets['manager'].fetch_sockets(**kwargs)]

    def on_socket(self, sid: str, namespace: str, method: str,
                  args: List[Any]) -> Any:
        """Call a method of a socket that ``fetch_sockets`` finds."""
        socket, = self.targets['manager'].fetch_sockets(namespace, sid)
        return getattr(socket, method)(*args)

    def handle_server_side(self, event: str, answer: Any,
                           namespace: str) -> None:
        """Record server-side events as ``server-side:<event>``, and answer
        them."""
        def handle(*args: Any) -> Any:
            self._recorded.setdefault(f'server-side:{event}', []).append(
                list(args))
            return answer

        self.targets['manager'].on_server_side(event, handle, namespace)

    def open_requests(self) -> int:
        """The number of requests that wait for answers."""
        return len(self.targets['manager']._live().node._requests)

    def tasks(self) -> List[str]:
        """The names of the manager's tasks."""
        return list(self.targets['manager']._live().tasks.by_name)

    def end_task(self, name: str, exception: str) -> None:
        """Let an exception strike a task of the manager."""
        strike(self.targets['manager']._live().tasks.by_name[name], exception)

    def state(self) -> str:
        """The health of the manager, and where each of its tasks is."""
        manager = self.targets['manager']
        lines = [f'health: {manager.health()}']
        for name, task in list(manager._live().tasks.by_name.items()):
            frame = getattr(task._greenlet, 'gr_frame', None) \
                or sys._current_frames().get(task._thread)
            lines.append(f'{name}, restarts: {task.restarts}')
            lines.extend(traceback.format_stack(frame) if frame else ())
        return '\n'.join(lines)

    def emit_elsewhere(self, how: str, event: str, first: int,
                       count: int) -> Dict[str, Any]:
        """Emit from a thread of the system, in which no green thread runs.

        :param how: ``'pool'``, the one of gevent or eventlet, or
                    ``'thread'``.
        :return: how many ``emit`` accepted, what it raised, and the longest
                 time in seconds that it took.
        """
        found: Dict[str, Any] = {'accepted': 0, 'error': '', 'longest': 0.0}

        def emit() -> None:
            for number in range(first, first + count):
                begun = time.monotonic()
                try:
                    self._server.emit(event, number)
                    found['accepted'] += 1
                except RuntimeError as exc:
                    found['error'] = str(exc)
                found['longest'] = max(found['longest'],
                                       time.monotonic() - begun)

        run_elsewhere(how, emit)
        return found

    def record(self, what: str, records: List[Any]) -> None:
        """Register a list, so that :meth:`recorded` returns it."""
        self._recorded[what] = records

    def time_emits(self, event: str, count: int, target: str,
                   kwargs: Dict[str, Any]) -> Dict[str, float]:
        """Emit 0, 1, 2, … as fast as possible.

        :return: seconds per emit: the median and the maximum.
        """
        emit = self.targets[target].emit
        times = []
        for number in range(count):
            begun = time.perf_counter()
            emit(event, number, **kwargs)
            times.append(time.perf_counter() - begun)
        return {'median': statistics.median(times), 'longest': max(times)}

    def cpu_time(self) -> float:
        """The CPU time of the process, in seconds."""
        return time.process_time()

    def start_watch(self) -> None:
        """Start measuring the delay of a task that is ready to run."""
        watch = self._watch = {'going': True, 'longest': 0.0}

        def look() -> None:
            before = time.perf_counter()
            while watch['going']:
                self._server.sleep(0.001)
                now = time.perf_counter()
                watch['longest'] = max(watch['longest'], now - before)
                before = now

        self._server.start_background_task(look)

    def stop_watch(self) -> float:
        """Stop measuring.

        :return: the longest time between two runs, in seconds.
        """
        self._watch['going'] = False
        return self._watch['longest']

    def recorded(self, what: str) -> List[Any]:
        """What was recorded: connects, disconnects, losses, or a callback's
        calls."""
        return list(self._recorded.get(what, ()))

    def logs(self) -> List[Any]:
        """The log records of the process."""
        return list(self._logs.records)

    # -- the endpoint -------------------------------------------------------

    def callback(self, tag: str) -> Callable[..., None]:
        """A callback that records its arguments under a tag.

        If the tag starts with ``raise``, the callback then raises.
        """
        calls = self._recorded.setdefault(tag, [])

        def record(*args: Any) -> None:
            calls.append(args)
            if tag.startswith('raise'):
                raise RuntimeError(f'callback {tag} raises as configured')

        return record

    def control(self, body: bytes) -> bytes:
        """Run an operation, and return its result or its error."""
        request = json_values.loads(body, self.callback)
        try:
            operation = getattr(self, request['operation'])
            answer = {'result': operation(*request['arguments'])}
        except Exception as exc:
            answer = {'error': {
                'types': [each.__name__ for each in type(exc).__mro__],
                'text': str(exc), 'traceback': traceback.format_exc(),
                'responses': plain(getattr(exc, 'responses', None)),
                'missing': getattr(exc, 'missing', None)}}
        return json_values.dumps(answer)

    def middleware(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """The WSGI application, preceded by the control endpoint."""
        def with_control(environ: Dict[str, Any],
                         start_response: Callable[..., Any]
                         ) -> Iterable[bytes]:
            if environ['PATH_INFO'] != '/control':
                return app(environ, start_response)  # type: ignore
            length = int(environ['CONTENT_LENGTH'])
            answer = self.control(environ['wsgi.input'].read(length))
            start_response('200 OK', [
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(answer)))])
            return [answer]

        return with_control
