"""What waits to be sent to one client, under threads.

python-engineio keeps it in a :class:`queue.Queue`, which is written in Python:
an exception that strikes inside its ``put()`` can leave its lock held for good
(see :mod:`redis_streams_adapter.concurrency.locks`). Then every task that
emits to that client waits for ever, and holds the lock that keeps the order
of events. :class:`queue.SimpleQueue` is written in C: each call is one step,
and costs less. gevent and eventlet have queues of their own.

Read from python-engineio 4.11 and 4.15, which use ``put()``, ``get()``,
``empty()``, ``task_done()`` and ``join()``.
"""
import queue
from typing import Any

from ..concurrency.locks import ThreadEvent

#: Where Engine.IO's server keeps what its async mode is made of, and in that
#: mapping what makes a queue.
TABLE, ENTRY = '_async', 'queue'

#: How often ``join()`` looks whether all was taken, in seconds.
LOOK_AGAIN = 0.01


class ClientQueue(queue.SimpleQueue[Any]):
    """A queue as python-engineio uses it.

    It keeps no count of unfinished tasks: python-engineio calls
    ``task_done()`` right after each ``get()``.
    """

    def task_done(self) -> None:
        """What was taken is done with."""

    def join(self) -> None:
        """Wait until all was taken."""
        never = ThreadEvent()
        while not self.empty():
            never.wait(LOOK_AGAIN)


def install(server: Any) -> None:
    """Let a server make such queues. Does nothing where it does already, or
    where its queues are not those of threads.

    :param server: a Socket.IO server. Its own table is replaced; the one of
                   python-engineio, which other servers share, is not changed.
    """
    table = getattr(server.eio, TABLE, None)
    if isinstance(table, dict) and table.get(ENTRY) is queue.Queue:
        setattr(server.eio, TABLE, {**table, ENTRY: ClientQueue})
