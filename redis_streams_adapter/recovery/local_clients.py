"""The local clients, as recovery sees them: what their sessions hold, how far
they have come, and whether they were recovered."""
from typing import Any, Callable, Dict, Optional, Tuple

from ..clients import hooks
from ..clients.delivery import Delivery
from ..concurrency.log_context import ContextLogger
from ..log_events import FLASK_SESSION_NOT_KEPT, FLASK_SESSION_NOT_RESTORED, \
    SESSION_OUTDATED
from ..protocol.messages import is_room
from .local_sessions import LocalSessions
from .session_writer import SessionWriter
from .session import Gap, Outcome, REASONS, Session
from ..runtime.runtime import Runtime
from .client_session import ClientSession
from .deliveries import StreamOrderDeliveries
from .stream_order import StreamOrderDelivery

#: The counter of clients that were recovered.
RECOVERED = 'recovered'


def counter_of(reason: str) -> str:
    """The counter of clients that were not recovered for this reason."""
    return 'not_recovered_' + reason.replace('-', '_')


class LocalClients:
    """The local clients. It has no state of its own.

    :param live: returns the runtime of this process.
    """

    def __init__(self, manager: Any, server: Any, delivery: Delivery,
                 live: Callable[[], Runtime[Any]]) -> None:
        self.manager = manager
        self.server = server
        self.delivery = delivery
        self.live = live

    @property
    def _deliveries(self) -> StreamOrderDeliveries:
        deliveries = self.live().deliveries
        if not isinstance(deliveries, StreamOrderDeliveries):
            raise RuntimeError('recovery is off')
        return deliveries

    @property
    def session_writer(self) -> SessionWriter:
        """Keeps their sessions in Redis."""
        return self._deliveries.session_writer

    @property
    def sessions(self) -> LocalSessions:
        """Their sessions, with their states."""
        return self.session_writer.local

    @property
    def count(self) -> int:
        """How many sessions are kept."""
        deliveries = self.live().deliveries
        return deliveries.session_writer.local.count if isinstance(
            deliveries, StreamOrderDeliveries) else 0

    def timeline(self, namespace: str) -> StreamOrderDelivery:
        """The delivery of the stream that a namespace goes to."""
        return self._deliveries.of_namespace(namespace)

    def log_lines(self) -> None:
        """Log what was not logged under the order lock."""
        self.delivery.log_lines(self.live().order)

    def logger(self) -> ContextLogger:
        """The logger to use now."""
        return ContextLogger(self.manager._get_logger,
                             lambda: self.live().uid)

    def log(self, text: str, *args: Any, extra: Dict[str, Any]) -> None:
        """Log what happened to one of them."""
        self.logger().info(text, *args, extra=extra)

    def environ(self, eio_sid: str) -> Optional[Dict[str, Any]]:
        """The environment of a connection, if it still exists."""
        environ: Optional[Dict[str, Any]] = self.server.environ.get(eio_sid)
        return environ

    def describe(self, client: ClientSession) -> Session:
        """A client's session as it is now."""
        try:
            client.data = self.server.eio.get_session(client.eio_sid).get(
                client.namespace)
        except KeyError:
            # Its connection is gone.
            self.log('the last session of %s may be out of date', client.sid,
                     extra=SESSION_OUTDATED(
                         namespace=client.namespace, sid=client.sid))
        client.flask = self.flask_session(client)
        return Session(
            client.sid, client.pid,
            # Sorted, so that equal sessions are equal text.
            tuple(sorted(filter(is_room, list(client.rooms)), key=str)),
            {} if client.data is None else client.data, client.namespace,
            client.claim, flask=client.flask)

    def flask_session(self, client: ClientSession) -> Optional[str]:
        """What Flask-SocketIO keeps for a client's connection."""
        environ = self.environ(client.eio_sid)
        if environ is None:
            return client.flask
        try:
            return hooks.flask_session(environ)
        except Exception:
            # The application's objects may raise anything.
            if client.warn():
                self.logger().warning(
                    'the Flask session of %s cannot be kept', client.sid,
                    exc_info=True, extra=FLASK_SESSION_NOT_KEPT(
                        namespace=client.namespace, sid=client.sid))
            return None

    def progress(self, client: ClientSession) -> None:
        """Note how far a client has come."""
        timeline, delivery = self.timeline(client.namespace), self.delivery
        with self.live().order:
            position = timeline.handed_over
            if not client.is_leaving:
                # Its last session holds nothing that came later.
                client.obeyed, client.own = position, timeline.commanded
            # Not before it has what it missed.
            if client.is_settled and client.sid in delivery.sent:
                client.upto = position
                client.sent = delivery.sent[client.sid]
                gap = delivery.gaps.get(client.sid)
                client.gap = Gap(*gap) if gap else client.gap

    def restore(self, eio_sid: str, session: Session) -> None:
        """Restore on a connection what was kept for its client."""
        try:
            kept = self.server.eio.get_session(eio_sid)
        except KeyError:
            # The connection is gone again.
            return
        if session.data is not None:
            kept[session.namespace] = session.data
        environ = self.environ(eio_sid)
        if environ is not None and session.flask is not None:
            try:
                hooks.restore_flask_session(environ, session.flask)
            except ValueError as exc:
                self.log('a Flask session was not restored: %s', exc,
                         extra=FLASK_SESSION_NOT_RESTORED(
                             namespace=session.namespace, sid=session.sid,
                             reason=str(exc)))


class Outcomes:
    """Whether clients were recovered: for their handlers, for the application,
    and counted.

    Written without a lock. The task of a client's connection writes the
    client's entry, and removes it when the client is gone. All these tasks
    update the counts, which may under-count slightly. Nothing survives the
    process.
    """

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients
        #: Of the connected clients that asked to be recovered, by sid and
        #: namespace.
        self._outcomes: Dict[Tuple[str, str], Outcome] = {}
        #: How many were recovered, and how many were not, by reason.
        self.counts = dict.fromkeys(
            (RECOVERED, *map(counter_of, REASONS)), 0)

    def note(self, sid: str, namespace: str, outcome: Outcome) -> None:
        """A client that asked to be recovered is registered."""
        self._outcomes[sid, namespace] = outcome

    def of(self, sid: str, namespace: str) -> Optional[Outcome]:
        """The outcome of a connected client; ``None`` if it did not ask to be
        recovered."""
        return self._outcomes.get((sid, namespace))

    def forget(self, sid: str, namespace: str) -> None:
        """A client is gone."""
        self._outcomes.pop((sid, namespace), None)

    def show(self, eio_sid: str, outcome: Outcome) -> None:
        """Show an outcome to the connect handler of a client, and count it if
        the client is not recovered."""
        environ = self._clients.environ(eio_sid)
        if environ is not None:
            environ['socketio.recovery'] = outcome
        if outcome.reason is not None:
            self.counts[counter_of(outcome.reason)] += 1

    def settled(self, sid: str, namespace: str) -> bool:
        """A client has all that it missed: count it.

        :return: whether it was recovered.
        """
        outcome = self.of(sid, namespace)
        recovered = outcome is not None and outcome.recovered
        if recovered:
            self.counts[RECOVERED] += 1
        return recovered
