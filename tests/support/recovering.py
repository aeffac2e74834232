"""A python-socketio server and clients without a network. The clients have
real Engine.IO sockets. A test decides when a connection is lost, and which
packets were received before. """
import json
import logging
from queue import Empty
from typing import Any, Dict, List, Optional

import socketio
from engineio.packet import MESSAGE, Packet, PING, PONG
from engineio.socket import Socket

from redis_streams_adapter import RedisStreamsManager

from .wait import wait_until


class Client:
    """A connection to one server, and its received packets."""

    def __init__(self, node: 'RecoveringNode') -> None:
        self.node = node
        eio = node.server.eio
        self.eio_sid = eio.generate_id()
        self.socket = Socket(eio, self.eio_sid)
        self.socket.connected = self.socket.upgraded = True
        # The connection was just accepted: no PING was sent yet.
        self.socket.last_ping = None
        eio.sockets[self.eio_sid] = self.socket
        self.received: List[str] = []
        #: The attributes that the JavaScript client keeps.
        self.pid: Optional[str] = None
        self.sid: Optional[str] = None
        self.offset: Optional[str] = None
        self.events: List[List[Any]] = []
        self.refused: Any = None
        node.server._handle_eio_connect(self.eio_sid, {})

    def connect(self, auth: Any = None, namespace: str = '/') -> 'Client':
        prefix = '' if namespace == '/' else namespace + ','
        self.say('0' + prefix + ('' if auth is None else json.dumps(auth)))
        self.receive()
        return self

    def say(self, text: str) -> None:
        self.node.server._handle_eio_message(self.eio_sid, text)

    def back(self) -> Dict[str, Any]:
        """The ``auth`` that the returning client sends."""
        shown = {'pid': self.pid}
        if self.offset is not None:
            shown['offset'] = self.offset
        return shown

    def receive(self) -> List[List[Any]]:
        """Receive all waiting packets, and return all events so far."""
        while True:
            try:
                packet = self.socket.queue.get(block=False)
            except Empty:
                return self.events
            if packet is not None and packet.packet_type == PING:
                self.socket.receive(Packet(PONG))
            if packet is None or packet.packet_type != MESSAGE:
                continue
            text = packet.data
            self.received.append(text)
            if text.startswith('0'):
                reply = json.loads(text[text.index('{'):])
                self.sid, self.pid = reply['sid'], reply.get('pid')
                # Earlier events are handled now.
                for args in self.events:
                    self._note_offset(args)
            elif text.startswith('4'):
                self.refused = text
            elif text.startswith('2'):
                args = json.loads(text[text.index('['):])
                self.events.append(args)
                self._note_offset(args)

    def _note_offset(self, args: List[Any]) -> None:
        if self.pid and isinstance(args[-1], str):
            self.offset = args[-1]

    def names(self) -> List[str]:
        return [event[0] for event in self.receive()]

    def await_names(self, *names: str) -> None:
        wait_until(lambda: self.names() == list(names),
                   what=lambda: f'{list(names)}, got {self.names()}')

    def lose(self) -> None:
        """Break the connection."""
        self.socket.close(wait=False, abort=True,
                          reason=self.node.server.reason.TRANSPORT_CLOSE)
        self.node.server.eio.sockets.pop(self.eio_sid, None)


class RecoveringNode:
    """A server with recovery."""

    def __init__(self, url: str, always_connect: bool = False,
                 recovery: Any = True, async_mode: str = 'threading',
                 **options: Any) -> None:
        self.manager = RedisStreamsManager(
            url, connection_state_recovery=recovery,
            logger=logging.getLogger('tests.recovering'), **options)
        self.server = socketio.Server(
            client_manager=self.manager, async_mode=async_mode,
            always_connect=always_connect, monitor_clients=False)

        @self.server.event
        def connect(sid: str, environ: Any) -> None:
            pass

    def client(self) -> Client:
        return Client(self)

    @property
    def writer(self) -> Any:
        """The session writer."""
        return self.manager._live().deliveries.session_writer

    def close(self) -> None:
        self.manager.close()
