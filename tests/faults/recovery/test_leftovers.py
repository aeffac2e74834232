"""Clients that are gone leave nothing in memory."""
from typing import Any, List

import pytest

from .harness import client_with_offset, emit, MakeNode, wait_nothing_left


def test_emits_without_clients_are_not_kept(make_node: MakeNode) -> None:
    """A server that never had a client keeps none of its emits."""
    one = make_node()
    for _ in range(100):
        emit(one, 'a')
    one.manager.flush(5)
    delivery, = [each.delivery for each in one.manager._live().channels]
    assert not delivery.is_waiting


@pytest.mark.parametrize('returns', [False, True])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', [
    'refuses', 'raises', 'is lost', 'is lost and raises',
    'is lost and refuses',
    'disconnects'])
def test_connect_leaves_nothing_in_memory(make_node: MakeNode, way: str,
                                          always_connect: bool,
                                          returns: bool) -> None:
    """However a connect ends, nothing of it is left."""
    one = make_node(always_connect=always_connect)
    two = make_node(always_connect=always_connect)
    client = client_with_offset(one)
    client.lose()
    emit(one, 'b')
    calls: List[str] = []
    returning = two.client()

    @two.server.event
    def connect(sid: str, environ: Any) -> Any:
        calls.append('connect')
        two.server.emit('hello', 1, to=sid)
        if 'is lost' in way:
            returning.lose()
        if way == 'disconnects':
            two.server.disconnect(sid)
        if 'raises' in way:
            raise RuntimeError('the handler fails')
        return False if 'refuses' in way else None

    @two.server.event
    def disconnect(sid: str, reason: str) -> None:
        calls.append('disconnect')

    try:
        returning.connect(client.back() if returns else None)
    except RuntimeError:
        assert 'raises' in way
    except KeyError:
        # python-socketio does not find the client any more.
        assert way == 'is lost and refuses'
    returning.lose()
    if way == 'is lost and refuses':
        # python-socketio leaves an entry here.
        two.manager.pending_disconnect.clear()
    wait_nothing_left(two)
    if 'refuses' in way:
        assert 'b' not in returning.names()
    if way == 'refuses':
        assert 'disconnect' not in calls
    if way == 'dies':
        assert calls == ['connect', 'disconnect']


@pytest.mark.parametrize('shown', [None, {'pid': 'unknown'}])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', ['raises', 'is lost', 'is lost and raises'])
def test_connect_without_recovery_leaves_nothing_in_memory(
        make_node: MakeNode, way: str, always_connect: bool,
        shown: Any) -> None:
    one = make_node(always_connect=always_connect,
                    recovery={'accepts': lambda *_: False})
    client = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        if 'is lost' in way:
            client.lose()
        if 'raises' in way:
            raise RuntimeError('the handler fails')

    try:
        client.connect(shown)
    except RuntimeError:
        assert 'raises' in way
    client.lose()
    wait_nothing_left(one)


@pytest.mark.parametrize('way', ['lost', 'disconnected'])
def test_failing_disconnect_handler_leaves_nothing_in_memory(
        make_node: MakeNode, way: str, caplog: Any) -> None:
    """Nothing of the client is left, in any namespace, and it can return.
    """
    one = make_node()
    client = one.client()
    one.server.on('connect', lambda sid, environ: None, namespace='/more')

    @one.server.event
    def disconnect(sid: str, reason: str) -> None:
        raise RuntimeError('the handler fails')

    client.connect(namespace='/more')
    client.connect()
    if way == 'disconnected':
        one.server.disconnect(client.sid)
    client.lose()
    wait_nothing_left(one)
    assert any('handler of' in line for line in caplog.messages)
    again = one.client().connect(client.back())
    assert (again.sid == client.sid) == (way == 'lost')


def test_client_lost_while_refused_can_return(make_node: MakeNode) -> None:
    """A client whose connection was lost while it was refused is connected
    when it returns."""
    one = make_node(always_connect=True)
    client = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> Any:
        if client.socket.closed:
            return None
        client.lose()
        return False

    try:
        client.connect()
    except KeyError:
        # python-socketio does not find the client any more.
        client.receive()
    again = one.client().connect(client.back())
    assert again.sid == client.sid
    assert one.manager.is_connected(again.sid, '/')
