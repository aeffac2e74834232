"""What clients that were away have missed, without any I/O.

It is what the stream holds from the position at which a client goes on to that
at which it is registered anew, as far as it was meant for the client: its
rooms are those of its session, and commands that came while it was away change
them. A command that disconnects it ends its session.
"""
from bisect import bisect_right
from operator import attrgetter
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

#: How many entries of a stream are kept in memory for clients that return,
#: and how many bytes: some seconds of a busy stream, so that those that come
#: back at once need not each read it again.
HISTORY_ENTRIES = 30_000
HISTORY_BYTES = 32 * 2**20

#: What an entry in memory costs besides its data, in bytes.
RECORD_OVERHEAD = 700


_position_of = attrgetter('id')


class Record:
    """An entry that clients may have missed.

    Thousands of them are kept, and the collector of garbage goes through all
    objects that are: what it would look at, a message and its arguments, is
    made anew when it is wanted. Tuples of text and bytes it lets go.

    :param id: its position in the stream.
    :param message: a broadcast or a command.
    :param size: about how many bytes it takes.
    :param fields: those of the entry, of a broadcast whose arguments will be
                   wanted.
    :param origin: its writer, if it is a command of a Python node.
    """

    __slots__ = ('id', 'rooms', 'except_rooms', 'command', 'size', 'fields',
                 'origin', 'encoded')

    def __init__(self, position: Position, message: Message, size: int = 0,
                 fields: Sequence[bytes] = (),
                 origin: Optional[Origin] = None) -> None:
        self.id = position
        #: ``None``: it is a broadcast, to these rooms but for those.
        self.command: Optional[Message] = message
        self.rooms: Tuple[Room, ...] = ()
        self.except_rooms: Tuple[Room, ...] = ()
        if isinstance(message, Broadcast):
            self.command = None
            self.rooms, self.except_rooms, _ = message.target
        self.size = size
        self.fields = tuple(fields)
        self.origin = origin
        #: What goes to clients that return, once it was made. Always the
        #: same.
        self.encoded: Any = None


def record_of(entry: Entry, message: Message) -> Record:
    """What clients may have missed with an entry."""
    origin = None
    if not isinstance(message, Broadcast):
        envelope = open_envelope(entry.fields)
        if envelope.writer is not None:
            origin = Origin(envelope.writer, envelope.sequence)
    return Record(entry.id, message, sum(map(len, entry.fields)),
                  entry.fields, origin)


def is_missed(message: Message) -> bool:
    """Whether a message matters to a client that is away: those that
    are volatile or ask for an acknowledgement are not sent again."""
    if isinstance(message, Broadcast):
        return message.request_id is None \
            and not message.target.flags.get('volatile')
    if isinstance(message, DisconnectSockets):
        # That one client was taken over does not matter to any other, and
        # there are as many of these as clients that return at once.
        return SUPERSEDES not in message.target.flags
    return isinstance(message, (SocketsJoin, SocketsLeave))


def is_meant(target: Union[Target, Record], rooms: Set[Room]) -> bool:
    """Whether a client that is in these rooms is meant."""
    return (not target.rooms or not rooms.isdisjoint(target.rooms)) \
        and rooms.isdisjoint(target.except_rooms)


