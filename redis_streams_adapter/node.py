"""One member of the cluster, without any I/O: entries and time go in,
events come out, and the shell carries them out.

The node decides what an entry means for it: whether it is its own, a copy,
for a namespace that nobody here is in, a sign of life, or a message to act
on. It answers INITIAL_HEARTBEAT, says when a HEARTBEAT is due and who has
fallen silent, and finds the callback for an acknowledgement.

=================  ======================================================
entry              events
=================  ======================================================
own                :class:`Returned`, where the outbox wrote it
a copy             :class:`Duplicate`
after a gap        :class:`Missing`, then as follows
malformed          :class:`Skipped`
other namespace    none
first of a node    :class:`NodeJoined`, then what the message asks for
INITIAL_HEARTBEAT  :class:`Send` of a HEARTBEAT
HEARTBEAT          :class:`ReaderLags`, where it says so
ADAPTER_CLOSE      :class:`NodeLeft`
a response         :class:`Completed`, where it is the last one
acknowledgement    :class:`Acknowledged`, where there is a callback;
                   :class:`Completed`, where it is the last one
any other          :class:`Act`
=================  ======================================================

Not synchronised: its owner lets one task in at a time, but for
:meth:`Node.spoke`, which is one assignment.
"""
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, \
    Sequence, Set, Tuple, Union

from . import codec
from .errors import DecodeError
from .membership import Membership
from .messages import AdapterClose, BroadcastAck, BroadcastClientCount, \
    EMITTER_UID, FetchSocketsResponse, Heartbeat, InitialHeartbeat, Message, \
    MessageType, ServerSideEmitResponse, SIGNS_OF_LIFE
from .requests import AckCallback, Asked, Request, Requests
from .sequences import Sequences
from .transport import Entry, parse_id, Way

#: The longest time between two calls of :meth:`Node.tick`, in seconds, as in
#: Node.js; and the shortest.
TICK_INTERVAL = 1.0
TICK_MINIMUM = 0.01


class Known(NamedTuple):
    """Another node, as far as the stream shows it.

    :param namespace: one that it serves.
    :param python: whether it is one in Python, which listens to PUB/SUB as
                   well.
    """

    namespace: str
    python: bool


@dataclass(frozen=True)
class Send:
    """Write this to the stream."""

    namespace: str
    message: Message


class Act(NamedTuple):
    """Do what another process asks for.

    :param aside: the way over PUB/SUB that it came, where it did; its
                  answer takes the same.
    """

    namespace: str
    uid: str
    message: Message
    aside: Optional[Way] = None


class Returned(NamedTuple):
    """An entry of this process was read back.

    :param sequence: its number; of a sign of life, that of the last message
                     before it.
    :param is_message: whether it is a message.
    """

    sequence: int
    is_message: bool


@dataclass(frozen=True)
class Acknowledged:
    """A client of another node has acknowledged: call back."""

    callback: AckCallback
    args: Tuple[Any, ...]


@dataclass(frozen=True)
class Completed:
    """All have answered: wake who waits for it."""

    waiter: Any


@dataclass(frozen=True)
class NodeJoined:
    """A node was heard of for the first time."""

    namespace: str
    uid: str


@dataclass(frozen=True)
class NodeLeft:
    """A node has said goodbye, or was silent for too long."""

    namespace: str
    uid: str
    silent: bool


@dataclass(frozen=True)
class ReaderLags:
    """A node has told how far its reader is; ``None``: at the end."""

    uid: str
    position: Optional[bytes]


@dataclass(frozen=True)
class Skipped:
    """The entry does not hold a valid message."""

    error: DecodeError


@dataclass(frozen=True)
class Missing:
    """So many messages of this process never came to us."""

    uid: str
    count: int


@dataclass(frozen=True)
class Duplicate:
    """The entry is a copy of one that was seen."""


Event = Union[Send, Act, Returned, Acknowledged, Completed, NodeJoined,
              NodeLeft, ReaderLags, Skipped, Missing, Duplicate]

Response = Union[BroadcastAck, BroadcastClientCount, FetchSocketsResponse,
                 ServerSideEmitResponse]

RESPONSES = (BroadcastAck, BroadcastClientCount, FetchSocketsResponse,
             ServerSideEmitResponse)

_NOTHING: Tuple[Event, ...] = ()
_DUPLICATE = Duplicate()


