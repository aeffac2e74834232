"""Events of this process that wait until the stream has come to them.

They are kept in the order in which they were emitted. An event that passes
through the stream waits until the reader reads it. An event that does not
(``ignore_queue``, a question to local clients) waits until what was emitted
before it was read. Meanwhile it takes its share of the outbox's limits.

Everything here is read and written under the order lock. Packets are encoded
without it, because packet classes and JSON modules are the application's.
Nothing survives the process: what was emitted and not read back is in the
stream, or is lost with the outbox. The offsets of clients point past none of
it.
"""
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, Iterable, List, Optional, Sequence, \
    Tuple

from ..clients.delivery import Delivery, Load
from ..clients.encoding import Encoded
from ..concurrency.engines import Event
from ..errors import NO_ROOM
from ..protocol.position import Position
from ..runtime.delivery import Client
from ..stream.outbox import Capacity, Outbox, Pending
from .client_lists import With, Without
from .replay import is_meant, Record, Replay

#: How often an event that need not wait is encoded with the position of the
#: moment, if the reader goes on meanwhile. After that, it is encoded under the
#: order lock. Only a large event and a reader that never pauses lead to this.
ATTEMPTS = 10

#: Stands for an event until it is encoded.
NOT_ENCODED = Encoded((), None, False)

#: What a packet class has to encode with an offset.
Unprepared = Sequence[Tuple[Encoded, Position]]


@dataclass(slots=True)
class Waiting:
    """An event, or another message, that waits.

    :param sequence: the writer's number for it; if it does not pass through
                     the stream, the number of the message before it.
    :param pending: its entry, if it passes through the stream.
    :param record: what clients that are away miss with it, if anything. It
                   has no position yet.
    :param loads: what to deliver then.
    :param event: what to set then.
    :param share: what it takes of the outbox's limits, if it does not pass
                  through the stream.
    """

    sequence: int
    pending: Optional[Pending]
    namespace: str
    record: Optional[Record]
    loads: List[Load]
    event: Optional[Event] = None
    share: Optional[Pending] = None


def _unprepared(loads: Iterable[Load],
                offset: Position) -> Unprepared:
    return [(load.encoded, offset) for load in loads
            if (load.recoverable or load.encoded.ends_in_text)
            and not load.encoded.is_ready(offset)]


