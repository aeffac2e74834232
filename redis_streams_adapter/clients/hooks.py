"""Hooks on python-socketio's server, which touch its private names.

:func:`guard` sets the hooks of every server, :func:`install` those that
recovery needs in addition. They are set on the server object, never on its
class, and call what was there before. So they work together with the hooks of
others (the admin UI's, see ``instrument()``). Read from python-socketio 5.12
and 5.18, and python-engineio 4.11 and 4.15.
"""
import logging
import re
import sys
from collections import deque
from importlib.metadata import version
from typing import Any, Deque, Dict, Optional, Protocol, Tuple

from socketio import packet

from ..concurrency.log_context import ContextLogger
from ..log_events import CONNECTION_CLOSED, DISCONNECT_HANDLER_FAILED
from . import closing
from .receipts import when_read
from .registry import AlreadyGone, ending

#: What recovery needs of the server.
NEEDED = ('_handle_connect', '_handle_disconnect', '_send_packet',
          '_trigger_event', 'save_session')

#: What recovery needs of its Engine.IO server, which has the connections.
NEEDED_OF_ENGINE = ('sockets', 'generate_id', 'get_session', 'reason',
                    'logger')

#: The key of Flask-SocketIO's session in the environ of a connection.
FLASK_SESSION = 'saved_session'

#: What Flask's serialiser raises, besides ValueError, for a text that it has
#: not written itself (Flask 3.1): it does not check the value after a tag.
_MALFORMED = (TypeError, AttributeError, LookupError, ArithmeticError,
              StopIteration, RecursionError)

#: The attribute of a connection with the namespaces of those refusals that
#: its client has not read.
UNREAD = '_redis_streams_unread'

#: How many unread refusals a client may have when it connects to another
#: namespace. A browser has only a few; a client that sends CONNECT after
#: CONNECT and reads nothing is cut off.
MAX_UNREAD = 100

#: A client's secret in a packet, in JSON.
_SECRET = re.compile(r'("pid"\s*:\s*")(?:[^"\\]|\\.)*')


class Visits(Protocol):
    """The connects, handlers and sessions of clients, as recovery follows
    them."""

    def begin(self, eio_sid: str, namespace: str, data: Any) -> Any:
        """A client sends CONNECT.

        :return: an object with ``auth``, for the application's handler.
        """

    def finish(self, visit: Any, done: bool) -> None:
        """The connect handler has run, and the client has its reply.

        :param done: ``False``: an exception was raised.
        """

    def reply(self, eio_sid: str, namespace: str) -> Optional[str]:
        """A client is about to get its reply. Send what it has to get
        before.

        :return: the name of its session; ``None``: it gets none.
        """

    def is_turned_away(self, eio_sid: str, namespace: str) -> bool:
        """Return True to suppress a client's reply or CONNECT_ERROR, so that
        the client retries: after a refusal the JavaScript client does not
        (socket.io-client 4.8)."""

    def send_later(self, eio_sid: str, namespace: str, pkt: Any) -> bool:
        """A client's event was handled, and is about to be acknowledged.

        :return: whether the packet is sent later, after what the handler
                 has emitted.
        """

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        """An application is about to save a client's session.

        :raises TypeError: ``data`` cannot be serialised.
        :raises ValueError: it is too large, or nested too deeply.
        """

    def saved(self, sid: str, namespace: str, data: Any) -> None:
        """An application has saved a client's session."""

    def handled(self, sid: str, namespace: str) -> None:
        """A handler has run for an event of a client."""


def check(server: Any) -> None:
    """Make sure that the server has what recovery needs.

    :raises RuntimeError: it has not; the text names what is missing.
    """
    missing = [name for name in NEEDED if not hasattr(server, name)]
    missing += [f'eio.{name}' for name in NEEDED_OF_ENGINE
                if not hasattr(server.eio, name)]
    if missing:
        raise RuntimeError(
            f'connection_state_recovery does not work with python-socketio '
            f'{version("python-socketio")} and python-engineio '
            f'{version("python-engineio")}: the server has no '
            f'{", ".join(missing)}')


