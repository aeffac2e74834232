"""The sessions of the own clients: when they are written, and when they are
no longer ours.

A session is written before its client has the reply to its CONNECT, or, where
the client was let in before the reader had its first position, as soon as it
has: nobody could know what to replay. It is written again when its rooms or
its data have changed, and a last time when the client is lost; it is deleted
when the client leaves on purpose. In between it is kept
alive, so that a node that is killed leaves sessions that others can take
over. Now and then it is written all the same, to say how far its client has
come: what ``upto`` and ``sent`` say must not be older than the stream goes
back, see :mod:`redis_streams_adapter.recovery.session`.

Each write is a compare-and-set with what was written last. Where something
else is found, another node has taken the client over: the session is *lost*,
and never written again. Where nothing is found, a server in Node.js may have
taken it (it deletes what it takes), or Redis may have dropped it: it is
written anew only if Redis was away since it was last seen.

*If the process dies* between any two lines, Redis has a session that was true
a moment ago. What it lacks are the rooms that were entered in that moment, and
what was saved; never an event, for the client names its own offset.
"""
import base64
import logging
import math
import time
from typing import Any, Callable, Dict, Iterable, Optional, Sequence

from ..protocol.application import Application
from ..concurrency.locks import Lock
from ..options import RecoveryOptions
from .session import load_session, Session, to_fields
from ..stream.session_store import ABSENT, DONE, Sessions, Swap
from ..stream.connection import Refused
from .client_session import ClientSession
from ..concurrency.engines import Engine
from ..concurrency.tasks import Task
from ..protocol.transport import Unavailable
from ..protocol.values import Serialiser

#: How many sessions are written, or kept alive, at once.
BATCH = 100

#: How often a session is serialised that is changed meanwhile.
ATTEMPTS = 3


