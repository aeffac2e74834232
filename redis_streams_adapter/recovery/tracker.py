"""Follows the local clients from their connection to their end, if recovery is
on. The server's hooks and the manager report what happens, and the sessions
follow.

A *visit* is a client that connects, until its connect handler is done:
:mod:`redis_streams_adapter.recovery.admission` registers it. Its session is in
:mod:`redis_streams_adapter.recovery.client_session`.
"""
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..clients import hooks
from .admission import Admission, Visit
from .claims import Claims
from .handover import Handover
from ..clients.delivery import Delivery, Load
from ..clients.encoding import Encoded
from ..errors import NO_ROOM
from ..log_events import CLIENT_RECOVERED
from ..protocol.messages import DisconnectSockets, Message
from ..options import RecoveryOptions
from .local_clients import LocalClients, Outcomes
from .session import Outcome, REJECTED, split_auth, SUPERSEDES
from ..runtime.delivery import Client
from ..runtime.runtime import Runtime
from .client_session import ClientSession
from .states import State


class ClientTracker:
    """Follows clients from their connection to their end.

    :param live: returns the runtime of this process.
    :param publish: puts a message into the outbox.
    """

    def __init__(self, manager: Any, server: Any, delivery: Delivery,
                 options: RecoveryOptions, live: Callable[[], Runtime[Any]],
                 publish: Callable[[Runtime[Any], str, Message], Any]) -> None:
        self._clients = LocalClients(manager, server, delivery, live)
        self._claims = Claims(self._clients, publish)
        self._outcomes = Outcomes(self._clients)
        self._admission = Admission(self._clients, self._claims, options,
                                    self._outcomes)
        self.describe = self._clients.describe
        self.progress = self._clients.progress
        self.superseded = self._claims.superseded
        delivery.has_recovery = True
        # The last event of a client may be older than this, by the time in
        # which its connection was half open and by the time of its absence.
        delivery.long_time = int(
            options.max_disconnection_duration * 1000 / 2)
        self._handover = Handover(self._clients)
        #: Connecting clients, by connection and namespace. Each is added,
        #: written and removed by the task of its connection.
        self._visits: Dict[Tuple[str, str], Visit] = {}

    @property
    def count(self) -> int:
        """How many sessions are kept."""
        return self._clients.count

    # -- hooks, see redis_streams_adapter.clients.hooks

    def begin(self, eio_sid: str, namespace: str, data: Any) -> Visit:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        shown, auth = split_auth(data)
        visit = Visit(eio_sid, namespace, shown, auth)
        self._visits[eio_sid, namespace] = visit
        return visit

    def reply(self, eio_sid: str, namespace: str) -> Optional[str]:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        visit = self._visits.get((eio_sid, namespace))
        if visit is None:
            return None
        client = visit.client
        if visit.sid is not None and self._is_going(visit):
            visit.turned_away = True
            return None
        if client is None:
            visit.replied = True
            return None
        if visit.is_ahead or self._clients.server.always_connect:
            # It gets what it missed later.
            self._clients.session_writer.write_first(client)
        elif not self._send_ahead(visit, client):
            visit.turned_away = True
            return None
        visit.replied = True
        return client.pid

    def _is_going(self, visit: Visit) -> bool:
        """Whether a registered client is leaving or gone."""
        client = visit.client
        return hooks.is_closing(self._clients.server, visit.eio_sid) \
            or client is not None and (
                client.is_leaving or not self._handover.is_here(client)) \
            or self._clients.manager.eio_sid_from_sid(
                visit.sid, visit.namespace) != visit.eio_sid

    def _send_ahead(self, visit: Visit, client: ClientSession) -> bool:
        """Hand a client what it missed ahead of its reply.

        :return: ``False`` if it is gone.
        """
        before = client.ahead
        if visit.missed:
            # First: a node that takes the client over must know.
            client.ahead = visit.offset
        self._clients.session_writer.write_first(client)
        if client.possession is State.SUPERSEDED:
            # Another server has the client by now, and would not know this.
            hooks.drop(self._clients.server, client.eio_sid)
        if self._is_going(visit):
            # It was sent nothing.
            client.ahead = before
            return False
        visit.has_missed = self._handover.send_missed(client, visit.missed)
        return visit.has_missed

    def is_turned_away(self, eio_sid: str, namespace: str) -> bool:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        # Another task may be ending its connection.
        visit = self._visits.get((eio_sid, namespace))
        return visit is not None and visit.turned_away

    def send_later(self, eio_sid: str, namespace: str, pkt: Any) -> bool:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        runtime = self._clients.live()
        timeline = self._clients.timeline(namespace)
        sid = self._clients.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not timeline.is_waiting or not runtime.is_connected:
            return False
        encoded = pkt.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        try:
            timeline.hand_over_later(namespace, [Load(
                [(sid, eio_sid)], Encoded(parts, None, False))])
        except NO_ROOM:
            # Too early is better than never.
            return False
        return True

    def finish(self, visit: Visit, done: bool) -> None:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        self._visits.pop((visit.eio_sid, visit.namespace), None)
        client, sid, namespace = visit.client, visit.sid, visit.namespace
        sessions, manager = self._clients.sessions, self._clients.manager
        if sid is None or manager.eio_sid_from_sid(
                sid, namespace) != visit.eio_sid:
            # It was refused, or is gone.
            return
        server = self._clients.server
        if not done and not (visit.replied and server.always_connect):
            # Its handler failed, or what comes after it, and python-socketio
            # leaves it registered. With always_connect it had its reply, and
            # stays connected.
            if client is not None:
                client.leaving_task = visit.task
            manager.disconnect(sid, namespace, ignore_queue=True)
            if visit.replied:
                # It may have the reply, and would wait for events.
                hooks.drop(server, visit.eio_sid)
            return
        if client is None or visit.turned_away \
                or hooks.is_closing(self._clients.server, client.eio_sid):
            # Another task disconnects it, or the hook that calls this.
            return
        if not visit.has_missed:
            if visit.is_ahead and not client.is_discarded:
                self._handover.drop_when_read(client)
                return
            if not self._handover.send_missed(client, visit.missed):
                return
        elif visit.missed:
            self._handover.note_reading(client)
        if not self._handover.release(client):
            return
        sessions.settle(client)
        if self._outcomes.settled(client.sid, namespace):
            self._clients.log('%s was recovered; it had missed %d packets',
                              client.sid, len(visit.missed),
                              extra=CLIENT_RECOVERED(
                                  namespace=namespace, sid=client.sid,
                                  count=len(visit.missed)))
        if client.is_discarded and not client.is_leaving:
            # It was to be disconnected while it connected, which
            # python-socketio ignores.
            self._clients.server.disconnect(client.sid, client.namespace,
                                            ignore_queue=True)

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        if self._clients.sessions.of_sid(sid, namespace) is not None:
            self._clients.session_writer.codec.check_size(data)

    def saved(self, sid: str, namespace: str, data: Any) -> None:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        sessions = self._clients.sessions
        client = sessions.of_sid(sid, namespace)
        if client is not None:
            # The connection, which keeps this, may end before it is written.
            client.data = data
            sessions.change(client)

    def handled(self, sid: str, namespace: str) -> None:
        """See :class:`~redis_streams_adapter.clients.hooks.Visits`."""
        sessions = self._clients.sessions
        client = sessions.of_sid(sid, namespace)
        if client is not None and client.is_settled \
                and self._clients.flask_session(client) != client.flask:
            sessions.change(client)

    # -- for the manager --------------------------------------------------

    def entered(self, sid: str, namespace: str, room: Any) -> None:
        """A client has entered a room."""
        client = self._clients.sessions.of_sid(sid, namespace)
        if client is not None and room is not None \
                and room not in client.rooms:
            client.rooms.add(room)
            self._clients.sessions.change(client)

    def left(self, sid: str, namespace: str, room: Any) -> None:
        """A client has left a room."""
        client = self._clients.sessions.of_sid(sid, namespace)
        if client is not None and room in client.rooms \
                and not client.is_leaving:
            client.rooms.discard(room)
            self._clients.sessions.change(client)

    def leave(self, sid: str, namespace: str) -> None:
        """A client is about to be disconnected; its disconnect handler runs
        next."""
        timeline = self._clients.timeline(namespace)
        client = self._clients.sessions.of_sid(sid, namespace)
        eio_sid = self._clients.manager.eio_sid_from_sid(sid, namespace)
        intended = eio_sid is not None \
            and not hooks.is_closing(self._clients.server, eio_sid)
        if intended or client is not None and client.is_discarded:
            def release() -> None:
                if eio_sid is not None:
                    # With always_connect, its connect handler may do this.
                    self._clients.delivery.release((sid, eio_sid))

            timeline.flush(sid, release)
        if client is not None and not client.is_leaving:
            client.leaving_task = threading.get_ident()
            if intended:
                self._clients.sessions.discard(client)
            self._clients.progress(client)
            # As it is now, whatever its disconnect handler removes.
            self._clients.sessions.leave(client)

    def may_unregister(self, sid: str, namespace: str) -> bool:
        """A client is about to be unregistered.

        :return: whether this task may do so: it disconnects the client, or
                 is the task of its connection, and the client is refused. For
                 other tasks, their client is gone, and another connection has
                 taken it over.
        """
        client = self._clients.sessions.of_sid(sid, namespace)
        if client is None:
            return True
        task = threading.get_ident()
        visit = self._visits.get((client.eio_sid, namespace))
        if visit is None or visit.client is not client or visit.task != task:
            visit = None
        if client.leaving_task != task \
                and (visit is None or client.leaving_task is not None):
            return False
        if visit is not None \
                and not hooks.is_closing(self._clients.server, client.eio_sid):
            # Its connect handler refused it.
            self._clients.sessions.discard(client)
            if visit.shown is not None:
                self._outcomes.show(client.eio_sid, Outcome(False, REJECTED))
        self._clients.sessions.leave(client)
        return True

    def unregister(self, sid: str, namespace: str) -> None:
        """A client is unregistered."""
        client = self._clients.sessions.of_sid(sid, namespace)
        self._outcomes.forget(sid, namespace)
        with self._clients.live().order:
            self._clients.delivery.forget(sid)
        if client is not None:
            self._clients.sessions.unregister(client)

    def discard(self, namespace: str, address: Client,
                close: bool = False) -> None:
        """A client is going to be disconnected on purpose. It is not recovered
        even if it loses its connection first.

        :param close: so are all clients on its connection.
        """
        sid, eio_sid = address
        for each, other in self._on_connection(eio_sid) if close else [
                (namespace, sid)]:
            self._discard(other, each)

    def _discard(self, sid: str, namespace: str) -> None:
        client = self._clients.sessions.of_sid(sid, namespace)
        if client is not None:
            self._clients.sessions.discard(client)
            self._clients.sessions.change(client)

    def is_leaving(self, sid: str, namespace: str) -> bool:
        """Whether a local client is leaving, or another node has it by now.
        What is done to it here does not apply when it returns, so it has to be
        sent to the others, too. What its disconnect handler does need not
        apply."""
        client = self._clients.sessions.of_sid(sid, namespace)
        return client is not None \
            and (client.is_leaving or not client.is_held) \
            and client.leaving_task != threading.get_ident()

    def disconnect(self, namespace: str, message: DisconnectSockets) -> None:
        """Carry out a command to disconnect clients."""
        if SUPERSEDES in message.target.flags:
            self.superseded(namespace, message.target)
        else:
            self._clients.delivery.disconnect(
                namespace, message.target, message.close,
                self.discard_connection, self.discard)

    def outcome(self, sid: str, namespace: str) -> Optional[Outcome]:
        """Whether a client was recovered; ``None`` if it did not ask."""
        return self._outcomes.of(sid, namespace)

    def stats(self) -> Dict[str, int]:
        """The counters of recovery."""
        return {**self._outcomes.counts, 'sessions': self._clients.count}

    def discard_connection(self, eio_sid: str) -> None:
        """A connection is going to be closed on purpose: its clients are not
        recovered."""
        for namespace, sid in self._on_connection(eio_sid):
            self._discard(sid, namespace)
            self._clients.timeline(namespace).flush(sid)

    def _on_connection(self, eio_sid: str) -> List[Tuple[str, str]]:
        """Namespaces and sids of the clients on a connection."""
        manager = self._clients.manager
        found = [(each, manager.sid_from_eio_sid(eio_sid, each))
                 for each in list(manager.get_namespaces())]
        return [(each, sid) for each, sid in found if sid is not None]

    # -- a client connects ------------------------------------------------

    @property
    def namespaces(self) -> List[str]:
        """The namespaces into which clients are being let."""
        return [visit.namespace for visit in list(self._visits.values())
                if visit.admitted]

    def admit(self, eio_sid: str, namespace: str,
              appear_in: Callable[[str], None]) -> Optional[str]:
        """Register a client that connects.

        :param appear_in: makes this node a member of a namespace.
        :return: its sid; ``None`` if its connection is in the namespace
                 already, or is dropped.
        """
        visit = self._visits.get((eio_sid, namespace))
        if visit is None:
            raise RuntimeError('a client connects without the server')
        if self._clients.manager.sid_from_eio_sid(
                eio_sid, namespace) is not None:
            return None
        return self._admission.admit(visit, appear_in)
