"""How a process asks the others and answers them: which way, and whom it
waits for.

There are two ways, the stream and PUB/SUB
(:mod:`redis_streams_adapter.cluster.pubsub`). The option ``request_transport``
says which of them this process takes; an answer takes the way of its request.
"""
import math
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Protocol

from ..runtime.channel import Channel
from ..errors import RedisStreamsError
from ..protocol.discovery import ASK_INTERVAL
from ..protocol.messages import Message
from ..protocol.node import Act, Event, Known, Node, Response
from ..stream.outbox import Pending
from ..protocol.requests import Asked, NOBODY, Request, UNKNOWN_MEMBERS
from .pubsub import SideChannel
from ..concurrency.engines import Engine, Event as TaskEvent


class Stream(Protocol):
    """What a runtime does for this."""

    uid: str
    engine: Engine

    @property
    def closed(self) -> bool:
        """Whether it is over."""

    def joins(self, namespace: str) -> bool:
        """Whether it serves a namespace, or is about to."""

    def channel(self, namespace: str) -> Channel:
        """Where the messages of a namespace go, and come from."""

    def ask_for_members(self, namespace: str) -> None:
        """Ask the members of a namespace for all members."""

    def refuse_on_own_task(self) -> None:
        """Make sure that this task may wait.

        :raises RuntimeError: it is one of ours.
        """

    def encode(self, namespace: str, message: Message) -> Any:
        """The fields of a message."""

    def append(self, namespace: str, fields: Any) -> Pending:
        """Put an encoded message into the outbox."""

    def follow(self, event: Event) -> None:
        """Carry out what an answer brings about."""


