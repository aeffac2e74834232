"""A client connects, and recovery is on: one that returns is taken over, any
other gets a session.

A client is taken over in this order:

1. its session is looked up, and whether the stream goes back to its offset;
   what the client shows is checked. So far, nothing has changed;
2. if it is still connected to this node, that connection is dropped;
3. the session is claimed, by compare-and-set: of two connections that try at
   once, the last one has it. Its content stays, so a node that finds this one
   dead can claim it in turn;
4. all other nodes are asked to drop the client's old connection, which may
   look alive to them;
5. when this node's reader has come as far as the stream was in step 1, what
   was missed is gathered: first from Redis, in pages, what is older than
   what is in memory. Then, as one step under the order lock: what is in
   memory, and the client is registered in its rooms, its deliveries held.
   If another connection of it was registered meanwhile, Redis knows which
   of the two has the session, and the other one goes;
6. its connect handler runs, and may refuse. If it lets the client in, the
   client gets what it has missed, its reply, what was held, and is like any
   other. With ``always_connect`` the reply was sent before the handler ran,
   but not what the client has missed, for the handler may refuse it: that
   follows when the handler is done. A client that may have some of it already,
   see :mod:`redis_streams_adapter.recovery.session`, gets its reply alone, and
   is dropped as soon as it has read it: then its offset shows how much that
   is, and it comes again.

*If the process dies* before step 3, nothing has happened. After it, the
session is there for the next node, and the client has no new offset yet.

Steps 1 to 6 run on the task of the client's connection. Of what they share
with other tasks, rooms and deliveries are under the order lock, sessions under
the lock of :mod:`redis_streams_adapter.recovery.local_sessions`; only the
connection's task writes a visit.
"""
import secrets
import threading
from typing import Any, Callable, Optional, Sequence

from ..clients import hooks
from .backlog import Backlog
from .claims import Claim, Claims, CONNECT_PATIENCE
from ..errors import RedisStreamsError
from ..concurrency.limiter import Limiter
from .replay import Record, Replay
from ..options import RecoveryOptions
from .local_clients import LocalClients, Outcomes
from .session import check_offset, check_pid, OFFSET_NOT_FOUND, Outcome, \
    REDIS_UNAVAILABLE, Refusal, Return, TurnedAway, UNKNOWN_SESSION
from ..stream.session_store import Swap
from .client_session import ClientSession
from ..protocol.position import Position, START
from ..protocol.transport import Unavailable

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

#: How often to try to register a client that returns, if what it missed is
#: forgotten meanwhile, or another connection of it is registered. Each time
#: there is only as much to read as came in the round before.
ROUNDS = 10

#: How long the first client of all waits for the first entry of a stream.
FIRST_PATIENCE = 1.0

_NOT_TRIED, _RECOVERED = Outcome(False), Outcome(True)


class Visit:
    """A client that connects to a namespace. Only the task of its connection
    writes this.

    :param shown: what it shows, if it asks to be recovered.
    :param auth: what the application sees of what it sends.
    """

    def __init__(self, eio_sid: str, namespace: str,
                 shown: Optional[Return], auth: Any) -> None:
        self.eio_sid = eio_sid
        self.namespace = namespace
        self.shown = shown
        self.auth = auth
        #: Which task that is.
        self.task = threading.get_ident()
        #: Whether the server takes clients in this namespace.
        self.admitted = False
        #: Whether its connection is to end, and it to try again.
        self.turned_away = False
        #: Whether the client has the reply that it is connected.
        self.replied = False
        #: Under which sid it was registered.
        self.sid: Optional[str] = None
        #: Where it takes part.
        self.client: Optional[ClientSession] = None
        self.missed: Sequence[Record] = ()
        #: Whether it has got that.
        self.has_missed = False
        #: The offset that it has shown; empty: none.
        self.offset = ''
        #: Whether it may have some of it from before.
        self.is_ahead = False


