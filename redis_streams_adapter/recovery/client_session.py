"""The session of a local client that takes part in recovery, from the client's
registration until the session is written for the last time.

A client that is taken over gets another object, here or on another node. Tasks
of the old connection change the old object only. What is known by the client's
sid may belong to the new one.
"""
import math
from typing import Any, List, Optional, Set

from ..runtime.delivery import Client
from ..protocol.messages import Room
from .session import Gap, Origin, Session
from .states import Event as Change, State, state_after
from ..concurrency.engines import Event
from ..protocol.position import Position


class ClientSession:
    """One client, and what Redis has of it.

    Only :meth:`apply` changes its states, under the lock of
    :mod:`redis_streams_adapter.recovery.local_sessions` (``place``: under the
    order lock). Each state is one attribute, so an exception that strikes
    leaves the old state or the new one.

    :param client: its sid, and the id of its connection.
    :param upto: the position up to which it has everything.
    :param gone: set when it is no longer registered.
    :param since: the position at which it began; ``None``: unknown.
    :param placed: whether that is known. It is not before the reader has its
                   first position; until then the session is not written.
    :param former: of a new client: the last offset that it received in a
                   former session. The JavaScript client (socket.io-client
                   4.8) shows it until it receives another one.
    """

    def __init__(self, client: Client, namespace: str, pid: str, claim: str,
                 upto: Position, gone: Event,
                 since: Optional[Position] = None, placed: bool = True,
                 former: Optional[Position] = None) -> None:
        self.sid, self.eio_sid = client
        self.namespace = namespace
        self.pid = pid
        self.claim = claim
        #: Its states, by aspect; see
        #: :mod:`redis_streams_adapter.recovery.states`.
        self.presence = State.CONNECTING
        self.place = State.PLACED if placed else State.UNPLACED
        self.possession = State.HELD
        self.purpose = State.KEPT
        self.content = State.UNCHANGED
        #: How far it had come when its session was last written, see
        #: :mod:`redis_streams_adapter.recovery.session`. These, up to
        #: ``gap``, are written under the order lock.
        self.upto = upto
        self.since = since
        self.former = former
        self.obeyed: Optional[Position] = upto
        self.own: Optional[Origin] = None
        self.sent: Optional[Position] = None
        self.gap: Optional[Gap] = None
        #: What it may have although its offset does not show it. Written by
        #: the task of its connection and by the task that receives its
        #: packets.
        self.ahead: Optional[str] = None
        #: Its rooms, and what the application keeps for it. Written by the
        #: task that changes them.
        self.rooms: Set[Room] = {self.sid}
        self.data: Any = None
        self.flask: Optional[str] = None
        self.gone = gone
        #: The task that disconnects it and runs its disconnect handler. Only
        #: that task may unregister the client, see
        #: :mod:`redis_streams_adapter.clients.registry`. Written once, by
        #: that task.
        self.leaving_task: Optional[int] = None
        #: Its session when it left; set before the state says that it leaves.
        #: Under the sessions' lock, as :attr:`left` is.
        self.last: Optional[Session] = None
        #: When it was unregistered, in seconds of the monotonic clock.
        self.left = math.inf
        #: What Redis has; empty: nothing. Under the sessions' lock, as all
        #: that follows.
        self.stored = b''
        #: What Redis may have instead, after writes that had no reply.
        self.doubtful: List[bytes] = []
        #: When it was written, in seconds of the monotonic clock.
        self.written = 0.0
        #: The connection to Redis that saw it last.
        self.seen_on = 0
        #: How many warnings about what cannot be kept were logged. Written
        #: without a lock; there may be two warnings.
        self.warnings = 0

    def apply(self, event: Change) -> bool:
        """Let an event change the state that it concerns.

        :return: whether the state changed. Of several tasks that race, one
                 gets ``True``.
        :raises ImpossibleTransition: it cannot happen now.
        """
        before = getattr(self, event.aspect)
        after = state_after(before, event)
        if after is before:
            return False
        setattr(self, event.aspect, after)
        return True

    @property
    def is_settled(self) -> bool:
        """Whether its connect handler is done. From then on, the session
        writer's task writes it."""
        return self.presence is not State.CONNECTING \
            and self.presence is not State.LEAVING_EARLY

    @property
    def is_leaving(self) -> bool:
        """Whether it is leaving or gone; :attr:`last` is set then."""
        return self.presence is not State.CONNECTING \
            and self.presence is not State.CONNECTED

    @property
    def is_placed(self) -> bool:
        """Whether its first position in the stream is known."""
        return self.place is State.PLACED

    @property
    def is_held(self) -> bool:
        """Whether this node has the session. Otherwise it must not be
        written."""
        return self.possession is State.HELD

    @property
    def is_discarded(self) -> bool:
        """Whether it leaves on purpose."""
        return self.purpose is State.DISCARDED

    @property
    def has_changed(self) -> bool:
        """Whether it holds something that was not sent to Redis."""
        return self.content is State.CHANGED

    def warn(self) -> bool:
        """Whether to log a warning: once."""
        self.warnings += 1
        return self.warnings == 1

    def begin_at(self, position: Position) -> None:
        """A new client gets everything after this position; under the order
        lock. The state is set last: until then, nothing else is read."""
        self.upto = self.since = self.obeyed = position
        former = self.former
        if former is not None and former < position:
            # Not an offset that it may receive here, too.
            self.gap = Gap(former, position)
            if self.sent is None:
                self.sent = former
        self.apply(Change.PLACE)

    def marked(self, session: Session) -> Session:
        """A session with how far the client has come."""
        return session._replace(upto=self.upto, sent=self.sent, gap=self.gap,
                                since=self.since, obeyed=self.obeyed,
                                own=self.own, ahead=self.ahead,
                                final=self.is_leaving
                                and self.ahead is not None)
