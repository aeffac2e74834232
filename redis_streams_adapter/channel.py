"""One stream, as a process uses it."""
from dataclasses import dataclass

from .redis_streams.reader import Reader
from .redis_streams.writer import Writer
from .sequences import Sequences


@dataclass(eq=False)
class Channel:
    """The two tasks of one stream, and what they know of it.

    :param key: the key of the stream.
    :param writer: what sends.
    :param reader: what reads; it may never be started.
    :param sequences: what was seen of the stream; the reader's task's own.
    """

    key: str
    writer: Writer
    reader: Reader
    sequences: Sequences
    #: Whether the writer's task was started. Under the runtime's start lock.
    sending: bool = False
    #: Whether the reader has its first position, so that an answer to what
    #: this node says is not missed. Written by the reader's task, once.
    positioned: bool = False
