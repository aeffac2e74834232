"""How many entries are read at once.

Redis bounds a read by the number of entries, not by their size, and an entry
may have a few bytes or some megabytes. A reply that is too large may exceed
the ``client-output-buffer-limit`` or ``maxmemory-clients`` of the server: it
closes the connection, and would do so again at the next attempt. So each read
asks for as many entries as fit into :data:`BYTES`, given what the last ones
had:

- the first read asks for one entry (that of a reader that joins, for as many
  as usual), and each one after a page that was full for at most
  :data:`GROWTH` times as many as the last one;
- after a connection that broke during a read, one entry is asked for. Then
  more again, up to half of the bytes and an eighth of the entries that were
  asked for when it broke. These bounds grow again with time. A search may
  begin again at an earlier position, with small entries: they do not lift a
  bound before the position at which the connection broke;
- an entry whose connection broke although it was asked for alone may be too
  large for the server. It is read in parts, and so are the entries after it,
  until none was that large for :data:`CAREFUL` seconds. A part of an entry
  takes a script. If the server permits none, the error says so, at each
  attempt, until the entry is trimmed.

Everything that reads pages of a stream does so with this class.
"""
import time
from typing import List, Optional, Protocol

from ..protocol.position import Position
from ..protocol.transport import Entry, Unavailable

#: How many bytes one read asks for, if it asks for more than one entry: 80 ms
#: on a network of 100 Mbit/s. A hundred entries of usual sizes have less.
BYTES = 1 << 20

#: How far that is reduced after broken connections, in bytes: a server keeps
#: that much for each connection anyway.
FEWEST_BYTES = 1 << 14

#: After how many seconds without a break it is doubled.
REGROW = 30.0

#: How many times as many the next read asks for, after a full page.
GROWTH = 8

#: How long entries are read in parts after one that was too large, and few at
#: once after two breaks, in seconds. Meanwhile the server is asked for new
#: entries now and then.
CAREFUL = 10.0

#: How long a break counts at the latest, in seconds, if the position at which
#: it happened is not read again.
FORGET = 60.0

#: An entry of more bytes may have been too large.
LARGE = 1 << 17

#: After how many breaks in a row over one entry the error says that it may be
#: too large.
BREAKS = 3


class Source(Protocol):
    """What pages are read from: a
    :class:`~redis_streams_adapter.protocol.transport.Link`, say."""

    #: How many bytes the last page had, about.
    page_bytes: int

    def read(self, after: Position, count: int,
             block: Optional[float]) -> List[Entry]:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.read`."""

    def read_in_parts(self, after: Position) -> Optional[List[Entry]]:
        """See :meth:`~redis_streams_adapter.protocol.transport.Link.\
