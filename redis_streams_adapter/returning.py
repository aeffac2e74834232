"""Clients that come, where recovery is on: a client that returns is taken
over, any other gets a session.

How a client is taken over, in this order:

1. its session is looked up, and whether the stream goes back to its offset;
   what it shows is checked, and nothing was changed so far;
2. where it is still connected to this node, that connection is dropped;
3. the session is claimed, by compare-and-set: of two who try, one wins. Its
   content stays, so whoever finds this node dead can claim it in turn;
4. all other nodes are told to drop the client's old connection, which may
   look alive to them;
5. when this node's reader has come as far as the stream was in step 1, what
   was missed is gathered: first from Redis, in pages, what is older than
   what is in memory. Then, as one step under the order lock: what is in
   memory, and the client is registered in its rooms, its deliveries held;
6. its connect handler runs, and may refuse; it gets its reply, what it has
   missed, what was held, and is like any other.

*If the process dies* before step 3, nothing has happened; behind it, the
session is there for the next one, and the client has no new offset yet.

Steps 1 to 6 run on the task of the client's connection. Of what they share
with others, rooms and deliveries are under the order lock, sessions under the
keeper's; a visit is its connection's own.
"""
import secrets
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, \
    Optional, Sequence, Tuple

from . import codec, hooks
from .delivery import Delivery, Encoded, Load
from .errors import DecodeError, RedisStreamsError
from .gate import Gate
from .keeper import Keeper, Stay
from .messages import DisconnectSockets, Message, ORDERED, Target
from .options import RecoveryOptions
from .recovery import check_offset, check_pid, is_complete, is_missed, \
    load_session, Outcome, OFFSET_NOT_FOUND, Record, REASONS, \
    REDIS_UNAVAILABLE, Refusal, REJECTED, Replay, Return, Session, \
    split_auth, start_of, SUPERSEDES, UNKNOWN_SESSION
from .redis_streams.sessions import ABSENT, DONE, Found, Swap
from .runtime import Runtime
from .tasks import Event
from .timeline import record_of, Timeline
from .transport import Entry, parse_id, START, Unavailable

#: The name of a session, in bytes of randomness. Node's has 15.
PID_BYTES = 24

#: How often a session is claimed that changes meanwhile.
ATTEMPTS = 5

#: How long a client that returns waits for this node's reader, or for the
#: disconnect handler of its old connection, in seconds.
PATIENCE = 10.0

#: How many clients are taken over at a time, and how many seconds another one
#: waits at most until it is its turn. Fewer take longer, for each has to wait
#: for Redis and for this node's reader; with more the reader, and with it live
#: traffic, has its turn too seldom. Measured with 2,000 clients.
AT_A_TIME = 128
TURN_PATIENCE = 10.0

#: How long it waits for connections to Redis that are just made anew, in
#: seconds: that takes a fifth of one.
CONNECT_PATIENCE = 1.0

#: How long the first client of all waits for the first entry of a stream.
FIRST_PATIENCE = 1.0

#: How many claims are remembered that were superseded: far more than can be
#: between steps 3 and 5.
SUPERSEDED = 10_000

#: How many entries are read at once of what was missed.
PAGE = 100

#: After how many missed packets others shall run.
YIELD_EVERY = 200

#: The counter of those who were recovered.
RECOVERED = 'recovered'

_NOT_TRIED = Outcome(False)


def counter_of(reason: str) -> str:
    """The counter of those who were not recovered, and why."""
    return 'not_recovered_' + reason.replace('-', '_')


class Visit:
    """A client that connects to a namespace; its connection's task's own.

    :param shown: what it shows, if it wants to be recovered.
    :param auth: what the application sees of what it sends.
    """

    def __init__(self, eio_sid: str, namespace: str,
                 shown: Optional[Return], auth: Any) -> None:
        self.eio_sid = eio_sid
        self.namespace = namespace
        self.shown = shown
        self.auth = auth
        #: Whether the server takes clients in this namespace.
        self.admitted = False
        #: Whether the client was told that it is connected.
        self.replied = False
        self.stay: Optional[Stay] = None
        self.missed: Sequence[Record] = ()


