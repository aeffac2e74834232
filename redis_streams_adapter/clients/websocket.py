"""How a WebSocket of python-engineio gets our frames, and writes them whole.

This module touches private names of python-engineio, and of the packages with
which it serves WebSockets under threads and gevent:

- simple-websocket (1.0 and 1.1) writes each frame with one ``socket.send()``,
  and ignores how much of the frame was written. If the client reads more
  slowly than the server writes, gevent's ``send()`` writes a part of the
  frame, or nothing, and the client finds the next frame in the middle of this
  one.
- In both simple-websocket and gevent-websocket (0.10), the task that sends
  data and the task that reads, which answers PING and CLOSE frames, write to
  one socket without a lock. A blocking ``send()`` of a thread, or
  ``sendall()`` of gevent, writes everything, but in pieces, and the other
  task's frame can get between them.

So :func:`install` puts a :class:`~redis_streams_adapter.clients.frame_socket.\
FrameSocket` between the package and the socket. And the queue of the client's
packets gets a :class:`~redis_streams_adapter.clients.frame_socket.\
FrameWriter`, with which it sends frames that are made once for all clients,
many in one write. Messages that are to be compressed are left to the package.

eventlet's WebSocket (0.36 and 0.41) has a lock and uses
``sendall()``, and uWSGI makes the frames itself: these two stay as they are.
Read from python-engineio 4.11 and 4.15.
"""
import logging
import sys
from functools import partial
from typing import Any, Callable, Optional, Tuple

from ..concurrency.limiter import Limiter
from ..log_events import WEBSOCKET_UNCHANGED
from .frame_socket import FrameSocket, FrameWriter

#: The attribute of an Engine.IO server with the parts of its async mode, and
#: the key of the part that serves a WebSocket.
TABLE, ENTRY = '_async', 'websocket'

#: The modules whose classes serve WebSockets through these packages.
AFFECTED = ('engineio.async_drivers._websocket_wsgi',
            'engineio.async_drivers.gevent')

#: Frames that are longer are worth compressing, if the client can read that:
#: the JavaScript server has the same threshold (``ws``, option ``threshold``).
COMPRESSED = 1024


def install(server: Any, logger: logging.Logger) -> None:
    """Let a server send whole frames. Does nothing if it already does, or if
    python-engineio does not look as expected, which is logged.

    :param server: a Socket.IO server. Its own table is replaced; the table of
                   python-engineio, which other servers share, is not changed.
    """
    eio = server.eio
    table = getattr(eio, TABLE, None)
    if not isinstance(table, dict) or ENTRY not in table:
        logger.debug('WebSockets are left as they are: python-engineio has '
                     'no table of what serves them',
                     extra=WEBSOCKET_UNCHANGED(reason='no table'))
        return
    driver = table[ENTRY]
    if not any(each.__module__ in AFFECTED
               for each in getattr(driver, '__mro__', ())):
        return
    setattr(eio, TABLE, {**table, ENTRY: _Driver(
        driver, eio.create_event, logger)})


#: The first parameters of a :class:`~redis_streams_adapter.clients.\
#: frame_socket.FrameWriter`.
_Parts = Tuple[FrameSocket, Callable[[], Any], bool, int]


class _Driver:
    """Serves a WebSocket of Engine.IO as another driver does, but on a
    :class:`FrameSocket`, and with our frames.

    :param driver: the other driver.
    :param make_event: makes an event for the server's tasks.
    """

    def __init__(self, driver: Callable[..., Any],
                 make_event: Callable[[], Any],
                 logger: logging.Logger) -> None:
        self._driver = driver
        self._make_event = make_event
        self._logger = logger
        #: Whether it was logged that the package does not look as expected.
        #: Written without a lock; two tasks may both log it.
        self._logged = False

    def __call__(self, handler: Callable[[Any], Any], eio: Any) -> Any:
        def handle(ws: Any) -> Any:
            # The handler is a method of the connection.
            sock = getattr(handler, '__self__', None)
            queue: Any = getattr(sock, 'queue', None)
            parts = self._replace_socket(ws)
            if parts is None or not hasattr(queue, 'writer') \
                    or not hasattr(sock, 'upgraded'):
                return handler(ws)
            queue.writer = writer = FrameWriter(*parts, ws, sock)
            response = handler(ws)
            # The task that sends has ended. If an exception strikes the
            # handler, that task goes on, and needs the writer.
            queue.writer = None
            writer.end()
            return response

        return self._driver(handle, eio)

    def _replace_socket(self, ws: Any) -> Optional[_Parts]:
        """Called after the handshake: only then the socket is known. So far
        only the few bytes of the handshake were sent, into an empty buffer.

        :return: what a writer of frames needs.
        """
        parts = self._of_simple_websocket(ws) or self._of_gevent_websocket(ws)
        if parts is not None:
            # Engine.IO looks for a socket in this attribute, and sets its
            # timeout to the time of a ping and its answer; it does not find
            # the package's own socket. So the connection of a client that
            # reads nothing, or does not answer, is ended together with all
            # that waits for it. Otherwise the client would get all that
            # first, and reconnect too late.
            ws.socket = parts[0]
        elif not self._logged:
            self._logged = True
            self._logger.debug('WebSockets are left as they are: %s has no '
                               'socket', type(ws).__name__,
                               extra=WEBSOCKET_UNCHANGED(reason='no socket'))
        return parts

    def _of_simple_websocket(self, ws: Any) -> Optional[_Parts]:
        connection = getattr(ws, 'ws', None)
        sock = getattr(connection, 'sock', None)
        if connection is None or not hasattr(sock, 'sendall'):
            return None
        frames = self._frames(sock)
        setattr(connection, 'sock', frames)
        return (frames, partial(getattr, connection, 'connected', None), True,
                COMPRESSED if _compresses(connection) else sys.maxsize)

    def _of_gevent_websocket(self, ws: Any) -> Optional[_Parts]:
        connection = getattr(ws, '_sock', None)
        handler = getattr(connection, 'handler', None)
        sock = getattr(handler, 'socket', None)
        if not hasattr(connection, 'raw_write') \
                or not hasattr(sock, 'sendall'):
            return None
        frames = self._frames(sock)
        # Before, it is the socket's sendall().
        setattr(connection, 'raw_write', frames.send)
        return (frames, partial(getattr, connection, 'closed', None), False,
                sys.maxsize)

    def _frames(self, sock: Any) -> FrameSocket:
        return FrameSocket(sock, Limiter(1, self._make_event))


def _compresses(connection: Any) -> bool:
    """Whether simple-websocket and the client have agreed to compress, as far
    as wsproto (1.2 and 1.3) shows that."""
    protocol = getattr(getattr(connection, 'ws', None), 'connection', None)
    extensions = getattr(
        getattr(protocol, '_proto', None), 'extensions', None)
    return extensions != []
