"""User sessions of applications, including those that cannot be stored."""
import logging
from typing import Any, Callable, Dict, List

import pytest

from redis_streams_adapter.protocol.values import Serialiser
from redis_streams_adapter.recovery.client_session import ClientSession
from redis_streams_adapter.recovery.session import Session

from .writing import DURATION, FakeSessions, Node, INTERVAL

LARGE = {'a': 'x' * 1000}


@pytest.fixture
def small_node(store: FakeSessions, clock: Any,
               logger: Callable[[], logging.Logger]) -> Node:
    return Node(store, logger, max_bytes=500)


@pytest.mark.parametrize('data, why', [
    (LARGE, 'max_session_bytes is 500'), ({'a': object()}, 'object')])
def test_unserializable_session_is_not_stored(
        small_node: Node, store: FakeSessions, clock: Any, data: Any,
        why: str, logged: Callable[[int], List[str]]) -> None:
    """No older session is stored instead; the error is logged once."""
    node, client = small_node, small_node.connected()
    client.data = data
    for number in range(3):
        node.enter_room(client, str(number))
        node.run_once()
        clock.now += INTERVAL
    assert store.values == {}
    warning, = logged(logging.WARNING)
    assert client.sid in warning and why in warning
    assert client.pid not in warning
    # Until it can be stored again.
    client.data = {'a': 1}
    node.local.change(client)
    node.run_once()
    stored = node.stored(client)
    assert stored is not None and stored.data == {'a': 1}
    client.data = data
    node.local.change(client)
    node.run_once()
    assert store.values == {}
    assert len(logged(logging.WARNING)) == 1


def test_session_always_too_large_is_logged_once(
        small_node: Node, store: FakeSessions, clock: Any,
        logged: Callable[[int], List[str]]) -> None:
    node, client = small_node, small_node.connect()
    client.data = LARGE
    node.writer.write_first(client)
    node.local.settle(client)
    node.run_once()
    clock.now += DURATION
    node.run_once()
    node.disconnect(client)
    node.run_once()
    assert store.calls == []
    assert node.local.of_pid(client.pid) is None
    assert len(logged(logging.WARNING)) == 1


def test_too_large_session_is_refused(small_node: Node) -> None:
    check = small_node.writer.codec.check_size
    check({})
    check(None)
    check({'a': 'x' * 300})
    with pytest.raises(ValueError, match='max_session_bytes is 500'):
        check({'a': 'x' * 400})
    with pytest.raises(TypeError):
        check({'a': object()})
    deep: List[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match='nested'):
        check(deep)


@pytest.mark.parametrize('error', [
    KeyError('x'), RecursionError('x'), RuntimeError('x'), OSError('x')],
    ids=repr)
def test_any_error_of_serializer_is_caught(
        node: Node, store: FakeSessions, error: Exception,
        logged: Callable[[int], List[str]]) -> None:
    """The error affects only one client."""
    bad, good = node.connected('bad'), node.connected('good')

    def describe(client: ClientSession) -> Session:
        if client is bad:
            raise error
        return Node.describe(client)

    node.writer._describe = describe
    for client in bad, good:
        node.enter_room(client, 'x')
    assert node.run_once()
    assert node.stored(bad) is None
    stored = node.stored(good)
    assert stored is not None and stored.rooms == ('good', 'x')
    assert len(logged(logging.WARNING)) == 1


def test_session_changed_during_encoding_is_retried(node: Node) -> None:
    """A handler changes it in another task."""
    client = node.connected()
    serialiser, attempts = node.writer.codec._serialiser, []

    def pack(fields: Dict[str, Any]) -> bytes:
        attempts.append(fields)
        if len(attempts) % 3:
            raise RuntimeError('dictionary changed size during iteration')
        return Serialiser.pack(serialiser, fields)

    serialiser.pack = pack  # type: ignore[method-assign]
    node.enter_room(client, 'x')
    node.run_once()
    stored = node.stored(client)
    assert stored is not None and stored.rooms == ('s', 'x')
    assert attempts


def test_copy_is_independent(node: Node) -> None:
    """Later changes by the application do not change the copy."""
    client = node.connected()
    client.data = {'a': [1], 2: (3,)}
    session = node.describe(client)
    copy = node.writer.codec.copy(session)
    assert copy == session._replace(data={'a': [1], '2': [3]})
    client.data['a'].append(2)
    assert copy.data['a'] == [1]
    # A session that cannot be encoded is returned unchanged.
    client.data['b'] = object()
    assert node.writer.codec.copy(session) is session
