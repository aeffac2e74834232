"""The servers that can be seen in the stream, without asking them.

Every server that others wait for writes signs of life there: those in Python,
and those in Node.js with the adapter 0.2. With 0.3 they write none.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import DecodeError
from ..protocol.codec import open_envelope
from ..protocol.messages import EMITTER_UID, MessageType, SIGNS_OF_LIFE
from ..protocol.position import Position
from .reading import Redis

#: How far back the stream is read: so many seconds, and so many entries.
WINDOW, MOST = 120.0, 20_000

#: How many entries are read at once.
PAGE = 500


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


def servers_in(entries: Iterable[Any]) -> list[Seen]:
    """The servers that have written entries.

    :param entries: ids and fields, in the order of the stream.
    """
    seen: dict[str, Seen] = {}
    for entry_id, fields in entries:
        try:
            at = Position.parse(entry_id).milliseconds / 1000
            envelope = open_envelope(fields)
        except DecodeError:
            continue
        if envelope.uid == EMITTER_UID:
            continue
        seen.setdefault(envelope.uid, Seen(envelope.uid)).add(
            at, envelope.type, envelope.writer is not None
            or b'presence' in (envelope.extra or {}), envelope.namespace)
    return list(seen.values())


def recent_entries(redis: Redis, stream: str, now: float) -> list[Any]:
    """The last entries of a stream, the oldest first.

    :param now: the time of Redis.
    :raises Unavailable: Redis cannot be reached, or does not permit it.
    """
    begin = bytes(Position(max(0, int((now - WINDOW) * 1000))))
    found: list[Any] = []
    upto = b'+'
    while len(found) < MOST:
        page: Sequence[Any] = redis.ask(
            stream, b'XREVRANGE', stream.encode(), upto, begin, b'COUNT',
            b'%d' % PAGE)
        found += page
        if len(page) < PAGE:
            break
        upto = bytes(Position.parse(page[-1][0]).before())
    return found[::-1]
