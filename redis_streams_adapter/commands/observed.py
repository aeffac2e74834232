"""The servers that can be seen in the stream, without asking them.

Every server that others wait for writes signs of life there: those in Python,
and those in Node.js with the adapter 0.2. With 0.3 they write none.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import DecodeError
from ..protocol.codec import open_envelope
from ..protocol.messages import EMITTER_UID, MessageType, SIGNS_OF_LIFE
from ..protocol.position import Position
from ..protocol.transport import Entry
from .history import Latest
from .reading import Redis

#: How far back the stream is read: so many seconds, and so many entries.
WINDOW, MOST = 120.0, 20_000


class Seen:
    """A server.

    :param uid: its uid.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        #: The time of its last entry, by the clock of Redis.
        self.last = 0.0
        #: The longest time without an entry of it, in seconds.
        self.gap = 0.0
        #: Whether it writes signs of life.
        self.lives = False
        #: Whether it said goodbye.
        self.closed = False
        #: Whether it runs this package.
        self.is_python = False
        #: The namespaces in which it has written. A server in Node.js has
        #: another uid in each.
        self.namespaces: set[str] = set()

    def add(self, at: float, kind: MessageType, is_python: bool,
            namespace: str) -> None:
        """Note an entry of it. They come in the order of the stream."""
        if self.last and not self.closed:
            self.gap = max(self.gap, at - self.last)
        self.last = at
        self.closed = kind is MessageType.ADAPTER_CLOSE
        self.lives |= kind in SIGNS_OF_LIFE
        self.is_python |= is_python
        self.namespaces.add(namespace)

    def serves(self, namespace: str) -> bool:
        """Whether it counts as a server of a namespace."""
        return self.is_python or namespace in self.namespaces


class Signs(NamedTuple):
    """What an entry says of its server.

    :param at: when it was written, by the clock of Redis.
    """

    at: float
    uid: str
    kind: MessageType
    is_python: bool
    namespace: str


def servers_in(redis: Redis, stream: str, now: float) -> list[Seen]:
    """The servers that have written one of the last entries of a stream.

    :param now: the time of Redis.
    :raises Unavailable: Redis cannot be reached, or does not permit it.
    """
    begin = Position(max(0, int((now - WINDOW) * 1000)))
    # Only what is needed of each: an entry may have some megabytes.
    signs = [found for entry in Latest(redis, stream, begin, MOST)
             for found in _signs_of(entry)]
    seen: dict[str, Seen] = {}
    for each in reversed(signs):
        seen.setdefault(each.uid, Seen(each.uid)).add(
            each.at, each.kind, each.is_python, each.namespace)
    return list(seen.values())


def _signs_of(entry: Entry) -> Iterator[Signs]:
    """What an entry says, if it is one of a server."""
    try:
        envelope = open_envelope(entry.fields)
    except DecodeError:
        return
    if envelope.uid != EMITTER_UID:
        yield Signs(entry.id.milliseconds / 1000, envelope.uid, envelope.type,
                    envelope.writer is not None
                    or b'presence' in (envelope.extra or {}),
                    envelope.namespace)
