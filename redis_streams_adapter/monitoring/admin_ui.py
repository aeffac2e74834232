"""Socket.IO's admin UI for a whole cluster.

``sio.instrument(mode='production')`` of python-socketio reports the servers to
the admin UI: one event of each server every two seconds. It shows no clients,
and its buttons do nothing in this mode. :func:`instrument` adds both, for the
clients of all servers: what the UI asks for is carried out by the server that
has the client.

While an administrator watches, the clients are fetched every few seconds, and
handed to the administrator alone, past the stream. See ``docs/admin-ui.rst``.
"""
import logging
from typing import Any, Callable, Dict, List, Mapping, Optional

from ..cluster.remote_socket import RemoteSocket
from ..errors import ClusterTimeoutError, ConfigurationError, \
    RedisStreamsError
from ..log_events import ADMIN_UI_CURRENT, ADMIN_UI_OUTDATED
from ..manager import RedisStreamsManager
from .source import find_manager

#: Seconds between two looks at the clients.
REFRESH = 5.0

#: In a cluster with more clients, none are shown: a browser cannot show them,
#: and all servers would describe theirs.
MAX_CLIENTS = 2_000

#: Seconds until the first look: after python-socketio has sent its own list of
#: features, which it does 0.1 seconds after the administrator has connected.
FIRST = 0.5

#: What the UI can do, as it calls it. ``ALL_EVENTS`` makes it show clients and
#: rooms.
SHOWING = ['AGGREGATED_EVENTS', 'ALL_EVENTS']
ACTING = ['EMIT', 'JOIN', 'LEAVE', 'DISCONNECT', 'MJOIN', 'MLEAVE',
          'MDISCONNECT']

#: The headers and the parts of the query that are shown. Others may let those
#: who see them be who the client is.
HEADERS = frozenset((
    'accept', 'accept-encoding', 'accept-language', 'connection', 'host',
    'origin', 'upgrade', 'user-agent', 'x-forwarded-for',
    'x-forwarded-proto'))
QUERY = ('EIO', 'transport')

HIDDEN = '(hidden)'

logger = logging.getLogger(__name__)


def instrument(server: Any, auth: Any, *, read_only: bool = False,
               server_id: Optional[str] = None, namespace: str = '/admin',
               server_stats_interval: float = 2.0, refresh: float = REFRESH,
               max_clients: int = MAX_CLIENTS) -> Any:
    """Serve the admin UI. To be called once, before the server serves.

    :param server: a ``socketio.Server`` with a ``RedisStreamsManager``, or
                   the ``SocketIO`` of Flask-SocketIO.
    :param auth: who may watch, and the next four parameters: as for
                 ``sio.instrument``. With ``read_only`` there are no buttons.
    :param refresh: how many seconds lie between two looks at the clients.
    :param max_clients: if the cluster has more, they are not shown.
    :return: what ``sio.instrument`` returns. Its ``shutdown()`` ends its
             task.
    :raises ConfigurationError: the server has another manager, or ``refresh``
                                or ``max_clients`` is not above 0.
    """
    for name, value in ('refresh', refresh), ('max_clients', max_clients):
        if isinstance(value, bool) or not isinstance(value, (int, float)) \
                or not value > 0:
            raise ConfigurationError(
                f'{name} must be a number above 0, not {value!r}')
    manager = find_manager(server)()
    if manager is None:
        raise ConfigurationError('the server is not there yet: call this '
                                 'after init_app()')
    server = manager.server
    instrumented = server.instrument(
        auth=auth, mode='production', read_only=read_only,
        server_id=server_id, namespace=namespace,
        server_stats_interval=server_stats_interval)
    AdminUI(server, manager, namespace, read_only, refresh,
            max_clients, instrumented.admin_connect)
    return instrumented


