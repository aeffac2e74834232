"""When a process is a copy that a fork made, and when it ends.

Python calls the functions of :func:`os.register_at_fork` for its own forks
only. A server written in C, such as uWSGI, forks without them. So the kernel
is asked: it clears a page of memory in the child, and a look at that page
takes no function call. (:func:`os.getpid` takes one, and up to 0.7 µs.)

uWSGI calls a hook in each process that it has forked. A child process with
copies of green threads notices the fork then, before these run.
"""
import mmap
import os
import sys
from typing import Any, Callable, Dict

from ..concurrency.locks import Lock

#: Clear these pages in a child process: from Linux' ``mman.h`` (4.14), with
#: the name that Python 3.13 lacks, too.
MADV_WIPEONFORK = 18


class ProcessId:
    """Used like the page, where the kernel has none."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int) -> bool:
        return self._pid == os.getpid()

    def __setitem__(self, index: int, value: int) -> None:
        self._pid = os.getpid()


def make_mark() -> Any:
    """Something whose first item is true, but false in a child process of
    any fork until it is set there."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE,
                         flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(MADV_WIPEONFORK)
    except (AttributeError, OSError, ValueError):
        return ProcessId()
    page[0] = 1
    return page


#: ``mark[0]`` is false in a process that has not noticed yet that it is a
#: child. Set when it has.
mark = make_mark()

#: The lock of each process in which a fork is noticed, by its id. One step
#: puts it there. A child does not use its parent's: a task may hold it.
_noticing: Dict[int, Any] = {}


def notice_fork(act: Callable[[], None]) -> None:
    """If this process is a child and has not noticed it, do so now.

    :param act: what to do, and to set the mark at the end. If an exception
                strikes before that, the next call does it again.
    """
    if not mark[0]:
        with _noticing.setdefault(os.getpid(), Lock()):
            if not mark[0]:
                act()


class _Registered:
    """The process that has registered what it does at its end. Written by
    any task: registering it twice does no harm."""

    pid = 0


def _uwsgi() -> Any:
    """The module of uWSGI, if it runs this process; else ``None``."""
    uwsgi: Any = sys.modules.get('uwsgi')
    # An application may have a module of this name.
    return uwsgi if hasattr(uwsgi, 'masterpid') \
        and hasattr(uwsgi, 'worker_id') else None


def is_uwsgi_master() -> bool:
    """Whether this is uWSGI's master. It forks without the interpreter's
    lock: if a thread of ours runs Python code at that moment, the worker has
    that thread's lock, without the thread, and hangs."""
    uwsgi = _uwsgi()
    return uwsgi is not None and bool(uwsgi.masterpid() == os.getpid())


def register(noticed: Callable[[], None], ending: Callable[..., None]
             ) -> None:
    """Have functions called at moments that Python does not know of.

    :param noticed: called in a child that uWSGI has forked.
    :param ending: called at the end of a child process of multiprocessing or
                   of Celery, which ends without atexit's functions.
    """
    if _Registered.pid == os.getpid():
        return
    finalizers = sys.modules.get('multiprocessing.util')
    process: Any = sys.modules.get('multiprocessing.process')
    # In other processes, atexit's functions of the application may emit after
    # those of multiprocessing.
    if finalizers is not None and process is not None \
            and process.parent_process() is not None:
        finalizers.Finalize(None, ending, exitpriority=100)
    signals = sys.modules.get('celery.signals')
    if signals is not None:
        signals.worker_process_shutdown.connect(
            ending, weak=False, dispatch_uid=__name__)
    uwsgi = _uwsgi()
    if uwsgi is not None:
        former = getattr(uwsgi, 'post_fork_hook', None)

        def hook() -> None:
            noticed()
            if former is not None:
                former()

        uwsgi.post_fork_hook = hook
    _Registered.pid = os.getpid()
