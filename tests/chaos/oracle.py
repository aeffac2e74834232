"""What each client was due, according to the stream, and what is wrong with
what it got.

It uses nothing of the package: entries are read with plain redis-py and
decoded by the few lines below. What they hold is the format of the npm package
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

#: Entries that one read returns at most.
PAGE = 1000

#: Seconds between two reads, where there was nothing new.
PAUSE = 0.1

#: How many differences of one kind are told for each client.
EXAMPLES = 5


class Message(NamedTuple):
    """A numbered message, as it is in the stream, or as a client got it.

    :param offset: the id of its entry.
    """

    event: str
    number: int
    offset: str

    def __str__(self) -> str:
        return f'{self.event} {self.number} at {self.offset}'


class Entry(NamedTuple):
    """A numbered message in the stream, and who is meant by it."""

    message: Message
    namespace: str
    rooms: FrozenSet[str]
    excluded: FrozenSet[str]


class Member(NamedTuple):
    """A client in one namespace.

    :param rooms: all its rooms, the one that is named like itself included.
    """

    name: str
    namespace: str
    sid: str
    rooms: FrozenSet[str]

    def is_due(self, entry: Entry) -> bool:
        """Whether it has to get this."""
        return (self.namespace == entry.namespace
                and (not entry.rooms or bool(self.rooms & entry.rooms))
                and not self.rooms & entry.excluded)


def decode(offset: bytes, fields: Mapping[bytes, bytes],
           prefix: str) -> Optional[Entry]:
    """Make of an entry what counts here.

    :param prefix: of the events that are numbered.
    :return: ``None`` for anything else.
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
    """Reads a stream from its beginning, in a thread of its own, before
    anything of it is trimmed.

    :param connection: to the Redis itself, past all proxies.
    :param prefix: of the events that count.
    """

    def __init__(self, connection: redis.Redis, stream: str,
                 prefix: str) -> None:
        self._connection = connection
        self._stream = stream
        self._prefix = prefix
        self._position = b'0-0'
        self._going = True
        #: What has ended it before its time.
        self._error: Optional[Exception] = None
        # Appended to by the thread, which is atomic in CPython.
        self._entries: List[Entry] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def entries(self, count: int, timeout: float) -> List[Entry]:
        """Stop, once all is read that is there.

        :param count: how many entries there are at least.
        :return: in the order of the stream.
        """
        last = self._connection.xinfo_stream(
            self._stream)['last-generated-id']
        wait_until(lambda: self._error is not None or _order(
            self._position) >= _order(last), timeout, 'the follower')
        self._going = False
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        found = list(self._entries)
        assert len(found) >= count, (
            f'{len(found)} messages in the stream, not {count}')
        return found

    def _follow(self) -> None:
        while self._going:
            try:
                # Not XREAD, whose reply has another form in each version
                # of redis-py.
                page: Any = self._connection.xrange(
                    self._stream, b'(' + self._position, count=PAGE)
            except (redis.ConnectionError, redis.TimeoutError):
                # It may be frozen, but is never killed: nothing is missed.
                page = []
            for offset, fields in page:
                self._take(offset, fields)
            if not page:
                # It reads by polling, unlike what it judges.
                time.sleep(PAUSE)

    def _take(self, offset: bytes, fields: Mapping[bytes, bytes]) -> None:
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
    """What a client has to have got, in order."""
    return [entry.message for entry in entries if member.is_due(entry)]


def check_record(member: Member, due: Sequence[Message],
                 came: Sequence[Message]) -> Iterator[str]:
    """What is wrong with what a client got, in words: nothing, if it was all
    that it was due, each once, in the stream's order, and each with its
    offset."""
    if list(due) == list(came):
        return
    places = {message[:2]: place for place, message in enumerate(due)}
    offsets = {message[:2]: message.offset for message in due}
    counts = Counter(message[:2] for message in came)
    yield from _tell(member, 'lost', [
        message for message in due if message[:2] not in counts])
    yield from _tell(member, 'twice', [
        f'{event} {number}: {count} times'
        for (event, number), count in counts.items() if count > 1])
    yield from _tell(member, 'not due', [
        message for message in came if message[:2] not in places])
    known = [message for message in came if message[:2] in places]
    yield from _tell(member, 'out of order', [
        f'{behind} after {before}' for before, behind
        in zip(known, known[1:])
        if places[before[:2]] > places[behind[:2]]])
    yield from _tell(member, 'with another offset', [
        f'{message}, not {offsets[message[:2]]}' for message in known
        if offsets[message[:2]] != message.offset])


def _tell(member: Member, what: str, cases: Sequence[Any]) -> Iterator[str]:
    if cases:
        told = '; '.join(map(str, cases[:EXAMPLES]))
        yield (f'{member.name} in {member.namespace}: {len(cases)} {what}: '
               f'{told}')


def check_connects(member: Member, connects: Sequence[Connect],
                   reason_of: Any) -> Iterator[str]:
    """Times at which a client came back as somebody else, in words.

    :param connects: in this namespace; the first is where it all began.
    :param reason_of: tells for a sid why it was not recovered.
    """
    if not connects or connects[0].sid != member.sid:
        yield f'{member.name} in {member.namespace} was never connected'
    for number, connect in enumerate(connects[1:], 1):
        if not connect.recovered or connect.sid != member.sid:
            yield (f'{member.name} in {member.namespace}: not recovered at '
                   f'return {number} of {len(connects) - 1}: '
                   f'{reason_of(connect.sid)}')
