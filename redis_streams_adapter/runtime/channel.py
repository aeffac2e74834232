"""One stream, as a process uses it: what its two tasks do with what they
read, and how its writers stay at the pace of its readers.

:mod:`redis_streams_adapter.protocol.flow_control` decides for one writer,
from the reports of readers. The channel sends and receives these reports:
readers report that they lag, and after an outage each writer asks the other
nodes for their positions before it sends much.
"""
import logging
import threading
import time
from itertools import chain
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from ..concurrency.engines import Engine
from ..concurrency.log_context import ContextLogger
from ..errors import DecodeError, NO_ROOM, RedisStreamsError
from ..losses import DELETED, EVICTED, Loss, MISSING, TRIMMED, VANISHED
from ..options import Options
from ..protocol.codec import decode, encode_unsigned, Encoder, open_envelope
from ..protocol.discovery import Knowledge, Span
from ..protocol.events import Act, Duplicate, Event, Learned, Missing, \
    ReaderReports, ReadersAsked, Returned, Send, Skipped
from ..protocol.flow_control import emitter_share, mark_every, node_share, \
    reach
from ..protocol.messages import CAUGHT_UP, Heartbeat, InitialHeartbeat, \
    MessageType
from ..protocol.node import Node
from ..protocol.position import Position, START
from ..protocol.routing import stream_index
from ..protocol.sender import Signature
from ..protocol.sequences import Sequences
from ..protocol.transport import Entry
from ..stream.backpressure import Absent
from ..stream.driver import Driver
from ..stream.link import open_link
from ..stream.outbox import Capacity
from ..stream.read_back import ReadBack
from ..stream.reader import Reader
from ..stream.writer import Writer
from .delivery import Deliveries, Delivery
from .tasks import State


#: Within how many seconds the writer learns that its entries were read, if a
#: page takes long: it waits two seconds for a reader that seems stuck.
REPORT_WITHIN = 0.05

#: More entries than a stream can have.
UNTRIMMED = 2**62


