"""A client without a network, for tests of servers.

The server is a real one. A :class:`LocalSocket` takes the place of an
Engine.IO connection, and keeps what the server sends. The server's methods
for Engine.IO's events are called as Engine.IO calls them (python-socketio
5.12 to 5.18, ``server.py``).
"""
import itertools
import threading
import time
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from engineio.exceptions import SocketIsClosedError
from engineio.packet import Packet as EnginePacket, PING, PONG
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, \
    CONNECT_ERROR, DISCONNECT, EVENT, Packet as SocketPacket

#: How long :meth:`LocalClient.wait_for` waits by default, in seconds.
#: Generous: only a test that fails waits that long.
TIMEOUT = 10.0

# Calls of python-socketio and python-engineio have no type hints.
_Packet: Any = SocketPacket
_EnginePacket: Any = EnginePacket

_numbers = itertools.count(1)


class Event(NamedTuple):
    """An event as a client received it.

    :param ack_id: identifies the acknowledgement that the server asks for;
                   ``None``: it does not.
    """

    name: str
    args: Tuple[Any, ...]
    ack_id: Optional[int]


class LocalSocket:
    """Stands for a WebSocket connection of Engine.IO."""

    def __init__(self, server: Any, sid: str) -> None:
        self._server = server
        self.sid = sid
        #: Notified of every packet.
        self.changed = threading.Condition()
        #: What the server has sent. Appended to by any task.
        self.packets: List[Any] = []
        #: What the application keeps, by namespace.
        self.session: Dict[str, Any] = {}
        self.closed = False
        self.closing = False
        #: Whether it is a WebSocket.
        self.upgraded = True
        #: When the server last sent a PING that is not answered yet.
        self.last_ping: Optional[float] = None
        #: Whether the client reads what it is sent, and the number of PINGs
        #: that it has not answered.
        self.reads, self.pings = True, 0
        #: Stands for python-engineio's queue.
        self.queue = SimpleNamespace(
            put=self._put, empty=lambda: not self.packets)
        #: The threads that have sent something.
        self.senders: List[threading.Thread] = []

    def send(self, packet: Any) -> None:
        """Take a packet from the server."""
        if self.closed:
            raise SocketIsClosedError()
        self.queue.put(packet)

    def _put(self, packet: Any) -> None:
        self.senders.append(threading.current_thread())
        if packet.packet_type == PING:
            self.pings += 1
            self.answer()
        else:
            with self.changed:
                self.packets.append(packet)
                self.changed.notify_all()

    def answer(self) -> None:
        """Answer all PINGs, unless the client has stopped reading."""
        while self.reads and self.pings:
            self.pings -= 1
            self.receive(_EnginePacket(PONG))

    def receive(self, packet: Any) -> None:
        """Take a packet from the client."""

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection from the server's side."""
        if not self.closed and not self.closing:
            self.closing = True
            self._server._handle_eio_disconnect(
                self.sid, kwargs.get('reason', 'server disconnect'))
            self.closed = True


