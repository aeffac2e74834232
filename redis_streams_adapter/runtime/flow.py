"""How the writers of a cluster stay at the pace of its readers.

:mod:`redis_streams_adapter.protocol.flow_control` decides for one writer,
from the reports of readers. This module sends and receives these reports:
readers report that they lag, and after an outage each writer asks the other
nodes for their positions before it sends much.
"""
import threading
from itertools import chain
from typing import Callable, List, Optional

from .channel import Channel
from ..protocol.codec import decode, Encoder, Fields, open_envelope
from ..errors import DecodeError
from ..protocol.messages import CAUGHT_UP, Heartbeat, InitialHeartbeat, \
    MessageType
from ..protocol.node import Node
from ..protocol.position import Position
from ..stream.backpressure import Absent


class Flow:
    """The reports of readers that the channels of a process send and receive.

    It has no state of its own.

    :param node: knows the members of the cluster; used under ``core``.
    :param encoder: encodes messages of this process.
    :param max_len: how many entries a stream keeps.
    :param channel_of: returns the channel of a namespace.
    """

    def __init__(self, node: Node, core: threading.Lock, encoder: Encoder,
                 max_len: int,
                 channel_of: Callable[[str], Channel]) -> None:
        self._node = node
        self._core = core
        self._encoder = encoder
        self._max_len = max_len
        self._channel_of = channel_of

    @property
    def first_window(self) -> int:
        """How many entries a writer may have unread while the number of other
        nodes is unknown."""
        return max(1, self._max_len // 4)

    def set_window(self, channel: Channel) -> None:
        """Set how many entries of a writer may be unread."""
        # Half of what a stream keeps, shared by all nodes that may write. The
        # other half is for what is written before a slow reader reports.
        share = max(1, self._max_len // (2 * (self._node.others + 1)))
        channel.writer.backpressure.set_window(share, channel.reader.connected)

    def resume(self, channel: Channel) -> None:
        """The reader of a channel gets through; on its task."""
        self.set_window(channel)
        channel.writer.backpressure.await_reader()

    def lagging(self, channel: Channel, cursor: Optional[Position]) -> None:
        """Report that the reader of a channel lags, or no longer does."""
        if cursor is not None:
            channel.writer.backpressure.reader_lags(None, cursor)
        # It concerns the stream, not the namespace that it names. A node that
        # is a member of no namespace in this stream writes as an emitter.
        namespaces = self._namespaces_in(channel)
        reader = None if namespaces else self._node.uid
        channel.writer.say_now(self._encoder.encode(
            namespaces[0] if namespaces else '/',
            Heartbeat(cursor or CAUGHT_UP, reader)))

    def overhear(self, channel: Channel, fields: Fields) -> None:
        """Take in a report of a reader that lags. Called on the writer's task
        of a process that only writes, or is not a member yet."""
        writer = channel.writer
        try:
            envelope = open_envelope(fields)
            if envelope.writer == writer.writer_id:
                writer.backpressure.seen(envelope.sequence)
            elif envelope.type is MessageType.HEARTBEAT:
                message = decode(envelope)
                if isinstance(message, Heartbeat) \
                        and message.behind is not None:
                    writer.backpressure.reader_lags(
                        message.reader or envelope.uid,
                        message.behind or None)
        except DecodeError:
            # Each reader logs and counts it.
            return

    def absent(self, channel: Channel, member: bool) -> Absent:
        """Which readers may be away after an outage, and what to ask them;
        on the writer's task.

        :param member: whether this process is a member.
        """
        # A process that knows no others waits for an unknown reader, which
        # never answers.
        strangers: List[Optional[str]] = ['']
        if not member or channel.writer.outbox.closed:
            # The goodbye may be stored: a question after it would make this
            # node a member again.
            return strangers, ()
        self.set_window(channel)
        with self._core:
            asked = self._node.who_reads(self._namespaces_in(channel))
        uids = list(chain.from_iterable(asked.values()))
        return [None, *(uids or strangers)], [
            self._encoder.encode(namespace, InitialHeartbeat())
            for namespace in asked if channel.signature.joined(namespace)]

    def _namespaces_in(self, channel: Channel) -> List[str]:
        """The namespaces that are served and go to this stream."""
        return [each for each in self._node.namespaces
                if self._channel_of(each) is channel]
