"""Each example with a real Redis, several processes and real clients."""
import contextlib
import http.client
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from tests.support.client import Client, close_all
from tests.support.process import ROOT, OwnProcess
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.wait import wait_until

EXAMPLES = ROOT / 'examples'

#: The command line of each server, its directory, and its number of members
#: of the cluster.
SERVERS: Dict[str, Any] = {
    'gevent': ('wsgi_gevent.py', '.', 1),
    'eventlet': ('wsgi_eventlet.py', '.', 1),
    'threads': ('wsgi_threads.py', '.', 1),
    'flask': ('-m gunicorn app:app', 'flask_app', 2),
}

#: Seconds for a process to start or to do its work on a busy machine.
PROCESS_TIMEOUT = 60.0

#: Two message types on the wire.
INITIAL_HEARTBEAT = b'1'
ADAPTER_CLOSE = b'13'


class Cluster:
    """Examples that run together with one Redis."""

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self.redis = redis
        self.servers: List[OwnProcess] = []
        self.clients: List[Client] = []
        self._directory = directory

    def run(self, arguments: str, *values: str, directory: str = '.',
            port: int = 0) -> OwnProcess:
        """Start an example as its docstring describes."""
        # $0 is Python, and $@ are the values.
        command = f'cd {EXAMPLES / directory} && exec "$0" {arguments} "$@"'
        return OwnProcess(
            ['sh', '-c', command, sys.executable, *values],
            self._directory / f'{arguments.split()[0]}-{port}.out',
            {'PORT': str(port), 'PYTHONPATH': str(ROOT),
             'PYTHONUNBUFFERED': '1', 'REDIS_URL': self.redis.url,
             'MESSAGE_QUEUE': self.redis.url.replace('redis',
                                                     'redis+streams', 1)})

    def serve(self, name: str) -> str:
        """Start a server; return its URL once it answers."""
        port = free_port()
        arguments, directory, _ = SERVERS[name]
        server = self.run(arguments, directory=directory, port=port)
        self.servers.append(server)

        def answers() -> bool:
            assert server.returncode is None, server.tail()
            # The master of gunicorn listens long before a worker serves.
            connection = http.client.HTTPConnection(
                '127.0.0.1', port, timeout=5)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.request('GET', '/')
                return connection.getresponse().status > 0
            return False

        wait_until(answers, PROCESS_TIMEOUT,
                   lambda: f'{name} to serve:\n{server.tail()}')
        return f'http://127.0.0.1:{port}'

    def enter(self, url: str, room: str, name: str) -> Client:
        """Connect a client, which enters a room."""
        client = Client(url)
        self.clients.append(client)
        client.call('join', room, name)
        return client

    def announce(self, room: str, text: str) -> None:
        """Run the external emitter."""
        emitter = self.run('external_emitter.py', room, text)
        assert emitter.wait(PROCESS_TIMEOUT) == 0, emitter.tail()

    def types(self) -> List[bytes]:
        """The message types of the entries in the stream."""
        with self.redis.client() as client:
            return [entry[b'type'] for _, entry in client.xrange('chat')]

    def close(self) -> None:
        close_all(self.clients)
        for server in self.servers:
            server.kill()


@pytest.fixture
def cluster(make_redis: Callable[..., RedisServer],
            tmp_path: Path) -> Iterator[Cluster]:
    result = Cluster(make_redis().start(), tmp_path)
    yield result
    result.close()


def received(client: Client) -> List[Any]:
    """All events that a client has received."""
    return [(event.name, *event.args) for event in client.events()]


