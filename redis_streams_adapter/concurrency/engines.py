"""Where tasks, events and locks come from: threads, gevent or eventlet.

:class:`ServerEngine` makes those that fit the ``async_mode`` of a Socket.IO
server; :class:`ThreadEngine` is for processes without a server. An exception
that strikes from outside cannot leave them broken, as far as that is
possible (see :mod:`redis_streams_adapter.concurrency.locks`). gevent and
eventlet are imported only by the functions that use them.
"""
import _thread
import os
import sys
import threading
import time
from typing import Any, Callable, Optional, Protocol

from .eventlet_events import EventletEvent, hub_of_this_thread
from .locks import GreenLock, Lock, ThreadEvent

#: The thread that has imported this module: normally the first one.
_IMPORTED_BY = threading.get_native_id()


class Event(Protocol):
    """As :class:`threading.Event`."""

    def set(self) -> None:
        """Wake all tasks that wait."""

    def clear(self) -> None:
        """Let tasks wait again."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def wait(self, timeout: Optional[float] = None) -> Any:
        """Wait until it is set, for ``timeout`` seconds at most."""


class Engine(Protocol):
    """Where tasks come from."""

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run a function in a task of its own.

        :return: the task, in the engine's own form.
        """

    def start(self, loop: Callable[[], Any]) -> Any:
        """As :meth:`spawn`, for a supervised loop, in as few steps as
        possible."""

    def event(self) -> Event:
        """A new event, for tasks of this engine."""

    def lock(self) -> Any:
        """A new reentrant lock, for tasks of this engine that may switch
        while they hold it."""

    def pause(self) -> None:
        """Let other tasks run, also those that wait for sockets and timers."""

    def switch(self) -> None:
        """Let green threads run that can run now. Threads need no help."""


class GeventEvent(ThreadEvent):
    """A ``ThreadEvent`` for greenlets of gevent.

    If an exception strikes gevent's own wait with a timeout, its timer goes
    on, and raises when it ends, whatever the greenlet does by then. The timer
    of this wait only sets an event that nobody waits for any more.
    """

    __slots__ = ()

    @staticmethod
    def _wake(waiter: Any) -> None:
        waiter.set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        if self._is_set:
            return True
        import gevent
        import gevent.event

        waiter, timer = gevent.event.Event(), None
        try:
            self._waiting.append(waiter)
            if timeout is not None:
                timer = gevent.get_hub().loop.timer(max(0.0, timeout))
                # Without update, the time that tasks have run since the
                # loop last looked at the clock would count, too.
                timer.start(waiter.set, update=True)
            if not self._is_set:
                waiter.wait()
        finally:
            # One call each, the more important call first.
            try:
                self._waiting.remove(waiter)
            except ValueError:
                # Struck before it was added.
                pass
            finally:
                if timer is not None:
                    timer.close()
        return self._is_set


class ThreadEngine:
    """Tasks are threads; green threads in a monkey-patched process."""

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        if _is_green():
            thread = threading.Thread(target=work, args=args, daemon=True)
            thread.start()
            return thread
        # One step. Thread.start() takes many: struck between them, it may
        # have started a thread, a thread that hangs, or none.
        return _thread.start_new_thread(_begin_thread, (work, args))

    def start(self, loop: Callable[[], Any]) -> Any:
        if not _is_green():
            return self.spawn(loop)
        return _start_green(loop, _is_green_by_gevent())

    def event(self) -> Event:
        if _is_green_by_gevent():
            return GeventEvent()
        return EventletEvent() if _is_green() else ThreadEvent()

    def lock(self) -> Any:
        return GreenLock(self.event()) if _is_green() else Lock()

    def pause(self) -> None:
        if _is_green_by_gevent():
            _let_gevent_poll()
        elif _is_green():
            _let_eventlet_run(time.sleep)
        else:
            time.sleep(0)

    def switch(self) -> None:
        if _is_green_by_gevent():
            time.sleep(0)
        elif _is_green():
            _let_eventlet_run(time.sleep)


def _begin_thread(work: Callable[..., Any], args: Any) -> None:
    """Run a function in a thread that :mod:`threading` knows. The caller
    runs in one that it does not know, so that no exception strikes it."""
    try:
        threading.Thread(target=work, args=args, daemon=True).start()
    except RuntimeError:
        # The limit of threads is reached: this thread is the last one.
        work(*args)


