"""Locks and events that an exception cannot leave broken.

A signal handler's exception, a job queue's time limit, ``gevent.Timeout`` or
``greenlet.kill()`` may strike the application's task in the middle of any
call of this package. CPython raises the first two when a function begins,
when a call is over, and when a loop jumps back (``ceval.c`` of 3.10 to 3.13;
3.10 also when a condition jumps). The last two are raised while a green
thread waits.

So one call of a function written in C is one step, and so are assignments
without a call between them. Entering and leaving a ``with`` block is one step
each if the lock is the interpreter's own. :class:`threading.Condition` is
written in Python, and :class:`threading.Event` uses it: struck between "its
lock is acquired" and "the block begins", it stays locked for good. The same
holds for the locks with which gevent and eventlet replace the interpreter's.
"""
import _thread
import sys
from collections import deque
from typing import Any, Deque, Optional

#: A lock for a few assignments. No I/O and no waiting under it, nothing that
#: lets green threads switch. It is the interpreter's own lock even if gevent
#: or eventlet have patched :mod:`threading`: no green thread is interrupted
#: while it holds the lock, so none ever waits for it. It is reentrant: a
#: signal handler that uses what it protects does not wait for itself.
Lock = _thread.RLock

#: The same, untyped: a type checker takes it for a function.
_NativeLock: Any = _thread.RLock

#: How long a green thread waits before it tries a lock again, in seconds.
#: Nothing wakes it: leaving the lock would take more than one step. A green
#: thread that holds a lock hardly ever switches, so hardly any waits.
LOOK_AGAIN = 0.001


# The type is ignored: typeshed has a function for this class.
class GreenLock(_NativeLock):  # type: ignore[misc]
    """A reentrant lock for green threads, which may switch while they hold
    it.

    Between threads it is the interpreter's lock. To that lock, all green
    threads of one thread are the same owner, so their objects are compared,
    too. The inherited ``__exit__`` leaves it in one step.

    :param never: an event of the green threads, which is never set.
    """

    def __init__(self, never: Any) -> None:
        self._never = never
        #: The green thread that takes the lock, or had it last. Written by
        #: that green thread, while no other of its thread has the lock.
        self._owner: Any = None

    def __enter__(self) -> bool:
        # Not an import: a process without green threads has no greenlet.
        me = sys.modules['greenlet'].getcurrent()
        owned = self._is_owned()
        while owned and self._owner is not me:
            self._never.wait(LOOK_AGAIN)
            owned = self._is_owned()
        self._owner = me
        # The lock's repr() contains how often it is held. Making it takes a
        # third of the time of this method, so not for a lock that is free.
        before, entered = repr(self) if owned else '', False
        try:
            self.acquire()
            entered = True
            return entered
        finally:
            if not entered and repr(self) != before and self._is_owned():
                # Struck after the lock was acquired.
                self.release()


class ThreadEvent:
    """As :class:`threading.Event`, for threads of the interpreter.

    Each waiter has a lock of its own, which it cannot acquire until the event
    is set. If an exception strikes a task that sets the event, some waiters
    may sleep on; the next call of :meth:`set` wakes them.
    """

    __slots__ = ('_is_set', '_waiting')

    def __init__(self) -> None:
        #: Written by the tasks that set and clear it, without a lock; the
        #: last one wins.
        self._is_set = False
        #: One lock (or gevent's event) for each task that waits. Each task
        #: adds and removes its own, in one step.
        self._waiting: Deque[Any] = deque()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Wake all tasks that wait."""
        self._is_set = True
        if self._waiting:
            for waiter in self._waiting.copy():
                self._wake(waiter)

    @staticmethod
    def _wake(waiter: Any) -> None:
        try:
            waiter.release()
        except RuntimeError:
            # Another task was faster.
            return

    def clear(self) -> None:
        """Let tasks wait again."""
        self._is_set = False

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until it is set.

        :param timeout: seconds at most; ``None``: without a limit.
        """
        if self._is_set:
            return True
        lock = _thread.allocate_lock()
        lock.acquire()
        try:
            self._waiting.append(lock)
            # It may have been set since. From now on set() releases the
            # lock.
            if not self._is_set:
                woken = lock.acquire(
                    True, -1 if timeout is None
                    else min(max(0.0, timeout), _thread.TIMEOUT_MAX))
                return woken or self._is_set
            return True
        finally:
            # Not in a function: that could be struck as it begins.
            try:
                self._waiting.remove(lock)
            except ValueError:
                # Struck before it was added.
                pass
