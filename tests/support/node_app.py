"""One server process of a cluster under test.

It serves a Socket.IO application and then prints ``port <n>``. The test
process controls it over ``POST /control``
(:class:`.node_process.NodeProcess` has a method for each operation). The
calls run inside a request handler, like those of an application.
:mod:`.node_forge` starts it.
"""
import json
import logging
import os
import signal
import sys
from typing import Any, Callable, Dict, List, Tuple

import socketio

from tests.support import modes
from tests.support.controlled_node import LOGGER, Node


def loss_recorder(losses: List[Any], raises: bool) -> Callable[[Any], None]:
    """An ``on_loss`` function that records each loss."""
    def record(loss: Any) -> None:
        losses.append((loss.kind, loss.stream, loss.count, loss.uid))
        if raises:
            raise RuntimeError('on_loss raises as configured')

    return record


def acceptance(word: str, calls: List[Any]) -> Callable[..., bool]:
    """An ``accepts`` function that rejects clients that send the word.

    :param calls: records the arguments of each call, without the environ.
    """
    def accepts(sid: str, environ: Dict[str, Any], auth: Any) -> bool:
        calls.append((sid, 'wsgi.input' in environ, auth))
        return not (isinstance(auth, dict) and auth.get(word))

    return accepts


def make_plain(mode: str, redis_url: str, options: Dict[str, Any]
               ) -> Tuple[Node, Any]:
    """A node, and its WSGI application for python-socketio.

    :param options: the manager's options. ``on_loss`` is ``'record'`` or
                    ``'raise'``, which records, too. ``accepts`` in
                    ``connection_state_recovery`` is the value of ``auth``
                    with which a client is rejected. Further keys:
                    ``namespaces``, a list of additional namespaces;
                    ``server``, options of the server; ``with_auth``,
                    whether the connect handlers have a third argument;
                    ``health``, options of the health checks, which are
                    answered if it is there; ``metrics``, whether they are
                    at ``/metrics``; ``admin``, options of
                    :func:`instrument`;
                    ``goes_on``, see :func:`main`.
    """
    from redis_streams_adapter import RedisStreamsManager
    from redis_streams_adapter.monitoring.wsgi import HealthMiddleware

    namespaces = options.pop('namespaces', ())
    server_options = options.pop('server', {})
    with_auth = options.pop('with_auth', True)
    health = options.pop('health', None)
    with_metrics = options.pop('metrics', False)
    admin = options.pop('admin', None)
    accepted: List[Any] = []
    recovery = options.get('connection_state_recovery')
    if isinstance(recovery, dict) and 'accepts' in recovery:
        recovery['accepts'] = acceptance(recovery['accepts'], accepted)
    losses: List[Any] = []
    if 'on_loss' in options:
        options = {**options, 'on_loss': loss_recorder(
            losses, raises=options['on_loss'] == 'raise')}
    manager = RedisStreamsManager(
        redis_url, logger=logging.getLogger(LOGGER), **options)
    server = socketio.Server(async_mode=mode, client_manager=manager,
                             **server_options)

    def make_emitter(**emitter_options: Any) -> Any:
        return RedisStreamsManager(redis_url, write_only=True,
                                   **emitter_options)

    node = Node(server, server, make_emitter, with_auth)
    node.record('loss', losses)
    node.record('accepts', accepted)
    for namespace in namespaces:
        node.register_handlers(namespace)
    pages = {} if admin is None else instrument(server, **admin)
    app: Any = socketio.WSGIApp(server, static_files=pages)
    if health is not None:
        app = HealthMiddleware(app, server, **health)
    if with_metrics:
        app = add_metrics(app, server)
    return node, node.middleware(app)


def instrument(server: Any, whole: bool = True, page: str = '',
               **options: Any) -> Dict[str, str]:
    """Have a server serve Socket.IO's admin UI.

    :param whole: whether with the clients of all servers.
    :param page: the directory of its page.
    :param options: those of ``sio.instrument``.
    :return: the directory by the URL.
    """
    from redis_streams_adapter.monitoring.admin_ui import instrument

    if whole:
        instrument(server, **options)
    else:
        server.instrument(**options)
    return {'/admin-ui': page} if page else {}


def add_metrics(app: Any, server: Any) -> Any:
    """The application, with its metrics at ``/metrics``."""
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    from redis_streams_adapter.monitoring.prometheus import StreamsCollector

    registry = CollectorRegistry()
    registry.register(StreamsCollector(server))
    return DispatcherMiddleware(app, {'/metrics': make_wsgi_app(registry)})


def make_flask(mode: str, redis_url: str, options: Dict[str, Any]
               ) -> Tuple[Node, Any]:
    """A node, and its WSGI application for Flask-SocketIO. The URL has the
    manager's options.

    :param options: those of Flask-SocketIO, and ``health`` as for
                    :func:`make_plain`.
    """
    import flask
    import flask_socketio

    from redis_streams_adapter.flask_socketio import SocketIO
    from redis_streams_adapter.monitoring.blueprint import health_blueprint

    health = options.pop('health', None)

    app = flask.Flask(__name__)
    app.secret_key = 'of no importance'
    front = SocketIO(app, message_queue=redis_url, async_mode=mode, **options)

    if health is not None:
        app.register_blueprint(health_blueprint(front, **health))

    @front.on('join')  # type: ignore
    def on_join(room: str) -> None:
        flask_socketio.join_room(room)

    @front.on('say')  # type: ignore
    def on_say(event: str, data: Any, room: str) -> None:
        flask_socketio.emit(event, data, to=room, include_self=False)

    def make_emitter(**emitter_options: Any) -> Any:
        return SocketIO(message_queue=redis_url, **emitter_options)

    node = Node(front.server, front, make_emitter)
    return node, node.middleware(app.wsgi_app)


def leave_on_sigterm(server: Any) -> None:
    """Leave the cluster gracefully and exit on SIGTERM."""
    def leave() -> None:
        try:
            server.manager.close()
        finally:
            os._exit(0)

    signal.signal(signal.SIGTERM,
                  lambda *_: server.start_background_task(leave))


def print_logs() -> None:
    """Log to the standard output."""
    printer = logging.StreamHandler(sys.stdout)
    printer.setLevel(logging.INFO)
    logging.basicConfig(handlers=[printer])
    # It logs errors about connections that a WebSocket has left open.
    logging.getLogger('werkzeug').setLevel(logging.CRITICAL)


def main(mode: str, redis_url: str, options: str, flask: bool) -> None:
    """Serve.

    :param options: as JSON. With ``goes_on``, a ``SystemExit`` that gevent or
                    eventlet carries to the main green thread does not end the
                    process.
    """
    print_logs()
    make = make_flask if flask else make_plain
    settings = json.loads(options)
    goes_on = settings.pop('goes_on', False)
    node, app = make(mode, redis_url, settings)
    server = node.targets['server']
    leave_on_sigterm(server)

    def serve() -> None:
        modes.serve(mode, app, lambda port: print(f'port {port}', flush=True))

    if not goes_on:
        serve()
    else:
        server.start_background_task(serve)
    while goes_on:
        try:
            server.sleep(60)
        except SystemExit:
            print('the main task goes on', flush=True)
