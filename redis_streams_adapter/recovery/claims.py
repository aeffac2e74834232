"""A node claims a session to take a client over. Of all nodes that try, one
wins.

The node gives the session a new *claim*, a random name, by compare-and-set
with what it has read. Then it announces to all nodes which claim this
supersedes. A node that has the client under the superseded claim drops its
connection. So does a node that is about to register the client: the client has
lost that connection, and is connecting to another node. If the connection is
alive after all, the client returns, and this node claims the session in turn.
"""
import secrets
from typing import Any, Callable, Dict, NamedTuple, Optional

from ..clients import hooks
from ..errors import DecodeError
from ..log_events import CLIENT_NOT_RECOVERED, SESSION_INVALID, \
    SESSION_NOT_KEPT
from ..protocol.messages import DisconnectSockets, Message, Target
from .replay import is_complete, is_event
from .local_clients import LocalClients
from .session import OFFSET_NOT_FOUND, Refusal, REJECTED, Session, start_of, \
    SUPERSEDES, TurnedAway, UNKNOWN_SESSION
from ..stream.session_store import ABSENT, DONE, Found, Swap
from ..runtime.runtime import Runtime
from .client_session import ClientSession
from ..protocol.position import Position, START
from ..protocol.transport import Unavailable

#: How often to try to claim a session that changes meanwhile.
ATTEMPTS = 5

#: How long a returning client waits for the disconnect handler of its old
#: connection, in seconds.
PATIENCE = 10.0

#: How long it waits while connections to Redis are made again, in seconds.
#: That takes a fifth of a second.
CONNECT_PATIENCE = 1.0

#: Another connection may have been sent packets ahead of its reply. How often
#: to check whether it has read the reply, and after how many seconds each
#: time. If so, it belongs to another client, and this client has no packets.
AHEAD_LOOKS = 10
AHEAD_INTERVAL = 0.1

#: How many superseded claims are remembered: far more than there can be
#: between a claim and the registration of its client.
SUPERSEDED = 10_000


class Claim(NamedTuple):
    """A session that this node has claimed.

    :param session: what it holds.
    :param value: how it stands in Redis.
    :param start: the position after which the client goes on.
    :param found: what Redis had.
    :param restarts: how often the history had restarted before that.
    """

    session: Session
    value: bytes
    start: Position
    found: Found
    restarts: int = 0


class _Ahead:
    """What the session said of packets that were sent ahead of a reply when
    the client came. What another connection is sent later is not this
    client's.

    :param offset: the offset that the client shows.
    """

    def __init__(self, offset: Optional[Position]) -> None:
        self._shown = str(offset or '')
        self._looks = 0
        self.found: Optional[str] = None

    def may_change(self, session: Session) -> bool:
        """Whether to check again: another connection may be about to read
        its reply."""
        if self._looks == 0 or self.found == self._shown:
            self._looks += 1
            self.found = session.ahead
        return self.found == self._shown and not session.final \
            and self._looks <= AHEAD_LOOKS


