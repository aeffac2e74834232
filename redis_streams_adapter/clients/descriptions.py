"""How other servers see the local clients: FETCH_SOCKETS_RESPONSE.

The keys are those of ``Handshake`` in the npm package ``socket.io`` 4.8
(``dist/socket-types.d.ts`` and ``buildHandshake()`` in ``dist/socket.js``),
so that an application in Node.js finds the same as for clients of Node.js.
"""
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence
from urllib.parse import parse_qsl

from ..runtime.delivery import Client
from ..protocol.messages import is_room, Room

#: The key of the time of connecting, in milliseconds since 1970, in the
#: environ of the connection; python-socketio drops both together.
ISSUED = 'redis_streams_adapter.issued'


def note_arrival(server: Any, eio_sid: str) -> None:
    """Note when a client connects, for each connection once."""
    environ = server.environ.get(eio_sid)
    if environ is not None:
        environ.setdefault(ISSUED, int(time.time() * 1000))


def describe(server: Any, namespace: str, clients: Sequence[Client],
             is_sendable: Callable[[Any], bool]) -> List[Dict[str, Any]]:
    """Describe local clients, as Node.js does.

    :param is_sendable: whether a value can be serialised, next to any other
                        values. Those that cannot are left out of ``data``
                        and ``rooms``: python-socketio allows any value in
                        both.
    """
    rooms = _rooms(server.manager, namespace,
                   [sid for sid, _ in clients], is_sendable)
    described = []
    for sid, eio_sid in clients:
        environ = server.environ.get(eio_sid)
        if environ is None:
            # It has just disconnected.
            continue
        described.append({
            'id': sid,
            'handshake': _handshake(environ),
            'rooms': rooms[sid],
            'data': _data(server, eio_sid, namespace, is_sendable),
        })
    return described


def _rooms(manager: Any, namespace: str, sids: Iterable[str],
           is_sendable: Callable[[Any], bool]) -> Dict[str, List[Room]]:
    """The rooms of each of these clients, in one pass.

    ``get_rooms`` of python-socketio (5.18) would look at all rooms for each
    client, and each client has a room of its own. It also fails if another
    thread makes a room meanwhile.
    """
    found: Dict[str, List[Room]] = {sid: [] for sid in sids}
    for room, members in list(manager.rooms.get(namespace, {}).items()):
        if not _is_sendable_room(room, is_sendable):
            continue
        if len(members) > len(found):
            inside = [sid for sid in found if sid in members]
        else:
            inside = [sid for sid, _
                      in manager.get_participants(namespace, room)
                      if sid in found]
        for sid in inside:
            found[sid].append(room)
    return found


def _is_sendable_room(room: Any, is_sendable: Callable[[Any], bool]) -> bool:
    """Whether a message to other servers can name this room."""
    return is_room(room) and (
        isinstance(room, str) and room.isascii() or is_sendable(room))


def _data(server: Any, eio_sid: str, namespace: str,
          is_sendable: Callable[[Any], bool]) -> Any:
    """The client's session, see ``save_session`` of python-socketio.

    If it cannot be sent: those items of a mapping that can, else an empty
    mapping.
    """
    try:
        session = server.eio.get_session(eio_sid).get(namespace)
    except KeyError:
        # It has just disconnected.
        return {}
    if session is None:
        # Nothing was saved.
        return {}
    if not isinstance(session, Mapping):
        if not is_sendable(session):
            return {}
        return list(session) if isinstance(session, list) else session
    data = dict(session)
    if not data or is_sendable(data):
        return data
    return {key: value for key, value in data.items()
            if is_sendable({key: value})}


def _handshake(environ: Mapping[str, Any]) -> Dict[str, Any]:
    headers = {
        name[5:].replace('_', '-').lower(): value
        for name, value in environ.items()
        if name.startswith('HTTP_') and isinstance(value, str)}
    query = environ.get('QUERY_STRING', '')
    path = environ.get('PATH_INFO', '')
    issued = environ.get(ISSUED, 0)
    return {
        'headers': headers,
        # As `new Date() + ''` writes it, in UTC.
        'time': time.strftime(
            '%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)',
            time.gmtime(issued / 1000)),
        'address': environ.get('REMOTE_ADDR', ''),
        'xdomain': 'origin' in headers,
        'secure': environ.get('wsgi.url_scheme') == 'https',
        'issued': issued,
        'url': f'{path}?{query}' if query else path,
        'query': dict(parse_qsl(query, keep_blank_values=True)),
        # What a client sent to its connect handler, mostly a token, is only
        # for that handler.
        'auth': {},
    }
