"""Whether a client has read what was sent to it.

Socket.IO acknowledges only events that ask for it. Engine.IO 4 acknowledges
all packets, in effect: a client answers a PING at once, and in order
(``_onPacket()`` in ``build/esm/socket.js`` of engine.io-client 6). So when the
client answers an additional PING, between the regular ones, it has read all
that was sent before.

*State*: it is kept on the connection, and gone with it. Any task adds to the
queue, one at a time, under a lock that is held for a few assignments; the
task that receives the client's packets takes from it, in one step. If an
exception strikes before the PING is queued, its answer is no longer expected:
otherwise a regular answer would be taken for it, and python-engineio would
give the client up.
"""
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Deque, Optional

from engineio import packet

from ..concurrency.locks import Lock

#: The attribute of a connection that has its :class:`Receipts`.
ATTRIBUTE = '_redis_streams_receipts'


class Receipts:
    """The PONGs that are expected from a connection.

    :param sock: the connection, a socket of python-engineio.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._receive = sock.receive
        #: What to call at the next PONGs; ``None`` for that of a regular
        #: PING. Any task appends, under the lock; the receiving task pops.
        self._expected: Deque[Optional[Callable[[], Any]]] = deque()
        #: The time of the last regular PING that was counted. Written under
        #: the lock.
        self._counted: Optional[float] = None
        self._lock = Lock()

    def expect(self, call: Callable[[], Any]) -> None:
        """Call ``call`` at the answer to the PING that is about to be sent.
        """
        with self._lock:
            regular = self._sock.last_ping
            if regular and regular != self._counted:
                # Its PONG comes before ours.
                self._counted = regular
                self._expected.append(None)
            self._expected.append(call)

    def withdraw(self, call: Callable[[], Any]) -> None:
        """Expect the answer no longer: the PING was probably not sent."""
        with suppress(ValueError):
            self._expected.remove(call)

    def receive(self, received: Any) -> None:
        """Called instead of the connection's ``receive``. Take out the PONGs
        to additional PINGs: for each of them, python-engineio 4.11 would
        start another series of PINGs."""
        if received.packet_type == packet.PONG and self._expected:
            call = self._expected.popleft()
            if call is not None:
                call()
                return
        self._receive(received)


def when_read(server: Any, eio_sid: str, call: Callable[[], Any]) -> bool:
    """Send a PING to a client.

    :param call: called when the client has read all that was sent before, by
                 the task that receives its packets; never, if the connection
                 ends before.
    :return: ``False`` if the connection is gone, or is not python-engineio's
             own.
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
