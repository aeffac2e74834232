"""A real Socket.IO server whose clients have no network.

Where Engine.IO would have a connection there is :class:`FakeSocket`, which
keeps what it is to send. The server's methods for Engine.IO's events are
called as Engine.IO calls them.
"""
import itertools
import json
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import socketio
from engineio.exceptions import SocketIsClosedError
from engineio.packet import Packet as EnginePacket, PING, PONG
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, \
    CONNECT_ERROR, DISCONNECT, EVENT, Packet

from ..support.wait import wait_until

_numbers = itertools.count(1)


class Event(NamedTuple):
    """An event as a client got it."""

    name: str
    args: Tuple[Any, ...]
    ack_id: Optional[int]


def make_server(**options: Any) -> socketio.Server:
    """A server with threads, and handlers for two namespaces."""
    server = socketio.Server(async_mode='threading', **options)
    for namespace in ('/', '/chat'):
        server.on('hello', lambda sid, *args: None, namespace=namespace)
    return server


class FakeSocket:
    """Stands for a connection of Engine.IO."""

    def __init__(self, server: socketio.Server, sid: str) -> None:
        self._server = server
        self.sid = sid
        self.packets: List[Any] = []
        #: What the application keeps, by namespace.
        self.session: Dict[str, Any] = {}
        self.closed = False
        self.closing = False
        #: Whether it is a WebSocket.
        self.upgraded = True
        #: When it was asked for a sign of life, until it has given one.
        self.last_ping: Optional[float] = None
        #: Whether the client reads what it is sent, and the PINGs that it
        #: has not answered.
        self.reads, self.pings = True, 0
        #: The threads that have sent something.
        self.senders: List[threading.Thread] = []

    def send(self, packet: Any) -> None:
        self.senders.append(threading.current_thread())
        if self.closed:
            raise SocketIsClosedError()
        if packet.packet_type == PING:
            self.pings += 1
            self.answer()
        else:
            self.packets.append(packet)

    def answer(self) -> None:
        """Answer all PINGs, unless it has stopped reading."""
        while self.reads and self.pings:
            self.pings -= 1
            self.receive(EnginePacket(PONG))

    def receive(self, packet: Any) -> None:
        """Take a packet of the client's."""

    def close(self, *args: Any, **kwargs: Any) -> None:
        if not self.closed and not self.closing:
            self.closing = True
            self._server._handle_eio_disconnect(
                self.sid, kwargs.get('reason', 'server disconnect'))
            self.closed = True


class FakeClient:
    """A client that is connected once it is constructed.

    :param namespaces: those that it connects to.
    :param environ: of the request that it came with.
    :param auth: what it sends when it connects.
    """

    def __init__(self, server: socketio.Server, *namespaces: str,
                 environ: Optional[Dict[str, Any]] = None,
                 auth: Any = None) -> None:
        self._server = server
        self.namespaces = namespaces or ('/',)
        self.eio_sid = f'connection-{next(_numbers)}'
        self.socket = FakeSocket(server, self.eio_sid)
        server.eio.sockets[self.eio_sid] = self.socket
        server._handle_eio_connect(self.eio_sid, environ or {})
        for namespace in self.namespaces:
            self._say(Packet(CONNECT, namespace=namespace, data=auth))

    @property
    def sid(self) -> str:
        return self.sid_in(self.namespaces[0])

    def sid_in(self, namespace: str) -> str:
        sid = self._server.manager.sid_from_eio_sid(self.eio_sid, namespace)
        assert sid is not None, 'not connected'
        return str(sid)

    def packets(self) -> List[Packet]:
        """What it got, put together from its parts."""
        found: List[Packet] = []
        for part in list(self.socket.packets):
            if isinstance(part.data, str):
                packet = Packet(encoded_packet=part.data)
                if packet.packet_type not in (BINARY_EVENT, BINARY_ACK):
                    found.append(packet)
            elif packet.add_attachment(part.data):
                found.append(packet)
        return found

    def events(self, namespace: str = '/') -> List[Event]:
        """The events of a namespace that it got, in order."""
        return [Event(packet.data[0], tuple(packet.data[1:]), packet.id)
                for packet in self.packets()
                if packet.packet_type in (EVENT, BINARY_EVENT)
                and (packet.namespace or '/') == namespace]

    def received(self, name: str, namespace: str = '/') -> List[Any]:
        """The arguments of the events of a name."""
        return [event.args for event in self.events(namespace)
                if event.name == name]

    def wait_for(self, name: str, count: int = 1,
                 namespace: str = '/') -> List[Any]:
        """Wait until so many events of a name are here, and no more."""
        wait_until(lambda: len(self.received(name, namespace)) >= count,
                   what=lambda: f'{name!r}; here are {self.events()}')
        found = self.received(name, namespace)
        assert len(found) == count
        return found

    def acknowledge(self, event: Event, *args: Any,
                    namespace: str = '/') -> None:
        """Answer an event that wants an acknowledgement."""
        assert event.ack_id is not None
        self._say(Packet(ACK, namespace=namespace, id=event.ack_id,
                         data=list(args)))

    def was_disconnected(self, namespace: str = '/') -> bool:
        """Whether the server has said so."""
        return any(packet.packet_type == DISCONNECT
                   and (packet.namespace or '/') == namespace
                   for packet in self.packets())

    def reply(self, namespace: str = '/') -> Any:
        """What the server has answered to its CONNECT; ``None``: nothing,
        or that it refuses."""
        return self._first(CONNECT, namespace)

    def refusal(self, namespace: str = '/') -> Any:
        """What the server has said when it refused it."""
        return self._first(CONNECT_ERROR, namespace)

    def _first(self, kind: int, namespace: str) -> Any:
        return next((packet.data for packet in self.packets()
                     if packet.packet_type == kind
                     and (packet.namespace or '/') == namespace), None)

    def emit(self, *data: Any, ack_id: Optional[int] = None,
             namespace: str = '/') -> None:
        """Send an event."""
        self._say(Packet(EVENT, namespace=namespace, id=ack_id,
                         data=list(data)))

    def say_goodbye(self, namespace: str = '/') -> None:
        """Leave a namespace on purpose."""
        self._say(Packet(DISCONNECT, namespace=namespace))

    def lose(self) -> None:
        """Lose the connection, and have the server notice."""
        self.socket.close(reason='transport close')

    def leave(self) -> None:
        """Close the connection from this side."""
        self._server.eio.sockets.pop(self.eio_sid, None)
        self.socket.closed = True
        self._server._handle_eio_disconnect(self.eio_sid, 'client disconnect')

    def _say(self, packet: Packet) -> None:
        encoded = packet.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        for part in parts:
            self._server._handle_eio_message(self.eio_sid, part)


class DateJSON:
    """A JSON module of an application, which knows more than others."""

    loads = staticmethod(json.loads)

    @staticmethod
    def dumps(value: Any, **kwargs: Any) -> str:
        def default(each: Any) -> Any:
            return each.isoformat()

        return json.dumps(value, **{'default': default, **kwargs})