def guard(server: Any) -> None:
    """Let a client and its server agree on whether the client is connected.

    *A second CONNECT* for a namespace, while the first is being handled or
    after it has succeeded, ends the whole connection without a packet; the
    client then reconnects by itself. The same holds for a DISCONNECT while a
    CONNECT is being handled. Node.js does the same (``ondecoded()`` in
    ``dist/client.js`` of the npm package ``socket.io`` 4.8). The JavaScript
    client sends a second CONNECT if the application disconnects and connects
    it again before it has the reply, because it sends no DISCONNECT then. It
    takes the first reply as that to its second CONNECT. If the second CONNECT
    was then refused, as python-socketio does, the client would report that it
    is connected, and receive nothing any more.

    *The connection ends while the connect handler runs*, or the handler
    fails: python-socketio (5.17 and later) never unregisters that client.
    This hook does it after the handler.

    *A client is disconnected once*, see
    :mod:`redis_streams_adapter.clients.registry`.
    """
    handle_connect = server._handle_connect
    handle_disconnect = server._handle_disconnect
    disconnect = server.disconnect
    send_packet = server._send_packet
    #: The CONNECTs that are being handled, by connection and namespace, each
    #: with a mark of the task that handles it. Only that task removes it.
    #: Adding is one atomic step, so there is no lock. If an exception strikes
    #: before the mark is removed, that connection cannot connect to that
    #: namespace any more: the next attempt ends it.
    pending: Dict[Tuple[str, str], object] = {}

    def _handle_connect(eio_sid: str, namespace: Optional[str],
                        data: Any) -> None:
        key, mark = (eio_sid, namespace or '/'), object()
        try:
            if pending.setdefault(key, mark) is not mark \
                    or server.manager.sid_from_eio_sid(*key) is not None \
                    or _was_not_read(server, *key):
                _end_invalid(server, *key)
                return
            try:
                handle_connect(eio_sid, namespace, data)
            finally:
                _unregister_unconnected(server, *key)
        except AlreadyGone:
            # It was refused, with always_connect.
            pass
        finally:
            if pending.get(key) is mark:
                del pending[key]

    def _handle_disconnect(eio_sid: str, namespace: Optional[str],
                           reason: Any = None) -> None:
        key = eio_sid, namespace or '/'
        if key in pending and not is_closing(server, eio_sid):
            _end_invalid(server, *key)
            return
        token = ending.set(eio_sid)
        try:
            handle_disconnect(eio_sid, namespace, reason)
        except AlreadyGone:
            pass
        finally:
            ending.reset(token)

    def _disconnect(sid: str, namespace: Optional[str] = None,
                    ignore_queue: bool = False) -> None:
        try:
            disconnect(sid, namespace, ignore_queue)
        except AlreadyGone:
            pass

    def _send_packet(eio_sid: str, pkt: Any) -> None:
        if pkt.packet_type in (packet.CONNECT_ERROR, packet.DISCONNECT):
            _note_refusal(server, eio_sid, pkt.namespace or '/')
        send_packet(eio_sid, pkt)

    server._handle_connect = _handle_connect
    server._handle_disconnect = _handle_disconnect
    server.disconnect = _disconnect
    server._send_packet = _send_packet


def _note_refusal(server: Any, eio_sid: str, namespace: str) -> None:
    """Called before a client gets its refusal or disconnection.

    The PING is sent before that packet: a CONNECT that the client sends after
    it has read the refusal arrives after the PONG, however quick its
    application is.
    """
    sock = server.eio.sockets.get(eio_sid)
    if sock is None:
        return
    # Any task appends, the receiving task pops, in one step each.
    unread: Deque[str] = vars(sock).setdefault(UNREAD, deque())
    unread.append(namespace)
    when_read(server, eio_sid, unread.popleft)


def _was_not_read(server: Any, eio_sid: str, namespace: str) -> bool:
    """Whether a client has not read yet that it was refused or disconnected,
    or has not read more refusals than a client in order ever gets."""
    unread = getattr(server.eio.sockets.get(eio_sid), UNREAD, ())
    return len(unread) >= MAX_UNREAD or namespace in unread


def _end_invalid(server: Any, eio_sid: str, namespace: str) -> None:
    _logger(server).info(
        'closing connection %s: a CONNECT or DISCONNECT for %s that its '
        'state does not allow', eio_sid, namespace, extra=CONNECTION_CLOSED(
            namespace=namespace, reason='invalid packet'))
    drop(server, eio_sid)


def _logger(server: Any) -> ContextLogger:
    # The manager has its uid in this attribute, see composition.
    return ContextLogger(lambda: server.logger,
                         lambda: getattr(server.manager, 'host_id', None))


def _unregister_unconnected(server: Any, eio_sid: str, namespace: str) -> None:
    """Called after a CONNECT was handled. Unregister a client that
    python-socketio would keep for ever."""
    manager = server.manager
    sid = manager.sid_from_eio_sid(eio_sid, namespace)
    if sid is None:
        return
    # Since python-socketio 5.17.
    is_pre_connected = getattr(manager, 'is_pre_connected', None)
    if is_pre_connected is not None and is_pre_connected(sid, namespace):
        # Its handler has failed, so it has no reply.
        manager.disconnect(sid, namespace, ignore_queue=True)
    elif is_closing(server, eio_sid):
        lose(server, eio_sid, namespace)


