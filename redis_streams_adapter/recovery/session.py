"""Connection state recovery without any I/O: what a returning client shows,
and its session. What it missed is in
:mod:`redis_streams_adapter.recovery.replay`.

*A session* is what another node needs to take a client over. In Redis it has
the form that Node.js writes (``SessionToPersist`` of the npm package
``socket.io-adapter`` 2.5, ``dist/in-memory-adapter.d.ts``; key and encoding in
``@socket.io/redis-streams-adapter``, ``persistSession`` in
``dist/adapter.js``): base64 of msgpack ``{sid, pid, rooms, data}``. Only this
package has the following keys; Node.js ignores them:

=========  ================================================================
``nsp``    the namespace; a session does not leave it
``claim``  a random name: each node that takes the client over gives a new
           one. A node that holds an older one has lost the session
``upto``   a position in the stream: everything up to it was handed to the
           client
``sent``   the last offset that was handed to the client before that;
           missing: none was
``obeyed`` a position in the stream: ``rooms`` holds the effects of the
           commands up to it
``own``    the id of the node's writer, and a number: ``rooms`` also holds the
           effects of its commands up to that number, which it carries out
           before they are in the stream
``since``  the position at which the client first connected; nothing before it
           was meant for the client
``gap``    an offset, or nothing, and a position in the stream: everything up
           to that position had been handed to the client when it got the next
           offset, much later than this one
``ahead``  the offset that the client showed (empty: none) when it was sent
           packets ahead of its reply; missing once it has read the reply
``final``  ``True`` with ``ahead``: its connection has ended, so it will not
           read the reply
``flask``  the session that Flask-SocketIO manages
``app``    the application of the node that wrote it, see
           :mod:`redis_streams_adapter.protocol.application`; a session does
           not leave it
=========  ================================================================

*A client goes on* after the offset that it shows: the last one that it has
received. If that is the offset in ``sent``, the client has received everything
up to ``upto``, which may be much later. So a client that gets one event a day
does not need a day of history. If that one event was handed to a connection
that was half open, the client shows the offset in ``gap``.
"""
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ..protocol.application import Application, KEY
from ..protocol.content_parts import MAX_NAME
from ..errors import DecodeError
from ..protocol.messages import is_room, Room
from ..protocol.position import Position
from ..protocol.values import load_base64

UNKNOWN_SESSION = 'unknown-session'
OFFSET_NOT_FOUND = 'offset-not-found'
INVALID_OFFSET = 'invalid-offset'
TOO_MANY_MISSED = 'too-many-missed'
REDIS_UNAVAILABLE = 'redis-unavailable'
REJECTED = 'rejected'

#: Why a client was not recovered.
REASONS = (UNKNOWN_SESSION, OFFSET_NOT_FOUND, INVALID_OFFSET,
           TOO_MANY_MISSED, REDIS_UNAVAILABLE, REJECTED)

#: Among the flags of a DISCONNECT_SOCKETS: the ``claim`` that is superseded.
#: Node.js does not know this flag, and drops the socket in any case.
SUPERSEDES = 'supersedes'


class Outcome(NamedTuple):
    """Whether a client was recovered when it connected.

    :param recovered: whether its state is restored.
    :param reason: why not, one of :data:`REASONS`; ``None`` if it is, or if
                   the client did not ask for it.
    """

    recovered: bool
    reason: Optional[str] = None


class Refusal(Exception):
    """A client is not recovered.

    :param reason: one of :data:`REASONS`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TurnedAway(Exception):
    """The connection of a returning client is dropped, so that the client
    tries again if it is still there: its connection has ended, another one
    has claimed the session since, or this node shuts down. As a new client it
    would lose everything."""


# -- what a client says ---------------------------------------------------

class Return(NamedTuple):
    """What a returning client shows, unchecked.

    :param pid: the name of its session, which is a secret.
    :param offset: the last offset that it has received, if any.
    """

    pid: Any
    offset: Any


def split_auth(data: Any) -> Tuple[Optional[Return], Any]:
    """Take apart what a client sends when it connects (``onopen()`` in
    ``build/esm/socket.js`` of socket.io-client 4.8).

    :return: what it shows, if it asks to be recovered, and the rest, which
             the application gets.
    """
    if not isinstance(data, dict) or 'pid' not in data:
        return None, data
    rest = {key: value for key, value in data.items()
            if key not in ('pid', 'offset')}
    return Return(data['pid'], data.get('offset')), rest or None


def check_pid(pid: Any) -> str:
    """The name of a session, which becomes part of a key.

    :raises Refusal: it cannot be part of one.
    """
    if isinstance(pid, str) and 0 < len(pid) <= MAX_NAME:
        try:
            pid.encode()
        except UnicodeEncodeError as exc:
            raise Refusal(UNKNOWN_SESSION) from exc
        return pid
    raise Refusal(UNKNOWN_SESSION)


def check_offset(offset: Any) -> Optional[Position]:
    """An offset as a position in the stream.

    :raises Refusal: it is not a position.
    """
    if offset is None:
        return None
    if not isinstance(offset, str):
        raise Refusal(INVALID_OFFSET)
    try:
        return Position.parse(offset.encode())
    except (DecodeError, UnicodeEncodeError) as exc:
        raise Refusal(INVALID_OFFSET) from exc


# -- sessions -------------------------------------------------------------

class Gap(NamedTuple):
    """A long time in which a client was handed nothing.

    :param offset: the last offset before it; ``None``: there was none.
    :param position: how far the client had come at the end of it.
    """

    offset: Optional[Position]
    position: Position


class Origin(NamedTuple):
    """The origin of a command.

    :param writer: the id of its writer.
    :param sequence: the writer's number for it.
    """

    writer: bytes
    sequence: int


class Session(NamedTuple):
    """What is kept of a client; see the module's docstring."""

    sid: str
    pid: str
    rooms: Tuple[Room, ...]
    data: Any
    namespace: Optional[str] = None
    claim: str = ''
    upto: Optional[Position] = None
    sent: Optional[Position] = None
    flask: Optional[str] = None
    gap: Optional[Gap] = None
    since: Optional[Position] = None
    obeyed: Optional[Position] = None
    own: Optional[Origin] = None
    ahead: Optional[str] = None
    final: bool = False
    #: It does not say which application it belongs to: a server in Node.js
    #: wrote it, or an older version of this package.
    anonymous: bool = False


