"""The server ends the connection of a client.

What was sent before still arrives, as in Node.js (``close()`` in
``build/socket.js`` of the npm package ``engine.io`` 6 waits for it). A
WebSocket has a task that writes what waits, and then closes. A client that
polls is between two requests at times: python-engineio (4.11 and 4.15) answers
its next request with an error, and drops what waits. So :func:`close` runs the
disconnect handlers at once, and keeps the connection until polls have fetched
what waits, and then Engine.IO's CLOSE.

*Bounded*: a client that does not poll loses its connection after Engine.IO's
``ping_timeout`` (20 s by default). That is how long the application lets a
client be silent, and Engine.IO itself does not look any more at a connection
that is closing. One task for each server waits for that, while there are such
clients. Nothing is added to the queue meanwhile, and what such a client sends
is ignored.
"""
import time
from functools import partial
from typing import Any, Callable, Dict

from engineio import packet as eio_packet

from ..concurrency.engines import ServerEngine
from ..concurrency.locks import Lock

#: The attribute of an Engine.IO server that has its :class:`_Unfetched`.
ATTRIBUTE = '_redis_streams_unfetched'

# It has no type hints.
_Packet: Any = eio_packet.Packet


class _Unfetched:
    """The connections of a server whose clients have not fetched yet what
    waits for them.

    :param server: a server of python-socketio.
    """

    def __init__(self, server: Any) -> None:
        self._engine = ServerEngine(server)
        self._sockets = server.eio.sockets
        #: The connections, the oldest first, and when the time of each ends,
        #: by ``time.monotonic()``. Any task adds and removes, under the lock.
        self._waiting: Dict[Any, float] = {}
        #: Whether the task runs that closes those whose time is up. Written
        #: under the lock, or by the task when it is killed: the next
        #: connection then starts another.
        self._runs = False
        self._lock = Lock()
        #: Set when no connection is left.
        self._is_empty = self._engine.event()

    def add(self, sock: Any, timeout: float) -> None:
        """Close a connection after so many seconds, if it is not closed by
        then."""
        with self._lock:
            self._waiting[sock] = time.monotonic() + timeout
            starts, self._runs = not self._runs, True
        if starts:
            started = False
            try:
                self._engine.spawn(self._close_overdue)
                started = True
            finally:
                if not started:
                    self._runs = False

    def close(self, sock: Any) -> None:
        """A client has fetched everything, or its time is up."""
        sock.closed = True
        with self._lock:
            self._waiting.pop(sock, None)
            is_empty = not self._waiting
        if is_empty:
            self._is_empty.set()

    def _close_overdue(self) -> None:
        ended = False
        try:
            while True:
                # Before looking: what is closed from now on sets it.
                self._is_empty.clear()
                with self._lock:
                    sock, deadline = next(
                        iter(self._waiting.items()), (None, 0.0))
                    self._runs = sock is not None
                if sock is None:
                    break
                left = deadline - time.monotonic()
                if left > 0:
                    self._is_empty.wait(left)
                else:
                    self.close(sock)
                    self._sockets.pop(sock.sid, None)
            ended = True
        finally:
            if not ended:
                self._runs = False


# The type is ignored: a base class without types.
class _Noted(_Packet):  # type: ignore[misc]
    """A packet that calls a function when it is encoded: it is in a response
    then, or about to be written.

    :param call: the function; two calls do as much as one.
    """

    def __init__(self, kind: int, call: Callable[[], None]) -> None:
        super().__init__(kind)
        self._call = call

    def encode(self, b64: bool = False) -> Any:
        """See python-engineio."""
        self._call()
        return super().encode(b64)


def close(server: Any, eio_sid: str, reason: str, abort: bool = False
          ) -> None:
    """End a connection, with all its clients. Their disconnect handlers run,
    in this task. Does not wait until everything was sent.

    :param reason: for the disconnect handlers.
    :param abort: without Engine.IO's CLOSE.
    """
    sock = server.eio.sockets.get(eio_sid)
    if sock is None:
        return
    if getattr(sock, 'upgraded', True):
        # A WebSocket, or not python-engineio's own.
        sock.close(wait=False, abort=abort, reason=reason)
        return
    if sock.closing or sock.closed:
        return
    sock.closing = True
    try:
        # As its close() does, which then drops the connection.
        server.eio._trigger_event('disconnect', eio_sid, reason,
                                  run_async=False)
    finally:
        sock.send = _ignore
        unfetched: _Unfetched = vars(server.eio).setdefault(
            ATTRIBUTE, _Unfetched(server))
        closed = partial(unfetched.close, sock)
        sock.receive = partial(_receive_end, closed)
        # First: the client may fetch the packets at once.
        unfetched.add(sock, server.eio.ping_timeout)
        sock.queue.put(_Noted(eio_packet.NOOP, closed if abort else partial(
            _send_close, sock, closed)))


def _send_close(sock: Any, closed: Callable[[], None]) -> None:
    """Everything else is in a response. CLOSE comes in one of its own, as from
    Node.js: a client in JavaScript (4.8) loses the events that come with it.
    """
    sock.queue.put(_Noted(eio_packet.CLOSE, closed))
    # Ends the task of a WebSocket, if the client has one by now.
    sock.queue.put(None)


def _ignore(packet: Any) -> None:
    """Called instead of the ``send`` of a connection that is closing."""


def _receive_end(closed: Callable[[], None], packet: Any) -> None:
    """Called instead of its ``receive``."""
    if packet.packet_type == eio_packet.CLOSE:
        closed()
