"""A client of a real server, without a network."""
from typing import Any, List

import pytest
import socketio

from redis_streams_adapter.testing.client import LocalClient


@pytest.fixture
def server() -> Any:
    return socketio.Server(async_mode='threading', namespaces='*')


def test_client_connects_and_leaves(server: Any) -> None:
    calls: List[Any] = []
    server.on('connect', lambda sid, environ, auth: calls.append(
        (sid, environ['x'], auth)))
    server.on('disconnect', lambda sid, reason: calls.append((sid, reason)))
    client = LocalClient(server, environ={'x': 1}, auth={'token': 't'})
    sid = client.sid
    assert calls == [(sid, 1, {'token': 't'})]
    assert client.reply() == {'sid': sid}
    assert client.refusal() is None
    client.leave()
    assert calls[1:] == [(sid, server.reason.CLIENT_DISCONNECT)]
    with pytest.raises(LookupError):
        client.sid


def test_refused_client_has_no_sid(server: Any) -> None:
    @server.on('connect')
    def connect(sid: str, environ: Any) -> None:
        raise socketio.exceptions.ConnectionRefusedError('not today')

    client = LocalClient(server)
    assert client.reply() is None
    assert client.refusal() == {'message': 'not today'}
    with pytest.raises(LookupError, match='not connected to /'):
        client.sid


def test_client_connects_to_namespaces(server: Any) -> None:
    client = LocalClient(server, '/a', '/b')
    assert client.sid == client.sid_in('/a') != client.sid_in('/b')
    server.emit('hello', 1, namespace='/a')
    server.emit('hello', 2, namespace='/b')
    assert client.received('hello', '/a') == [(1,)]
    assert client.received('hello', '/b') == [(2,)]
    assert client.received('hello') == []
    client.say_goodbye('/a')
    with pytest.raises(LookupError):
        client.sid_in('/a')
    client.sid_in('/b')


def test_client_sends_and_receives_events(server: Any) -> None:
    calls: List[Any] = []

    @server.on('question')
    def question(sid: str, *args: Any) -> Any:
        calls.append(args)
        return 'answer', 7

    client = LocalClient(server)
    client.emit('question', {'a': [1]}, b'\x00')
    assert calls == [({'a': [1]}, b'\x00')]
    server.emit('binary', (b'\x01', 'text', [b'\x02']))
    server.emit('text', 'x')
    assert [event.args for event in client.events()] == [
        (b'\x01', 'text', [b'\x02']), ('x',)]
    assert client.wait_for('text') == [('x',)]


def test_client_gets_acknowledgements(server: Any) -> None:
    client = LocalClient(server)
    answers: List[Any] = []
    server.emit('question', 1, to=client.sid,
                callback=lambda *args: answers.append(args))
    event, = client.events()
    assert event.ack_id is not None
    client.acknowledge(event, 'yes', b'\x00')
    assert answers == [('yes', b'\x00')]
    server.emit('statement', 1)
    with pytest.raises(ValueError, match='does not ask for'):
        client.acknowledge(client.events()[1])


def test_wait_without_event_raises(server: Any) -> None:
    client = LocalClient(server)
    server.emit('hello', 1)
    with pytest.raises(AssertionError, match='expected .hello. 2 times'):
        client.wait_for('hello', 2, timeout=0.01)
    server.emit('hello', 2)
    server.emit('hello', 3)
    with pytest.raises(AssertionError):
        client.wait_for('hello', 2)


def test_ended_connection_is_noticed(server: Any) -> None:
    reasons: List[str] = []
    server.on('disconnect', lambda sid, reason: reasons.append(reason))
    LocalClient(server).lose()
    assert reasons == [server.reason.TRANSPORT_CLOSE]
    client = LocalClient(server)
    assert not client.was_disconnected()
    server.disconnect(client.sid)
    assert client.was_disconnected()
    assert len(reasons) == 2
