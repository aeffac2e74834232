"""What nodes say to each other: one class per message, of which no object
changes.

The types and their numbers are those of ``MessageType`` in the npm package
``socket.io-adapter`` 2.5 (``dist/cluster-adapter.js``). Their form in the
stream is defined in :mod:`redis_streams_adapter.protocol.codec`.

A message does not hold its sender. The envelope does, see
:class:`redis_streams_adapter.protocol.codec.Envelope`.
"""
import json
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .position import Position
from .presence import Presence, Question

#: The name of a room. In Node.js it is text. Python applications use numbers
#: too, which JSON keeps apart from text.
Room = Union[str, int]

#: The ``uid`` of a process that only writes. It is never counted as a node.
EMITTER_UID = 'emitter'


def is_room(value: Any) -> bool:
    """Whether a value can be the name of a room on any server: text or a
    whole number. ``True`` is an ``int``, and would be taken for the room 1.
    """
    kind = type(value)
    return kind is str or kind is int or (
        isinstance(value, (str, int)) and kind is not bool)


class MessageType(IntEnum):
    """The ``type`` field of a stream entry."""

    INITIAL_HEARTBEAT = 1
    HEARTBEAT = 2
    BROADCAST = 3
    SOCKETS_JOIN = 4
    SOCKETS_LEAVE = 5
    DISCONNECT_SOCKETS = 6
    FETCH_SOCKETS = 7
    FETCH_SOCKETS_RESPONSE = 8
    SERVER_SIDE_EMIT = 9
    SERVER_SIDE_EMIT_RESPONSE = 10
    BROADCAST_CLIENT_COUNT = 11
    BROADCAST_ACK = 12
    ADAPTER_CLOSE = 13


#: What a node writes so that others hear of it. Nothing is lost with one of
#: them, so they are not numbered, see
#: :mod:`redis_streams_adapter.protocol.sequences`.
SIGNS_OF_LIFE = frozenset((
    MessageType.INITIAL_HEARTBEAT, MessageType.HEARTBEAT,
    MessageType.ADAPTER_CLOSE))


#: The types of the answers to requests.
RESPONSE_TYPES = frozenset((
    MessageType.FETCH_SOCKETS_RESPONSE,
    MessageType.SERVER_SIDE_EMIT_RESPONSE,
    MessageType.BROADCAST_CLIENT_COUNT, MessageType.BROADCAST_ACK))


#: The types whose order matters to clients.
ORDERED = frozenset((
    MessageType.BROADCAST, MessageType.SOCKETS_JOIN,
    MessageType.SOCKETS_LEAVE, MessageType.DISCONNECT_SOCKETS))


class Target(NamedTuple):
    """The sockets of a namespace that are addressed (``opts`` on the wire).

    :param rooms: the rooms whose members are addressed; none: all sockets.
    :param except_rooms: rooms whose members are left out. A socket id is
                         the name of a room that holds this socket only.
    :param flags: the broadcast flags of Node.js; unknown flags are ignored.
    """

    rooms: Tuple[Room, ...] = ()
    except_rooms: Tuple[Room, ...] = ()
    flags: Mapping[str, Any] = MappingProxyType({})


EVERYONE = Target()


#: Instead of a position: the reader has caught up. It is false in an ``if``.
CAUGHT_UP: Tuple[()] = ()


@dataclass(frozen=True)
class InitialHeartbeat:
    """A node has joined; every other node answers with a heartbeat.

    :param asks: the node does not know all members yet, and asks those that
                 do to list them. Only this package has it, see
                 :mod:`redis_streams_adapter.protocol.discovery`.
    :param presence: see :class:`Heartbeat`.
    """

    type = MessageType.INITIAL_HEARTBEAT

    asks: bool = False
    presence: Optional[Presence] = field(default=None, compare=False)


@dataclass(frozen=True)
class Heartbeat:
    """A node has written nothing else for a while, or reports the position of
    its reader, or asks for such reports, or lists the members that it knows.

    Only this package has the fields; Node.js ignores them.

    :param behind: the position of a reader that lags, or :data:`CAUGHT_UP`,
                   see
                   :mod:`redis_streams_adapter.protocol.flow_control`.
    :param read: the position of a reader that does not lag.
    :param asks: every reader that comes upon this reports its position.
    :param reader: the uid of the node with that reader, if it writes as an
                   emitter.
    :param members: all other members of the namespace: by uid, how many
                    seconds ago each was heard of. See
                    :mod:`redis_streams_adapter.protocol.discovery`.
    :param at: the position at which that list was true.
    :param presence: which namespaces the node serves in the stream, or a
                     question for that to another node. It is about the
                     stream, and read without the message: it does not count
                     when two messages are compared.
    """

    type = MessageType.HEARTBEAT

    behind: Union[Position, Tuple[()], None] = None
    reader: Optional[str] = None
    members: Optional[Mapping[str, float]] = None
    at: Optional[Position] = None
    read: Optional[Position] = None
    asks: bool = False
    presence: Union[Presence, Question, None] = field(
        default=None, compare=False)


