"""What happens with each entry that a reader takes in.

All of it runs on the reader's task of the stream. It has no state of its own.
"""
import threading
import time
from typing import Callable, Optional

from ..errors import DecodeError
from ..losses import DELETED, Loss, MISSING, TRIMMED
from ..protocol.discovery import Span
from ..protocol.events import Act, Duplicate, Event, Missing, ReaderLags, \
    Returned, Send, Skipped
from ..protocol.node import Node
from ..protocol.position import Position
from ..protocol.sequences import Sequences
from ..protocol.transport import Entry
from .channel import Channel
from .flow import Flow
from .loss_report import LossReport
from .membership import Membership
from .status import Status


class Entries:
    """Takes in the entries of all streams.

    :param node: decides what an entry means; used under ``core``.
    :param is_closed: whether the process leaves the cluster.
    :param follow: carries out the other events of the node.
    :param skip: called with the error of an entry that is no valid message.
    """

    def __init__(self, node: Node, core: threading.Lock, flow: Flow,
                 membership: Membership, status: Status, lose: LossReport,
                 is_closed: Callable[[], bool],
                 follow: Callable[[Event], None],
                 skip: Callable[[DecodeError, str], None]) -> None:
        self._node = node
        self._core = core
        self._flow = flow
        self._membership = membership
        self._status = status
        self._lose = lose
        self._is_closed = is_closed
        self._follow = follow
        self._skip = skip

    def began(self, channel: Channel, cursor: Position,
              moment: int) -> None:
        """The stream is followed from this position on."""
        channel.sequences.begin(cursor, moment)
        channel.delivery.began(cursor)
        channel.positioned = True
        self._membership.serve()

    def take_in(self, channel: Channel, entry: Entry) -> None:
        """Carry out an entry."""
        now, follower = time.monotonic(), channel.delivery.follower
        if follower is not None:
            follower.arriving(entry.id)
        try:
            with self._core:
                events = self._node.receive(
                    entry, now, channel.sequences, channel.knowledge)
            for event in events:
                self._carry_out(channel, event, entry)
        finally:
            if follower is not None:
                follower.moved(entry.id)

    def lost_history(self, channel: Channel, kind: str,
                     count: Optional[int]) -> None:
        """Part of the stream is gone, or all of it."""
        if kind != TRIMMED:
            channel.delivery.history_lost()
        self._lose(Loss(kind, channel.key, count))
        self._membership.lose_sight(channel, kind == DELETED)

    def recall(self, entry: Entry, at: float, before: Sequences) -> None:
        """Take in an entry of the history before the first position."""
        with self._core:
            self._node.recall(entry, min(at, time.monotonic()), before)

    def recalled(self, channel: Channel, cursor: Position,
                 span: Span) -> None:
        """The history before the first position was read."""
        channel.history = cursor, span, time.monotonic()

    def resume(self, channel: Channel) -> None:
        """The reader of a channel gets through."""
        self._flow.resume(channel)
        with self._core:
            events = self._node.resume(time.monotonic())
        for event in events:
            self._follow(event)

    def _carry_out(self, channel: Channel, event: Event,
                   entry: Entry) -> None:
        if isinstance(event, Act):
            channel.delivery.received(entry, event)
        elif isinstance(event, Returned):
            channel.writer.backpressure.seen(event.sequence)
            follower = channel.delivery.follower
            if follower is not None:
                follower.came_back(entry, event.sequence, event.is_message)
        elif isinstance(event, Missing):
            self._lose(Loss(MISSING, channel.key, event.count, event.uid))
            if not channel.reader.counts:
                # It does not notice by itself that entries were trimmed.
                self._membership.lose_sight(channel, False)
        elif isinstance(event, Duplicate):
            with self._core:
                self._status.duplicates += 1
        elif isinstance(event, Skipped):
            self._skip(event.error, f'entry {entry.id}')
        elif isinstance(event, ReaderLags):
            channel.writer.backpressure.reader_lags(event.uid, event.position)
        else:
            self._follow(event)
            if isinstance(event, Send) and not self._is_closed():
                # The answer to an INITIAL_HEARTBEAT may have to wait for a
                # long outbox. A node that asks after an outage sends little
                # until it has this report.
                channel.reader.tell()
