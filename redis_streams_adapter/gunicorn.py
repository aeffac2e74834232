"""Hooks for gunicorn. In ``gunicorn.conf.py``::

    from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

A worker is then a member of the cluster from its start, even before its first
client. When it ends, its clients get everything that it emitted, and reconnect
to other workers; then it leaves the cluster. gunicorn looks for hooks of these
names. If your configuration has hooks of its own, call these from them.

How a worker ends, from the source of gunicorn 22 to 27:

================== ========================================================
reason             what the worker does
================== ========================================================
``TERM``, ``HUP``  ``alive`` is set to ``False``. It accepts no more
``max_requests``   connections, within a second, waits for its requests to
``--reload``       end, ``graceful_timeout`` seconds at most, and exits
``QUIT``, ``INT``  ``alive`` is set to ``False``; a tenth of a second later
                   ``SystemExit`` is raised in the main thread, or greenlet
its master is gone it exits, as for ``TERM`` or at once
``ABRT``           ``SystemExit``, in whatever runs. Sent to a worker that
                   has given no sign of life for ``timeout`` seconds; if it
                   has not exited a second later, it is killed
================== ========================================================

``worker_exit`` is not enough. gunicorn calls it when all requests have ended,
and a WebSocket is a request that does not end by itself: its connection has to
be closed as soon as the worker is to end. gunicorn has no hook for that
(``worker_int`` is called for ``QUIT`` and ``INT`` only), so a task looks at
``alive``.

If ``alive`` were made a property of the worker, the task could wake when it
changes. But then our code would run in gunicorn's signal handlers, and the
task that they interrupt may hold a lock. gunicorn's own workers look at
``alive``, too, once a second.

gunicorn reads its configuration before a gevent worker patches ssl, so the
imports are within the functions.
"""
import atexit
import os
import threading
import time
from typing import Any, List, Optional

#: How often to check whether the worker is to end, in seconds. This takes a
#: thousandth of a CPU.
LOOK_INTERVAL = 0.2

#: How many seconds a manager may take to flush its outbox.
CLOSE_TIMEOUT = 5.0

#: How long each part of the shutdown may take, as a share of the time after
#: which gunicorn kills a worker. There are three parts, and each takes a
#: little longer.
SHARE = 0.25

#: How long running requests may still emit, as a share of
#: ``graceful_timeout``.
REQUESTS_SHARE = 0.5

#: How many seconds :func:`worker_exit` waits at most.
EXIT_PATIENCE = 20.0


def _lifecycles() -> List[Any]:
    from .runtime.lifecycle import lifecycles
    return list(lifecycles)


class _End:
    """The shutdown of this worker, on a task of its own.

    Signals raise ``SystemExit`` in the main thread, at any moment; a second
    signal may arrive during the shutdown. They must not interrupt it.

    :param worker: gunicorn's; ``None``: it ends now.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        #: A child process that exits must not shut down the worker.
        self._pid = os.getpid()
        limits = [] if worker is None else [
            each for each in (worker.cfg.timeout, worker.cfg.graceful_timeout)
            if each > 0]
        self._limit = min(limits, default=60.0)
        self._graceful = 0.0 if worker is None \
            else worker.cfg.graceful_timeout * REQUESTS_SHARE
        #: When :meth:`finish` stops waiting. Set once, by the main thread.
        self._deadline: Optional[float] = None
        #: Set once, by the main thread: no request is running.
        self._exiting = threading.Event()
        #: Set once, by the task: all managers are closed.
        self._done = threading.Event()
        #: Written by the main thread; a green thread if that is one.
        self._thread: Optional[threading.Thread] = None

    def watch(self) -> None:
        """Begin as soon as the worker is to end. Idempotent."""
        if self._thread is None:
            # A second signal may strike before worker_exit is called.
            atexit.register(self.finish)
            thread = threading.Thread(target=self._run, daemon=True,
                                      name='end of the worker')
            thread.start()
            # If an exception strikes before this line, a second thread
            # starts; each step of the shutdown is idempotent.
            self._thread = thread

    def finish(self) -> None:
        """Begin now, if it has not begun, and wait until it is done."""
        if self._deadline is None:
            self._deadline = time.monotonic() + EXIT_PATIENCE
        while self._pid == os.getpid() and not self._done.is_set():
            try:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return
                self.watch()
                self._exiting.set()
                self._done.wait(left)
            except (SystemExit, KeyboardInterrupt):
                # A second signal: Ctrl-C reaches the workers and their
                # master, which sends them QUIT, too.
                continue

    def _serves(self) -> bool:
        worker = self._worker
        return worker is not None and worker.alive \
            and worker.ppid == os.getppid()

    def _run(self) -> None:
        from . import shutdown
        try:
            while self._serves() and not self._exiting.wait(LOOK_INTERVAL):
                pass
            part = self._limit * SHARE
            close_by = time.monotonic() + self._graceful
            shutdown.disconnect_clients(
                _lifecycles(), min(part, shutdown.HANDLERS_TIMEOUT))
            # Other requests may still run, and emit.
            self._exiting.wait(max(0.0, close_by - time.monotonic()))
            shutdown.close(_lifecycles(), min(part, CLOSE_TIMEOUT))
        finally:
            self._done.set()


#: The shutdown of this process, if it is a worker. Set by
#: :func:`post_worker_init`.
_end: Optional[_End] = None


def post_worker_init(worker: Any) -> None:
    """Start the managers of the application that this worker has loaded, and
    watch for the worker's end.

    A worker starts even while Redis is away.

    :raises RuntimeError: as :meth:`~redis_streams_adapter.\
RedisStreamsManager.start`.
    """
    global _end

    from . import shutdown
    for lifecycle in _lifecycles():
        if lifecycle.server is not None and not lifecycle.write_only:
            shutdown.watch(lifecycle)
            lifecycle.manager.start()
    if worker is not None:
        _end = _End(worker)
        _end.watch()


def worker_exit(server: Any, worker: Any) -> None:
    """Close the connections of this worker's clients, and then its managers.

    Waits until everything is sent; while Redis is away, for some seconds at
    most, see ``docs/recovery.rst``.
    """
    if worker is not None and worker.pid != os.getpid():
        # The master calls it for a worker that it no longer finds.
        return
    (_end or _End(None)).finish()
