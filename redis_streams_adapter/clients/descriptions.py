"""How other servers see the local clients: FETCH_SOCKETS_RESPONSE.

The keys are those of ``Handshake`` in the npm package ``socket.io`` 4.8
(``dist/socket-types.d.ts`` and ``buildHandshake()`` in ``dist/socket.js``),
so that an application in Node.js finds the same as for clients of Node.js.
"""
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, \
    Sequence, Tuple
from urllib.parse import parse_qsl

from ..runtime.delivery import Client
from ..protocol.messages import is_room, Room

#: The key of the time of connecting, in milliseconds since 1970, in the
#: environ of the connection; python-socketio drops both together.
ISSUED = 'redis_streams_adapter.issued'

#: How many seconds of work to do before other tasks may run. With one client
#: more, and with what the caller does, it stays below 20 ms.
STEP = 0.005


def note_arrival(server: Any, eio_sid: str) -> None:
    """Note when a client connects, for each connection once."""
    environ = server.environ.get(eio_sid)
    if environ is not None:
        environ.setdefault(ISSUED, int(time.time() * 1000))


def describe(server: Any, namespace: str, clients: Sequence[Client],
             is_sendable: Callable[[Any], bool]
             ) -> Iterator[Optional[Dict[str, Any]]]:
    """Describe local clients, as Node.js does.

    :param is_sendable: whether a value can be serialised, next to any other
                        values. Those that cannot are left out of ``data``
                        and ``rooms``: python-socketio allows any value in
                        both.
    :return: yields the descriptions, and ``None`` whenever it has taken
             :data:`STEP`: the caller may then let other tasks run. A room
             change meanwhile may show or not.
    """
    rooms: Dict[str, Tuple[Room, ...]] = {sid: () for sid, _ in clients}
    for _ in _find_rooms(server.manager, namespace, rooms, is_sendable):
        yield None
    clock = _Clock()
    for sid, eio_sid in clients:
        environ = server.environ.get(eio_sid)
        if environ is None:
            # It has just disconnected.
            continue
        yield {
            'id': sid,
            'handshake': _handshake(environ),
            'rooms': list(rooms[sid]),
            'data': _data(server, eio_sid, namespace, is_sendable),
        }
        if clock.is_due():
            yield None


def count_rooms(manager: Any, namespace: str,
                is_sendable: Callable[[Any], bool],
                counts: Dict[Room, int]) -> Iterator[None]:
    """Count the local clients in each room, without the rooms that are named
    like local clients.

    :param counts: where to put the numbers, by room.
    :return: yields as :func:`describe`.
    """
    clock = _Clock()
    members = manager.rooms.get(namespace, {})
    clients = members.get(None, {})
    for room, inside in list(members.items()):
        if room not in clients and inside \
                and _is_sendable_room(room, is_sendable):
            counts[room] = len(inside)
        if clock.is_due():
            yield


def count_all(manager: Any, counts: Dict[str, int]) -> Iterator[None]:
    """Count the local clients, and the rooms that they are in, in all
    namespaces.

    :param counts: where to put ``clients`` and ``rooms``.
    :return: yields as :func:`describe`.
    """
    clock = _Clock()
    counts.update(clients=0, rooms=0)
    for members in list(manager.rooms.values()):
        clients = members.get(None, {})
        counts['clients'] += len(clients)
        for number, room in enumerate(list(members)):
            counts['rooms'] += room is not None and room not in clients
            if number % 1000 == 999 and clock.is_due():
                yield


class _Clock:
    """When to let other tasks run. Used by one task."""

    def __init__(self) -> None:
        self._next = time.perf_counter() + STEP

    def is_due(self) -> bool:
        """Whether it is time, the next time :data:`STEP` from now."""
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + STEP
        return True


def _find_rooms(manager: Any, namespace: str,
                found: Dict[str, Tuple[Room, ...]],
                is_sendable: Callable[[Any], bool]) -> Iterator[None]:
    """Find the rooms of clients, in one pass.

    ``get_rooms`` of python-socketio (5.18) would look at all rooms for each
    client, and each client has a room of its own. It also fails if another
    thread makes a room meanwhile.

    Tuples of strings cost CPython's garbage collector nothing, lists do: with
    many clients it would stop all tasks for a tenth of a second.

    :param found: where to put the rooms, by the sids of the clients.
    :return: yields as :func:`describe`.
    """
    clock = _Clock()
    rooms = manager.rooms.get(namespace, {})
    for room in list(rooms):
        members = rooms.get(room)
        if members is None or not _is_sendable_room(room, is_sendable):
            continue
        if len(members) > len(found):
            inside = [sid for sid in found if sid in members]
        else:
            # A copy, in one step.
            inside = [sid for sid in list(members) if sid in found]
        for sid in inside:
            found[sid] += (room,)
        if clock.is_due():
            yield


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