class _Claim(NamedTuple):
    """A session that is ours now.

    :param session: what it holds.
    :param value: how it stands in Redis.
    :param start: behind which position to go on.
    :param found: what Redis had.
    """

    session: Session
    value: bytes
    start: bytes
    found: Found


class Returning:
    """Lets clients in.

    :param live: the runtime of this process.
    :param publish: puts a message into the outbox.
    """

    def __init__(self, manager: Any, server: Any, delivery: Delivery,
                 options: RecoveryOptions, live: Callable[[], Runtime],
                 publish: Callable[[Runtime, str, Message], Any]) -> None:
        self._manager = manager
        self._server = server
        self._delivery = delivery
        self._options = options
        self._live = live
        self._publish = publish
        # What a client has received last may be as old as this, and the time
        # in which its connection was half open, and that of its absence.
        delivery.long_time = int(
            options.max_disconnection_duration * 1000 / 2)
        self._gate = Gate(AT_A_TIME, lambda: live().engine.event())
        #: Those who are connecting; each written by its connection's task.
        self._visits: Dict[Tuple[str, str], Visit] = {}
        #: What became of those who tried and are here, by sid and
        #: namespace. As the visits.
        self._outcomes: Dict[Tuple[str, str], Outcome] = {}
        #: Who reads what is older than what is in memory, by namespace: set
        #: when it is done. Under the order lock.
        self._reading: Dict[str, Event] = {}
        #: Claims that were superseded, the last :data:`SUPERSEDED` of them.
        #: Under the order lock.
        self._superseded: Dict[str, None] = {}
        #: How many were recovered, and how many not, by reason. Each written
        #: by any connection's task: being late by one is no matter.
        self.counts = dict.fromkeys(
            (RECOVERED, *map(counter_of, REASONS)), 0)

    def _keeper(self) -> Keeper:
        keeper = self._live().keeper
        if keeper is None:
            raise RuntimeError('no sessions are kept here')
        return keeper

    def _log(self, *args: Any) -> None:
        self._manager._get_logger().info(*args)

    # -- hooks, see redis_streams_adapter.hooks ----------------------------

    def begin(self, eio_sid: str, namespace: str, data: Any) -> Visit:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        shown, auth = split_auth(data)
        visit = Visit(eio_sid, namespace, shown, auth)
        self._visits[eio_sid, namespace] = visit
        return visit

    def reply(self, eio_sid: str, namespace: str) -> Optional[str]:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        visit = self._visits.get((eio_sid, namespace))
        if visit is None or visit.stay is None \
                or visit.stay.last is not None:
            return None
        self._keeper().write_first(visit.stay)
        visit.replied = True
        return visit.stay.pid

    def wait_behind(self, eio_sid: str, namespace: str, pkt: Any) -> bool:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        runtime, timeline = self._live(), self._timeline(namespace)
        sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not timeline.is_waiting or not runtime.is_hearing:
            return False
        encoded = pkt.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        with runtime.order:
            timeline.locally(namespace, [Load(
                [(sid, eio_sid)], Encoded(parts, None, False))])
        return True

    def finish(self, visit: Visit, done: bool) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        self._visits.pop((visit.eio_sid, visit.namespace), None)
        stay = visit.stay
        if stay is None:
            return
        keeper, manager = self._keeper(), self._manager
        if keeper.of_sid(stay.sid, stay.namespace) is not stay:
            # Refused, or gone.
            return
        if not done and not visit.replied:
            # Its handler has failed. It has no reply, and python-socketio
            # would never look at it again. With always_connect it has one,
            # and stays connected.
            manager.disconnect(stay.sid, stay.namespace, ignore_queue=True)
            return
        client = stay.sid, stay.eio_sid
        runtime = self._live()
        timeline = self._timeline(stay.namespace)
        for start in range(0, len(visit.missed), YIELD_EVERY):
            timeline.deliver_again(client, stay.namespace, visit.missed[
                start:start + YIELD_EVERY])
            runtime.engine.pause()
        with runtime.order:
            self._delivery.release(client)
        keeper.settle(stay)
        if self._outcomes.get((stay.sid, stay.namespace), _NOT_TRIED
                              ).recovered:
            self.counts[RECOVERED] += 1
            self._log('%s was recovered; it had missed %d packets', stay.sid,
                      len(visit.missed))
        if hooks.is_closing(self._server, stay.eio_sid):
            hooks.lose(self._server, stay.eio_sid, stay.namespace)

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._keeper()
        if keeper.of_sid(sid, namespace) is not None:
            keeper.check_size(data)

    def saved(self, sid: str, namespace: str) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._keeper()
        stay = keeper.of_sid(sid, namespace)
        if stay is not None:
            keeper.change(stay)

    def handled(self, sid: str, namespace: str) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._keeper()
        stay = keeper.of_sid(sid, namespace)
        if stay is not None and stay.settled \
                and self._flask_session(stay) != stay.flask:
            keeper.change(stay)

    # -- for the manager --------------------------------------------------

    def outcome(self, sid: str, namespace: str) -> Optional[Outcome]:
        """What became of a client that is here and wanted to be
        recovered."""
        return self._outcomes.get((sid, namespace))

    def entered(self, sid: str, namespace: str, room: Any) -> None:
        """A client has entered a room."""
        stay = self._keeper().of_sid(sid, namespace)
        if stay is not None and room is not None \
                and room not in stay.rooms:
            stay.rooms.add(room)
            self._keeper().change(stay)

    def left(self, sid: str, namespace: str, room: Any) -> None:
        """A client has left a room."""
        stay = self._keeper().of_sid(sid, namespace)
        if stay is not None and room in stay.rooms and stay.last is None:
            stay.rooms.discard(room)
            self._keeper().change(stay)

    def leaving(self, sid: str, namespace: str) -> None:
        """A client is about to be disconnected; its disconnect handler is
        next."""
        runtime, timeline = self._live(), self._timeline(namespace)
        stay = self._keeper().of_sid(sid, namespace)
        eio_sid = self._manager.eio_sid_from_sid(sid, namespace)
        intended = eio_sid is not None \
            and not hooks.is_closing(self._server, eio_sid)
        with runtime.order:
            if intended or stay is not None and stay.intended:
                timeline.flush(sid)
                if eio_sid is not None:
                    # With always_connect, by its connect handler.
                    self._delivery.release((sid, eio_sid))
        if stay is not None and stay.last is None:
            stay.intended = stay.intended or intended
            self.progress(stay)
            # As it is now, whatever the handler clears away.
            self._keeper().note_last(stay)

    def going(self, sid: str, namespace: str) -> None:
        """A client is about to be unregistered."""
        stay = self._keeper().of_sid(sid, namespace)
        if stay is None:
            return
        visit = self._visits.get((stay.eio_sid, namespace))
        if visit is not None and visit.stay is stay \
                and not hooks.is_closing(self._server, stay.eio_sid):
            # Its connect handler has refused it.
            stay.intended = True
            if visit.shown is not None:
                self._tell(visit, Outcome(False, REJECTED))
        self._keeper().note_last(stay)

    def gone(self, sid: str, namespace: str) -> None:
        """A client is unregistered."""
        stay = self._keeper().of_sid(sid, namespace)
        self._outcomes.pop((sid, namespace), None)
        if stay is not None:
            with self._live().order:
                self._delivery.forget(sid)
            self._keeper().leave(stay)

    def close_on_purpose(self, eio_sid: str) -> None:
        """A connection is going to be closed, and its clients shall not be
        recovered."""
        for stay in self._keeper().of_connection(eio_sid):
            stay.intended = True
        for namespace in list(self._manager.get_namespaces()):
            sid = self._manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None:
                with self._live().order:
                    self._timeline(namespace).flush(sid)

    def superseded(self, namespace: str, target: Target) -> None:
        """Another node has taken clients over."""
        claim = target.flags.get(SUPERSEDES)
        # The client may be about to be registered here.
        self._supersede(claim)
        for sid in target.rooms:
            stay = self._keeper().of_sid(str(sid), namespace)
            if stay is None:
                continue
            if claim == stay.claim:
                self._keeper().lose(stay)
                self._server.start_background_task(
                    hooks.drop, self._server, stay.eio_sid)
            elif not claim:
                # From a server in Node.js, which does not say from whom it
                # had it: maybe from us, and we were not told.
                self._server.start_background_task(self._verify, stay)

    def _supersede(self, claim: Any) -> None:
        """Whoever has claimed a session under this name shall not have
        it."""
        if isinstance(claim, str) and claim:
            with self._live().order:
                self._superseded[claim] = None
                if len(self._superseded) > SUPERSEDED:
                    del self._superseded[next(iter(self._superseded))]

    def _verify(self, stay: Stay) -> None:
        """Drop a client's connection if it is another node's by now."""
        keeper = self._keeper()
        try:
            raw = keeper.sessions.get(stay.pid)
        except Unavailable:
            return
        if raw is not None and not _is_of(raw, stay):
            keeper.lose(stay)
            hooks.drop(self._server, stay.eio_sid)

    # -- what its session holds -------------------------------------------

    def describe(self, stay: Stay) -> Session:
        """A client's session as it is now."""
        try:
            stay.data = self._server.eio.get_session(stay.eio_sid).get(
                stay.namespace)
        except KeyError:
            # Its connection is gone: as it was last.
            self._log('the last session of %s may be old', stay.sid)
        stay.flask = self._flask_session(stay)
        return Session(
            stay.sid, stay.pid,
            # In one order, so that what is the same looks the same.
            tuple(sorted(filter(is_name, list(stay.rooms)), key=str)),
            {} if stay.data is None else stay.data, stay.namespace,
            stay.claim, flask=stay.flask)

    def _flask_session(self, stay: Stay) -> Optional[str]:
        environ = self._server.environ.get(stay.eio_sid)
        if environ is None:
            return stay.flask
        try:
            return hooks.flask_session(environ)
        except Exception:
            # Whatever the application's objects raise.
            if not stay.told:
                stay.told = True
                self._manager._get_logger().warning(
                    'the Flask session of %s cannot be kept', stay.sid,
                    exc_info=True)
            return None

    def progress(self, stay: Stay) -> None:
        """Note how far a client has come."""
        timeline, delivery = self._timeline(stay.namespace), self._delivery
        with self._live().order:
            stay.obeyed, stay.own = timeline.position, timeline.commanded
            # Not while it is to get what it has missed.
            if stay.settled and stay.sid in delivery.sent:
                stay.upto = timeline.position
                stay.sent = delivery.sent[stay.sid]
                stay.gap = delivery.gaps.get(stay.sid, stay.gap)

    def _timeline(self, namespace: str) -> Timeline:
        timeline = self._live().timeline(namespace)
        if timeline is None:
            raise RuntimeError('recovery is off')
        return timeline

    # -- a client comes ---------------------------------------------------

    @property
    def namespaces(self) -> List[str]:
        """Namespaces that clients are being let into."""
        return [visit.namespace for visit in list(self._visits.values())
                if visit.admitted]

    def admit(self, eio_sid: str, namespace: str,
              appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that connects.

        :param appear_in: makes this node a member of a namespace.
        :return: its sid; ``None`` where its connection is in the namespace
                 already.
        """
        visit = self._visits.get((eio_sid, namespace))
        if visit is None:
            raise RuntimeError('a client connects past the server')
        if self._manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            return None
        # Before it is registered: from now on what comes is remembered.
        visit.admitted = True
        appear_in(namespace)
        runtime = self._live()
        if not runtime.is_hearing:
            # The server lets only its very first client wait until this node
            # has started. Returns at once where Redis is away.
            runtime.start()
        outcome = _NOT_TRIED
        if visit.shown is not None:
            has_turn = self._gate.enter(TURN_PATIENCE)
            try:
                return self._bring_back(visit, visit.shown)
            except Refusal as exc:
                outcome = Outcome(False, exc.reason)
            except (Unavailable, RedisStreamsError):
                # The outbox is full, or closed.
                outcome = Outcome(False, REDIS_UNAVAILABLE)
            finally:
                if has_turn:
                    self._gate.leave()
        return self._welcome(visit, outcome)

    def _tell(self, visit: Visit, outcome: Outcome) -> None:
        environ = self._server.environ.get(visit.eio_sid)
        if environ is not None:
            environ['socketio.recovery'] = outcome
        if outcome.reason is not None:
            self.counts[counter_of(outcome.reason)] += 1

    def _accepts(self, visit: Visit, sid: str) -> bool:
        accepts = self._options.accepts
        if accepts is None:
            return True
        try:
            return bool(accepts(
                sid, self._server.environ[visit.eio_sid], visit.auth))
        except Exception:
            self._manager._get_logger().exception(
                'connection_state_recovery: accepts failed')
            return False

    def _welcome(self, visit: Visit, outcome: Outcome) -> Optional[str]:
        """Register a new client."""
        runtime, namespace = self._live(), visit.namespace
        timeline = self._timeline(namespace)
        if timeline.position == START and runtime.is_hearing:
            # The first heartbeat is on its way. Nobody could tell later
            # whether something was trimmed before the first entry.
            timeline.reach(b'0-1', FIRST_PATIENCE)
        sid: str = self._server.eio.generate_id()
        client = sid, visit.eio_sid
        takes_part = self._accepts(visit, sid)
        with runtime.order:
            upto = timeline.position
            if takes_part:
                self._delivery.sent[sid] = None
            if not hooks.enter(self._manager, sid, visit.eio_sid, namespace,
                               ()):
                self._delivery.forget(sid)
                return None
            if takes_part:
                visit.stay = Stay(
                    client, namespace, secrets.token_urlsafe(PID_BYTES),
                    secrets.token_hex(8), upto,
                    runtime.engine.event(), since=upto)
                self._keeper().enter(visit.stay)
        if visit.shown is not None:
            self._log('%s was not recovered: %s', sid, outcome.reason)
            self._outcomes[sid, namespace] = outcome
        self._tell(visit, outcome)
        return sid

    def _bring_back(self, visit: Visit, shown: Return) -> str:
        """Register a client that returns.

        :raises Refusal: it cannot be recovered.
        :raises Unavailable: Redis is away.
        """
        runtime, namespace = self._live(), visit.namespace
        pid, offset = check_pid(shown.pid), check_offset(shown.offset)
        if not runtime.is_hearing \
                and not runtime.await_hearing(CONNECT_PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)
        claim = self._claim(visit, pid, offset)
        session = claim.session
        stay = Stay((session.sid, visit.eio_sid), namespace, pid,
                    session.claim, session.upto or claim.start,
                    runtime.engine.event(), session.since)
        stay.sent, stay.gap = session.sent, session.gap
        stay.obeyed, stay.own = session.obeyed, session.own
        try:
            self._register(visit, claim, stay, offset)
        except Refusal as exc:
            if exc.reason != REDIS_UNAVAILABLE:
                # Nobody else could do better.
                self._keeper().sessions.swap([
                    Swap(pid, b'', [claim.value])])
            raise
        self._keeper().claimed(stay, claim.value)
        self._restore(visit, session)
        outcome = Outcome(True)
        self._outcomes[session.sid, namespace] = outcome
        self._tell(visit, outcome)
        return session.sid

    # -- 1 to 4 -----------------------------------------------------------

    def _claim(self, visit: Visit, pid: str,
               offset: Optional[bytes]) -> _Claim:
        keeper, namespace = self._keeper(), visit.namespace
        runtime = self._live()
        stream = runtime.stream(namespace)
        before: Optional[str] = None
        for _ in range(ATTEMPTS):
            here = keeper.of_pid(pid)
            if here is not None and (here.intended
                                     or here.namespace != namespace):
                # Its session may not be deleted yet.
                raise Refusal(UNKNOWN_SESSION)
            if here is not None and here.lost:
                here = None
            found = self._find(pid, stream, offset)
            if here is not None and found.session is not None \
                    and not _is_of(found.session, here):
                # Another server has had it since, and maybe has not told.
                keeper.lose(here)
                here = None
            session = self._found_session(found, pid, namespace, here)
            if before not in (None, session.claim):
                # Somebody else was faster.
                raise Refusal(UNKNOWN_SESSION)
            before = session.claim
            if not self._accepts(visit, session.sid):
                raise Refusal(REJECTED)
            start = self._start(session, offset, found, namespace)
            if here is not None:
                session = self._leave_here(here)
            else:
                self._make_room(session, namespace)
            session = session._replace(claim=secrets.token_hex(8))
            value = self._encode(session)
            result, = keeper.sessions.swap([
                Swap(pid, value, [found.session or b''])])
            if result == DONE:
                if here is None:
                    self._publish(runtime, namespace, DisconnectSockets(
                        Target((session.sid,), (), {SUPERSEDES: before}),
                        close=True))
                    self._supersede(before)
                    late = keeper.of_pid(pid)
                    if late is not None and late.claim == before:
                        # Registered here in this moment. From now on it
                        # would be refused.
                        self._leave_here(late)
                return _Claim(session, value, start, found)
            if result == ABSENT:
                break
        raise Refusal(UNKNOWN_SESSION)

    def _find(self, pid: str, stream: str, offset: Optional[bytes]) -> Found:
        """Look it up; once more, where a connection was merely replaced.

        :raises Unavailable: Redis is away.
        """
        sessions = self._keeper().sessions
        try:
            return sessions.find(pid, stream, offset)
        except Unavailable:
            if not self._live().await_hearing(CONNECT_PATIENCE) \
                    or not sessions.wait(CONNECT_PATIENCE):
                raise
        return sessions.find(pid, stream, offset)

    def _encode(self, session: Session) -> bytes:
        try:
            return self._keeper().encode(session)
        except (TypeError, ValueError) as exc:
            # It is this node's, or one of a node that allows larger ones.
            self._log('the session of %s cannot be kept: %s', session.sid,
                      exc)
            raise Refusal(UNKNOWN_SESSION) from exc

    def _found_session(self, found: Found, pid: str, namespace: str,
                       here: Optional[Stay]) -> Session:
        if here is not None:
            # Redis may not have all of it yet.
            self.progress(here)
            return here.marked(here.last or self.describe(here))
        if found.session is None:
            raise Refusal(UNKNOWN_SESSION)
        try:
            return load_session(found.session, pid, namespace)
        except DecodeError as exc:
            self._log('a session was not accepted: %s', exc)
            raise Refusal(UNKNOWN_SESSION) from exc

    def _start(self, session: Session, offset: Optional[bytes],
               found: Found, namespace: str) -> bytes:
        """Behind which position to go on.

        :raises Refusal: what came behind it is not there any more.
        """
        start, must_exist = start_of(session, offset)
        timeline = self._timeline(namespace)
        with self._live().order:
            remembered = timeline.history.has(namespace, start)
            floor = timeline.history.floor(namespace)
        if must_exist and not found.is_there and not remembered:
            raise Refusal(OFFSET_NOT_FOUND)
        in_memory = floor is not None and parse_id(floor) <= parse_id(start)
        if not in_memory and not is_complete(start, found.first, found.last):
            raise Refusal(OFFSET_NOT_FOUND)
        return start

    def _make_room(self, session: Session, namespace: str) -> None:
        """Drop an old connection of a client, which has lost it.

        :raises Refusal: there is somebody else with its sid.
        """
        old = self._keeper().of_sid(session.sid, namespace)
        if old is not None and old.lost and old.pid == session.pid:
            self._leave_here(old)
        elif self._manager.eio_sid_from_sid(
                session.sid, namespace) is not None:
            raise Refusal(UNKNOWN_SESSION)

    def _leave_here(self, here: Stay) -> Session:
        """Drop a client's connection to this node."""
        self._keeper().lose(here)
        hooks.drop(self._server, here.eio_sid)
        if not here.gone.wait(PATIENCE) and not here.gone.is_set():
            # Its disconnect handler takes its time, and two clients with one
            # sid cannot be.
            self._log('%s was not recovered: its disconnect handler has not '
                      'ended', here.sid)
            raise Refusal(UNKNOWN_SESSION)
        if here.last is None:
            raise Refusal(UNKNOWN_SESSION)
        return here.marked(here.last)

    # -- 5 ----------------------------------------------------------------

    def _register(self, visit: Visit, claim: _Claim, stay: Stay,
                  offset: Optional[bytes]) -> None:
        runtime, namespace = self._live(), visit.namespace
        timeline = self._timeline(namespace)
        last = claim.found.last
        if last is not None and not timeline.reach(last, PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)
        replay = Replay(claim.session, claim.start,
                        self._options.max_missed_packets)
        client = stay.sid, stay.eio_sid
        while True:
            self._read_pages(replay, claim, namespace)
            with runtime.order:
                if claim.session.claim in self._superseded:
                    # Somebody else was faster, and has the client now.
                    raise Refusal(UNKNOWN_SESSION)
                records = timeline.history.after(namespace, replay.at)
                if records is None:
                    # Forgotten in this moment.
                    continue
                replay.feed(records)
                timeline.admit(client, namespace, replay)
                self._delivery.sent[stay.sid] = offset
                self._delivery.hold(stay.sid)
                if not hooks.enter(self._manager, stay.sid, stay.eio_sid,
                                   namespace, replay.rooms):
                    self._delivery.forget(stay.sid)
                    raise Refusal(UNKNOWN_SESSION)
                stay.rooms = set(replay.rooms)
                self._keeper().enter(stay)
                visit.stay, visit.missed = stay, replay.missed
                return

    def _read_pages(self, replay: Replay, claim: _Claim,
                    namespace: str) -> None:
        """Read from Redis what is older than what is in memory.

        One client at a time, for most want the same: what one has read is
        in memory for the next.
        """
        runtime, timeline = self._live(), self._timeline(namespace)
        deadline = time.monotonic() + PATIENCE
        while True:
            with runtime.order:
                floor = timeline.history.floor(namespace)
                if floor is None:
                    raise Refusal(REDIS_UNAVAILABLE)
                if parse_id(replay.at) >= parse_id(floor):
                    return
                busy = self._reading.get(namespace)
                if busy is None:
                    done = self._reading[namespace] = runtime.engine.event()
            if busy is None:
                try:
                    self._read_older(replay, claim, namespace, floor)
                finally:
                    with runtime.order:
                        del self._reading[namespace]
                    done.set()
            elif not busy.wait(max(0.0, deadline - time.monotonic())) \
                    and not busy.is_set():
                raise Refusal(REDIS_UNAVAILABLE)

    def _read_older(self, replay: Replay, claim: _Claim, namespace: str,
                    floor: bytes) -> None:
        runtime, timeline = self._live(), self._timeline(namespace)
        stream = runtime.stream(namespace)
        begin, older = replay.at, []
        copies: Dict[bytes, int] = {}
        while parse_id(replay.at) < parse_id(floor):
            page, first = self._keeper().sessions.page(
                stream, replay.at, PAGE)
            if not is_complete(replay.at, first, claim.found.last):
                raise Refusal(OFFSET_NOT_FOUND)
            records = list(_records(page, namespace, floor, copies))
            replay.feed(records)
            older += records
            if len(page) < PAGE or parse_id(page[-1].id) >= parse_id(floor):
                replay.at = floor
            else:
                replay.at = page[-1].id
        with runtime.order:
            timeline.history.prepend(namespace, begin, older, floor)

    def _restore(self, visit: Visit, session: Session) -> None:
        """Give the connection what was kept for the client."""
        try:
            kept = self._server.eio.get_session(visit.eio_sid)
        except KeyError:
            # Gone again.
            return
        if session.data:
            kept[session.namespace] = session.data
        environ = self._server.environ.get(visit.eio_sid)
        if environ is not None and session.flask is not None:
            try:
                hooks.restore_flask_session(environ, session.flask)
            except ValueError as exc:
                self._log('a session of Flask was not accepted: %s', exc)


def _records(page: Iterable[Entry], namespace: str, floor: bytes,
             copies: Dict[bytes, int]) -> Iterable[Record]:
    """What clients of a namespace may have missed of some entries.

    :param floor: the last one that is wanted.
    :param copies: the highest number that was seen, by writer: what stands
                   in the stream twice is missed once.
    """
    for entry in page:
        if parse_id(entry.id) > parse_id(floor):
            return
        try:
            envelope = codec.open_envelope(entry.fields)
            if envelope.namespace != namespace \
                    or envelope.type not in ORDERED:
                continue
            if envelope.writer is not None:
                if envelope.sequence <= copies.get(envelope.writer, 0):
                    continue
                copies[envelope.writer] = envelope.sequence
            message = codec.decode(envelope)
        except DecodeError:
            # Whoever read it when it came has told the log.
            continue
        if is_missed(message):
            yield record_of(entry, message)


def _is_of(raw: bytes, stay: Stay) -> bool:
    """Whether a session in Redis is that of a client that is here, and not
    one that another server has written since."""
    try:
        return load_session(
            raw, stay.pid, stay.namespace).claim == stay.claim
    except DecodeError:
        return False


def is_name(room: Any) -> bool:
    """Whether other nodes could name this room."""
    return isinstance(room, (str, int)) and not isinstance(room, bool)
