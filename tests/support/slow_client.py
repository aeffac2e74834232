"""A client with a plain socket. It reads only on request, and checks that the
bytes are valid WebSocket frames."""
import array
import fcntl
import json
import socket
import termios
from typing import Any, Iterator, List, Mapping, Optional
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, \
    CloseConnection, Ping, Pong, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from .wait import DEADLINE, wait_until

#: Bytes: the kernel's receive buffer. It is small, so that the server soon
#: cannot send more.
RECEIVE_BUFFER = 4096

#: The number of checks of that buffer without a change after which no more
#: bytes are expected.
QUIET_LOOKS = 30


class Ended(Exception):
    """The connection was closed, by the server or because of an invalid
    frame."""


class SlowClient:
    """A connection to the namespace ``/``.

    :param url: the server's.
    :param compress: whether to offer permessage-deflate.
    :param auth: sent to the server: the ``pid`` and ``offset`` of an earlier
                 session.
    """

    def __init__(self, url: str, compress: bool,
                 auth: Optional[Mapping[str, Any]] = None) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                RECEIVE_BUFFER)
        self._socket.settimeout(DEADLINE)
        self._socket.connect((parts.hostname, parts.port))
        self.port: int = self._socket.getsockname()[1]
        self._protocol = WSConnection(ConnectionType.CLIENT)
        #: The payloads of the PONG frames so far.
        self.pongs: List[bytes] = []
        #: Whether the server compresses.
        self.compressed = False
        self._send(Request(
            host=parts.netloc,
            target='/socket.io/?EIO=4&transport=websocket',
            extensions=[PerMessageDeflate()] if compress else []))
        #: The messages that arrived before the reply.
        self._early: List[Any] = []
        messages = self._arriving()
        next(messages)
        self.say('40' + json.dumps(auth or {}))
        self._early.extend(iter(
            lambda: self._until_reply(next(messages)), None))

    def _until_reply(self, message: Any) -> Any:
        if not message.startswith('40'):
            return message
        reply = json.loads(message[2:])
        self.sid, self.pid = reply['sid'], reply.get('pid')
        return None

    def _send(self, event: Any) -> None:
        self._socket.sendall(self._protocol.send(event))

    def say(self, text: str) -> None:
        """Send an Engine.IO packet."""
        self._send(TextMessage(text))

    def ping(self, payload: bytes) -> None:
        """Send a WebSocket PING frame."""
        self._send(Ping(payload))

    def wait_stalled(self) -> None:
        """Wait until no more bytes arrive, without reading."""
        seen: List[int] = []

        def is_stalled() -> bool:
            waiting = array.array('i', [0])
            fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
            seen.append(waiting[0])
            last = seen[-QUIET_LOOKS:]
            return len(last) == QUIET_LOOKS and len(set(last)) == 1 \
                and last[0] > 0

        wait_until(is_stalled, what=lambda: f'a stall, {seen[-5:]}')

    def messages(self) -> Iterator[Any]:
        """The server's messages, text or bytes, until it ends the connection
        without notice. PINGs of Engine.IO are answered.

        :raises Ended: the server sent a close frame or an invalid frame.
        """
        while self._early:
            yield self._early.pop(0)
        yield from self._arriving()

    def _arriving(self) -> Iterator[Any]:
        parts: List[Any] = []
        while True:
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    self.compressed = bool(event.extensions)
                elif isinstance(event, Pong):
                    self.pongs.append(bytes(event.payload))
                elif isinstance(event, CloseConnection):
                    raise Ended(event.code, event.reason)
                elif isinstance(event, (TextMessage, BytesMessage)):
                    parts.append(event.data)
                    if not event.message_finished:
                        continue
                    message = parts[0][:0].join(parts)
                    parts.clear()
                    if message == '2':
                        self.say('3')
                    else:
                        yield message
            data = self._read()
            if data is None:
                return
            self._protocol.receive_data(data)

    def _read(self) -> Optional[bytes]:
        try:
            return self._socket.recv(65536) or None
        except ConnectionError:
            return None

    def close(self) -> None:
        """End the connection without notice."""
        self._socket.close()

    def __enter__(self) -> 'SlowClient':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
