"""Hooks on python-socketio's server: the only module that touches its private
names.

:func:`guard` sets those that every server gets, :func:`install` those that
recovery needs besides. They are set on the server object, never on its class.
They call what was there before, so others' hooks (the admin UI's, see
``instrument()``) and ours do not disturb each other. Read from python-socketio
5.12 and 5.18, and python-engineio 4.11 and 4.15.
"""
import logging
import re
import sys
from collections import deque
from importlib.metadata import version
from typing import Any, Deque, Dict, Optional, Protocol, Tuple

from socketio import packet

from .receipts import when_read
from .registry import AlreadyGone, ending

#: What the server must have for recovery.
NEEDED = ('_handle_connect', '_handle_disconnect', '_send_packet',
          '_trigger_event', 'save_session')

#: And its Engine.IO server, where clients' connections are.
NEEDED_OF_ENGINE = ('sockets', 'generate_id', 'get_session', 'reason',
                    'logger')

#: What Flask-SocketIO keeps in the environ of a connection.
FLASK_SESSION = 'saved_session'

#: What its serialiser raises, besides ValueError, of what it has not
#: written itself (Flask 3.1): each tag takes for granted what is behind it.
_MALFORMED = (TypeError, AttributeError, LookupError, ArithmeticError,
              StopIteration, RecursionError)

#: Under which name a connection has the namespaces of refusals that its
#: client has not read.
UNREAD = '_redis_streams_unread'

#: How many of these a client may have that connects to one more namespace. A
#: browser has no more than a few; whatever sends one CONNECT after the other
#: and reads nothing is cut off.
MAX_UNREAD = 100

#: Where a client's secret stands in a packet, as JSON has it.
_SECRET = re.compile(r'("pid"\s*:\s*")(?:[^"\\]|\\.)*')


class Visits(Protocol):
    """Who is told what happens."""

    def begin(self, eio_sid: str, namespace: str, data: Any) -> Any:
        """A client wants to connect. What is returned has ``auth``, which is
        what the application shall see."""

    def finish(self, visit: Any, done: bool) -> None:
        """The connect handler has run, and the client has its reply.

        :param done: whether nothing was raised.
        """

    def reply(self, eio_sid: str, namespace: str) -> Optional[str]:
        """A client is about to get its reply. What it is to have before
        that is sent now.

        :return: the name of its session, if it shall have one.
        """

    def is_turned_away(self, eio_sid: str, namespace: str) -> bool:
        """Whether a client that is about to get its reply, or be told that it
        cannot connect, is to be told nothing, so that it tries again: the
        JavaScript client, once it was refused, does not (socket.io-client
        4.8)."""

    def wait_behind(self, eio_sid: str, namespace: str,
                    pkt: Any) -> bool:
        """A client's event was handled, and is about to be acknowledged.

        :return: whether the packet is sent later: what the handler has
                 emitted comes first.
        """

    def check_data(self, sid: str, namespace: str, data: Any) -> None:
        """An application wants to keep something for a client."""

    def saved(self, sid: str, namespace: str, data: Any) -> None:
        """What an application keeps for a client has changed."""

    def handled(self, sid: str, namespace: str) -> None:
        """A handler has run, for an event of a client."""


