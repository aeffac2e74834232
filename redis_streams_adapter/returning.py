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
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import hooks
from .catching_up import Backlog
from .claims import Claim, Claims, CONNECT_PATIENCE
from .delivery import Client, Delivery, Encoded, Load
from .errors import RedisStreamsError
from .gate import Gate
from .messages import Message
from .missed import Record, Replay
from .options import RecoveryOptions
from .own_clients import OwnClients
from .recovery import check_offset, check_pid, Gap, Outcome, REASONS, \
    REDIS_UNAVAILABLE, Refusal, REJECTED, Return, split_auth, TurnedAway, \
    UNKNOWN_SESSION
from .redis_streams.sessions import Swap
from .runtime import Runtime
from .stay import Stay
from .transport import parse_id, START, Unavailable

#: The name of a session, in bytes of randomness. Node's has 15.
PID_BYTES = 24

#: How long a client that returns waits for this node's reader, in seconds.
PATIENCE = 10.0

#: How many clients are taken over at a time, and how many seconds another one
#: waits at most until it is its turn. Fewer take longer, for each has to wait
#: for Redis and for this node's reader; with more the reader, and with it live
#: traffic, has its turn too seldom. Measured with 2,000 clients.
AT_A_TIME = 128
TURN_PATIENCE = 10.0

#: How long the first client of all waits for the first entry of a stream.
FIRST_PATIENCE = 1.0

#: After how many missed packets others shall run.
YIELD_EVERY = 100

#: The counter of those who were recovered.
RECOVERED = 'recovered'

_NOT_TRIED, _RECOVERED = Outcome(False), Outcome(True)


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
        #: Whether its connection is to end, and it to try again.
        self.turned_away = False
        #: Whether the client was told that it is connected.
        self.replied = False
        #: Under which sid it was registered.
        self.sid: Optional[str] = None
        #: Where it takes part.
        self.stay: Optional[Stay] = None
        self.missed: Sequence[Record] = ()


