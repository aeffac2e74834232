"""Flask-SocketIO with a stream as its message queue."""
import logging
import subprocess
import sys
from typing import Any, Callable, Dict, List

import pytest
import socketio
from flask import Flask

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.flask_socketio import make_manager, SocketIO
from redis_streams_adapter.protocol.messages import Broadcast, EMITTER_UID
from redis_streams_adapter.protocol.codec import decode, open_envelope
from redis_streams_adapter.stream.topology import Sentinels

from ..support.wait import DEADLINE, wait_for_value
from .fake_server import FakeClient
from redis_streams_adapter.testing.stream import FakeStream

QUEUE = 'redis+streams://127.0.0.1:1'


def connection_of(url: str) -> Any:
    return make_manager(url)._driver.make(1.0, 'x')


def option_of(url: str, name: str) -> Any:
    return getattr(make_manager(url)._options, name)


@pytest.fixture
def make(make_manager: Callable[..., Any]) -> Any:
    """Makes SocketIO objects with the fake stream, and closes their managers
    at the end."""
    made: List[SocketIO] = []

    def make_socketio(*args: Any, **options: Any) -> SocketIO:
        # Engine.IO would otherwise try to import gevent and eventlet.
        made.append(SocketIO(*args, **{'async_mode': 'threading', **options}))
        return made[-1]

    yield make_socketio
    for each in made:
        manager = each.server and each.server.manager
        if isinstance(manager, RedisStreamsManager):
            manager.close(timeout=0.2)


# -- the URL -----------------------------------------------------------------

@pytest.fixture(autouse=True)
def sentinels(monkeypatch: pytest.MonkeyPatch) -> List[Sentinels]:
    """The Sentinels that were asked for the master. Each answers."""
    found: List[Sentinels] = []

    def master(asked: Sentinels) -> Any:
        found.append(asked)
        return 'master', 7001

    monkeypatch.setattr(Sentinels, 'master', master)
    return found


@pytest.mark.parametrize('url, expected', [
    ('redis+streams://', {'host': 'localhost', 'port': 6379, 'db': 0}),
    ('redis+streams://host:7000/5', {'host': 'host', 'port': 7000, 'db': 5}),
    ('redis+streams://user:p%40w@host/1?max_len=5',
     {'host': 'host', 'db': 1, 'username': 'user', 'password': 'p@w'}),
    ('redis+streams://host?db=3&client_name=a%26b&max_len=5',
     {'db': 3, 'client_name': 'a&b'}),
    ('rediss+streams://host', {'host': 'host'}),
    ('unix+streams:///tmp/redis.sock', {'path': '/tmp/redis.sock', 'db': 0}),
    ('unix+streams:///tmp/redis.sock?max_len=5&db=2',
     {'path': '/tmp/redis.sock', 'db': 2}),
    ('redis+sentinel+streams://user:pw@a:1,b:2/3/name?max_len=5',
     {'username': 'user', 'password': 'pw', 'db': 3}),
    ('redis+sentinel+streams://a:1/3/name?client_name=x',
     {'client_name': 'x'}),
])
def test_connections(url: str, expected: Dict[str, Any]) -> None:
    connection = connection_of(url)
    assert {name: getattr(connection, name)
            for name in expected} == expected


def test_schemes(sentinels: List[Sentinels]) -> None:
    assert 'SSL' in type(connection_of('rediss+streams://host')).__name__
    connection_of('redis+sentinel+streams://a:1/0/name')
    assert [each._service for each in sentinels] == ['name']
    for url in ('redis+cluster+streams://host', 'rediss+cluster+streams://a'):
        make_manager(url)


@pytest.mark.parametrize('url', [
    'http+streams://host', '+streams://host', 'streams://host',
    'redis+streams+streams://host', 'redis+streams://[::1',
    'redis+streams://host:port'])
def test_wrong_urls(url: str) -> None:
    with pytest.raises(ConfigurationError, match='url'):
        make_manager(url)


