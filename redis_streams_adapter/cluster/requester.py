"""How a process sends its requests to other servers, and its answers to
theirs: over which transport, and which servers have to answer.

There are two transports, the stream and PUB/SUB
(:mod:`redis_streams_adapter.cluster.pubsub`). The option ``request_transport``
selects one for the requests of this process; an answer takes the transport of
its request. If that is the stream, it goes into the inbox of the server that
has asked (:mod:`redis_streams_adapter.cluster.inboxes`), if there is one.
"""
import math
import threading
import time
from typing import Any, Callable, Dict, Generator, Iterable, Iterator, \
    List, Optional, Sequence, Tuple

from ..runtime.runtime import Runtime
from ..errors import RedisStreamsError
from ..nodes import NodeInfo, PYTHON
from ..protocol.events import Act
from ..protocol.joining import join_json, join_msgpack, Part
from ..protocol.membership import Known
from ..protocol.messages import FetchSocketsResponse, Message, \
    Request as RequestMessage, Response
from ..protocol.node import Node
from ..protocol.presence import read_process
from ..protocol.request_content import with_inbox
from ..stream.outbox import Pending
from ..protocol.requests import Asked, NOBODY, Request, UNKNOWN_MEMBERS
from .inboxes import Inboxes
from .members import MemberWaits
from .pubsub import PubSub
from .steps import Steps


#: How long the first request waits until the inbox of this process is open, in
#: seconds. It takes milliseconds.
INBOX_PATIENCE = 0.5