class Admission:
    """Lets clients in.

    :param outcomes: notes what becomes of them.
    """

    def __init__(self, clients: LocalClients, claims: Claims,
                 options: RecoveryOptions, outcomes: Outcomes) -> None:
        self._clients = clients
        self._claims = claims
        self._options = options
        self._outcomes = outcomes
        self._backlog = Backlog(clients)
        self._limiter = Limiter(
            AT_A_TIME, lambda: clients.live().engine.event())

    def admit(self, visit: Visit,
              appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that connects.

        :param appear_in: makes this node a member of a namespace.
        :return: its sid; ``None`` if its connection is in the namespace
                 already, or is dropped.
        """
        try:
            return self._let_in(visit, appear_in)
        except TurnedAway:
            visit.turned_away = True
            self._turn_away(visit.eio_sid)
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
        if not runtime.is_connected:
            # The server lets only its very first client wait until this node
            # has started. Returns at once if Redis is away.
            runtime.start()
        outcome = _NOT_TRIED
        if visit.shown is not None:
            slot = self._limiter.slot()
            try:
                slot.acquire(TURN_PATIENCE)
                return self._bring_back(visit, visit.shown)
            except Refusal as exc:
                outcome = Outcome(False, exc.reason)
            except (Unavailable, RedisStreamsError):
                # The outbox is full, or closed.
                outcome = Outcome(False, REDIS_UNAVAILABLE)
            finally:
                try:
                    slot.release()
                finally:
                    # The first one may be struck.
                    slot.release()
            if runtime.closed:
                # This may have been why.
                raise TurnedAway
        return self._welcome(visit, outcome)

    def _turn_away(self, eio_sid: str) -> None:
        """End the connection of a client that is not let in: if it is still
        there, it tries again."""
        self._clients.log(
            'the connection of a client that comes was closed: %s',
            'this server is leaving the cluster'
            if self._clients.live().closed else
            'it was lost, or another one of the client is newer')
        hooks.drop(self._clients.server, eio_sid)

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
        if timeline.position == START and runtime.is_connected:
            # The first heartbeat is on its way. Later, no node could know
            # whether something was trimmed before the first entry.
            timeline.reach(Position(0, 1), FIRST_PATIENCE)
        sid: str = self._clients.server.eio.generate_id()
        address = sid, visit.eio_sid
        takes_part = self._accepts(visit, sid)
        with runtime.order:
            if timeline.has_left:
                raise TurnedAway
            if takes_part:
                self._clients.delivery.sent[sid] = None
            if not self._clients.manager.register(
                    sid, visit.eio_sid, namespace, ()):
                self._clients.delivery.forget(sid)
                return None
            visit.sid = sid
            if visit.shown is not None:
                self._outcomes.note(sid, namespace, outcome)
            if takes_part:
                visit.client = ClientSession(
                    address, namespace, secrets.token_urlsafe(PID_BYTES),
                    secrets.token_hex(8), START, runtime.engine.event(),
                    placed=False, former=_former_offset(visit.shown))
                if timeline.has_begun:
                    timeline.place(visit.client)
                self._clients.sessions.register(visit.client)
        if visit.shown is not None:
            self._clients.log('%s was not recovered: %s', sid, outcome.reason)
        self._outcomes.show(visit.eio_sid, outcome)
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
        if not runtime.is_connected \
                and not runtime.await_connection(CONNECT_PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)

        def accepts(sid: str) -> bool:
            if hooks.is_closing(self._clients.server, visit.eio_sid):
                # Its client may be elsewhere by now.
                raise TurnedAway
            return self._accepts(visit, sid)

        claim = self._claims.claim(namespace, pid, offset, accepts)
        session = claim.session
        client = ClientSession(
            (session.sid, visit.eio_sid), namespace, pid, session.claim,
            session.upto or claim.start, runtime.engine.event(),
            session.since)
        client.sent, client.gap = session.sent, session.gap
        client.obeyed, client.own = session.obeyed, session.own
        visit.offset, client.ahead = str(offset or ''), session.ahead
        visit.is_ahead = session.ahead == visit.offset
        # Should its connection be gone before it has them.
        client.data, client.flask = session.data, session.flask
        try:
            self._register(visit, claim, client, offset)
        except Refusal as exc:
            if exc.reason != REDIS_UNAVAILABLE:
                # Nobody else could do better.
                self._clients.session_writer.sessions.swap([
                    Swap(pid, b'', [claim.value])])
            raise
        self._clients.session_writer.claimed(client, claim.value)
        self._outcomes.show(visit.eio_sid, _RECOVERED)
        return session.sid

    def _register(self, visit: Visit, claim: Claim, client: ClientSession,
                  offset: Optional[Position]) -> None:
        runtime, namespace = self._clients.live(), visit.namespace
        server, timeline = self._clients.server, self._clients.timeline(
            namespace)
        last = claim.found.last
        if last is not None and not timeline.reach(last, PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)
        replay = Replay(claim.session, claim.start,
                        self._options.max_missed_packets)
        sessions = self._clients.sessions
        for _ in range(ROUNDS):
            self._backlog.read(replay, claim, namespace)
            rival = sessions.of_sid(client.sid, namespace)
            if rival is not None:
                self._claims.supersede_rival(rival, claim)
            with runtime.order:
                if sessions.of_sid(client.sid, namespace) is not None:
                    # In this moment.
                    continue
                if self._claims.is_superseded(claim) or timeline.has_left \
                        or hooks.is_closing(server, client.eio_sid):
                    raise TurnedAway
                if timeline.history.restarts != claim.restarts:
                    # The position is one of a former stream.
                    raise Refusal(OFFSET_NOT_FOUND)
                records = timeline.history.after(namespace, replay.at)
                if records is None:
                    # Forgotten in this moment.
                    continue
                replay.feed(records)
                self._enter(visit, claim, client, offset, replay)
                return
        raise Refusal(REDIS_UNAVAILABLE)

    def _enter(self, visit: Visit, claim: Claim, client: ClientSession,
               offset: Optional[Position], replay: Replay) -> None:
        """Register a client that returns, in its rooms and with its
        deliveries held; under the order lock.

        :raises Refusal: its connection is in the namespace already.
        """
        delivery, namespace = self._clients.delivery, visit.namespace
        address = client.sid, client.eio_sid
        join = self._clients.timeline(namespace).admit(
            address, namespace, replay)
        delivery.sent[client.sid] = offset
        delivery.hold(client.sid)
        if not self._clients.manager.register(
                *address, namespace, replay.rooms):
            delivery.forget(client.sid)
            raise Refusal(UNKNOWN_SESSION)
        join()
        client.rooms = set(replay.rooms)
        # Before any task can write its session anew.
        self._clients.restore(client.eio_sid, claim.session)
        # Until it is gone, which it may be as soon as it is known.
        self._outcomes.note(client.sid, namespace, _RECOVERED)
        self._clients.sessions.register(client)
        visit.sid, visit.client = client.sid, client
        visit.missed = replay.missed


def _former_offset(shown: Optional[Return]) -> Optional[Position]:
    """The last offset that a client received in a former session."""
    if shown is None:
        return None
    try:
        return check_offset(shown.offset)
    except Refusal:
        return None
