"""Threads of the system in a process of green threads."""
import sys
import time
from typing import Any, Callable, List


def run_elsewhere(how: str, work: Callable[[], Any]) -> None:
    """Run a function in a thread of the system, and wait until it has ended.

    :param how: ``'pool'`` for one of gevent's or eventlet's pool, ``'thread'``
                for one that neither knows.
    """
    by_gevent = 'gevent.monkey' in sys.modules
    if how == 'pool' and by_gevent:
        import gevent
        gevent.get_hub().threadpool.apply(work)
    elif how == 'pool':
        import eventlet.tpool
        eventlet.tpool.execute(work)
    else:
        ended: List[bool] = []

        def run() -> None:
            try:
                work()
            finally:
                ended.append(True)

        _start_thread(by_gevent)(run, ())
        while not ended:
            # Of the green thread: others run meanwhile.
            time.sleep(0.005)


def _start_thread(by_gevent: bool) -> Any:
    """The function that starts threads, as it was before it was patched."""
    if by_gevent:
        from gevent.monkey import get_original
        return get_original('_thread', 'start_new_thread')
    from eventlet.patcher import original
    return original('_thread').start_new_thread
