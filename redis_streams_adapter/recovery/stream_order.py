"""Where the own clients are in the stream, where recovery is on.

All nodes then deliver all messages in one order, the stream's. So a node's
own messages too are delivered when they come back from the stream, never
before; until then they wait here, with the clients that they were meant for
when they were emitted. What does not pass through the stream
(``ignore_queue``, an acknowledgement that is asked of an own client) waits
behind what was emitted before it.

A client that is on its way out need not wait: what waits for it is handed
over at once, see :meth:`Timeline.flush`. A client that returns is added to
what waits, see :meth:`Timeline.admit`.

Everything here is read and written under the order lock of the runtime, but
for :attr:`Timeline.arrived`, and for :attr:`Timeline.position` where no
message is delivered, which only the reader's task writes. Nothing in it
survives the process: what was emitted and not read back stands in the stream,
or is lost with the outbox; the clients' offsets are behind none of it.
"""
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Collection, Deque, Dict, Iterable, \
    List, Optional, Sequence, Tuple

from ..protocol import codec
from ..clients.delivery import Client, Delivery, Encoded, Load
from ..concurrency.locks import Lock
from ..protocol.messages import Broadcast, Message, ORDERED
from .replay import History, is_meant, is_missed, Record, Replay
from .session import Origin
from ..stream.outbox import Pending
from .client_session import ClientSession
from ..concurrency.engines import Event
from ..protocol.position import Position, START
from ..protocol.transport import Entry


#: From how many waiting messages on memory matters more than the time that it
#: takes to compare lists of clients.
MANY = 100

#: For how many targets the clients of what waits are shared.
MAX_SHARED = 1000


class _Parted:
    """Takes a client out of lists that many loads may share, each once."""

    def __init__(self, sid: str) -> None:
        self._sid = sid
        #: By identity; with the list, so that nothing else becomes it.
        self._known: Dict[int, Tuple[List[Client], List[Client],
                                     List[Client]]] = {}

    def __call__(self, clients: List[Client]
                 ) -> Tuple[List[Client], List[Client]]:
        """The others, and what was the client."""
        known = self._known.get(id(clients))
        if known is None:
            leaving = [each for each in clients if each[0] == self._sid]
            kept = [each for each in clients if each[0] != self._sid] \
                if leaving else clients
            known = self._known[id(clients)] = clients, kept, leaving
        return known[1:]


