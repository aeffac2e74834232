"""The clients of the page: they count, and come back by themselves.

python-socketio's client does not recover its session. So these clients speak
Socket.IO's protocol over python-engineio's client, and send what the published
JavaScript client sends when it reconnects: the ``pid`` of the session, and the
offset of the last event.
"""
from __future__ import annotations

from contextlib import suppress
import socket
import threading
import time
from typing import Any

import engineio
from socketio import packet

from ..clients import handle_in_order
from ..orders import COUNT
from .board import Board

#: Seconds that a client stays away, so that there is something to miss. The
#: JavaScript client waits for half to one and a half second.
RETURN_DELAY = 1.0

#: Seconds until a client looks again for a server, if none serves.
LOOK_INTERVAL = 0.1


class Session:
    """What a client keeps over its connections. The reading task of the
    current connection writes it.

    :ivar pid: the secret of the session, empty before the first connection.
    :ivar offset: that of the last event.
    """

    def __init__(self) -> None:
        self.pid = ''
        self.offset = ''

    def auth(self) -> dict[str, str]:
        """What the client sends when it connects."""
        if not self.pid:
            return {}
        return {'pid': self.pid, 'offset': self.offset}


class Connection:
    """One connection of a client.

    :param name: the client's.
    :param board: where its events are counted.
    :param session: what it keeps.
    :param timeout: seconds for the connection to be made.
    """

    def __init__(self, name: str, board: Board, session: Session,
                 timeout: float) -> None:
        self._name = name
        self._board = board
        self._session = session
        self._timeout = timeout
        self._missed = 0
        #: Set when the connection has ended: no event is counted after it.
        self.gone = threading.Event()
        self._welcomed = threading.Event()
        # Set with either of them.
        self._decided = threading.Event()
        self._engine = engineio.Client(
            handle_sigint=False, request_timeout=timeout,
            websocket_extra_options={'http_no_proxy': ['*']})
        self._engine.on('message', self._receive)
        self._engine.on('disconnect', self._disconnected)
        handle_in_order(self._engine)

    def open(self, url: str) -> bool:
        """Connect, and wait for the server's reply; return whether it has let
        the client in. If not, the connection has ended."""
        try:
            self._engine.connect(url, transports=['websocket'],
                                 engineio_path='socket.io')
        except (engineio.exceptions.EngineIOError, OSError):
            return False
        self._send(packet.CONNECT, self._session.auth())
        self._decided.wait(self._timeout)
        if not self._welcomed.is_set():
            self.drop()
            self.gone.wait(self._timeout)
        return self._welcomed.is_set()

    def drop(self) -> None:
        """Cut the connection, without a word to the server."""
        engine: Any = self._engine
        # It may have ended, or not begun.
        with suppress(OSError, AttributeError):
            engine.ws.sock.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """Say goodbye, and disconnect."""
        self._send(packet.DISCONNECT)
        self._engine.disconnect()

    def _send(self, kind: int, data: Any = None) -> None:
        self._engine.send(packet.Packet(kind, data=data).encode())

    def _receive(self, text: Any) -> None:
        now = time.monotonic()
        taken = packet.Packet(encoded_packet=text)
        if taken.packet_type == packet.CONNECT:
            self._welcome(taken.data)
        elif taken.packet_type == packet.CONNECT_ERROR:
            self._decided.set()
        elif taken.packet_type == packet.EVENT:
            event, *args = taken.data
            if event == COUNT:
                self._missed += not self._welcomed.is_set()
                self._board.received(
                    self._name, args[0]['source'], args[0]['number'],
                    now - args[0]['sent'])
            if isinstance(args[-1], str):
                # All events of the demo have one argument, an object.
                self._session.offset = args[-1]

    def _welcome(self, data: dict[str, str]) -> None:
        before, self._session.pid = self._session.pid, data['pid']
        recovered = data['pid'] == before
        if recovered:
            self._board.log(
                f'{self._name} is back, recovered, with {self._missed} events '
                'that it had missed')
        elif before:
            self._session.offset = ''
            self._board.log(f'{self._name} is back, but was not recovered')
        self._board.connected(self._name, recovered if before else None)
        self._welcomed.set()
        self._decided.set()

    def _disconnected(self, reason: str) -> None:
        self._board.lost(self._name)
        self.gone.set()
        self._decided.set()


class ReturningClient:
    """A client that connects again whenever it has lost its connection.

    :param name: its name on the page.
    :param board: where its events are counted.
    :param timeout: seconds for each connection to be made.
    """

    def __init__(self, name: str, board: Board, timeout: float) -> None:
        self.name = name
        self._board = board
        self._timeout = timeout
        self._session = Session()
        self._ended = threading.Event()
        # Written by the client's own task alone.
        self._connection: Connection | None = None
        self._task = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Connect for the first time, on a task of its own."""
        self._task.start()

    def drop(self) -> None:
        """Cut its connection without a goodbye. It comes back."""
        connection = self._connection
        if connection is not None:
            connection.drop()

    def disconnect(self) -> None:
        """Disconnect for good."""
        self._ended.set()
        connection = self._connection
        if connection is not None:
            connection.leave()

    def _run(self) -> None:
        while not self._ended.is_set():
            server = self._board.place(self.name)
            if server is None:
                self._ended.wait(LOOK_INTERVAL)
                continue
            connection = Connection(self.name, self._board, self._session,
                                    self._timeout)
            self._connection = connection
            if connection.open(server.url):
                connection.gone.wait()
                if not self._ended.is_set():
                    self._board.log(
                        f'{self.name} lost its connection to server '
                        f'{server.number}')
            self._board.lost(self.name)
            self._ended.wait(RETURN_DELAY)
