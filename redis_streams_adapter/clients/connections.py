"""The connections of a server, and how they end when it shuts down.

A client whose connection ends reconnects by itself, to any server; a client
that the server disconnects does not. So a client must get nothing here that it
could take for that: neither Socket.IO's DISCONNECT and CONNECT_ERROR
(socket.io-client 4.8), nor Engine.IO's CLOSE (python-engineio 4.15, whose
client ends for good). A WebSocket is closed, a polling request is answered.

python-engineio closes a connection after it has sent everything; a client
that is gone, or reads too slowly, would keep its request for ever. Therefore
:class:`Connections` knows the requests under way, and cuts off those that
remain.

This module uses only public names of python-engineio's server; their
behaviour was read from 4.11 and 4.15.
"""
import itertools
import socket
import time
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional
from urllib.parse import parse_qs

from ..concurrency.engines import Event, ServerEngine

#: How long polling clients have to fetch what waits for them, in seconds: one
#: round trip, of a phone on a train.
FETCH_PATIENCE = 0.5

#: After how many seconds connections that were closed but have not ended are
#: cut off. A WebSocket ends within one round trip.
CUT_AFTER = 1.0

#: How many disconnect handlers of the application run at a time.
AT_A_TIME = 50

#: How often to look for new connections, in seconds.
LOOK_AGAIN = 0.1

#: The keys of a request's socket in the environ: of gunicorn's workers, its
#: ``gevent_pywsgi``, and Werkzeug.
SOCKETS = ('gunicorn.socket', 'gunicorn.sock', 'werkzeug.socket')

#: The answer to a new client while the server shuts down.
_AWAY = b'"This server is shutting down"'


class Connections:
    """The connections of one server.

    :param server: a server of python-socketio.
    :param refuses: whether new clients have to try another server.
    """

    def __init__(self, server: Any, refuses: Callable[[], bool]) -> None:
        self._server = server
        self._refuses = refuses
        #: The function that serves a request: the server's own.
        self._serve: Callable[..., Any] = server.eio.handle_request
        self._watches = False
        #: The environ of each request under way. Each request's task adds
        #: and removes its own, in one step each. If an exception strikes
        #: before it is removed, the entry's socket is closed anyway.
        self._requests: Dict[int, Dict[str, Any]] = {}
        self._numbers = itertools.count()
        #: Set when a request or a disconnect handler has ended, while
        #: connections are closed. Written by the task that closes them.
        self._ended: Optional[Event] = None

    def watch(self) -> None:
        """Keep track of the requests from now on. Idempotent."""
        if not self._watches:
            self._watches = True
            self._serve = self._server.eio.handle_request
            # Each request is passed to this attribute.
            self._server.eio.handle_request = self._handle

    def _handle(self, environ: Dict[str, Any],
                start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._refuses() and 'sid' not in parse_qs(
                environ.get('QUERY_STRING', '')):
            start_response('503 Service Unavailable', [
                ('Content-Type', 'application/json'), ('Connection', 'close'),
                ('Content-Length', str(len(_AWAY)))])
            return [_AWAY]
        number = next(self._numbers)
        self._requests[number] = environ
        try:
            response: Iterable[bytes] = self._serve(environ, start_response)
            return response
        finally:
            self._requests.pop(number, None)
            ended = self._ended
            if ended is not None:
                if environ.get('HTTP_UPGRADE', '').lower() == 'websocket':
                    # gevent's pywsgi would wait for another request.
                    _cut(environ)
                ended.set()

    def close(self, timeout: float) -> bool:
        """Close all connections, also those that are opened meanwhile. The
        disconnect handlers run.

        :param timeout: how many seconds the handlers may take.
        :return: whether all connections are closed and all handlers are done.
        """
        engine = ServerEngine(self._server)
        ended = self._ended = engine.event()
        begun = time.monotonic()
        self._wait_fetched(begun + min(timeout, FETCH_PATIENCE))
        cut_at = time.monotonic() + min(timeout, CUT_AFTER)
        deadline = max(begun + timeout, cut_at)
        todo: Deque[Any] = deque()
        seen: Dict[str, Any] = {}
        #: How many tasks close connections; each changes it by one entry.
        working: List[None] = []

        def work() -> None:
            try:
                while todo:
                    with suppress(IndexError):
                        self._close_one(todo.popleft())
            finally:
                working.pop()
                ended.set()

        while True:
            # Cleared first: what happens after this line is seen in the next
            # round. The last handler may have opened another connection.
            ended.clear()
            is_done = not (todo or working or self._requests)
            for eio_sid, sock in list(self._server.eio.sockets.items()):
                if seen.get(eio_sid) is not sock:
                    seen[eio_sid] = sock
                    todo.append(sock)
                    is_done = False
            while len(working) < min(AT_A_TIME, len(todo)):
                working.append(None)
                engine.spawn(work)
            if is_done:
                return True
            now = time.monotonic()
            if now >= cut_at:
                for environ in list(self._requests.values()):
                    _cut(environ)
                if now >= deadline or not (todo or working):
                    return not (todo or working)
            ended.wait(LOOK_AGAIN)

    def _wait_fetched(self, deadline: float) -> None:
        """Wait until polling clients have fetched what waits for them."""
        ended = self._ended
        while ended is not None and time.monotonic() < deadline and any(
                not (sock.upgraded or sock.closed or sock.queue.empty())
                for sock in list(self._server.eio.sockets.values())):
            # The request that fetches it then ends.
            ended.wait(LOOK_AGAIN)
            ended.clear()

    def _close_one(self, sock: Any) -> None:
        # This runs the disconnect handlers of its clients.
        sock.close(wait=False, abort=True,
                   reason=self._server.reason.TRANSPORT_CLOSE)


def _cut(environ: Dict[str, Any]) -> None:
    """End the connection of a request, whatever the client does."""
    for name in SOCKETS:
        connection = environ.get(name)
        if connection is not None:
            with suppress(OSError, ValueError):
                connection.shutdown(socket.SHUT_RDWR)


def turn_away(server: Any, eio_sid: str) -> None:
    """End the connection of a client without a refusal, so that it tries
    another server."""
    sock = server.eio.sockets.get(eio_sid)
    if sock is not None:
        sock.close(wait=False, abort=True,
                   reason=server.reason.TRANSPORT_CLOSE)
        # If another task is just closing it, packets could still reach the
        # client: it must not get the CONNECT_ERROR that follows.
        server.eio.sockets.pop(eio_sid, None)
