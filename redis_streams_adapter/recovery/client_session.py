"""The session of a local client that takes part in recovery: from its
registration until its last session is written.

A client that is taken over, here or elsewhere, has another one from then on.
A task of the old connection changes the old one alone; what is known by the
client's sid may be the new one's.
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

    Its states change by :meth:`apply` alone, under the session writer's lock
    (``place``: under the order lock). Each is one attribute, written at once:
    an exception that strikes leaves the state before or the one after.

    :param client: its sid, and that of its connection.
    :param upto: how far it has come.
    :param gone: set when it is no longer registered.
    :param since: where it began; ``None``: nobody can tell.
    :param placed: whether that is known; not before the reader has its first
                   position. Until then the session is not written.
    :param former: of a new client: the last offset that it received in a
                   former session, and shows for as long as it receives
                   nothing, as the JavaScript client does (socket.io-client
                   4.8).
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
        #: How far it had come when its session was written: see
        #: :mod:`redis_streams_adapter.recovery.session`. These, up to
        #: ``gap``, are written under the order lock.
        self.upto = upto
        self.since = since
        self.former = former
        self.obeyed: Optional[Position] = upto
        self.own: Optional[Origin] = None
        self.sent: Optional[Position] = None
        self.gap: Optional[Gap] = None
        #: What it may have that its offset does not say: written by the task
        #: of its connection, and by the one that receives what it sends.
        self.ahead: Optional[str] = None
        #: The rooms it is in, and what the application keeps for it: written
        #: by the task that changes them.
        self.rooms: Set[Room] = {self.sid}
        self.data: Any = None
        self.flask: Optional[str] = None
        self.gone = gone
        #: The task that disconnects it, and runs its disconnect handler: it
        #: alone may unregister the client, see
        #: :mod:`redis_streams_adapter.clients.registry`. Written once, by
        #: that task.
        self.leaving_task: Optional[int] = None
        #: What it was like when it left; set before the state says that it
        #: leaves. With :attr:`left`, under the session writer's lock.
        self.last: Optional[Session] = None
        #: When it was unregistered, in seconds of the monotonic clock.
        self.left = math.inf
        #: What Redis has; empty: nothing. Under the session writer's lock,
        #: as all below.
        self.stored = b''
        #: What Redis may have instead, after writes that had no reply.
        self.doubtful: List[bytes] = []
        #: When it was written, in seconds of the monotonic clock.
        self.written = 0.0
        #: The connection to Redis that saw it last.
        self.seen_on = 0
        #: How many warnings the log had about what cannot be kept: one at
        #: most. Written without a lock; there may be two.
        self.warnings = 0

    def apply(self, event: Change) -> bool:
        """Let an event change the state that it concerns.

        :return: whether it has changed: of tasks that race, one gets
                 ``True``.
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
        """Whether its connect handler is done: from then on the session
        writer's task writes it."""
        return self.presence is not State.CONNECTING \
            and self.presence is not State.LEAVING_EARLY

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to go, or gone: :attr:`last` is set."""
        return self.presence is not State.CONNECTING \
            and self.presence is not State.CONNECTED

    @property
    def is_placed(self) -> bool:
        """Whether it is known where in the stream it begins."""
        return self.place is State.PLACED

    @property
    def is_held(self) -> bool:
        """Whether it is this node's; otherwise it must not be written."""
        return self.possession is State.HELD

    @property
    def is_discarded(self) -> bool:
        """Whether it leaves on purpose."""
        return self.purpose is State.DISCARDED

    @property
    def has_changed(self) -> bool:
        """Whether it holds what Redis has not been sent."""
        return self.content is State.CHANGED

    def warn(self) -> bool:
        """Whether the log is to have a warning: once."""
        self.warnings += 1
        return self.warnings == 1

    def begin_at(self, position: Position) -> None:
        """A new client gets all that is after this position; under the order
        lock. What is set before the state is not read until then."""
        self.upto = self.since = self.obeyed = position
        former = self.former
        if former is not None and former < position:
            # Not one that it may receive here, too.
            self.gap = Gap(former, position)
            if self.sent is None:
                self.sent = former
        self.apply(Change.PLACE)

    def marked(self, session: Session) -> Session:
        """What it leaves, with how far it has come."""
        return session._replace(upto=self.upto, sent=self.sent, gap=self.gap,
                                since=self.since, obeyed=self.obeyed,
                                own=self.own, ahead=self.ahead,
                                final=self.is_leaving
                                and self.ahead is not None)
