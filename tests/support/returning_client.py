"""A client that recovers its session like the JavaScript client.

python-socketio's client does not recover sessions. This one implements the
protocol itself. It uses a WebSocket, and decodes packets with python-socketio.
Events keep their arguments from the wire, including the offset.
"""
import contextlib
import itertools
import socket
import threading
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import websocket
from socketio import packet

from .client import Event, Listener
from .wait import DEADLINE, wait_until


class Refused(Exception):
    """The server refused the connection to a namespace."""


class ReturningClient(Listener):
    """A client that is connected once it is constructed.

    Each attribute is a mapping by namespace. To send wrong values to a server,
    change ``pids`` or ``offsets`` before the next connect.

    :ivar pids: the session's private id, if the server assigned one.
    :ivar offsets: the last argument of the last event that ended in a string.
    :ivar recovered: whether the server has recovered the requested session.

    :param url: the server's.
    :param namespaces: the namespaces to connect to.
    :param auth: passed to the connect handler.
    """

    def __init__(self, url: str, *namespaces: str,
                 auth: Optional[Mapping[str, Any]] = None) -> None:
        self._url = url
        self._auth = auth or {}
        self._namespaces = namespaces or ('/',)
        self.sids: Dict[str, str] = {}
        self.pids: Dict[str, str] = {}
        self.offsets: Dict[str, str] = {}
        self.recovered: Dict[str, bool] = {}
        # The reading thread appends to these lists, and the test copies them.
        self._events: List[Event] = []
        self._disconnects: List[Tuple[str, str]] = []
        self._refusals: Dict[str, Any] = {}
        self._answers: Dict[str, Sequence[Any]] = {}
        self._acknowledged: Dict[int, List[Any]] = {}
        self._numbers = itertools.count()
        # The state of the current connection. There is none yet.
        self._socket: Any = None
        self._reader = threading.Thread()
        self._missing: List[str] = []
        self.connect()

    @property
    def _first(self) -> str:
        return self._namespaces[0]

    # -- actions ------------------------------------------------------------

    def connect(self, url: Optional[str] = None) -> None:
        """Connect to this or another server, and wait for the replies of all
        namespaces.

        :raises Refused: a server refused the connection to a namespace.
        """
        self._url = url or self._url
        self._refusals.clear()
        self._disconnects.clear()
        self._missing = list(self._namespaces)
        self._socket = websocket.create_connection(
            f'{self._url.replace("http", "ws", 1)}/socket.io/'
            '?EIO=4&transport=websocket',
            timeout=DEADLINE, enable_multithread=True,
            # It would check text byte by byte in Python.
            skip_utf8_validation=True)
        # A server may be silent for any time.
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: not self._missing or not self.is_connected(),
                   what=lambda: f'the reply of {self._missing}')
        if self._refusals:
            raise Refused(self._refusals)
        assert not self._missing, f'no reply of {self._missing}'

    def is_connected(self) -> bool:
        """Whether the connection appears to be open."""
        return self._reader.is_alive()

    def drop(self) -> None:
        """End the connection without notice, like a network failure. No packet
        arrives after this call."""
        with contextlib.suppress(OSError, AttributeError):
            # The server may already have closed it.
            self._socket.sock.shutdown(socket.SHUT_RDWR)
        self._reader.join(DEADLINE)
        self._socket.shutdown()

    def disconnect(self) -> None:
        """Disconnect from all namespaces, and end the connection."""
        for namespace in self._namespaces:
            self._send(packet.DISCONNECT, namespace)
        self.drop()

    def close(self) -> None:
        """End the connection if there is one."""
        if self.is_connected():
            with contextlib.suppress(OSError, websocket.WebSocketException):
                self.disconnect()

    def answer(self, name: str, *args: Any) -> None:
        """Acknowledge events of this name with these arguments. Other events
        are acknowledged without arguments."""
        self._answers[name] = args

    def call(self, name: str, *args: Any,
             namespace: Optional[str] = None) -> List[Any]:
        """Send an event, and return the arguments of its acknowledgement.
        """
        number = next(self._numbers)
        self._send(packet.EVENT, namespace or self._first, [name, *args],
                   number)
        wait_until(lambda: number in self._acknowledged,
                   what=f'the acknowledgement of {name!r}')
        return self._acknowledged[number]

    # -- records ------------------------------------------------------------

    def events(self) -> List[Event]:
        """All events so far, in the order in which they arrived."""
        return list(self._events)

    def names(self, *among: str) -> List[str]:
        return [event.name for event in self.events()
                if not among or event.name in among]

    def received(self, name: str) -> List[Tuple[Any, ...]]:
        return [event.args for event in self.events() if event.name == name]

    def count(self, name: str) -> int:
        return len(self.received(name))

    def disconnects(self) -> List[Tuple[str, str]]:
        return list(self._disconnects)

    # -- the protocol -------------------------------------------------------

    def _send(self, kind: int, namespace: str, data: Any = None,
              number: Optional[int] = None) -> None:
        encoded = packet.Packet(kind, data=data, namespace=namespace,
                                id=number).encode()
        head, *attachments = [encoded] if isinstance(encoded, str) else encoded
        self._socket.send(f'4{head}')
        for attachment in attachments:
            self._socket.send_binary(attachment)

    def _read(self) -> None:
        """Handle packets until the connection ends."""
        incomplete: Any = None
        with contextlib.suppress(OSError, websocket.WebSocketException):
            while True:
                opcode, data = self._socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_BINARY:
                    if incomplete.add_attachment(data):
                        self._take(incomplete)
                elif opcode != websocket.ABNF.OPCODE_TEXT or data == b'1':
                    break
                elif data.startswith(b'0'):
                    self._introduce()
                elif data == b'2':
                    self._socket.send('3')
                elif data.startswith(b'4'):
                    incomplete = packet.Packet(
                        encoded_packet=data[1:].decode())
                    if not incomplete.attachment_count:
                        self._take(incomplete)
        for namespace in self._namespaces:
            self._disconnects.append((namespace, 'transport close'))

    def _introduce(self) -> None:
        """Connect to all namespaces, with the sessions' pids and offsets."""
        for namespace in self._namespaces:
            known = {}
            if namespace in self.pids:
                known['pid'] = self.pids[namespace]
                if namespace in self.offsets:
                    known['offset'] = self.offsets[namespace]
            self._send(packet.CONNECT, namespace, {**known, **self._auth})

    def _take(self, taken: packet.Packet) -> None:
        namespace = taken.namespace or '/'
        if taken.packet_type == packet.CONNECT:
            self._welcome(namespace, taken.data)
        elif taken.packet_type == packet.CONNECT_ERROR:
            self._refusals[namespace] = taken.data
            self._missing.remove(namespace)
        elif taken.packet_type == packet.DISCONNECT:
            self._disconnects.append((namespace, 'io server disconnect'))
        elif taken.packet_type in (packet.ACK, packet.BINARY_ACK):
            self._acknowledged[taken.id] = taken.data
        else:
            self._note(namespace, taken)

    def _welcome(self, namespace: str, data: Mapping[str, str]) -> None:
        before, pid = self.pids.pop(namespace, None), data.get('pid')
        self.sids[namespace] = data['sid']
        self.recovered[namespace] = pid is not None and pid == before
        if pid is not None:
            self.pids[namespace] = pid
        self._missing.remove(namespace)

    def _note(self, namespace: str, event: packet.Packet) -> None:
        name, *args = event.data
        self._events.append(Event(name, tuple(args), namespace))
        if event.id is not None:
            self._send(packet.ACK, namespace,
                       list(self._answers.get(name, ())), event.id)
        # Missed events arrive before the reply with the same pid.
        if namespace in self.pids and args and isinstance(args[-1], str):
            self.offsets[namespace] = args[-1]
