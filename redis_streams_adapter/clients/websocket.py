"""WebSocket frames to slow clients, whole and one after the other.

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

So :func:`install` puts a :class:`FrameSocket` between the package and the
socket. eventlet's WebSocket (0.36 and 0.41) has a lock and uses
``sendall()``, and uWSGI makes the frames itself: these two stay as they are.
Read from python-engineio 4.11 and 4.15.
"""
import errno
import logging
import socket
from typing import Any, Callable, Optional

from ..concurrency.limiter import Limiter

#: The attribute of an Engine.IO server with the parts of its async mode, and
#: the key of the part that serves a WebSocket.
TABLE, ENTRY = '_async', 'websocket'

#: The modules whose classes serve WebSockets through these packages.
AFFECTED = ('engineio.async_drivers._websocket_wsgi',
            'engineio.async_drivers.gevent')


class FrameSocket:
    """A socket on which each ``send()`` writes all its data.

    Everything else is the socket's own.

    :param sock: a connected socket, of threads or of gevent.
    :param limiter: lets one task at a time write, in the order of arrival:
                    otherwise a task that sends frame after frame would keep
                    the reading task from its PONG, and so from reading. A
                    task has the slot while it writes a frame, so for as long
                    as the client reads nothing. Only the two tasks of this
                    connection use it, and neither holds a lock meanwhile:
                    one is meant to wait for the other.
    """

    def __init__(self, sock: Any, limiter: Limiter) -> None:
        self._sock = sock
        self._limiter = limiter
        #: Whether a frame may have been written in part. Written once, by
        #: the task that has the slot. Nothing may follow then, and both ends
        #: learn that the connection is gone.
        self._torn = False

    def send(self, data: bytes) -> int:
        """Write a frame, or several.

        :return: its length.
        :raises BrokenPipeError: the connection is gone. Of all errors it is
                                 the one that simple-websocket expects, also
                                 when it closes a connection.
        """
        timeout = self._sock.gettimeout()
        slot, whole, has_slot = self._limiter.slot(), False, False
        try:
            # The task in front has the timeout. If it takes twice as long,
            # an exception has struck it between two lines.
            has_slot = slot.acquire(None if timeout is None else 2 * timeout)
            if not has_slot:
                raise BrokenPipeError(errno.EPIPE, 'nothing can be written')
            if self._torn:
                raise BrokenPipeError(errno.EPIPE, 'the connection is gone')
            # Mostly the buffer has room, and gevent's sendall() costs more.
            written = self._sock.send(data)
            if written < len(data):
                self._sock.sendall(memoryview(data)[written:])
            whole = True
        except OSError as exc:
            raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
        finally:
            # Whatever was raised, a timeout of gevent for example: it is not
            # known how much was written.
            if has_slot and not whole:
                self._torn = True
                self._hang_up()
            slot.release()
        return len(data)

    def close(self) -> None:
        """End the connection, after what was written so far. Closing the
        socket is not enough: gevent's server (26.9) has another one for the
        connection, and would write a response to what it takes for a request.
        """
        self._hang_up()
        self._sock.close()

    def _hang_up(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is gone already.
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


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
                     'no table of what serves them')
        return
    driver = table[ENTRY]
    if not any(each.__module__ in AFFECTED
               for each in getattr(driver, '__mro__', ())):
        return
    setattr(eio, TABLE, {**table, ENTRY: _Driver(
        driver, eio.create_event, logger)})


class _Driver:
    """Serves a WebSocket of Engine.IO as another driver does, but on a
    :class:`FrameSocket`.

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
            self._replace_socket(ws)
            return handler(ws)

        return self._driver(handle, eio)

    def _replace_socket(self, ws: Any) -> None:
        """Called after the handshake: only then the socket is known. So far
        only the few bytes of the handshake were sent, into an empty buffer.
        """
        frames = self._of_simple_websocket(ws) \
            or self._of_gevent_websocket(ws)
        if frames is not None:
            # Engine.IO looks for a socket in this attribute, and sets its
            # timeout to the time of a ping and its answer; it does not find
            # the package's own socket. So the connection of a client that
            # reads nothing, or does not answer, is ended together with all
            # that waits for it. Otherwise the client would get all that
            # first, and reconnect too late.
            ws.socket = frames
        elif not self._logged:
            self._logged = True
            self._logger.debug('WebSockets are left as they are: %s has no '
                               'socket', type(ws).__name__)

    def _of_simple_websocket(self, ws: Any) -> Optional[FrameSocket]:
        connection = getattr(ws, 'ws', None)
        sock = getattr(connection, 'sock', None)
        if connection is None or not hasattr(sock, 'sendall'):
            return None
        frames = self._frames(sock)
        setattr(connection, 'sock', frames)
        return frames

    def _of_gevent_websocket(self, ws: Any) -> Optional[FrameSocket]:
        connection = getattr(ws, '_sock', None)
        handler = getattr(connection, 'handler', None)
        sock = getattr(handler, 'socket', None)
        if not hasattr(connection, 'raw_write') \
                or not hasattr(sock, 'sendall'):
            return None
        frames = self._frames(sock)
        # Before, it is the socket's sendall().
        setattr(connection, 'raw_write', frames.send)
        return frames

    def _frames(self, sock: Any) -> FrameSocket:
        return FrameSocket(sock, Limiter(1, self._make_event))