class AdminUI:
    """Answers the administrators of one server.

    :param admit: python-socketio's connect handler.
    """

    def __init__(self, server: Any, manager: RedisStreamsManager,
                 namespace: str, read_only: bool, refresh: float,
                 max_clients: int, admit: Any) -> None:
        self._server = server
        # python-socketio's part of it has no types.
        self._manager: Any = manager
        self._namespace = namespace
        self._features = SHOWING if read_only else [*SHOWING, *ACTING]
        self._refresh = refresh
        self._max_clients = max_clients
        self._admit = admit
        handlers: Dict[str, Callable[..., None]] = {'connect': self._connect}
        if not read_only:
            handlers.update({
                'emit': self._emit, 'join': self._join, 'leave': self._leave,
                '_disconnect': self._disconnect})
        for name, handler in handlers.items():
            server.on(name, handler, namespace=namespace)

    # -- what an administrator sees ---------------------------------------

    def _connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        self._admit(sid, environ, auth)
        self._server.start_background_task(self._show, sid)

    def _show(self, sid: str) -> None:
        """Show the clients, until the administrator is gone."""
        # Nothing sets it: it lets other tasks run.
        event, pause = self._server.eio.create_event(), FIRST
        is_outdated = False
        while True:
            event.wait(pause)
            pause = self._refresh
            if not self._manager.is_connected(sid, self._namespace):
                return
            try:
                sockets = self._sockets()
            except RedisStreamsError as exc:
                # Redis is away, say. What was shown stays.
                if not is_outdated:
                    is_outdated = True
                    logger.info(
                        'the admin UI is not up to date: %s', exc,
                        extra=ADMIN_UI_OUTDATED(
                            namespace=self._namespace, reason=str(exc)))
                continue
            if is_outdated:
                is_outdated = False
                logger.info('the admin UI is up to date again',
                            extra=ADMIN_UI_CURRENT(namespace=self._namespace))
            if sockets is not None:
                self._tell(sid, 'config', {'supportedFeatures':
                                           self._features})
                self._tell(sid, 'all_sockets', sockets)

    def _tell(self, sid: str, event: str, data: Any) -> None:
        # The administrator is here: no other server needs to know.
        self._manager.emit(event, data, namespace=self._namespace, room=sid,
                           ignore_queue=True)

    def _sockets(self) -> Optional[List[Dict[str, Any]]]:
        """All clients; ``None``: there are too many.

        :raises ClusterTimeoutError: not even one server has answered.
        """
        nodes = self._ask(self._manager.cluster_stats)
        if sum(each.clients or 0 for each in nodes) > self._max_clients:
            return None
        namespaces = {name for each in nodes
                      for name in each.namespaces or ()}
        return [described(each) for namespace in sorted(namespaces)
                for each in self._ask(
                    self._manager.fetch_sockets, namespace)]

    @staticmethod
    def _ask(ask: Callable[..., List[Any]], *args: Any) -> List[Any]:
        try:
            return ask(*args)
        except ClusterTimeoutError as exc:
            if not exc.responses:
                raise
            # Better than nothing; the next look may find the others.
            return list(exc.responses)

    # -- what an administrator does ---------------------------------------

    def _emit(self, _: str, namespace: str, to: Any, event: str,
              *data: Any) -> None:
        self._manager.emit(event, data, namespace=namespace, room=to or None)

    def _join(self, _: str, namespace: str, room: str,
              to: Any = None) -> None:
        self._manager.sockets_join(room, to or None, namespace=namespace)

    def _leave(self, _: str, namespace: str, room: str,
               to: Any = None) -> None:
        self._manager.sockets_leave(room, to or None, namespace=namespace)

    def _disconnect(self, _: str, namespace: str, close: bool = False,
                    to: Any = None) -> None:
        self._manager.disconnect_sockets(to or None, namespace=namespace,
                                         close=bool(close))


def described(socket: RemoteSocket) -> Dict[str, Any]:
    """A client as the UI knows it, without its session, without what it has
    said when it connected (``auth``, most of the query), and without headers
    that others must not know."""
    handshake = _mapping(socket.handshake)
    headers = _mapping(handshake.get('headers'))
    query = _mapping(handshake.get('query'))
    return {
        'id': socket.sid, 'nsp': socket.namespace, 'data': {},
        # The id of the connection is only known on its server.
        'clientId': socket.sid,
        'transport': query.get('transport', 'polling'),
        'rooms': [str(each) for each in socket.rooms],
        'handshake': {
            **{name: handshake.get(name) for name in (
                'address', 'issued', 'secure', 'time', 'xdomain')},
            'url': str(handshake.get('url', '')).partition('?')[0],
            'query': {name: query[name] for name in QUERY if name in query},
            'headers': {name: value if str(name).lower() in HEADERS
                        else HIDDEN for name, value in headers.items()}}}


def _mapping(value: Any) -> Mapping[str, Any]:
    """Another server may send anything."""
    return value if isinstance(value, Mapping) else {}
