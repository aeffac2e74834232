"""One stream, as a process uses it."""
from dataclasses import dataclass
from typing import Optional, Tuple

from ..protocol.discovery import Knowledge, Span
from ..stream.reader import Reader
from ..stream.writer import Writer
from ..protocol.sequences import Sequences
from ..protocol.sender import Signature
from ..protocol.position import Position
from .delivery import Delivery


@dataclass(eq=False)
class Channel:
    """The two tasks of one stream, and what they know about it.

    :param key: the key of the stream.
    :param writer: sends to it.
    :param reader: reads it; may never be started.
    :param sequences: the numbers that were seen in it; used by the reader's
                      task only.
    :param knowledge: what is known of its members; under the core lock.
    :param signature: the uid under which this process writes to it.
    :param delivery: how its events reach the local clients.
    """

    key: str
    writer: Writer
    reader: Reader
    sequences: Sequences
    knowledge: Knowledge
    signature: Signature
    delivery: Delivery
    #: Whether the writer's task is known to run. Under the runtime's start
    #: lock.
    sending: bool = False
    #: What was read of the history before the first position, and when.
    #: Written by the reader's task; taken, under the core lock, by the first
    #: task that serves namespaces when the stream is followed.
    history: Optional[Tuple[Position, Span, float]] = None
    #: Whether the reader has its first position, so that it does not miss an
    #: answer to what this node writes. Written by the reader's task, once.
    positioned: bool = False

    def succeed(self, former: 'Channel') -> None:
        """Take over from a closed runtime of this process: its clients do
        not receive again what they had received. To be called before the
        tasks are started."""
        self.reader.skip_to = former.reader.cursor
        self.sequences.former = \
            former.sequences.former | {former.sequences.own}
