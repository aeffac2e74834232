"""The commands in a cluster of servers in Node.js alone, also on a Redis
Cluster."""
from typing import Any, Callable, Iterator, List, NamedTuple

import pytest

from ..commands.conftest import Done, run_command
from ..conftest import make_unique, running
from ..support.js_client import JsClient, JsClients
from ..support.js_server import JsServer
from ..support.redis_cluster import RedisCluster
from .helpers import adapter_options, NEW, NEW_IOREDIS, OLD, Transport, \
    wait_counted, wait_heard_everywhere

TIMES = {'heartbeat_interval': 0.5, 'heartbeat_timeout': 60.0}

#: Transports, and whether they are on a Redis Cluster.
CASES = [(Transport(OLD, 'stream'), False), (Transport(NEW, 'pubsub'), False),
         (Transport(NEW_IOREDIS, 'sharded-pubsub'), False),
         (Transport(OLD, 'stream'), True), (Transport(NEW, 'pubsub'), True),
         # It listens on any server, also on a replica.
         (Transport(NEW_IOREDIS, 'pubsub'), True)]


class Watched(NamedTuple):
    """Two servers with a client each."""

    transport: Transport
    url: str
    servers: List[JsServer]
    clients: List[JsClient]

    def run(self, command: str, *arguments: str) -> Done:
        done = run_command(command, *arguments, '--json', '--timeout', '20',
                           url=self.url)
        assert done.status == 0, done
        return done

    @property
    def is_old(self) -> bool:
        return self.transport.generation is OLD

    @property
    def sids(self) -> List[str]:
        return sorted(client.sids['/'] for client in self.clients)

    def check_seen(self, found: List[Any]) -> None:
        """Those of 0.3 are only seen if they have emitted lately. Nothing is
        known of any but that."""
        uids, theirs = {each['uid'] for each in found}, {
            server.uid() for server in self.servers}
        assert uids == theirs if self.is_old else uids <= theirs
        for each in found:
            assert each['language'] == 'javascript'
            assert each['pid'] is None and each['last_seen'] < 20


@pytest.fixture(scope='module')
def redis_cluster(redis_binary: str) -> Iterator[RedisCluster]:
    with RedisCluster(masters=2) as servers:
        yield servers.start()


@pytest.fixture(scope='module', params=CASES, ids=lambda case: case[0].name
                + (' on a cluster' if case[1] else ''))
def watched(request: Any, redis_server: Any, npm_packages: None,
            js_clients: JsClients) -> Iterator[Watched]:
    transport, on_cluster = request.param
    if transport.is_sharded and not redis_server.binary.has_sharded_channels:
        pytest.skip('this Redis is older than 7.0: no sharded channels')
    name = make_unique()('alone')
    options = {'stream_name': name, 'channel_prefix': name, **TIMES}
    redis_url = request.getfixturevalue('redis_cluster').url if on_cluster \
        else redis_server.url
    url = redis_url.replace('://', '+streams://') \
        + f'?request_transport={transport.request_transport}&' \
        + '&'.join(f'{name}={value}' for name, value in options.items())
    with running([JsServer(
            transport.generation, redis_url,
            adapter_options({**options, **transport.js_options}))
            for _ in range(2)]) as servers:
        clients = [js_clients.connect(server.url, '/', '/chat')
                   for server in servers]
        wait_heard_everywhere(servers, clients)
        wait_counted(servers, 2)
        for server, client in zip(servers, clients):
            server.sockets_join(['tea'], to=[client.sids['/']])
        yield Watched(transport, url, servers, clients)
        # No command has become a server.
        assert [server.server_count() for server in servers] == [2, 2]


def test_nodes_and_stats(watched: Watched) -> None:
    watched.check_seen(watched.run('nodes').objects)
    watched.check_seen(watched.run('stats').objects)
    watched.check_seen(watched.run('top', '--count', '1').objects)


def test_rooms_and_sockets(watched: Watched) -> None:
    assert watched.run('rooms').objects == [{'room': 'tea', 'clients': 2}]
    found = watched.run('sockets', '--to', 'tea', '--data').objects
    assert sorted(each['sid'] for each in found) == watched.sids
    assert all(each['handshake'] for each in found)


def test_call(watched: Watched) -> None:
    for number, server in enumerate(watched.servers):
        server.handle_server_side('number', number)
    found = watched.run('call', 'number', '5').objects
    assert sorted(each['response'] for each in found) == [0, 1]


def test_emit_and_tail(watched: Watched, unique: Callable[[str], str],
                       ) -> None:
    event = unique('event')
    watched.run('emit', event, '5', '--to', 'tea')
    for client in watched.clients:
        client.wait_for(event)
        assert client.received(event) == [(5,)]
    found = [each for each in watched.run(
        'tail', '--from', 'start', '--no-follow', '--data', '--kind',
        'broadcast').objects if event in str(each['data'])]
    assert [each['rooms'] for each in found] == [['tea']]


def test_lag_and_sessions(watched: Watched) -> None:
    each, = watched.run('lag').objects
    assert each['length'] > 2
    assert watched.run('sessions').objects[-1]['complete']


def test_doctor(watched: Watched) -> None:
    """There is nothing to do, and it counts two servers."""
    texts = {each['check']: each['text']
             for each in watched.run('doctor').objects}
    assert texts['node.js'] == (
        f'2 servers in Node.js, all with the adapter '
        f'{watched.transport.generation.name[:3]}')
    assert texts['heartbeats'].startswith(
        f'{2 if watched.is_old else 0} servers')
