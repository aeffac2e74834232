"""The events that a node returns: what the runtime has to carry out. Pure.

Each is a value: it calls nothing, and does not change.

=================  ======================================================
entry              events
=================  ======================================================
own                :class:`Returned`, where the outbox wrote it
a copy             :class:`Duplicate`
after a gap        :class:`Missing`, then as follows
malformed          :class:`Skipped`
other namespace    none, but for those of membership and the answers
first of a node    :class:`NodeJoined`, then what the message asks for
INITIAL_HEARTBEAT  :class:`Send` of a HEARTBEAT
HEARTBEAT          :class:`ReaderLags`, where it says so;
                   :class:`Learned`, where it lists members
ADAPTER_CLOSE      :class:`NodeLeft`
a response         :class:`Completed`, where it is the last one
acknowledgement    :class:`Acknowledged`, where there is a callback;
                   :class:`Completed`, where it is the last one
any other          :class:`Act`
=================  ======================================================
"""
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Tuple, Union

from ..errors import DecodeError
from .messages import Message
from .position import Position
from .requests import AckCallback
from .transport import Way


@dataclass(frozen=True)
class Send:
    """Write this to the stream."""

    namespace: str
    message: Message


class Act(NamedTuple):
    """Do what another process asks for.

    :param way: of PUB/SUB, if the request came that way; its answer takes
                the same. ``None``: it came over the stream.
    """

    namespace: str
    uid: str
    message: Message
    way: Optional[Way] = None


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
    position: Optional[Position]


class Learned(NamedTuple):
    """More may be known of who is a member: wake who waits for that."""


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
              NodeLeft, ReaderLags, Learned, Skipped, Missing, Duplicate]
