"""One member of the cluster, without any I/O: entries and time go in, events
come out (:mod:`redis_streams_adapter.protocol.events`), and the runtime
carries them out. Pure.

The node decides what an entry means for it: its own, a copy, for a namespace
that it does not serve, a sign of life, or a message to act on. It answers
INITIAL_HEARTBEAT, decides when a HEARTBEAT is due and which node has been
silent for too long, and finds the callback for an acknowledgement.

Not synchronised: its owner lets one task in at a time. Any task may call
:attr:`Node.spoke`, which is one assignment, and look up
:attr:`Node.namespaces`, :meth:`Node.serves` and :attr:`Node.others`.
"""
from typing import Callable, Container, Iterable, List, Optional, \
    Sequence, Tuple

from . import codec
from ..errors import DecodeError
from .announcements import Announcements, TICK_INTERVAL, TICK_MINIMUM
from .arrivals import Arrivals
from .content import read_position, STREAM_WIDE
from .discovery import ASK_INTERVAL, EVERYWHERE, Knowledge
from .event_text import find_event
from .events import Act, Completed, Duplicate, Event, Learned, Missing, \
    NodeJoined, NodeLeft, ReaderReports, ReadersAsked, Returned, Send, Skipped
from .languages import Languages
from .membership import Membership
from .messages import AdapterClose, EMITTER_UID, Heartbeat, \
    InitialHeartbeat, MessageType, Response, RESPONSE_TYPES, RESPONSES, \
    SIGNS_OF_LIFE
from .pending_requests import PendingRequests
from .plain_events import PlainEvents
from .presence import asks_everyone
from .requests import Asked, Request
from .sequences import Sequences
from .transport import Entry, Way

_NOTHING: Tuple[Event, ...] = ()
_DUPLICATE = Duplicate()


