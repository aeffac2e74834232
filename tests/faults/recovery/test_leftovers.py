"""What is left in memory of clients that are gone: nothing."""
from typing import Any, List

import pytest

from ...support.recovering import RecoveringNode
from ...support.wait import wait_until
from .harness import emit, Make


def test_emits_without_clients_are_not_kept(node: Make) -> None:
    """A server that never has clients remembers nothing of its emits."""
    one = node()
    for _ in range(100):
        emit(one, 'a')
    one.manager.flush(5)
    timeline, = [each.delivery for each in one.manager._live()._channels]
    assert not timeline.is_waiting


def left_over(node: RecoveringNode) -> Any:
    """What a server still knows of clients."""
    returning, delivery = node.manager._tracker, node.manager._delivery
    timeline = node.manager._live().delivery('/')
    return {name: value for name, value in {
        'visits': returning._visits,
        'outcomes': returning._outcomes._outcomes,
        'sent': delivery.sent, 'held': delivery._held,
        'connected': node.keeper.local._by_sid,
        'sessions': node.keeper.local._by_pid,
        'rooms': node.manager.rooms, 'environ': node.server.environ,
        'pending': getattr(node.manager, 'pending_connect', None),
        'going': node.manager.pending_disconnect,
        'awaited': timeline._awaited, 'waiting': timeline._waiting,
    }.items() if value}


@pytest.mark.parametrize('returns', [False, True])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', [
    'refuses', 'raises', 'dies', 'dies and raises', 'dies and refuses',
    'disconnects'])
def test_connect_leaves_nothing_in_memory(node: Make, way: str,
                                          always_connect: bool,
                                          returns: bool) -> None:
    """However a connect ends, nothing of it stays behind."""
    one = node(always_connect=always_connect)
    two = node(always_connect=always_connect)
    client = one.client().connect()
    emit(one, 'a')
    client.await_names('a')
    client.lose()
    emit(one, 'b')
    calls: List[str] = []
    coming = two.client()

    @two.server.event
    def connect(sid: str, environ: Any) -> Any:
        calls.append('connect')
        two.server.emit('hello', 1, to=sid)
        if 'dies' in way:
            coming.lose()
        if way == 'disconnects':
            two.server.disconnect(sid)
        if 'raises' in way:
            raise RuntimeError('the handler fails')
        return False if 'refuses' in way else None

    @two.server.event
    def disconnect(sid: str, reason: str) -> None:
        calls.append('disconnect')

    try:
        coming.connect(client.back() if returns else None)
    except RuntimeError:
        assert 'raises' in way
    except KeyError:
        # So python-socketio has it: it is gone already.
        assert way == 'dies and refuses'
    coming.lose()
    if way == 'dies and refuses':
        # So python-socketio has it, too.
        two.manager.pending_disconnect.clear()
    wait_until(lambda: not left_over(two),
               what=lambda: f'nothing to be left, there is {left_over(two)}')
    if 'refuses' in way:
        assert 'b' not in coming.names()
    if way == 'refuses':
        assert 'disconnect' not in calls
    if way == 'dies':
        assert calls == ['connect', 'disconnect']


@pytest.mark.parametrize('shown', [None, {'pid': 'unknown'}])
@pytest.mark.parametrize('always_connect', [False, True])
@pytest.mark.parametrize('way', ['raises', 'dies', 'dies and raises'])
def test_connect_without_recovery_leaves_nothing_in_memory(
        node: Make, way: str, always_connect: bool, shown: Any) -> None:
    one = node(always_connect=always_connect,
               recovery={'accepts': lambda *_: False})
    coming = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> None:
        if 'dies' in way:
            coming.lose()
        if 'raises' in way:
            raise RuntimeError('the handler fails')

    try:
        coming.connect(shown)
    except RuntimeError:
        assert 'raises' in way
    coming.lose()
    wait_until(lambda: not left_over(one),
               what=lambda: f'nothing to be left, there is {left_over(one)}')


@pytest.mark.parametrize('way', ['lost', 'disconnected'])
def test_failing_disconnect_handler_leaves_nothing_in_memory(
        node: Make, way: str, caplog: Any) -> None:
    """Nothing of the client stays behind, in any namespace, and it can
    return."""
    one = node()
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
    wait_until(lambda: not left_over(one),
               what=lambda: f'nothing to be left, there is {left_over(one)}')
    assert any('handler of' in line for line in caplog.messages)
    again = one.client().connect(client.back())
    assert (again.sid == client.sid) == (way == 'lost')


def test_client_lost_while_refused_can_return(node: Make) -> None:
    """A client whose connection was lost while it was refused returns, and
    is connected."""
    one = node(always_connect=True)
    coming = one.client()

    @one.server.event
    def connect(sid: str, environ: Any) -> Any:
        if coming.socket.closed:
            return None
        coming.lose()
        return False

    try:
        coming.connect()
    except KeyError:
        # So python-socketio has it.
        coming.receive()
    again = one.client().connect(coming.back())
    assert again.sid == coming.sid
    assert one.manager.is_connected(again.sid, '/')
