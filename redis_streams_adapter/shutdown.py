"""The graceful shutdown of a server process: its clients first, its managers
last.

1. New clients are turned away, so that they try another server.
2. The outbox and the sessions of the clients are sent to Redis, and the local
   clients get the events that come back.
3. The connections are closed. The application's disconnect handlers run, and
   what they emit is sent. The clients reconnect by themselves; with recovery
   on, any other server restores their sessions.
4. The outbox is flushed, the node leaves the cluster, and its tasks end.

:func:`disconnect_clients` does 1 to 3, :func:`close` does 4. Between the two
calls the node is a member like any other: HTTP requests that still run may
emit. Each step has a time limit, even if Redis hangs.
"""
import time
from typing import Any, Callable, Iterable, List, Protocol
from weakref import WeakSet

from .runtime.lifecycle import Lifecycle
from .concurrency.engines import Engine, Event, ServerEngine, ThreadEngine

#: How long step 2 may take, in seconds. It usually takes milliseconds; until
#: it is done the clients do not reconnect to other servers.
SETTLE_TIMEOUT = 1.0

#: How long all disconnect handlers together may take, in seconds.
HANDLERS_TIMEOUT = 5.0

#: How long :func:`close` waits beyond its timeout, in seconds: a little longer
#: than a manager waits for its tasks, see
#: :data:`redis_streams_adapter.runtime.runtime.JOIN_PATIENCE`.
MARGIN = 2.5


class Endless(Protocol):
    """Something with answers over HTTP that go on until the client leaves,
    for which a server that shuts down would wait."""

    def end_answers(self) -> None:
        """End them soon. Returns at once; any task may call it."""


#: All such things in this process. Each adds itself when it is made, in one
#: step, and is gone when nothing else refers to it.
ENDLESS: 'WeakSet[Endless]' = WeakSet()


def watch(lifecycle: Lifecycle[Any]) -> None:
    """Track the requests of the manager's server from now on, so that their
    connections can be cut off if their clients do not let them end."""
    if lifecycle.connections is not None:
        lifecycle.connections.watch()


def disconnect_clients(lifecycles: Iterable[Lifecycle[Any]],
                       timeout: float = HANDLERS_TIMEOUT) -> None:
    """Turn new clients away, and close the connections of all clients, and
    answers that would go on.

    :param timeout: how many seconds disconnect handlers may take.
    """
    for endless in list(ENDLESS):
        endless.end_answers()
    serving = [each for each in lifecycles
               if each.connections is not None and not each.write_only]
    for lifecycle in serving:
        watch(lifecycle)
        lifecycle.turn_clients_away()

    def disconnect(lifecycle: Lifecycle[Any]) -> None:
        lifecycle.settle(min(timeout, SETTLE_TIMEOUT))
        if lifecycle.connections is not None:
            lifecycle.connections.close(timeout)

    _together(disconnect, serving, SETTLE_TIMEOUT + timeout + MARGIN)


def close(lifecycles: Iterable[Lifecycle[Any]], timeout: float = 5.0) -> None:
    """Close managers, all at the same time.

    :param timeout: see :meth:`~redis_streams_adapter.RedisStreamsManager.\
close`.
    """
    _together(lambda lifecycle: lifecycle.manager.close(timeout), lifecycles,
              timeout + MARGIN)


def _engine(lifecycle: Lifecycle[Any]) -> Engine:
    return ThreadEngine() if lifecycle.server is None \
        else ServerEngine(lifecycle.server)


def _together(call: Callable[[Lifecycle[Any]], Any],
              lifecycles: Iterable[Lifecycle[Any]], timeout: float) -> None:
    """Make a call for each manager, each in a task of its own, and wait.

    :param timeout: how many seconds to wait, at most.
    """
    def run(lifecycle: Lifecycle[Any], ended: Event) -> None:
        try:
            call(lifecycle)
        finally:
            ended.set()

    awaited: List[Event] = []
    for lifecycle in lifecycles:
        engine = _engine(lifecycle)
        ended = engine.event()
        engine.spawn(run, lifecycle, ended)
        awaited.append(ended)
    deadline = time.monotonic() + timeout
    for ended in awaited:
        ended.wait(max(0.0, deadline - time.monotonic()))