class Requester:
    """Sends requests and answers.

    The node keeps the open requests. The requester only keeps the tasks that
    wait until all members are known.

    :param core: the lock of the node.
    """

    def __init__(self, node: Node, core: threading.Lock, pubsub: PubSub,
                 inboxes: Inboxes, runtime: Runtime[Any]) -> None:
        self._node = node
        self._core = core
        self._pubsub = pubsub
        self._inboxes = inboxes
        self._runtime = runtime
        self._steps = Steps(runtime.engine)
        #: The tasks that wait until all members are known.
        self.members = MemberWaits(node, core, runtime)

    @property
    def dropped(self) -> int:
        """How many requests and answers over PUB/SUB, and answers to inboxes,
        were not sent, or not known to be."""
        return self._pubsub.dropped + self._inboxes.dropped \
            + self._steps.dropped

    @property
    def asks_in_stream(self) -> bool:
        """Whether the requests of this process go over the stream."""
        return not self._pubsub.asks

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen in exactly these namespaces over PUB/SUB."""
        self._pubsub.serve(namespaces)

    def renew(self) -> None:
        """Another server has taken over: connect to it."""
        self._pubsub.renew()
        self._inboxes.renew()

    def flush(self, deadline: float) -> bool:
        """Wait until Redis has the answers to other nodes that are complete.

        :param deadline: by the monotonic clock.
        """
        return self._inboxes.flush(deadline)

    def interrupt(self) -> None:
        """End what the tasks wait for."""
        self._pubsub.interrupt()
        self._inboxes.interrupt()
        self._steps.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        self._pubsub.abandon()
        self._inboxes.abandon()

    def count(self, namespace: str, timeout: float) -> Optional[int]:
        """The number of nodes, including this one if it is a member. Blocks
        until all members are known, and while Redis counts.

        :param timeout: how many seconds to wait, at most.
        :return: ``None`` if the number is not known.
        """
        deadline = time.monotonic() + timeout
        if self._pubsub.asks:
            if not self.members.in_namespace(namespace, timeout, lambda: None):
                return None
            count = self._pubsub.count(
                namespace, lambda: self._known(namespace),
                lambda: self._runtime.membership.joins(namespace))
            if count is not None:
                return count
        counts: List[int] = []
        self.members.in_namespace(
            namespace, max(0.0, deadline - time.monotonic()),
            lambda: counts.append(self._node.count(namespace)))
        return counts[0] if counts else None

    def nodes(self, namespace: str,
              timeout: float) -> Optional[List[NodeInfo]]:
        """What is known of each node, this one first if it is a member.
        Blocks until all members are known.

        :param timeout: how many seconds to wait, at most.
        :return: ``None`` if they are not known.
        """
        found: List[List[NodeInfo]] = []

        def look() -> None:
            others = sorted(self._node.languages.infos(
                namespace, time.monotonic()), key=lambda each: each.uid)
            found.append([NodeInfo(
                self._runtime.uid, 0.0,
                *read_process(self._runtime.encoder.process), PYTHON),
                *others] if self._node.serves(namespace) else others)

        self.members.in_namespace(namespace, timeout, look)
        return found[0] if found else None

    def learned(self) -> None:
        """Wake the waiting tasks: more members may be known."""
        self.members.learned()

    def request(self, request_id: str, namespace: str,
                message: RequestMessage, patience: float = 0.0
                ) -> Callable[[], Optional[Pending]]:
        """Encode a request.

        :param patience: how many seconds it may take until the inbox of this
                         process is open; without it, answers come in the
                         stream.
        :return: a function that sends it.
        :raises TypeError, ValueError: the request cannot be serialised.
        """
        if self._pubsub.asks:
            return self._pubsub.ask(namespace, message)
        inbox = self._inboxes.offer(min(patience / 4, INBOX_PATIENCE))
        fields = self._runtime.encode(namespace, with_inbox(message, inbox))

        def send() -> Pending:
            pending = self._runtime.append(namespace, fields)
            with self._core:
                events = self._node.written(
                    request_id, self._writer(namespace), pending.sequence)
            for event in events:
                self._runtime.events.carry_out(event)
            return pending

        return send

    def _writer(self, namespace: str) -> bytes:
        return self._runtime.channel(namespace).writer.writer_id

    def expect(self, request_id: str, request: Request,
               timeout: float = math.inf, alone: bool = False) -> bool:
        """Register a request before it is sent: an answer may arrive before
        the call that sends it returns. Blocks until all members are known,
        and while Redis counts the nodes that will answer. It does not block
        for a request with a callback, for which no task waits.

        :param timeout: how many seconds to wait, at most.
        :param alone: no other node is asked.
        :return: ``False`` if it is not known which nodes have to answer. The
                 request must not be sent; its ``obstacle`` says why.
        :raises RedisStreamsError: the manager is closed.
        """
        namespace, asked = request.namespace, None

        def take(writer: Optional[bytes] = None) -> None:
            self._node.expect(request_id, request, time.monotonic(), asked,
                              writer)

        if self._runtime.closed:
            raise RedisStreamsError('the manager is closed')
        if alone:
            asked = NOBODY
        elif self._pubsub.asks:
            deadline = time.monotonic() + timeout
            # Nodes that do not hear it are only known from the stream.
            if request.waiter is not None and not self.members.in_namespace(
                    namespace, timeout, lambda: None):
                request.doubt = UNKNOWN_MEMBERS
                return False
            asked = self._who_hears(
                namespace, deadline - time.monotonic(), request.python_only)
        if asked is not None or self._pubsub.asks:
            with self._core:
                take()
            return True
        writer = self._writer(namespace)
        if request.waiter is not None:
            if not self.members.in_namespace(
                    namespace, timeout, lambda: take(writer)):
                request.doubt = UNKNOWN_MEMBERS
                return False
            return True
        knowledge = self._runtime.channel(namespace).knowledge
        with self._core:
            if self._node.unknown_for(namespace, knowledge,
                                      time.monotonic()) != 0:
                request.doubt = UNKNOWN_MEMBERS
            take(writer)
        return True

    def _who_hears(self, namespace: str, timeout: float,
                   python_only: bool) -> Optional[Asked]:
        """The nodes that have to answer a request over PUB/SUB; ``None``:
        those in Python that are known from the stream, which all listen.
        """
        asked = self._pubsub.listening(
            namespace, lambda: self._known(namespace), timeout)
        if asked is None:
            # If Redis does not count, no node can be asked either. The
            # result must not look as if there were no other nodes.
            with self._core:
                known = list(self._node.nodes(namespace))
            return Asked(max(1, len(known)), known)
        return None if python_only else asked

    def _known(self, namespace: str) -> Dict[str, Known]:
        with self._core:
            return self._node.known(namespace)

    def reply(self, act: Act, message: Message) -> None:
        """Answer a request of another node."""
        self.prepare_reply(act, message)()

    def prepare_reply(self, act: Act,
                      message: Message) -> Callable[[], object]:
        """Encode an answer to a request of another node.

        :return: a function that sends it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        return self.encode_reply(act, message)[1]

    def encode_reply(self, act: Act, message: Message
                     ) -> Tuple[int, Callable[[], object]]:
        """As :meth:`prepare_reply`.

        :return: the size of the answer in bytes, and the function.
        """
        if act.way is not None:
            packed = self._pubsub.pack(act.namespace, message)
            return len(packed), lambda: self._publish(act, packed)
        fields = self._runtime.encode(act.namespace, message)
        inbox = getattr(act.message, 'inbox', None)

        def send() -> None:
            self._runtime.append(act.namespace, fields)

        def send_late() -> None:
            try:
                send()
            except RedisStreamsError as exc:
                self._give_up(exc)

        if inbox is None or not self._inboxes.accept:
            return len(fields[-1]), send
        return len(fields[-1]), lambda: self._inboxes.answer(
            inbox, fields, send_late)

    def _publish(self, act: Act, packed: bytes) -> None:
        if act.way is not None:
            self._pubsub.answer(act.way, act.namespace, act.uid, packed)

    def reply_in_parts(self, act: Act, request_id: str,
                       batches: Iterable[Optional[Sequence[Any]]]
                       ) -> Generator[bool, None, bool]:
        """Answer FETCH_SOCKETS of another node as :meth:`reply` does, in small
        steps. No more than one batch is kept as objects: so many would cost
        the garbage collector a long step.

        :param batches: descriptions of clients; ``None``: let others run.
        :return: work for :meth:`later`, which returns whether this was
                 possible. If not, nothing was sent.
        """
        packs, parts = act.way is not None, []

        def encode(sockets: Sequence[Any]) -> Any:
            some = FetchSocketsResponse(request_id, tuple(sockets))
            return self._pubsub.pack(act.namespace, some) if packs \
                else self._runtime.encode(act.namespace, some)

        for batch in batches:
            if batch is not None:
                encoded = encode(batch)
                parts.append(Part(
                    len(batch), encoded if packs else encoded[-1]))
            yield False
        empty = encode(())
        whole = join_msgpack(empty, parts) if packs \
            else join_json(empty[-1], parts)
        if whole is None:
            return False
        if packs:
            self._publish(act, whole)
        else:
            self._runtime.append(act.namespace, (*empty[:-1], whole))
        return True

    @property
    def crowded(self) -> bool:
        """Whether so many answers wait that more should be made later."""
        return self._inboxes.crowded

    @property
    def idle(self) -> bool:
        """Whether all answers to other nodes were made, and have left, but
        for those in the stream."""
        return self._steps.idle and self._inboxes.idle

    def later(self, work: Iterator[bool]) -> None:
        """Make an answer in small steps, on a task of its own."""
        self._runtime.tasks.start_pubsub(
            'answers', self._steps.work, matters=False)
        self._steps.put(self._guarded(work))

    def _guarded(self, work: Iterator[bool]) -> Iterator[bool]:
        try:
            yield from work
        except RedisStreamsError as exc:
            self._give_up(exc)

    def _give_up(self, error: RedisStreamsError) -> None:
        """An answer cannot be sent: there is no room, or this manager is
        closed. The node that waits for it reports that this one is missing.
        """
        if not self._runtime.closed:
            self._runtime.status.no_room('an answer', error)

    def withdraw(self, request_id: str) -> None:
        """Stop waiting for answers to a request."""
        with self._core:
            self._node.withdraw(request_id)

    def answer(self, response: Response) -> None:
        """Take in the answer of a local client to a request of this node."""
        with self._core:
            events = list(self._node.respond(self._runtime.uid, response))
        for event in events:
            self._runtime.events.carry_out(event)