class Node:
    """The state of one member.

    :param uid: its id in the cluster.
    :param heartbeat_interval: seconds between two signs of life in a stream;
                               the same, at most, between two entries in a
                               namespace with servers that need that.
    :param heartbeat_timeout: seconds after which a silent node is dropped.
    :param former: the ids that this process had before. They never count as
                   members: their ADAPTER_CLOSE may not have been stored.
    :param stream_of: returns the number of the stream of a namespace.
    """

    def __init__(self, uid: str, heartbeat_interval: float,
                 heartbeat_timeout: float, former: Iterable[str] = (),
                 stream_of: Callable[[str], int] = lambda _: 0) -> None:
        self.uid = uid
        self._heartbeat_interval = heartbeat_interval
        # If two ticks are further apart, this process was asleep.
        self._asleep_after = max(heartbeat_timeout / 2, 2 * TICK_INTERVAL)
        self._stream_of = stream_of
        self._members = Membership(heartbeat_timeout,
                                   (uid, EMITTER_UID, *former), stream_of)
        self._requests = PendingRequests()
        #: The namespaces that are served, and what is written of them.
        self.announcements = Announcements(
            heartbeat_interval, stream_of, self._members.needing)
        self._served = self.announcements.served
        self._arrivals = Arrivals(uid, self._members, self.announcements,
                                  self._requests, stream_of)
        #: What to ask the servers whose namespaces are not known:
        #: :meth:`.Arrivals.questions`.
        self.questions = self._arrivals.questions
        #: Takes most entries in, in half of the time: to be asked first.
        self.plain_events = PlainEvents(self._served, self._members,
                                        self._requests)
        #: Note that this node has written in a namespace: see
        #: :meth:`.Announcements.spoke`. Any task may call it.
        self.spoke = self.announcements.spoke
        #: The languages of the other nodes.
        self.languages = Languages(self._members)
        # The questions that others answer: see :class:`.Membership`.
        self.shared = self._members.shared
        self.nodes_to_ask = self._members.nodes_to_ask
        self.nodes = self._members.nodes
        self.known = self._members.known
        self._ticked: Optional[float] = None

    # -- entries and messages ---------------------------------------------

    def receive(self, entry: Entry, now: float, sequences: Sequences,
                knowledge: Optional[Knowledge] = None) -> Sequence[Event]:
        """Take in an entry.

        :param sequences: what was seen of the stream that holds it. The id of
                          the writer identifies own entries: a process may
                          write as an emitter.
        :param knowledge: what is known of the members in that stream;
                          ``None``: all of them are known.
        :return: what to do, in this order.
        """
        try:
            envelope = codec.open_envelope(entry.fields)
        except DecodeError as exc:
            return (Skipped(exc),)
        uid, _, kind, _, writer, number, since, extra = envelope
        if writer is None:
            # Reports have no order, see `Writer.append_urgent`.
            if uid == self.uid or uid == EMITTER_UID and (extra or {}).get(
                    b'reader') == self.uid.encode():
                return _NOTHING
            return self._accept(entry, envelope, now, sequences, knowledge)
        if writer == sequences.own:
            return self._return(envelope, now, knowledge)
        is_numbered = kind not in SIGNS_OF_LIFE
        missing = sequences.missing_since(writer, number, is_numbered)
        if missing is None:
            try:
                began = read_position(since, 'since') if since else None
            except DecodeError as exc:
                return (Skipped(exc),)
            sequences.meet(writer, began, entry.id)
            missing = sequences.missing_before(writer, number, is_numbered)
        if missing < 0:
            return (_DUPLICATE,)
        events = self._accept(entry, envelope, now, sequences, knowledge)
        return (Missing(uid, missing), *events) if missing else events

    def _return(self, envelope: codec.Envelope, now: float,
                knowledge: Optional[Knowledge]) -> Sequence[Event]:
        """An entry of this process was read back."""
        kind, number = envelope.type, envelope.sequence
        events: List[Event] = [
            Returned(number, kind not in SIGNS_OF_LIFE),
            *map(Completed, self._requests.returned(
                envelope.writer or b'', number)),
            *self._requests.take_early()]
        asked = envelope.namespace if kind is MessageType.INITIAL_HEARTBEAT \
            else EVERYWHERE if asks_everyone(envelope.extra) else None
        if asked is not None and knowledge is not None:
            knowledge.asked_back(asked, now)
            events.append(Learned())
        return events

    def _accept(self, entry: Entry, envelope: codec.Envelope, now: float,
                sequences: Sequences,
                knowledge: Optional[Knowledge]) -> Sequence[Event]:
        uid, namespace, kind, *_ = envelope
        found: List[Event] = []
        if kind in SIGNS_OF_LIFE and envelope.extra is not None:
            try:
                change = self._arrivals.present(
                    envelope, now, found, sequences, knowledge)
            except DecodeError as exc:
                return (Skipped(exc),)
            if change and kind is MessageType.ADAPTER_CLOSE:
                return found
        else:
            change = False
        joined = not change and self._arrivals.hear(
            envelope, now, found)
        if namespace not in self._served and (
                kind is MessageType.BROADCAST
                or not self._concerns(envelope)):
            if not joined:
                return found or _NOTHING
            self._requests.joined(namespace, uid, sequences.own,
                                  envelope.writer is not None)
            return (NodeJoined(namespace, uid), *found)
        try:
            message = kind is MessageType.BROADCAST and find_event(
                envelope.data) or codec.decode(envelope)
            events: List[Event]
            if isinstance(message, Heartbeat):
                events = self._understand_heartbeat(
                    namespace, uid, message, now, knowledge)
            elif isinstance(message, InitialHeartbeat):
                events = [Send(namespace, self._introduce(
                    entry, namespace, message, now, knowledge))]
            elif isinstance(message, AdapterClose):
                if knowledge is not None:
                    knowledge.left(namespace, uid)
                return self._lose(namespace, uid, silent=False) \
                    if self._members.left(namespace, uid) else _NOTHING
            elif isinstance(message, RESPONSES):
                events = self._requests.respond(uid, message)
            else:
                events = [Act(namespace, uid, message)]
        except DecodeError as exc:
            events = [Skipped(exc)]
        if joined:
            self._requests.joined(namespace, uid, sequences.own,
                                  envelope.writer is not None)
            return (NodeJoined(namespace, uid), *events, *found)
        return [*found, *events] if found else events

    def _concerns(self, envelope: codec.Envelope) -> bool:
        """Whether an entry of a namespace that is not served matters."""
        kind = envelope.type
        if kind in RESPONSE_TYPES:
            return self._requests.concern(envelope.namespace)
        return kind is MessageType.ADAPTER_CLOSE \
            or kind is MessageType.HEARTBEAT \
            and not STREAM_WIDE.isdisjoint(envelope.extra or ())

    def _understand_heartbeat(
            self, namespace: str, uid: str, message: Heartbeat, now: float,
            knowledge: Optional[Knowledge]) -> List[Event]:
        events: List[Event] = []
        if message.behind is not None:
            events.append(ReaderReports(
                message.reader or uid, message.behind or message.read,
                bool(message.behind)))
        if message.asks:
            events.append(ReadersAsked())
        if knowledge is not None and message.members is not None \
                and message.at is not None \
                and knowledge.tell(namespace, message.at):
            events.extend(
                NodeJoined(namespace, each) for each in self._members.learn(
                    namespace, message.members, knowledge, now))
            events.append(Learned())
        return events

    def _introduce(self, entry: Entry, namespace: str,
                   message: InitialHeartbeat, now: float,
                   knowledge: Optional[Knowledge]) -> Heartbeat:
        """The answer to a node that has joined."""
        if not message.asks or knowledge is None \
                or self.unknown_for(namespace, knowledge, now) != 0:
            return Heartbeat()
        members = self._members.ages(namespace, now)
        return Heartbeat() if members is None \
            else Heartbeat(members=members, at=entry.id)

    def recall(self, entry: Entry, seen: float,
               sequences: Sequences) -> None:
        """Take in an entry of the history: :meth:`.Membership.recall`."""
        self._members.recall(entry, seen, sequences)

    def forget(self, stream: int) -> None:
        """Drop what was recalled of a stream: :meth:`.Membership.forget`."""
        self._members.forget(stream)

    def hear(self, packed: codec.Packed, way: Way) -> Iterable[Event]:
        """Take in a message that came over PUB/SUB, or into the inbox.

        :param way: the kind of PUB/SUB.
        """
        uid, namespace, message = packed
        if isinstance(message, RESPONSES):
            # A process may ask in a namespace that it does not serve.
            return self._requests.overhear(uid, message)
        if namespace not in self._served:
            return _NOTHING
        return (Act(namespace, uid, message, way),)

    def respond(self, uid: str, message: Response) -> List[Event]:
        """Take in an answer by a node or by one of its clients."""
        return self._requests.respond(uid, message)

    def _lose(self, namespace: str, uid: str, silent: bool,
              certain: bool = True) -> List[Event]:
        """A node is gone; ``certain``: it answers no request any more."""
        return [NodeLeft(namespace, uid, silent),
                *map(Completed, self._requests.node_left(
                    namespace, uid, certain))]

    # -- time -------------------------------------------------------------

    def tick(self, now: float, hearing: bool,
             knowledge: Iterable[Knowledge] = ()) -> List[Event]:
        """Let time pass. To be called after :meth:`next_tick` seconds.

        :param hearing: whether the stream can be read now. If not, no
                        heartbeat is due and no node is dropped: a heartbeat
                        would arrive late, and silence means nothing.
        :param knowledge: what is known of the members in each stream.
        """
        elapsed = 0.0 if self._ticked is None else now - self._ticked
        asleep = elapsed > self._asleep_after
        self._ticked = now
        self._requests.expire(now)
        if not hearing or asleep:
            self._members.refresh(now)
            for each in knowledge:
                each.suspend(elapsed)
        if not hearing:
            return []
        events: List[Event] = []
        for change in self._members.tick_servers(now):
            events.extend(self._arrivals.changed(
                change, '', silent=True))
        for namespace, uid, has_heartbeat in self._members.tick(now):
            events.extend(self._lose(namespace, uid, True, has_heartbeat))
        # After sleep, the others may have dropped this node: it writes at
        # once.
        events.extend(self.announcements.due(
            0.0 if asleep else self.announcements.interval, now))
        events.extend(self._arrivals.questions(now))
        return events

    def resume(self, now: float) -> List[Event]:
        """The stream can be read again: write at once what is due."""
        return list(self.announcements.due(
            self.announcements.interval, now))

    def next_tick(self, now: float) -> float:
        """In how many seconds to call :meth:`tick` again: at the latest when
        the next heartbeat is due."""
        return self.announcements.next_due(now)

    # -- membership -------------------------------------------------------

    def serve(self, namespaces: Iterable[str], now: float,
              settled: Container[int] = ()) -> List[Event]:
        """Serve exactly these namespaces from now on.

        :param settled: the streams of which all members are known.
        :return: what to write: :meth:`.Announcements.serve`.
        """
        return list(self.announcements.serve(namespaces, now, settled))

    @property
    def namespaces(self) -> List[str]:
        """The namespaces that this node is a member of."""
        return list(self._served)

    def serves(self, namespace: str) -> bool:
        """Whether this node is a member of the namespace."""
        return namespace in self._served

    def count(self, namespace: str) -> int:
        """The number of nodes in a namespace, including this one if it is a
        member."""
        return self._members.count(namespace) + self.serves(namespace)

    def lose_sight(self, writer: bytes, stream: int = 0) -> None:
        """Part of a stream was lost: :meth:`.PendingRequests.lost`, and
        :meth:`.Servers.lose_sight`."""
        self._requests.lost(writer)
        self._members.servers.lose_sight(stream)

    def unknown_for(self, namespace: str, knowledge: Knowledge,
                    now: float) -> Optional[float]:
        """In how many seconds to check again whether all members of a
        namespace are known: :meth:`.Knowledge.remaining`."""
        return self._unknown(
            namespace, self._stream_of(namespace), knowledge, now)

    def unknown_in(self, stream: int, knowledge: Knowledge,
                   now: float) -> Optional[float]:
        """The same for all namespaces of a stream."""
        return self._unknown(EVERYWHERE, stream, knowledge, now)

    def _unknown(self, namespace: str, stream: int, knowledge: Knowledge,
                 now: float) -> Optional[float]:
        if not knowledge.settled and self._ticked is not None \
                and now - self._ticked > self._asleep_after:
            # This process slept, or is starved: the next tick finds how long.
            return TICK_MINIMUM
        left = knowledge.remaining(namespace, now)
        if left == 0 and self._members.servers.doubt(namespace, stream):
            return ASK_INTERVAL
        return left

    def is_known(self, uid: str) -> bool:
        """Whether a node is a member of any namespace."""
        return uid in self._members.uids

    @property
    def others(self) -> int:
        """The number of other nodes in any namespace."""
        return len(self._members.uids)

    # -- requests ---------------------------------------------------------

    def expect(self, request_id: str, request: Request, now: float,
               asked: Optional[Asked] = None,
               writer: Optional[bytes] = None) -> None:
        """Wait for the answers of other nodes of the namespace.

        :param asked: the nodes that are asked; ``None``: all that are known.
        :param writer: the id of the writer, if the request goes to the stream.
        """
        others, known = asked or (None, self.languages.asked(
            request.namespace, request.python_only))
        self._requests.open(request_id, request, known, now, others, writer)

    def written(self, request_id: str, writer: bytes,
                number: int) -> List[Event]:
        """A request is in the outbox: :meth:`.PendingRequests.written`."""
        waiter = self._requests.written(request_id, writer, number)
        early = self._requests.take_early()
        return early if waiter is None else [*early, Completed(waiter)]

    def withdraw(self, request_id: str) -> None:
        """Stop waiting for answers."""
        self._requests.withdraw(request_id)
