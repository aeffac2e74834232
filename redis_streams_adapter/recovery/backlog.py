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
from typing import Dict, Iterable, List

from ..protocol import codec
from .claims import Claim
from ..errors import DecodeError
from ..protocol.messages import ORDERED
from .replay import is_complete, is_missed, Record, record_of, Replay
from .local_clients import LocalClients
from .session import OFFSET_NOT_FOUND, REDIS_UNAVAILABLE, Refusal
from ..concurrency.engines import Event
from ..protocol.position import Position
from ..protocol.transport import Entry

#: How long a client waits for another one that reads, in seconds. Then it
#: reads, too: the history may be too small for what the other one read.
PATIENCE = 10.0

#: How often one client reads up to the beginning of the history. Each time, it
#: reads only what was forgotten meanwhile.
READS = 10

#: How many entries are read at once.
PAGE = 100

#: How far to look back for the originals of copies, in seconds and in pages. A
#: command that seems lost reaches Redis within seconds, or never.
LOOK_BACK = 10
LOOK_BACK_PAGES = 10


class Backlog:
    """Reads what is older than the history in memory."""

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients
        #: The reads in progress, by namespace: each is set when it is done.
        #: Added under the order lock; the task that added it removes it.
        self._reading: Dict[str, Event] = {}

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
        older: List[Record] = []
        numbers = self._numbers_before(stream, begin)
        while replay.at < floor:
            page, first = self._clients.session_writer.sessions.page(
                stream, replay.at, PAGE)
            if not is_complete(replay.at, first, claim.found.last):
                raise Refusal(OFFSET_NOT_FOUND)
            records = list(_records(page, namespace, floor, numbers))
            replay.feed(records)
            older += records
            if len(page) < PAGE or page[-1].id >= floor:
                replay.at = floor
            else:
                replay.at = page[-1].id
        with runtime.order:
            timeline.history.prepend(namespace, begin, older, floor)

    def _numbers_before(self, stream: str,
                        position: Position) -> Dict[bytes, int]:
        """The highest numbers of the messages just before a position, by
        writer."""
        numbers: Dict[bytes, int] = {}
        oldest = position.milliseconds - LOOK_BACK * 1000
        for _ in range(LOOK_BACK_PAGES):
            page = self._clients.session_writer.sessions.page_before(
                stream, position, PAGE)
            for entry in page:
                try:
                    envelope = codec.open_envelope(entry.fields)
                except DecodeError:
                    continue
                if envelope.writer is not None:
                    numbers[envelope.writer] = max(
                        envelope.sequence, numbers.get(envelope.writer, 0))
            if len(page) < PAGE or page[-1].id.milliseconds < oldest:
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
