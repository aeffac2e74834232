"""Whether a client has read what was sent to it.

Socket.IO acknowledges nothing but events that ask for it. Engine.IO 4 does, in
effect: a client answers a PING at once, and in order (``_onPacket()`` in
``build/esm/socket.js`` of engine.io-client 6). So a PING of our own, between
the regular ones, is answered when all before it has been read.

*State*: it is kept on the connection, and gone with it. Any task adds to the
queue, one at a time, under a lock that is held for a few assignments; the
task that receives what the client sends takes from it, which is atomic. If an
exception strikes before the PING is queued, its answer is no longer expected:
a regular one would be taken for it, and python-engineio would give the client
up.
"""
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Deque, Optional

from engineio import packet

from ..concurrency.locks import Lock

#: Under which name a connection has it.
ATTRIBUTE = '_redis_streams_receipts'


class Receipts:
    """The answers that a connection waits for.

    :param sock: the connection, a socket of python-engineio's.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._receive = sock.receive
        #: What to call at the next answers; ``None``: a regular PING's.
        self._expected: Deque[Optional[Callable[[], Any]]] = deque()
        #: The regular PING that was counted last, by its time.
        self._counted: Optional[float] = None
        self._lock = Lock()

    def expect(self, call: Callable[[], Any]) -> None:
        """Call this at the answer to the PING that is about to be sent."""
        with self._lock:
            regular = self._sock.last_ping
            if regular and regular != self._counted:
                # It is under way.
                self._counted = regular
                self._expected.append(None)
            self._expected.append(call)

    def withdraw(self, call: Callable[[], Any]) -> None:
        """The PING was not sent, as far as is known."""
        with suppress(ValueError):
            self._expected.remove(call)

    def receive(self, received: Any) -> None:
        """In the place of the connection's own: take out our answers, for
        python-engineio 4.11 would begin to send twice as many PINGs."""
        if received.packet_type == packet.PONG and self._expected:
            call = self._expected.popleft()
            if call is not None:
                call()
                return
        self._receive(received)


def when_read(server: Any, eio_sid: str, call: Callable[[], Any]) -> bool:
    """Send a PING to a client.

    :param call: called when the client has read all that was sent before, by
                 the task that receives what it sends; never, if the
                 connection ends before.
    :return: ``False`` if the connection is not there any more, or is not
             python-engineio's own.
    """
    sock = server.eio.sockets.get(eio_sid)
    if not hasattr(sock, 'receive') or sock.closing or sock.closed:
        return False
    receipts: Receipts = vars(sock).setdefault(ATTRIBUTE, Receipts(sock))
    sock.receive = receipts.receive
    sent = False
    try:
        receipts.expect(call)
        server.eio.send_packet(eio_sid, packet.Packet(packet.PING))
        sent = True
    finally:
        if not sent:
            receipts.withdraw(call)
    return True
