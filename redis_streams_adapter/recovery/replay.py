"""What clients missed while they were away, without any I/O.

A client missed the events that the stream holds between the position at which
it goes on and the position at which it is registered again, if they were meant
for the client. Its rooms are those of its session. Commands that came while it
was away change them; a command that disconnects the client ends its session.
"""
import math
from bisect import bisect_right
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, \
    Tuple, Union

from ..protocol.codec import decode, open_envelope
from ..errors import DecodeError
from ..protocol.messages import Broadcast, DisconnectSockets, Message, \
    MessageType, ORDERED, Room, SocketsJoin, SocketsLeave, Target
from .session import Origin, Refusal, Session, SUPERSEDES, TOO_MANY_MISSED, \
    UNKNOWN_SESSION
from ..protocol.position import Position, START
from ..protocol.transport import Entry

#: How many entries of a stream are kept in memory for returning clients, and
#: how many bytes: some seconds of a busy stream. If many clients return at
#: once, not each has to read it from Redis.
HISTORY_ENTRIES = 30_000
HISTORY_BYTES = 32 * 2**20

#: The place of the data among the fields of most entries: of all that a
#: process writes with this package, and of those that Node.js writes.
DATA = 7

#: What an entry in memory takes besides its data, in bytes.
RECORD_OVERHEAD = 700

#: A record in memory: the two numbers of its position, how many bytes it
#: takes, and the record. Instead of the record, most have what one is made of
#: when a client returns: the rooms of an event, the rooms that are left out,
#: and the data of its entry. The garbage collector visits every object that
#: it tracks, and there are thousands of these: it stops tracking a tuple of
#: numbers, text and such tuples.
Kept = Tuple[Any, ...]


class Record:
    """An entry that clients may have missed.

    The message and its arguments are decoded again when they are needed.

    :param position: its position in the stream.
    :param message: a broadcast or a command.
    :param size: about how many bytes it takes.
    :param data: the entry's data. The application cannot change them, as it
                 can the arguments of a message.
    :param origin: the writer of a command of a Python node.
    """

    __slots__ = ('id', 'rooms', 'except_rooms', 'command', 'size', 'data',
                 'origin', 'encoded')

    def __init__(self, position: Position, message: Message, size: int = 0,
                 data: bytes = b'',
                 origin: Optional[Origin] = None) -> None:
        self.id = position
        #: ``None``: it is a broadcast to these rooms, except to those.
        self.command: Optional[Message] = None
        self.rooms: Tuple[Room, ...] = ()
        self.except_rooms: Tuple[Room, ...] = ()
        if isinstance(message, Broadcast):
            self.rooms, self.except_rooms, _ = message.target
        else:
            self.command = message
        self.size = size
        self.data = data
        self.origin = origin
        #: The packets for returning clients, once they were encoded. Any task
        #: sets it, without a lock: it is always the same.
        self.encoded: Any = None


def _kept(record: Record) -> Kept:
    """What is kept of a record."""
    milliseconds, number = record.id
    if record.command is None and record.encoded is None:
        return (milliseconds, number, record.size, record.rooms,
                record.except_rooms, record.data)
    return milliseconds, number, record.size, record


def record_of(entry: Entry, message: Message) -> Record:
    """What clients may have missed with an entry."""
    envelope, origin = open_envelope(entry.fields), None
    if not isinstance(message, Broadcast) and envelope.writer is not None:
        origin = Origin(envelope.writer, envelope.sequence)
    return Record(entry.id, message, len(envelope.data), envelope.data, origin)


def is_missed(message: Message) -> bool:
    """Whether a client that is away misses a message. Events that are
    volatile, or ask for an acknowledgement, are not sent again."""
    if isinstance(message, Broadcast):
        flags = message.target.flags
        return message.request_id is None \
            and not (flags and flags.get('volatile'))
    if isinstance(message, DisconnectSockets):
        # That a client was taken over does not matter to any other, and there
        # is such a message for each client that returns.
        return SUPERSEDES not in message.target.flags
    return isinstance(message, (SocketsJoin, SocketsLeave))


def is_meant(target: Union[Target, Record], rooms: Set[Room]) -> bool:
    """Whether a client in these rooms is meant."""
    return (not target.rooms or not rooms.isdisjoint(target.rooms)) \
        and rooms.isdisjoint(target.except_rooms)


