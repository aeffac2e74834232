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
from tests.support.redis_server import RedisServer, free_port
from tests.support.wait import wait_until

EXAMPLES = ROOT / 'examples'

#: How each server is started, in which directory, and how many members of
#: the cluster that makes.
SERVERS: Dict[str, Any] = {
    'gevent': ('wsgi_gevent.py', '.', 1),
    'eventlet': ('wsgi_eventlet.py', '.', 1),
    'threads': ('wsgi_threads.py', '.', 1),
    'flask': ('-m gunicorn app:app', 'flask_app', 2),
}

#: Seconds for a process to start or to do its work, on a machine that has
#: other things to do.
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
        """Start an example as its text says."""
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
            # The master of a gunicorn listens long before a worker serves.
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
        """Have the external emitter say something."""
        emitter = self.run('external_emitter.py', room, text)
        assert emitter.wait(PROCESS_TIMEOUT) == 0, emitter.tail()

    def types(self) -> List[bytes]:
        """The message types of what stands in the stream."""
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


def told(client: Client) -> List[Any]:
    """All that a client was told."""
    return [(event.name, *event.args) for event in client.events()]


@pytest.mark.parametrize('name', SERVERS)
def test_what_is_said_is_heard_in_the_room_and_nowhere_else(
        cluster: Cluster, name: str) -> None:
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
    # What the same process says last is behind all that it said before,
    # and who hears it has heard all that was meant for them.
    for room in ('lobby', 'kitchen'):
        cluster.announce(room, 'good night')
    for client, count in ((ana, 2), (ben, 2), (eve, 1)):
        client.wait_for('announcement', count)

    evening = [('announcement', 'lobby', 'dinner is ready'),
               ('announcement', 'lobby', 'good night')]
    assert told(ana) == [
        ('joined', 'lobby', 'ana'), ('joined', 'lobby', 'ben'),
        ('message', 'lobby', 'ben', 'hi'), *evening]
    assert told(ben) == [
        ('joined', 'lobby', 'ben'), ('message', 'lobby', 'ana', 'hello'),
        *evening]
    assert told(eve) == [
        ('joined', 'kitchen', 'eve'),
        ('announcement', 'kitchen', 'good night')]


#: How each server is ended, and whether it has a client then.
ENDS = [(name, stays, number) for name in SERVERS for stays in (False, True)
        for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize(('name', 'stays', 'number'), ENDS)
def test_a_server_that_is_ended_leaves_the_cluster(
        cluster: Cluster, name: str, stays: bool, number: int) -> None:
    """Whatever it does just then: a client that leaves makes it run a
    handler, and one that stays holds a connection."""
    url = cluster.serve(name)
    server, members = cluster.servers[0], SERVERS[name][2]
    ana = cluster.enter(url, 'lobby', 'ana')
    # Of several workers, one that has no client may still be starting.
    wait_until(lambda: cluster.types().count(INITIAL_HEARTBEAT) == members,
               PROCESS_TIMEOUT, lambda: f'members:\n{server.tail()}')
    if not stays:
        ana.disconnect()
    server.signal(number)
    server.wait(PROCESS_TIMEOUT)
    assert cluster.types().count(ADAPTER_CLOSE) == members, server.tail()


def test_all_servers_together_are_one_cluster(cluster: Cluster) -> None:
    clients = [cluster.enter(cluster.serve(name), 'lobby', name)
               for name in SERVERS]
    for client in clients:
        client.call('message', 'lobby', 'hello')
    for client, name in zip(clients, SERVERS):
        said = client.wait_for('message', len(SERVERS) - 1)
        assert sorted(said) == sorted(
            ('lobby', other, 'hello') for other in SERVERS if other != name)


def test_the_web_page_of_the_flask_application_emits_too(
        cluster: Cluster) -> None:
    ana = cluster.enter(cluster.serve('flask'), 'lobby', 'ana')
    other = cluster.serve('flask').partition('//')[2]
    connection = http.client.HTTPConnection(other, timeout=10)
    connection.request('POST', '/announcements/lobby')
    assert connection.getresponse().status == 204
    connection.close()
    assert ana.wait_for('announcement') == [('lobby', 'from the web')]


def test_the_terminal_client_says_what_it_reads(cluster: Cluster) -> None:
    ana = cluster.enter(cluster.serve('threads'), 'lobby', 'ana')
    talker = OwnProcess(
        ['sh', '-c', f'printf "hello\\nbye\\n" | "$0" '
         f'{EXAMPLES / "chat_client.py"} "$@"', sys.executable,
         cluster.serve('gevent'), 'lobby', 'ben'],
        cluster.servers[0].output_file.with_name('chat_client.out'))
    assert talker.wait(PROCESS_TIMEOUT) == 0, talker.tail()
    assert ana.wait_for('message', 2) == [
        ('lobby', 'ben', 'hello'), ('lobby', 'ben', 'bye')]
    assert '[lobby] ben is here' in talker.output()
