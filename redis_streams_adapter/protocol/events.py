"""The events that a node returns. The runtime carries them out. Pure.

Each event is a value: it calls nothing, and does not change.

=================  ======================================================
entry              events
=================  ======================================================
own                :class:`Returned`, if it came through the outbox; then
                   :class:`Completed` for each request that waited for it,
                   and :class:`Learned` after an INITIAL_HEARTBEAT
a copy             :class:`Duplicate`
after a gap        :class:`Missing`, then as follows
malformed          :class:`Skipped`
other namespace    only those of membership and of answers
first of a node    :class:`NodeJoined`, then those of the message
INITIAL_HEARTBEAT  :class:`Send` of a HEARTBEAT
HEARTBEAT          :class:`ReaderReports`, if it reports a position;
                   :class:`ReadersAsked`, if it asks for that;
                   :class:`NodeJoined` and :class:`Learned`, if it lists
                   members
ADAPTER_CLOSE      :class:`NodeLeft`, then :class:`Completed` for each
                   request that waited for that node alone
a response         :class:`Completed`, if it is the last one
acknowledgement    :class:`Acknowledged`, if there is a callback;
                   :class:`Completed`, if it is the last one
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
    """Write a message to the stream."""

    namespace: str
    message: Message


class Act(NamedTuple):
    """Carry out the message of another process.

    :param way: the kind of PUB/SUB that the request came over; its answer
                goes the same way. ``None``: it came over the stream.
    """

    namespace: str
    uid: str
    message: Message
    way: Optional[Way] = None


class Returned(NamedTuple):
    """An entry of this process was read back.

    :param sequence: its number; for a sign of life, that of the last message
                     before it.
    :param is_message: whether it is a message, and not a sign of life.
    """

    sequence: int
    is_message: bool


@dataclass(frozen=True)
class Acknowledged:
    """A client has acknowledged: call the callback."""

    callback: AckCallback
    args: Tuple[Any, ...]


@dataclass(frozen=True)
class Completed:
    """All have answered: wake the caller that waits for it."""

    waiter: Any


@dataclass(frozen=True)
class NodeJoined:
    """A node was heard of for the first time.

    :param others: in how many more namespaces.
    """

    namespace: str
    uid: str
    others: int = 0


@dataclass(frozen=True)
class NodeLeft:
    """A node has left.

    :param silent: it was silent for the heartbeat timeout, and wrote no
                   ADAPTER_CLOSE.
    :param others: in how many more namespaces.
    """

    namespace: str
    uid: str
    silent: bool
    others: int = 0


@dataclass(frozen=True)
class ReaderReports:
    """A node reports the position of its reader.

    :param position: ``None``: the reader has caught up. Servers that do not
                     answer questions report it so.
    :param lags: whether the reader lags.
    """

    uid: str
    position: Optional[Position]
    lags: bool


class ReadersAsked(NamedTuple):
    """A node asks all readers for their positions."""


class Learned(NamedTuple):
    """More members may be known: wake the calls that wait for that."""


@dataclass(frozen=True)
class Skipped:
    """The entry does not hold a valid message."""

    error: DecodeError


@dataclass(frozen=True)
class Missing:
    """This many messages of one process were not read."""

    uid: str
    count: int


@dataclass(frozen=True)
class Duplicate:
    """The entry is a copy of one that was seen before."""


Event = Union[Send, Act, Returned, Acknowledged, Completed, NodeJoined,
              NodeLeft, ReaderReports, ReadersAsked, Learned, Skipped, Missing,
              Duplicate]
