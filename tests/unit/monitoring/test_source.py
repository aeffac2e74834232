"""Where the state of a server comes from."""
from typing import Any, Callable

import pytest
import socketio

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.flask_socketio import SocketIO
from redis_streams_adapter.monitoring.source import find_manager, state_of
from redis_streams_adapter.testing.stream import FakeStream

from ..nodes import Node


def test_manager_and_server(make_node: Callable[..., Node]) -> None:
    node = make_node()
    assert find_manager(node.manager)() is node.manager
    assert find_manager(node.server)() is node.manager


def test_flask_without_an_application() -> None:
    assert find_manager(SocketIO())() is None


def test_flask_with_another_manager() -> None:
    front: Any = SocketIO()
    find = find_manager(front)
    front.server = socketio.Server(async_mode='threading')
    with pytest.raises(ConfigurationError, match='not Manager'):
        find()


@pytest.mark.parametrize('source', [
    None, 'redis://localhost', socketio.RedisManager(write_only=True),
    socketio.Server(async_mode='threading')],
    ids=lambda source: type(source).__name__)
def test_source_has_no_such_manager(source: Any) -> None:
    with pytest.raises(ConfigurationError, match='StreamsManager is needed'):
        find_manager(source)


def test_states(make_manager: Callable[..., RedisStreamsManager],
                stream: FakeStream) -> None:
    manager = make_manager()
    assert state_of(None) == state_of(manager) == {'status': 'starting'}
    assert stream.connections == 0
    manager.start()
    assert set(state_of(manager)) == set(manager.health())
    manager.close()
    assert state_of(manager) == {'status': 'closing'}