class Channel:
    """The two tasks of one stream, and what they know about it.

    :param index: the number of the stream among those of the cluster.
    :param key: the key of the stream.
    :param node: decides what an entry means; used under ``core``.
    :param encoder: encodes messages of this process.
    :param deliveries: makes the delivery to the local clients.
    :param serve: called when the reader has its first position: an answer is
                  not missed from now on.
    :param lose_sight: called with this channel, and whether the stream is a
                       new one, if members may have joined unseen.
    :param lose: called with each loss.
    :param skip: called with the error of an entry that is not a valid message.
    :param no_room: called with an entry, in words, and the error, if there
                    is no room for what it brings about.
    :param carry_out: carries out the other events of the node.
    """

    def __init__(self, index: int, key: str, options: Options, driver: Driver,
                 engine: Engine, logger: Callable[[], logging.Logger],
                 capacity: Capacity, node: Node, core: threading.Lock,
                 encoder: Encoder, state: State, deliveries: Deliveries,
                 serve: Callable[[], None],
                 lose_sight: Callable[['Channel', bool], None],
                 lose: Callable[[Loss], None],
                 skip: Callable[[DecodeError, str], None],
                 no_room: Callable[[str, RedisStreamsError], None],
                 carry_out: Callable[[Event], None]) -> None:
        self.key, logger = key, ContextLogger(logger, stream=key)
        self.index = index
        self._count = options.stream_count
        self._max_len = max_len = options.max_len or 0
        self._node = node
        self._receive_plain = node.plain_events.receive
        self._core = core
        self._encoder = encoder
        self._state = state
        self._serve = serve
        self._lose_sight = lose_sight
        self._lose = lose
        self._skip = skip
        self._no_room = no_room
        self._carry_out = carry_out
        #: The uid under which this process writes to it.
        self.signature = Signature()
        # An observer does not know what the servers keep: it trims nothing.
        watches = state.observes
        kept = UNTRIMMED if watches else max_len
        # For both tasks: a proxy that ends one connection ends the other.
        ended: Dict[bytes, float] = {}
        #: Sends to it.
        self.writer = Writer(
            lambda: open_link(driver, key, kept, 0.0,
                              options.min_replicas, ended),
            engine, logger, capacity=capacity,
            patience=driver.socket_timeout,
            vanished=lambda count: lose(Loss(VANISHED, key, count)),
            overhear=self.overhear, absent=self.absent,
            retention=None if watches else options.retention,
            evicted=None if watches else lambda count: lose(
                Loss(EVICTED, key, count)),
            replicated=options.min_replicas > 0, sign=self.signature)
        # As long as the number of other nodes is unknown.
        self.writer.backpressure.set_window(
            emitter_share(max_len), reach=reach(max_len, 1))
        trimmed_by_time = watches or options.retention is not None \
            and options.retention < options.heartbeat_timeout
        #: What was seen of the history before the first position.
        self._before = Sequences()
        #: Reads it; may never be started.
        self.reader = Reader(
            lambda: open_link(driver, key, max_len, options.block_time,
                              ended=ended),
            self.take_in, state.clients_since, self.began, self.resume,
            self.report_returned, self.lost_history, self.lagging, logger,
            pause=engine.pause, switch=engine.switch, max_len=max_len,
            count=options.read_count, block=options.block_time,
            read_back=ReadBack(
                self.recall, self.recalled, seconds=options.heartbeat_timeout,
                pause=engine.pause,
                max_len=None if trimmed_by_time else options.max_len),
            doubtful=self.doubtful)
        #: The numbers that were seen in it; used by the reader's task only.
        self.sequences = Sequences(self.writer.writer_id)
        #: What is known of its members; under the core lock.
        self.knowledge = Knowledge(options.heartbeat_timeout)
        #: The entry that is being taken in, or was last; at first, the first
        #: position. Written by the reader's task before it looks at the
        #: delivery: the delivery that replaces another one has all entries
        #: after what it reads here.
        self.arrived: Optional[Position] = None
        #: How its events reach the local clients. Written by the task that
        #: makes the channel, and by the one that creates the server.
        self.delivery: Delivery = self.make_delivery(deliveries)
        #: Whether the writer's task is known to run. Written by the tasks
        #: that start it.
        self.sending = False
        #: What was read of the history before the first position, and when.
        #: Written by the reader's task; taken, under the core lock, by the
        #: first task that serves namespaces when the stream is followed.
        self.history: Optional[Tuple[Position, Span, float]] = None
        #: Whether the reader has its first position, so that it does not miss
        #: an answer to what this node writes. Written by the reader's task,
        #: once.
        self.positioned = False
        #: How many copies were read. Written by the reader's task.
        self.duplicates = 0
        #: The number of our last entry that was read and not yet reported to
        #: the writer. Written by the reader's task. If an exception strikes
        #: it, it reports when it reads again.
        self._returned: Optional[int] = None
        #: When that is due, at the latest.
        self._report_at = 0.0
        #: After how many entries the reader notes how far it is, and at which
        #: number it does so next; used by its task only.
        self._step = mark_every(max_len)
        self._mark_at = 0

    def succeed(self, former: 'Channel') -> None:
        """Take over from a closed runtime of this process: its clients do
        not receive again what they had received. To be called before the
        tasks are started."""
        self.reader.skip_to = former.reader.cursor
        self.sequences.former = \
            former.sequences.former | {former.sequences.own}

    def make_delivery(self, deliveries: Deliveries) -> Delivery:
        """Make a delivery for the events of this stream."""
        return deliveries.of_stream(self.writer.writer_id,
                                    lambda: self.arrived or START)

    def deliver_by(self, delivery: Delivery) -> None:
        """Deliver in another way from now on; under the serving lock."""
        former, self.delivery = self.delivery, delivery
        # Looked at after that.
        arrived = self.arrived
        if arrived is not None:
            delivery.began(arrived)
        delivery.serve(self.carried(self._node.namespaces))
        former.end()

    def carried(self, namespaces: Iterable[str]) -> List[str]:
        """Those of the namespaces whose messages go to this stream."""
        return [each for each in namespaces
                if stream_index(each, self._count) == self.index]

    # -- what the reader reads; on its task -------------------------------

    def take_in(self, entry: Entry) -> None:
        """Carry out an entry."""
        now = time.monotonic()
        if self._returned is not None and now > self._report_at:
            # Entries of others may follow, and take long.
            self.report_returned()
        self.arrived = entry.id
        delivery = self.delivery
        follower = delivery.follower
        try:
            with self._core:
                events = self._receive_plain(entry, now, self.sequences)
                if events is None:
                    events = self._node.receive(
                        entry, now, self.sequences, self.knowledge)
            for event in events:
                if type(event) is Act:
                    delivery.received(entry, event)
                elif isinstance(event, Returned):
                    self._returned = event.sequence
                    if now > self._report_at:
                        self.report_returned()
                    if follower is not None:
                        follower.came_back(
                            entry, event.sequence, event.is_message)
                else:
                    self._note(event, entry)
        except DecodeError as exc:
            # The text of an event is read when a client gets it.
            self._skip(exc, f'entry {entry.id}')
        except NO_ROOM as exc:
            self.reader.failed += 1
            self._no_room(f'entry {entry.id}', exc)
        finally:
            if follower is not None and follower.position is not entry.id:
                follower.moved(entry.id)

    def report_returned(self) -> None:
        """Report to the writer which of its entries were read.

        Once a page, and in between if that takes long: each report may wake
        the writer, which then sends only as much as was read.
        """
        if self._returned is not None:
            self.writer.backpressure.seen(self._returned)
            self._returned = None
        self._report_at = time.monotonic() + REPORT_WITHIN
        count = self.reader.received
        if count >= self._mark_at and self.arrived is not None:
            self._mark_at = count + self._step
            self.writer.backpressure.passed(self.arrived, count)

    def _note(self, event: Event, entry: Entry) -> None:
        if isinstance(event, Missing):
            self._lose(Loss(MISSING, self.key, event.count, event.uid))
            if not self.reader.counts:
                # It does not notice by itself that entries were trimmed.
                self._lose_sight(self, False)
        elif isinstance(event, Duplicate):
            self.duplicates += 1
        elif isinstance(event, Skipped):
            self._skip(event.error, f'entry {entry.id}')
        elif isinstance(event, ReaderReports):
            self.writer.backpressure.node_reported(
                event.uid, event.position, event.lags)
        elif isinstance(event, ReadersAsked):
            self.answer(entry.id)
        else:
            self._carry_out(event)
            if isinstance(event, (Send, Learned)) and not self._state.closed:
                # The answer to an INITIAL_HEARTBEAT may have to wait for a
                # long outbox. A node that asks after an outage sends little
                # until it has this report. The others wait for the reader of
                # a node that has joined from its first report on.
                self.reader.report_position()

    def recall(self, entry: Entry, at: float) -> None:
        """Take in an entry of the history before the first position."""
        with self._core:
            self._node.recall(entry, min(at, time.monotonic()), self._before)

    def recalled(self, cursor: Position, span: Span) -> None:
        """The history before the first position was read, or was not."""
        if not span.seconds and not span.whole:
            # In part, from its beginning. Who has left later is no member.
            with self._core:
                self._node.forget(self.index)
        self.history = cursor, span, time.monotonic()

    def began(self, cursor: Position, moment: int) -> None:
        """The stream is followed from this position on."""
        self.sequences.begin(cursor, moment)
        self.arrived = cursor
        self.delivery.began(cursor)
        self.positioned = True
        self._serve()

    def resume(self) -> None:
        """The reader gets through."""
        self.report_returned()
        self.set_window()
        self.writer.backpressure.await_reader()
        with self._core:
            events = self._node.resume(time.monotonic())
        for event in events:
            self._carry_out(event)

    def lost_history(self, kind: str, count: Optional[int]) -> None:
        """Part of the stream is gone, or all of it."""
        if kind != TRIMMED:
            self.delivery.history_lost()
        self._lose(Loss(kind, self.key, count))
        self._lose_sight(self, kind == DELETED)

    def doubtful(self) -> None:
        """Entries may be lost, and Redis cannot tell."""
        self._lose_sight(self, False)

    # -- the pace of readers ----------------------------------------------

    def set_window(self) -> None:
        """Set how many entries of the writer may be unread."""
        others = self._node.others
        self.writer.backpressure.set_window(
            node_share(self._max_len, others + 1), self.reader.connected,
            reach(self._max_len, others) if others else None)

    def answer(self, position: Position) -> None:
        """Report the position of the reader to a writer that has asked for
        it; on its task."""
        # The entry is being taken in.
        self.writer.backpressure.asked(position, self.reader.received + 1)
        if not self._state.closed and not self._state.observes:
            self._report(position, self.reader.lags)

    def _report(self, position: Position, lags: bool) -> None:
        self.writer.append_urgent(encode_unsigned(Heartbeat(
            position if lags else CAUGHT_UP, self._node.uid,
            read=None if lags else position)))

    def lagging(self, cursor: Optional[Position]) -> None:
        """Report that the reader lags, or no longer does; on its task.

        :param cursor: its position; ``None``: it has caught up.
        """
        if cursor is not None:
            self.writer.backpressure.reader_lags(cursor)
        if self._state.observes:
            return
        # It concerns the stream, not the namespace that it names. A node that
        # is a member of no namespace in this stream writes as an emitter.
        namespace = self._node.announcements.carrier(self.index)
        reader = None if namespace is not None else self._node.uid
        self.writer.append_urgent(self._encoder.encode(
            '/' if namespace is None else namespace,
            Heartbeat(cursor or CAUGHT_UP, reader,
                      read=self.arrived if cursor is None else None)))

    def overhear(self, entry: Entry) -> None:
        """Take in what readers report. Called on the writer's task of a
        process that only writes, or is not a member yet."""
        backpressure = self.writer.backpressure
        try:
            envelope = open_envelope(entry.fields)
            if envelope.writer == self.writer.writer_id:
                backpressure.seen(envelope.sequence)
            elif envelope.type is MessageType.HEARTBEAT:
                message = decode(envelope)
                if not isinstance(message, Heartbeat):
                    return
                if message.behind is not None:
                    backpressure.node_reported(
                        message.reader or envelope.uid,
                        message.behind or message.read, bool(message.behind))
                if message.asks:
                    backpressure.asked(entry.id, backpressure.heard)
        except DecodeError:
            # Each reader logs and counts it.
            return

    def absent(self) -> Absent:
        """Which readers may be away after an outage, and what to ask them;
        on the writer's task."""
        # A process that knows no others waits for an unknown reader, which
        # never answers.
        strangers: List[Optional[str]] = ['']
        if not self._state.member or self.writer.outbox.closed:
            # The goodbye may be stored: a question after it would make this
            # node a member again.
            return strangers, ()
        self.set_window()
        with self._core:
            asked = self._node.nodes_to_ask(
                self.carried(self._node.namespaces))
        uids = list(chain.from_iterable(asked.values()))
        return [None, *(uids or strangers)], [
            self._encoder.encode(namespace, InitialHeartbeat())
            for namespace in asked if self.signature.joined(namespace)]