class Broadcast:
    """An event for clients.

    Not a dataclass: one is made for each event that is sent or delivered, and
    a frozen dataclass takes three times as long to make.

    :param args: the event's name, then its arguments. ``None``: they are in
                 ``text``.
    :param target: the clients that are addressed.
    :param request_id: asks each client for an acknowledgement.
    :param text: the event's name and its arguments as one JSON array: text
                 that every client can parse, without white space before the
                 last bracket. ``None``: it is not known, or JSON cannot carry
                 the arguments.
    """

    __slots__ = ('target', 'request_id', 'text', '_args')

    type = MessageType.BROADCAST

    #: Whether :meth:`read` has been called, or has nothing to do.
    is_read = True

    #: The bytes that the placeholders in ``text`` stand for, if it has any.
    attachments: Sequence[bytes] = ()

    #: See :func:`.request_content.with_inbox`.
    inbox: Optional[str] = None

    def __init__(self, args: Optional[Tuple[Any, ...]],
                 target: Target = EVERYONE,
                 request_id: Optional[str] = None,
                 text: Optional[str] = None) -> None:
        self.target = target
        self.request_id = request_id
        self.text = text
        #: Any task may set it, in one step, to a value that is always equal.
        self._args = args

    def read(self) -> None:
        """Validate what came from another process, unless that is done. Until
        then, :attr:`text` and :attr:`attachments` are not set, and
        :attr:`args` may raise the same error.

        :raises DecodeError: it is not an event.
        """

    @property
    def args(self) -> Tuple[Any, ...]:
        """The event's name, then its arguments."""
        args = self._args
        if args is None:
            self._args = args = tuple(json.loads(self.text or '[]'))
        return args

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Broadcast) and (
            self.args, self.target, self.request_id) == (
            other.args, other.target, other.request_id)

    def __repr__(self) -> str:
        return (f'Broadcast({self.args!r}, {self.target!r}, '
                f'{self.request_id!r})')


class BroadcastRequest(Broadcast):
    """An event that each client acknowledges, with an inbox for the answers.
    """

    __slots__ = ('inbox',)

    def __init__(self, args: Tuple[Any, ...], target: Target,
                 request_id: Optional[str], inbox: Optional[str]) -> None:
        super().__init__(args, target, request_id)
        self.inbox = inbox


@dataclass(frozen=True)
class SocketsJoin:
    """All matching sockets enter rooms."""

    type = MessageType.SOCKETS_JOIN

    target: Target
    rooms: Tuple[Room, ...]


@dataclass(frozen=True)
class SocketsLeave:
    """All matching sockets leave rooms."""

    type = MessageType.SOCKETS_LEAVE

    target: Target
    rooms: Tuple[Room, ...]


@dataclass(frozen=True)
class DisconnectSockets:
    """All matching sockets are disconnected.

    :param close: close the whole connection, not just the namespace.
    """

    type = MessageType.DISCONNECT_SOCKETS

    target: Target
    close: bool = False


@dataclass(frozen=True)
class FetchSockets:
    """Asks every node for its matching sockets.

    Only this package has the last four fields; Node.js ignores them, and
    answers with all sockets at once.

    :param pages: the answer may come in pages.
    :param counts: the number of sockets in each room is asked for, not the
                   sockets.
    :param stats: the state of the server is asked for, not the sockets, see
                  :mod:`redis_streams_adapter.protocol.server_stats`.
    """

    type = MessageType.FETCH_SOCKETS

    target: Target
    request_id: str
    pages: bool = False
    counts: bool = False
    inbox: Optional[str] = None
    stats: bool = False


class Page(NamedTuple):
    """Which part of an answer it is.

    :param number: from 0 on.
    :param last: whether the answer is complete with it.
    """

    number: int
    last: bool


@dataclass(frozen=True)
class FetchSocketsResponse:
    """The matching sockets of one node, as mappings with Node's keys.

    :param page: which part of the answer it is; ``None``: all of it.
    :param counts: instead of the sockets: rooms, and how many of the sockets
                   are in each.
    :param stats: instead of the sockets: the state of the server.
    """

    type = MessageType.FETCH_SOCKETS_RESPONSE

    request_id: str
    sockets: Tuple[Mapping[str, Any], ...]
    page: Optional[Page] = None
    counts: Optional[Tuple[Tuple[Room, int], ...]] = None
    stats: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class ServerSideEmit:
    """An event for the other nodes' applications.

    :param args: the event's name, then its arguments.
    """

    type = MessageType.SERVER_SIDE_EMIT

    args: Tuple[Any, ...]
    request_id: Optional[str] = None
    inbox: Optional[str] = None


@dataclass(frozen=True)
class ServerSideEmitResponse:
    """One node's response to a server-side event."""

    type = MessageType.SERVER_SIDE_EMIT_RESPONSE

    request_id: str
    response: Any


@dataclass(frozen=True)
class BroadcastClientCount:
    """The number of clients to which a node has sent a broadcast with a
    ``request_id``."""

    type = MessageType.BROADCAST_CLIENT_COUNT

    request_id: str
    client_count: int


@dataclass(frozen=True)
class BroadcastAck:
    """One client's acknowledgement.

    :param args: all its arguments. Node.js reads and writes only the first.
    """

    type = MessageType.BROADCAST_ACK

    request_id: str
    args: Tuple[Any, ...]


@dataclass(frozen=True)
class AdapterClose:
    """A node leaves, in a graceful shutdown or when it no longer serves the
    namespace.

    :param presence: see :class:`Heartbeat`.
    """

    type = MessageType.ADAPTER_CLOSE

    presence: Optional[Presence] = field(default=None, compare=False)


Message = Union[
    InitialHeartbeat, Heartbeat, Broadcast, SocketsJoin, SocketsLeave,
    DisconnectSockets, FetchSockets, FetchSocketsResponse, ServerSideEmit,
    ServerSideEmitResponse, BroadcastClientCount, BroadcastAck, AdapterClose]

#: The messages that are answered, if they have a request id.
Request = Union[Broadcast, FetchSockets, ServerSideEmit]

#: The answers to requests.
Response = Union[BroadcastAck, BroadcastClientCount, FetchSocketsResponse,
                 ServerSideEmitResponse]

RESPONSES = (BroadcastAck, BroadcastClientCount, FetchSocketsResponse,
             ServerSideEmitResponse)
