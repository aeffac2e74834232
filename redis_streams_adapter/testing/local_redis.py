"""A Redis in memory, as far as managers use it: streams, PUB/SUB, sessions.

Streams are reached through links, see :mod:`.stream`; all else arrives as
commands on connections, see :mod:`.pubsub`. There is one server, no replica
and no cluster. All that it has is lost with the object.
"""
import time
from typing import Any, Dict, List, Tuple

from ..protocol.routing import is_inbox
from ..protocol.transport import Link
from ..stream.driver import Driver, SOCKET_TIMEOUT
from ..stream.scripts import NEXT, RANGE
from ..stream.session_store import ABSENT, CHANGED, DONE, SWAP
from .pubsub import error_reply, FakePubSub
from .stream import FakeStream

#: Redis trims in pieces of this many entries (``stream-node-max-entries``), so
#: it may keep this many more than ``max_len``.
PIECE = 100


class LocalRedis(FakePubSub):
    """One Redis in the memory of this process."""

    def __init__(self) -> None:
        super().__init__()
        #: The streams by their keys. Protected by ``changed``.
        self._streams: Dict[str, FakeStream] = {}
        #: The sessions by their keys, and when each expires, in seconds of
        #: the monotonic clock. Protected by ``changed``.
        self._sessions: Dict[bytes, Tuple[bytes, float]] = {}
        self.handlers = {
            b'GET': self._get, b'SET': self._set, b'PEXPIRE': self._pexpire,
            b'EVAL': self._eval, b'XRANGE': self._xrange,
            b'XREVRANGE': self._xrevrange, b'XADD': self._xadd}

    def driver(self, cluster: bool = False,
               socket_timeout: float = SOCKET_TIMEOUT) -> Driver:
        """How to connect to it: the ``url`` of a manager."""
        return super().driver(cluster, socket_timeout)._replace(
            link=self._link)

    def stream(self, key: str) -> FakeStream:
        """The stream of a key; made when it is first asked for."""
        with self.changed:
            stream = self._streams.get(key)
            if stream is None:
                stream = self._streams[key] = FakeStream()
                stream.clock = int(time.time() * 1000)
                if self.away:
                    stream.go_away()
            return stream

    @property
    def streams(self) -> List[FakeStream]:
        """All streams that are logs."""
        with self.changed:
            return [stream for key, stream in self._streams.items()
                    if not is_inbox(key)]

    @property
    def inboxes(self) -> List[FakeStream]:
        """All streams that are inboxes for answers to requests."""
        with self.changed:
            return [stream for key, stream in self._streams.items()
                    if is_inbox(key)]

    def go_away(self) -> None:
        """End all connections, and refuse new ones. The data is kept."""
        with self.changed:
            self.away = True
            for stream in self._streams.values():
                stream.go_away()
            self.break_all()

    def come_back(self) -> None:
        """Accept connections again."""
        with self.changed:
            self.away = False
            for stream in self._streams.values():
                stream.come_back()

    def _link(self, key: str, max_len: int) -> Link:
        return self.stream(key).link(max_len + PIECE)

    # -- commands, with the lock held -------------------------------------

    def _value(self, key: bytes) -> bytes:
        """A session; empty if there is none."""
        value, expiry = self._sessions.get(key, (b'', 0.0))
        if value and expiry <= time.monotonic():
            del self._sessions[key]
            value = b''
        return value

    def _store(self, key: bytes, value: bytes, milliseconds: bytes) -> None:
        self._sessions[key] = (
            value, time.monotonic() + int(milliseconds) / 1000)

    def _get(self, key: bytes) -> Any:
        return self._value(key) or None

    def _set(self, key: bytes, value: bytes, unit: bytes,
             milliseconds: bytes) -> Any:
        self._store(key, value, milliseconds)
        return b'OK'

    def _pexpire(self, key: bytes, milliseconds: bytes) -> Any:
        if key.decode() in self._streams:
            return int(self.stream(key.decode()).expire(
                int(milliseconds) / 1000))
        value = self._value(key)
        if value:
            self._store(key, value, milliseconds)
        return int(bool(value))

    def _eval(self, script: bytes, count: bytes, key: bytes,
              *arguments: bytes) -> Any:
        if script == SWAP:
            return self._swap(key, *arguments)
        entries = self._xrange(key, b'-', b'+')
        if script == RANGE:
            there = arguments and self._xrange(key, *arguments * 2)
            return [found[0][0] if found else None for found in (
                entries, entries[-1:], there)]
        if script == NEXT:
            return [found[0] for found in self._xrange(
                key, b'(' + arguments[0], b'+')[:1]]
        return error_reply('unknown script')

    def _swap(self, key: bytes, new: bytes, milliseconds: bytes,
              *expected: bytes) -> Any:
        now = self._value(key)
        if now not in expected:
            return CHANGED if now else ABSENT
        if new:
            self._store(key, new, milliseconds)
        else:
            self._sessions.pop(key, None)
        return DONE

    def _xadd(self, key: bytes, position: bytes, *fields: bytes) -> Any:
        stream = self.stream(key.decode())
        stream.expire()
        return bytes(stream.put(*fields))

    def _xrange(self, key: bytes, start: bytes, end: bytes,
                *count: bytes) -> Any:
        page = self.stream(key.decode()).range(start, end)
        return page[:int(count[1])] if count else page

    def _xrevrange(self, key: bytes, end: bytes, start: bytes,
                   *count: bytes) -> Any:
        page = self.stream(key.decode()).range(start, end)[::-1]
        return page[:int(count[1])] if count else page