class Returning:
    """Lets clients in.

    :param live: the runtime of this process.
    :param publish: puts a message into the outbox.
    """

    def __init__(self, manager: Any, server: Any, delivery: Delivery,
                 options: RecoveryOptions, live: Callable[[], Runtime],
                 publish: Callable[[Runtime, str, Message], Any]) -> None:
        self._clients = OwnClients(manager, server, delivery, live)
        self._claims = Claims(self._clients, publish)
        self._backlog = Backlog(self._clients)
        self._options = options
        self.describe = self._clients.describe
        self.progress = self._clients.progress
        self.superseded = self._claims.superseded
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
        #: How many were recovered, and how many not, by reason. Each written
        #: by any connection's task: being late by one is no matter.
        self.counts = dict.fromkeys(
            (RECOVERED, *map(counter_of, REASONS)), 0)

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
        if visit is None:
            return None
        stay, pid = visit.stay, None
        if stay is not None:
            if stay.last is not None:
                return None
            self._clients.keeper.write_first(stay)
            pid = stay.pid
        visit.replied = True
        return pid

    def is_turned_away(self, eio_sid: str, namespace: str) -> bool:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        # Its connection may be ending by another task, and not have ended.
        visit = self._visits.get((eio_sid, namespace))
        return visit is not None and visit.turned_away

    def wait_behind(self, eio_sid: str, namespace: str, pkt: Any) -> bool:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        runtime = self._clients.live()
        timeline = self._clients.timeline(namespace)
        sid = self._clients.manager.sid_from_eio_sid(eio_sid, namespace)
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
        stay, sid, namespace = visit.stay, visit.sid, visit.namespace
        keeper, manager = self._clients.keeper, self._clients.manager
        if sid is None or manager.eio_sid_from_sid(
                sid, namespace) != visit.eio_sid:
            # Refused, or gone.
            return
        if not done and not visit.replied:
            # Its handler has failed. It has no reply, and python-socketio
            # would never look at it again. With always_connect it has one,
            # and stays connected.
            manager.disconnect(sid, namespace, ignore_queue=True)
            return
        if stay is None:
            self._see_off(visit.eio_sid, namespace)
            return
        if not self._hand_over(stay, visit.missed):
            return
        keeper.settle(stay)
        if self._outcomes.get((stay.sid, stay.namespace), _NOT_TRIED
                              ).recovered:
            self.counts[RECOVERED] += 1
            self._clients.log('%s was recovered; it had missed %d packets',
                              stay.sid, len(visit.missed))
        self._see_off(stay.eio_sid, namespace)
        if stay.intended and stay.last is None:
            # Told to go while it came, when python-socketio does not hear.
            self._clients.server.disconnect(stay.sid, stay.namespace,
                                            ignore_queue=True)

    def _see_off(self, eio_sid: str, namespace: str) -> None:
        """Unregister a client whose connection has ended while it came: no
        sooner than it has its reply python-socketio would do that."""
        if hooks.is_closing(self._clients.server, eio_sid):
            hooks.lose(self._clients.server, eio_sid, namespace)

    def _hand_over(self, stay: Stay, missed: Sequence[Record]) -> bool:
        """Give a client what it has missed, and then what was held.

        :return: ``False`` where it is gone. Another connection may have taken
                 it over: what is known under its sid is not this one's.
        """
        client, runtime = (stay.sid, stay.eio_sid), self._clients.live()
        timeline = self._clients.timeline(stay.namespace)
        for start in range(0, len(missed), YIELD_EVERY):
            with runtime.order:
                if not self._is_here(stay):
                    return False
                timeline.deliver_again(client, stay.namespace,
                                       missed[start:start + YIELD_EVERY])
            runtime.engine.pause()
        with runtime.order:
            if not self._is_here(stay):
                return False
            self._clients.delivery.release(client)
        return True

    def _is_here(self, stay: Stay) -> bool:
        return self._clients.keeper.of_sid(stay.sid, stay.namespace) is stay

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._clients.keeper
        if keeper.of_sid(sid, namespace) is not None:
            keeper.check_size(data)

    def saved(self, sid: str, namespace: str, data: Any) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._clients.keeper
        stay = keeper.of_sid(sid, namespace)
        if stay is not None:
            # Its connection, where this is kept, may be gone before it is
            # written.
            stay.data = data
            keeper.change(stay)

    def handled(self, sid: str, namespace: str) -> None:
        """See :class:`~redis_streams_adapter.hooks.Visits`."""
        keeper = self._clients.keeper
        stay = keeper.of_sid(sid, namespace)
        if stay is not None and stay.settled \
                and self._clients.flask_session(stay) != stay.flask:
            keeper.change(stay)

    # -- for the manager --------------------------------------------------

    def outcome(self, sid: str, namespace: str) -> Optional[Outcome]:
        """What became of a client that is here and wanted to be
        recovered."""
        return self._outcomes.get((sid, namespace))

    def entered(self, sid: str, namespace: str, room: Any) -> None:
        """A client has entered a room."""
        stay = self._clients.keeper.of_sid(sid, namespace)
        if stay is not None and room is not None \
                and room not in stay.rooms:
            stay.rooms.add(room)
            self._clients.keeper.change(stay)

    def left(self, sid: str, namespace: str, room: Any) -> None:
        """A client has left a room."""
        stay = self._clients.keeper.of_sid(sid, namespace)
        if stay is not None and room in stay.rooms and stay.last is None:
            stay.rooms.discard(room)
            self._clients.keeper.change(stay)

    def leaving(self, sid: str, namespace: str) -> None:
        """A client is about to be disconnected; its disconnect handler is
        next."""
        runtime = self._clients.live()
        timeline = self._clients.timeline(namespace)
        stay = self._clients.keeper.of_sid(sid, namespace)
        eio_sid = self._clients.manager.eio_sid_from_sid(sid, namespace)
        intended = eio_sid is not None \
            and not hooks.is_closing(self._clients.server, eio_sid)
        with runtime.order:
            if intended or stay is not None and stay.intended:
                timeline.flush(sid)
                if eio_sid is not None:
                    # With always_connect, by its connect handler.
                    self._clients.delivery.release((sid, eio_sid))
        if stay is not None and stay.last is None:
            stay.leaver = threading.get_ident()
            stay.intended = stay.intended or intended
            self._clients.progress(stay)
            # As it is now, whatever the handler clears away.
            self._clients.keeper.note_last(stay)

    def going(self, sid: str, namespace: str) -> None:
        """A client is about to be unregistered."""
        stay = self._clients.keeper.of_sid(sid, namespace)
        if stay is None:
            return
        visit = self._visits.get((stay.eio_sid, namespace))
        if visit is not None and visit.stay is stay \
                and not hooks.is_closing(self._clients.server, stay.eio_sid):
            # Its connect handler has refused it.
            stay.intended = True
            if visit.shown is not None:
                self._tell(visit, Outcome(False, REJECTED))
        self._clients.keeper.note_last(stay)

    def gone(self, sid: str, namespace: str) -> None:
        """A client is unregistered."""
        stay = self._clients.keeper.of_sid(sid, namespace)
        self._outcomes.pop((sid, namespace), None)
        if stay is not None:
            with self._clients.live().order:
                self._clients.delivery.forget(sid)
            self._clients.keeper.leave(stay)

    def expel(self, namespace: str, client: Client,
              close: bool = False) -> None:
        """A client is going to be disconnected on purpose: should it lose
        its connection before its turn comes, it is not recovered either.

        :param close: with all that are on its connection.
        """
        sid, eio_sid = client
        clients = {namespace: sid}
        if close:
            for each in list(self._clients.manager.get_namespaces()):
                clients[each] = self._clients.manager.sid_from_eio_sid(
                    eio_sid, each)
        for each, sid in clients.items():
            stay = self._clients.keeper.of_sid(sid, each)
            if stay is not None:
                stay.intended = True
                self._clients.keeper.change(stay)

    def is_leaving(self, sid: str, namespace: str) -> bool:
        """Whether a client that is still here is on its way out, or another
        node's by now: what is done to it here is of no account to where it
        returns. What its disconnect handler does is not meant to be."""
        stay = self._clients.keeper.of_sid(sid, namespace)
        return stay is not None and (stay.lost or stay.last is not None) \
            and stay.leaver != threading.get_ident()

    def close_on_purpose(self, eio_sid: str) -> None:
        """A connection is going to be closed, and its clients shall not be
        recovered."""
        for stay in self._clients.keeper.of_connection(eio_sid):
            stay.intended = True
        for namespace in list(self._clients.manager.get_namespaces()):
            sid = self._clients.manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is not None:
                with self._clients.live().order:
                    self._clients.timeline(namespace).flush(sid)

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
                 already, or is dropped.
        """
        visit = self._visits.get((eio_sid, namespace))
        if visit is None:
            raise RuntimeError('a client connects past the server')
        manager = self._clients.manager
        if manager.sid_from_eio_sid(eio_sid, namespace) is not None:
            return None
        try:
            return self._let_in(visit, appear_in)
        except TurnedAway:
            visit.turned_away = True
            self._turn_away(eio_sid)
            return None

    def _let_in(self, visit: Visit,
                appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that returns, or is new.

        :raises TurnedAway: its connection is to be dropped.
        """
        # Before it is registered: from now on what comes is remembered.
        visit.admitted = True
        appear_in(visit.namespace)
        runtime = self._clients.live()
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
            if runtime.closed:
                # This may have been why.
                raise TurnedAway
        return self._welcome(visit, outcome)

    def _turn_away(self, eio_sid: str) -> None:
        """End the connection of a client that is not let in: if it is still
        there, it tries again."""
        self._clients.log(
            'the connection of a client that comes was closed: %s',
            'this server takes its leave' if self._clients.live().closed
            else 'it was lost, or another one of the client is newer')
        hooks.drop(self._clients.server, eio_sid)

    def _tell(self, visit: Visit, outcome: Outcome) -> None:
        environ = self._clients.environ(visit.eio_sid)
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
                sid, self._clients.server.environ[visit.eio_sid], visit.auth))
        except Exception:
            self._clients.manager._get_logger().exception(
                'connection_state_recovery: accepts failed')
            return False

    def _welcome(self, visit: Visit, outcome: Outcome) -> Optional[str]:
        """Register a new client.

        :raises TurnedAway: here it would get nothing of what others emit.
        """
        runtime, namespace = self._clients.live(), visit.namespace
        timeline = self._clients.timeline(namespace)
        if timeline.position == START and runtime.is_hearing:
            # The first heartbeat is on its way. Nobody could tell later
            # whether something was trimmed before the first entry.
            timeline.reach(b'0-1', FIRST_PATIENCE)
        sid: str = self._clients.server.eio.generate_id()
        client = sid, visit.eio_sid
        takes_part = self._accepts(visit, sid)
        with runtime.order:
            if timeline.has_left:
                raise TurnedAway
            upto = timeline.position
            former = _former_offset(visit.shown, upto)
            if takes_part:
                self._clients.delivery.sent[sid] = former
            if not hooks.enter(self._clients.manager, sid, visit.eio_sid,
                               namespace, ()):
                self._clients.delivery.forget(sid)
                return None
            visit.sid = sid
            if visit.shown is not None:
                self._outcomes[sid, namespace] = outcome
            if takes_part:
                visit.stay = Stay(
                    client, namespace, secrets.token_urlsafe(PID_BYTES),
                    secrets.token_hex(8), upto,
                    runtime.engine.event(), since=upto)
                if former is not None:
                    visit.stay.sent = former
                    visit.stay.gap = Gap(former, upto)
                self._clients.keeper.enter(visit.stay)
        if visit.shown is not None:
            self._clients.log('%s was not recovered: %s', sid, outcome.reason)
        self._tell(visit, outcome)
        return sid

    def _bring_back(self, visit: Visit, shown: Return) -> str:
        """Register a client that returns.

        :raises Refusal: it cannot be recovered.
        :raises TurnedAway: its connection is to be dropped.
        :raises Unavailable: Redis is away.
        """
        runtime, namespace = self._clients.live(), visit.namespace
        pid, offset = check_pid(shown.pid), check_offset(shown.offset)
        if runtime.closed:
            raise TurnedAway
        if not runtime.is_hearing \
                and not runtime.await_hearing(CONNECT_PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)

        def accepts(sid: str) -> bool:
            if hooks.is_closing(self._clients.server, visit.eio_sid):
                # Its client may be elsewhere by now.
                raise TurnedAway
            return self._accepts(visit, sid)

        claim = self._claims.claim(namespace, pid, offset, accepts)
        session = claim.session
        stay = Stay((session.sid, visit.eio_sid), namespace, pid,
                    session.claim, session.upto or claim.start,
                    runtime.engine.event(), session.since)
        stay.sent, stay.gap = session.sent, session.gap
        stay.obeyed, stay.own = session.obeyed, session.own
        # Should its connection be gone before it has them.
        stay.data, stay.flask = session.data, session.flask
        try:
            self._register(visit, claim, stay, offset)
        except Refusal as exc:
            if exc.reason != REDIS_UNAVAILABLE:
                # Nobody else could do better.
                self._clients.keeper.sessions.swap([
                    Swap(pid, b'', [claim.value])])
            raise
        self._clients.keeper.claimed(stay, claim.value)
        self._tell(visit, _RECOVERED)
        return session.sid

    def _register(self, visit: Visit, claim: Claim, stay: Stay,
                  offset: Optional[bytes]) -> None:
        runtime, namespace = self._clients.live(), visit.namespace
        server, timeline = self._clients.server, self._clients.timeline(
            namespace)
        last = claim.found.last
        if last is not None and not timeline.reach(last, PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)
        replay = Replay(claim.session, claim.start,
                        self._options.max_missed_packets)
        client = stay.sid, stay.eio_sid
        while True:
            self._backlog.read(replay, claim, namespace)
            with runtime.order:
                if self._claims.is_superseded(claim) or timeline.has_left \
                        or hooks.is_closing(server, stay.eio_sid):
                    raise TurnedAway
                records = timeline.history.after(namespace, replay.at)
                if records is None:
                    # Forgotten in this moment.
                    continue
                replay.feed(records)
                timeline.admit(client, namespace, replay)
                self._clients.delivery.sent[stay.sid] = offset
                self._clients.delivery.hold(stay.sid)
                if not hooks.enter(self._clients.manager, stay.sid,
                                   stay.eio_sid, namespace, replay.rooms):
                    self._clients.delivery.forget(stay.sid)
                    raise Refusal(UNKNOWN_SESSION)
                stay.rooms = set(replay.rooms)
                # Before anybody can write its session anew.
                self._clients.restore(stay.eio_sid, claim.session)
                # Until it is gone, which it may be as soon as it is known.
                self._outcomes[stay.sid, namespace] = _RECOVERED
                self._clients.keeper.enter(stay)
                visit.sid, visit.stay = stay.sid, stay
                visit.missed = replay.missed
                return


def _former_offset(shown: Optional[Return], upto: bytes) -> Optional[bytes]:
    """What a client that begins anew will show for as long as it receives
    nothing: the JavaScript client (socket.io-client 4.8) keeps the offset of
    its former session.

    :param upto: where it begins: nothing before that is its own.
    """
    if shown is None:
        return None
    try:
        offset = check_offset(shown.offset)
    except Refusal:
        return None
    return offset if offset is not None \
        and parse_id(offset) < parse_id(upto) else None
