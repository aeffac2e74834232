"""The queue of packets to one client, under threads.

python-engineio uses :class:`queue.Queue`, which is written in Python: an
exception that strikes inside its ``put()`` can leave its lock held for good
(see :mod:`redis_streams_adapter.concurrency.locks`). Then each task that emits
to that client waits for ever, and holds the lock that keeps the order of
events. :class:`queue.SimpleQueue` is written in C: each call is one step, and
costs less. gevent and eventlet have queues of their own.

Read from python-engineio 4.11 and 4.15, which use ``put()``, ``get()``,
``empty()``, ``task_done()`` and ``join()``.
"""
import queue
from typing import Any

from ..concurrency.locks import ThreadEvent

#: The attribute of an Engine.IO server with the parts of its async mode, and
#: the key of the part that makes a queue.
TABLE, ENTRY = '_async', 'queue'

#: How often ``join()`` checks whether the queue is empty, in seconds.
LOOK_AGAIN = 0.01


class SendQueue(queue.SimpleQueue[Any]):
    """A queue as python-engineio uses it.

    It keeps no count of unfinished tasks: python-engineio calls
    ``task_done()`` right after each ``get()``.
    """

    def task_done(self) -> None:
        """Do nothing: there is no count."""

    def join(self) -> None:
        """Wait until the queue is empty."""
        never = ThreadEvent()
        while not self.empty():
            never.wait(LOOK_AGAIN)


def install(server: Any) -> None:
    """Let a server make such queues. Does nothing if it already does, or if
    its queues are not those of threads.

    :param server: a Socket.IO server. Its own table is replaced; the table of
                   python-engineio, which other servers share, is not changed.
    """
    table = getattr(server.eio, TABLE, None)
    if isinstance(table, dict) and table.get(ENTRY) is queue.Queue:
        setattr(server.eio, TABLE, {**table, ENTRY: SendQueue})