class Replay:
    """Goes through what came while a client was away. Only the task of the
    client's connection uses it.

    :param session: the client's session.
    :param start: the position after which to begin.
    :param limit: how many packets the client may have missed.
    """

    def __init__(self, session: Session, start: Position, limit: int) -> None:
        self.rooms: Set[Room] = {*session.rooms, session.sid}
        self.missed: List[Record] = []
        #: Everything up to this position was looked at.
        self.at = start
        #: The session holds the effects of commands up to this position.
        #: ``None``: unknown, because Node.js wrote the session. It obeys no
        #: commands.
        self._obeyed = session.obeyed
        self._own = session.own
        self._limit = limit

    def feed(self, records: Iterable[Record]) -> None:
        """Continue with records, in order.

        :raises Refusal: the client missed too much, or was disconnected.
        """
        for record in records:
            self.at = record.id
            if record.command is None:
                if is_meant(record, self.rooms):
                    if len(self.missed) >= self._limit:
                        raise Refusal(TOO_MANY_MISSED)
                    self.missed.append(record)
            elif self._obeyed and record.id > self._obeyed:
                self.obey(record)

    def obey(self, record: Record) -> None:
        """Carry out a command, if the client is meant and its session does
        not hold the effects yet.

        :raises Refusal: the command disconnects the client.
        """
        own, origin, message = self._own, record.origin, record.command
        if own and origin and origin.writer == own.writer \
                and origin.sequence <= own.sequence:
            return
        if isinstance(message, SocketsJoin):
            if is_meant(message.target, self.rooms):
                self.rooms.update(message.rooms)
        elif isinstance(message, SocketsLeave):
            if is_meant(message.target, self.rooms):
                self.rooms.difference_update(message.rooms)
        elif isinstance(message, DisconnectSockets) \
                and is_meant(message.target, self.rooms):
            raise Refusal(UNKNOWN_SESSION)


