"""Servers whose managers use the fake stream, and their entries."""
import threading
from typing import Any, Callable, List, NamedTuple, Optional

import socketio

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.codec import decode, open_envelope
from redis_streams_adapter.protocol.messages import MessageType

from ..support.wait import DEADLINE
from .fake_server import FakeClient
from redis_streams_adapter.testing.stream import FakeStream


def session_writer(manager: RedisStreamsManager) -> Any:
    """The session writer of a manager."""
    return manager._live().deliveries.session_writer


class Node(NamedTuple):
    """One server with its manager."""

    server: socketio.Server
    manager: RedisStreamsManager

    def connect(self, *namespaces: str) -> FakeClient:
        return FakeClient(self.server, *namespaces)

    @property
    def open_requests(self) -> int:
        """The number of requests that wait for answers."""
        return len(self.manager._live().node._requests)

    @property
    def open_acks(self) -> int:
        """The number of acknowledgements that python-socketio waits for. Its
        entry 0 is the counter."""
        return sum(number != 0 for acks in self.manager.callbacks.values()
                   for number in acks)

    def kill(self) -> None:
        """End all tasks without a goodbye, as in a killed process."""
        self.manager._live().abandon()


class Pair(NamedTuple):
    """Two nodes that know each other."""

    a: Node
    b: Node

    def connect(self, *namespaces: str) -> List[FakeClient]:
        """Connect a client to each node."""
        return [node.connect(*namespaces) for node in self]


def messages(stream: FakeStream, kind: Optional[MessageType] = None) -> Any:
    """The stream's messages of one type, or all except heartbeats."""
    envelopes = [open_envelope(entry.fields) for entry in stream.history]
    return [decode(envelope) for envelope in envelopes
            if envelope.type == kind or kind is None and envelope.type not in (
                MessageType.INITIAL_HEARTBEAT, MessageType.HEARTBEAT)]


class Call:
    """A call in a separate thread.

    :param function: called at once.
    """

    def __init__(self, function: Callable[..., Any], *args: Any,
                 **kwargs: Any) -> None:
        self._returned: List[Any] = []
        self._raised: List[BaseException] = []

        def run() -> None:
            try:
                self._returned.append(function(*args, **kwargs))
            except Exception as exc:
                self._raised.append(exc)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def waits(self) -> bool:
        """Whether the call has not ended yet."""
        return self._thread.is_alive()

    def result(self) -> Any:
        """Wait until the call ends.

        :return: the result of the call.
        :raises Exception: the exception of the call.
        """
        self._thread.join(DEADLINE)
        assert not self.waits, 'the call does not end'
        if self._raised:
            raise self._raised[0]
        return self._returned[0]


def answer(client: FakeClient, name: str, *args: Any,
           namespace: str = '/') -> None:
    """Acknowledge the last event of this name."""
    client.wait_for(name, namespace=namespace)
    event = [each for each in client.events(namespace)
             if each.name == name][-1]
    client.acknowledge(event, *args, namespace=namespace)
