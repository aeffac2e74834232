"""How a process asks the others and answers them: which way, and whom it
waits for.

There are two ways, the stream and PUB/SUB
(:mod:`redis_streams_adapter.side_channel`). The option ``request_transport``
says which of them this process takes; an answer takes the way of its request.
"""
import math
import threading
import time
from typing import Any, Callable, Dict, Optional, Protocol

from .messages import Message
from .node import Act, Event, Known, Node, Response
from .redis_streams.outbox import Pending
from .requests import Asked, NOBODY, Request
from .side_channel import SideChannel


class Stream(Protocol):
    """What a runtime does for this."""

    uid: str

    @property
    def closed(self) -> bool:
        """Whether it is over."""

    def joins(self, namespace: str) -> bool:
        """Whether it serves a namespace, or is about to."""

    def encode(self, namespace: str, message: Message) -> Any:
        """The fields of a message."""

    def append(self, namespace: str, fields: Any) -> Pending:
        """Put an encoded message into the outbox."""

    def follow(self, event: Event) -> None:
        """Carry out what an answer brings about."""


class Asking:
    """The requests of a process, and its answers.

    It has no state of its own: what is asked for is the node's.

    :param core: under it one task at a time is in the node.
    """

    def __init__(self, node: Node, core: threading.Lock, side: SideChannel,
                 stream: Stream) -> None:
        self._node = node
        self._core = core
        self._side = side
        self._stream = stream

    def count(self, namespace: str) -> int:
        """The number of nodes, this one included if it serves the namespace.
        Blocks where Redis has to tell it."""
        if self._side.asks:
            count = self._side.count(
                namespace, lambda: self._known(namespace),
                lambda: self._stream.joins(namespace))
            if count is not None:
                return count
        with self._core:
            return self._node.count(namespace)

    def nodes(self, namespace: str) -> Dict[str, float]:
        """How many seconds ago each other node was last heard of, by uid."""
        with self._core:
            seen = self._node.nodes(namespace)
        now = time.monotonic()
        return {uid: max(0.0, now - at) for uid, at in seen.items()}

    def request(self, namespace: str,
                message: Message) -> Callable[[], Optional[Pending]]:
        """Encode a request.

        :return: what sends it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        if self._side.asks:
            return self._side.ask(namespace, message)
        fields = self._stream.encode(namespace, message)
        return lambda: self._stream.append(namespace, fields)

    def expect(self, request_id: str, request: Request,
               timeout: float = math.inf, alone: bool = False) -> None:
        """Wait for answers: to be said before the request is sent, for an
        answer may be here before that returns. Blocks where Redis has to
        tell how many are going to answer.

        :param timeout: for so many seconds at most.
        :param alone: no other node is asked.
        """
        asked: Optional[Asked] = NOBODY
        if not alone:
            asked = self._who_hears(request.namespace, timeout)
        with self._core:
            self._node.expect(request_id, request, time.monotonic(), asked)

    def _who_hears(self, namespace: str, timeout: float) -> Optional[Asked]:
        """Who hears our requests; ``None``: who is known."""
        if not self._side.asks or self._stream.closed:
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