def to_fields(session: Session, application: Application) -> Dict[str, Any]:
    """A session as it is serialised.

    :param application: this node's, and so the session's from now on.
    """
    fields: Dict[str, Any] = {
        'sid': session.sid, 'pid': session.pid,
        'rooms': list(session.rooms), 'data': session.data,
        'nsp': session.namespace, 'claim': session.claim,
        KEY: application.name}
    for name in ('upto', 'sent', 'since', 'obeyed'):
        position = getattr(session, name)
        if position is not None:
            fields[name] = str(position)
    if session.gap is not None:
        fields['gap'] = [each and str(each) for each in session.gap]
    if session.own is not None:
        fields['own'] = [session.own.writer.decode(), session.own.sequence]
    for name in ('flask', 'ahead'):
        text = getattr(session, name)
        if text is not None:
            fields[name] = text
    if session.final:
        fields['final'] = True
    return fields


def load_session(raw: bytes, pid: str, namespace: str,
                 application: Application) -> Session:
    """Decode a session from Redis, to which others may have written, too.

    :param pid: the name that it must have.
    :param namespace: the namespace that it must have; Node.js writes none.
    :param application: the application that it must belong to; Node.js writes
                        none.
    :raises DecodeError: it is not valid, or not that session.
    """
    fields = load_base64(raw)
    if not isinstance(fields, dict):
        raise DecodeError('a session is not a mapping')
    if application.is_foreign(fields.get(KEY)):
        raise DecodeError('a session is of another application')
    sid, rooms = fields.get('sid'), fields.get('rooms')
    if not isinstance(sid, str) or not 0 < len(sid) <= MAX_NAME \
            or fields.get('pid') != pid:
        raise DecodeError('sid or pid of a session is wrong')
    if not isinstance(rooms, list) \
            or not all(map(is_room, rooms)):
        raise DecodeError('rooms of a session are wrong')
    if fields.get('nsp', namespace) != namespace:
        raise DecodeError('a session is of another namespace')
    claim, flask = fields.get('claim', ''), fields.get('flask')
    ahead = fields.get('ahead')
    if not isinstance(claim, str) or not all(
            isinstance(each, (str, type(None))) for each in (flask, ahead)):
        raise DecodeError('claim, flask or ahead of a session is wrong')
    return Session(
        sid, pid, tuple(rooms), fields.get('data'), namespace, claim,
        _position(fields.get('upto')), _position(fields.get('sent')), flask,
        _gap(fields.get('gap')), _position(fields.get('since')),
        _position(fields.get('obeyed')), _origin(fields.get('own')), ahead,
        fields.get('final') is True, fields.get(KEY) is None)


def _origin(value: Any) -> Optional[Origin]:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 \
            and isinstance(value[0], str) and value[0].isascii() \
            and type(value[1]) is int:
        return Origin(value[0].encode(), value[1])
    raise DecodeError('own of a session is wrong')


def _gap(value: Any) -> Optional[Gap]:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        position = _position(value[1])
        if position is not None:
            return Gap(_position(value[0]), position)
    raise DecodeError('gap of a session is wrong')


def _position(value: Any) -> Optional[Position]:
    try:
        return check_offset(value)
    except Refusal as exc:
        raise DecodeError('a position in a session is wrong') from exc


def start_of(session: Session, offset: Optional[Position]) -> Tuple[Position,
                                                                    bool]:
    """The position after which to go on.

    :param offset: the offset that the client shows.
    :return: the position, and whether the stream must have an entry there.
    :raises Refusal: no node can know it.
    """
    if session.upto is not None and offset == session.sent:
        return session.upto, False
    if session.gap is not None and offset == session.gap.offset:
        return session.gap.position, False
    if offset is None:
        if session.since is None:
            raise Refusal(OFFSET_NOT_FOUND)
        return session.since, False
    if session.since is not None \
            and offset < session.since:
        # It belonged to another client.
        raise Refusal(OFFSET_NOT_FOUND)
    return offset, True
