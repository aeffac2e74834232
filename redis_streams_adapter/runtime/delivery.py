"""The interfaces through which the runtime calls the parts above it.

Events reach the local clients in one of two ways. Without recovery
(:class:`~redis_streams_adapter.clients.direct_delivery.DirectDelivery`) they
get an event of this process at once, and an event of another process when it
is read. With recovery
(:class:`~redis_streams_adapter.recovery.stream_order.StreamOrderDelivery`)
they get all events in the order of the stream.
:mod:`redis_streams_adapter.composition` chooses the way for each runtime, and
again if the server is created after it; nothing below knows the difference.

The lock order of :mod:`redis_streams_adapter.runtime.runtime` applies: these
methods may take the order lock, and none is called under the core lock.
"""
from typing import Any, Callable, Collection, Iterable, Optional, Protocol, \
    Sequence, Tuple

from ..protocol.codec import Fields
from ..protocol.events import Act
from ..protocol.messages import Broadcast, Message
from ..protocol.position import Position
from ..protocol.transport import Entry
from ..stream.outbox import Pending
from .tasks import Part

#: A client: its sid, and the id of its connection.
Client = Tuple[str, str]


class Follower(Protocol):
    """Follows a stream entry by entry; on the reader's task.

    :param position: the position of the last entry that it knows of.
    """

    position: Position

    def came_back(self, entry: Entry, sequence: int,
                  is_message: bool) -> None:
        """An entry of this process was read.

        :param sequence: its number; for a sign of life, the number of the
                         message before it.
        """

    def moved(self, entry_id: Position) -> None:
        """An entry was taken in, and nothing else has told of it."""


class Delivery(Protocol):
    """How the events of one stream reach the local clients."""

    #: Follows the stream entry by entry. ``None``: the delivery does not
    #: depend on positions, and the reader makes no such calls. Set at
    #: construction.
    follower: Optional[Follower]

    # -- for tasks that emit ----------------------------------------------

    def emit(self, namespace: str, message: Broadcast,
             fields: Fields) -> Pending:
        """Put an event into the outbox and deliver it, as one step.

        :param fields: the encoded message.
        :raises OutboxFullError: it was neither accepted nor delivered.
        :raises TypeError: the server's packet class cannot encode it.
        """

    def command(self, namespace: str, message: Message, fields: Fields,
                carry_out: Optional[Callable[[], None]]) -> Pending:
        """Put a command into the outbox and carry it out, as one step.

        :param carry_out: carries it out for the local clients, under the
                          order lock.
        :raises OutboxFullError: it was neither accepted nor carried out.
        """

    def locally(self, namespace: str, message: Broadcast) -> None:
        """Deliver an event to the local clients only.

        :raises OutboxFullError: it has to wait, and there is no room.
        :raises TypeError: the server's packet class cannot encode it.
        """

    def ask(self, namespace: str, args: Tuple[Any, ...],
            clients: Sequence[Client], ack_id: Callable[[str], int],
            append: Optional[Callable[[], Optional[Pending]]],
            received: bool, in_stream: bool = True
            ) -> Optional[Pending]:
        """Deliver an event that each of these clients has to acknowledge.

        :param ack_id: registers the wait for the acknowledgement of a sid,
                       and returns its id.
        :param append: puts the event into the outbox, for other nodes.
        :param received: the reader has just read this event.
        :param in_stream: whether ``append`` uses the outbox of the stream,
                          rather than PUB/SUB.
        :return: what ``append`` returned.
        :raises OutboxFullError: it was neither accepted nor delivered.
        """

    # -- for the reader's task --------------------------------------------

    def began(self, cursor: Position) -> None:
        """The stream is read from this position on. If the delivery replaces
        another one, it may already have taken in entries after it."""

    def received(self, entry: Entry, act: Act) -> None:
        """Carry out a message of another process that was read.

        :raises DecodeError: see :meth:`.Broadcast.read`.
        """

    def history_lost(self) -> None:
        """The stream is a new one, or ends before what was read."""

    # -- for tasks that start and close -----------------------------------

    def serve(self, namespaces: Collection[str]) -> None:
        """Serve exactly these namespaces of the stream from now on; under the
        serving lock."""

    def leave(self) -> None:
        """This process leaves the cluster: it carries out no more messages of
        other processes."""

    def drain(self, timeout: float) -> None:
        """Wait until this process has read what it has emitted so far.

        :param timeout: seconds.
        """

    def end(self) -> None:
        """No reader calls it from now on: none runs, or another delivery has
        replaced it. Idempotent."""


class Deliveries(Protocol):
    """The deliveries of a process, one for each stream, and what they
    share."""

    def of_stream(self, writer_id: bytes,
                  arrived: Callable[[], Position]) -> Delivery:
        """Make the delivery of one stream.

        :param writer_id: the writer id of this process.
        :param arrived: returns the position of the entry that is being taken
                        in, or was last. What is begun after it was read has
                        all that comes after it.
        """

    def tasks(self) -> Iterable[Part]:
        """Further tasks to start. They try again at once when an outage of
        Redis is over."""

    def joined(self) -> None:
        """The streams are read from now on, or about to be."""

    def close(self, timeout: float) -> None:
        """All streams were left: write for the last time.

        :param timeout: seconds.
        """

    def catch_up(self, timeout: float) -> None:
        """Wait until all changes are written.

        :param timeout: seconds.
        """

    def renew(self) -> None:
        """Connect anew to Redis: another server has taken over."""

    def interrupt(self) -> None:
        """End the waits of the tasks, which stop then."""

    def abandon(self) -> None:
        """In a child process after a fork: drop the copies of connections,
        and of lines that wait to be logged."""


class Requests(Protocol):
    """Requests to other nodes and their answers, over the stream or over
    PUB/SUB."""

    @property
    def dropped(self) -> int:
        """How many requests and answers over PUB/SUB, and answers to inboxes,
        were not sent, or not known to be."""

    @property
    def idle(self) -> bool:
        """Whether no answer to another node waits outside the stream."""

    def flush(self, deadline: float) -> bool:
        """Wait until Redis has those answers, as far as they are complete.

        :param deadline: by the monotonic clock.
        """

    def learned(self) -> None:
        """More may be known of the members of a namespace."""

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen for exactly these namespaces over PUB/SUB; under the serving
        lock."""

    def renew(self) -> None:
        """Connect again: another server has taken over."""

    def interrupt(self) -> None:
        """End the waits of the tasks, which stop then."""

    def abandon(self) -> None:
        """In a child process after a fork: drop the copies of connections."""
