"""WebSocket frames to slow clients, whole and one after the other.

The only module that touches private names of python-engineio, and of the
packages through which it serves WebSockets under threads and under gevent:

- simple-websocket (1.0 and 1.1) writes each frame with one ``socket.send()``,
  and ignores how much of the frame was written. As soon as the client reads
  more slowly than the server writes, gevent's ``send()`` writes a part, or
  nothing, and the client finds the next frame in the middle of this one.
- In both, it and gevent-websocket (0.10), the task that sends data and the
  task that reads, which answers PING and CLOSE frames, write to one socket
  without a lock. A blocking ``send()`` of a thread, or ``sendall()`` of
  gevent, writes all, but in pieces between which the other task's frame fits.

So :func:`install` puts a :class:`FrameSocket` between the package and the
socket. eventlet's own WebSocket (0.36 and 0.41) has a lock and ``sendall()``,
and uWSGI makes the frames itself: they are left alone. Read from
python-engineio 4.11 and 4.15.
"""
import errno
import logging
import socket
from typing import Any, Callable, Optional

from ..concurrency.limiter import Gate

#: Where Engine.IO's server keeps what its async mode is made of, and in that
#: mapping what serves a WebSocket.
TABLE, ENTRY = '_async', 'websocket'

#: The modules whose classes serve WebSockets through these packages.
AFFECTED = ('engineio.async_drivers._websocket_wsgi',
            'engineio.async_drivers.gevent')


class FrameSocket:
    """A socket on which each ``send()`` writes all that it is given.

    All else is the socket's own.

    :param sock: a connected socket, of threads or of gevent.
    :param gate: lets one task at a time write, in the order in which they
                 came: a task with one frame after the other would keep the
                 task that reads from its PONG, and from reading. A task is
                 in while it writes a frame, so for as long as the client
                 reads nothing. Only the two tasks of this connection come
                 here, and neither holds a lock then: the purpose is that one
                 waits for the other.
    """

    def __init__(self, sock: Any, gate: Gate) -> None:
        self._sock = sock
        self._gate = gate
        #: Whether a part of a frame may be all that was written of it.
        #: Written once, by the task whose turn it is. Nothing may follow
        #: then, and both ends learn that the connection is gone.
        self._torn = False

    def send(self, data: bytes) -> int:
        """Write a frame, or several.

        :return: its length.
        :raises BrokenPipeError: the connection is gone. Of all errors it is
                                 the one that simple-websocket expects, also
                                 where it closes a connection.
        """
        timeout = self._sock.gettimeout()
        turn, whole, has_turn = self._gate.turn(), False, False
        try:
            # The one in front has so long. It was struck between two lines
            # if it takes twice as much.
            has_turn = turn.enter(None if timeout is None else 2 * timeout)
            if not has_turn:
                raise BrokenPipeError(errno.EPIPE, 'nothing can be written')
            if self._torn:
                raise BrokenPipeError(errno.EPIPE, 'the connection is gone')
            # Mostly there is room for all, and gevent's sendall() costs more.
            written = self._sock.send(data)
            if written < len(data):
                self._sock.sendall(memoryview(data)[written:])
            whole = True
        except OSError as exc:
            raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
        finally:
            # Whatever has struck, a timeout of gevent's for example: nobody
            # knows how much was written.
            if has_turn and not whole:
                self._torn = True
                self._hang_up()
            turn.leave()
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
    if not any(each.__module__ in AFFECTED
               for each in getattr(driver, '__mro__', ())):
        return
    setattr(eio, TABLE, {**table, ENTRY: _Driver(
        driver, eio.create_event, logger)})


class _Driver:
    """Serves a WebSocket of Engine.IO as another driver does, on a
    :class:`FrameSocket`.

    :param driver: the other one.
    :param make_event: makes an event for the server's tasks.
    """

    def __init__(self, driver: Callable[..., Any],
                 make_event: Callable[[], Any],
                 logger: logging.Logger) -> None:
        self._driver = driver
        self._make_event = make_event
        self._logger = logger
        #: Whether it was logged that the package is not as it is known here.
        #: Two tasks may log it both.
        self._told = False

    def __call__(self, handler: Callable[[Any], Any], eio: Any) -> Any:
        def handle(ws: Any) -> Any:
            self._replace_socket(ws)
            return handler(ws)

        return self._driver(handle, eio)

    def _replace_socket(self, ws: Any) -> None:
        """The handshake is over: only now the socket is known. Nothing was
        sent but its few bytes, into an empty buffer."""
        frames = self._of_simple_websocket(ws) \
            or self._of_gevent_websocket(ws)
        if frames is not None:
            # Here Engine.IO looks for a socket, to give it the time of a
            # ping and its answer as its timeout; the packages' it does not
            # find. So the connection of a client that reads nothing, or has
            # not answered, is ended, with all that waits for it: it would
            # get that first, and come back too late.
            ws.socket = frames
        elif not self._told:
            self._told = True
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
        # Until then, the socket's sendall().
        setattr(connection, 'raw_write', frames.send)
        return frames

    def _frames(self, sock: Any) -> FrameSocket:
        return FrameSocket(sock, Gate(1, self._make_event))
