"""A client connects, and recovery is on: a returning client is taken over,
any other client gets a session.

A client is taken over in this order:

1. This node looks up the session, and whether the stream goes back to the
   client's offset. It checks what the client shows. So far, nothing changes.
2. If the client is still connected to this node, the old connection is
   dropped.
3. This node claims the session by compare-and-set. If two connections try at
   once, the last one gets it. The content of the session stays, so another
   node can claim it if this one dies.
4. This node asks all others to drop the client's old connection, which may
   look alive to them.
5. The reader comes to the position at which the stream ended in step 1. Then
   this node gathers what the client missed. What is older than the history in
   memory comes from Redis, in pages. The rest is one step under the order
   lock: what is in memory is added, and the client is registered in its
   rooms, with its deliveries held. If another connection of the client was
   registered meanwhile, the session in Redis decides which of the two stays.
   If the reader finds meanwhile that the stream is another one, step 1 is
   done again for the new stream.
6. The connect handler runs, and may refuse the client. If it does not, the
   client gets what it missed, its reply, and what was held. With
   ``always_connect`` the reply is sent before the handler runs, and the rest
   follows when the handler is done. A client that may have received some of
   it already (see :mod:`redis_streams_adapter.recovery.session`) gets its
   reply alone. Its connection is dropped as soon as the client has read the
   reply: when it returns, its offset shows what it has.

*If the process dies* before step 3, nothing has changed. After it, the session
is there for the next node, and the client has no new offset yet.

Steps 1 to 6 run on the task of the client's connection. They share rooms and
deliveries with other tasks under the order lock, and sessions under the lock
of :mod:`redis_streams_adapter.recovery.local_sessions`. Only the connection's
task writes a visit.
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
from ..log_events import ACCEPTS_FAILED, CLIENT_NOT_RECOVERED, \
    CLIENT_TURNED_AWAY
from .session import check_offset, check_pid, Outcome, \
    REDIS_UNAVAILABLE, Refusal, Return, TurnedAway, UNKNOWN_SESSION
from ..stream.session_store import Swap
from .client_session import ClientSession
from ..protocol.position import Position, START
from ..protocol.transport import Unavailable

#: The random bytes in the name of a session. Node.js uses 15.
PID_BYTES = 24

#: How long a returning client waits for this node's reader, in seconds.
PATIENCE = 10.0

#: How many clients are taken over at a time, and how many seconds another
#: client waits at most for its turn. Each waits for Redis and for this node's
#: reader, so fewer at a time take longer. With more, the reader, and live
#: traffic with it, runs too seldom. Measured with 2,000 clients.
AT_A_TIME = 128
TURN_PATIENCE = 10.0

#: How often to try to register a returning client if the history forgets what
#: it missed meanwhile, or another connection of it is registered. Each round
#: reads only what came during the round before.
ROUNDS = 10

#: How long the first client of all waits for the first entry of a stream.
FIRST_PATIENCE = 1.0

_NOT_TRIED, _RECOVERED = Outcome(False), Outcome(True)


class Visit:
    """A client that connects to a namespace. Only the task of its connection
    writes this.

    :param shown: what the client shows, if it asks to be recovered.
    :param auth: what the application sees of the data that it sends.
    """

    def __init__(self, eio_sid: str, namespace: str,
                 shown: Optional[Return], auth: Any) -> None:
        self.eio_sid = eio_sid
        self.namespace = namespace
        self.shown = shown
        self.auth = auth
        #: The id of that task.
        self.task = threading.get_ident()
        #: Whether the server takes clients in this namespace.
        self.admitted = False
        #: Whether its connection is dropped, so that the client tries again.
        self.turned_away = False
        #: Whether the client has the reply that it is connected.
        self.replied = False
        #: The sid under which it is registered.
        self.sid: Optional[str] = None
        #: Its session, if it takes part in recovery.
        self.client: Optional[ClientSession] = None
        self.missed: Sequence[Record] = ()
        #: Whether it was sent that.
        self.has_missed = False
        #: The offset that it showed; empty: none.
        self.offset = ''
        #: Whether it may have received some of that before.
        self.is_ahead = False


class Admission:
    """Lets clients in.

    :param outcomes: notes whether they were recovered.
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
            return self._admit(visit, appear_in)
        except TurnedAway:
            visit.turned_away = True
            self._turn_away(visit.eio_sid)
            return None

    def _admit(self, visit: Visit,
               appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that returns, or is new.

        :raises TurnedAway: its connection is to be dropped.
        """
        # Before the client is registered: from now on the history is kept.
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
                return self._recover(visit, visit.shown)
            except Refusal as exc:
                outcome = Outcome(False, exc.reason)
            except (Unavailable, RedisStreamsError):
                # The outbox is full, or closed.
                outcome = Outcome(False, REDIS_UNAVAILABLE)
            finally:
                try:
                    slot.release()
                finally:
                    # An exception may strike the first call.
                    slot.release()
            if runtime.closed:
                # That may have been the reason.
                raise TurnedAway
        return self._register_new(visit, outcome)

    def _turn_away(self, eio_sid: str) -> None:
        """Drop the connection of a client that is not let in. If the client is
        still there, it tries again."""
        closing = self._clients.live().closed
        self._clients.log(
            'the connection of a new client was closed: %s',
            'this server is leaving the cluster' if closing else
            'it was lost, or the client has a newer one',
            extra=CLIENT_TURNED_AWAY(reason='closing' if closing else 'lost'))
        hooks.drop(self._clients.server, eio_sid)

    def _accepts(self, visit: Visit, sid: str) -> bool:
        accepts = self._options.accepts
        if accepts is None:
            return True
        try:
            return bool(accepts(
                sid, self._clients.server.environ[visit.eio_sid], visit.auth))
        except Exception:
            self._clients.logger().exception(
                'connection_state_recovery: accepts failed',
                extra=ACCEPTS_FAILED(namespace=visit.namespace, sid=sid))
            return False

    def _register_new(self, visit: Visit,
                      outcome: Outcome) -> Optional[str]:
        """Register a new client.

        :raises TurnedAway: here it would not get what other nodes emit.
        """
        runtime, namespace = self._clients.live(), visit.namespace
        timeline = self._clients.timeline(namespace)
        if timeline.position == START and runtime.is_connected:
            # The first heartbeat is on its way. Without a first entry, no node
            # could know later whether something was trimmed before it.
            timeline.reach(Position(0, 1), FIRST_PATIENCE)
        sid: str = self._clients.server.eio.generate_id()
        address = sid, visit.eio_sid
        takes_part = self._accepts(visit, sid)
        with runtime.order:
            if timeline.has_left:
                raise TurnedAway
            if takes_part:
                self._clients.delivery.sent[sid] = None
            else:
                self._clients.delivery.exempt.add(sid)
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
            self._clients.log('%s was not recovered: %s', sid, outcome.reason,
                              extra=CLIENT_NOT_RECOVERED(
                                  namespace=namespace, sid=sid,
                                  reason=outcome.reason))
        self._outcomes.show(visit.eio_sid, outcome)
        return sid

    def _recover(self, visit: Visit, shown: Return) -> str:
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
                # The client may be on another node by now.
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
        # In case the connection ends before they are restored.
        client.data, client.flask = session.data, session.flask
        try:
            self._register(visit, claim, client, offset)
        except Refusal as exc:
            if exc.reason != REDIS_UNAVAILABLE:
                # No other node could recover it either.
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
        replay = self._begin(claim, namespace)
        sessions = self._clients.sessions
        for _ in range(ROUNDS):
            if timeline.history.restarts != claim.restarts:
                # The position may be one of a former stream.
                claim = self._claims.check_again(claim, namespace, offset)
                replay = self._begin(claim, namespace)
            self._backlog.read(replay, claim, namespace)
            rival = sessions.of_sid(client.sid, namespace)
            if rival is not None:
                self._claims.supersede_rival(rival, claim)
            with runtime.order:
                if sessions.of_sid(client.sid, namespace) is not None:
                    # Registered just now.
                    continue
                if self._claims.is_superseded(claim) or timeline.has_left \
                        or hooks.is_closing(server, client.eio_sid):
                    raise TurnedAway
                if timeline.history.restarts != claim.restarts:
                    continue
                records = timeline.history.after(namespace, replay.at)
                if records is None:
                    # Forgotten just now.
                    continue
                replay.feed(records)
                self._register_recovered(
                    visit, claim, client, offset, replay)
                return
        raise Refusal(REDIS_UNAVAILABLE)

    def _begin(self, claim: Claim, namespace: str) -> Replay:
        """Wait until this node's reader has come to the end of what was
        found.

        :raises Refusal: it does not come there.
        """
        last = claim.found.last
        if last is not None and not self._clients.timeline(
                namespace).reach(last, PATIENCE):
            raise Refusal(REDIS_UNAVAILABLE)
        return Replay(claim.session, claim.start,
                      self._options.max_missed_packets)

    def _register_recovered(
            self, visit: Visit, claim: Claim, client: ClientSession,
            offset: Optional[Position], replay: Replay) -> None:
        """Register a returning client in its rooms, with its deliveries held;
        under the order lock.

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
        # Before any task can write its session again.
        self._clients.restore(client.eio_sid, claim.session)
        # First: the client may be gone as soon as other tasks know it.
        self._outcomes.note(client.sid, namespace, _RECOVERED)
        self._clients.sessions.register(client)
        visit.sid, visit.client = client.sid, client
        visit.missed = replay.missed


def _former_offset(shown: Optional[Return]) -> Optional[Position]:
    """The last offset that a client received in its former session."""
    if shown is None:
        return None
    try:
        return check_offset(shown.offset)
    except Refusal:
        return None
