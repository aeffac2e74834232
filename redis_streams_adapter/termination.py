"""``SIGTERM`` shuts a server down: ``docker stop``, systemd and ``kill`` send
it.

Without a handler, it kills Python at once, with what is in the outbox, and the
other servers wait for ``heartbeat_timeout`` before they count the server as
gone. As process 1 of a container, Python does not even notice it. ``run()`` of
:class:`redis_streams_adapter.flask_socketio.SocketIO` has this handler. Other
programs can have it::

    from redis_streams_adapter.termination import graceful_sigterm

    with graceful_sigterm():
        WSGIServer(('0.0.0.0', 5000), app).serve_forever()

Not for gunicorn and uWSGI, which handle the signal themselves; see
:mod:`redis_streams_adapter.gunicorn`.

The handler only notes that the signal came: the task that it interrupts may
hold any lock. A task of the server's kind looks at that, as in a worker of
gunicorn, and shuts down as :mod:`redis_streams_adapter.shutdown` says. Then
the handler, called again, raises ``SystemExit``.
"""
import contextlib
import os
import signal
from typing import Any, Iterator, List

from . import shutdown
from .concurrency.engines import Engine, ServerEngine
from .runtime import lifecycle as process
from .runtime.lifecycle import Lifecycle

#: How often to check whether the signal came, in seconds.
LOOK_INTERVAL = 0.1

#: How long disconnect handlers may take, in seconds, and the outbox. With what
#: the steps take besides, that is below the ten seconds after which
#: ``docker stop`` kills.
HANDLERS_TIMEOUT = 2.0
CLOSE_TIMEOUT = 2.0


def _serving() -> List[Lifecycle[Any]]:
    return [each for each in list(process.lifecycles)
            if each.server is not None and not each.write_only]


class _Termination:
    """The end of this process by a signal.

    :param engine: runs the task that shuts down.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: The handler of a child process that a fork makes does nothing.
        self._pid = os.getpid()
        #: Whether the signal came. Set once, by the handler.
        self.asked = False
        #: Whether all managers are closed. Set once, by the task.
        self._done = False
        #: Set once, by the caller: the server has ended by itself.
        self.ended = engine.event()

    def handle(self, number: int, frame: Any) -> None:
        """The handler of the signal."""
        if self._pid != os.getpid():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._done:
            raise SystemExit(0)
        self.asked = True

    def run(self) -> None:
        """The task."""
        while not self.asked:
            if self.ended.wait(LOOK_INTERVAL):
                return
        try:
            shutdown.disconnect_clients(_serving(), HANDLERS_TIMEOUT)
            shutdown.close(list(process.lifecycles), CLOSE_TIMEOUT)
        finally:
            self._done = True
            os.kill(self._pid, signal.SIGTERM)


@contextlib.contextmanager
def graceful_sigterm() -> Iterator[None]:
    """Handle ``SIGTERM`` while a server runs: its clients get what was emitted
    and reconnect elsewhere, the outbox is flushed, the server leaves the
    cluster, and ``SystemExit(0)`` ends the block. It takes milliseconds; if
    Redis is away, up to ten seconds.

    Does nothing outside the main thread, where the application has a handler
    of its own, or if no server uses a ``RedisStreamsManager``. That handler
    may call :meth:`~redis_streams_adapter.RedisStreamsManager.close` in a
    task, or raise ``SystemExit``.
    """
    serving = _serving()
    if not serving or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    engine = ServerEngine(serving[0].server)
    end = _Termination(engine)
    try:
        signal.signal(signal.SIGTERM, end.handle)
    except ValueError:
        # Not in the main thread.
        yield
        return
    for lifecycle in serving:
        shutdown.watch(lifecycle)
    engine.spawn(end.run)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) == end.handle and not end.asked:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end.ended.set()
    if end.asked:
        # eventlet's server takes SystemExit for its own end, and returns.
        raise SystemExit(0)
