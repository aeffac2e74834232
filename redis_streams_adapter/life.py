"""The life of a manager: it starts and closes, forks, and is asked how it is.

What python-socketio calls for its clients is in
:mod:`redis_streams_adapter.manager`.
"""
import atexit
import json as standard_json
import logging
import os
import sys
import threading
import weakref
from typing import Any, Dict, Iterable, Optional, TypeVar

from .node import Act
from .options import Options
from .redis_streams.connect import Driver
from .registry import Registry
from .runtime import Runtime
from .tasks import check_monkey_patching, Engine, ServerEngine, ThreadEngine

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
        self._runtime_lock = threading.RLock()
        #: Whether the parent process was a member when it forked. Written
        #: by the fork handler, and under the lock.
        self._restart = False
        #: What closes it at the end of a child of multiprocessing.
        self._finalizer: Any = None
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
        with self._runtime_lock:
            if self._runtime is not None and self._runtime.closed:
                self._runtime = None
        self._live().start()

    def close(self, timeout: float = 5) -> None:
        """Leave the cluster: send what is in the outbox, say goodbye, end
        every task and connection. Idempotent.

        :param timeout: how many seconds to give the outbox; what is left
                        after that is lost, and the log says how much.
        """
        with self._runtime_lock:
            runtime, self._restart = self._runtime, False
        if runtime is not None:
            left = runtime.close(timeout)
            if left:
                self._get_logger().error(
                    'closed with %d messages that Redis did not take', left)
        atexit.unregister(self._close_at_exit)
        finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer.cancel()

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
        if runtime is not None:
            return runtime
        with self._runtime_lock:
            runtime = self._runtime
            restart, self._restart = self._restart, False
            if runtime is None:
                runtime = self._runtime = self._make_runtime()
        if restart:
            runtime.start()
        return runtime

    def _make_runtime(self) -> Runtime:
        engine: Engine = ThreadEngine()
        if self.server is not None and not self.write_only:
            self._check_server()
            engine = ServerEngine(self.server)
        runtime = Runtime(
            self._options, self._driver, engine, self._get_logger,
            self._json_module(), self.write_only, self._act,
            self._served_namespaces)
        # python-socketio's name for it, which its admin interface shows.
        self.host_id = runtime.uid
        atexit.register(self._close_at_exit)
        finalizers = sys.modules.get('multiprocessing.util')
        if finalizers is not None:
            # Its children end without running atexit's.
            self._finalizer = finalizers.Finalize(
                None, self._close_at_exit, exitpriority=100)
        return runtime

    def _json_module(self) -> Any:
        if self._json is None and self.server is not None:
            return self.server.packet_class.json
        return self._json or standard_json

    def _close_at_exit(self) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a child process: begin a life of its own when next used."""
        super().after_fork()
        runtime, self._runtime = self._runtime, None
        # The parent may have held it.
        self._runtime_lock = threading.RLock()
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


def _after_fork_in_child() -> None:
    for manager in list(managers):
        manager.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
