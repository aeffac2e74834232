"""A server process with handlers of every style.

:class:`StyledProcess` starts it, and has the parameters and the methods of
:class:`.node_process.NodeProcess`. The option ``style`` selects the handlers:

``'apart'``
    namespaces with functions, with classes, with a handler for all events,
    without connect handlers; see :data:`APART`
``'functions 2'``, ``'functions 3'``, ``'class 2'``, ``'class 3'``
    handlers for all namespaces, whose connect handler has two or three
    arguments besides the namespace

The option ``instrument`` is the mode of the admin UI, if any.

Every client can send ``remember``. The handler stores a value in the client's
session, makes the client enter a room, and emits ``remembered`` to it.
"""
import json
from typing import Any, Callable, Dict, List, Tuple

import socketio

from tests.support import modes, node_app
from tests.support.node_process import NodeProcess

#: The namespaces with handlers, and the number of arguments of their connect
#: handlers; ``None`` without a connect handler.
APART = {'/functions-2': 2, '/functions-3': 3, '/functions-default': 3,
         '/class-2': 2, '/class-3': 3, '/all-events': 3, '/mute': None}

#: The styles of handlers for all namespaces.
TOGETHER = {'functions 2': 2, 'functions 3': 3, 'class 2': 2, 'class 3': 3}

#: Replaces an argument that a handler does not have.
ABSENT = 'absent'


class StyledProcess(NodeProcess):
    """A process that runs this module.

    The options are those of :func:`.node_app.make_plain`, ``style`` and
    ``instrument``.
    """

    module = __name__

    def arrivals(self, sid: str) -> List[Dict[str, Any]]:
        """The arguments and records of each connect handler's call."""
        return [each for each in self.recorded('arrivals')
                if each['sid'] == sid]

    def departures(self, sid: str) -> List[Tuple[str, str]]:
        """The calls of the disconnect handlers: namespace and reason, or
        :data:`ABSENT`."""
        return [(namespace, reason) for namespace, client, reason
                in self.recorded('departures') if client == sid]


class Application:
    """The work of all handlers."""

    def __init__(self, server: socketio.Server) -> None:
        self.server = server
        self.arrivals: List[Dict[str, Any]] = []
        self.departures: List[Any] = []

    def arrive(self, namespace: str, sid: str, environ: Dict[str, Any],
               auth: Any = ABSENT) -> None:
        recovery = environ['socketio.recovery']
        self.arrivals.append({
            'namespace': namespace, 'sid': sid, 'auth': auth,
            'recovery': [recovery.recovered, recovery.reason],
            'rooms': sorted(set(self.server.rooms(sid, namespace)) - {sid}),
            'session': dict(self.server.get_session(sid, namespace))})

    def depart(self, namespace: str, sid: str, reason: str = ABSENT) -> None:
        self.departures.append((namespace, sid, reason))

    def remember(self, namespace: str, sid: str, value: Any,
                 room: str) -> Any:
        with self.server.session(sid, namespace) as session:
            session['value'] = value
        self.server.enter_room(sid, room, namespace)
        self.server.emit('remembered', value, to=sid, namespace=namespace)
        return namespace, value


def add_functions_2(does: Application, namespace: str) -> None:
    server = does.server

    @server.on('connect', namespace=namespace)  # type: ignore
    def connect(sid: str, environ: Dict[str, Any]) -> None:
        does.arrive(namespace, sid, environ)

    @server.on('disconnect', namespace=namespace)  # type: ignore
    def disconnect(sid: str) -> None:
        does.depart(namespace, sid)

    add_remember(does, namespace)


def add_remember(does: Application, namespace: str) -> None:
    @does.server.on('remember', namespace=namespace)  # type: ignore
    def remember(sid: str, value: Any, room: str) -> Any:
        return does.remember(namespace, sid, value, room)


def add_functions_3(does: Application, namespace: str,
                    rest: Callable[..., None] = add_remember) -> None:
    server = does.server

    @server.on('connect', namespace=namespace)  # type: ignore
    def connect(sid: str, environ: Dict[str, Any], auth: Any) -> None:
        does.arrive(namespace, sid, environ, auth)

    @server.on('disconnect', namespace=namespace)  # type: ignore
    def disconnect(sid: str, reason: str) -> None:
        does.depart(namespace, sid, reason)

    rest(does, namespace)


def add_functions_default(does: Application, namespace: str) -> None:
    server = does.server

    @server.on('connect', namespace=namespace)  # type: ignore
    def connect(sid: str, environ: Dict[str, Any], auth: Any = None) -> None:
        does.arrive(namespace, sid, environ, auth)

    @server.on('disconnect', namespace=namespace)  # type: ignore
    def disconnect(sid: str, *reason: str) -> None:
        does.depart(namespace, sid, *reason)

    add_remember(does, namespace)


