"""Local sessions are registered and removed."""
from typing import Any

from redis_streams_adapter.protocol.position import Position

from .writing import DURATION, FakeSessions, Node


def test_registered_session_is_found(node: Node) -> None:
    local = node.local
    a = node.connect('a')
    chat = node.connect('b', '/chat')
    other = node.connect('c', connection='f')
    assert local.count == 3
    assert local.of_sid('a', '/') is a
    assert local.of_sid('b', '/chat') is chat
    assert local.of_sid('a', '/chat') is None
    assert local.of_sid('nobody', '/') is None
    assert local.of_pid(other.pid) is other
    assert local.of_pid('nobody') is None


def test_disconnected_client_loses_session(node: Node,
                                           store: FakeSessions) -> None:
    client = node.connected()
    node.disconnect(client, intended=True)
    # It may return before the deletion is written.
    assert node.local.of_pid(client.pid) is client
    assert node.local.of_sid(client.sid, '/') is None
    node.run_once()
    assert store.values == {}
    assert node.local.of_pid(client.pid) is None
    node.run_once()
    assert store.writes == 1


def test_disconnect_before_first_write_writes_nothing(
        node: Node, store: FakeSessions) -> None:
    client = node.connect()
    node.disconnect(client, intended=True)
    node.run_once()
    assert store.values == {}
    assert store.calls == []
    assert node.local.of_pid(client.pid) is None


def test_disconnect_of_missing_session_is_completed(
        node: Node, store: FakeSessions) -> None:
    client = node.connected()
    node.local.discard(client)
    store.values.clear()
    node.disconnect(client)
    node.run_once()
    assert node.local.of_pid(client.pid) is None
    assert client.is_held


def test_lost_connection_keeps_session(node: Node, store: FakeSessions,
                                       clock: Any) -> None:
    client = node.connected()
    client.upto, client.sent = Position(300), Position(299)
    node.enter_room(client, 'last')
    node.local.leave(client)
    # Changes in its disconnect handler are included.
    node.enter_room(client, 'too late')
    node.position = Position(400)
    node.disconnect(client)
    node.run_once()
    stored = node.stored(client)
    assert stored is not None
    assert stored.rooms == ('last', 's')
    assert (stored.upto, stored.sent) == (Position(300), Position(299))
    assert node.local.of_pid(client.pid) is None
    # Its expiry starts now.
    store.calls.clear()
    clock.now += DURATION
    node.run_once()
    assert store.calls == []


def test_expiry_starts_when_client_is_lost(node: Node,
                                           store: FakeSessions) -> None:
    """The session is written even if it has not changed."""
    client = node.connected()
    node.disconnect(client)
    node.run_once()
    assert store.calls == [('swap', [client.pid])]


def test_session_expires_during_long_outage(node: Node, store: FakeSessions,
                                            clock: Any) -> None:
    """The session is no longer written: its client cannot return."""
    client, here = node.connected(), node.connected('here')
    node.disconnect(client)
    store.faults.extend(['before'] * 2)
    assert not node.run_once()
    clock.now += DURATION
    assert not node.run_once()
    assert node.local.of_pid(client.pid) is client
    store.calls.clear()
    clock.now += 1
    assert node.run_once()
    assert node.local.of_pid(client.pid) is None
    assert all(client.pid not in pids for _, pids in store.calls)
    assert node.local.of_pid(here.pid) is here
