"""Exceptions at every point at which one can strike.

CPython runs signal handlers, and raises the exceptions of
``PyThreadState_SetAsyncExc``, only at these points: when a function starts,
when a call ends, and when a loop jumps back (``ceval.c`` of 3.10 to 3.13; 3.10
also when it jumps forward). An exception that strikes after a call is raised
*by* that call, in the frame of the caller, inside the ``try`` statement that
encloses the call. A profile function is called at the same points and raises
in the same way. Loops of the package without a call are not struck.

No exception strikes between the end of ``__enter__`` and the block of a
``with`` statement: a block is entered by one instruction (``BEFORE_WITH``, in
3.10 ``SETUP_WITH``), so the interpreter's locks are safe there. If
``__enter__`` is written in Python, the profile function is also called at its
end. That point is left out. All other points within it, and the start of an
``__exit__`` in Python, are struck.
"""
import _weakrefset
import logging
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Callable, List, Optional, Tuple, Type

import redis

import redis_streams_adapter

from ..support.wait import DEADLINE

_TESTS = str(Path(__file__).parents[1])

_PACKAGE = str(Path(redis_streams_adapter.__file__).parent)

#: These are not struck: the fakes of Redis and of clients; the standard
#: library's logging, which has its own locks; imports; and finalizers of
#: redis-py and of weak sets, whose exceptions the interpreter ignores.
_EXCLUDED = (_TESTS, str(Path(_PACKAGE) / 'testing'), str(logging.__file__),
             str(Path(redis.__file__).parent), str(_weakrefset.__file__),
             '<frozen')


def is_excluded(frame: FrameType) -> bool:
    """Whether this frame is not struck: it is excluded, or was not called by
    the package."""
    each: Optional[FrameType] = frame
    while each is not None:
        name = each.f_code.co_filename
        if name.startswith(_EXCLUDED):
            return True
        if name.startswith(_PACKAGE):
            return False
        each = each.f_back
    return True


class Strike(BaseException):
    """The exception. Like ``gevent.Timeout`` it is not an
    :class:`Exception`."""


class Struck(Exception):
    """An :class:`Exception`, like the time limit of a job queue."""


class Striker:
    """A profile function that raises once.

    :param at: the number of the point at which it raises, from 1; with 0 it
               only counts the points.
    :param kind: the exception that it raises.
    """

    def __init__(self, at: int, kind: Type[BaseException] = Strike) -> None:
        self._at = at
        self._kind = kind
        self.count = 0
        #: The place at which it has struck.
        self.where = ''

    @property
    def has_struck(self) -> bool:
        return bool(self.where)

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in ('call', 'return', 'c_return') or is_excluded(frame):
            return
        if event == 'return' and frame.f_code.co_name == '__enter__':
            return
        self.count += 1
        if self.count == self._at:
            self.where = (f'{frame.f_code.co_filename}:{frame.f_lineno} '
                          f'({frame.f_code.co_name}, {event}'
                          f' {getattr(arg, "__name__", "")})')
            raise self._kind(self.where)

    def run(self, operation: Callable[[], Any]
            ) -> Tuple[Any, Optional[BaseException]]:
        """Run an operation on this thread.

        :return: its result, and its exception.
        """
        sys.setprofile(self)
        try:
            return operation(), None
        except (Strike, Struck) as exc:
            return None, exc
        finally:
            sys.setprofile(None)


#: One in this number of points is struck. Four versions of Python start at
#: four different points, so together they strike all. ``STRIKE_STEP=1``
#: strikes all points in one run.
STEP = int(os.environ.get('STRIKE_STEP', '4'))


def strike(operation: Callable[[Striker], Any],
           kind: Type[BaseException] = Strike, step: int = STEP) -> int:
    """Strike an operation at one point after the other, until it runs to its
    end.

    :param operation: called with the striker; starts from scratch each time.
    :return: how often it was struck.
    """
    count, at = 0, 1 + sys.version_info.minor % step
    while True:
        striker = Striker(at, kind)
        operation(striker)
        if not striker.has_struck:
            assert count, 'nothing was struck'
            return count
        count += 1
        at += step


_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def locks_of(root: Any) -> List[Any]:
    """All locks of an object of the package and of the objects in it."""
    found: List[Any] = []
    seen, rest = set(), [root]
    while rest:
        each = rest.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, _LOCKS):
            found.append(each)
        elif isinstance(each, dict):
            rest.extend(each.values())
        elif isinstance(each, (list, tuple, set)):
            rest.extend(each)
        elif type(each).__module__.startswith('redis_streams_adapter'):
            rest.extend(getattr(each, '__dict__', {}).values())
    return found


def held_locks(root: Any) -> List[Any]:
    """The locks of an object that another thread cannot acquire."""
    held: List[Any] = []

    def look() -> None:
        for lock in locks_of(root):
            if lock.acquire(timeout=DEADLINE / 10):
                lock.release()
            else:
                held.append(lock)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return held
