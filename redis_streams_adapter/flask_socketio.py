"""Flask-SocketIO with ``message_queue='redis+streams://…'``.

::

    from redis_streams_adapter.flask_socketio import SocketIO

    socketio = SocketIO(
        app, message_queue='redis+streams://localhost:6379/0?max_len=50000')

In an external process, leave ``app`` out, as with Flask-SocketIO itself: the
object then only emits.
"""
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qsl, urlencode

import flask_socketio

from .manager import RedisStreamsManager
from .options import from_query, one_name
from .stream.url import split_url

#: The end of the scheme.
SUFFIX = '+streams'

#: Options of a connection, not of the manager; redis-py reads them from the
#: query of its URLs.
_CONNECTION_OPTIONS = frozenset((
    'db', 'client_name', 'socket_timeout', 'socket_connect_timeout',
    'socket_keepalive', 'ssl_ca_certs', 'ssl_ca_path', 'ssl_certfile',
    'ssl_cert_reqs', 'ssl_check_hostname', 'ssl_keyfile', 'ssl_password'))


class SocketIO(flask_socketio.SocketIO):
    """As :class:`flask_socketio.SocketIO`, which also understands a
    ``message_queue`` whose scheme ends with ``+streams``.

    :param message_queue: ``redis+streams://``, ``rediss+streams://``,
                          ``unix+streams://``, ``redis+sentinel+streams://``,
                          ``redis+cluster+streams://``, or the same with
                          ``valkey``. Options of the manager stand in the
                          query, typed like those of the constructor. Any
                          other URL is Flask-SocketIO's.
    :param channel: the stream's name.
    :raises ConfigurationError: an option is unknown or wrong; it is named.
    """

    #: The manager that was made here, if the application gave none.
    _made: Optional[RedisStreamsManager] = None

    def init_app(self, app: Any, **kwargs: Any) -> None:
        options = {**self.server_options, **kwargs}
        url = options.get('message_queue')
        # The constructor calls this without an app, and the application
        # again with one. Each call makes a new manager, as Flask-SocketIO
        # does.
        given = options.get('client_manager')
        if given is self._made and isinstance(url, str) \
                and url.partition('://')[0].endswith(SUFFIX):
            if self._made is not None:
                self._made.close()
            self._made = kwargs['client_manager'] = make_manager(
                url, options.get('channel'), write_only=app is None)
            if app is None and options.get('async_mode') is None:
                self._init_emitter(**kwargs)
                return
        super().init_app(app, **kwargs)

    def _init_emitter(self, **kwargs: Any) -> None:
        # A process that only emits has no clients, and needs no mode. By
        # default, Engine.IO would import eventlet if that is installed, which
        # warns, and fails in a process that gevent has patched.
        super().init_app(None, **{**kwargs, 'async_mode': 'threading'})
        # If an application comes later, it chooses for itself.
        del self.server_options['async_mode']


def make_manager(url: str, channel: Any = None,
                 write_only: bool = False) -> RedisStreamsManager:
    """The manager for a ``message_queue``.

    :param url: its scheme ends with ``+streams``.
    :param channel: the stream's name.
    :raises ConfigurationError: an option is unknown or wrong; it is named.
    """
    parts = split_url(url)
    ours: List[Tuple[str, str]] = []
    theirs: List[Tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        pairs = theirs if name in _CONNECTION_OPTIONS else ours
        pairs.append((name, value))
    options: Dict[str, Any] = from_query(ours)
    if channel is not None:
        options['stream_name'] = one_name(
            options.get('stream_name'), channel)
    # Not with geturl(), which turns `unix:///path` into `unix:/path`.
    plain = (f'{parts.scheme[:-len(SUFFIX)]}://{parts.netloc}{parts.path}'
             f'?{urlencode(theirs)}')
    return RedisStreamsManager(plain, write_only=write_only, **options)
