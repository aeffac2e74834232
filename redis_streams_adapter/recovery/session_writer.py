"""When the sessions of the local clients are written, and when this node loses
them.

A session is written before its client has the reply to its CONNECT. If the
client was let in before the reader had its first position, the session is
written as soon as the reader has it: until then, no node could know what to
replay. The session is written again when rooms or data have changed, and for
the last time when the client is lost. It is deleted when the client leaves on
purpose. In between it is kept alive, so that other nodes can take over the
clients of a node that is killed. From time to time it is written without a
change, to say how far its client has come: ``upto`` and ``sent`` must not be
older than the stream goes back, see
:mod:`redis_streams_adapter.recovery.session`.

The first write of a new session is a plain SET: no other node knows its name.
Each later write is a compare-and-set with what was written last. If Redis has
another value, another node has taken the client over: the session is
*superseded*, and never written again. If Redis has none, a server in Node.js
may have taken it (Node.js deletes what it takes), or Redis may have lost it.
It is written again only if Redis was away since it was last seen.

*If the process dies* between any two lines, Redis has a session that was true
a moment ago. It may lack rooms that were just entered, and data that was just
saved. No event is lost, because the client shows its own offset.
"""
import logging
import math
import time
from typing import Callable, Iterable, List, Optional, Sequence

from ..protocol.application import Application
from .local_sessions import LocalSessions
from ..log_events import SESSION_NOT_KEPT, SESSION_NOT_WRITTEN, \
    SESSIONS_ACCEPTED, SESSIONS_NOT_WRITTEN, SESSIONS_REFUSED
from ..options import RecoveryOptions
from .session import Session
from .session_codec import SessionCodec
from .states import Event
from ..stream.session_store import SessionStore
from .stored_sessions import StoredSessions
from ..stream.connection import Refused
from .client_session import ClientSession
from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..protocol.transport import Unavailable
from ..protocol.values import Serialiser

#: How many sessions are written, or kept alive, at once.
BATCH = 100