def test_socket_timeout() -> None:
    for url in ('redis+streams://host?socket_timeout=2.5',
                'redis+sentinel+streams://host/0/x?socket_timeout=2.5',
                'redis+cluster+streams://host?socket_timeout=2.5'):
        assert make_manager(url)._driver.socket_timeout == 2.5


@pytest.mark.parametrize('query, name, value', [
    ('max_len=50000', 'max_len', 50_000),
    ('stream_name=a%20b', 'stream_name', 'a b'),
    ('block_time=1.5', 'block_time', 1.5),
    ('only_plaintext=true', 'only_plaintext', True),
    ('publish=sync&max_len=5', 'publish', 'sync'),
    ('connection_state_recovery=false', 'connection_state_recovery', False)])
def test_options(query: str, name: str, value: Any) -> None:
    assert option_of(f'redis+streams://host/0?{query}', name) == value


@pytest.mark.parametrize('query, name', [
    ('no_such_option=1', 'no_such_option'), ('max_len=x', 'max_len'),
    ('max_len=0', 'max_len'), ('max_len=', 'max_len'),
    ('max_len=5&max_len=6', 'max_len'), ('on_loss=x', 'on_loss'),
    ('write_only=1', 'write_only'), ('publish=x', 'publish'),
    ('heartbeat_timeout=1', 'heartbeat_timeout'), ('db=x', 'db'),
    ('socket_timeout=0', 'socket_timeout')])
