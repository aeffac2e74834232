"""Reads from Redis, in pages, what a client missed and the history in memory
does not hold.

One client at a time reads, because most need the same. What it reads goes into
the history for the next clients.

The stream may hold an event twice, if a command that seemed lost did reach
Redis: see :mod:`redis_streams_adapter.protocol.sequences`. A copy is not
replayed. The client may have received the original before, so the entries just
before the client's position are read, too.
"""
import time
from collections import deque
from typing import Deque, Dict, Iterable, List, Optional

from ..protocol import codec
from .claims import Claim
from ..errors import DecodeError
from ..protocol.messages import ORDERED
from .replay import HISTORY_BYTES, is_complete, is_missed, Record, \
    record_of, Replay
from .local_clients import LocalClients
from .session import OFFSET_NOT_FOUND, REDIS_UNAVAILABLE, Refusal
from ..concurrency.engines import Event
from ..protocol.position import Position
from ..protocol.transport import Entry, size_of
from ..stream.pages import Pages
from ..stream.session_store import SessionStore

#: How long a client waits for another one that reads, in seconds. Then it
#: reads, too: the history may be too small for what the other one read.
PATIENCE = 10.0

#: How often one client reads up to the beginning of the history. Each time, it
#: reads only what was forgotten meanwhile.
READS = 10

#: How many entries are read at once, at most.
PAGE = 100

#: How far to look back for the originals of copies, in seconds and in entries.
#: A command that seems lost reaches Redis within seconds, or never.
LOOK_BACK = 10
LOOK_BACK_ENTRIES = 1000


class Forwards:
    """The entries of a stream, oldest first: a
    :class:`~redis_streams_adapter.stream.pages.Source`."""

    def __init__(self, sessions: SessionStore, stream: str) -> None:
        self._sessions = sessions
        self._stream = stream
        self.page_bytes = 0
        #: The position of the first entry of the stream, asked after the last
        #: page.
        self.first: Optional[Position] = None

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        page, self.first = self._sessions.page(self._stream, after, count)
        self.page_bytes = size_of(page)
        return page

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        page = self._sessions.read_in_parts(
            self._stream, b'XRANGE', b'(%d-%d' % after, b'+')
        self.first = self._sessions.first_id(self._stream)
        self.page_bytes = size_of(page or ())
        return page


class Backwards:
    """The entries of a stream up to a position, the latest first."""

    def __init__(self, sessions: SessionStore, stream: str) -> None:
        self._sessions = sessions
        self._stream = stream
        self.page_bytes = 0

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        page = self._sessions.page_before(self._stream, after, count)
        self.page_bytes = size_of(page)
        return page

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        page = self._sessions.read_in_parts(
            self._stream, b'XREVRANGE', bytes(after), b'-')
        self.page_bytes = size_of(page or ())
        return page


class Backlog:
    """Reads what is older than the history in memory."""

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients
        #: The reads in progress, by namespace: each is set when it is done.
        #: Added under the order lock; the task that added it removes it.
        self._reading: Dict[str, Event] = {}
        #: How pages were read last, forwards and backwards. Written by each
        #: task that reads: if two do so at once, the other one may have to
        #: find out again.
        self._forwards = Pages(PAGE)
        self._backwards = Pages(PAGE, backwards=True)

    def read(self, replay: Replay, claim: Claim, namespace: str) -> None:
        """Continue a replay up to the beginning of the history.

        :raises Refusal: the client missed too much, or the stream does not
                         hold it any more.
        :raises Unavailable: Redis is away.
        """
        runtime = self._clients.live()
        timeline = self._clients.timeline(namespace)
        deadline = time.monotonic() + PATIENCE
        reads = 0
        while True:
            done = runtime.engine.event()
            try:
                with runtime.order:
                    floor = timeline.history.floor(namespace)
                    if floor is None:
                        raise Refusal(REDIS_UNAVAILABLE)
                    if replay.at >= floor:
                        return
                    if reads >= READS:
                        # The history forgets faster than this can read.
                        raise Refusal(REDIS_UNAVAILABLE)
                    busy = self._reading.setdefault(namespace, done)
                if busy is done:
                    reads += 1
                    self._read(replay, claim, namespace, floor)
            finally:
                if self._reading.get(namespace) is done:
                    del self._reading[namespace]
                done.set()
            if busy is done:
                continue
            if not busy.wait(max(0.0, deadline - time.monotonic())) \
                    and not busy.is_set():
                reads += 1
                self._read(replay, claim, namespace, floor)

    def _read(self, replay: Replay, claim: Claim, namespace: str,
              floor: Position) -> None:
        runtime = self._clients.live()
        timeline = self._clients.timeline(namespace)
        stream = runtime.stream(namespace)
        begin = replay.at
        older: Deque[Record] = deque()
        size = 0
        numbers = self._numbers_before(stream, begin)
        source = Forwards(self._clients.session_writer.sessions, stream)
        pages = self._forwards = self._forwards.again()
        while replay.at < floor:
            page = pages.read(source, replay.at)
            if not is_complete(replay.at, source.first, claim.found.last):
                raise Refusal(OFFSET_NOT_FOUND)
            for record in _records(page, namespace, floor, numbers):
                replay.feed([record])
                older.append(record)
                size += record.size
            while size > HISTORY_BYTES:
                # The history would not keep it.
                begin = older[0].id
                size -= older.popleft().size
            if not pages.full or page[-1].id >= floor:
                replay.at = floor
            else:
                replay.at = page[-1].id
        with runtime.order:
            timeline.history.prepend(namespace, begin, list(older), floor)

    def _numbers_before(self, stream: str,
                        position: Position) -> Dict[bytes, int]:
        """The highest numbers of the messages just before a position, by
        writer."""
        numbers: Dict[bytes, int] = {}
        oldest = position.milliseconds - LOOK_BACK * 1000
        source = Backwards(self._clients.session_writer.sessions, stream)
        pages = self._backwards = self._backwards.again()
        left = LOOK_BACK_ENTRIES
        while left > 0:
            page = pages.read(source, position)
            left -= len(page)
            for entry in page:
                try:
                    envelope = codec.open_envelope(entry.fields)
                except DecodeError:
                    continue
                if envelope.writer is not None:
                    numbers[envelope.writer] = max(
                        envelope.sequence, numbers.get(envelope.writer, 0))
            if not pages.full or page[-1].id.milliseconds < oldest:
                break
            position = page[-1].id.before()
        return numbers


def _records(page: Iterable[Entry], namespace: str, floor: Position,
             numbers: Dict[bytes, int]) -> Iterable[Record]:
    """What clients of a namespace may have missed of some entries.

    :param floor: the last entry that is needed.
    :param numbers: the highest number that was seen, by writer.
    """
    for entry in page:
        if entry.id > floor:
            return
        try:
            envelope = codec.open_envelope(entry.fields)
            if envelope.namespace != namespace \
                    or envelope.type not in ORDERED:
                continue
            if envelope.writer is not None:
                if envelope.sequence <= numbers.get(envelope.writer, 0):
                    continue
                numbers[envelope.writer] = envelope.sequence
            message = codec.decode(envelope)
        except DecodeError:
            # It was logged when it was first read.
            continue
        if is_missed(message):
            yield record_of(entry, message)