class Replay:
    """Goes through what came while a client was away.

    :param session: of the client.
    :param start: the position after which to begin.
    :param limit: how many packets it may have missed.
    """

    def __init__(self, session: Session, start: Position, limit: int) -> None:
        self.rooms: Set[Room] = {*session.rooms, session.sid}
        self.missed: List[Record] = []
        #: How far it went.
        self.at = start
        #: Up to where the session knows of commands; ``None``: no node
        #: can know, as of one that Node.js wrote, which looks at none.
        self._obeyed = session.obeyed
        self._own = session.own
        self._limit = limit

    def feed(self, records: Iterable[Record]) -> None:
        """Go on: records in order, none before what was seen.

        :raises Refusal: there are too many, or the client was disconnected.
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
        """Do what a command says, if the client is meant, and has not done
        it.

        :raises Refusal: it is disconnected.
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
    """What came lately on one stream, in memory.

    Written by the reader's task under the order lock, and read under it.

    Invariant: of each namespace that is served, all records after its floor
    are here.
    """

    def __init__(self, entries: int = HISTORY_ENTRIES,
                 size: int = HISTORY_BYTES) -> None:
        self._entries = entries
        self._size = size
        #: By namespace: the records, in order, and from where they are
        #: complete. Old ones are forgotten from the front.
        self._records: Dict[str, List[Record]] = {}
        self._floors: Dict[str, Position] = {}
        self._count = 0
        self._bytes = 0
        #: Whether the next entry belongs to another stream. Set by the
        #: reader's task without the order lock.
        self.is_lost = False
        #: How often that was so.
        self.restarts = 0
        #: The highest position in a former stream. A position up to here may
        #: be one of a former stream.
        self.former = START

    def serve(self, namespaces: Iterable[str], position: Position) -> None:
        """Of these namespaces, and no others, all after a position will be
        recorded; of those that are recorded already, all is kept."""
        wanted = set(namespaces)
        for namespace in set(self._floors) - wanted:
            self._end(namespace)
        for namespace in wanted - set(self._floors):
            self._floors[namespace] = position
            self._records[namespace] = []

    def _end(self, namespace: str) -> None:
        del self._floors[namespace]
        for record in self._records.pop(namespace):
            self._count -= 1
            self._bytes -= record.size

    def restart(self, position: Position, former: Position) -> None:
        """The stream is another one: forget what the former one held.

        :param position: that of the first entry that is read of it.
        :param former: that of the last one that was read of the former one.
        """
        if former > self.former:
            self.former = former
        floors = dict.fromkeys(self._floors, position.before())
        records: Dict[str, List[Record]] = {each: [] for each in floors}
        # One step: nothing is called.
        self._records, self._floors = records, floors
        self._count = self._bytes = 0
        self.restarts += 1
        self.is_lost = False

    def add(self, namespace: str, record: Record) -> None:
        """One more."""
        records = self._records.get(namespace)
        if records is None:
            return
        record.size += RECORD_OVERHEAD
        records.append(record)
        self._count += 1
        self._bytes += record.size
        while self._count > self._entries or self._bytes > self._size:
            self._forget()

    def add_entry(self, entry: Entry) -> None:
        """One more, whose message is not decoded yet."""
        envelope = open_envelope(entry.fields)
        if envelope.type in ORDERED:
            message = decode(envelope)
            if is_missed(message):
                self.add(envelope.namespace, record_of(entry, message))

    def prepend(self, namespace: str, position: Position,
                records: Sequence[Record], floor: Position) -> None:
        """What was read of older ones, as far back as there is room.

        :param position: all after it, and up to the floor, is among them.
        :param floor: where it began before.
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
        self._records[namespace][:0] = records[first:]
        self._floors[namespace] = records[first - 1].id if first \
            else position

    def _forget(self) -> None:
        # An eighth at once: what is removed from the front of a list costs
        # as much as what comes after it.
        for namespace, records in self._records.items():
            gone = records[:max(1, len(records) // 8)]
            if gone:
                del records[:len(gone)]
                self._floors[namespace] = gone[-1].id
                self._count -= len(gone)
                self._bytes -= sum(record.size for record in gone)

    def floor(self, namespace: str) -> Optional[Position]:
        """From where it is complete; ``None``: nowhere."""
        return self._floors.get(namespace)

    def after(self, namespace: str,
              position: Position) -> Optional[Sequence[Record]]:
        """All after a position; ``None`` if not all are here."""
        floor = self.floor(namespace)
        if floor is None or position < floor:
            return None
        records = self._records[namespace]
        return records[bisect_right(records, position, key=_position_of):]

    def has(self, namespace: str, position: Position) -> bool:
        """Whether the entry at a position is here."""
        records = self._records.get(namespace, ())
        index = bisect_right(records, position, key=_position_of) - 1
        return index >= 0 and records[index].id == position


def is_event(fields: Sequence[bytes], namespace: str) -> bool:
    """Whether an entry holds an event of a namespace.

    :param fields: those of the entry.
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

    :param first: the first entry of the stream that is there.
    :param last: the last one.
    """
    if first is None or last is None:
        return start == START
    return first <= start or start >= last
