"""How a manager is made, and its logger."""
import logging
import threading
from typing import Any, Callable

import pytest
import socketio

from redis_streams_adapter import ConfigurationError, RedisStreamsManager

from ..conftest import NOWHERE
from ..fake_server import DateJSON, make_server
from redis_streams_adapter.testing.stream import FakeStream
from ..nodes import Node

MakeManager = Callable[..., RedisStreamsManager]


def test_manager_is_client_manager() -> None:
    manager = RedisStreamsManager(NOWHERE)
    assert isinstance(manager, socketio.PubSubManager)
    assert manager.name == 'redis-streams'
    assert manager.channel == 'socket.io'
    assert not manager.write_only


def test_positional_arguments_match_python_socketio() -> None:
    logger = logging.getLogger('x')
    manager = RedisStreamsManager(NOWHERE, 'name', True, logger, DateJSON,
                                  {'socket_timeout': 2.0})
    assert manager.channel == 'name'
    assert manager.write_only
    assert manager.logger is logger
    with pytest.raises(TypeError):
        RedisStreamsManager(NOWHERE, 'name', True, logger, DateJSON, {}, 1)


def test_channel_is_alias_of_stream_name(make_manager: MakeManager,
                                         stream: FakeStream) -> None:
    assert make_manager(channel='name').channel == 'name'
    assert make_manager(stream_name='name').channel == 'name'
    for wrong in ({'stream_name': 'a', 'channel': 'b'},
                  {'stream_name': 'a', 'channel': 'a'}):
        with pytest.raises(ConfigurationError, match='channel'):
            make_manager(**wrong)


@pytest.mark.parametrize('options, name', [
    ({'no_such_option': 1}, 'no_such_option'),
    ({'max_length': 5}, 'max_length'), ({'max_len': 0}, 'max_len'),
    ({'heartbeat_timeout': 1}, 'heartbeat_timeout'),
    ({'channel': ''}, 'channel'), ({'stream_count': 0}, 'stream_count'),
    ({'redis_options': {'no_such_option': 1}}, 'no_such_option'),
    ({'redis_options': {'socket_timeout': 0}}, 'socket_timeout'),
    ({'url': 'http://host'}, 'url'), ({'url': None}, 'url')])
def test_wrong_options_are_named(options: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        RedisStreamsManager(**{'url': NOWHERE, **options})


def test_unused_manager_does_nothing(make_node: Callable[..., Node],
                                     stream: FakeStream) -> None:
    threads = threading.active_count()
    node = make_node()
    assert node.manager.flush(0)
    node.manager.close()
    assert threading.active_count() == threads
    assert stream.connections == 0


def test_manager_uses_given_logger(make_manager: MakeManager) -> None:
    own = logging.getLogger('tests.unit.own')
    assert make_manager(logger=own)._get_logger() is own
    # A server that was not asked to log shows errors alone.
    quiet, loud = make_manager(), make_manager()
    make_server(client_manager=quiet)
    assert quiet._get_logger().name == 'redis_streams_adapter'
    its = logging.getLogger('tests.unit.server')
    its.setLevel(logging.INFO)
    make_server(client_manager=loud, logger=its)
    assert loud._get_logger() is its
