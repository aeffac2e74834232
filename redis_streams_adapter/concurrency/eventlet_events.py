"""Events for green threads of eventlet that any thread may set.

eventlet's own events, and its queues, schedule the task that waits on the hub
of the thread that wakes it. In a thread of the system (``tpool.execute``) that
hub never runs, and the task sleeps for good. A :class:`Bell` wakes the hub of
the task that waits instead. A thread without a hub waits as threads do: no
green thread runs in it.

eventlet is imported only by the functions that use it. Read from eventlet
0.33 and 0.41: ``hubs/__init__.py`` keeps the hub of each thread in
``_threadlocal``.
"""
import os
import sys
from collections import deque
from typing import Any, Callable, Deque, Optional

from .locks import ThreadEvent

#: The attribute of a hub that holds its bell.
_BELL = '_redis_streams_adapter_bell'


def hub_of_this_thread() -> Any:
    """The hub of this thread; ``None``: it has none, so no green thread runs
    in it."""
    from eventlet import hubs
    return getattr(hubs._threadlocal, 'hub', None)


class Bell:
    """Lets other threads call functions on the thread of a hub.

    :param hub: that of this thread.
    """

    def __init__(self, hub: Any) -> None:
        from eventlet.patcher import original

        self.hub = hub
        self.pid = os.getpid()
        #: Reads and writes at once, or not at all.
        self._os = original('os')
        #: What the hub reads, and what other threads write. There is one
        #: pipe for each hub, as long as the process lives.
        self._ends = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        #: What to call. Other threads append, the hub's takes out; both are
        #: one step.
        self._calls: Deque[Callable[[], Any]] = deque()
        hub.add(hub.READ, self._ends[0], self._answer, self._answer,
                lambda: None)

    def call(self, function: Callable[[], Any]) -> None:
        """Have a function called by the hub, which must not wait in it."""
        self._calls.append(function)
        try:
            self._os.write(self._ends[1], b'\0')
        except BlockingIOError:
            # The pipe is full, so the hub wakes anyway.
            return

    def _answer(self, *_: Any) -> None:
        if self.pid == os.getpid():
            # After a fork, what is in the pipe is for the parent process.
            try:
                self._os.read(self._ends[0], 65536)
            except BlockingIOError:
                # A child process that uses the hub of its parent shares its
                # epoll, and has a file with this number.
                return
        while self._calls:
            # Not here: what it raises would remove the pipe from the hub.
            self.hub.schedule_call_global(0, self._calls.popleft())


def bell_of(hub: Any) -> Bell:
    """The bell of the hub of this thread."""
    bell: Optional[Bell] = getattr(hub, _BELL, None)
    if bell is None or bell.pid != os.getpid():
        # A fork shares the pipe with the parent process.
        bell = Bell(hub)
        setattr(hub, _BELL, bell)
    return bell


class Waiter:
    """A green thread that waits, from before it waits until it goes on."""

    def __init__(self, bell: Bell, green: Any) -> None:
        self.bell = bell
        self._green = green
        #: Set by the green thread. Then nothing switches to it any more.
        self.done = False

    def release(self) -> None:
        """Let it go on; by any thread."""
        hub = self.bell.hub
        if hub_of_this_thread() is hub:
            hub.schedule_call_global(0, self.switch)
        else:
            self.bell.call(self.switch)

    def switch(self) -> None:
        """Let it go on now; called by the hub."""
        if not self.done:
            self._green.switch()


class EventletEvent(ThreadEvent):
    """A ``ThreadEvent`` for green threads of eventlet."""

    __slots__ = ()

    def wait(self, timeout: Optional[float] = None) -> bool:
        if self._is_set:
            return True
        hub = hub_of_this_thread()
        if hub is None:
            return self._wait_as_thread(timeout)
        me = sys.modules['greenlet'].getcurrent()
        waiter, timer = Waiter(bell_of(hub), me), None
        try:
            self._waiting.append(waiter)
            if timeout is not None:
                timer = hub.schedule_call_global(
                    max(0.0, timeout), waiter.switch)
            if not self._is_set:
                hub.switch()
        finally:
            # One call each, the more important call first.
            waiter.done = True
            try:
                self._waiting.remove(waiter)
            except ValueError:
                # Struck before it was added.
                pass
            finally:
                if timer is not None:
                    timer.cancel()
        return self._is_set

    def _wait_as_thread(self, timeout: Optional[float]) -> bool:
        from eventlet.patcher import original

        # The lock of the interpreter, even if eventlet has replaced it.
        lock = original('_thread').allocate_lock()
        lock.acquire()
        try:
            self._waiting.append(lock)
            if not self._is_set:
                lock.acquire(True, -1 if timeout is None
                             else max(0.0, timeout))
        finally:
            try:
                self._waiting.remove(lock)
            except ValueError:
                # Struck before it was added.
                pass
        return self._is_set
