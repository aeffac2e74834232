"""Locks and events that an exception cannot leave in pieces.

A signal handler's exception, a job queue's time limit, ``gevent.Timeout`` or
``greenlet.kill()`` may strike the application's task in the middle of any
call of ours. CPython raises the first two when a function begins, when a call
is over, and where a loop jumps back (``ceval.c`` of 3.10 to 3.13; 3.10 also
where a condition jumps); the last two are raised where a green thread waits.

So one call of something written in C is one step, and so are assignments
without a call between them. Entering and leaving a ``with`` block is one step
each if the lock is the interpreter's own. :class:`threading.Condition`, and by
that :class:`threading.Event`, is written in Python: struck between "its lock
is acquired" and "the block begins", it is locked for good. The same goes for
the locks that gevent and eventlet put in the place of the interpreter's.
"""
import _thread
import sys
from collections import deque
from typing import Any, Deque, Optional

#: For a few assignments: nothing that lets green threads switch may be done
#: under it, no I/O and no waiting. It is the interpreter's own lock, also
#: where gevent or eventlet have patched :mod:`threading`: there nobody ever
#: waits for it, for no green thread is interrupted. A signal handler that
#: uses what it protects does not wait for itself.
Lock = _thread.RLock

#: The same, without what a type checker believes of it.
_NativeLock: Any = _thread.RLock

#: How long a green thread waits before it looks again whether a lock is free,
#: in seconds. It is not told: to leave the lock would be more than one step.
#: A green thread that holds one hardly ever switches, so hardly any waits.
LOOK_AGAIN = 0.001


# A type checker takes the base for a function.
class GreenLock(_NativeLock):  # type: ignore[misc]
    """A reentrant lock for green threads, which may switch while they hold
    it.

    Towards other threads it is the interpreter's lock. All green threads of
    one thread are one to that: they are told apart by their objects. It is
    left by what it inherits, in one step.

    :param nothing: an event of theirs, which is never set.
    """

    def __init__(self, nothing: Any) -> None:
        self._nothing = nothing
        #: Which green thread is to have it, or had it last. Written by that
        #: one, while no other of its thread has it.
        self._owner: Any = None

    def __enter__(self) -> bool:
        # Not an import: a process without green threads has no greenlet.
        me = sys.modules['greenlet'].getcurrent()
        while self._is_owned() and self._owner is not me:
            self._nothing.wait(LOOK_AGAIN)
        self._owner = me
        # The text says how often it is held.
        before, entered = repr(self), False
        try:
            super().__enter__()
            entered = True
            return entered
        finally:
            if not entered and repr(self) != before and self._is_owned():
                # Struck when it was acquired.
                self.release()


class ThreadEvent:
    """As :class:`threading.Event`, for threads of the interpreter.

    A waiter has a lock of its own, which it cannot have until it is set. Who
    sets it and is struck may leave waiters that sleep on: the next who sets
    it wakes them.
    """

    __slots__ = ('_is_set', '_waiting')

    def __init__(self) -> None:
        #: Written by those who set and clear it.
        self._is_set = False
        #: What each of those who wait can be woken by. Each adds and removes
        #: its own.
        self._waiting: Deque[Any] = deque()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Wake all who wait."""
        self._is_set = True
        if self._waiting:
            for waiter in self._waiting.copy():
                self._wake(waiter)

    @staticmethod
    def _wake(waiter: Any) -> None:
        try:
            waiter.release()
        except RuntimeError:
            # Somebody else was faster.
            return

    def clear(self) -> None:
        """Let them wait again."""
        self._is_set = False

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until it is set.

        :param timeout: for so many seconds at most.
        """
        if self._is_set:
            return True
        lock = _thread.allocate_lock()
        lock.acquire()
        try:
            self._waiting.append(lock)
            # It may have been set since; from now on it releases the lock.
            if not self._is_set:
                woken = lock.acquire(
                    True, -1 if timeout is None
                    else min(max(0.0, timeout), _thread.TIMEOUT_MAX))
                return woken or self._is_set
            return True
        finally:
            # Here, for a function of ours could be struck as it begins.
            try:
                self._waiting.remove(lock)
            except ValueError:
                # Struck before it was added.
                pass
