"""A client that takes part in recovery, while it is connected here, and until
its last session is written.

Written by the task of the client's connection, and by the keeper's under its
lock where said. A client that is taken over, here or elsewhere, has another
one from then on: what a task of its old connection does is to concern its own
alone, and what is known of a client by its sid is not its own any more.
"""
import math
from typing import Any, List, Optional, Set

from ..clients.delivery import Client
from ..protocol.messages import Room
from .session import Gap, Origin, Session
from ..concurrency.engines import Event
from ..protocol.transport import parse_id


class ClientSession:
    """One client, and what Redis has of it."""

    def __init__(self, address: Client, namespace: str, pid: str, claim: str,
                 upto: bytes, gone: Event,
                 since: Optional[bytes] = None, placed: bool = True,
                 former: Optional[bytes] = None) -> None:
        self.sid, self.eio_sid = address
        self.namespace = namespace
        self.pid = pid
        self.claim = claim
        #: How far it had come when its session was written: see
        #: :mod:`redis_streams_adapter.recovery.session`.
        self.upto = upto
        self.since = since
        #: Whether it is known where in the stream a new client begins: not
        #: while the reader has no first position. Until then its session is
        #: not written. Under the order lock, set once.
        self.placed = placed
        #: Of a new client: the last offset that it received in a former
        #: session, and shows for as long as it receives nothing, as the
        #: JavaScript client does (socket.io-client 4.8).
        self.former = former
        self.obeyed: Optional[bytes] = upto
        self.own: Optional[Origin] = None
        self.sent: Optional[bytes] = None
        self.gap: Optional[Gap] = None
        #: What it may have that its offset does not say, likewise: written
        #: by the task of its connection, and by the one that receives what
        #: it sends.
        self.ahead: Optional[str] = None
        #: The rooms it is in, and what the application keeps for it: written
        #: by who changes them.
        self.rooms: Set[Room] = {self.sid}
        self.data: Any = None
        self.flask: Optional[str] = None
        #: Set when it is no longer registered.
        self.gone = gone
        #: Whether its connect handler is done: from then on the keeper's
        #: task writes it.
        self.settled = False
        #: Another node has it, or another connection here: it is not to be
        #: written again.
        self.lost = False
        #: That it is lost was concluded from its not being there. Under the
        #: lock.
        self.absent = False
        #: It leaves on purpose. Set by any task, and never taken back.
        self.intended = False
        #: The task that disconnects it, and runs its disconnect handler.
        #: Written once, by that task, which alone may: see
        #: :mod:`redis_streams_adapter.clients.registry`.
        self.leaver: Optional[int] = None
        #: What it was like when it left; ``None``: it is here.
        self.last: Optional[Session] = None
        #: When that was.
        self.left = math.inf
        #: What Redis has; empty: nothing. Under the lock, as all below.
        self.stored = b''
        #: What Redis may have instead, where writes had no reply.
        self.doubtful: List[bytes] = []
        self.changed = False
        self.written = 0.0
        #: Of the connections to Redis, which one saw it last.
        self.seen_on = 0
        #: Whether the log was told that it cannot be written.
        self.told = False

    def place(self, position: bytes) -> None:
        """It is new, and gets all that is behind this position; under the
        order lock."""
        self.upto = self.since = self.obeyed = position
        former = self.former
        if former is not None and parse_id(former) < parse_id(position):
            # Not one that it may receive here, too.
            self.gap = Gap(former, position)
            if self.sent is None:
                self.sent = former
        self.placed = True

    def marked(self, session: Session) -> Session:
        """What it leaves, with how far it has come."""
        return session._replace(upto=self.upto, sent=self.sent, gap=self.gap,
                                since=self.since, obeyed=self.obeyed,
                                own=self.own, ahead=self.ahead,
                                final=self.last is not None
                                and self.ahead is not None)
