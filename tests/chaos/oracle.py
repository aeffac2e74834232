"""What each client was due, according to the stream, and how what it received
differs.

It uses nothing of the package: entries are read with plain redis-py and
decoded by a few lines here. Their format is that of the npm package
``@socket.io/redis-streams-adapter`` 0.2.3 (``dist/adapter.js``): a BROADCAST
has the type 3, its data are JSON or, in base64, msgpack, and ``opts`` names
the rooms that get it and those that do not.
"""
import base64
import json
import threading
import time
from collections import Counter
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, \
    Mapping, NamedTuple, Optional, Sequence, Tuple

import msgpack
import redis

from ..support.js_client import Connect
from ..support.wait import wait_until

#: The type of a message to clients.
BROADCAST = b'3'

#: The largest number of entries that one read returns.
PAGE = 1000

#: Seconds to wait after a read that returned nothing.
PAUSE = 0.1

#: How many differences of each kind are shown for a client.
EXAMPLES = 5


class Message(NamedTuple):
    """A numbered message, as it is in the stream, or as a client received it.

    :param offset: the id of its entry.
    """

    event: str
    number: int
    offset: str

    def __str__(self) -> str:
        return f'{self.event} {self.number} at {self.offset}'


class Entry(NamedTuple):
    """A numbered message in the stream, and its target."""

    message: Message
    namespace: str
    rooms: FrozenSet[str]
    excluded: FrozenSet[str]


class Member(NamedTuple):
    """A client in one namespace.

    :param rooms: all its rooms, its own one included.
    """

    name: str
    namespace: str
    sid: str
    rooms: FrozenSet[str]

    def is_due(self, entry: Entry) -> bool:
        """Whether the client has to receive this entry."""
        return (self.namespace == entry.namespace
                and (not entry.rooms or bool(self.rooms & entry.rooms))
                and not self.rooms & entry.excluded)


def decode(offset: bytes, fields: Mapping[bytes, bytes],
           prefix: str) -> Optional[Entry]:
    """Decode an entry of a numbered event.

    :param prefix: of the names of these events.
    :return: ``None`` for any other entry.
    """
    if fields.get(b'type') != BROADCAST:
        return None
    data = fields[b'data']
    content = json.loads(data) if data.startswith(b'{') \
        else msgpack.unpackb(base64.b64decode(data))
    event, *args = content['packet']['data']
    if not event.startswith(prefix):
        return None
    return Entry(Message(event, args[0], offset.decode()),
                 fields[b'nsp'].decode(), frozenset(content['opts']['rooms']),
                 frozenset(content['opts']['except']))


class Follower:
    """Reads a stream from its beginning, in a separate thread, before any of
    it is trimmed.

    :param connection: to Redis itself, not through a proxy.
    :param prefix: of the names of numbered events.
    """

    def __init__(self, connection: redis.Redis, stream: str,
                 prefix: str) -> None:
        self._connection = connection
        self._stream = stream
        self._prefix = prefix
        self._position = b'0-0'
        self._running = True
        #: The error that has stopped it early.
        self._error: Optional[Exception] = None
        # Appended to by the thread, which is atomic in CPython.
        self._entries: List[Entry] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def entries(self, count: int, timeout: float) -> List[Entry]:
        """Stop, once all entries are read.

        :param count: the least number of entries that are expected.
        :return: the entries in the order of the stream.
        """
        last = self._connection.xinfo_stream(
            self._stream)['last-generated-id']
        wait_until(lambda: self._error is not None or _order(
            self._position) >= _order(last), timeout, 'the follower')
        self._running = False
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        found = list(self._entries)
        assert len(found) >= count, (
            f'{len(found)} messages in the stream, not {count}')
        return found

    def _follow(self) -> None:
        while self._running:
            try:
                # Not XREAD: the form of its reply differs between versions
                # of redis-py.
                page: Any = self._connection.xrange(
                    self._stream, b'(' + self._position, count=PAGE)
            except (redis.ConnectionError, redis.TimeoutError):
                # Redis may be frozen, but is not killed: nothing is missed.
                page = []
            for offset, fields in page:
                self._add(offset, fields)
            if not page:
                # It polls, unlike the code under test.
                time.sleep(PAUSE)

    def _add(self, offset: bytes, fields: Mapping[bytes, bytes]) -> None:
        try:
            entry = decode(offset, fields, self._prefix)
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            self._error = self._error or AssertionError(
                f'entry {offset!r} cannot be decoded: {exc!r}')
        else:
            if entry is not None:
                self._entries.append(entry)
        self._position = offset


def _order(offset: Any) -> Tuple[int, int]:
    text = offset.decode() if isinstance(offset, bytes) else offset
    milliseconds, _, number = text.partition('-')
    return int(milliseconds), int(number)


def stored_twice(entries: Iterable[Entry]) -> Iterator[str]:
    """Messages that are in the stream more than once, in words."""
    seen: Dict[Tuple[str, int], str] = {}
    for (event, number, offset), *_ in entries:
        before = seen.setdefault((event, number), offset)
        if before != offset:
            yield f'{event} {number} is stored as {before} and as {offset}'


def due_to(member: Member, entries: Iterable[Entry]) -> List[Message]:
    """The messages that a client has to receive, in order."""
    return [entry.message for entry in entries if member.is_due(entry)]


def check_record(member: Member, due: Sequence[Message],
                 received: Sequence[Message]) -> Iterator[str]:
    """How what a client received differs from what it was due, in words.
    Nothing, if it received every message once, in the order of the stream,
    and with its offset."""
    if list(due) == list(received):
        return
    places = {message[:2]: place for place, message in enumerate(due)}
    offsets = {message[:2]: message.offset for message in due}
    counts = Counter(message[:2] for message in received)
    yield from _describe(member, 'lost', [
        message for message in due if message[:2] not in counts])
    yield from _describe(member, 'twice', [
        f'{event} {number}: {count} times'
        for (event, number), count in counts.items() if count > 1])
    yield from _describe(member, 'not due', [
        message for message in received if message[:2] not in places])
    known = [message for message in received if message[:2] in places]
    yield from _describe(member, 'out of order', [
        f'{after} after {before}' for before, after
        in zip(known, known[1:])
        if places[before[:2]] > places[after[:2]]])
    yield from _describe(member, 'with another offset', [
        f'{message}, not {offsets[message[:2]]}' for message in known
        if offsets[message[:2]] != message.offset])


def _describe(member: Member, what: str, cases: Sequence[Any]
              ) -> Iterator[str]:
    if cases:
        examples = '; '.join(map(str, cases[:EXAMPLES]))
        yield (f'{member.name} in {member.namespace}: {len(cases)} {what}: '
               f'{examples}')


def check_connects(member: Member, connects: Sequence[Connect],
                   reason_of: Any) -> Iterator[str]:
    """The returns of a client at which it was not recovered, in words.

    :param connects: those in this namespace, its first one included.
    :param reason_of: returns why the client with a sid was not recovered.
    """
    if not connects or connects[0].sid != member.sid:
        yield f'{member.name} in {member.namespace} was never connected'
    for number, connect in enumerate(connects[1:], 1):
        if not connect.recovered or connect.sid != member.sid:
            yield (f'{member.name} in {member.namespace}: not recovered at '
                   f'return {number} of {len(connects) - 1}: '
                   f'{reason_of(connect.sid)}')
