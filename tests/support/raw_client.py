"""A client that sends exactly the packets of a test, over a WebSocket."""
import json
import socket
import threading
from typing import Any, Dict, List, Tuple

import websocket

from .wait import DEADLINE, wait_until

#: The prefixes of Socket.IO packets inside Engine.IO messages.
CONNECT, DISCONNECT, EVENT, ERROR = '40', '41', '42', '44'

PING, PONG = '2', '3'


class RawClient:
    """A connection without any Socket.IO packet so far.

    :param url: the server's.
    """

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(
            url.replace('http', 'ws', 1)
            + '/socket.io/?EIO=4&transport=websocket', timeout=DEADLINE)
        # The reading thread appends to this list, and the test copies it. Both
        # are atomic in CPython.
        self._packets: List[str] = []
        self._ended = threading.Event()
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while packet := self._socket.recv():
                if packet == PING:
                    self._socket.send(PONG)
                else:
                    self._packets.append(packet)
        except (OSError, websocket.WebSocketException):
            pass  # the connection has ended
        self._ended.set()

    def send_connect(self, auth: Any, namespace: str = '/') -> None:
        """Send a CONNECT to a namespace, with this payload."""
        self._socket.send(
            f'{CONNECT}{_prefix(namespace)}{json.dumps(auth)}')

    def send_disconnect(self, namespace: str = '/') -> None:
        """Disconnect from a namespace."""
        self._socket.send(f'{DISCONNECT}{_prefix(namespace)}')

    def wait_ended(self) -> None:
        """Wait until the server has ended the connection."""
        wait_until(self._ended.is_set, what='the end of the connection')

    def wait_reply(self, namespace: str = '/',
                   timeout: float = DEADLINE) -> Dict[str, Any]:
        """Wait for the reply to the CONNECT.

        :return: the payload of the reply.
        """
        replies = wait_until(lambda: self._payloads(CONNECT, namespace),
                             timeout, lambda: (
                                 f'a reply, among {self._packets[-5:]}'))
        return dict(replies[-1])

    def connect(self, auth: Any, namespace: str = '/') -> Dict[str, Any]:
        """Send a CONNECT, and wait for the reply."""
        self.send_connect(auth, namespace)
        return self.wait_reply(namespace)

    def try_to_connect(self, auth: Any,
                       namespace: str = '/') -> Dict[str, Any]:
        """Connect, although the server may end the connection. The reply is
        then empty."""
        self.send_connect(auth, namespace)
        wait_until(lambda: self._ended.is_set()
                   or self._payloads(CONNECT, namespace), what='an answer')
        replies = self._payloads(CONNECT, namespace)
        return dict(replies[-1]) if replies else {}

    def events(self, namespace: str = '/') -> List[List[Any]]:
        """The events so far: name and arguments."""
        return self._payloads(EVENT, namespace)

    def wait_event(self, name: str, namespace: str = '/') -> None:
        """Wait for an event of this name."""
        wait_until(lambda: name in [
            each[0] for each in self.events(namespace)],
            what=lambda: f'{name!r} among {self.events(namespace)[-5:]}')

    def is_connected(self, namespace: str = '/') -> bool:
        """Whether the last packet of a namespace was a successful reply and
        the connection is open."""
        kinds = [kind for kind, name, _ in self._parsed()
                 if name == namespace and kind != EVENT]
        return not self._ended.is_set() and kinds[-1:] == [CONNECT]

    def drop(self) -> None:
        """End the connection without notice."""
        try:
            # This wakes the reading thread; close() does not.
            self._socket.sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass  # the server has already closed it
        self._thread.join()
        self._socket.shutdown()

    def __enter__(self) -> 'RawClient':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.drop()

    def _payloads(self, kind: str, namespace: str) -> List[Any]:
        return [payload for which, name, payload in self._parsed()
                if (which, name) == (kind, namespace)]

    def _parsed(self) -> List[Tuple[str, str, Any]]:
        """Kind, namespace and payload of each packet so far."""
        return [_parse(packet) for packet in list(self._packets)
                if packet[:2] in (CONNECT, DISCONNECT, EVENT, ERROR)]


def _prefix(namespace: str) -> str:
    return '' if namespace == '/' else f'{namespace},'


def _parse(packet: str) -> Tuple[str, str, Any]:
    kind, rest = packet[:2], packet[2:]
    namespace = '/'
    if rest.startswith('/'):
        namespace, _, rest = rest.partition(',')
    return kind, namespace, json.loads(rest) if rest else None