def test_wrong_options(query: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        make_manager(f'redis+streams://host?{query}')


def test_channel_is_the_name_of_the_stream() -> None:
    assert make_manager(QUEUE).channel == 'socket.io'
    assert make_manager(QUEUE, 'name').channel == 'name'
    assert make_manager(QUEUE + '?stream_name=name').channel == 'name'
    with pytest.raises(ConfigurationError, match='channel'):
        make_manager(QUEUE + '?stream_name=name', 'name')
    for wrong in ('', 5):
        with pytest.raises(ConfigurationError, match='stream_name'):
            make_manager(QUEUE, wrong)


# -- the server --------------------------------------------------------------

def test_application(make: Any, stream: FakeStream) -> None:
    server = make(Flask('a'), message_queue=QUEUE + '?max_len=5',
                  channel='name')
    manager = server.server.manager
    assert isinstance(manager, RedisStreamsManager)
    assert not manager.write_only
    assert manager.channel == 'name'
    assert manager._options.max_len == 5


def test_queue_configured_after_the_app(make: Any) -> None:
    server = make()
    server.init_app(Flask('a'), message_queue=QUEUE, channel='name')
    assert not server.server.manager.write_only
    assert server.server.manager.channel == 'name'


def test_app_configured_after_the_queue(make: Any, stream: FakeStream) -> None:
    """Without an application it only emits."""
    server = make(message_queue=QUEUE + '?max_len=5', channel='name')
    assert server.server.manager.write_only
    server.init_app(Flask('a'))
    manager = server.server.manager
    assert isinstance(manager, RedisStreamsManager)
    assert not manager.write_only
    assert manager.channel == 'name'
    assert manager._options.max_len == 5
    manager.start()
    wait_for_value(manager.server_count, 1)


def test_external_process(make: Any, stream: FakeStream) -> None:
    emitter = make(message_queue=QUEUE)
    assert emitter.server.manager.write_only
    emitter.emit('hello', {'a': 1}, to='room')
    envelope = open_envelope(stream.history[-1].fields)
    assert envelope.uid == EMITTER_UID
    message = decode(envelope)
    assert isinstance(message, Broadcast)
    assert message.args == ('hello', {'a': 1})
    assert message.target.rooms == ('room',)


def test_two_applications_and_an_external_process(
        make: Any, stream: FakeStream) -> None:
    servers = [make(Flask(name), message_queue=QUEUE) for name in 'ab']
    for server in servers:
        server.on_event('ask', lambda data: None)
    clients = [FakeClient(server.server) for server in servers]
    for server in servers:
        wait_for_value(server.server.manager.server_count, 2)
    servers[0].emit('hello', 'x')
    assert servers[0].server.manager.flush(DEADLINE)
    make(message_queue=QUEUE).emit('hello', b'y')
    for client in clients:
        assert client.wait_for('hello', 2) == [('x',), (b'y',)]


@pytest.mark.parametrize('url', [
    'redis+streams://host?no_such_option=1', 'http+streams://host'])
@pytest.mark.parametrize('app', [None, 'a'])
def test_wrong_queues(make: Any, url: str, app: Any) -> None:
    with pytest.raises(ConfigurationError):
        make(app and Flask(app), message_queue=url)


@pytest.mark.parametrize('scheme', [
    'redis+stream', 'REDIS+STREAMS', 'redis-streams', 'redis+steams'])
@pytest.mark.parametrize('app', [None, 'a'])
def test_look_alikes(make: Any, scheme: str, app: Any) -> None:
    with pytest.raises(ConfigurationError, match='did you mean'):
        make(app and Flask(app), message_queue=f'{scheme}://host')


@pytest.mark.parametrize('queue', [None, ''])
def test_queue_is_taken_back(make: Any, queue: Any) -> None:
    """The set-up of tests: no client could connect to a manager that only
    emits."""
    server = make(message_queue=QUEUE)
    former = server.server.manager
    server.init_app(Flask('a'), message_queue=queue)
    assert type(server.server.manager) is socketio.Manager
    assert former._lifecycle.current is None or former._lifecycle.turns_away
    server.on_event('ask', lambda data: 'yes')
    client = server.test_client(Flask('a'))
    assert client.emit('ask', 'x', callback=True) == 'yes'
    # And given again.
    server.init_app(Flask('b'), message_queue=QUEUE)
    assert not server.server.manager.write_only


def test_queue_of_another_kind_afterwards(
        make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Redis(socketio.Manager):
        def __init__(self, url: str, **options: Any) -> None:
            super().__init__()

    monkeypatch.setattr(socketio, 'RedisManager', Redis)
    server = make(message_queue=QUEUE)
    server.init_app(Flask('a'), message_queue='redis://host')
    assert isinstance(server.server.manager, Redis)


def test_other_queues_are_unchanged(make: Any,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[Any] = []

    class Redis(socketio.Manager):
        def __init__(self, url: str, **options: Any) -> None:
            super().__init__()
            seen.append((url, options))

    monkeypatch.setattr(socketio, 'RedisManager', Redis)
    server = make(Flask('a'), message_queue='redis://host', channel='name')
    assert isinstance(server.server.manager, Redis)
    assert seen == [('redis://host', {'channel': 'name',
                                      'write_only': False})]


def test_without_a_queue(make: Any) -> None:
    server = make(Flask('a'))
    assert type(server.server.manager) is socketio.Manager


def test_given_manager(make: Any, make_manager: Callable[..., Any]) -> None:
    given = make_manager()
    server = make(Flask('a'), message_queue=QUEUE, client_manager=given)
    assert server.server.manager is given


def test_flush_of_an_external_process(make: Any, stream: FakeStream,
                                      logged: Any) -> None:
    emitter = make(message_queue=QUEUE + '?publish=background')
    for number in range(5):
        emitter.emit('hello', number)
    assert emitter.server.manager.flush(DEADLINE)
    assert len(stream.history) == 5
    assert logged(logging.ERROR) == []


def test_emitter_imports_no_green_library() -> None:
    """An application that is created later does not depend on its mode."""
    code = ('import sys\n'
            'from redis_streams_adapter.flask_socketio import SocketIO\n'
            'emitter = SocketIO(message_queue="redis+streams://")\n'
            'assert emitter.server.async_mode == "threading"\n'
            'assert "async_mode" not in emitter.server_options\n'
            'print(*{"gevent", "eventlet"} & set(sys.modules))\n')
    run = subprocess.run([sys.executable, '-W', 'error', '-c', code],
                         capture_output=True, text=True, timeout=60)
    assert (run.stdout.strip(), run.returncode) == ('', 0), run.stderr