class LocalClient:
    """A client of a server in the same process. It is connected once it is
    constructed, unless the server refuses it.

    :param server: a ``socketio.Server``; that of Flask-SocketIO is its
                   attribute ``server``.
    :param namespaces: the namespaces that the client connects to; ``/`` if
                       none is given.
    :param environ: the WSGI environment of its request.
    :param auth: what it sends when it connects.
    """

    def __init__(self, server: Any, *namespaces: str,
                 environ: Optional[Dict[str, Any]] = None,
                 auth: Any = None) -> None:
        self._server = server
        self.namespaces = namespaces or ('/',)
        self.eio_sid = f'connection-{next(_numbers)}'
        self.socket = LocalSocket(server, self.eio_sid)
        server.eio.sockets[self.eio_sid] = self.socket
        self._server._handle_eio_connect(self.eio_sid, environ or {})
        for namespace in self.namespaces:
            self._say(_Packet(CONNECT, namespace=namespace, data=auth))

    @property
    def sid(self) -> str:
        """Its ``sid`` in the first of its namespaces."""
        return self.sid_in(self.namespaces[0])

    def sid_in(self, namespace: str) -> str:
        """Its ``sid`` in a namespace.

        :raises LookupError: it is not connected.
        """
        sid = self._server.manager.sid_from_eio_sid(self.eio_sid, namespace)
        if sid is None:
            raise LookupError(f'not connected to {namespace}')
        return str(sid)

    # -- what it has received ---------------------------------------------

    def packets(self) -> List[Any]:
        """All packets, each put together from its parts."""
        found: List[Any] = []
        for part in list(self.socket.packets):
            if isinstance(part.data, str):
                packet = _Packet(encoded_packet=part.data)
                if packet.packet_type not in (BINARY_EVENT, BINARY_ACK):
                    found.append(packet)
            elif packet.add_attachment(part.data):
                found.append(packet)
        return found

    def events(self, namespace: str = '/') -> List[Event]:
        """The events of a namespace, in order. With connection state
        recovery the last argument of an event is its offset."""
        return [Event(packet.data[0], tuple(packet.data[1:]), packet.id)
                for packet in self.packets()
                if packet.packet_type in (EVENT, BINARY_EVENT)
                and (packet.namespace or '/') == namespace]

    def received(self, name: str,
                 namespace: str = '/') -> List[Tuple[Any, ...]]:
        """The arguments of each event with this name, in order."""
        return [event.args for event in self.events(namespace)
                if event.name == name]

    def wait_for(self, name: str, count: int = 1, namespace: str = '/',
                 timeout: float = TIMEOUT) -> List[Tuple[Any, ...]]:
        """Wait for this many events with this name.

        :param timeout: seconds.
        :return: their arguments.
        :raises AssertionError: fewer have arrived in time, or more.
        """
        deadline = time.monotonic() + timeout
        with self.socket.changed:
            while True:
                found = self.received(name, namespace)
                left = deadline - time.monotonic()
                if len(found) >= count or left <= 0:
                    break
                self.socket.changed.wait(left)
        if len(found) != count:
            raise AssertionError(
                f'expected {name!r} {count} times, received '
                f'{self.events(namespace)}')
        return found

    def was_disconnected(self, namespace: str = '/') -> bool:
        """Whether the server has disconnected the client."""
        return any(packet.packet_type == DISCONNECT
                   and (packet.namespace or '/') == namespace
                   for packet in self.packets())

    def reply(self, namespace: str = '/') -> Any:
        """The server's reply to CONNECT; ``None``: there is none, or the
        server has refused the client."""
        return self._first(CONNECT, namespace)

    def refusal(self, namespace: str = '/') -> Any:
        """Why the server has refused the client; ``None``: it has not."""
        return self._first(CONNECT_ERROR, namespace)

    def _first(self, kind: int, namespace: str) -> Any:
        return next((packet.data for packet in self.packets()
                     if packet.packet_type == kind
                     and (packet.namespace or '/') == namespace), None)

    # -- what it sends ----------------------------------------------------

    def emit(self, *data: Any, ack_id: Optional[int] = None,
             namespace: str = '/') -> None:
        """Send an event: its name, then its arguments."""
        self._say(_Packet(EVENT, namespace=namespace, id=ack_id,
                          data=list(data)))

    def acknowledge(self, event: Event, *args: Any,
                    namespace: str = '/') -> None:
        """Answer an event that asks for an acknowledgement.

        :raises ValueError: the event does not ask for one.
        """
        if event.ack_id is None:
            raise ValueError(
                f'{event.name!r} does not ask for an acknowledgement')
        self._say(_Packet(ACK, namespace=namespace, id=event.ack_id,
                          data=list(args)))

    def say_goodbye(self, namespace: str = '/') -> None:
        """Leave a namespace, as ``socket.disconnect()`` does."""
        self._say(_Packet(DISCONNECT, namespace=namespace))

    def lose(self) -> None:
        """Lose the connection. The server notices at once."""
        self.socket.close(reason='transport close')

    def leave(self) -> None:
        """Close the connection from this side."""
        self._server.eio.sockets.pop(self.eio_sid, None)
        self.socket.closed = True
        self._server._handle_eio_disconnect(self.eio_sid, 'client disconnect')

    def _say(self, packet: Any) -> None:
        encoded = packet.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        for part in parts:
            self._server._handle_eio_message(self.eio_sid, part)