class Node:
    """The state of one member.

    :param uid: its id in the cluster.
    :param heartbeat_interval: seconds after which a namespace in which
                               nothing was said gets a HEARTBEAT.
    :param heartbeat_timeout: seconds after which a silent node is gone.
    """

    def __init__(self, uid: str, heartbeat_interval: float,
                 heartbeat_timeout: float) -> None:
        self.uid = uid
        self._heartbeat_interval = heartbeat_interval
        # Between two ticks: then it was us who slept.
        self._asleep_after = max(heartbeat_timeout / 2, 2 * TICK_INTERVAL)
        self._members = Membership(heartbeat_timeout)
        self._requests = Requests()
        #: Who has a heartbeat, by namespace and uid, and whether it is a node
        #: in Python. Node.js 0.3 has none.
        self._beating: Dict[Tuple[str, str], bool] = {}
        #: When this node last wrote, by served namespace. The one thing that
        #: any task writes, see :meth:`spoke`.
        self._spoke: Dict[str, float] = {}
        self._ticked: Optional[float] = None

    # -- what comes in ----------------------------------------------------

    def receive(self, entry: Entry, now: float,
                sequences: Sequences) -> Sequence[Event]:
        """Take in an entry.

        :param sequences: what was seen of the stream it stands in. Own
                          entries are known by the id of the writer: before
                          it was a member this process wrote as an emitter.
        :return: what to do about it, in this order.
        """
        try:
            envelope = codec.open_envelope(entry.fields)
        except DecodeError as exc:
            return (Skipped(exc),)
        uid, writer = envelope.uid, envelope.writer
        if writer is None:
            if uid == self.uid:
                # What was said outside of the order, see `Writer.say_now`.
                return _NOTHING
            return self._accept(envelope, now)
        if writer == sequences.own:
            return (Returned(envelope.sequence,
                             envelope.type not in SIGNS_OF_LIFE),)
        if not sequences.knows(writer):
            try:
                since = envelope.since and codec.read_position(
                    envelope.since, 'since')
            except DecodeError as exc:
                return (Skipped(exc),)
            sequences.meet(writer, since or None, parse_id(entry.id))
        missing = sequences.missing_before(
            writer, envelope.sequence, envelope.type not in SIGNS_OF_LIFE)
        if missing < 0:
            return (_DUPLICATE,)
        if missing:
            return (Missing(uid, missing), *self._accept(envelope, now))
        return self._accept(envelope, now)

    def _accept(self, envelope: codec.Envelope,
                now: float) -> Sequence[Event]:
        uid, namespace = envelope.uid, envelope.namespace
        served = self._members.serves(namespace)
        if not served and envelope.behind is None:
            return _NOTHING
        joined = (served and uid != EMITTER_UID
                  and self._members.heard(namespace, uid, now))
        if served and (envelope.writer or envelope.type in SIGNS_OF_LIFE):
            self._beating[namespace, uid] = envelope.writer is not None
        try:
            message = codec.decode(envelope)
            if not served and not isinstance(message, Heartbeat):
                return _NOTHING
            events = tuple(self._understand(namespace, uid, message))
        except DecodeError as exc:
            events = (Skipped(exc),)
        if joined and envelope.type is not MessageType.ADAPTER_CLOSE:
            return (NodeJoined(namespace, uid), *events)
        return events

    def _understand(self, namespace: str, uid: str,
                    message: Message) -> Iterable[Event]:
        kind = message.type
        if kind is MessageType.BROADCAST:
            return (Act(namespace, uid, message),)
        if isinstance(message, Heartbeat):
            if message.behind is None:
                return _NOTHING
            return (ReaderLags(uid, message.behind or None),)
        if kind is MessageType.INITIAL_HEARTBEAT:
            return (Send(namespace, Heartbeat()),)
        if isinstance(message, AdapterClose):
            return self._lose(namespace, uid, silent=False)
        if isinstance(message, RESPONSES):
            return self.respond(uid, message)
        return (Act(namespace, uid, message),)

    def hear(self, packed: codec.Packed, way: Way) -> Iterable[Event]:
        """Take in what came over PUB/SUB.

        :param way: how it came.
        """
        uid, namespace, message = packed
        if isinstance(message, RESPONSES):
            # Also where we have asked without being a member.
            return tuple(self.respond(uid, message))
        if not self._members.serves(namespace):
            return _NOTHING
        return (Act(namespace, uid, message, way),)

    def respond(self, uid: str, message: Response) -> Iterable[Event]:
        """Take in an answer to a request, by a node or one of its clients.
        """
        requests, request_id = self._requests, message.request_id
        if isinstance(message, BroadcastAck):
            callback, waiter = requests.acknowledged(
                request_id, uid, message.args)
            if callback is not None:
                yield Acknowledged(callback, message.args)
        elif isinstance(message, BroadcastClientCount):
            waiter = requests.counted(request_id, uid, message.client_count)
        elif isinstance(message, FetchSocketsResponse):
            waiter = requests.answered(request_id, uid, message.sockets)
        else:
            waiter = requests.answered(request_id, uid, message.response)
        if waiter is not None:
            yield Completed(waiter)

    def _lose(self, namespace: str, uid: str,
              silent: bool) -> Iterable[Event]:
        if silent or self._members.left(namespace, uid):
            yield NodeLeft(namespace, uid, silent)
            certain = not silent or (namespace, uid) in self._beating
            self._beating.pop((namespace, uid), None)
            for waiter in self._requests.node_left(namespace, uid, certain):
                yield Completed(waiter)

    # -- time -------------------------------------------------------------

    def tick(self, now: float, hearing: bool) -> List[Event]:
        """Let time pass: to be called after :meth:`next_tick` seconds.

        :param hearing: whether the stream can be read now. If not, no
                        heartbeat is due and nobody is dropped: what is
                        written now would arrive late, and silence means
                        nothing.
        """
        asleep = (self._ticked is not None
                  and now - self._ticked > self._asleep_after)
        self._ticked = now
        self._requests.expire(now)
        if not hearing or asleep:
            self._members.refresh(now)
        events: List[Event] = []
        if not hearing:
            return events
        for namespace, uid in self._members.tick(now):
            events.extend(self._lose(namespace, uid, silent=True))
        for namespace in self._members.namespaces:
            if now - self._spoke[namespace] >= self._heartbeat_interval:
                events.append(Send(namespace, Heartbeat()))
        return events

    def next_tick(self, now: float) -> float:
        """In how many seconds to call :meth:`tick` again: when the next
        heartbeat is due, at the latest."""
        last = min((self._spoke[namespace]
                    for namespace in self._members.namespaces), default=now)
        due = last + self._heartbeat_interval - now
        # One that is overdue could not be sent: that takes its time.
        return min(TICK_INTERVAL, max(due, TICK_MINIMUM)) if due > 0 \
            else TICK_INTERVAL

    def spoke(self, namespace: str, now: float) -> None:
        """Note that this node has written: no heartbeat is due for a while.

        One assignment, which needs no lock; called by every task that
        emits.
        """
        if namespace in self._spoke:
            self._spoke[namespace] = now

    # -- membership -------------------------------------------------------

    def serve(self, namespaces: Iterable[str], now: float) -> List[Event]:
        """Serve exactly these namespaces from now on.

        :return: an INITIAL_HEARTBEAT for each new one, and an ADAPTER_CLOSE
                 for each that is no longer served.
        """
        wanted = dict.fromkeys(namespaces)
        events: List[Event] = []
        for namespace in self._members.namespaces:
            if namespace not in wanted:
                self._members.forget(namespace)
                self._beating = {each: python for each, python
                                 in self._beating.items()
                                 if each[0] != namespace}
                self._spoke.pop(namespace, None)
                events.append(Send(namespace, AdapterClose()))
        for namespace in wanted:
            if not self._members.serves(namespace):
                self._members.serve(namespace)
                self._spoke[namespace] = now
                events.append(Send(namespace, InitialHeartbeat()))
        return events

    @property
    def namespaces(self) -> List[str]:
        """The namespaces that this node is a member of."""
        return self._members.namespaces

    def serves(self, namespace: str) -> bool:
        """Whether this node is a member of the namespace."""
        return self._members.serves(namespace)

    def count(self, namespace: str) -> int:
        """The number of nodes in a namespace, this one included."""
        return 1 + self._members.count(namespace)

    def who_reads(self, namespaces: Iterable[str]) -> Dict[str, List[str]]:
        """Whom to ask in which of these namespaces, so that each other
        node in them is asked once."""
        asked: Dict[str, List[str]] = {}
        known: Set[str] = set()
        for namespace in namespaces:
            uids = [uid for uid in self._members.nodes(namespace)
                    if uid not in known]
            if uids:
                asked[namespace] = uids
                known.update(uids)
        return asked

    @property
    def others(self) -> int:
        """The number of other nodes in any namespace."""
        return len({uid for namespace in self._members.namespaces
                    for uid in self._members.nodes(namespace)})

    def nodes(self, namespace: str) -> Dict[str, float]:
        """When each other node of a namespace was last heard of, by uid."""
        return self._members.nodes(namespace)

    def known(self, namespace: str) -> Dict[str, Known]:
        """The other nodes of a namespace, by uid; if this node does not
        serve it, those of all namespaces that it serves, for they may."""
        served = self._members.namespaces
        return {uid: Known(each, self._beating.get((each, uid), False))
                for each in ([namespace] if namespace in served else served)
                for uid in self._members.nodes(each)}

    # -- requests ---------------------------------------------------------

    def expect(self, request_id: str, request: Request, now: float,
               asked: Optional[Asked] = None) -> None:
        """Wait for the answers of other nodes of the namespace.

        :param asked: which; ``None``: all that are known.
        """
        others, known = asked or (None, self._members.nodes(
            request.namespace))
        self._requests.open(request_id, request, known, now, others)

    def withdraw(self, request_id: str) -> None:
        """Wait for no answer any longer."""
        self._requests.withdraw(request_id)
