"""How to wake a task that waits for a socket, without ending the connection.

A task that reads a connection is the only one that uses it: under TLS, a
connection must not be read and written by two threads at once. So another
task that has news for it does not touch the socket. It writes one byte into a
pipe, and the reading task waits for the socket and the pipe together.
"""
import os
import select
import sys
from typing import Sequence, Tuple

from .locks import Lock


class Wakeup:
    """A pipe that one task waits for beside its socket.

    Closed by that task, or by the child process of a fork, see :meth:`close`.
    There is no finalizer: it would let other threads run in the middle of a
    garbage collection, and if greenlets are in use, CPython 3.11 has been seen
    to crash then (greenlet 3.5).
    """

    def __init__(self) -> None:
        #: Keeps :meth:`set` from writing to a file that was closed: its
        #: number may at once be that of another connection. Held for a write
        #: that never blocks.
        self._lock = Lock()
        #: What to read from, and what to write to; empty once it is closed.
        #: Written under the lock.
        self._ends: Tuple[int, ...] = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        #: A child process shares the pipe with its parent after a fork, and
        #: must not take what is in it.
        self._pid = os.getpid()

    def set(self) -> None:
        """Wake the task that waits, or the next one that does. May be called
        by any task. Does nothing once it is closed."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._ends:
                try:
                    os.write(self._ends[1], b'\0')
                except BlockingIOError:
                    # The pipe is full, so the task wakes anyway.
                    return

    def close(self) -> None:
        """Close the pipe; by the task that waits, when it waits no more, or
        in a child process, whose copy it is. Idempotent."""
        if os.getpid() != self._pid:
            # A thread of the parent may have held it.
            self._lock = Lock()
        with self._lock:
            ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def wait(self, socket: int, timeout: float) -> bool:
        """Wait until there is something to read from a socket, or until
        :meth:`set` is called.

        :param socket: the number of its file.
        :param timeout: how many seconds to wait, at most.
        :return: whether the socket can be read.
        """
        pipe = self._ends[0]
        ready = wait_readable((socket, pipe), timeout)
        if pipe in ready and os.getpid() == self._pid:
            _empty(pipe)
        return socket in ready


def _empty(pipe: int) -> None:
    """Read what is in a pipe. It may be nothing: in an application that has
    forked, the hub of eventlet also hears of the files of other processes.

    :param pipe: the number of its file, which does not block.
    """
    read = os.read
    patcher = sys.modules.get('eventlet.patcher')
    if patcher is not None and patcher.is_monkey_patched('os'):
        # That of eventlet waits.
        read = patcher.original('os').read
    try:
        read(pipe, 65536)
    except BlockingIOError:
        return


def wait_readable(files: Sequence[int], timeout: float) -> Sequence[int]:
    """Wait until one of some files can be read, or has ended. Only this task
    waits: the call yields if sockets are those of gevent or of eventlet.

    :param files: their numbers; any number, not only those below 1024.
    :param timeout: how many seconds to wait, at most.
    :return: those that can be read; none at the timeout.
    """
    patcher = sys.modules.get('eventlet.patcher')
    if patcher is not None and patcher.is_monkey_patched('socket'):
        from eventlet.green.select import select as green_select
        # eventlet has no poll(); this one has no limit of 1024.
        found: Sequence[int] = green_select(files, (), (), timeout)[0]
        return found
    monkey = sys.modules.get('gevent.monkey')
    if monkey is not None and monkey.is_module_patched('socket'):
        from gevent.select import poll as green_poll
        waiting = green_poll()
    else:
        waiting = select.poll()
    for file in files:
        waiting.register(file, select.POLLIN)
    return [file for file, _ in waiting.poll(timeout * 1000)]
