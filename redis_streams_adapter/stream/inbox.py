"""The inbox of this server: a stream of its own, into which other servers
write their answers to its requests.

The stream of events is trimmed by number, so answers in it would push events
out. An inbox holds an answer only until its server has read it. The key
expires :data:`LIFETIME` after its last use, so that nothing is left of a
server that has died.

*Reading.* Each read begins at the start of the stream, and each entry that was
read is deleted. So nothing is missed if the ids of the stream are set back, in
a failover say. What is read twice, because it could not be deleted or because
its server has sent it twice, is dropped: each entry has the id of its writer
and a number that grows, see :mod:`redis_streams_adapter.stream.inbox_writer`.

*Rights.* If the user may not use the key or a command, the inbox stays closed,
and answers come in the stream.
"""
import logging
import time
from typing import Callable, Dict, Optional

from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..log_events import INBOX_ALLOWED, INBOX_REFUSED
from ..protocol.position import START
from ..protocol.transport import Entry, Link
from .connection import Refused

#: After how many seconds without use an inbox expires. Longer than an outage
#: that a call survives.
LIFETIME = 120.0

#: How many answers are read at once, at most. Each is bounded, see
#: :mod:`redis_streams_adapter.cluster.pages`.
COUNT = 25

#: Part of the error if the user has not the right to use an inbox.
NO_RIGHT = 'permission'

#: After how many seconds without the right to check for it again.
TRY_AGAIN = 300.0

#: How long to pause, in seconds, after a read that has found nothing and has
#: not waited; each time twice as long.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.25

#: The largest number of writers whose last number is remembered.
MAX_WRITERS = 10_000


class Inbox:
    """Reads the answers, on a task of its own.

    :param make_link: makes a link to the inbox that waits in a read.
    :param take: called with each answer, once, on the task.
    :param block: the longest time to wait in a read, in seconds.
    """

    def __init__(self, make_link: Callable[[], Link], engine: Engine,
                 logger: Callable[[], logging.Logger],
                 take: Callable[[Entry], None], block: float) -> None:
        self._make_link = make_link
        self._engine = engine
        self._logger = logger
        self._take = take
        self._block = block
        #: The present link. Written by the task; read by those that interrupt
        #: it.
        self._link: Optional[Link] = None
        #: Whether answers that are sent now will be read soon. Written by the
        #: task.
        self.is_open = False
        #: Set by the task when that is known for the first time.
        self._known = engine.event()
        #: The highest number of each writer, the last used writer last. Used
        #: by the task. If the process dies, so do the callers of its requests.
        self._numbers: Dict[bytes, int] = {}
        #: How many answers to read next. Used by the task.
        self._count = COUNT
        #: Whether the last thing that was logged is that the right is missing.
        #: Used by the task.
        self._warned = False

    def await_open(self, patience: float) -> bool:
        """Wait until it is known whether the inbox is open.

        :param patience: how many seconds to wait, at most.
        :return: whether it is open.
        """
        if patience > 0 and not self._known.is_set():
            self._known.wait(patience)
        return self.is_open

    def interrupt(self) -> None:
        """End the wait of the task."""
        link = self._link
        if link is not None:
            link.interrupt()

    def abandon(self) -> None:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.abandon`.\
"""
        self.is_open = False
        if self._link is not None:
            self._link.abandon()

    # -- the task ---------------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the task: connect, and read until the connection
        breaks."""
        link = self._link = self._make_link()
        try:
            link.connect()
            # All that is needed, before answers may depend on it.
            link.discard((), LIFETIME)
            self._read(link, None)
            self.is_open = True
            self._known.set()
            task.works()
            if self._warned:
                self._warned = False
                self._logger().info('this user may use an inbox again',
                                    extra=INBOX_ALLOWED())
            pause = FIRST_PAUSE
            while not task.stopping:
                begun = time.monotonic()
                if self._read(link, self._block):
                    self._engine.pause()
                    pause = FIRST_PAUSE
                elif time.monotonic() - begun < self._block / 2:
                    # A server, or a proxy before it, that does not wait for
                    # entries: the reader of the stream says so in the log.
                    task.rest(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except Refused as exc:
            if NO_RIGHT not in str(exc):
                raise
            self._close()
            if not self._warned:
                self._warned = True
                self._logger().warning(
                    'this user may not use an inbox, so answers to requests '
                    'go into the stream of events, and shorten its history '
                    '(%s)', exc, extra=INBOX_REFUSED(reason=str(exc)))
            link.close()
            task.rest(TRY_AGAIN)
        finally:
            self._close()
            self._link = None
            link.close()

    def _close(self) -> None:
        self.is_open = False
        self._known.set()

    def _read(self, link: Link, block: Optional[float]) -> bool:
        """Take in what is there.

        :return: whether there was anything.
        """
        # If they are too large together, the connection breaks.
        count, self._count = self._count, 1
        page = link.read(START, count, block)
        self._count = min(2 * count, COUNT)
        for entry in page:
            if self._is_new(entry):
                self._take(entry)
        if page:
            link.discard([entry.id for entry in page], LIFETIME)
        return bool(page)

    def _is_new(self, entry: Entry) -> bool:
        """Note the number of an answer.

        :return: whether it was not read before.
        """
        fields = dict(zip(entry.fields[::2], entry.fields[1::2]))
        writer, number = fields.get(b'wid'), fields.get(b'seq', b'')
        if writer is None or not number.isdigit() or len(number) > 19:
            return True
        highest = self._numbers.pop(writer, 0)
        if len(self._numbers) >= MAX_WRITERS:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[writer] = max(highest, int(number))
        return int(number) > highest