class SessionWriter:
    """Keeps the sessions of the local clients in Redis.

    :param interval: how often to keep sessions alive, in seconds.
    :param serialiser: encodes what an application keeps.
    :param application: the application that the sessions belong to.
    :param describe: returns a client's session as it is now.
    :param progress: notes how far a client has come.
    """

    def __init__(self, sessions: SessionStore, engine: Engine,
                 options: RecoveryOptions, interval: float,
                 serialiser: Serialiser, application: Application,
                 describe: Callable[[ClientSession], Session],
                 progress: Callable[[ClientSession], None],
                 logger: Callable[[], logging.Logger]) -> None:
        self.sessions = sessions
        self.codec = SessionCodec(options, serialiser, application, logger)
        self._engine = engine
        self._describe = describe
        self._progress = progress
        self._logger = logger
        duration = options.max_disconnection_duration
        self._duration = duration
        # Well before it expires.
        self._interval = min(interval, duration / 4)
        #: After how many seconds to write how far a client has come.
        self._stale = duration / 2
        self._work_there = engine.event()
        self.local = LocalSessions(self._copy, self._work_there)
        self.stored = StoredSessions(sessions, self.local)
        self._lock = self.local.lock
        #: Set by the writer's task after each round; cleared by the task
        #: that waits for it, when the server shuts down.
        self._round_ended = engine.event()
        #: Written by the writer's task alone, as what follows.
        self._renewed = time.monotonic()
        #: The refusal that was logged last, until it is over. Also written by
        #: the tasks of clients' connections: there may be one line too many.
        self._complaint = ''

    def _copy(self, client: ClientSession) -> Session:
        return self.codec.copy(self._describe(client))

    # -- what is to be written --------------------------------------------

    def begin(self, place: Callable[[ClientSession], None],
              is_there: Callable[[str], bool]) -> None:
        """A reader has its first position, at which the clients begin that
        were let in before; under the order lock.

        :param place: notes the position of one client.
        :param is_there: whether a namespace goes to this reader's stream.
        """
        with self._lock:
            early = [client for client in self.local.all()
                     if not client.is_placed and is_there(client.namespace)]
        for client in early:
            place(client)
            self.local.change(client)
        self._work_there.set()

    def history_is_gone(self) -> None:
        """Redis was emptied: sessions that it lacks were not taken over."""
        with self._lock:
            self.local.epoch += 1
            for client in self.local.connected():
                client.apply(Event.REGAIN)
                client.apply(Event.CHANGE)
        self._work_there.set()

    def claimed(self, client: ClientSession, value: bytes) -> None:
        """Note that a session was taken over with this value."""
        self.stored.wrote(client, value)
        # It is written again soon: it says how far the client had come before
        # it was away.
        client.written = -math.inf

    # -- writing ----------------------------------------------------------

    def write_first(self, client: ClientSession) -> None:
        """Write a session before its client has the session's name; on the
        task of the client's connection. While Redis is away, it is written
        later."""
        with self._lock:
            if client.is_leaving or not client.is_held:
                # It is gone already. The writer's task writes its session, or
                # another node has it.
                return
            # If its first position is not known yet, it is written later.
            client.apply(Event.WRITE if client.is_placed else Event.CHANGE)
        if not client.is_placed:
            return
        if client.stored and self._value(client) == client.stored:
            return
        self._progress(client)
        value = self._value(client)
        if not value and not client.stored:
            return
        try:
            if client.stored:
                refusal = self.stored.swap([client], [value])
            else:
                refusal = self.stored.put(client, value)
        except Unavailable as exc:
            self._logger().debug(
                'a session was not written: %s', exc,
                extra=SESSION_NOT_WRITTEN(
                    namespace=client.namespace, sid=client.sid,
                    reason=str(exc)))
            self.local.change(client)
        else:
            if refusal is not None:
                self._complain(refusal)
                self.local.change(client)

    def _value(self, client: ClientSession) -> bytes:
        """The value to write for a client; empty: none."""
        if client.is_discarded:
            return b''
        try:
            session = client.last or self._describe(client)
            return self.codec.encode(client.marked(session))
        except Exception as exc:
            # The application's objects and JSON module may raise anything.
            if client.warn():
                self._logger().warning(
                    'the session of %s cannot be kept, so the client cannot '
                    'be recovered: %r', client.sid, exc,
                    extra=SESSION_NOT_KEPT(
                        namespace=client.namespace, sid=client.sid,
                        reason=repr(exc)))
            return b''

    # -- the writer's task ------------------------------------------------

    def work(self, task: Task) -> None:
        """One round of the task: write sessions that have changed and keep
        the others alive, until Redis cannot be reached, or a server refuses.
        """
        while not task.stopping:
            due = self._renewed + self._interval - time.monotonic()
            if due > 0 and not self._has_changed():
                self._work_there.wait(due)
            self._work_there.clear()
            if task.stopping:
                return
            refusal: Optional[Refused] = None
            # First: this works even if Redis refuses to write.
            if time.monotonic() - self._renewed >= self._interval:
                refusal = self._renew(task)
            refusal = self._write_changed() or refusal
            if refusal is not None:
                self._complain(refusal)
                raise refusal
            self._round_ended.set()
            if self._complaint:
                self._complaint = ''
                self._logger().info('Redis keeps sessions again',
                                    extra=SESSIONS_ACCEPTED())
            task.works()

    def interrupt(self) -> None:
        """End the waits of the tasks, which stop then."""
        self.sessions.interrupt()
        self._work_there.set()

    def _has_changed(self) -> bool:
        for client in self.local.all():
            if self._is_due(client):
                return True
        return False

    def _is_due(self, client: ClientSession) -> bool:
        return client.has_changed and client.is_settled \
            and client.is_placed and client.is_held

    def _write_changed(self) -> Optional[Refused]:
        oldest = time.monotonic() - self._duration
        with self._lock:
            for client in self.local.all():
                if client.left < oldest:
                    # Redis was away for too long: it would have expired.
                    self.local.forget(client)
            due = [client for client in self.local.all()
                   if self._is_due(client)]
        refusal: Optional[Refused] = None
        for start in range(0, len(due), BATCH):
            refusal = self._write(due[start:start + BATCH]) or refusal
            self._engine.pause()
        return refusal

    def _write(self, clients: Iterable[ClientSession],
               anyway: bool = False) -> Optional[Refused]:
        """Write sessions; otherwise as :meth:`.StoredSessions.swap`.

        :param anyway: also sessions that have not changed.
        """
        batch: List[ClientSession] = []
        values: List[bytes] = []
        for client in clients:
            self.local.apply(client, Event.WRITE)
            value = self._value(client)
            if not value and not client.stored and not client.doubtful:
                self.stored.wrote(client, value)
                continue
            if value != client.stored or client.doubtful \
                    or client.is_leaving or client.seen_on != self.stored.era \
                    or anyway:
                if not client.is_leaving and value:
                    self._progress(client)
                    value = self._value(client)
                batch.append(client)
                values.append(value)
        done = False
        try:
            refusal = self.stored.swap(batch, values) if batch else None
            done = True
        finally:
            if not done:
                for client in batch:
                    self.local.apply(client, Event.CHANGE)
        return refusal

    def _renew(self, task: Task) -> Optional[Refused]:
        now = time.monotonic()
        with self._lock:
            clients = [client for client in self.local.connected()
                       if client.is_settled and client.is_held
                       and client.stored]
        refusal: Optional[Refused] = None
        for batch in self._batches(task, clients):
            refusal = self.stored.touch(batch) or refusal
        if refusal is None:
            # Otherwise the next round tries again.
            self._renewed = now
        for batch in self._batches(task, [
                client for client in clients
                if now - client.written > self._stale]):
            refusal = self._write(batch, anyway=True) or refusal
        return refusal

    def _batches(self, task: Task, clients: Sequence[ClientSession]
                 ) -> Iterable[Sequence[ClientSession]]:
        for start in range(0, len(clients), BATCH):
            if task.stopping:
                return
            yield [client for client in clients[start:start + BATCH]
                   if client.is_held]
            self._engine.pause()

    def _complain(self, error: Refused) -> None:
        reason = str(error)
        if reason != self._complaint:
            # Nothing else may show it: other commands may be allowed.
            self._complaint = reason
            self._logger().warning(
                'Redis refuses to keep sessions, so clients may not be '
                'recovered: %s', reason, extra=SESSIONS_REFUSED(reason=reason))

    def catch_up(self, timeout: float) -> None:
        """Wait until all changes are written.

        :param timeout: seconds.
        """
        deadline = time.monotonic() + timeout
        self._round_ended.clear()
        while self._has_changed() and time.monotonic() < deadline:
            self._work_there.set()
            self._round_ended.wait(max(0.0, deadline - time.monotonic()))
            self._round_ended.clear()

    def close(self, timeout: float) -> None:
        """Write all sessions for the last time, so that other nodes can take
        the clients over. What cannot be written now stays as it was.

        :param timeout: how many seconds a reply of Redis may take.
        """
        self.sessions.patience = timeout
        with self._lock:
            clients = [client for client in self.local.all()
                       if client.is_placed and client.is_held]
        refusal: Optional[Refused] = None
        try:
            for start in range(0, len(clients), BATCH):
                refusal = self._write(clients[start:start + BATCH],
                                      anyway=True) or refusal
            if refusal is not None:
                raise refusal
        except Unavailable as exc:
            self._logger().warning(
                'sessions were not written for the last time: %s', exc,
                extra=SESSIONS_NOT_WRITTEN(reason=str(exc)))