class SessionWriter:
    """Keeps the sessions of the own clients in Redis.

    :param application: whose sessions they are.
    :param describe: what a client's session holds now.
    :param progress: notes how far it has come by now.
    :param interval: how often to keep sessions alive, in seconds.
    :param serialiser: makes bytes of what an application keeps.
    """

    def __init__(self, sessions: Sessions, engine: Engine,
                 options: RecoveryOptions, interval: float,
                 serialiser: Serialiser, application: Application,
                 describe: Callable[[ClientSession], Session],
                 progress: Callable[[ClientSession], None],
                 logger: Callable[[], logging.Logger]) -> None:
        self.sessions = sessions
        self._engine = engine
        self._options = options
        self._describe = describe
        self._progress = progress
        self._serialiser = serialiser
        self._application = application
        self._logger = logger
        duration = options.max_disconnection_duration
        # Well before it would be gone.
        self._interval = min(interval, duration / 4)
        #: After how many seconds to say how far the client has come.
        self._stale = duration / 2
        #: Protects the two dictionaries, and what is said in
        #: :class:`~redis_streams_adapter.recovery.client_session.Stay`.
        #: Never held over I/O.
        self._lock = Lock()
        #: Connected clients.
        self._by_sid: Dict[str, ClientSession] = {}
        #: Those, and those whose last session is not written yet.
        self._by_pid: Dict[str, ClientSession] = {}
        self._work_there = engine.event()
        #: Set by the keeper's task after each round; cleared by the one that
        #: waits for it, when the server shuts down.
        self._round_ended = engine.event()
        #: Raised when sessions may be gone from Redis without having been
        #: taken over.
        self._epoch = 0
        self._renewed = time.monotonic()
        #: What the log was told of last, until it is over.
        self._complaint = ''

    # -- who is here ------------------------------------------------------

    def enter(self, client: ClientSession) -> None:
        """A client is registered."""
        with self._lock:
            self._by_sid[client.sid] = client
            self._by_pid[client.pid] = client

    def of_sid(self, sid: str, namespace: str) -> Optional[ClientSession]:
        """The client of a sid, if it is here and takes part."""
        client = self._by_sid.get(sid)
        return client if client is not None and client.namespace == namespace \
            else None

    def of_pid(self, pid: str) -> Optional[ClientSession]:
        """The client of a session, if it is here, or just was."""
        return self._by_pid.get(pid)

    @property
    def count(self) -> int:
        """How many clients take part."""
        return len(self._by_sid)

    # -- what becomes of them ---------------------------------------------

    def begin(self, place: Callable[[ClientSession], None],
              is_there: Callable[[str], bool]) -> None:
        """A reader has its first position: it is known now where clients
        begin that were let in before; under the order lock.

        :param place: notes that of one of them.
        :param is_there: whether a namespace goes to this reader's stream.
        """
        with self._lock:
            early = [client for client in self._by_pid.values()
                     if not client.placed and is_there(client.namespace)]
        for client in early:
            place(client)
            self.change(client)
        self._work_there.set()

    def change(self, client: ClientSession) -> None:
        """Rooms or data of a client have changed."""
        if not client.changed:
            with self._lock:
                client.changed = True
            if client.settled:
                self._work_there.set()

    def settle(self, client: ClientSession) -> None:
        """Its connect handler is done, and it stays."""
        client.settled = True
        self.change(client)
        self._work_there.set()

    def lose(self, client: ClientSession) -> None:
        """Another connection has taken the client over."""
        with self._lock:
            client.lost, client.absent = True, False
            if self._by_sid.get(client.sid) is not client:
                # It has left, and nothing more is written of it.
                self._forget(client)

    def note_last(self, client: ClientSession) -> None:
        """A client is about to leave: as it is now, others get it."""
        if client.last is None:
            client.last = self.copy(self._describe(client))

    def leave(self, client: ClientSession) -> None:
        """A client is no longer registered: write its session a last time,
        or delete it."""
        self.note_last(client)
        with self._lock:
            self._by_sid.pop(client.sid, None)
            if client.lost:
                self._forget(client)
            client.left = time.monotonic()
            client.changed = True
            client.settled = True
        client.gone.set()
        self._work_there.set()

    def _forget(self, client: ClientSession) -> None:
        if self._by_pid.get(client.pid) is client:
            del self._by_pid[client.pid]

    def history_is_gone(self) -> None:
        """Redis was emptied: sessions that are not there were not taken
        over."""
        with self._lock:
            self._epoch += 1
            for client in self._by_sid.values():
                client.changed = True
                if client.absent:
                    # This was why.
                    client.absent = client.lost = False
        self._work_there.set()

    # -- writing ----------------------------------------------------------

    def check_size(self, data: Any) -> None:
        """Make sure that what an application keeps for a client can be part
        of its session.

        :raises TypeError: it cannot be serialised.
        :raises ValueError: it is too large, or nested too deeply.
        """
        size = len(self._encode({'data': data}))
        if size > self._options.max_session_bytes:
            raise ValueError(
                f'the session takes {size} bytes in Redis, '
                f'max_session_bytes is {self._options.max_session_bytes}')

    def _pack(self, fields: Dict[str, Any]) -> bytes:
        for _ in range(ATTEMPTS):
            try:
                return self._serialiser.pack(fields)
            except RecursionError as exc:
                raise ValueError('it is nested too deeply') from exc
            except RuntimeError as exc:
                # A handler has changed it meanwhile.
                reason = exc
        raise ValueError(f'it changes all the time ({reason})')

    def _encode(self, fields: Dict[str, Any]) -> bytes:
        return base64.b64encode(self._pack(fields))

    def encode(self, session: Session) -> bytes:
        """A session as it stands in Redis.

        :raises TypeError, ValueError: it is too large, or holds what cannot
                                       be serialised.
        """
        value = self._encode(to_fields(session, self._application))
        if len(value) > self._options.max_session_bytes:
            raise ValueError(
                f'it takes {len(value)} bytes, max_session_bytes is '
                f'{self._options.max_session_bytes}')
        return value

    def load(self, raw: bytes, pid: str, namespace: str) -> Session:
        """A session as it was found in Redis.

        :raises DecodeError: see
            :func:`~redis_streams_adapter.recovery.session.load_session`.
        """
        return load_session(raw, pid, namespace, self._application)

    def _value(self, client: ClientSession) -> bytes:
        """What Redis shall have of a client; empty: nothing."""
        if client.intended:
            return b''
        try:
            session = client.last or self._describe(client)
            value = self.encode(client.marked(session))
        except Exception as exc:
            # Whatever the application's objects and JSON module raise.
            if not client.told:
                client.told = True
                self._logger().warning(
                    'the session of %s cannot be kept, so the client cannot '
                    'be recovered: %r', client.sid, exc)
            return b''
        return value

    def copy(self, session: Session) -> Session:
        """A session as another node would find it, which the application
        does not change any more; the same where it cannot be serialised."""
        try:
            return self.load(self.encode(session), session.pid,
                             session.namespace or '/')
        except Exception as exc:
            self._logger().debug('a session cannot be copied: %r', exc)
            return session

    def write_first(self, client: ClientSession) -> None:
        """Write a session before its client is told of it; on the task of
        its connection. Where Redis is away, it is written later."""
        with self._lock:
            if client.last is not None or client.lost:
                # It has gone meanwhile, and the keeper's task sees to it, or
                # another node.
                return
            # One whose place is not known yet is written as soon as it is.
            client.changed = not client.placed
        if not client.placed:
            return
        if client.stored and self._value(client) == client.stored:
            return
        self._progress(client)
        value = self._value(client)
        if not value and not client.stored:
            return
        try:
            if client.stored:
                self._swap([client], [value])
            else:
                with self._lock:
                    client.doubtful.append(value)
                self.sessions.put(client.pid, value)
                self._wrote(client, value)
        except Unavailable as exc:
            if isinstance(exc, Refused):
                self._complain(exc)
            self._logger().debug('a session was not written: %s', exc)
            self.change(client)

    def _wrote(self, client: ClientSession, value: bytes) -> None:
        with self._lock:
            client.stored, client.doubtful = value, []
            client.written = time.monotonic()
            client.seen_on = self._era
            if client.last is not None:
                # That was the last time.
                self._forget(client)

    @property
    def _era(self) -> int:
        """What changes whenever Redis may have dropped something."""
        return self.sessions.connections + self._epoch

    def _swap(self, clients: Sequence[ClientSession],
              values: Sequence[bytes]) -> None:
        swaps, era = [], self._era
        for client, value in zip(clients, values):
            expected = [client.stored, *client.doubtful]
            if not client.stored or client.seen_on != self._era:
                # Redis may have dropped it.
                expected.append(b'')
            with self._lock:
                if value not in client.doubtful:
                    client.doubtful.append(value)
            swaps.append(Swap(client.pid, value, expected))
        for client, value, result in zip(
                clients, values, self.sessions.swap(swaps)):
            if result == DONE or (not value and result == ABSENT):
                self._wrote(client, value)
            elif result == ABSENT and era != self._era:
                # On a new connection: Redis may have dropped it.
                client.changed = True
            else:
                self._was_taken(client, absent=result == ABSENT)

    def _was_taken(self, client: ClientSession, absent: bool = False) -> None:
        with self._lock:
            # Not if it was known before, from whoever has it.
            client.absent = absent and not client.lost
            client.lost = True
            if client.last is not None:
                self._forget(client)

    def claimed(self, client: ClientSession, value: bytes) -> None:
        """Note that a session was taken over with this value."""
        self._wrote(client, value)
        # Soon to be written again: it says how far the client had come
        # before it was away.
        client.written = -math.inf

    # -- the keeper's task ------------------------------------------------

    def work(self, task: Task) -> None:
        """One round: write what has changed and keep alive what has not,
        until Redis cannot be reached."""
        while not task.stopping:
            due = self._renewed + self._interval - time.monotonic()
            if due > 0 and not self._has_changed():
                self._work_there.wait(due)
            self._work_there.clear()
            if task.stopping:
                return
            try:
                # First of all: it works also where Redis refuses to write.
                if time.monotonic() - self._renewed >= self._interval:
                    self._renew(task)
                self._write_changed()
                self._round_ended.set()
                self._complaint = ''
            except Refused as exc:
                self._complain(exc)
                raise
            task.works()

    def interrupt(self) -> None:
        """End what the tasks wait for, which are then to end."""
        self.sessions.interrupt()
        self._work_there.set()

    def _has_changed(self) -> bool:
        return any(self._is_due(client)
                   for client in list(self._by_pid.values()))

    def _is_due(self, client: ClientSession) -> bool:
        return client.changed and client.settled and client.placed \
            and not client.lost

    def _write_changed(self) -> None:
        oldest = time.monotonic() - self._options.max_disconnection_duration
        with self._lock:
            for client in list(self._by_pid.values()):
                if client.left < oldest:
                    # Redis was away for too long.
                    self._forget(client)
            due = [client for client in self._by_pid.values()
                   if self._is_due(client)]
        for start in range(0, len(due), BATCH):
            self._write(due[start:start + BATCH])
            self._engine.pause()

    def _write(self, clients: Iterable[ClientSession],
               anyway: bool = False) -> None:
        """Write sessions.

        :param anyway: also those that have not changed.
        """
        batch, values = [], []
        for client in clients:
            client.changed = False
            value = self._value(client)
            if not value and not client.stored and not client.doubtful:
                self._wrote(client, value)
                continue
            if value != client.stored or client.doubtful \
                    or client.last or client.seen_on != self._era or anyway:
                if client.last is None and value:
                    self._progress(client)
                    value = self._value(client)
                batch.append(client)
                values.append(value)
        done = False
        try:
            if batch:
                self._swap(batch, values)
            done = True
        finally:
            if not done:
                for client in batch:
                    client.changed = True

    def _renew(self, task: Task) -> None:
        now = time.monotonic()
        with self._lock:
            clients = [client for client in self._by_sid.values()
                       if client.settled and not client.lost
                       and client.stored]
        for batch in self._batches(task, clients):
            self._touch(batch)
        self._renewed = now
        for batch in self._batches(task, [
                client for client in clients
                if now - client.written > self._stale]):
            self._write(batch, anyway=True)

    def _batches(self, task: Task, clients: Sequence[ClientSession]
                 ) -> Iterable[Sequence[ClientSession]]:
        for start in range(0, len(clients), BATCH):
            if task.stopping:
                return
            yield [client for client in clients[start:start + BATCH]
                   if not client.lost]
            self._engine.pause()

    def _complain(self, error: Refused) -> None:
        reason = str(error)
        if reason != self._complaint:
            # Nobody else may notice: not all of Redis is forbidden.
            self._complaint = reason
            self._logger().warning(
                'Redis refuses to keep sessions, so clients may not be '
                'recovered: %s', reason)

    def _touch(self, clients: Sequence[ClientSession]) -> None:
        if not clients:
            return
        there = self.sessions.touch([client.pid for client in clients])
        for client, is_there in zip(clients, there):
            if is_there:
                client.seen_on = self._era
            elif client.seen_on == self._era:
                self._was_taken(client, absent=True)
            else:
                self.change(client)

    def catch_up(self, timeout: float) -> None:
        """Wait until all that has changed is written.

        :param timeout: seconds.
        """
        deadline = time.monotonic() + timeout
        self._round_ended.clear()
        while self._has_changed() and time.monotonic() < deadline:
            self._work_there.set()
            self._round_ended.wait(max(0.0, deadline - time.monotonic()))
            self._round_ended.clear()

    def close(self, timeout: float) -> None:
        """Write all sessions a last time: others shall take the clients
        over. What cannot be written now stays as it was.

        :param timeout: how many seconds a reply of Redis may take.
        """
        self.sessions.patience = timeout
        with self._lock:
            clients = [client for client in self._by_pid.values()
                       if client.placed and not client.lost]
        try:
            for start in range(0, len(clients), BATCH):
                self._write(clients[start:start + BATCH], anyway=True)
        except Unavailable as exc:
            self._logger().warning(
                'sessions were not written a last time: %s', exc)
