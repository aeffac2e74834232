"""How frames are written to a client, whole and one after the other.

simple-websocket and gevent-websocket do not see to that, see
:mod:`redis_streams_adapter.clients.websocket`. A :class:`FrameSocket` does:
its ``send()`` waits for a slow client, on the task of the connection. gevent's
hub writes to all clients of an event without waiting, see
:mod:`redis_streams_adapter.clients.gevent_queue`. What a socket does not take
then precedes what ``send()`` writes next.
"""
import _socket
import errno
import socket
from typing import Any, Callable, Optional

from ..concurrency.limiter import Limiter
from .frames import Joined


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

    __slots__ = ('_sock', '_limiter', '_torn', 'unfinished', 'at_once',
                 'tasks')

    def __init__(self, sock: Any, limiter: Limiter) -> None:
        self._sock = sock
        self._limiter = limiter
        #: Whether a frame may have been written in part. Written once, by
        #: the task that writes. Nothing may follow then, and both ends learn
        #: that the connection is gone.
        self._torn = False
        #: What the hub wrote in part: the rest, which precedes everything
        #: else. Written by the hub, while no task writes, and by the task
        #: that has the slot.
        self.unfinished = b''
        #: Writes without waiting, and returns how much was written; ``None``:
        #: only gevent's sockets can do that, if nothing is encrypted.
        self.at_once = _sender(sock)
        #: The tasks that write or wait for that. If a frame was written in
        #: part, and an exception strikes before the connection is ended, the
        #: task stays in this list, and nothing is written any more.
        self.tasks = limiter.queue

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
            frames, self.unfinished = self.unfinished + data, b''
            # Mostly the buffer has room, and gevent's sendall() costs more.
            written = self._sock.send(frames)
            if written < len(frames):
                self._sock.sendall(memoryview(frames)[written:])
            whole = True
        except OSError as exc:
            raise BrokenPipeError(errno.EPIPE, str(exc)) from exc
        finally:
            # Whatever was raised, a timeout of gevent for example: it is not
            # known how much was written.
            if has_slot and not whole:
                self.tear()
            slot.release()
        return len(data)

    def tear(self) -> None:
        """End the connection: a frame may have been written in part."""
        self._torn = True
        self._hang_up()

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


def _sender(sock: Any) -> Optional[Callable[[bytes], int]]:
    # gevent's socket has a non-blocking one, and waits for it.
    plain = getattr(sock, '_sock', None)
    if isinstance(plain, _socket.socket) and plain.gettimeout() == 0.0 \
            and not hasattr(sock, 'cipher'):
        return plain.send
    return None


class FrameWriter:
    """Writes what waits for the client of a WebSocket, in place of
    python-engineio's ``ws.send()``.

    :param frames: the socket.
    :param state: returns whether frames may still be sent: it is ``is_open``
                  then.
    :param longest: the length of the longest frame that is made here; the
                    package makes those that are longer.
    :param ws: python-engineio's WebSocket, whose ``send()`` is replaced.
    :param sock: python-engineio's connection.
    """

    def __init__(self, frames: FrameSocket, state: Callable[[], Any],
                 is_open: bool, longest: int, ws: Any, sock: Any) -> None:
        self.frames = frames
        self.state = state
        self.is_open = is_open
        self.longest = longest
        self._ws = ws
        self._sock = sock
        self._send = ws.send
        self._hook: Optional[Callable[[Any], Any]] = self.send
        ws.send = self._hook

    @property
    def is_used(self) -> bool:
        """Whether the WebSocket is what the client's packets go to: not
        before an upgrade from polling is complete, and not if somebody has
        replaced ``ws.send()`` since (python-socketio's admin UI does)."""
        return self._sock.upgraded and self._ws.send is self._hook

    def send(self, message: Any) -> Any:
        """Send a message, or joined frames.

        :raises OSError: the connection is closed.
        """
        if not isinstance(message, Joined):
            return self._send(message)
        if self.state() is not self.is_open:
            raise BrokenPipeError(errno.EPIPE, 'the connection is closed')
        return self.frames.send(message.data)

    def end(self) -> None:
        """Break the reference cycles, once nothing is sent any more."""
        self._hook = None
        # It hides the method of the class.
        vars(self._ws).pop('send', None)