class WaitingEvents:
    """The waiting events of one stream.

    :param local: the local clients.
    :param order: the order lock.
    :param capacity: how much may wait, here and in the outboxes.
    :param make_event: makes an event for tasks of the server.
    :param encode: encodes an event that clients missed; ``None``: it cannot
                   be delivered.
    :param hand_over: delivers now, with an offset; called under the order
                      lock.
    :param position: returns the position up to which everything was handed
                     over.
    """

    def __init__(self, local: Delivery, order: Any, capacity: Capacity,
                 make_event: Callable[[], Event],
                 encode: Callable[[str, Record], Optional[Encoded]],
                 hand_over: Callable[[Sequence[Load], Position], None],
                 position: Callable[[], Position]) -> None:
        self._local = local
        self._order = order
        self._make_event = make_event
        self._encode = encode
        self._hand_over = hand_over
        self._position = position
        #: Any task appends; only the reader's task takes off the front.
        self.queue: Deque[Waiting] = deque()
        #: The shares of what does not pass through the stream, in the order
        #: of the queue. If an exception strikes a task, the task returns its
        #: share; if another exception strikes that, the share is returned
        #: when nothing waits.
        self.shares = Outbox(capacity)
        #: Events for a client that has returned, which had no recipients
        #: before and are not encoded yet.
        self.unencoded: List[Waiting] = []
        #: Whether a packet class other than for JSON has encoded any. Its
        #: packets have to be prepared before they are delivered.
        self.by_serialiser = False

    def hand_over_later(self, namespace: str,
                        loads: Sequence[Load]) -> None:
        """Deliver what does not pass through the stream: now, or after what
        waits now.

        :raises OutboxFullError: it has to wait, and there is no room.
        """
        for attempt in range(1, ATTEMPTS + 1 if loads else 0):
            for encoded, offset in _unprepared(loads, self._position()):
                encoded.prepare(offset)
            with self._order:
                position = self._position()
                if self.queue:
                    self._add(namespace, loads)
                elif attempt < ATTEMPTS and _unprepared(loads, position):
                    continue
                else:
                    self._hand_over(loads, position)
            self._local.log_lines(self._order)
            break

    def _add(self, namespace: str, loads: Sequence[Load]) -> None:
        is_decided = False
        try:
            for load in loads:
                if load.encoded.again is not None:
                    self.by_serialiser = True
            share = self.shares.put(
                [part for load in loads for part in load.parts], False)
            self.queue.append(Waiting(
                self.queue[-1].sequence, None, namespace, None, list(loads),
                share=share))
            is_decided = True
        except NO_ROOM:
            is_decided = True
            raise
        finally:
            if not is_decided:
                # An exception has struck: its event may not wait.
                used = {id(each.share) for each in self.queue}
                for each in list(self.shares):
                    if id(each) not in used:
                        each.settled = True
                self.shares.tidy(everything=not self.queue)

    def done(self, waiting: Waiting) -> None:
        """What waited was delivered; under the order lock."""
        if waiting.event is not None:
            waiting.event.set()
        if waiting.share is not None:
            waiting.share.settled = True
            self.shares.tidy(everything=not self.queue)

    def flush(self, sid: str,
              then: Optional[Callable[[], None]] = None) -> None:
        """A client is going to be disconnected: hand over what waits for it,
        which it would miss.

        :param then: called in the same step, under the order lock.
        """
        without = Without(sid)
        # The client does not return, so this need not be the position of the
        # moment.
        position = self._position()
        unprepared: Unprepared = ()
        while True:
            self.encode()
            for encoded, offset in unprepared:
                encoded.prepare(offset)
            with self._order:
                loads = [load for waiting in self.queue
                         for load in waiting.loads
                         if without(load.clients)[1]]
                unprepared = _unprepared(loads, position)
                if self.unencoded or unprepared:
                    continue
                for load in loads:
                    load.clients, leaving = without(load.clients)
                    self._hand_over([Load(leaving, load.encoded)], position)
                if then is not None:
                    then()
                break
        self._local.log_lines(self._order)

    def admit(self, client: Client, namespace: str,
              replay: Replay) -> Callable[[], None]:
        """A client returns: carry out the waiting commands, and find the
        waiting events that are meant for it; under the order lock.

        :return: adds the client to these events; to be called once it is
                 registered, without releasing the lock in between.
        :raises Refusal: a command disconnects it.
        """
        without = Without(client[0])
        meant = []
        for waiting in self.queue:
            record = waiting.record
            if record is None or waiting.namespace != namespace:
                continue
            if record.command is not None:
                replay.obey(record)
            elif is_meant(record, replay.rooms) or any(
                    # It was meant for the client when it was emitted.
                    without(load.clients)[1] for load in waiting.loads):
                meant.append(waiting)
        return lambda: self._join(client, without, meant)

    def _join(self, client: Client, without: Without,
              meant: Sequence[Waiting]) -> None:
        added = With(client)
        for waiting in self.queue:
            for load in waiting.loads:
                # The old connection is gone. A question to the old
                # connection is not put to this one.
                load.clients = without(load.clients)[0]
        for waiting in meant:
            if not waiting.loads:
                waiting.loads.append(Load([], NOT_ENCODED, True))
                self.unencoded.append(waiting)
            load = waiting.loads[0]
            load.clients = added(load.clients)

    def encode(self) -> None:
        """Encode what is not encoded yet; without the order lock. Another
        client may return at any time, so the caller checks again under the
        lock."""
        while self.unencoded:
            try:
                waiting = self.unencoded[0]
            except IndexError:
                # Another task was faster.
                return
            encoded = None if waiting.record is None \
                else self._encode(waiting.namespace, waiting.record)
            with self._order:
                for load in waiting.loads:
                    if load.encoded is NOT_ENCODED:
                        load.encoded = encoded or NOT_ENCODED
                    if load.encoded.again is not None:
                        self.by_serialiser = True
                if encoded is None:
                    waiting.loads.clear()
                if waiting in self.unencoded:
                    self.unencoded.remove(waiting)

    def give_up(self, waiting: Waiting) -> None:
        """Redis has lost, or refused, what waited; under the order lock."""
        if waiting.pending is not None and waiting.pending.refused:
            # It was raised or logged that no client gets it.
            return
        self.done(waiting)
        # The local clients, at least, can get it.
        for load in waiting.loads:
            load.recoverable = False
        self._hand_over(waiting.loads, self._position())

    def unprepared(self, sequence: int, is_message: bool,
                   offset: Position) -> Unprepared:
        """What a packet class has to encode before the message of this number
        is delivered; under the order lock.

        :param is_message: whether that message was read, rather than a sign
                           of life after it.
        :param offset: the offset that goes with it. What is given up before
                       has the present one.
        """
        found: List[Tuple[Encoded, Position]] = []
        before = self._position()
        for waiting in self.queue:
            if waiting.sequence > sequence:
                break
            comes = is_message and waiting.sequence == sequence
            found += _unprepared(waiting.loads if comes else [
                Load(load.clients, load.encoded) for load in waiting.loads],
                offset if comes else before)
        return found

    def drain(self, timeout: float) -> None:
        """Wait until all that waits now was read.

        :param timeout: seconds.
        """
        event = self._make_event()
        with self._order:
            if not self.queue:
                return
            self.queue.append(Waiting(
                self.queue[-1].sequence, None, '', None, [], event))
        event.wait(timeout)

    def end(self) -> None:
        """Return all shares: nothing is read any more. What waits is not
        delivered: the stream may hold it, and clients of other nodes get it.
        """
        with self._order:
            for waiting in self.queue:
                if waiting.share is not None:
                    waiting.share.settled = True
            self.shares.tidy(everything=True)