class History:
    """The recent entries of one stream, in memory.

    It is read and written under the order lock, mostly by the reader's task.
    If an exception strikes, the counts may be slightly wrong, so that it keeps
    a little more or less.

    Invariant: of each namespace that is served, all records after its *floor*
    are here.
    """

    def __init__(self, entries: int = HISTORY_ENTRIES,
                 size: int = HISTORY_BYTES) -> None:
        self._entries = entries
        self._size = size
        #: By namespace: the records, in order, and the floor: the position
        #: after which they are complete. Old ones are removed from the front.
        self._records: Dict[str, List[Kept]] = {}
        self._floors: Dict[str, Position] = {}
        self._count = 0
        self._bytes = 0
        #: Whether the next entry belongs to another stream. Set by the
        #: reader's task without the order lock.
        self.is_lost = False
        #: How often it was another one.
        self.restarts = 0
        #: The highest position that was read in a former stream. A position up
        #: to here may belong to a former stream.
        self.former = START

    def serve(self, namespaces: Iterable[str], position: Position) -> None:
        """Record these namespaces, and no others, from now on. The records of
        namespaces that are recorded already are kept.

        :param position: everything after it will be added.
        """
        wanted = set(namespaces)
        for namespace in set(self._floors) - wanted:
            self._end(namespace)
        for namespace in wanted - set(self._floors):
            self._floors[namespace] = position
            self._records[namespace] = []

    def _end(self, namespace: str) -> None:
        del self._floors[namespace]
        for kept in self._records.pop(namespace):
            self._count -= 1
            self._bytes -= kept[2]

    def restart(self, position: Position, former: Position) -> None:
        """The stream is another one: forget the former one.

        :param position: the position of the first entry of the new stream.
        :param former: the position of the last entry of the former stream.
        """
        if former > self.former:
            self.former = former
        floors = dict.fromkeys(self._floors, position.before())
        records: Dict[str, List[Kept]] = {each: [] for each in floors}
        # One step: nothing is called.
        self._records, self._floors = records, floors
        self._count = self._bytes = 0
        self.restarts += 1
        self.is_lost = False

    def add(self, namespace: str, record: Record) -> None:
        """Add a record, if its namespace is served."""
        records = self._records.get(namespace)
        if records is None:
            return
        record.size += RECORD_OVERHEAD
        records.append(_kept(record))
        self._count += 1
        self._bytes += record.size
        while self._count > self._entries or self._bytes > self._size:
            self._forget()

    def add_event(self, namespace: str, position: Position,
                  rooms: Tuple[Room, ...], except_rooms: Tuple[Room, ...],
                  data: bytes) -> None:
        """As :meth:`add` with the record of an event, in one call: this runs
        for each event."""
        try:
            records = self._records[namespace]
        except KeyError:
            return
        milliseconds, number = position
        size = RECORD_OVERHEAD + len(data)
        records.append((milliseconds, number, size, rooms, except_rooms, data))
        self._count += 1
        self._bytes += size
        while self._count > self._entries or self._bytes > self._size:
            self._forget()

    def add_entry(self, entry: Entry) -> None:
        """Add an entry whose message is not decoded yet."""
        envelope = open_envelope(entry.fields)
        if envelope.type in ORDERED:
            message = decode(envelope)
            if is_missed(message):
                self.add(envelope.namespace, record_of(entry, message))

    def prepend(self, namespace: str, position: Position,
                records: Sequence[Record], floor: Position) -> None:
        """Add older records that were read, as far back as there is room.

        :param position: everything after it, up to the floor, was read.
        :param floor: the floor until now.
        """
        if self._floors.get(namespace) != floor:
            return
        first = len(records)
        while first and self._count < self._entries and self._bytes \
                + records[first - 1].size + RECORD_OVERHEAD <= self._size:
            first -= 1
            records[first].size += RECORD_OVERHEAD
            self._bytes += records[first].size
            self._count += 1
        # As records: the client for which they were read shares their packets
        # with the next ones.
        self._records[namespace][:0] = [
            (*each.id, each.size, each) for each in records[first:]]
        self._floors[namespace] = records[first - 1].id if first \
            else position

    def _forget(self) -> None:
        # An eighth at once: to remove from the front of a list costs as much
        # as the rest is long.
        for namespace, records in self._records.items():
            gone = records[:max(1, len(records) // 8)]
            if gone:
                del records[:len(gone)]
                milliseconds, number, *_ = gone[-1]
                self._floors[namespace] = Position(milliseconds, number)
                self._count -= len(gone)
                self._bytes -= sum([kept[2] for kept in gone])

    def floor(self, namespace: str) -> Optional[Position]:
        """The floor of a namespace; ``None``: it is not served."""
        return self._floors.get(namespace)

    def after(self, namespace: str,
              position: Position) -> Optional[Sequence[Record]]:
        """All records after a position; ``None`` if some are missing."""
        floor = self.floor(namespace)
        if floor is None or position < floor:
            return None
        records = self._records[namespace]
        found = []
        for index in range(_index(records, position), len(records)):
            kept = records[index]
            if len(kept) == 4:
                found.append(kept[3])
            else:
                record = _made_of(*kept)
                # The next client that returns finds its packets made.
                records[index] = *kept[:3], record
                found.append(record)
        return found

    def has(self, namespace: str, position: Position) -> bool:
        """Whether the record of the entry at a position is here."""
        records = self._records.get(namespace, [])
        index = _index(records, position) - 1
        return index >= 0 and records[index][:2] == position


def _index(records: List[Kept], position: Position) -> int:
    """How many records are at most at a position."""
    return bisect_right(records, (*position, math.inf))


def _made_of(milliseconds: int, number: int, size: int,
             rooms: Tuple[Room, ...], except_rooms: Tuple[Room, ...],
             data: bytes) -> Record:
    """The record of what is kept of an event."""
    return Record(Position(milliseconds, number),
                  Broadcast((), Target(rooms, except_rooms)), size, data)


def is_event(fields: Sequence[bytes], namespace: str) -> bool:
    """Whether an entry holds an event of a namespace.

    :param fields: the entry's fields.
    """
    try:
        envelope = open_envelope(fields)
    except DecodeError:
        return False
    return envelope.type is MessageType.BROADCAST \
        and envelope.namespace == namespace


def is_complete(start: Position, first: Optional[Position],
                last: Optional[Position]) -> bool:
    """Whether nothing after a position can have been trimmed.

    :param first: the position of the first entry that the stream has.
    :param last: the position of the last one.
    """
    if first is None or last is None:
        return start == START
    return first <= start or start >= last
