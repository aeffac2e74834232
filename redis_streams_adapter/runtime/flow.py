"""How the processes of a cluster keep to the pace of their readers.

What :mod:`redis_streams_adapter.protocol.flow_control` decides for one writer
has to be told and heard: readers that lag say so, writers hear of it, and
after an outage each asks the others where they are before it sends much.
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
    """What the channels of a process tell and hear of readers.

    It has no state of its own.

    :param node: who is in the cluster; in it under ``core``.
    :param encoder: makes messages of this process.
    :param max_len: how many entries a stream keeps.
    :param channel_of: which channel a namespace goes to.
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
        """How many entries a writer may have unread before it is known how
        many others there are."""
        return max(1, self._max_len // 4)

    def set_window(self, channel: Channel) -> None:
        """Say to a writer how many of its entries may be unread."""
        # Half of what a stream keeps, shared by all who may be writing: the
        # other half is for what is written until a slow reader is heard.
        share = max(1, self._max_len // (2 * (self._node.others + 1)))
        channel.writer.backpressure.set_window(share, channel.reader.connected)

    def resume(self, channel: Channel) -> None:
        """The reader of a channel gets through; on its task."""
        self.set_window(channel)
        channel.writer.backpressure.await_reader()

    def lagging(self, channel: Channel, cursor: Optional[Position]) -> None:
        """Say that the reader of a channel lags, or no longer does."""
        if cursor is not None:
            channel.writer.backpressure.reader_lags(None, cursor)
        # It concerns the stream, whatever namespace it names. A node that
        # is a member of none in this stream writes as an emitter.
        namespaces = self._namespaces_in(channel)
        reader = None if namespaces else self._node.uid
        channel.writer.say_now(self._encoder.encode(
            namespaces[0] if namespaces else '/',
            Heartbeat(cursor or CAUGHT_UP, reader)))

    def overhear(self, channel: Channel, fields: Fields) -> None:
        """Hear of readers that lag; on the writer's task, of a process that
        only writes, or is not a member yet."""
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
            # The readers' business: each of them logs and counts it.
            return

    def absent(self, channel: Channel, member: bool) -> Absent:
        """Which readers may be away after an outage, and what to ask them;
        on the writer's task.

        :param member: whether this process is one.
        """
        # A process that knows nobody awaits somebody, who never answers.
        strangers: List[Optional[str]] = ['']
        if not member or channel.writer.outbox.closed:
            # The goodbye may be stored: who asks behind it is a member again.
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
