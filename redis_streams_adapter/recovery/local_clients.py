"""The own clients, as recovery sees them: what their sessions hold, and how
far they have come."""
from typing import Any, Callable, Dict, Optional

from ..clients import hooks
from ..clients.delivery import Delivery
from .session_writer import Keeper
from .session import Session
from ..runtime.runtime import Runtime
from .client_session import Stay
from .stream_order import Timeline


class OwnClients:
    """What there is to know of them. It has no state of its own.

    :param live: the runtime of this process.
    """

    def __init__(self, manager: Any, server: Any, delivery: Delivery,
                 live: Callable[[], Runtime]) -> None:
        self.manager = manager
        self.server = server
        self.delivery = delivery
        self.live = live

    @property
    def keeper(self) -> Keeper:
        """Who keeps their sessions."""
        keeper = self.live().keeper
        if keeper is None:
            raise RuntimeError('no sessions are kept here')
        return keeper

    def timeline(self, namespace: str) -> Timeline:
        """Where those of a namespace are in the stream."""
        timeline = self.live().timeline(namespace)
        if timeline is None:
            raise RuntimeError('recovery is off')
        return timeline

    def log(self, *args: Any) -> None:
        """Say what became of one of them."""
        self.manager._get_logger().info(*args)

    def environ(self, eio_sid: str) -> Optional[Dict[str, Any]]:
        """That of a connection, if it is still there."""
        environ: Optional[Dict[str, Any]] = self.server.environ.get(eio_sid)
        return environ

    def describe(self, stay: Stay) -> Session:
        """A client's session as it is now."""
        try:
            stay.data = self.server.eio.get_session(stay.eio_sid).get(
                stay.namespace)
        except KeyError:
            # Its connection is gone: as it was last.
            self.log('the last session of %s may be old', stay.sid)
        stay.flask = self.flask_session(stay)
        return Session(
            stay.sid, stay.pid,
            # In one order, so that what is the same looks the same.
            tuple(sorted(filter(is_name, list(stay.rooms)), key=str)),
            {} if stay.data is None else stay.data, stay.namespace,
            stay.claim, flask=stay.flask)

    def flask_session(self, stay: Stay) -> Optional[str]:
        """What Flask-SocketIO keeps for a client's connection."""
        environ = self.environ(stay.eio_sid)
        if environ is None:
            return stay.flask
        try:
            return hooks.flask_session(environ)
        except Exception:
            # Whatever the application's objects raise.
            if not stay.told:
                stay.told = True
                self.manager._get_logger().warning(
                    'the Flask session of %s cannot be kept', stay.sid,
                    exc_info=True)
            return None

    def progress(self, stay: Stay) -> None:
        """Note how far a client has come."""
        timeline, delivery = self.timeline(stay.namespace), self.delivery
        with self.live().order:
            position = timeline.handed_over
            if stay.last is None:
                # What it left knows of nothing that came later.
                stay.obeyed, stay.own = position, timeline.commanded
            # Not while it is to get what it has missed.
            if stay.settled and stay.sid in delivery.sent:
                stay.upto = position
                stay.sent = delivery.sent[stay.sid]
                stay.gap = delivery.gaps.get(stay.sid, stay.gap)

    def restore(self, eio_sid: str, session: Session) -> None:
        """Give a connection what was kept for its client."""
        try:
            kept = self.server.eio.get_session(eio_sid)
        except KeyError:
            # Gone again.
            return
        if session.data is not None:
            kept[session.namespace] = session.data
        environ = self.environ(eio_sid)
        if environ is not None and session.flask is not None:
            try:
                hooks.restore_flask_session(environ, session.flask)
            except ValueError as exc:
                self.log('a session of Flask was not accepted: %s', exc)


def is_name(room: Any) -> bool:
    """Whether other nodes could name this room."""
    return isinstance(room, (str, int)) and not isinstance(room, bool)