def add_all_events(does: Application, namespace: str) -> None:
    def rest(does: Application, namespace: str) -> None:
        @does.server.on('*', namespace=namespace)  # type: ignore
        def any_event(event: str, sid: str, *args: Any) -> Any:
            return getattr(does, event)(namespace, sid, *args)

    add_functions_3(does, namespace, rest)


def add_class_2(does: Application, namespace: str) -> None:
    class Two(socketio.Namespace):  # type: ignore
        def on_connect(self, sid: str, environ: Dict[str, Any]) -> None:
            does.arrive(self.namespace, sid, environ)

        def on_disconnect(self, sid: str) -> None:
            does.depart(self.namespace, sid)

        def on_remember(self, sid: str, value: Any, room: str) -> Any:
            with self.session(sid) as session:
                session['value'] = value
            self.enter_room(sid, room)
            self.emit('remembered', value, to=sid)
            return self.namespace, value

    does.server.register_namespace(Two(namespace))


def add_class_3(does: Application, namespace: str) -> None:
    class Three(socketio.Namespace):  # type: ignore
        def on_connect(self, sid: str, environ: Dict[str, Any],
                       auth: Any) -> None:
            does.arrive(self.namespace, sid, environ, auth)

        def on_disconnect(self, sid: str, reason: str) -> None:
            does.depart(self.namespace, sid, reason)

        def on_remember(self, sid: str, value: Any, room: str) -> Any:
            self.save_session(sid, {'value': value})
            self.enter_room(sid, room)
            self.send('sent', to=sid)
            self.emit('remembered', value, room=sid)
            return self.namespace, value

    does.server.register_namespace(Three(namespace))


def add_caught_functions(does: Application, arguments: int) -> None:
    """Handlers for the namespaces without other handlers."""
    server = does.server

    if arguments == 2:
        @server.on('connect', namespace='*')  # type: ignore
        def connect_2(namespace: str, sid: str,
                      environ: Dict[str, Any]) -> None:
            does.arrive(namespace, sid, environ)
    else:
        @server.on('connect', namespace='*')  # type: ignore
        def connect_3(namespace: str, sid: str, environ: Dict[str, Any],
                      auth: Any) -> None:
            does.arrive(namespace, sid, environ, auth)

    @server.on('disconnect', namespace='*')  # type: ignore
    def disconnect(namespace: str, sid: str, reason: str) -> None:
        does.depart(namespace, sid, reason)

    @server.on('*', namespace='*')  # type: ignore
    def any_event(event: str, namespace: str, sid: str, *args: Any) -> Any:
        return getattr(does, event)(namespace, sid, *args)


def add_caught_class(does: Application, arguments: int) -> None:
    """A class for the namespaces without other handlers."""
    class Base(socketio.Namespace):  # type: ignore
        def on_disconnect(self, namespace: str, sid: str,
                          reason: str) -> None:
            does.depart(namespace, sid, reason)

        def on_remember(self, namespace: str, sid: str, value: Any,
                        room: str) -> Any:
            return does.remember(namespace, sid, value, room)

    class Two(Base):
        def on_connect(self, namespace: str, sid: str,
                       environ: Dict[str, Any]) -> None:
            does.arrive(namespace, sid, environ)

    class Three(Base):
        def on_connect(self, namespace: str, sid: str,
                       environ: Dict[str, Any], auth: Any) -> None:
            does.arrive(namespace, sid, environ, auth)

    does.server.register_namespace({2: Two, 3: Three}[arguments]('*'))


def add_handlers(does: Application, style: str) -> None:
    """Add the handlers of a style."""
    if style == 'apart':
        add_functions_2(does, '/functions-2')
        add_functions_3(does, '/functions-3')
        add_functions_default(does, '/functions-default')
        add_class_2(does, '/class-2')
        add_class_3(does, '/class-3')
        add_all_events(does, '/all-events')
        add_remember(does, '/mute')
    elif style.startswith('functions'):
        add_caught_functions(does, TOGETHER[style])
    else:
        add_caught_class(does, TOGETHER[style])


def main(mode: str, redis_url: str, options: str, flask: bool) -> None:
    """As :func:`.node_app.main`, without Flask."""
    assert not flask
    node_app.print_logs()
    given = json.loads(options)
    style, admin = given.pop('style'), given.pop('instrument', None)
    node, app = node_app.make_plain(mode, redis_url, given)
    server = node.targets['server']
    does = Application(server)
    node.record('arrivals', does.arrivals)
    node.record('departures', does.departures)
    if admin is not None:
        server.instrument(auth=False, mode=admin, server_stats_interval=0.2)
    add_handlers(does, style)
    modes.serve(mode, app, lambda port: print(f'port {port}', flush=True))
