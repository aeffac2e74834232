"""Exceptions from elsewhere, which end tasks of the manager."""
import builtins
import ctypes
from typing import Any


def strike(task: Any, name: str) -> None:
    """Let an exception strike a task.

    :param task: the :class:`~redis_streams_adapter.concurrency.tasks.Task`. A
                 thread is struck at its next step, so it has to be woken.
    :param name: the name of the exception's class.
    """
    green = task._handle
    if hasattr(green, 'kill'):
        import greenlet

        kind = getattr(builtins, name, None) or getattr(greenlet, name)
        if hasattr(green, 'get'):
            # Of gevent.
            green.kill(kind, block=False)
        else:
            green.kill(kind)
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(task._thread),
            ctypes.py_object(getattr(builtins, name)))
