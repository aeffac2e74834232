"""Hooks for gunicorn. In ``gunicorn.conf.py``::

    from redis_streams_adapter.gunicorn import post_worker_init, worker_exit

A worker is then a member of the cluster from its start, also before its
first client. When it ends, its clients reconnect elsewhere, with all that
was emitted in it, and it says goodbye. The names are those that gunicorn
looks for; a configuration with hooks of its own calls these from them.

How a worker ends, read from gunicorn 22 to 27:

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
                   has not been heard of for ``timeout`` seconds; a second
                   later it is killed, if that did not help
================== ========================================================

A WebSocket is a request that does not end, and ``worker_exit`` is called when
all have. So it is not enough: the connections have to be closed as soon as
the worker is to end. gunicorn has no hook for that (``worker_int`` is called
for ``QUIT`` and ``INT`` alone), hence a task that looks at ``alive``. It would
wake when ``alive`` changes if that were made a property of the worker; but
then our code would run within gunicorn's signal handlers, where a lock can
be held already by the very task that they have interrupted. gunicorn's own
workers look, too, once a second.

gunicorn reads its configuration before a gevent worker patches ssl: hence the
imports within the functions.
"""
import atexit
import os
import threading
import time
from typing import Any, List, Optional

#: How often to look whether the worker is to end, in seconds. That takes a
#: thousandth of a CPU.
LOOK_INTERVAL = 0.2

#: How many seconds a manager may take to send what is left.
CLOSE_TIMEOUT = 5.0

#: What a part of the end may take, as a share of the time after which
#: gunicorn kills a worker; there are three, and each adds a moment.
SHARE = 0.25

#: For how long requests that are under way may go on to emit, as a share of
#: ``graceful_timeout``.
REQUESTS_SHARE = 0.5

#: How many seconds :func:`worker_exit` waits at most.
EXIT_PATIENCE = 20.0


def _lifecycles() -> List[Any]:
    from .runtime.lifecycle import lifecycles
    return list(lifecycles)


class _End:
    """The end of this worker, on a task of its own.

    Signals raise ``SystemExit`` in the main thread, at any moment, and a
    second one while the first is obeyed: nothing of what is done here may be
    interrupted by that.

    :param worker: gunicorn's; ``None``: it ends now.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        #: A child process that exits has nothing to do with it.
        self._pid = os.getpid()
        limits = [] if worker is None else [
            each for each in (worker.cfg.timeout, worker.cfg.graceful_timeout)
            if each > 0]
        self._limit = min(limits, default=60.0)
        self._graceful = 0.0 if worker is None \
            else worker.cfg.graceful_timeout * REQUESTS_SHARE
        #: Until when to wait for it. Set once, by the main thread.
        self._deadline: Optional[float] = None
        #: Set once, by the main thread: no request is under way.
        self._exiting = threading.Event()
        #: Set once, by the task: all is said and closed.
        self._done = threading.Event()
        #: Written by the main thread; green where that is.
        self._thread: Optional[threading.Thread] = None

    def watch(self) -> None:
        """Begin it as soon as the worker is to end. Idempotent."""
        if self._thread is None:
            # A second signal may strike before worker_exit is called.
            atexit.register(self.finish)
            thread = threading.Thread(target=self._run, daemon=True,
                                      name='end of the worker')
            thread.start()
            # Struck before this line it begins twice, and each step of it
            # is idempotent.
            self._thread = thread

    def finish(self) -> None:
        """Begin it now, if it has not begun, and wait until it is over."""
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
                # Of the second signal: a Ctrl-C reaches the workers, and
                # their master, who sends them QUIT. They are about it.
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
            # Other requests may be under way, and emit.
            self._exiting.wait(max(0.0, close_by - time.monotonic()))
            shutdown.close(_lifecycles(), min(part, CLOSE_TIMEOUT))
        finally:
            self._done.set()


#: That of this process, which is a worker. Set by post_worker_init.
_end: Optional[_End] = None


def post_worker_init(worker: Any) -> None:
    """Start the managers of the application that this worker has loaded, and
    watch for its end.

    While Redis is away a worker starts all the same.

    :raises RuntimeError: as :meth:`~redis_streams_adapter.\
RedisStreamsManager.start`.
    """
    global _end

    from . import shutdown
    for lifecycle in _lifecycles():
        if lifecycle.server is not None and not lifecycle.write_only:
            shutdown.watch(lifecycle)
            lifecycle.start()
    if worker is not None:
        _end = _End(worker)
        _end.watch()


def worker_exit(server: Any, worker: Any) -> None:
    """Close the managers of this worker, after the connections of their
    clients.

    Waits until all is sent: for some seconds at most where Redis is away, see
    ``docs/recovery.rst``.
    """
    if worker is not None and worker.pid != os.getpid():
        # In the master, of a worker that it does not find any more.
        return
    (_end or _End(None)).finish()
