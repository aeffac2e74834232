"""The sessions of the local clients, and their transitions, with one method
for each.

See :mod:`redis_streams_adapter.recovery.states` for the states. Each
transition is decided under the lock and acted upon outside it.
:mod:`redis_streams_adapter.recovery.session_writer` says when a session is
written.
"""
import time
from typing import Callable, Dict, List, Optional

from ..concurrency.locks import Lock
from .session import Session
from .states import Event, State
from .client_session import ClientSession
from ..concurrency.engines import Event as TaskEvent


class LocalSessions:
    """The sessions, by client.

    :param copy_of: returns a client's session as it is now, without objects
                    that the application may still change.
    :param work_there: set when there is something to write.
    """

    def __init__(self, copy_of: Callable[[ClientSession], Session],
                 work_there: TaskEvent) -> None:
        self._copy_of = copy_of
        self._work_there = work_there
        #: Protects the two dictionaries, the epoch, and the attributes named
        #: in :mod:`redis_streams_adapter.recovery.client_session`. Never held
        #: over I/O.
        self.lock = Lock()
        #: Connected clients.
        self._by_sid: Dict[str, ClientSession] = {}
        #: Connected clients, and those whose last session is not written yet.
        self._by_pid: Dict[str, ClientSession] = {}
        #: Incremented when Redis may have lost sessions that no other node has
        #: taken over.
        self.epoch = 0

    # -- the clients that take part ---------------------------------------

    def of_sid(self, sid: str, namespace: str) -> Optional[ClientSession]:
        """The client of a sid, if it is connected and takes part."""
        client = self._by_sid.get(sid)
        return client if client is not None \
            and client.namespace == namespace else None

    def of_pid(self, pid: str) -> Optional[ClientSession]:
        """The client of a session, if it is or just was connected."""
        return self._by_pid.get(pid)

    def connected(self) -> List[ClientSession]:
        """The clients that are connected; under the lock."""
        return list(self._by_sid.values())

    def all(self) -> List[ClientSession]:
        """The connected clients, and those whose last session is not written
        yet."""
        return list(self._by_pid.values())

    @property
    def count(self) -> int:
        """How many clients take part."""
        return len(self._by_sid)

    # -- their transitions ------------------------------------------------

    def register(self, client: ClientSession) -> None:
        """A client is registered."""
        with self.lock:
            self._by_sid[client.sid] = client
            self._by_pid[client.pid] = client

    def change(self, client: ClientSession) -> None:
        """Rooms or data of a client have changed."""
        if not client.has_changed:
            self.apply(client, Event.CHANGE)
            if client.is_settled:
                self._work_there.set()

    def settle(self, client: ClientSession) -> None:
        """The connect handler is done, and the client has all that it
        missed."""
        self.apply(client, Event.SETTLE)
        self.change(client)
        self._work_there.set()

    def discard(self, client: ClientSession) -> None:
        """The client leaves on purpose, or is disconnected."""
        self.apply(client, Event.DISCARD)

    def supersede(self, client: ClientSession) -> None:
        """Another connection has taken the client over."""
        with self.lock:
            client.apply(Event.SUPERSEDE)
            if client.presence is State.GONE:
                # Nothing more is written of it.
                self.forget(client)

    def leave(self, client: ClientSession) -> None:
        """A client is about to leave: other nodes get its session as it is
        now."""
        if client.is_leaving:
            return
        last = self._copy_of(client)
        with self.lock:
            if not client.is_leaving:
                client.last = last
                client.apply(Event.LEAVE)

    def unregister(self, client: ClientSession) -> None:
        """A client is no longer registered: write its session a last time,
        or delete it."""
        try:
            self.leave(client)
            with self.lock:
                client.left = min(client.left, time.monotonic())
                client.apply(Event.UNREGISTER)
                client.apply(Event.CHANGE)
                if not client.is_held:
                    self.forget(client)
                if self._by_sid.get(client.sid) is client:
                    del self._by_sid[client.sid]
        finally:
            # Even if an exception has struck: other connections of the client
            # wait for this, and may call this method again.
            client.gone.set()
            self._work_there.set()

    def apply(self, client: ClientSession, event: Event) -> None:
        """Let an event change a client's state."""
        with self.lock:
            client.apply(event)

    def was_taken(self, client: ClientSession, event: Event) -> None:
        """Redis has another session of the client, or none."""
        with self.lock:
            client.apply(event)
            if client.is_leaving:
                self.forget(client)

    def forget(self, client: ClientSession) -> None:
        """Nothing more is to be written of a client; under the lock."""
        if self._by_pid.get(client.pid) is client:
            del self._by_pid[client.pid]