class _Joined:
    """Adds a client to such lists."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: Dict[int, Tuple[List[Client], List[Client]]] = {}

    def __call__(self, clients: List[Client]) -> List[Client]:
        """All of them."""
        known = self._known.get(id(clients))
        if known is None:
            known = self._known[id(clients)] = \
                clients, [*clients, self._client]
        return known[1]


@dataclass(slots=True)
class Waiting:
    """What was emitted and has not come back.

    :param sequence: the writer's number for it; of what does not pass
                     through the stream, that of what is before it.
    :param pending: its entry, where it passes through the stream.
    :param record: what clients that are away miss with it, if anything. It
                   has no id yet.
    :param loads: what to deliver then.
    :param event: what to set then.
    """

    sequence: int
    pending: Optional[Pending]
    namespace: str
    record: Optional[Record]
    loads: List[Load]
    event: Optional[Event] = None


class Timeline:
    """The own clients' view of one stream.

    :param writer: the id of the writer of this process.
    :param order: the order lock.
    :param make_event: makes an event for tasks of the server.
    """

    def __init__(self, writer: bytes, order: Any,
                 make_event: Callable[[], Event],
                 logger: Callable[[], logging.Logger]) -> None:
        self._logger = logger
        self._writer = writer
        self._order = order
        self._make_event = make_event
        #: Who hands over; set before there are clients.
        self.delivery: Optional[Delivery] = None
        self.history = History()
        #: Up to where everything was handed over.
        self.position = START
        #: Whether the reader has its first position.
        self.has_begun = False
        #: The entry that is being taken in, or was last. Anything that is
        #: begun after this was read has what comes behind it.
        self.arrived = START
        self._waiting: Deque[Waiting] = deque()
        #: The last command of ours: it was carried out when it was emitted.
        self.commanded: Optional[Origin] = None
        #: The clients of what waits, by whom it was meant for: while they
        #: are the same ones there is one list of them. In an outage very
        #: much may wait.
        self._shared: Dict[Any, List[Client]] = {}
        #: The highest number of an own message that came back: what comes
        #: with one that is not above it is a copy.
        self._returned = 0
        #: Of the message that is being carried out.
        self._current: Optional[Message] = None
        #: Set by the reader's task when the stream is another one.
        self._broken = False
        #: Where this node took its leave; ``None``: it is a member.
        self._end: Optional[Position] = None
        #: Who waits for a position.
        self._awaited: List[Tuple[Position, Event]] = []
        self._awaited_lock = Lock()

    # -- for those who emit, under the order lock -------------------------

    def emitted(self, pending: Pending, namespace: str,
                message: Optional[Message],
                loads: Collection[Load] = ()) -> None:
        """Something was put into the outbox.

        :param message: what clients that are away miss with it, if any.
        """
        record = None
        if message is not None and is_missed(message):
            # As it was when it was emitted: what the message holds is still
            # in the application's hands, what stands in the entry is not.
            record = Record(START, message, pending.size, pending.fields)
            if record.command is not None:
                self.commanded = record.origin = Origin(
                    self._writer, pending.sequence)
        if not self._waiting:
            self._shared.clear()
        elif len(self._waiting) > MANY and isinstance(message, Broadcast):
            for load in loads:
                self._share(load, (namespace, message.target.rooms,
                                   message.target.except_rooms))
        self._waiting.append(Waiting(
            pending.sequence, pending, namespace, record, list(loads)))

    def _share(self, load: Load, key: Any) -> None:
        known = self._shared.get(key)
        if known == load.clients:
            load.clients = known
        elif len(self._shared) < MAX_SHARED or known is not None:
            self._shared[key] = load.clients

    def locally(self, namespace: str, loads: Sequence[Load]) -> None:
        """Deliver what does not pass through the stream: now, or behind
        what was emitted before."""
        if self._waiting:
            self._waiting.append(Waiting(
                self._waiting[-1].sequence, None, namespace, None,
                list(loads)))
        else:
            self.hand_over(loads)

    @property
    def is_waiting(self) -> bool:
        """Whether something was emitted that has not come back."""
        return bool(self._waiting)

    def flush(self, sid: str) -> None:
        """A client is going to be disconnected: it gets what waits for it,
        which it would miss."""
        parted = _Parted(sid)
        for waiting in self._waiting:
            for load in waiting.loads:
                kept, leaving = parted(load.clients)
                if leaving:
                    load.clients = kept
                    self.hand_over([Load(leaving, load.encoded)])

    def leave(self) -> None:
        """This node takes its leave: other processes' messages are taken in
        no more. Its own still come back, and clients that can be recovered
        must not get them: their offsets would lead past the others."""
        with self._order:
            if self._end is None:
                self._end = self.position

    @property
    def handed_over(self) -> Position:
        """Up to where clients that can be recovered have everything."""
        return self.position if self._end is None else self._end

    @property
    def has_left(self) -> bool:
        """Whether this node has taken its leave: what is remembered from
        then on is not all."""
        return self._end is not None

    def drain(self, timeout: float) -> None:
        """Wait until what was emitted so far has come back.

        :param timeout: seconds.
        """
        event = self._make_event()
        with self._order:
            if not self._waiting:
                return
            self._waiting.append(Waiting(
                self._waiting[-1].sequence, None, '', None, [], event))
        event.wait(timeout)

    def admit(self, client: Client, namespace: str,
              replay: Replay) -> None:
        """A client returns: what waits and is meant for it is delivered to
        it, too, and what it is told to do is done.

        :raises Refusal: it is disconnected.
        """
        parted, joined = _Parted(client[0]), _Joined(client)
        meant = []
        for waiting in self._waiting:
            record = waiting.record
            if record is None or waiting.namespace != namespace:
                continue
            if record.command is not None:
                replay.obey(record)
            elif is_meant(record, replay.rooms) or any(
                    # When it was emitted, it was meant.
                    parted(load.clients)[1] for load in waiting.loads):
                meant.append(waiting)
        for waiting in self._waiting:
            for load in waiting.loads:
                # On a connection that is gone. An answer that was asked of
                # it is none of this one's.
                load.clients = parted(load.clients)[0]
        for waiting in meant:
            if not waiting.loads and waiting.record is not None:
                try:
                    waiting.loads.append(Load([], self._encoded(
                        namespace, waiting.record), True))
                except Exception:
                    # As in deliver_again().
                    self._logger().exception(
                        'an event could not be delivered')
                    continue
            load = waiting.loads[0]
            load.clients = joined(load.clients)

    # -- for the reader's task --------------------------------------------

    def begin(self, cursor: Position) -> None:
        """The stream is read from here on; under the order lock."""
        self.position = self.arrived = cursor
        self.has_begun = True

    def place(self, client: ClientSession) -> None:
        """A new client gets all that is behind the position of now; under
        the order lock. One that was let in before the reader began gets all
        that the reader reads."""
        client.begin_at(self.position)
        sent = self._delivering().sent
        if sent.get(client.sid, client) is None:
            sent[client.sid] = client.sent

    def serve(self, namespaces: Collection[str]) -> None:
        """These namespaces are served from now on, and no others."""
        with self._order:
            # What comes behind this is recorded: it is not received yet, and
            # the node knows already that they are served.
            self.history.serve(namespaces, self.arrived)

    def broken(self) -> None:
        """The stream is another one, or ends before what was read."""
        self._broken = True

    def came_back(self, entry: Entry, sequence: int,
                  is_message: bool) -> None:
        """An own entry was read back.

        :param sequence: its number; of a sign of life, that of the message
                         before it.
        """
        with self._order:
            self._check(entry.id)
            while self._waiting and (
                    self._waiting[0].sequence < sequence or not is_message
                    and self._waiting[0].sequence == sequence):
                # It was to come before this one, and never will.
                self._give_up(self._waiting.popleft())
            self.position = entry.id
            if is_message and sequence > self._returned and not (
                    self._waiting and self._waiting[0].sequence == sequence
                    and self._waiting[0].pending is not None):
                self._remember(entry)
            if is_message:
                self._returned = max(self._returned, sequence)
            while self._waiting and self._waiting[0].sequence == sequence:
                waiting = self._waiting.popleft()
                if waiting.record is not None:
                    waiting.record.id = entry.id
                    self.history.add(waiting.namespace, waiting.record)
                self.hand_over(waiting.loads)
                if waiting.event is not None:
                    waiting.event.set()

    def _remember(self, entry: Entry) -> None:
        """What was emitted before this process had any clients, or asks for
        no order: others' clients may have missed it."""
        envelope = codec.open_envelope(entry.fields)
        if envelope.type in ORDERED:
            message = codec.decode(envelope)
            if is_missed(message):
                self.history.add(
                    envelope.namespace, record_of(entry, message))

    def _give_up(self, waiting: Waiting) -> None:
        if waiting.pending is not None and waiting.pending.refused:
            # Its emitter was told, or the log: nobody has it.
            return
        # Redis has lost it. Here, at least, it can be delivered.
        if waiting.event is not None:
            waiting.event.set()
        for load in waiting.loads:
            load.recoverable = False
        self.hand_over(waiting.loads)

    def received(self, entry: Entry, namespace: str, message: Message,
                 carry_out: Callable[[], None]) -> None:
        """A message of another process was read: carry it out."""
        with self._order:
            self._check(entry.id)
            self.position = entry.id
            self._current = message
            if is_missed(message):
                self.history.add(namespace, record_of(entry, message))
            carry_out()

    def moved(self, position: Position) -> None:
        """An entry was taken in, whatever it was."""
        if self.position != position:
            with self._order:
                self._check(position)
                self.position = position
        if self._awaited:
            with self._awaited_lock:
                arrived = [each for each in self._awaited
                           if each[0] <= position]
                self._awaited = [each for each in self._awaited
                                 if each[0] > position]
            for _, event in arrived:
                event.set()

    def _check(self, position: Position) -> None:
        if self._broken:
            self._broken = False
            self.history.restart(position.before())

    # -- for clients that return ------------------------------------------

    def reach(self, position: Position, timeout: float) -> bool:
        """Wait until all up to a position was handed over.

        :param timeout: seconds.
        :return: ``False`` where time ran out.
        """
        if self.position >= position:
            return True
        event = self._make_event()
        try:
            with self._awaited_lock:
                self._awaited.append((position, event))
            # The reader may have come there in between.
            if self.position < position:
                event.wait(timeout)
        finally:
            with self._awaited_lock:
                self._awaited = [each for each in self._awaited
                                 if each[1] is not event]
        return self.position >= position

    def deliver_again(self, client: Client, namespace: str,
                      records: Iterable[Record]) -> None:
        """Hand missed packets to a client whose deliveries are held; under
        the order lock."""
        delivery = self._delivering()
        for record in records:
            try:
                encoded = self._encoded(namespace, record)
            except Exception:
                # Whatever the server's packet class cannot carry: nobody
                # here had it when it came, either.
                self._logger().exception(
                    'entry %s could not be delivered again',
                    record.id)
                continue
            delivery.send_again(client, encoded, record.id)

    # -- how it is delivered ----------------------------------------------

    def deliver(self, namespace: str, clients: List[Client],
                message: Broadcast) -> None:
        """Deliver a message of another process, the last one received;
        under the order lock."""
        if self._current is message and clients:
            self.hand_over([Load(
                clients, self._delivering().encode(namespace, message.args),
                is_missed(message))])

    def hand_over(self, loads: Sequence[Load]) -> None:
        """Deliver now; under the order lock."""
        if not loads:
            return
        delivery, position = self._delivering(), self.position
        if self._end is not None:
            # Those who can be recovered get it where they return.
            position = self._end
            loads = [Load([each for each in load.clients
                           if each[0] not in delivery.sent], load.encoded)
                     if load.recoverable else load for load in loads]
        delivery.hand_over(loads, position)

    def _delivering(self) -> Delivery:
        if self.delivery is None:
            raise RuntimeError('nobody delivers here')
        return self.delivery

    def _encoded(self, namespace: str, record: Record) -> Encoded:
        if record.encoded is None:
            record.encoded = self._delivering().encode(
                namespace, _arguments_of(record.fields))
        encoded: Encoded = record.encoded
        return encoded


def record_of(entry: Entry, message: Message) -> Record:
    """What clients may have missed with an entry."""
    origin = None
    if not isinstance(message, Broadcast):
        envelope = codec.open_envelope(entry.fields)
        if envelope.writer is not None:
            origin = Origin(envelope.writer, envelope.sequence)
    return Record(entry.id, message, sum(map(len, entry.fields)),
                  entry.fields, origin)


def _arguments_of(fields: Sequence[bytes]) -> Sequence[Any]:
    message: Any = codec.decode(codec.open_envelope(fields))
    arguments: Sequence[Any] = message.args
    return arguments
