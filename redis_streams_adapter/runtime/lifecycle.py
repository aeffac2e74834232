"""When a manager is a member of the cluster: its start and close, also in the
child processes of a fork.

Each process that uses a manager has a
:class:`~redis_streams_adapter.runtime.runtime.Runtime`. It is made when it is
first needed. A fork, and a start after a close, make a new one.
"""
import atexit
import contextlib
import logging
import os
import weakref
from typing import Any, Callable, Generic, Optional, Protocol

from ..concurrency.locks import Lock
from ..concurrency.engines import check_monkey_patching
from ..log_events import OUTBOX_LOST, USED_IN_UWSGI_MASTER
from .processes import is_uwsgi_master, mark, notice_fork, register
from .runtime import R, Runtime

#: The phases of a manager, see :attr:`Lifecycle.phase`.
STARTING, JOINED, CLOSING = 'starting', 'joined', 'closing'

#: The lifecycle of every manager of this process, for the fork handler, the
#: end of the process, and gunicorn.
lifecycles: 'weakref.WeakSet[Lifecycle[Any]]' = weakref.WeakSet()


class Connections(Protocol):
    """The connections of a server, see
    :mod:`redis_streams_adapter.clients.connections`."""

    def watch(self) -> None: ...

    def close(self, timeout: float) -> Any: ...


class Manager(Protocol):
    """Starts and closes. An application's subclass may override both methods,
    so the end of the process and gunicorn's hooks call them, not those of the
    lifecycle."""

    def start(self) -> None: ...

    def close(self, timeout: float = 5) -> None: ...


class Lifecycle(Generic[R]):
    """The runtimes of one manager, one after the other.

    :param manager: calls :meth:`start` and :meth:`close` in methods of the
                    same names.
    :param make_runtime: makes the runtime of this process, given the one
                         before it in this process, which is closed.
    :param reset: called in the child process of a fork, to replace locks that
                  tasks of the parent may hold.
    """

    def __init__(self, manager: Manager,
                 make_runtime: Callable[[Optional[Runtime[R]]], Runtime[R]],
                 write_only: bool, logger: Callable[[], logging.Logger],
                 reset: Callable[[], None]) -> None:
        self.manager = manager
        self._make_runtime = make_runtime
        self.write_only = write_only
        self._logger = logger
        self._reset = reset
        #: The manager's server, and its connections. Set once, before either
        #: is used; ``None``: a member without clients.
        self.server: Any = None
        self.connections: Optional[Connections] = None
        #: The runtime of this process. Written under the lock by the task
        #: that first needs one and by start() after a close, and without it
        #: by the fork handler.
        self.current: Optional[Runtime[R]] = None
        #: The last runtime, until the next one is made. Written under the
        #: lock. If an exception strikes before it is cleared, the next
        #: runtime is given it again.
        self._former: Optional[Runtime[R]] = None
        self._lock = Lock()
        #: Whether the parent process was a member when it forked, and this
        #: one is not yet. Set by the fork handler; cleared by the task that
        #: starts or closes.
        self._restart = False
        #: Whether the server shuts down. Set by the task that shuts it down,
        #: cleared by start() and in a child process; read by any task.
        self._shutting_down = False
        lifecycles.add(self)

    def runtime(self) -> Runtime[R]:
        """The runtime of this process."""
        runtime = self.current
        if runtime is None or not mark[0]:
            runtime = self._make()
        if self._restart:
            if not runtime.member:
                runtime.start()
            self._restart = False
        return runtime

    def _make(self) -> Runtime[R]:
        """Make the runtime of this process, if it has none."""
        _notice_fork()
        with self._lock:
            runtime = self.current
            if runtime is None:
                # One step, once all of it is there.
                runtime = self.current = self._make_runtime(self._former)
                self._former = None
                register(_notice_fork, _close_all)
        if is_uwsgi_master():
            self._logger().warning(
                'a manager is used while uWSGI loads the application in its '
                'master: workers may hang, because threads run when it forks; '
                'use it in workers only, or set lazy-apps',
                extra=USED_IN_UWSGI_MASTER())
        return runtime

    def made(self) -> Optional[Runtime[R]]:
        """The runtime of this process, if it has one. Waits for another task
        that is making it."""
        _notice_fork()
        with self._lock:
            return self.current

    def start(self) -> None:
        """Join the cluster. See the manager."""
        if self.write_only:
            raise RuntimeError('a write-only manager cannot join the cluster')
        _notice_fork()
        self.check_server()
        runtime = self.current
        if runtime is not None and runtime.half_closed:
            self.manager.close()
        with self._lock:
            if self.current is not None and self.current.closed:
                self._former, self.current = self.current, None
                self._shutting_down = False
        self.runtime().join()

    def check_server(self) -> None:
        """Make sure that tasks of the server's kind work.

        :raises RuntimeError: ``socket`` is not monkey patched.
        """
        if self.server is not None:
            check_monkey_patching(self.server.eio.async_mode)

    def close(self, timeout: float = 5) -> None:
        """Leave the cluster. See the manager."""
        _notice_fork()
        with self._lock:
            runtime, self._restart = self.current, False
        if runtime is not None:
            left = runtime.close(timeout)
            if left:
                self._logger().error(
                    'closed with %d messages that Redis did not take', left,
                    extra=OUTBOX_LOST(count=left, node=runtime.uid))

    @property
    def phase(self) -> str:
        """:data:`STARTING`, :data:`JOINED` or :data:`CLOSING`, see the
        manager. Never waits, and makes no runtime."""
        if self.turns_away:
            return CLOSING
        runtime = self.current
        return JOINED if self.write_only or runtime is not None \
            and runtime.status.has_joined else STARTING

    @property
    def turns_away(self) -> bool:
        """Whether new clients have to try another server: here they would not
        receive what other servers emit, or not for long."""
        _notice_fork()
        runtime = self.current
        return self._shutting_down or runtime is not None and runtime.closed

    def turn_clients_away(self) -> None:
        """The server shuts down: it accepts no more clients."""
        _notice_fork()
        self._shutting_down = True

    def settle(self, timeout: float) -> None:
        """Wait until Redis has all that was emitted and the sessions of the
        clients, and the local clients have what is read back from the stream.
        Does not wait for Redis while it is known to be away.

        :param timeout: seconds.
        """
        _notice_fork()
        runtime = self.current
        if runtime is not None:
            runtime.settle(timeout)

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Wait until Redis has all that was emitted. See the manager."""
        _notice_fork()
        runtime = self.current
        return runtime is None or runtime.streams.flush(timeout)

    def after_fork(self) -> None:
        """In a child process: make a new runtime when one is next needed."""
        self._reset()
        runtime, self.current = self.current, None
        self._former = None
        # The parent may have held it.
        self._lock = Lock()
        self._shutting_down = False
        if runtime is not None:
            self._restart = runtime.member and not runtime.closed
            runtime.abandon()


def _close_all(**_: Any) -> None:
    """At the end of a process: close all managers, which may still have
    messages to send."""
    with contextlib.ExitStack() as stack:
        for lifecycle in list(lifecycles):
            # All of them, also if one raises.
            stack.callback(lifecycle.manager.close)


def _after_fork_in_child() -> None:
    for lifecycle in list(lifecycles):
        lifecycle.after_fork()
    mark[0] = 1


def _notice_fork() -> None:
    """Notice a fork that is not Python's."""
    notice_fork(_after_fork_in_child)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
