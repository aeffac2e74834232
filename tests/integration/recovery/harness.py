"""Servers over a real Redis, and clients that connect and return."""
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
import socketio

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.recovery.session import Outcome, Session

from ...support.wait import DEADLINE
from ...unit.fake_server import FakeClient
from ...unit.nodes import session_writer

#: No heartbeat is written and no session renewed during a test.
SILENT = {'heartbeat_interval': 60.0, 'heartbeat_timeout': 120.0}


class Node:
    """A server, its manager, and the clients that were connected to it."""

    def __init__(self, server: socketio.Server,
                 manager: RedisStreamsManager) -> None:
        self.server = server
        self.manager = manager
        self.clients: List[FakeClient] = []
        #: The calls of its connect and disconnect handlers.
        self.connects: List[Tuple[str, Any, Any]] = []
        self.disconnects: List[Tuple[str, str]] = []
        #: Called by the connect handler.
        self.on_connect: Callable[[str], Any] = lambda sid: None
        server.on('connect', self._connect)
        server.on('disconnect', self._disconnect)

    def _connect(self, sid: str, environ: Dict[str, Any],
                 auth: Any = None) -> Any:
        self.connects.append((sid, environ['socketio.recovery'], auth))
        return self.on_connect(sid)

    def _disconnect(self, sid: str, reason: str) -> None:
        self.disconnects.append((sid, reason))

    def connect(self, *namespaces: str, auth: Any = None) -> FakeClient:
        client = FakeClient(self.server, *namespaces, auth=auth)
        self.clients.append(client)
        return client

    def reconnect(self, client: FakeClient, namespace: str = '/',
                  **changes: Any) -> FakeClient:
        """Let a client return to this node, as the JavaScript client does."""
        shown = {'pid': pid_of(client, namespace), **changes}
        offset = offset_of(client, namespace)
        if offset is not None:
            shown.setdefault('offset', offset)
        return self.connect(namespace, auth=shown)

    def outcome(self, client: FakeClient) -> Any:
        """The outcome of the recovery for a client of this node."""
        outcome = self.server.environ[client.eio_sid]['socketio.recovery']
        from_manager = self.manager.recovery(client.sid)
        assert from_manager is None or from_manager == outcome
        return outcome

    def crash(self) -> None:
        """End all tasks without a goodbye, as in a killed process."""
        self.manager._live().abandon()
        self.clients.clear()

    def is_written(self) -> bool:
        """Whether Redis has all changes. A client without a marked change may
        still have a write in progress."""
        writer: Any = session_writer(self.manager)
        return all(client.stored and client.stored == writer._value(client)
                   for client in writer.local.connected())

    @property
    def is_clean(self) -> bool:
        return not any(self.remains().values())

    def remains(self) -> Dict[str, Any]:
        """What memory holds of clients."""
        manager: Any = self.manager
        runtime = manager._live()
        returning, writer = manager._parts.tracker, session_writer(manager)
        timeline = runtime.delivery('/')
        return {
            'visits': returning._visits,
            'outcomes': returning._outcomes._outcomes,
            'connected': writer.local._by_sid, 'leaving': writer.local._by_pid,
            'sent': manager._parts.local.sent,
            'held': manager._parts.local._held,
            'waiting': list(timeline._waiting),
            'awaited': timeline._follower.waits.waits, 'rooms': manager.rooms,
            'pending': getattr(manager, 'pending_connect', ()),
            'pending to leave': manager.pending_disconnect,
            'environ': self.server.environ,
            'callbacks': manager.callbacks}


def pid_of(client: FakeClient, namespace: str = '/') -> str:
    return str(client.reply(namespace)['pid'])


def offset_of(client: FakeClient, namespace: str = '/') -> Optional[str]:
    """The value that the JavaScript client takes for the offset."""
    texts = [event.args[-1] for event in client.events(namespace)
             if event.args and isinstance(event.args[-1], str)]
    return texts[-1] if texts else None


def received(client: FakeClient,
             namespace: str = '/') -> List[Tuple[Any, ...]]:
    """The events of a client, without their offsets."""
    found = []
    for event in client.events(namespace):
        assert str(event.args[-1]).partition('-')[0].isdigit()
        found.append((event.name, *event.args[:-1]))
    return found


def hold_reader(node: Node,
                monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let a node's reader deliver nothing until the returned event is set."""
    reader = node.manager._live().channels[0].reader
    gate, handle = threading.Event(), reader._handle

    def wait(*args: Any) -> None:
        assert gate.wait(DEADLINE)
        handle(*args)

    monkeypatch.setattr(reader, '_handle', wait)
    return gate


MakeNode = Callable[..., Node]

StoredSession = Callable[..., Optional[Session]]

ALWAYS = pytest.mark.parametrize('always_connect', [False, True])


def forget_history(delivery: Any) -> None:
    """Make a server forget all that it has read of the stream; call it under
    the order lock."""
    at = delivery.position
    delivery.history.restart(at._replace(number=at.number + 1), START)


def check_refused(node: Node, client: FakeClient, reason: str,
                  count: int = 1) -> None:
    """It is connected anyway, as a new client."""
    assert node.outcome(client) == Outcome(False, reason)
    assert node.manager.recovery(client.sid) == Outcome(False, reason)
    assert node.connects[-1][:2] == (client.sid, Outcome(False, reason))
    assert client.reply()['sid'] == client.sid
    assert received(client) == []
    counter = 'not_recovered_' + reason.replace('-', '_')
    assert node.manager.stats()[counter] == count
    assert node.manager.stats()['recovered'] == 0
