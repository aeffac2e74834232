"""The queue of packets to one client, under threads; and which queue a server
makes.

python-engineio uses :class:`queue.Queue`, which is written in Python: an
exception that strikes inside its ``put()`` can leave its lock held for good
(see :mod:`redis_streams_adapter.concurrency.locks`). Then each task that emits
to that client waits for ever, and holds the lock that keeps the order of
events. :class:`queue.SimpleQueue` is written in C: each call is one step, and
costs less. For the others, see
:mod:`redis_streams_adapter.clients.gevent_queue` and
:mod:`redis_streams_adapter.clients.eventlet_queue`.

Read from python-engineio 4.11 and 4.15, which use ``put()``, ``get()``,
``empty()``, ``task_done()`` and ``join()``.
"""
import queue
from collections import deque
from functools import partial
from typing import Any, Deque, Optional

from ..concurrency.locks import ThreadEvent
from .eventlet_queue import EventletQueue
from .frame_socket import FrameWriter
from .frames import AT_ONCE, join, Joined
from .gevent_queue import Queues

#: The attribute of an Engine.IO server with the parts of its async mode, and
#: the keys of the part that makes a queue, and of what an empty one raises.
TABLE, ENTRY, EMPTY = '_async', 'queue', 'queue_empty'

#: How often ``join()`` checks whether the queue is empty, in seconds.
LOOK_AGAIN = 0.01


class SendQueue(queue.SimpleQueue[Any]):
    """A queue as python-engineio uses it.

    It keeps no count of unfinished tasks: python-engineio calls
    ``task_done()`` right after each ``get()``.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Writes frames, if the client has a WebSocket. Set by the task that
        #: serves it.
        self.writer: Optional[FrameWriter] = None
        #: What was taken out and not returned yet. Used by the task that
        #: sends to the WebSocket.
        self._taken: Deque[Any] = deque()
        #: Set when the queue is empty; made by the task that waits for that.
        self._emptied: Optional[ThreadEvent] = None

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """Take a packet, or all that can be written at once.

        :param timeout: seconds to wait for a packet.
        :raises queue.Empty: there is nothing.
        """
        found = self._take(block, timeout)
        emptied = self._emptied
        if emptied is not None and self.empty():
            emptied.set()
        return found

    def _take(self, block: bool, timeout: Optional[float]) -> Any:
        writer, taken = self.writer, self._taken
        if writer is None or not writer.is_used:
            return taken.popleft() if taken else super().get(block, timeout)
        if not block:
            # One write after the other: what is left comes next.
            raise queue.Empty
        if not taken:
            taken.append(super().get(True, timeout))
        try:
            while len(taken) < AT_ONCE:
                taken.append(super().get(False))
        except queue.Empty:
            pass
        count, data = join(taken, writer.longest)
        if not count:
            return taken.popleft()
        for _ in range(count):
            taken.popleft()
        return Joined(data)

    def empty(self) -> bool:
        """Whether no packet waits."""
        return not self._taken and super().empty()

    def task_done(self) -> None:
        """Do nothing: there is no count."""

    def join(self) -> None:
        """Wait until the queue is empty for a moment: python-engineio adds
        a last packet after that, which no task takes."""
        emptied = self._emptied
        if emptied is None or emptied.is_set():
            # Before looking: what is taken out from now on sets it.
            emptied = self._emptied = ThreadEvent()
        while not self.empty() and not emptied.wait(LOOK_AGAIN):
            # A task that takes a packet may be struck before it sets it.
            pass


def install(server: Any) -> None:
    """Let a server make such queues. Does nothing if it already does, or if
    its queues are not those that are known here.

    :param server: a Socket.IO server. Its own table is replaced; the table of
                   python-engineio, which other servers share, is not changed.
    """
    table = getattr(server.eio, TABLE, None)
    if not isinstance(table, dict):
        return
    made: Any = table.get(ENTRY)
    if getattr(server.eio, 'async_mode', None) == 'gevent':
        if isinstance(made, Queues):
            return
        made = Queues()
    elif getattr(made, '__module__', None) == 'eventlet.queue':
        made = partial(EventletQueue, table[EMPTY])
    elif made is queue.Queue:
        # With threads, also those that gevent has patched.
        made = SendQueue
    setattr(server.eio, TABLE, {**table, ENTRY: made})
