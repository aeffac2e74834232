"""Clients are registered, and leave."""
from typing import Any

from redis_streams_adapter.protocol.position import Position

from .writing import DURATION, FakeSessions, House


def test_registered_session_is_found(house: House) -> None:
    local = house.local
    a = house.enter('a')
    chat = house.enter('b', '/chat')
    other = house.enter('c', connection='f')
    assert local.count == 3
    assert local.of_sid('a', '/') is a
    assert local.of_sid('b', '/chat') is chat
    assert local.of_sid('a', '/chat') is None
    assert local.of_sid('nobody', '/') is None
    assert local.of_pid(other.pid) is other
    assert local.of_pid('nobody') is None


def test_disconnected_client_loses_session(house: House,
                                           store: FakeSessions) -> None:
    client = house.stays()
    house.leave(client, intended=True)
    # It may return before that is written.
    assert house.local.of_pid(client.pid) is client
    assert house.local.of_sid(client.sid, '/') is None
    house.round()
    assert store.values == {}
    assert house.local.of_pid(client.pid) is None
    house.round()
    assert store.writes == 1


def test_disconnect_before_first_write_writes_nothing(
        house: House, store: FakeSessions) -> None:
    client = house.enter()
    house.leave(client, intended=True)
    house.round()
    assert store.values == {}
    assert store.calls == []
    assert house.local.of_pid(client.pid) is None


def test_disconnect_of_missing_session_is_completed(
        house: House, store: FakeSessions) -> None:
    client = house.stays()
    house.local.discard(client)
    store.values.clear()
    house.leave(client)
    house.round()
    assert house.local.of_pid(client.pid) is None
    assert client.is_held


def test_lost_connection_keeps_session(house: House, store: FakeSessions,
                                       clock: Any) -> None:
    client = house.stays()
    client.upto, client.sent = Position(300), Position(299)
    house.room(client, 'last')
    house.local.leave(client)
    # Whatever changes in its disconnect handler.
    house.room(client, 'too late')
    house.position = Position(400)
    house.leave(client)
    house.round()
    kept = house.kept(client)
    assert kept is not None
    assert kept.rooms == ('last', 's')
    assert (kept.upto, kept.sent) == (Position(300), Position(299))
    assert house.local.of_pid(client.pid) is None
    # Its time runs from now on.
    store.calls.clear()
    clock.now += DURATION
    house.round()
    assert store.calls == []


def test_expiry_starts_when_client_is_lost(house: House,
                                           store: FakeSessions) -> None:
    """Also if nothing has changed."""
    client = house.stays()
    house.leave(client)
    house.round()
    assert store.calls == [('swap', [client.pid])]


def test_session_expires_during_long_outage(house: House, store: FakeSessions,
                                            clock: Any) -> None:
    """The session is not written any more: its client cannot return."""
    client, here = house.stays(), house.stays('here')
    house.leave(client)
    store.faults.extend(['before'] * 2)
    assert not house.round()
    clock.now += DURATION
    assert not house.round()
    assert house.local.of_pid(client.pid) is client
    store.calls.clear()
    clock.now += 1
    assert house.round()
    assert house.local.of_pid(client.pid) is None
    assert all(client.pid not in pids for _, pids in store.calls)
    assert house.local.of_pid(here.pid) is here
