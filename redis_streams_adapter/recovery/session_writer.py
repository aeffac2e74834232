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
from .client_session import Stay
from ..concurrency.tasks import Engine, Task
from ..protocol.transport import Unavailable
from ..protocol.values import Serialiser

#: How many sessions are written, or kept alive, at once.
BATCH = 100

#: How often a session is serialised that is changed meanwhile.
ATTEMPTS = 3


class Keeper:
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
                 describe: Callable[[Stay], Session],
                 progress: Callable[[Stay], None],
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
        self._by_sid: Dict[str, Stay] = {}
        #: Those, and those whose last session is not written yet.
        self._by_pid: Dict[str, Stay] = {}
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

    def enter(self, stay: Stay) -> None:
        """A client is registered."""
        with self._lock:
            self._by_sid[stay.sid] = stay
            self._by_pid[stay.pid] = stay

    def of_sid(self, sid: str, namespace: str) -> Optional[Stay]:
        """The client of a sid, if it is here and takes part."""
        stay = self._by_sid.get(sid)
        return stay if stay is not None and stay.namespace == namespace \
            else None

    def of_pid(self, pid: str) -> Optional[Stay]:
        """The client of a session, if it is here, or just was."""
        return self._by_pid.get(pid)

    @property
    def count(self) -> int:
        """How many clients take part."""
        return len(self._by_sid)

    # -- what becomes of them ---------------------------------------------

    def begin(self, place: Callable[[Stay], None],
              is_there: Callable[[str], bool]) -> None:
        """A reader has its first position: it is known now where clients
        begin that were let in before; under the order lock.

        :param place: notes that of one of them.
        :param is_there: whether a namespace goes to this reader's stream.
        """
        with self._lock:
            early = [stay for stay in self._by_pid.values()
                     if not stay.placed and is_there(stay.namespace)]
        for stay in early:
            place(stay)
            self.change(stay)
        self._work_there.set()

    def change(self, stay: Stay) -> None:
        """Rooms or data of a client have changed."""
        if not stay.changed:
            with self._lock:
                stay.changed = True
            if stay.settled:
                self._work_there.set()

    def settle(self, stay: Stay) -> None:
        """Its connect handler is done, and it stays."""
        stay.settled = True
        self.change(stay)
        self._work_there.set()

    def lose(self, stay: Stay) -> None:
        """Another connection has taken the client over."""
        with self._lock:
            stay.lost, stay.absent = True, False
            if self._by_sid.get(stay.sid) is not stay:
                # It has left, and nothing more is written of it.
                self._forget(stay)

    def note_last(self, stay: Stay) -> None:
        """A client is about to leave: as it is now, others get it."""
        if stay.last is None:
            stay.last = self.copy(self._describe(stay))

    def leave(self, stay: Stay) -> None:
        """A client is no longer registered: write its session a last time,
        or delete it."""
        self.note_last(stay)
        with self._lock:
            self._by_sid.pop(stay.sid, None)
            if stay.lost:
                self._forget(stay)
            stay.left = time.monotonic()
            stay.changed = True
            stay.settled = True
        stay.gone.set()
        self._work_there.set()

    def _forget(self, stay: Stay) -> None:
        if self._by_pid.get(stay.pid) is stay:
            del self._by_pid[stay.pid]

    def history_is_gone(self) -> None:
        """Redis was emptied: sessions that are not there were not taken
        over."""
        with self._lock:
            self._epoch += 1
            for stay in self._by_sid.values():
                stay.changed = True
                if stay.absent:
                    # This was why.
                    stay.absent = stay.lost = False
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

    def _value(self, stay: Stay) -> bytes:
        """What Redis shall have of a client; empty: nothing."""
        if stay.intended:
            return b''
        try:
            session = stay.last or self._describe(stay)
            value = self.encode(stay.marked(session))
        except Exception as exc:
            # Whatever the application's objects and JSON module raise.
            if not stay.told:
                stay.told = True
                self._logger().warning(
                    'the session of %s cannot be kept, so the client cannot '
                    'be recovered: %r', stay.sid, exc)
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

    def write_first(self, stay: Stay) -> None:
        """Write a session before its client is told of it; on the task of
        its connection. Where Redis is away, it is written later."""
        with self._lock:
            if stay.last is not None or stay.lost:
                # It has gone meanwhile, and the keeper's task sees to it, or
                # another node.
                return
            # One whose place is not known yet is written as soon as it is.
            stay.changed = not stay.placed
        if not stay.placed:
            return
        if stay.stored and self._value(stay) == stay.stored:
            return
        self._progress(stay)
        value = self._value(stay)
        if not value and not stay.stored:
            return
        try:
            if stay.stored:
                self._swap([stay], [value])
            else:
                with self._lock:
                    stay.doubtful.append(value)
                self.sessions.put(stay.pid, value)
                self._wrote(stay, value)
        except Unavailable as exc:
            if isinstance(exc, Refused):
                self._complain(exc)
            self._logger().debug('a session was not written: %s', exc)
            self.change(stay)

    def _wrote(self, stay: Stay, value: bytes) -> None:
        with self._lock:
            stay.stored, stay.doubtful = value, []
            stay.written = time.monotonic()
            stay.seen_on = self._era
            if stay.last is not None:
                # That was the last time.
                self._forget(stay)

    @property
    def _era(self) -> int:
        """What changes whenever Redis may have dropped something."""
        return self.sessions.connections + self._epoch

    def _swap(self, stays: Sequence[Stay], values: Sequence[bytes]) -> None:
        swaps, era = [], self._era
        for stay, value in zip(stays, values):
            expected = [stay.stored, *stay.doubtful]
            if not stay.stored or stay.seen_on != self._era:
                # Redis may have dropped it.
                expected.append(b'')
            with self._lock:
                if value not in stay.doubtful:
                    stay.doubtful.append(value)
            swaps.append(Swap(stay.pid, value, expected))
        for stay, value, result in zip(
                stays, values, self.sessions.swap(swaps)):
            if result == DONE or (not value and result == ABSENT):
                self._wrote(stay, value)
            elif result == ABSENT and era != self._era:
                # On a new connection: Redis may have dropped it.
                stay.changed = True
            else:
                self._was_taken(stay, absent=result == ABSENT)

    def _was_taken(self, stay: Stay, absent: bool = False) -> None:
        with self._lock:
            # Not if it was known before, from whoever has it.
            stay.absent = absent and not stay.lost
            stay.lost = True
            if stay.last is not None:
                self._forget(stay)

    def claimed(self, stay: Stay, value: bytes) -> None:
        """Note that a session was taken over with this value."""
        self._wrote(stay, value)
        # Soon to be written again: it says how far the client had come
        # before it was away.
        stay.written = -math.inf

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
        return any(self._is_due(stay)
                   for stay in list(self._by_pid.values()))

    def _is_due(self, stay: Stay) -> bool:
        return stay.changed and stay.settled and stay.placed \
            and not stay.lost

    def _write_changed(self) -> None:
        oldest = time.monotonic() - self._options.max_disconnection_duration
        with self._lock:
            for stay in list(self._by_pid.values()):
                if stay.left < oldest:
                    # Redis was away for too long.
                    self._forget(stay)
            due = [stay for stay in self._by_pid.values()
                   if self._is_due(stay)]
        for start in range(0, len(due), BATCH):
            self._write(due[start:start + BATCH])
            self._engine.pause()

    def _write(self, stays: Iterable[Stay], anyway: bool = False) -> None:
        """Write sessions.

        :param anyway: also those that have not changed.
        """
        batch, values = [], []
        for stay in stays:
            stay.changed = False
            value = self._value(stay)
            if not value and not stay.stored and not stay.doubtful:
                self._wrote(stay, value)
                continue
            if value != stay.stored or stay.doubtful \
                    or stay.last or stay.seen_on != self._era or anyway:
                if stay.last is None and value:
                    self._progress(stay)
                    value = self._value(stay)
                batch.append(stay)
                values.append(value)
        done = False
        try:
            if batch:
                self._swap(batch, values)
            done = True
        finally:
            if not done:
                for stay in batch:
                    stay.changed = True

    def _renew(self, task: Task) -> None:
        now = time.monotonic()
        with self._lock:
            stays = [stay for stay in self._by_sid.values()
                     if stay.settled and not stay.lost and stay.stored]
        for batch in self._batches(task, stays):
            self._touch(batch)
        self._renewed = now
        for batch in self._batches(task, [
                stay for stay in stays if now - stay.written > self._stale]):
            self._write(batch, anyway=True)

    def _batches(self, task: Task,
                 stays: Sequence[Stay]) -> Iterable[Sequence[Stay]]:
        for start in range(0, len(stays), BATCH):
            if task.stopping:
                return
            yield [stay for stay in stays[start:start + BATCH]
                   if not stay.lost]
            self._engine.pause()

    def _complain(self, error: Refused) -> None:
        reason = str(error)
        if reason != self._complaint:
            # Nobody else may notice: not all of Redis is forbidden.
            self._complaint = reason
            self._logger().warning(
                'Redis refuses to keep sessions, so clients may not be '
                'recovered: %s', reason)

    def _touch(self, stays: Sequence[Stay]) -> None:
        if not stays:
            return
        there = self.sessions.touch([stay.pid for stay in stays])
        for stay, is_there in zip(stays, there):
            if is_there:
                stay.seen_on = self._era
            elif stay.seen_on == self._era:
                self._was_taken(stay, absent=True)
            else:
                self.change(stay)

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
            stays = [stay for stay in self._by_pid.values()
                     if stay.placed and not stay.lost]
        try:
            for start in range(0, len(stays), BATCH):
                self._write(stays[start:start + BATCH], anyway=True)
        except Unavailable as exc:
            self._logger().warning(
                'sessions were not written a last time: %s', exc)