class Asking:
    """The requests of a process, and its answers.

    What is asked for is the node's. All that it has of its own is who waits
    until all members are known.

    :param core: under it one task at a time is in the node.
    """

    def __init__(self, node: Node, core: threading.Lock, side: SideChannel,
                 stream: Stream) -> None:
        self._node = node
        self._core = core
        self._side = side
        self._stream = stream
        #: Who waits until all members are known. Each task adds and removes
        #: its own event, and a task that is ended over it does so, too.
        self._curious: List[TaskEvent] = []

    @property
    def dropped(self) -> int:
        """How many messages over PUB/SUB were not sent, or not known to
        be."""
        return self._side.dropped

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen for exactly these namespaces over PUB/SUB."""
        self._side.serve(namespaces)

    def interrupt(self) -> None:
        """End what the tasks wait for."""
        self._side.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        self._side.abandon()

    def count(self, namespace: str, timeout: float) -> Optional[int]:
        """The number of nodes, this one included if it is a member. Blocks
        where Redis has to tell it, or until all members are known.

        :param timeout: for so many seconds at most.
        :return: ``None``: they are not known.
        """
        deadline = time.monotonic() + timeout
        if self._side.asks:
            if not self._await_members(namespace, timeout, lambda: None):
                return None
            count = self._side.count(
                namespace, lambda: self._known(namespace),
                lambda: self._stream.joins(namespace))
            if count is not None:
                return count
        counts: List[int] = []
        self._await_members(
            namespace, max(0.0, deadline - time.monotonic()),
            lambda: counts.append(self._node.count(namespace)))
        return counts[0] if counts else None

    def nodes(self, namespace: str,
              timeout: float) -> Optional[Dict[str, float]]:
        """How many seconds ago each node was last heard of, by uid; this one
        included if it is a member. Blocks until all members are known.

        :param timeout: for so many seconds at most.
        :return: ``None``: they are not known.
        """
        found: List[Dict[str, float]] = []

        def look() -> None:
            now = time.monotonic()
            found.append({uid: max(0.0, now - at) for uid, at
                          in self._node.nodes(namespace).items()})
            if self._node.serves(namespace):
                found[0][self._stream.uid] = 0.0

        self._await_members(namespace, timeout, look)
        return found[0] if found else None

    def _await_members(self, namespace: str, timeout: float,
                       then: Callable[[], None]) -> bool:
        """Wait until all members of a namespace are known.

        :param timeout: for so many seconds at most.
        :param then: what to do at that very moment, under the core lock.
        :return: whether they are.
        """
        knowledge = self._stream.channel(namespace).knowledge
        deadline = time.monotonic() + timeout
        learned = None
        try:
            while True:
                now = time.monotonic()
                with self._core:
                    left = self._node.unknown_for(namespace, knowledge, now)
                    if left == 0:
                        then()
                        return True
                    asks = knowledge.is_to_ask(namespace, now)
                if learned is None:
                    self._stream.refuse_on_own_task()
                    learned = self._stream.engine.event()
                    self._curious.append(learned)
                    # It may have become known before this one waited.
                    continue
                if now >= deadline or self._stream.closed:
                    return False
                if asks:
                    self._stream.ask_for_members(namespace)
                learned.wait(min(deadline - now, ASK_INTERVAL,
                                 math.inf if left is None else left))
                learned.clear()
        finally:
            if learned is not None and learned in self._curious:
                self._curious.remove(learned)

    def learned(self) -> None:
        """More may be known of who is a member."""
        for event in list(self._curious):
            event.set()

    def request(self, request_id: str, namespace: str,
                message: Message) -> Callable[[], Optional[Pending]]:
        """Encode a request.

        :return: what sends it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        if self._side.asks:
            return self._side.ask(namespace, message)
        fields = self._stream.encode(namespace, message)

        def send() -> Pending:
            pending = self._stream.append(namespace, fields)
            with self._core:
                events = self._node.written(
                    request_id, self._writer(namespace), pending.sequence)
            for event in events:
                self._stream.follow(event)
            return pending

        return send

    def _writer(self, namespace: str) -> bytes:
        return self._stream.channel(namespace).writer.writer_id

    def expect(self, request_id: str, request: Request,
               timeout: float = math.inf, alone: bool = False) -> bool:
        """Wait for answers: to be said before the request is sent, for an
        answer may be here before that returns. Blocks where Redis has to
        tell how many are going to answer, and until all members are known;
        not for a callback, for which nobody waits.

        :param timeout: for so many seconds at most.
        :param alone: no other node is asked.
        :return: ``False``: nobody knows who has to answer, and the request
                 must not be sent; its ``obstacle`` says why.
        :raises RedisStreamsError: the manager is closed.
        """
        namespace, asked = request.namespace, None

        def take(writer: Optional[bytes] = None) -> None:
            self._node.expect(request_id, request, time.monotonic(), asked,
                              writer)

        if self._stream.closed:
            raise RedisStreamsError('the manager is closed')
        if alone:
            asked = NOBODY
        elif self._side.asks:
            deadline = time.monotonic() + timeout
            # Those that cannot hear it are known from the stream alone.
            if request.waiter is not None and not self._await_members(
                    namespace, timeout, lambda: None):
                request.doubt = UNKNOWN_MEMBERS
                return False
            asked = self._who_hears(
                namespace, deadline - time.monotonic())
        if asked is not None or self._side.asks:
            with self._core:
                take()
            return True
        writer = self._writer(namespace)
        if request.waiter is not None:
            if not self._await_members(namespace, timeout,
                                       lambda: take(writer)):
                request.doubt = UNKNOWN_MEMBERS
                return False
            return True
        knowledge = self._stream.channel(namespace).knowledge
        with self._core:
            if self._node.unknown_for(namespace, knowledge,
                                      time.monotonic()) != 0:
                request.doubt = UNKNOWN_MEMBERS
            take(writer)
        return True

    def _who_hears(self, namespace: str, timeout: float) -> Optional[Asked]:
        """Who hears our requests; ``None``: who is known."""
        if not self._side.asks:
            return None
        asked = self._side.listening(
            namespace, lambda: self._known(namespace), timeout)
        if asked is None:
            # Where Redis does not tell, nobody can be asked either, and it
            # must not look as if there were nobody.
            with self._core:
                known = list(self._node.nodes(namespace))
            asked = Asked(max(1, len(known)), known)
        return asked

    def _known(self, namespace: str) -> Dict[str, Known]:
        with self._core:
            return self._node.known(namespace)

    def reply(self, act: Act, message: Message) -> None:
        """Answer a request of another node."""
        self.prepare_reply(act, message)()

    def prepare_reply(self, act: Act,
                      message: Message) -> Callable[[], object]:
        """Encode an answer to a request of another node.

        :return: what sends it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        if act.aside is not None:
            return self._side.answer(
                act.aside, act.namespace, act.uid, message)
        fields = self._stream.encode(act.namespace, message)
        return lambda: self._stream.append(act.namespace, fields)

    def withdraw(self, request_id: str) -> None:
        """Wait for no answer any longer."""
        with self._core:
            self._node.withdraw(request_id)

    def answer(self, response: Response) -> None:
        """An own client answers a request of this node."""
        with self._core:
            events = list(self._node.respond(self._stream.uid, response))
        for event in events:
            self._stream.follow(event)
