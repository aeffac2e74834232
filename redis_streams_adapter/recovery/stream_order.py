"""Events reach the local clients in the order of the stream: delivery with
recovery.

All nodes deliver all messages in one order, that of the stream. So a node's
own messages too are delivered when they come back from the stream, never
before; until then they wait here, with the clients that they were meant for
when they were emitted. What does not pass through the stream
(``ignore_queue``, an acknowledgement that is asked of a local client) waits
until what was emitted before it has come back. It takes its share of the
outbox's limits meanwhile.

A client that is about to be disconnected need not wait: what waits for it is
handed over at once, see :meth:`StreamOrderDelivery.flush`. A client that
returns is added to what waits, see :meth:`StreamOrderDelivery.admit`.

Everything here is read and written under the order lock of the runtime, but
for :attr:`StreamOrderDelivery.arrived`, and for
:attr:`StreamOrderDelivery.position` if no message is delivered, which only
the reader's task writes. Packets are encoded without the order lock, for the
JSON module is the application's: where that has to be found out under the
lock, the lock is given back and taken again. Nothing here survives the
process: what was emitted and not read back is in the stream, or is lost with
the outbox; the offsets of the clients point past none of it.
"""
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Collection, Deque, Dict, Iterable, \
    List, Optional, Sequence, Tuple

from ..protocol import codec
from ..clients.delivery import Delivery, Encoded, Load
from ..clients.direct_delivery import Append, DirectDelivery
from ..concurrency.locks import Lock
from ..errors import OutboxFullError
from ..protocol.events import Act
from ..protocol.messages import Broadcast, Message, ORDERED, Target
from .replay import History, is_meant, is_missed, Record, Replay
from .session import Origin
from ..runtime.delivery import Client, Follower
from ..stream.outbox import Capacity, Outbox, Pending
from .client_session import ClientSession
from ..concurrency.engines import Event
from ..protocol.position import Position, START
from ..protocol.transport import Entry


#: From how many waiting messages on memory matters more than the time that it
#: takes to compare lists of clients.
MANY = 100

#: For how many targets the clients of what waits are shared.
MAX_SHARED = 1000


