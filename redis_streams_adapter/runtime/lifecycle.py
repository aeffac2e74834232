"""The life of a manager: it starts and closes, forks, and is asked how it is.

What python-socketio calls for its clients is in
:mod:`redis_streams_adapter.manager`.
"""
import atexit
import contextlib
import json as standard_json
import logging
import os
import sys
import weakref
from typing import Any, Dict, Iterable, Optional, TypeVar

from ..clients.connections import Connections
from ..concurrency.locks import Lock
from ..protocol.node import Act
from ..options import Options
from ..stream.driver import Driver
from ..clients.registry import Registry
from .runtime import Runtime
from ..concurrency.engines import check_monkey_patching, Engine, \
    ServerEngine, ThreadEngine

package_logger = logging.getLogger('redis_streams_adapter')

#: Every manager of this process, for the fork handler and for gunicorn.
managers: 'weakref.WeakSet[ManagerLife]' = weakref.WeakSet()

Self = TypeVar('Self', bound='ManagerLife')


class ManagerLife(Registry):
    """A client manager that lives in one process after the other.

    :param options: checked options.
    :param driver: how to connect.
    """
    name = 'redis-streams'

    def __init__(self, options: Options, driver: Driver, write_only: bool,
                 logger: Optional[logging.Logger], json: Any) -> None:
        super().__init__(channel=options.stream_name, write_only=write_only,
                         logger=logger)
        self._options = options
        self._driver = driver
        self._json = json
        #: This process's life; made when first needed, and anew after a
        #: fork and when started after close(). Written under the lock.
        self._runtime: Optional[Runtime] = None
        #: The one before it, until that one is made. Written under
        #: the lock.
        self._closed_runtime: Optional[Runtime] = None
        self._runtime_lock = Lock()
        #: Whether the parent process was a member when it forked, and this
        #: one is not yet. Written by the fork handler, and by who starts or
        #: closes.
        self._restart = False
        #: Those of its server; set with it.
        self.connections: Optional[Connections] = None
        #: Whether its server shuts down. Set by the task that does that,
        #: taken back by start() and in a child process; read by any.
        self._shutting_down = False
        managers.add(self)

    def _act(self, act: Act) -> None:
        """Carry out what another process asks for, on the reader's task."""
        raise NotImplementedError

    def _own_stats(self) -> Dict[str, int]:
        """What is counted of own clients."""
        raise NotImplementedError

    def initialize(self) -> None:
        """Called by the server before its first request."""
        self.start()
        self._get_logger().info(self.name + ' backend initialized.')

    def start(self) -> None:
        """Join the cluster. Idempotent.

        Returns when the stream is followed, which takes milliseconds, or
        when that cannot be done now: then the node joins by itself as soon
        as Redis is there. It waits for no more than two seconds.

        :raises RuntimeError: the manager is write-only; or the server runs
                              under gevent or eventlet and ``socket`` is not
                              monkey patched.
        """
        if self.write_only:
            raise RuntimeError('a write-only manager cannot join the cluster')
        self._check_server()
        runtime = self._runtime
        if runtime is not None and runtime.half_closed:
            self.close()
        with self._runtime_lock:
            if self._runtime is not None and self._runtime.closed:
                self._closed_runtime, self._runtime = self._runtime, None
                self._shutting_down = False
        self._live().start()

    def close(self, timeout: float = 5) -> None:
        """Leave the cluster: send what is in the outbox, say goodbye, end
        every task and connection. Idempotent; where an exception strikes it
        (a time limit, say), call it again.

        :param timeout: how many seconds to give the outbox and, for half
                        of that at most, the sessions of clients; what is
                        left in the outbox after that is lost, and the log
                        says how much. Up to two more seconds are waited for
                        tasks that do not end.
        """
        with self._runtime_lock:
            runtime, self._restart = self._runtime, False
        if runtime is not None:
            left = runtime.close(timeout)
            if left:
                self._get_logger().error(
                    'closed with %d messages that Redis did not take', left)

    @property
    def turns_away(self) -> bool:
        """Whether clients that come are to try another server: here they
        would get nothing of what others emit, or not for long."""
        runtime = self._runtime
        return self._shutting_down or runtime is not None and runtime.closed

    def turn_clients_away(self) -> None:
        """The server shuts down: it lets no more clients in."""
        self._shutting_down = True

    def settle(self, timeout: float) -> None:
        """Let Redis have what was emitted and the sessions of the clients,
        and the clients what comes back of it.

        :param timeout: seconds. It does not wait for a Redis that is known
                        to be away.
        """
        runtime = self._runtime
        if runtime is not None:
            runtime.settle(timeout)

    def __enter__(self: Self) -> Self:
        if not self.write_only:
            self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until Redis has all that was emitted.

        :param timeout: seconds; ``None``: as long as it takes.
        :return: ``False`` where time ran out.
        """
        runtime = self._runtime
        return runtime is None or runtime.flush(timeout)

    def _live(self) -> Runtime:
        """The runtime of this process."""
        runtime = self._runtime
        if runtime is None:
            with self._runtime_lock:
                runtime = self._runtime
                if runtime is None:
                    # One step, once all of it is there.
                    runtime = self._runtime = self._make_runtime()
        if self._restart:
            if not runtime.member:
                runtime.start()
            self._restart = False
        return runtime

    def _make_runtime(self) -> Runtime:
        engine: Engine = ThreadEngine()
        if self.server is not None and not self.write_only:
            self._check_server()
            engine = ServerEngine(self.server)
        runtime = Runtime(
            self._options, self._driver, engine, self._get_logger,
            self._json_module(), self.write_only, self._act,
            self._served_namespaces, self._closed_runtime)
        self._closed_runtime = None
        # python-socketio's name for it, which its admin interface shows.
        self.host_id = runtime.uid
        _close_in_children()
        return runtime

    def _json_module(self) -> Any:
        if self._json is None and self.server is not None:
            return self.server.packet_class.json
        return self._json or standard_json

    def after_fork(self) -> None:
        """In a child process: begin a life of its own when next used."""
        super().after_fork()
        runtime, self._runtime = self._runtime, None
        self._closed_runtime = None
        # The parent may have held it.
        self._runtime_lock = Lock()
        self._shutting_down = False
        if runtime is not None:
            self._restart = runtime.member and not runtime.closed
            runtime.abandon()

    def _check_server(self) -> None:
        if self.server is not None:
            check_monkey_patching(self.server.async_mode)

    def _served_namespaces(self) -> Iterable[str]:
        """Handlers, the server's list, and clients make a namespace."""
        server = self.server
        if server is None:
            return ['/']
        served = [*server.handlers, *server.namespace_handlers,
                  *self.get_namespaces()]
        if server.namespaces != '*':
            served.extend(server.namespaces)
        return [each for each in dict.fromkeys(served) if each != '*']

    def _get_logger(self) -> logging.Logger:
        given: Optional[logging.Logger] = self.logger
        if given:
            return given
        # A server that was not asked to log is silent but for errors; that
        # Redis is away must be seen all the same.
        if self.server is not None \
                and self.server.logger.isEnabledFor(logging.WARNING):
            logger: logging.Logger = self.server.logger
            return logger
        return package_logger

    # -- questions --------------------------------------------------------

    @property
    def uid(self) -> str:
        """This process's id in the cluster; a fork has another."""
        return self._live().uid

    def stats(self) -> Dict[str, int]:
        """Counters since the manager was started in this process.

        ``delivered`` packets to own clients; ``sent`` to Redis in so many
        ``batches``, ``refused`` by it for good, ``found_after_break`` in the
        stream after a broken connection; ``outbox`` and ``outbox_bytes``
        waiting; ``received`` entries, of which ``malformed`` ones,
        ``duplicates`` and those that ``failed`` to be carried out did
        nothing; ``messages_lost`` that others had sent and that never came
        to us, ``entries_trimmed`` that we had not read;
        ``streams_deleted``, ``stream_setbacks`` (a replica that was behind
        took over) and ``messages_vanished`` (of ours, that Redis had
        acknowledged), see :mod:`redis_streams_adapter.losses`;
        ``writer_restarts`` and ``reader_restarts`` after errors;
        ``requests_dropped``, questions and answers over PUB/SUB that were
        not sent, or not known to be; ``outages`` that were logged. With
        recovery also how many ``sessions`` of own clients are kept, how many
        clients were ``recovered``, and how many were not, by reason:
        ``not_recovered_unknown_session`` and so on.
        """
        return {**self._own_stats(), **self._live().stats()}

    def health(self) -> Dict[str, Any]:
        """How the manager is, for a health check.

        ``status`` is ``'ok'`` or ``'degraded'``; ``connected`` tells whether
        Redis can be read and written, ``reader_lag`` how many seconds the
        reader is behind the stream (``None``: unknown), ``outbox`` and
        ``outbox_bytes`` how much waits to be sent, ``nodes`` how many nodes
        are known, this one included, ``messages_lost`` how many messages
        never came to us, ``last_error`` what Redis or its connection said
        last. ``outage`` tells for how many seconds Redis has been away now,
        ``last_outage`` how many seconds ago the last one ``ended``, how many
        it ``lasted``, and for what ``reason``.
        """
        return self._live().health()


def _close_all() -> None:
    """At the end of a process, whose managers may still have something to
    send."""
    with contextlib.ExitStack() as stack:
        for manager in list(managers):
            # All of them, also where one raises.
            stack.callback(manager.close)


class _Children:
    """Which process has multiprocessing's finalizer. Written by any task of
    it: what it does twice does no harm."""

    registered_in: Optional[int] = None


def _close_in_children() -> None:
    """Children of :mod:`multiprocessing` end without running atexit's."""
    finalizers = sys.modules.get('multiprocessing.util')
    if finalizers is not None and _Children.registered_in != os.getpid():
        finalizers.Finalize(None, _close_all, exitpriority=100)
        _Children.registered_in = os.getpid()


def _after_fork_in_child() -> None:
    for manager in list(managers):
        manager.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
