"""WebSocket frames to slow clients, whole and one after the other.

The only module that touches private names of python-engineio, and of
simple-websocket, through which it serves WebSockets under threads and under
gevent unless gevent-websocket is installed. simple-websocket (1.0 and 1.1)
writes each frame with one ``socket.send()``:

- It ignores how much of the frame was written. As soon as the client reads
  more slowly than the server writes, gevent's ``send()`` writes a part, or
  nothing, and the client finds the next frame in the middle of this one.
- The task that sends data and the task that reads, which answers PING and
  CLOSE frames, write to one socket without a lock. A blocking ``send()`` of
  a thread writes all, but in pieces between which the other task's frame
  fits.

So :func:`install` puts a :class:`FrameSocket` between the two. eventlet's own
WebSocket (0.36 and 0.41) has a lock and ``sendall()``, and uWSGI makes the
frames itself: they are left alone. Read from python-engineio 4.11 and 4.15.
"""
import errno
import logging
import socket
from typing import Any, Callable, ContextManager

from .tasks import make_lock

#: Where Engine.IO's server keeps what its async mode is made of, and in that
#: mapping what serves a WebSocket.
TABLE, ENTRY = '_async', 'websocket'

#: The module whose class serves WebSockets through simple-websocket.
AFFECTED = 'engineio.async_drivers._websocket_wsgi'


class FrameSocket:
    """A socket on which each ``send()`` writes all that it is given.

    All else is the socket's own.

    :param sock: a connected socket, of threads or of gevent.
    :param lock: held while a frame is written, so for as long as the client
                 reads nothing. Only the two tasks of this connection take
                 it, and neither holds another one then: its purpose is that
                 one waits for the other.
    """

    def __init__(self, sock: Any, lock: ContextManager[Any]) -> None:
        self._sock = sock
        self._lock = lock
        #: Whether a part of a frame is all that was written of it. Written
        #: under the lock, once. Nothing may follow then, and both ends learn
        #: that the connection is gone.
        self._torn = False

    def send(self, data: bytes) -> int:
        """Write a frame, or several.

        :return: its length.
        :raises BrokenPipeError: the connection is gone. Of all errors it is
                                 the one that simple-websocket expects, also
                                 where it closes a connection.
        """
        with self._lock:
            if self._torn:
                raise BrokenPipeError(errno.EPIPE, 'the connection is gone')
            whole = False
            try:
                self._sock.sendall(data)
                whole = True
            except OSError as exc:
                raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
            finally:
                # Whatever has struck, a timeout of gevent's for example:
                # nobody knows how much was written.
                if not whole:
                    self._torn = True
                    self._hang_up()
        return len(data)

    def close(self) -> None:
        """End the connection, after what was written so far. To close the
        socket is not enough: gevent's server (26.9) has another one for it,
        and would write a response to what it takes for a request."""
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
    """Let a server send whole frames. Does nothing where it does already, or
    where python-engineio is not as it is known here, which is logged.

    :param server: a Socket.IO server. Its own table is replaced; the one of
                   python-engineio, which other servers share, is not changed.
    """
    eio = server.eio
    table = getattr(eio, TABLE, None)
    if not isinstance(table, dict) or ENTRY not in table:
        logger.debug('WebSockets are left as they are: python-engineio has '
                     'no table of what serves them')
        return
    driver = table[ENTRY]
    if not any(each.__module__ == AFFECTED
               for each in getattr(driver, '__mro__', ())):
        return
    setattr(eio, TABLE, {**table, ENTRY: _Driver(
        driver, eio.async_mode, logger)})


class _Driver:
    """Serves a WebSocket of Engine.IO as another driver does, on a
    :class:`FrameSocket`.

    :param driver: the other one.
    """

    def __init__(self, driver: Callable[..., Any], async_mode: str,
                 logger: logging.Logger) -> None:
        self._driver = driver
        self._async_mode = async_mode
        self._logger = logger
        #: Whether it was logged that simple-websocket is not as it is known
        #: here. Two tasks may log it both.
        self._told = False

    def __call__(self, handler: Callable[[Any], Any], eio: Any) -> Any:
        def handle(ws: Any) -> Any:
            self._replace_socket(ws)
            return handler(ws)

        return self._driver(handle, eio)

    def _replace_socket(self, ws: Any) -> None:
        """The handshake is over: only now the socket is known. Nothing was
        sent but its few bytes, into an empty buffer."""
        connection = getattr(ws, 'ws', None)
        sock = getattr(connection, 'sock', None)
        if connection is None or not callable(getattr(sock, 'sendall', None)):
            if not self._told:
                self._told = True
                self._logger.debug('WebSockets are left as they are: '
                                   'simple-websocket has no socket')
            return
        frames = FrameSocket(sock, make_lock(self._async_mode))
        connection.sock = frames
        # Where Engine.IO looks for a socket, to give it the time of a ping
        # and its answer as its timeout; simple-websocket's it does not find.
        # So a client that reads nothing is given up, with all that waits for
        # it.
        ws._sock = frames
