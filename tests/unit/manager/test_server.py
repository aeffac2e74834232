"""The server that a manager is given to."""
import pytest
import socketio

from redis_streams_adapter import ConfigurationError, RedisStreamsManager


def test_asyncio_server_is_refused() -> None:
    """It would fail with its first event."""
    manager = RedisStreamsManager()
    with pytest.raises(ConfigurationError) as caught:
        socketio.AsyncServer(client_manager=manager)
    # What to use instead.
    for name in ('AsyncServer', 'socketio.Server', 'AsyncRedisManager'):
        assert name in str(caught.value)
    assert manager.server is None
