"""A reader of the fake stream that is driven by a test."""
import logging
from typing import Callable, List, Optional

from redis_streams_adapter.stream.reader import Reader
from redis_streams_adapter.protocol.transport import Entry, Unavailable

from .conftest import Log
from .driving import drive
from redis_streams_adapter.testing.stream import FakeStream

#: Seconds: short, because tests also read at the end of the stream.
BLOCK = 0.001

#: The maximum length of the stream.
MAX_LEN = 1000

#: A time that is never reached. No client connects before it, so a reader
#: starts at the end of the stream.
NEVER = 1e9


class Clock:
    """Replaces the module ``time``: the clock of the process."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


class Readings:
    """A reader, and the entries that it has read."""

    def __init__(self, stream: FakeStream, count: int = 3,
                 block: float = BLOCK,
                 handle: Optional[Callable[[Entry], None]] = None) -> None:
        self.stream = stream
        self.since = NEVER
        self.numbers: List[int] = []
        self.began = Log()
        self.resumed = Log()
        self.lost = Log()
        self.doubtful = Log()
        self.lagging = Log()
        self.paused = Log()
        self.switched = Log()
        self.page_done = Log()
        self._handle = handle
        self.reader = Reader(
            stream.link, self._take, lambda: self.since, self.began,
            self.resumed, self.page_done,
            lambda *loss: self.lost(*filter(None, loss)), self.lagging,
            lambda: logging.getLogger('tests.unit'), pause=self.paused,
            switch=self.switched,
            max_len=MAX_LEN, count=count, block=block,
            doubtful=self.doubtful)

    def _take(self, entry: Entry) -> None:
        self.numbers.append(int(entry.fields[0]))
        if self._handle is not None:
            self._handle(entry)

    def until(self, count: int) -> List[Unavailable]:
        """Read until this number of entries has arrived.

        :return: the errors until then.
        """
        return drive(self.reader.work, lambda: len(self.numbers) >= count)

    def idle(self) -> List[Unavailable]:
        """Read until no more entries arrive."""
        reads: List[int] = []

        def done() -> bool:
            reads.append(len(self.numbers))
            # The read after a small page that was full does not wait, and is
            # followed by one that does, before the reader looks at the stream.
            return len(reads) > 2 and reads[-1] == reads[-3]

        return drive(self.reader.work, done)


def put(stream: FakeStream, *numbers: int) -> List[bytes]:
    return [stream.put(b'%d' % number) for number in numbers]