read_in_parts`."""


class Pages:
    """Reads pages of one stream, over one connection after another.

    One task uses it. If an exception strikes between two lines, a page may be
    smaller or larger than it should be.

    :param most: how many entries a page has at most.
    :param first: how many the first one has at most: their size is unknown.
    :param backwards: the latest entries come first.
    """

    def __init__(self, most: int, first: int = 1,
                 backwards: bool = False) -> None:
        self._most = most
        self._backwards = backwards
        #: How many entries a page may have after a break.
        self._fewer = most
        #: The farthest position at which a read has broken that has not been
        #: passed since; the time of the last break; and until when a page may
        #: have fewer entries although it was passed.
        self._broke_at: Optional[Position] = None
        self._broken, self._wary_until = -FORGET, 0.0
        #: How many entries the next read asks for.
        self.count = min(first, most)
        #: Whether the last page was full: there may be more entries.
        self.full = False
        #: How many bytes a page is to have, and when that was last changed.
        self._bound, self._changed = BYTES, 0.0
        #: How many bytes an entry had of late.
        self._each = 1
        #: How many reads of a single entry have broken in a row.
        self._breaks = 0
        #: Until when entries are read in parts.
        self._careful_until = 0.0

    def again(self) -> 'Pages':
        """Pages of another part of the stream. Nothing is known of its
        entries, so the first read asks for one. What the server permits is
        known."""
        pages = Pages(self._most, backwards=self._backwards)
        pages._fewer, pages._broke_at = self._fewer, self._broke_at
        pages._broken, pages._wary_until = self._broken, self._wary_until
        pages._bound, pages._changed = self._bound, self._changed
        pages._breaks, pages._careful_until = \
            self._breaks, self._careful_until
        return pages

    @property
    def careful(self) -> bool:
        """Whether entries are read in parts, which does not wait for one."""
        return self._breaks > 0 and time.monotonic() < self._careful_until

    def read(self, source: Source, after: Position,
             block: Optional[float] = None) -> List[Entry]:
        """Read the next page.

        :param after: the position of the last entry before it.
        :param block: how many seconds to wait for an entry; ``None``: do not
                      wait.
        :raises Unavailable: nothing was consumed.
        """
        if self._breaks:
            page = self._read_in_parts(source, after)
            if page or self.careful:
                return page
        count = self.count
        try:
            page = source.read(after, count, block)
        except Unavailable as exc:
            self._broke(after)
            if self._breaks > BREAKS:
                raise Unavailable(
                    f'{exc}; this happens each time the entry after {after} '
                    f'is read. It may be larger than the server sends at '
                    f'once: raise client-output-buffer-limit or '
                    f'maxmemory-clients, or permit EVAL') from exc
            raise
        self.full = len(page) == count
        if self._broke_at is not None:
            self._passed(after)
        size = source.page_bytes
        if size > self._bound or self.full and count < self._most:
            self._adapt(len(page), size)
        return page

    def at_most(self, entries: int) -> None:
        """Ask for no more than this with the next read, but for one."""
        self.count = max(1, min(self.count, entries))

    def _read_in_parts(self, source: Source, after: Position) -> List[Entry]:
        """Read an entry that may be too large; none if there is none, or if
        that is not permitted."""
        page = source.read_in_parts(after)
        if page is None:
            # Nothing but the usual way is left.
            self._careful_until = 0.0
            return []
        self.full = bool(page)
        if page:
            now, self._each = time.monotonic(), max(1, source.page_bytes)
            if self._each > LARGE:
                self._careful_until = now + CAREFUL
            elif now > self._careful_until:
                # If this was the entry, it was not the size.
                self._passed(after)
        return page

    def _passed(self, after: Position) -> None:
        """A page has been read: forget about breaks if it was the one."""
        at = self._broke_at
        if at is None or self.full and (
                after > at if self._backwards else after < at) \
                and time.monotonic() - self._broken < FORGET:
            return
        self._broke_at = None
        self._breaks = 0

    def _adapt(self, entries: int, size: int) -> None:
        """Find out how many entries to ask for next."""
        if entries:
            # Few small ones do not mean that all are small now.
            self._each = max(size // entries, self._each // 2, 1)
        if self._bound < BYTES \
                and time.monotonic() - self._changed > REGROW:
            self._set_bound(min(BYTES, self._bound * 2))
        if self._fewer < self._most and self._broke_at is None \
                and time.monotonic() > self._wary_until:
            self._fewer = self._most
        count = self.count * GROWTH if self.full else self.count
        self.count = max(1, min(
            self._fewer, count, self._bound // self._each))

    def _broke(self, after: Position) -> None:
        size = self.count * self._each
        if size > FEWEST_BYTES:
            self._set_bound(max(FEWEST_BYTES, min(self._bound, size) // 2))
        self._breaks = self._breaks + 1 if self.count == 1 else 0
        self._fewer = max(1, min(self._fewer, self.count // GROWTH))
        self.count = 1
        farthest = self._broke_at
        if farthest is None or (
                after < farthest if self._backwards else after > farthest):
            self._broke_at = after
        now = time.monotonic()
        if now - self._broken < CAREFUL:
            # One break alone may have any reason.
            self._wary_until = now + CAREFUL
        self._broken = now

    def _set_bound(self, bound: int) -> None:
        self._bound, self._changed = bound, time.monotonic()