def install(server: Any, visits: Visits) -> None:
    """Set the hooks of recovery on a server, and those of :func:`guard`.

    :raises RuntimeError: as :func:`check`.
    """
    check(server)
    handle_connect = server._handle_connect
    send_packet = server._send_packet
    trigger_event = server._trigger_event
    save_session = server.save_session

    def _handle_connect(eio_sid: str, namespace: Optional[str],
                        data: Any) -> None:
        visit = visits.begin(eio_sid, namespace or '/', data)
        done = False
        try:
            handle_connect(eio_sid, namespace, visit.auth)
            done = True
        finally:
            visits.finish(visit, done)

    def _send_packet(eio_sid: str, pkt: Any) -> None:
        if pkt.packet_type == packet.CONNECT and isinstance(pkt.data, dict):
            pid = visits.reply(eio_sid, pkt.namespace or '/')
            if pid is not None:
                pkt.data = {**pkt.data, 'pid': pid}
        if pkt.packet_type in (packet.CONNECT, packet.CONNECT_ERROR):
            if visits.is_turned_away(eio_sid, pkt.namespace or '/'):
                return
        elif pkt.packet_type in (packet.ACK, packet.BINARY_ACK) \
                and visits.send_later(eio_sid, pkt.namespace or '/', pkt):
            return
        send_packet(eio_sid, pkt)

    def _trigger_event(event: str, namespace: str, *args: Any) -> Any:
        try:
            return trigger_event(event, namespace, *args)
        except Exception:
            if event != 'disconnect':
                raise
            # Otherwise python-socketio would never unregister the client, nor
            # the others on its connection. A client that returns waits for
            # that.
            _logger(server).exception(
                'the disconnect handler of %s failed', args[0],
                extra=DISCONNECT_HANDLER_FAILED(
                    namespace=namespace, sid=args[0]))
            return None
        finally:
            # Flask-SocketIO changes its session in place.
            visits.handled(args[0], namespace)

    def _save_session(sid: str, session: Any,
                      namespace: Optional[str] = None) -> None:
        visits.check_data(sid, namespace or '/', session)
        save_session(sid, session, namespace=namespace)
        visits.saved(sid, namespace or '/', session)

    server._handle_connect = _handle_connect
    server._send_packet = _send_packet
    server._trigger_event = _trigger_event
    server.save_session = _save_session
    # The guard is outermost: recovery sees no invalid attempts.
    guard(server)
    logger = server.eio.logger
    if not any(isinstance(each, NoSecrets) for each in logger.filters):
        logger.addFilter(NoSecrets())


class NoSecrets(logging.Filter):
    """Keeps the names of sessions out of Engine.IO's log, which contains all
    packets."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SECRET.sub(r'\1...', each)
                if isinstance(each, str) and '"pid"' in each else each
                for each in record.args)
        return True


def is_closing(server: Any, eio_sid: str) -> bool:
    """Whether a connection is closing or gone."""
    sock = server.eio.sockets.get(eio_sid)
    return sock is None or sock.closing or sock.closed


def drop(server: Any, eio_sid: str) -> None:
    """End a connection that does not answer any more, with all its clients.
    Their disconnect handlers run."""
    closing.close(server, eio_sid, server.reason.TRANSPORT_CLOSE, abort=True)


def lose(server: Any, eio_sid: str, namespace: str) -> None:
    """Unregister a client whose connection ended while it connected, since
    python-socketio does not."""
    server._handle_disconnect(eio_sid, namespace,
                              server.reason.TRANSPORT_CLOSE)


# -- the session that Flask-SocketIO manages ------------------------------

def flask_session(environ: Dict[str, Any]) -> Optional[str]:
    """Flask-SocketIO's session of a connection, serialised as Flask does it
    for its cookie.

    :return: ``None``: the connection has none.
    :raises TypeError: it cannot be serialised.
    """
    session = environ.get(FLASK_SESSION)
    if session is None:
        return None
    from flask.json.tag import TaggedJSONSerializer
    try:
        text: str = TaggedJSONSerializer().dumps(dict(session))
    except (ValueError, RecursionError) as exc:
        raise TypeError('it holds itself, or is nested too deeply') from exc
    return text


def restore_flask_session(environ: Dict[str, Any], text: str) -> None:
    """Give a connection the Flask session that was saved for another one.

    :param text: as :func:`flask_session` returned it.
    :raises ValueError: it is not valid.
    """
    module = sys.modules.get('flask_socketio')
    if module is None or FLASK_SESSION in environ:
        # Another namespace of this connection was first.
        return
    from flask.json.tag import TaggedJSONSerializer
    try:
        session = TaggedJSONSerializer().loads(text)
    except _MALFORMED as exc:
        raise ValueError('it is none that Flask has written') from exc
    if not isinstance(session, dict):
        raise ValueError('a session of Flask is not a mapping')
    environ[FLASK_SESSION] = module._ManagedSession(session)
