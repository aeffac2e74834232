"""The names that an application may import."""
import inspect

import pytest
import socketio

import redis_streams_adapter
from redis_streams_adapter import errors, RedisStreamsManager
from redis_streams_adapter.errors import ClusterTimeoutError, \
    ConfigurationError, DecodeError, EventTooLargeError, NotStoredError, \
    OutboxFullError, RedisStreamsError
from redis_streams_adapter.concurrency.engines import check_monkey_patching


def test_exported_names() -> None:
    assert redis_streams_adapter.__all__ == [
        'ClusterTimeoutError', 'ConfigurationError', 'DecodeError',
        'EventTooLargeError', 'NodeStats', 'NotStoredError', 'OutboxFullError',
        'RedisStreamsError',
        'RedisStreamsManager']
    for name in redis_streams_adapter.__all__:
        assert getattr(redis_streams_adapter, name).__name__ == name
    with pytest.raises(AttributeError, match='no_such_name'):
        redis_streams_adapter.no_such_name


def test_star_import() -> None:
    names: dict = {}
    exec('from redis_streams_adapter import *', names)
    assert set(redis_streams_adapter.__all__) <= set(names)


def test_version() -> None:
    assert redis_streams_adapter.__version__[0].isdigit()


def test_tree_of_errors() -> None:
    assert RedisStreamsError.__bases__ == (Exception,)
    assert ConfigurationError.__bases__ == (RedisStreamsError, ValueError)
    assert ClusterTimeoutError.__bases__ == (RedisStreamsError, TimeoutError)
    assert OutboxFullError.__bases__ == (RedisStreamsError,)
    # Not an OutboxFullError, after which a caller may try again.
    assert EventTooLargeError.__bases__ == (RedisStreamsError, ValueError)
    assert NotStoredError.__bases__ == (RedisStreamsError,)
    assert DecodeError.__bases__ == (RedisStreamsError,)
    defined = {name for name, value in vars(errors).items()
               if inspect.isclass(value)
               and value.__module__ == errors.__name__}
    assert defined == {name for name in redis_streams_adapter.__all__
                       if name.endswith('Error')}


def test_timeout_names_missing_servers() -> None:
    error = ClusterTimeoutError(['a'], ['uid'])
    # Node.js has the same text.
    assert str(error) == \
        'timeout reached: only 1 responses received out of 2'
    assert error.responses == ['a']
    assert error.missing == ['uid']
    assert str(ClusterTimeoutError()).endswith('0 responses received out of 0')


def test_methods_called_by_python_socketio() -> None:
    """The manager's methods have all parameters that python-socketio's server
    passes."""
    for name in ('emit', 'disconnect', 'can_disconnect', 'enter_room',
                 'leave_room', 'close_room', 'initialize', 'set_server'):
        ours = inspect.signature(getattr(RedisStreamsManager, name))
        theirs = inspect.signature(getattr(socketio.PubSubManager, name))
        assert list(theirs.parameters) == list(ours.parameters)[
            :len(theirs.parameters)], name


def test_monkey_patching_is_required_only_if_needed() -> None:
    for mode in ('threading', 'asgi'):
        check_monkey_patching(mode)