def check(server: Any) -> None:
    """Make sure that the server is one that we know.

    :raises RuntimeError: it names what is missing.
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
    """Keep a client and its server of one mind on whether it is connected.

    *A second CONNECT* for a namespace, while the first is being handled or
    after it has succeeded, ends the whole connection, without a word; the
    client then comes back by itself. So does a DISCONNECT while a CONNECT is
    being handled. That is what Node.js does (``ondecoded()`` in
    ``dist/client.js`` of the npm package ``socket.io`` 4.8). The JavaScript
    client sends a second CONNECT if it is told to disconnect and to connect
    again before it has the reply, for it sends no DISCONNECT then. It takes
    the first reply as its own. If it was refused after that, as
    python-socketio does, it would say that it is connected, and no longer
    receive anything.

    *A connection that ends while the connect handler runs*, or a handler that
    fails: python-socketio (5.17 and later) does not look at that client
    again. It is unregistered when the handler is done.

    *A client is disconnected once*, see
    :mod:`redis_streams_adapter.clients.registry`.
    """
    handle_connect = server._handle_connect
    handle_disconnect = server._handle_disconnect
    disconnect = server.disconnect
    send_packet = server._send_packet
    #: The CONNECTs that are being handled, by connection and namespace, each
    #: with a mark of the task that handles it, which alone takes it out.
    #: Putting in is one atomic step, so there is no lock. If an exception
    #: strikes before the mark is out, that connection cannot connect to that
    #: namespace: the next attempt ends it.
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
                _see_off(server, *key)
        except AlreadyGone:
            # Refused, with always_connect.
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
    """A client is about to be told that it is refused, or disconnected.

    The PING comes before that: a CONNECT that the client sends when it has
    read the refusal comes after the answer, however quick its application
    is."""
    sock = server.eio.sockets.get(eio_sid)
    if sock is None:
        return
    # Put in by any task, and taken out by the one that receives: both are
    # atomic.
    unread: Deque[str] = vars(sock).setdefault(UNREAD, deque())
    unread.append(namespace)
    when_read(server, eio_sid, unread.popleft)


def _was_not_read(server: Any, eio_sid: str, namespace: str) -> bool:
    """Whether a client does not know yet that it was refused, or
    disconnected; or has not read so much that it does not seem to care."""
    unread = getattr(server.eio.sockets.get(eio_sid), UNREAD, ())
    return len(unread) >= MAX_UNREAD or namespace in unread


def _end_invalid(server: Any, eio_sid: str, namespace: str) -> None:
    server.logger.info(
        'closing connection %s: a CONNECT or DISCONNECT for %s that its '
        'state does not allow', eio_sid, namespace)
    drop(server, eio_sid)


def _see_off(server: Any, eio_sid: str, namespace: str) -> None:
    """A CONNECT was handled: unregister a client that python-socketio would
    keep for ever."""
    manager = server.manager
    sid = manager.sid_from_eio_sid(eio_sid, namespace)
    if sid is None:
        return
    # Since python-socketio 5.17.
    is_pre_connected = getattr(manager, 'is_pre_connected', None)
    if is_pre_connected is not None and is_pre_connected(sid, namespace):
        # Its handler has failed: it has no reply.
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
                and visits.wait_behind(eio_sid, pkt.namespace or '/', pkt):
            return
        send_packet(eio_sid, pkt)

    def _trigger_event(event: str, namespace: str, *args: Any) -> Any:
        try:
            return trigger_event(event, namespace, *args)
        except Exception:
            if event != 'disconnect':
                raise
            # python-socketio would never unregister the client, nor the
            # others on its connection: who returns waits for that.
            server.logger.exception('the disconnect handler of %s failed',
                                    args[0])
            return None
        finally:
            # Flask-SocketIO's session is changed in place.
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
    # The outermost: an attempt that is not valid is none of a visit.
    guard(server)
    logger = server.eio.logger
    if not any(isinstance(each, NoSecrets) for each in logger.filters):
        logger.addFilter(NoSecrets())


class NoSecrets(logging.Filter):
    """Keeps the names of sessions out of Engine.IO's log, which shows each
    packet."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SECRET.sub(r'\1...', each)
                if isinstance(each, str) and '"pid"' in each else each
                for each in record.args)
        return True


def is_closing(server: Any, eio_sid: str) -> bool:
    """Whether a connection is ending, or gone."""
    sock = server.eio.sockets.get(eio_sid)
    return sock is None or sock.closing or sock.closed


def drop(server: Any, eio_sid: str) -> None:
    """End a connection whose other end is gone, with all its clients. Runs
    their disconnect handlers."""
    sock = server.eio.sockets.get(eio_sid)
    if sock is not None:
        # Not disconnect(), which waits until all was sent.
        sock.close(wait=False, abort=True,
                   reason=server.reason.TRANSPORT_CLOSE)


def lose(server: Any, eio_sid: str, namespace: str) -> None:
    """A client was lost while it connected, which nobody noticed."""
    server._handle_disconnect(eio_sid, namespace,
                              server.reason.TRANSPORT_CLOSE)


# -- the session that Flask-SocketIO manages ------------------------------

def flask_session(environ: Dict[str, Any]) -> Optional[str]:
    """What Flask-SocketIO keeps for a connection, as Flask serialises what
    stands in its cookie: ``None`` where there is nothing.

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
    """Give a connection what was kept for another one.

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
