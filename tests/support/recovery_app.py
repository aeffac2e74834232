"""An application for gunicorn that shows the recovered state of its clients.

``gunicorn tests.support.recovery_app:application`` has its parameters in the
environment. There are two versions, for python-socketio and for
Flask-SocketIO, with the same events:

=============  ==============================================================
event          effect
=============  ==============================================================
``identify``   returns the worker's process id and the id of its node
``remember``   adds a value and the application's own values to the client's
               session, and makes the client enter a room
``recall``     returns the session's current content, its content in the
               connect handler with the outcome of the recovery and the
               client's rooms then, and the client's current rooms
``say``        emits an event to a room in the handler
``echo``       returns its arguments
=============  ==============================================================
"""
import os

from tests.support import modes

modes.prepare(os.environ['NODE_MODE'])

import datetime  # noqa: E402
import json  # noqa: E402
from typing import Any, Dict, List, Mapping, Tuple  # noqa: E402
from urllib.parse import urlencode  # noqa: E402

#: The application's values in a session, besides those of the client. Flask
#: has only types that its cookie can contain.
OWN_VALUES: Dict[str, Dict[str, Any]] = {
    'plain': {'number': 7, 'text': 'Zoë', 'nothing': None, 'yes': True,
              'share': 0.5, 'list': [1, [2, 'three']],
              'map': {'a': {'b': [4]}}},
    'flask': {'number': 7, 'text': 'Zoë', 'nothing': None, 'yes': True,
              'share': 0.5, 'list': [1, [2, 'three']],
              'map': {'a': {'b': [4]}}, 'pair': (1, ('two', b'\x00\xff')),
              'when': datetime.datetime(2026, 2, 3, 4, 5, 6,
                                        tzinfo=datetime.timezone.utc)}}


def with_types(session: Mapping[str, Any]) -> List[List[str]]:
    """A session with its types, in a form that can be sent to a client."""
    return [[name, repr(session[name])] for name in sorted(session)]


def outcome(environ: Mapping[str, Any]) -> List[Any]:
    """The outcome of the recovery that the connect handler gets."""
    recovery = environ['socketio.recovery']
    return [recovery.recovered, recovery.reason]


def make_plain(mode: str, redis_url: str, options: Dict[str, Any]) -> Any:
    """The application for python-socketio."""
    import socketio

    from redis_streams_adapter import RedisStreamsManager

    manager = RedisStreamsManager(redis_url, **options)
    server = socketio.Server(async_mode=mode, client_manager=manager)
    found: Dict[str, Any] = {}

    @server.event  # type: ignore
    def connect(sid: str, environ: Dict[str, Any]) -> None:
        # The handler has two arguments, although the client sends an "auth".
        found[sid] = [with_types(server.get_session(sid)), outcome(environ),
                      sorted(set(server.rooms(sid)) - {sid})]

    @server.event  # type: ignore
    def identify(sid: str) -> Tuple[int, str]:
        return os.getpid(), manager.uid

    @server.event  # type: ignore
    def remember(sid: str, value: Any, room: str) -> None:
        server.save_session(sid, {'value': value, **OWN_VALUES['plain']})
        server.enter_room(sid, room)

    @server.event  # type: ignore
    def recall(sid: str) -> List[Any]:
        return [with_types(server.get_session(sid)), found[sid],
                sorted(set(server.rooms(sid)) - {sid})]

    @server.event  # type: ignore
    def say(sid: str, event: str, data: Any, room: str) -> None:
        server.emit(event, data, to=room)

    @server.event  # type: ignore
    def echo(sid: str, *args: Any) -> Any:
        return args

    return socketio.WSGIApp(server)


def make_flask(mode: str, redis_url: str, options: Dict[str, Any]) -> Any:
    """The application for Flask-SocketIO, which manages the sessions."""
    import flask
    import flask_socketio

    from redis_streams_adapter.flask_socketio import SocketIO

    app = flask.Flask(__name__)
    app.secret_key = 'of no importance'
    scheme, _, rest = redis_url.partition('://')
    front = SocketIO(app, async_mode=mode, message_queue=(
        f'{scheme}+streams://{rest}?{urlencode(options)}'))
    found: Dict[str, Any] = {}

    def own_rooms() -> List[str]:
        return sorted({*flask_socketio.rooms()} - {flask.request.sid})

    @front.on('connect')  # type: ignore
    def on_connect() -> None:
        found[flask.request.sid] = [
            with_types(flask.session), outcome(flask.request.environ),
            own_rooms()]

    @front.on('identify')  # type: ignore
    def identify() -> Tuple[int, str]:
        return os.getpid(), front.server.manager.uid

    @front.on('remember')  # type: ignore
    def remember(value: Any, room: str) -> None:
        flask.session.update(value=value, **OWN_VALUES['flask'])
        flask_socketio.join_room(room)

    @front.on('recall')  # type: ignore
    def recall() -> List[Any]:
        return [with_types(flask.session), found[flask.request.sid],
                own_rooms()]

    @front.on('say')  # type: ignore
    def say(event: str, data: Any, room: str) -> None:
        flask_socketio.emit(event, data, to=room)

    @front.on('echo')  # type: ignore
    def echo(*args: Any) -> Any:
        return args

    return app


MAKERS = {'plain': make_plain, 'flask': make_flask}

application = MAKERS[os.environ['NODE_FLAVOUR']](
    os.environ['NODE_MODE'], os.environ['NODE_REDIS_URL'],
    json.loads(os.environ['NODE_OPTIONS']))
