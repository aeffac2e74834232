"""Exceptions at every moment at which one can strike.

CPython carries out signal handlers, and raises what another thread has set
with ``PyThreadState_SetAsyncExc``, when a function begins, when a call is
over, and where a loop jumps back; nowhere else (``ceval.c`` of 3.10 to 3.13;
3.10 also where it jumps forward). An exception that strikes after a call is
raised *by* that call, in the frame of the caller: it finds there the ``try``
that the call stands in. A profile function is called at the same moments and
raises in the same way. Loops of ours without a call are not struck.

Nothing strikes between the end of ``__enter__`` and the block of a ``with``
statement: entering a block is one instruction, and no call to the interpreter
(``BEFORE_WITH``, in 3.10 ``SETUP_WITH``). So locks of the interpreter are safe
there. Where ``__enter__`` is written in Python the profile function is called
at its end all the same: that moment is left out. All others within it, and
the beginning of an ``__exit__`` in Python, are struck.
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

#: Not struck: what stands for Redis and for clients; the standard library's
#: log, whose own locks are nobody else's business; imports; and finalizers of
#: redis-py and of weak sets, whose exceptions the interpreter swallows.
_SPARED = (_TESTS, str(Path(_PACKAGE) / 'testing'), str(logging.__file__),
           str(Path(redis.__file__).parent), str(_weakrefset.__file__),
           '<frozen')


def is_spared(frame: FrameType) -> bool:
    """Whether it is not ours, nor called by us; or called by us, but part of
    what is not struck."""
    each: Optional[FrameType] = frame
    while each is not None:
        name = each.f_code.co_filename
        if name.startswith(_SPARED):
            return True
        if name.startswith(_PACKAGE):
            return False
        each = each.f_back
    return True


class Strike(BaseException):
    """The exception, which like ``gevent.Timeout`` is no
    :class:`Exception`."""


class Struck(Exception):
    """The same, like the time limits of a job queue."""


class Striker:
    """Raises once.

    :param at: at the how manyth moment; 0: never, it only counts.
    :param kind: what it raises.
    """

    def __init__(self, at: int, kind: Type[BaseException] = Strike) -> None:
        self._at = at
        self._kind = kind
        self.count = 0
        #: Where it has struck.
        self.where = ''

    @property
    def has_struck(self) -> bool:
        return bool(self.where)

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in ('call', 'return', 'c_return') or is_spared(frame):
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
        """Carry it out on this thread.

        :return: what it returned, and what it raised.
        """
        sys.setprofile(self)
        try:
            return operation(), None
        except (Strike, Struck) as exc:
            return None, exc
        finally:
            sys.setprofile(None)


#: Every how manyth moment is tried. Four versions of Python begin at four
#: moments, so together they try all. ``STRIKE_STEP=1``: all of them here.
STEP = int(os.environ.get('STRIKE_STEP', '4'))


def strike(operation: Callable[[Striker], Any],
           kind: Type[BaseException] = Strike, step: int = STEP) -> int:
    """Have an operation struck at one moment after the other, until it
    passes.

    :param operation: given what strikes; does everything anew each time.
    :return: how often that was.
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
    """All locks that an object of the package holds, and what it holds."""
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
    """Those of them that another thread cannot have."""
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
