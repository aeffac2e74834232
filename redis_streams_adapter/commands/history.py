"""Reads entries of a stream, in pages of so many bytes.

An entry may have megabytes, see :mod:`redis_streams_adapter.stream.pages`.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..protocol.position import HIGHEST, Position
from ..protocol.transport import Ends, Entry, size_of
from ..stream.pages import Pages
from ..stream.scripts import ENDS, ends_of, read_in_parts
from .reading import pairs, Redis, Refused

#: How many entries are read at once, at most.
PAGE = 200

#: How many bytes of the latest entries are read, at most: more would take a
#: busy Redis too long.
MOST_BYTES = 16 * 2**20

#: The last position of all.
LAST = Position(HIGHEST, HIGHEST)


class History:
    """The entries of one stream after a position, or up to one.

    :param begin: where the latest entries begin to be of interest; ``None``:
                  entries are read forwards.
    """

    def __init__(self, redis: Redis, stream: str,
                 begin: Position | None = None) -> None:
        self._redis = redis
        self._stream = stream
        self._key = stream.encode()
        self._begin = begin
        self.pages = Pages(PAGE, backwards=begin is not None)
        #: How many bytes the last page had.
        self.page_bytes = 0

    def page(self, after: Position) -> list[Entry]:
        """The next page.

        :raises Unavailable: nothing was read.
        """
        return self.pages.read(self, after)

    def read(self, after: Position, count: int,
             block: float | None) -> list[Entry]:
        """A source of pages, as the next method."""
        if self._begin is None:
            found = self._redis.ask(
                self._stream, b'XREAD', b'COUNT', b'%d' % count, b'STREAMS',
                self._key, bytes(after))
            entries = found[0][1] if found else ()
        else:
            entries = self._redis.ask(
                self._stream, b'XREVRANGE', self._key, bytes(after),
                bytes(self._begin), b'COUNT', b'%d' % count)
        page = [Entry(Position.parse(entry_id), fields or [])
                for entry_id, fields in entries]
        self.page_bytes = size_of(page)
        return page

    def read_in_parts(self, after: Position) -> list[Entry] | None:
        """See :func:`~redis_streams_adapter.stream.scripts.read_in_parts`."""
        command = (b'XREAD', bytes(after)) if self._begin is None else (
            b'XREVRANGE', bytes(after), bytes(self._begin))
        page = read_in_parts(self._run, *command)
        self.page_bytes = size_of(page or ())
        return page

    def _run(self, script: bytes, *arguments: bytes) -> Any:
        return run_script(self._redis, self._stream, script, *arguments)


class Latest:
    """The latest entries of a stream, the last one first. To be iterated once.

    They end when there are :data:`MOST_BYTES`.

    :param begin: no entry before this position.
    :param most: no more entries than this.
    """

    def __init__(self, redis: Redis, stream: str, begin: Position,
                 most: int) -> None:
        self._history = History(redis, stream, begin)
        self._most = most
        #: Whether these were all since the position.
        self.is_all = False

    def __iter__(self) -> Iterator[Entry]:
        """Read them.

        :raises Unavailable: Redis cannot be reached, or does not permit it.
        """
        history, upto, size, most = self._history, LAST, 0, self._most
        while most > 0 and size < MOST_BYTES:
            page = history.page(upto)
            size += history.page_bytes
            yield from page[:most]
            most -= len(page)
            if not history.pages.full:
                self.is_all = most >= 0
                return
            upto = page[-1].id.before()


def ends(redis: Redis, stream: str) -> Ends:
    """Where a stream begins and ends.

    :raises Unavailable: Redis cannot be reached, or does not permit it.
    """
    found = run_script(redis, stream, ENDS)
    if found is not None:
        return ends_of(found)
    key = stream.encode()
    try:
        info = pairs(redis.ask(stream, b'XINFO', b'STREAM', key))
    except Refused as exc:
        if 'no such key' in str(exc):
            return ends_of(())
        raise
    first = info[b'first-entry']
    return ends_of((first and first[0], info[b'last-generated-id'],
                    info.get(b'entries-added'), info[b'length']))


def run_script(redis: Redis, stream: str, script: bytes,
               *arguments: bytes) -> Any:
    """The reply of a script; ``None``: the server permits none.

    :raises Unavailable: Redis cannot be reached.
    """
    try:
        return redis.ask(stream, b'EVAL', script, b'1', stream.encode(),
                         *arguments)
    except Refused:
        return None
