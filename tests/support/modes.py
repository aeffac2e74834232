"""The three modes in which a server process runs its tasks.

The import of this module imports none of their libraries.
"""
import warnings
from importlib.util import find_spec
from typing import Any, Callable

MODES = ('threading', 'gevent', 'eventlet')

#: The modules that each mode needs in addition to the requirements.
REQUIREMENTS = {'threading': ('simple_websocket', 'werkzeug'),
                'gevent': ('gevent', 'simple_websocket'),
                'eventlet': ('eventlet',)}


def prepare(mode: str) -> None:
    """Patch the standard library for a mode.

    Call this function before any other import.
    """
    if mode == 'gevent':
        from gevent import monkey
        monkey.patch_all()
    elif mode == 'eventlet':
        with warnings.catch_warnings():
            # Each import warns that eventlet is only maintained.
            warnings.simplefilter('ignore')
            import eventlet
        eventlet.monkey_patch()


def serve(mode: str, app: Callable[..., Any],
          announce: Callable[[int], None]) -> None:
    """Serve a WSGI application on a free port of the loopback interface.

    :param announce: called with the port when connections are accepted.
    """
    _SERVERS[mode](app, announce)


def _serve_threading(app: Callable[..., Any],
                     announce: Callable[[int], None]) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            if type == 'error':
                super().log(type, message, *args)

    server = make_server('127.0.0.1', 0, app, threaded=True,
                         request_handler=QuietHandler)
    announce(server.server_port)
    server.serve_forever()


def _serve_gevent(app: Callable[..., Any],
                  announce: Callable[[int], None]) -> None:
    from gevent import pywsgi

    handler = {}
    if find_spec('geventwebsocket') is not None:
        # Then Engine.IO does not use simple-websocket.
        from geventwebsocket.handler import WebSocketHandler
        handler['handler_class'] = WebSocketHandler
    server = pywsgi.WSGIServer(('127.0.0.1', 0), app, log=None, **handler)
    server.start()
    announce(server.server_port)
    server.serve_forever()


def _serve_eventlet(app: Callable[..., Any],
                    announce: Callable[[int], None]) -> None:
    import eventlet
    from eventlet import wsgi

    listener = eventlet.listen(('127.0.0.1', 0))
    announce(listener.getsockname()[1])
    wsgi.server(listener, app, log_output=False)


_SERVERS = {'threading': _serve_threading, 'gevent': _serve_gevent,
            'eventlet': _serve_eventlet}
