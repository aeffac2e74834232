"""Flask-SocketIO's test client, for a server whose manager is ours.

The client of Flask-SocketIO (5.3 to 5.7, ``test_client.py``) refuses every
message queue: it takes what the server sends from two of its methods, and the
manager of a queue delivers events in a task of its own. Our manager delivers
to local clients at once, unless recovery is on, and puts packets into the
queue of the connection: so the client gets a connection here.
"""
from typing import Any

from engineio.packet import PING
from flask_socketio.test_client import SocketIOTestClient

from .testing.client import LocalSocket


class _Forward:
    """Stands for an object: has its attributes, but for some that are
    replaced, and not its class."""

    def __init__(self, target: Any, **instead: Any) -> None:
        object.__setattr__(self, '_target', target)
        object.__setattr__(self, '_instead', instead)

    def __getattr__(self, name: str) -> Any:
        instead = object.__getattribute__(self, '_instead')
        if name in instead:
            return instead[name]
        return getattr(object.__getattribute__(self, '_target'), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, '_target'), name, value)


class _Socket(LocalSocket):
    """Hands what the server sends to the test client."""

    def _put(self, packet: Any) -> None:
        if packet.packet_type == PING:
            super()._put(packet)
        else:
            self._server._send_eio_packet(self.sid, packet)


# Flask-SocketIO has no type hints.
_Client: Any = SocketIOTestClient


# The type is ignored: a base class without types.
class StreamsTestClient(_Client):  # type: ignore[misc]
    """As ``flask_socketio.SocketIOTestClient``.

    :raises RuntimeError: connection state recovery is on: then events reach
                          clients in the order of the stream, after the call.
    """

    def __init__(self, app: Any, socketio: Any, *args: Any,
                 **kwargs: Any) -> None:
        server = socketio.server
        if server.manager._parts.tracker is not None:
            raise RuntimeError(
                'the test client cannot be used with connection state '
                'recovery: leave it out of your test configuration')
        # It refuses managers by their class.
        super().__init__(app, _Forward(socketio, server=_Forward(
            server, manager=_Forward(server.manager))), *args, **kwargs)
        self.socketio = socketio

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Connect the client to a namespace."""
        server = self.socketio.server
        if self.eio_sid not in server.eio.sockets:
            server.eio.sockets[self.eio_sid] = _Socket(
                server, self.eio_sid)
        super().connect(*args, **kwargs)
