"""Flask-SocketIO with ``message_queue='redis+streams://…'``.

::

    from redis_streams_adapter.flask_socketio import SocketIO

    socketio = SocketIO(
        app, message_queue='redis+streams://localhost:6379/0?max_len=50000')

In an external process, leave ``app`` out, as with Flask-SocketIO itself: the
object then only emits.
"""
from typing import Any, Optional

import flask_socketio

from .manager import RedisStreamsManager
from .configuration import one_name
from .streams_url import is_ours, read, refuse_look_alikes
from .termination import graceful_sigterm


class SocketIO(flask_socketio.SocketIO):
    """As :class:`flask_socketio.SocketIO`, which also understands a
    ``message_queue`` whose scheme ends with ``+streams``.

    :param message_queue: ``redis+streams://``, ``rediss+streams://``,
                          ``unix+streams://``, ``redis+sentinel+streams://``,
                          ``redis+cluster+streams://``, or the same with
                          ``rediss`` or ``valkey``. Options of the manager
                          stand in the query, typed like those of the
                          constructor. Any other URL is Flask-SocketIO's.
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
        if options.get('client_manager') is self._made:
            if isinstance(url, str) and is_ours(url):
                self._close_made()
                self._made = kwargs['client_manager'] = make_manager(
                    url, options.get('channel'), write_only=app is None)
                if app is None and options.get('async_mode') is None:
                    self._init_emitter(**kwargs)
                    return
            else:
                refuse_look_alikes(url)
                if self._close_made() and not url:
                    # Else Flask-SocketIO would go on with the manager that
                    # was made for the URL before.
                    kwargs['client_manager'] = None
        super().init_app(app, **kwargs)

    def test_client(self, app: Any, *args: Any, **kwargs: Any) -> Any:
        """As that of Flask-SocketIO, also with a queue of ours."""
        server: Any = self.server
        if not isinstance(server.manager, RedisStreamsManager):
            return super().test_client(app, *args, **kwargs)
        # Imported when needed: it is for tests only.
        from .flask_test_client import StreamsTestClient
        return StreamsTestClient(app, self, *args, **kwargs)

    def _close_made(self) -> bool:
        """Close the manager that was made here.

        :return: whether there was one.
        """
        made, self._made = self._made, None
        if made is not None:
            made.close()
        return made is not None

    def run(self, app: Any, *args: Any, **kwargs: Any) -> None:
        """As in Flask-SocketIO. ``SIGTERM`` shuts the server down, see
        :mod:`redis_streams_adapter.termination`."""
        with graceful_sigterm():
            super().run(app, *args, **kwargs)

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
    plain, options = read(url)
    if channel is not None:
        options['stream_name'] = one_name(
            options.get('stream_name'), channel)
    return RedisStreamsManager(plain, write_only=write_only, **options)