class ServerEngine:
    """Tasks are what the Socket.IO server uses."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._gevent = 'gevent' in server.eio.async_mode
        #: Set if the server's tasks are threads.
        self._threads = ThreadEngine() \
            if server.eio.async_mode == 'threading' else None

    def spawn(self, work: Callable[..., Any], *args: Any) -> Any:
        return self._server.start_background_task(work, *args)

    def start(self, loop: Callable[[], Any]) -> Any:
        if self._threads is not None:
            return self._threads.start(loop)
        return _start_green(loop, self._gevent)

    def event(self) -> Event:
        if self._threads is not None:
            return self._threads.event()
        if self._gevent:
            return GeventEvent()
        return EventletEvent()

    def lock(self) -> Any:
        if self._threads is not None:
            return self._threads.lock()
        return GreenLock(self.event())

    def pause(self) -> None:
        if self._gevent:
            _let_gevent_poll()
        elif self._threads is None:
            _let_eventlet_run(self._server.sleep)
        elif _is_green():
            self._threads.pause()
        else:
            self._server.sleep(0)

    def switch(self) -> None:
        if self._threads is not None:
            self._threads.switch()
        elif self._gevent:
            # Two calls less than the server's, after each page of entries.
            import gevent
            gevent.sleep(0)
        else:
            _let_eventlet_run(self._server.sleep)


def _is_green() -> bool:
    """Whether threads are green threads in this process."""
    patcher = sys.modules.get('eventlet.patcher')
    return _is_green_by_gevent() or patcher is not None \
        and bool(patcher.is_monkey_patched('thread'))


def _start_green(loop: Callable[[], Any], by_gevent: bool) -> Any:
    """Run a loop in a green thread, without the code that :mod:`threading`,
    or the server, would run around it: struck there, the loop would never
    begin.

    :return: the green thread, with its attribute ``dead``.
    :raises RuntimeError: no green thread can run in this thread.
    """
    if _is_foreign(by_gevent):
        raise RuntimeError(
            'the manager cannot be started in a thread of the system (tpool, '
            'threadpool): call start(), or emit for the first time, in a '
            'green thread; then any thread may emit')
    if by_gevent:
        import gevent
        return gevent.spawn(loop)
    import eventlet
    return eventlet.spawn(loop)


def _is_foreign(by_gevent: bool) -> bool:
    """Whether this is a thread of the system in which no green thread runs,
    in a process of green threads."""
    # The ids of Linux: that of the first thread is that of the process.
    if threading.get_native_id() in (os.getpid(), _IMPORTED_BY):
        return False
    if by_gevent:
        from gevent._hub_local import get_hub_if_exists
        green = sys.modules['greenlet'].getcurrent()
        return get_hub_if_exists() is None \
            or 'WorkerGreenlet' in type(green).__name__
    return hub_of_this_thread() is None


def _is_green_by_gevent() -> bool:
    """Whether threads are greenlets of gevent in this process."""
    monkey = sys.modules.get('gevent.monkey')
    return monkey is not None and monkey.is_module_patched('threading')


def _let_gevent_poll() -> None:
    """Let all tasks run, and let the event loop poll sockets and timers.

    ``gevent.sleep(0)`` (26.9) alone does not poll: the task is ready again at
    once, and the loop runs ready tasks for 5 ms before it polls. With a task
    that works for 3 ms at a time, all others waited for 150 ms. An idle
    watcher is called after the loop has polled; with the highest priority,
    that holds for a busy loop, too, but the watcher is then called before all
    other tasks. So ``sleep(0)`` follows.
    """
    import gevent

    gevent.idle(gevent.get_hub().loop.MAXPRI)
    gevent.sleep(0)


def _let_eventlet_run(sleep: Callable[[int], Any]) -> None:
    """Let all green threads of this thread run.

    In a thread of the system there are none. To sleep would give it a hub,
    and with that it would look like a thread in which tasks can run.

    :param sleep: eventlet's, under any name.
    """
    if hub_of_this_thread() is not None:
        sleep(0)


def check_monkey_patching(async_mode: str) -> None:
    """Make sure that sockets yield to other tasks.

    :param async_mode: the server's.
    :raises RuntimeError: gevent or eventlet without monkey patching.
    """
    if async_mode == 'eventlet':
        from eventlet.patcher import is_monkey_patched
        library, call = 'eventlet', 'eventlet.monkey_patch()'
        patched = is_monkey_patched('socket')
    elif 'gevent' in async_mode:
        from gevent.monkey import is_module_patched
        library, call = 'gevent', 'gevent.monkey.patch_all()'
        patched = is_module_patched('socket')
    else:
        return
    if not patched:
        raise RuntimeError(
            f'redis-streams-adapter needs a monkey patched socket module '
            f'with {library}: call {call} before anything else is imported, '
            f"or give the server async_mode='threading'")
