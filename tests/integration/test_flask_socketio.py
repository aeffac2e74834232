"""The same tests for Flask-SocketIO applications."""
from typing import Callable, Iterator, List, Tuple

import pytest

from redis_streams_adapter import ConfigurationError
from redis_streams_adapter.flask_socketio import SocketIO

from ..conftest import running
from ..support.client import Client
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from .conftest import start_managers

# It warns that eventlet is only maintained: Flask-SocketIO tries it first.
pytestmark = pytest.mark.filterwarnings(
    r'ignore:\s*Eventlet is deprecated')

Connect = Callable[..., Client]
Unique = Callable[[str], str]


@pytest.fixture(scope='module')
def message_queue(redis_server: RedisServer) -> str:
    """The URL that configures an application."""
    return (redis_server.url.replace('redis://', 'redis+streams://')
            + '?heartbeat_interval=1&heartbeat_timeout=60&max_len=50000')


@pytest.fixture(scope='module')
def pair(mode: str, message_queue: str) -> Iterator[List[NodeProcess]]:
    """Two nodes."""
    with running([NodeProcess(mode, message_queue, {'channel': 'flask'},
                              flask=True) for _ in range(2)]) as nodes:
        start_managers(nodes)
        yield nodes


@pytest.fixture
def clients(pair: List[NodeProcess],
            connect: Connect) -> Tuple[Client, Client]:
    """A client on each node."""
    return connect(pair[0]), connect(pair[1])


def test_emit(pair: List[NodeProcess], clients: Tuple[Client, Client],
              unique: Unique) -> None:
    event, marker = unique('event'), unique('marker')
    pair[0].invoke('front', 'emit', event, (1, b'\x00'))
    pair[0].invoke('front', 'emit', event, 'one', to=clients[1].sid)
    pair[0].invoke('front', 'emit', event, 'other',
                   skip_sid=clients[1].sid)
    pair[0].invoke('front', 'emit', marker)
    for client in clients:
        client.wait_for(marker)
    assert clients[0].received(event) == [(1, b'\x00'), ('other',)]
    assert clients[1].received(event) == [(1, b'\x00'), ('one',)]


def test_namespace(pair: List[NodeProcess], connect: Connect,
                   unique: Unique) -> None:
    chat, event = connect(pair[1], '/chat'), unique('event')
    pair[0].invoke('front', 'emit', event, 'hello', namespace='/chat')
    assert chat.wait_for(event) == [('hello',)]


def test_rooms_of_event_handlers(pair: List[NodeProcess],
                                 clients: Tuple[Client, Client],
                                 connect: Connect, unique: Unique) -> None:
    """``join_room`` on one node, ``emit(..., to=room)`` on the other."""
    outsider = connect(pair[1])
    room, event, marker = unique('room'), unique('event'), unique('marker')
    for client in clients:
        client.call('join', room)
    clients[0].call('say', event, 'hello', room)
    pair[0].invoke('front', 'emit', marker)
    for client in (*clients, outsider):
        client.wait_for(marker)
    assert clients[0].received(event) == []
    assert clients[1].received(event) == [('hello',)]
    assert outsider.received(event) == []


def test_call_and_disconnect(pair: List[NodeProcess],
                             clients: Tuple[Client, Client],
                             unique: Unique) -> None:
    event = unique('event')
    clients[1].answer(event, 'yes')
    assert pair[0].invoke('front', 'call', event, 'question',
                          to=clients[1].sid) == 'yes'
    pair[0].disconnect(clients[1].sid)
    clients[1].wait_disconnected()


def test_external_process(pair: List[NodeProcess], message_queue: str,
                          clients: Tuple[Client, Client],
                          unique: Unique) -> None:
    """Without an application, the process only writes."""
    event, marker = unique('event'), unique('marker')
    outside = SocketIO(message_queue=message_queue, channel='flask')
    outside.emit(event, (1, 'two', b'three'))
    outside.emit(event, 'one', to=clients[0].sid)
    outside.emit(marker, None)
    for client in clients:
        client.wait_for(marker)
    assert clients[0].received(event) == [(1, 'two', b'three'), ('one',)]
    assert clients[1].received(event) == [(1, 'two', b'three')]
    for node in pair:
        assert node.server_count() == 2
    outside.server.manager.close()


def test_external_process_in_a_node(pair: List[NodeProcess],
                                    clients: Tuple[Client, Client],
                                    unique: Unique) -> None:
    event = unique('event')
    pair[0].make_emitter(channel='flask')
    pair[0].invoke('emitter', 'emit', event, 'hello')
    for client in clients:
        assert client.wait_for(event) == [('hello',)]


def test_channel_is_the_name_of_the_stream(
        pair: List[NodeProcess], message_queue: str,
        clients: Tuple[Client, Client], redis_server: RedisServer,
        unique: Unique) -> None:
    channel, event = unique('channel'), unique('event')
    outside = SocketIO(message_queue=message_queue, channel=channel)
    outside.emit(event, 'elsewhere')
    with redis_server.client() as redis:
        ((_, fields),) = redis.xrange(channel)
    assert b'elsewhere' in fields[b'data']
    pair[0].invoke('front', 'emit', event, 'here')
    for client in clients:
        assert client.wait_for(event) == [('here',)]
    outside.server.manager.close()


@pytest.mark.parametrize('query, named', [
    ('?nonsense=1', 'nonsense'), ('?max_len=many', 'max_len'),
    ('?heartbeat_interval=9&heartbeat_timeout=8', 'heartbeat_timeout')])
def test_wrong_options(redis_server: RedisServer, query: str,
                       named: str) -> None:
    url = redis_server.url.replace('redis://', 'redis+streams://')
    with pytest.raises(ConfigurationError, match=named):
        SocketIO(message_queue=url + query)


def test_other_queues_are_unchanged(redis_server: RedisServer) -> None:
    """Flask-SocketIO itself handles a plain ``redis://``."""
    plain = SocketIO(message_queue=redis_server.url)
    assert type(plain.server.manager).__name__ == 'RedisManager'
