"""A client of any server of the cluster, as found by
:meth:`~redis_streams_adapter.RedisStreamsManager.fetch_sockets`."""
from typing import Any, Dict, List, Mapping, Optional, Protocol

from ..errors import ClusterTimeoutError
from ..protocol.messages import Room


class Manager(Protocol):
    """What a remote socket calls on its manager."""

    def emit(self, event: str, data: Any, namespace: Optional[str] = None,
             room: Any = None) -> None: ...

    def emit_with_ack(self, event: str, data: Any = None, to: Any = None, *,
                      namespace: str = '/', timeout: float = 5) -> List[Any]:
        ...

    def sockets_join(self, rooms: Any, to: Any = None, *,
                     namespace: str = '/') -> None: ...

    def sockets_leave(self, rooms: Any, to: Any = None, *,
                      namespace: str = '/') -> None: ...

    def disconnect_sockets(self, to: Any = None, *, namespace: str = '/',
                           close: bool = False) -> None: ...


class RemoteSocket:
    """A client of any server, with the calls that act on it.

    Its attributes are those of the moment at which its server answered.
    """

    def __init__(self, manager: Manager, namespace: str, node: str,
                 description: Mapping[str, Any]) -> None:
        self._manager = manager
        #: The namespace that it is connected to.
        self.namespace = namespace
        #: The uid of its server.
        self.node = node
        #: Its id.
        self.sid: str = description['id']
        #: The rooms that it is in; one of them has its id as name.
        self.rooms: List[Room] = list(description['rooms'])
        #: Its session, as far as it can be sent; on a server in Node.js,
        #: ``socket.data``.
        self.data: Any = description.get('data')
        if self.data is None:
            self.data = {}
        #: How it connected, with Node's keys: ``headers``, ``time``,
        #: ``address``, ``xdomain``, ``secure``, ``issued`` (milliseconds
        #: since 1970), ``url``, ``query`` and ``auth`` (empty if its server
        #: is in Python).
        self.handshake: Dict[str, Any] = dict(description['handshake'])

    def __repr__(self) -> str:
        return f'<RemoteSocket {self.sid} of node {self.node}>'

    def emit(self, event: str, data: Any = None) -> None:
        """Emit an event to the client."""
        self._manager.emit(event, data, namespace=self.namespace,
                           room=self.sid)

    def call(self, event: str, data: Any = None, timeout: float = 60) -> Any:
        """Emit an event to the client, and wait for its acknowledgement.

        :param timeout: seconds.
        :return: the acknowledgement's argument; a tuple if it has several,
                 ``None`` if it has none.
        :raises ClusterTimeoutError: the client has not answered in time, or
                                     is gone.
        """
        responses = self._manager.emit_with_ack(
            event, data, self.sid, namespace=self.namespace, timeout=timeout)
        if not responses:
            raise ClusterTimeoutError(missing=[self.node])
        return responses[0]

    def enter_room(self, room: Any) -> None:
        """Make the client enter a room, or several."""
        self._manager.sockets_join(room, self.sid, namespace=self.namespace)

    def leave_room(self, room: Any) -> None:
        """Make the client leave a room, or several."""
        self._manager.sockets_leave(room, self.sid, namespace=self.namespace)

    def disconnect(self, close: bool = False) -> None:
        """Disconnect the client.

        :param close: close its connection, and with it all namespaces.
        """
        self._manager.disconnect_sockets(
            self.sid, namespace=self.namespace, close=close)