class Claims:
    """Claims sessions, and lets other nodes claim them.

    :param publish: puts a message into the outbox.
    """

    def __init__(self, clients: LocalClients,
                 publish: Callable[[Runtime[Any], str, Message], Any]) -> None:
        self._clients = clients
        self._publish = publish
        #: The last :data:`SUPERSEDED` superseded claims; under the order
        #: lock.
        self._superseded: Dict[str, None] = {}

    def claim(self, namespace: str, pid: str, offset: Optional[Position],
              accepts: Callable[[str], bool]) -> Claim:
        """Claim a session, and drop the old connections of its client. If
        another connection of the client does so at the same time, on any
        node, the last one gets the session.

        :param offset: the last offset that the client has received.
        :param accepts: whether the client with a sid may take part.
        :raises Refusal: the session does not exist, or cannot be recovered.
        :raises Unavailable: Redis is away.
        """
        writer, sessions = self._clients.session_writer, self._clients.sessions
        runtime = self._clients.live()
        stream = runtime.stream(namespace)
        timeline = self._clients.timeline(namespace)
        left: Optional[Session] = None
        ahead = _Ahead(offset)
        for _ in range(ATTEMPTS + AHEAD_LOOKS):
            known = sessions.of_pid(pid)
            restarts = timeline.history.restarts
            found = self._find(pid, stream, offset)
            here = sessions.of_pid(pid)
            if here is not known:
                # Just registered here, or gone: what was found is old.
                continue
            if here is not None and (here.is_discarded
                                     or here.namespace != namespace):
                # Its session may not be deleted yet.
                raise Refusal(UNKNOWN_SESSION)
            if here is not None and not here.is_held:
                here = None
            if here is not None and found.session is not None \
                    and not self._is_of(found.session, here):
                # Another server has had it since. This node may not know
                # that yet.
                sessions.supersede(here)
                here = None
            session = self._found_session(found, pid, namespace, here)
            if ahead.may_change(session):
                runtime.engine.event().wait(AHEAD_INTERVAL)
                continue
            before = session.claim
            if left is not None and left.claim != before:
                # Another connection has had it in between.
                left = None
            if not accepts(session.sid):
                raise Refusal(REJECTED)
            start = self._start(session, offset, found, namespace)
            if timeline.history.restarts != restarts:
                # What was found may be of the former stream.
                continue
            if here is not None:
                left = self._supersede_here(here)
            elif left is None and not self._drop_old(session, namespace):
                continue
            # What the client left here is newer than what Redis has.
            session = (left or session)._replace(
                claim=secrets.token_hex(8), ahead=ahead.found, final=False)
            value = self._encode(session)
            result, = writer.sessions.swap([
                Swap(pid, value, [found.session or b''])])
            if result == DONE:
                if here is None:
                    self._publish(runtime, namespace, DisconnectSockets(
                        Target((session.sid,), (), {SUPERSEDES: before}),
                        close=True))
                    self._supersede(before)
                    late = sessions.of_pid(pid)
                    if late is not None and late.claim == before:
                        # Just registered here. From now on, it would not be.
                        self._supersede_here(late)
                return Claim(session, value, start, found, restarts)
            if result == ABSENT:
                break
        raise Refusal(UNKNOWN_SESSION)

    def check_again(self, claim: Claim, namespace: str,
                    offset: Optional[Position]) -> Claim:
        """The history has restarted since a session was claimed: look up
        whether its client can go on in the new stream.

        :param offset: the last offset that the client has received.
        :raises Refusal: it cannot: its position is one of a former stream.
        :raises Unavailable: Redis is away.
        """
        runtime = self._clients.live()
        # First: if it restarts once more, this has to be done again.
        restarts = self._clients.timeline(namespace).history.restarts
        found = self._find(
            claim.session.pid, runtime.stream(namespace), offset)
        start = self._start(claim.session, offset, found, namespace)
        return claim._replace(start=start, found=found, restarts=restarts)

    def _find(self, pid: str, stream: str,
              offset: Optional[Position]) -> Found:
        """Look up a session; once more if a connection was replaced.

        :raises Unavailable: Redis is away.
        """
        sessions = self._clients.session_writer.sessions
        try:
            return sessions.find(pid, stream, offset)
        except Unavailable:
            if not self._clients.live().await_connection(CONNECT_PATIENCE) \
                    or not sessions.wait(CONNECT_PATIENCE):
                raise
        return sessions.find(pid, stream, offset)

    def _encode(self, session: Session) -> bytes:
        try:
            return self._clients.session_writer.codec.encode(session)
        except (TypeError, ValueError) as exc:
            # Another node may allow larger sessions.
            self._clients.log('the session of %s cannot be kept: %s',
                              session.sid, exc, extra=SESSION_NOT_KEPT(
                                  namespace=session.namespace,
                                  sid=session.sid, reason=str(exc)))
            raise Refusal(UNKNOWN_SESSION) from exc

    def _found_session(self, found: Found, pid: str, namespace: str,
                       here: Optional[ClientSession]) -> Session:
        if here is not None:
            # Redis may not have all of it yet.
            self._clients.progress(here)
            return here.marked(here.last or self._clients.describe(here))
        if found.session is None:
            raise Refusal(UNKNOWN_SESSION)
        try:
            return self._clients.session_writer.codec.load(
                found.session, pid, namespace)
        except DecodeError as exc:
            self._clients.log('a session in Redis is not valid: %s', exc,
                              extra=SESSION_INVALID(
                                  namespace=namespace, reason=str(exc)))
            raise Refusal(UNKNOWN_SESSION) from exc

    def _start(self, session: Session, offset: Optional[Position],
               found: Found, namespace: str) -> Position:
        """The position after which to go on.

        :raises Refusal: what came after it is gone, or in a former stream.
        :raises Unavailable: Redis is away.
        """
        start, must_exist = start_of(session, offset)
        timeline = self._clients.timeline(namespace)
        with self._clients.live().order:
            history, position = timeline.history, timeline.position
            remembered = history.has(namespace, start)
            floor, former = history.floor(namespace), history.former
        if must_exist and not found.is_there and not remembered:
            raise Refusal(OFFSET_NOT_FOUND)
        if session.anonymous and not self._is_of_ours(offset, namespace):
            raise Refusal(OFFSET_NOT_FOUND)
        # A position in this stream is not after its end, or was read since the
        # end was looked up. A position in a former stream may be anywhere.
        is_past_end = start > position and (
            found.last is None or start > found.last)
        if not must_exist and not remembered \
                and START != start != floor \
                and (start <= former or is_past_end):
            first = self._first_from(start, namespace)
            if first is None or start <= former and first != start:
                raise Refusal(OFFSET_NOT_FOUND)
        in_memory = floor is not None and floor <= start
        if not in_memory and not is_complete(start, found.first, found.last):
            raise Refusal(OFFSET_NOT_FOUND)
        return start

    def _is_of_ours(self, offset: Optional[Position], namespace: str) -> bool:
        """Whether an event of this application has an offset. If a session
        does not say which application it belongs to, this shows it.

        :raises Unavailable: Redis is away.
        """
        if offset is None:
            return False
        timeline = self._clients.timeline(namespace)
        with self._clients.live().order:
            remembered = timeline.history.has(namespace, offset)
        if remembered:
            return True
        if self._first_from(offset, namespace) != offset:
            return False
        page, _ = self._clients.session_writer.sessions.page(
            self._clients.live().stream(namespace), offset.before(), 1)
        return bool(page) and page[0].id == offset \
            and is_event(page[0].fields, namespace)

    def _first_from(self, position: Position,
                    namespace: str) -> Optional[Position]:
        """The first entry of the stream that is not before a position.

        :raises Unavailable: Redis is away.
        """
        return self._clients.session_writer.sessions.next_id(
            self._clients.live().stream(namespace), position.before())

    def _drop_old(self, session: Session, namespace: str) -> bool:
        """Drop an old connection of a client that has lost its session.

        :return: ``False`` if the client was just registered here.
        :raises Refusal: another client has its sid.
        """
        old = self._clients.sessions.of_sid(session.sid, namespace)
        if old is not None and old.pid == session.pid:
            if old.is_held:
                return False
            self._supersede_here(old)
        elif self._clients.manager.eio_sid_from_sid(
                session.sid, namespace) is not None:
            raise Refusal(UNKNOWN_SESSION)
        return True

    def _supersede_here(self, here: ClientSession) -> Session:
        """Take a client over from its connection to this node."""
        self._clients.sessions.supersede(here)
        hooks.drop(self._clients.server, here.eio_sid)
        if not here.gone.wait(PATIENCE) and not here.gone.is_set():
            # There cannot be two clients with one sid.
            self._clients.log(
                '%s was not recovered: its disconnect handler has not ended',
                here.sid, extra=CLIENT_NOT_RECOVERED(
                    namespace=here.namespace, sid=here.sid,
                    reason='disconnect handler'))
            raise Refusal(UNKNOWN_SESSION)
        if here.last is None:
            raise Refusal(UNKNOWN_SESSION)
        return here.marked(here.last)

    def supersede_rival(self, rival: ClientSession, claim: Claim) -> None:
        """Drop another connection of the client, which was registered here
        first. The session in Redis shows which of the two claimed it last:
        other nodes may have had it in between.

        :raises TurnedAway: the other connection claimed it last.
        :raises Refusal: the other connection does not end.
        :raises Unavailable: Redis is away.
        """
        raw = self._clients.session_writer.sessions.get(claim.session.pid)
        if raw != claim.value:
            raise TurnedAway
        self._supersede_here(rival)

    # -- claimed by others ------------------------------------------------

    def superseded(self, namespace: str, target: Target) -> None:
        """Another node has taken clients over."""
        claim = target.flags.get(SUPERSEDES)
        # First: a client may be about to be registered here.
        self._supersede(claim)
        for sid in target.rooms:
            client = self._clients.sessions.of_sid(str(sid), namespace)
            if client is None:
                continue
            if claim == client.claim:
                self._clients.sessions.supersede(client)
                self._clients.server.start_background_task(
                    hooks.drop, self._clients.server, client.eio_sid)
            else:
                # Another node has had it in between, or the message is old.
                # It may come from a node that has died since, or from a
                # server in Node.js, which names no claim.
                self._clients.server.start_background_task(
                    self._verify, client)

    def is_superseded(self, claim: Claim) -> bool:
        """Whether another node has claimed the session since; under the
        order lock."""
        return claim.session.claim in self._superseded

    def _supersede(self, claim: Any) -> None:
        """A session is no longer held under this claim."""
        if isinstance(claim, str) and claim:
            with self._clients.live().order:
                self._superseded[claim] = None
                if len(self._superseded) > SUPERSEDED:
                    del self._superseded[next(iter(self._superseded))]

    def _verify(self, client: ClientSession) -> None:
        """Drop a client's connection if another node has its session."""
        try:
            raw = self._clients.session_writer.sessions.get(client.pid)
        except Unavailable:
            return
        if raw is not None and not self._is_of(raw, client):
            self._clients.sessions.supersede(client)
            hooks.drop(self._clients.server, client.eio_sid)

    def _is_of(self, raw: bytes, client: ClientSession) -> bool:
        """Whether a session in Redis is that of a local client, and not one
        that another server has written since."""
        try:
            return self._clients.session_writer.codec.load(
                raw, client.pid, client.namespace).claim == client.claim
        except DecodeError:
            return False