#: Stands for an event until it is encoded.
NOT_ENCODED = Encoded((), None, False)


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
    :param share: what it takes of the outbox's limits, if it does not pass
                  through the stream.
    """

    sequence: int
    pending: Optional[Pending]
    namespace: str
    record: Optional[Record]
    loads: List[Load]
    event: Optional[Event] = None
    share: Optional[Pending] = None


class StreamOrderDelivery:
    """Implements :class:`~redis_streams_adapter.runtime.delivery.Delivery`
    for one stream.

    :param writer: the id of the writer of this process.
    :param local: the local clients.
    :param direct: how events are delivered as long as no task reads the
                   stream.
    :param append: puts fields into the outbox of a namespace.
    :param order: the order lock.
    :param act: carries out what another process asks for.
    :param capacity: how much may wait, here and in the outboxes.
    :param make_event: makes an event for tasks of the server.
    :param on_begin: called when the reader has its first position, under the
                     order lock.
    :param on_loss: called when the history of the stream is lost.
    """

    def __init__(self, writer: bytes, local: Delivery, direct: DirectDelivery,
                 append: Append, order: Any, act: Callable[[Act], None],
                 capacity: Capacity, make_event: Callable[[], Event],
                 logger: Callable[[], logging.Logger],
                 on_begin: Callable[['StreamOrderDelivery'], None],
                 on_loss: Callable[[], None]) -> None:
        self._logger = logger
        self._writer = writer
        self._local = local
        self._direct = direct
        self._append = append
        self._order = order
        self._act = act
        self._make_event = make_event
        self._on_begin = on_begin
        self._on_loss = on_loss
        #: Each entry moves the position.
        self.follower: Optional[Follower] = self
        #: Whether a task reads the stream, or is about to. Set once, by the
        #: task that starts the reader; without a lock: what is emitted in
        #: that moment is delivered at once, and comes back as if there had
        #: been no clients.
        self.is_read = False
        self.history = History()
        #: Up to this entry all was handed over.
        self.position = START
        #: Whether the reader has its first position.
        self.has_begun = False
        #: The entry that is being taken in, or was last. Anything that is
        #: begun after this was read has what comes after it.
        self.arrived = START
        self._waiting: Deque[Waiting] = deque()
        #: The shares of what waits and does not pass through the stream, in
        #: its order. A task that is struck gives back what it took; if it is
        #: struck once more, that is given back when nothing waits.
        self._shares = Outbox(capacity)
        #: Events that a client which returns is to get with others, and that
        #: are not encoded yet.
        self._unencoded: List[Waiting] = []
        #: The last command of ours: it was carried out when it was emitted.
        self.commanded: Optional[Origin] = None
        #: The clients of what waits, by target: while they are the same ones
        #: there is one list of them. In an outage very much may wait.
        self._shared: Dict[Any, List[Client]] = {}
        #: The highest number of an own message that came back: what comes
        #: with one that is not above it is a copy.
        self._returned = 0
        #: Set by the reader's task when the stream is another one.
        self._broken = False
        #: The position at which this node left; ``None``: it is a member.
        self._end: Optional[Position] = None
        #: What to set at which positions.
        self._awaited: List[Tuple[Position, Event]] = []
        self._awaited_lock = Lock()

    # -- for tasks that emit ----------------------------------------------

    def emit(self, namespace: str, message: Broadcast,
             fields: Sequence[bytes]) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        if not self.is_read:
            return self._direct.emit(namespace, message, fields)
        local, target, encoded = self._local, message.target, None
        if local.reaches(namespace, target):
            # Now: what the application does next comes after this.
            encoded = local.encode(namespace, message.args)
        while True:
            with self._order:
                clients = local.recipients(namespace, target)
                if encoded is not None or not clients:
                    pending = self._append(namespace, fields)
                    self._emitted(pending, namespace, message, [
                        Load(clients, encoded, True)]
                        if encoded is not None and clients else [])
                    return pending
            # The first of them came in this moment.
            encoded = local.encode(namespace, message.args)

    def command(self, namespace: str, message: Message,
                fields: Sequence[bytes],
                carry_out: Optional[Callable[[], None]]) -> Pending:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            pending = self._append(namespace, fields)
            if self.is_read:
                # Local clients that are away now will have missed it.
                self._emitted(pending, namespace, message)
            if carry_out is not None:
                carry_out()
        self._local.log_lines(self._order)
        return pending

    def _emitted(self, pending: Pending, namespace: str,
                 message: Optional[Message],
                 loads: Collection[Load] = ()) -> None:
        """Something was put into the outbox; under the order lock.

        :param message: what clients that are away miss with it, if any.
        """
        record = None
        if message is not None and is_missed(message):
            # As it was when it was emitted: the application may change what
            # the message holds, the fields of the entry it cannot change.
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

    def locally(self, namespace: str, args: Sequence[Any],
                target: Target) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        self.hand_over_later(
            namespace, self._local.pack(namespace, args, target))

    def ask(self, namespace: str, args: Sequence[Any],
            clients: Sequence[Client], ack_id: Callable[[str], int],
            append: Optional[Callable[[], Optional[Pending]]],
            received: bool, in_stream: bool = True
            ) -> Optional[Pending]:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        local, pending = self._local, None
        loads = local.pack_with_acks(namespace, args, clients, ack_id)
        with self._order:
            is_now = received or not self.is_read
            if not is_now and (append is None or not in_stream):
                # First: there may be no room.
                self._wait(namespace, loads)
            if append is not None:
                pending = append()
            if is_now:
                self.hand_over(loads)
            elif pending is not None:
                self._emitted(pending, namespace, None, loads)
        local.log_lines(self._order)
        return pending

    def hand_over_later(self, namespace: str,
                        loads: Sequence[Load]) -> None:
        """Deliver what does not pass through the stream: now, or after what
        was emitted before.

        :raises OutboxFullError: it has to wait, and there is no room.
        """
        if loads:
            with self._order:
                self._wait(namespace, loads)
            self._local.log_lines(self._order)

    def _wait(self, namespace: str, loads: Sequence[Load]) -> None:
        if not self._waiting or not self.is_read:
            self.hand_over(loads)
            return
        is_decided = False
        try:
            share = self._shares.put(
                [part for load in loads for part in load.parts], False)
            self._waiting.append(Waiting(
                self._waiting[-1].sequence, None, namespace, None,
                list(loads), share=share))
            is_decided = True
        except OutboxFullError:
            is_decided = True
            raise
        finally:
            if not is_decided:
                self._give_back_unused()

    def _give_back_unused(self) -> None:
        """A task was struck: what it took is given back, unless its event
        waits; under the order lock."""
        used = {id(each.share) for each in self._waiting}
        for share in list(self._shares):
            if id(share) not in used:
                share.settled = True
        self._shares.tidy(everything=not self._waiting)

    def _give_back(self, share: Pending) -> None:
        share.settled = True
        self._shares.tidy(everything=not self._waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether something was emitted that has not come back."""
        return bool(self._waiting)

    def flush(self, sid: str,
              then: Optional[Callable[[], None]] = None) -> None:
        """A client is going to be disconnected: it gets what waits for it,
        which it would miss.

        :param then: called in the same step, under the order lock.
        """
        parted = _Parted(sid)
        while True:
            self._encode_waiting()
            with self._order:
                if self._unencoded:
                    continue
                for waiting in self._waiting:
                    for load in waiting.loads:
                        kept, leaving = parted(load.clients)
                        if leaving:
                            load.clients = kept
                            self.hand_over([Load(leaving, load.encoded)])
                if then is not None:
                    then()
                break
        self._local.log_lines(self._order)

    def leave(self) -> None:
        """This node leaves: messages of other processes are not taken in any
        more. Its own still come back, and clients that can be recovered must
        not get them: their offsets would lead past the others."""
        with self._order:
            if self._end is None:
                self._end = self.position

    @property
    def handed_over(self) -> Position:
        """Up to where clients that can be recovered have everything."""
        return self.position if self._end is None else self._end

    @property
    def has_left(self) -> bool:
        """Whether this node has left: what is remembered from then on is not
        all."""
        return self._end is not None

    def drain(self, timeout: float) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        if not self.is_read:
            return
        event = self._make_event()
        with self._order:
            if not self._waiting:
                return
            self._waiting.append(Waiting(
                self._waiting[-1].sequence, None, '', None, [], event))
        event.wait(timeout)

    def end(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`.

        What waits and has not come back is not delivered: the stream may
        hold it, and other nodes' clients get it."""
        with self._order:
            for waiting in self._waiting:
                if waiting.share is not None:
                    waiting.share.settled = True
            self._shares.tidy(everything=True)

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
            if not waiting.loads:
                # It is encoded before it comes back.
                waiting.loads.append(Load([], NOT_ENCODED, True))
                self._unencoded.append(waiting)
            load = waiting.loads[0]
            load.clients = joined(load.clients)

    def _encode_waiting(self) -> None:
        """Encode what waits and is not encoded yet; without the order
        lock."""
        while self._unencoded:
            try:
                waiting = self._unencoded[0]
                encoded = self._encode(waiting.namespace, waiting.record)
            except IndexError:
                # Another task was faster.
                return
            with self._order:
                for load in waiting.loads:
                    if load.encoded is NOT_ENCODED:
                        load.encoded = encoded or NOT_ENCODED
                if encoded is None:
                    waiting.loads.clear()
                if waiting in self._unencoded:
                    self._unencoded.remove(waiting)

    # -- for the reader's task --------------------------------------------

    def began(self, cursor: Position) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            self.position = self.arrived = cursor
            self.has_begun = True
            self._on_begin(self)

    def arriving(self, entry_id: Position) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        self.arrived = entry_id

    def place(self, client: ClientSession) -> None:
        """A new client gets all after the position of now; under
        the order lock. One that was let in before the reader began gets all
        that the reader reads."""
        client.begin_at(self.position)
        sent = self._local.sent
        if sent.get(client.sid, client) is None:
            sent[client.sid] = client.sent

    def serve(self, namespaces: Collection[str]) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        with self._order:
            # What comes after this is recorded: it is not received yet, and
            # the node knows already that they are served.
            self.history.serve(namespaces, self.arrived)

    def history_lost(self) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        self._broken = True
        self._on_loss()

    def came_back(self, entry: Entry, sequence: int,
                  is_message: bool) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Follower`."""
        if self._waiting:
            self._prepare(entry.id)
        while True:
            if self._unencoded:
                self._encode_waiting()
            with self._order:
                if self._unencoded:
                    continue
                self._take_back(entry, sequence, is_message)
                break
        if self._local.lines:
            self._local.log_lines(self._order)

    def _prepare(self, entry_id: Position) -> None:
        """Have what comes back next ready with its offset. The reader's task
        alone takes it off."""
        for load in self._waiting[0].loads:
            if load.recoverable and load.encoded is not NOT_ENCODED:
                load.encoded.prepare(entry_id)

    def _take_back(self, entry: Entry, sequence: int,
                   is_message: bool) -> None:
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
            self._is_over(waiting)

    def _is_over(self, waiting: Waiting) -> None:
        if waiting.event is not None:
            waiting.event.set()
        if waiting.share is not None:
            self._give_back(waiting.share)

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
            # Its emitter was told, or the log: no client has it.
            return
        # Redis has lost it. Here, at least, it can be delivered.
        self._is_over(waiting)
        for load in waiting.loads:
            load.recoverable = False
        self.hand_over(waiting.loads)

    def received(self, entry: Entry, act: Act) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        message = act.message
        if isinstance(message, Broadcast) and message.request_id is None:
            self._receive_event(entry, act.namespace, message)
        elif isinstance(message, Broadcast) or message.type not in ORDERED:
            # It goes with no offset, and is not delivered again.
            self._act(act)
        else:
            with self._order:
                self._note(entry, act.namespace, message)
                self._act(act)
            self._local.log_lines(self._order)

    def _receive_event(self, entry: Entry, namespace: str,
                       message: Broadcast) -> None:
        local, target, encoded = self._local, message.target, None
        noted = False
        try:
            if local.reaches(namespace, target):
                encoded = self._encode_received(entry, namespace, message)
            while not noted:
                with self._order:
                    clients = local.recipients(namespace, target)
                    if encoded is not None or not clients:
                        noted = True
                        self._note(entry, namespace, message)
                        if encoded is not None:
                            self.hand_over([Load(
                                clients, encoded, is_missed(message))])
                        break
                # The first of them came in this moment.
                encoded = self._encode_received(entry, namespace, message)
        finally:
            if not noted:
                # It cannot be encoded. Other nodes may be able to.
                with self._order:
                    self._note(entry, namespace, message)
        local.log_lines(self._order)

    def _encode_received(self, entry: Entry, namespace: str,
                         message: Broadcast) -> Encoded:
        encoded = self._local.encode(namespace, message.args)
        if self._local.sent:
            encoded.prepare(entry.id)
        return encoded

    def _note(self, entry: Entry, namespace: str, message: Message) -> None:
        """A message of another process is carried out now; under the order
        lock."""
        self._check(entry.id)
        self.position = entry.id
        if is_missed(message):
            self.history.add(namespace, record_of(entry, message))

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
        """Wait until all up to a position is handed over.

        :param timeout: seconds.
        :return: ``False`` if time ran out.
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
                      records: Iterable[Record],
                      is_here: Callable[[], bool]) -> bool:
        """Hand missed packets to a client whose deliveries are held.

        :param is_here: whether the client still is; called under the order
                        lock.
        :return: ``False`` if it is gone.
        """
        ready = []
        for record in records:
            encoded = self._encode(namespace, record)
            if encoded is not None:
                encoded.prepare(record.id)
                ready.append((encoded, record.id))
        with self._order:
            if not is_here():
                return False
            for encoded, entry_id in ready:
                self._local.send_again(client, encoded, entry_id)
        self._local.log_lines(self._order)
        return True

    # -- how it is delivered ----------------------------------------------

    def hand_over(self, loads: Sequence[Load]) -> None:
        """Deliver now; under the order lock."""
        if not loads:
            return
        local, position = self._local, self.position
        if self._end is not None:
            # Those that can be recovered get it from the node that they
            # return to.
            position = self._end
            loads = [Load([each for each in load.clients
                           if each[0] not in local.sent], load.encoded)
                     if load.recoverable else load for load in loads]
        local.hand_over(loads, position)

    def _encode(self, namespace: str,
                record: Optional[Record]) -> Optional[Encoded]:
        """Encode an event that clients missed; without the order lock.

        :return: ``None``: it cannot be delivered.
        """
        if record is None:
            return None
        if record.encoded is None:
            try:
                record.encoded = self._local.encode(
                    namespace, _arguments_of(record.fields))
            except Exception:
                # Whatever the server's packet class cannot carry: no client
                # here had it when it came, either.
                self._logger().exception(
                    'entry %s could not be delivered again', record.id)
                return None
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