@pytest.mark.parametrize('name', SERVERS)
def test_messages_reach_exactly_their_room(cluster: Cluster,
                                           name: str) -> None:
    one, other = cluster.serve(name), cluster.serve(name)
    ana = cluster.enter(one, 'lobby', 'ana')
    ana.wait_for('joined', 1)
    ben = cluster.enter(other, 'lobby', 'ben')
    ana.wait_for('joined', 2)
    eve = cluster.enter(other, 'kitchen', 'eve')

    ana.call('message', 'lobby', 'hello')
    ben.wait_for('message')
    ben.call('message', 'lobby', 'hi')
    ana.wait_for('message')
    cluster.announce('lobby', 'dinner is ready')
    # The last event of a process comes after all its other ones: a client
    # that has received it has received all events meant for it.
    for room in ('lobby', 'kitchen'):
        cluster.announce(room, 'good night')
    for client, count in ((ana, 2), (ben, 2), (eve, 1)):
        client.wait_for('announcement', count)

    evening = [('announcement', 'lobby', 'dinner is ready'),
               ('announcement', 'lobby', 'good night')]
    assert received(ana) == [
        ('joined', 'lobby', 'ana'), ('joined', 'lobby', 'ben'),
        ('message', 'lobby', 'ben', 'hi'), *evening]
    assert received(ben) == [
        ('joined', 'lobby', 'ben'), ('message', 'lobby', 'ana', 'hello'),
        *evening]
    assert received(eve) == [
        ('joined', 'kitchen', 'eve'),
        ('announcement', 'kitchen', 'good night')]


#: Which server is stopped, whether it has a client then, and by which signal.
ENDS = [(name, stays, number) for name in SERVERS for stays in (False, True)
        for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(('name', 'stays', 'number'), ENDS)
def test_stopped_server_leaves_cluster(cluster: Cluster, name: str,
                                       stays: bool, number: int) -> None:
    """The server leaves, whatever it does just then: a client that disconnects
    makes it run a handler, and one that stays holds a connection."""
    url = cluster.serve(name)
    server, members = cluster.servers[0], SERVERS[name][2]
    ana = cluster.enter(url, 'lobby', 'ana')
    # A worker without a client may still be starting.
    wait_until(lambda: cluster.types().count(INITIAL_HEARTBEAT) == members,
               PROCESS_TIMEOUT, lambda: f'members:\n{server.tail()}')
    if not stays:
        ana.disconnect()
    server.signal(number)
    server.wait(PROCESS_TIMEOUT)
    assert cluster.types().count(ADAPTER_CLOSE) == members, server.tail()


@pytest.mark.parametrize('wrong', ['away', 'password'])
def test_emitter_says_that_redis_lacks_the_message(cluster: Cluster,
                                                   wrong: str) -> None:
    if wrong == 'away':
        cluster.redis.stop()
    else:
        with cluster.redis.client() as client:
            client.config_set('requirepass', 'S3cr3t')
    emitter = cluster.run('external_emitter.py', 'lobby', 'dinner')
    assert emitter.wait(PROCESS_TIMEOUT) == 1
    assert 'Redis does not have the message' in emitter.tail()


def test_all_servers_form_one_cluster(cluster: Cluster) -> None:
    clients = [cluster.enter(cluster.serve(name), 'lobby', name)
               for name in SERVERS]
    for client in clients:
        client.call('message', 'lobby', 'hello')
    for client, name in zip(clients, SERVERS):
        messages = client.wait_for('message', len(SERVERS) - 1)
        assert sorted(messages) == sorted(
            ('lobby', other, 'hello') for other in SERVERS if other != name)


def test_flask_route_emits(cluster: Cluster) -> None:
    ana = cluster.enter(cluster.serve('flask'), 'lobby', 'ana')
    other = cluster.serve('flask').partition('//')[2]
    connection = http.client.HTTPConnection(other, timeout=10)
    connection.request('POST', '/announcements/lobby')
    assert connection.getresponse().status == 204
    connection.close()
    assert ana.wait_for('announcement') == [('lobby', 'from the web')]


def test_terminal_client_sends_its_input(cluster: Cluster) -> None:
    ana = cluster.enter(cluster.serve('threads'), 'lobby', 'ana')
    chat_client = OwnProcess(
        ['sh', '-c', f'printf "hello\\nbye\\n" | "$0" '
         f'{EXAMPLES / "chat_client.py"} "$@"', sys.executable,
         cluster.serve('gevent'), 'lobby', 'ben'],
        cluster.servers[0].output_file.with_name('chat_client.out'))
    assert chat_client.wait(PROCESS_TIMEOUT) == 0, chat_client.tail()
    assert ana.wait_for('message', 2) == [
        ('lobby', 'ben', 'hello'), ('lobby', 'ben', 'bye')]
    assert '[lobby] ben is here' in chat_client.output()
