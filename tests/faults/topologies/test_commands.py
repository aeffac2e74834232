"""The observer and the commands see a cluster of servers on every topology,
and show no password."""
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, \
    Tuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from redis_streams_adapter.commands.catalogue import COMMANDS
from redis_streams_adapter.monitoring.metrics import PREFIX
from redis_streams_adapter.observer import Observer
from redis_streams_adapter.protocol.routing import stream_names

from ...commands.conftest import COMMAND, Done, environment, run_command
from ...conftest import connecting, make_unique, running
from ...integration.conftest import start_managers, STEADY
from ...support.certificates import Certificate
from ...support.client import Client
from ...support.node_process import NodeProcess
from ...support.ports import free_port
from ...support.process import OwnProcess
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_until
from .conftest import tls_url

PASSWORD = 'geheim-of-commands'

#: Servers, the URL of their Redis, and the number of streams.
Topology = Tuple[Sequence[RedisServer], str, int]


def over_sentinels(request: Any) -> Topology:
    sentinels = request.getfixturevalue('sentinels')
    return sentinels.servers, sentinels.url, 1


def in_a_cluster(request: Any) -> Topology:
    cluster = request.getfixturevalue('cluster')
    return cluster.servers, cluster.url, 1


def in_several_streams(request: Any) -> Topology:
    cluster = request.getfixturevalue('cluster')
    return cluster.servers, cluster.url, 3


def over_tls(request: Any) -> Topology:
    server = request.getfixturevalue('tls_server')
    certificate: Certificate = request.getfixturevalue('certificate')
    return [server], tls_url(server, certificate.query), 1


def over_a_unix_socket(request: Any) -> Topology:
    server, path = request.getfixturevalue('unix_server')
    return [server], f'unix://{path}?db=1', 1


TOPOLOGIES: Dict[str, Callable[[Any], Topology]] = {
    'sentinel': over_sentinels, 'cluster': in_a_cluster,
    'cluster of 3 streams': in_several_streams, 'tls': over_tls,
    'unix': over_a_unix_socket}


@pytest.fixture(scope='module')
def unix_server(redis_binary: str, tmp_path_factory: Any,
                ) -> Iterator[Tuple[RedisServer, str]]:
    path = str(tmp_path_factory.mktemp('unix') / 'redis.sock')
    with RedisServer(arguments=('--unixsocket', path)) as server:
        yield server.start(), path


class Watched(NamedTuple):
    """Two servers with a client each, as a user with a password sees them.

    :param url: for a manager.
    :param options: of the manager.
    """

    url: str
    options: Dict[str, Any]
    nodes: List[NodeProcess]
    clients: List[Client]

    @property
    def command_url(self) -> str:
        """For a command."""
        scheme, _, rest = self.url.partition('://')
        query = '&'.join(f'{name}={str(value).lower()}' for name, value in {
            **self.options, 'connection_state_recovery': True}.items())
        return f'{scheme}+streams://{rest}' \
            f'{"&" if "?" in rest else "?"}{query}'

    def run(self, command: str, *arguments: str, as_json: bool = True) -> Done:
        """Run a command, which must work."""
        done = run_command(
            command, *arguments, *(['--json'] if as_json else []),
            '--timeout', '20', url=self.command_url)
        check_secrecy(done)
        assert done.status == 0, done
        return done

    @property
    def uids(self) -> List[str]:
        return sorted(node.uid() for node in self.nodes)

    @property
    def sids(self) -> List[str]:
        return sorted(client.sid for client in self.clients)


def check_secrecy(done: Done) -> None:
    assert PASSWORD not in done.out + done.err
    assert 'Traceback' not in done.err


@pytest.fixture(scope='module', params=TOPOLOGIES)
def watched(request: Any, mode: str) -> Iterator[Watched]:
    servers, url, stream_count = TOPOLOGIES[request.param](request)
    name = make_unique()('commands')
    options = {'stream_name': name, 'channel_prefix': name,
               'session_key_prefix': f'{name}:', 'stream_count': stream_count,
               'request_transport': 'pubsub' if stream_count > 1 else 'stream',
               **STEADY}
    for server in servers:
        ask(server, 'ACL', 'SETUSER', name, 'on', f'>{PASSWORD}', '~*', '&*',
            '+@all')
    url = url.replace('://', f'://{name}:{PASSWORD}@')
    with running([NodeProcess(
            mode, url, {**options, 'connection_state_recovery': True})
            for _ in range(2)]) as nodes, connecting(Client) as connect:
        start_managers(nodes)
        clients = [connect(node) for node in nodes]
        for node, client in zip(nodes, clients):
            node.enter_room(client.sid, 'tea')
        yield Watched(url, options, nodes, clients)
        # No command has become a server.
        assert [node.server_count() for node in nodes] == [2, 2]
    for server in servers:
        ask(server, 'ACL', 'DELUSER', name)


def test_observer(watched: Watched) -> None:
    with Observer(watched.url, **watched.options) as observer:
        assert sorted(each.uid for each in observer.cluster_stats(20)) \
            == watched.uids
        assert sorted(each.uid for each in observer.nodes()) == watched.uids
        assert observer.server_count() == 2
        assert sorted(each.sid for each in observer.fetch_sockets(
            timeout=20)) == watched.sids
        assert observer.room_counts(timeout=20) == {'tea': 2}


def test_every_command_is_tested() -> None:
    tested = {name for name in globals() if name.startswith('test_')}
    assert {f'test_{each}' for each in COMMANDS} <= tested


def test_nodes(watched: Watched) -> None:
    found = watched.run('nodes').objects
    assert sorted(each['uid'] for each in found) == watched.uids


def test_stats(watched: Watched) -> None:
    found = watched.run('stats').objects
    assert sorted(each['uid'] for each in found) == watched.uids
    assert [each['clients'] for each in found] == [1, 1]
    assert [each['health']['status'] for each in found] == ['ok'] * 2
    watched.run('stats', as_json=False)


def test_rooms(watched: Watched) -> None:
    assert watched.run('rooms').objects == [{'room': 'tea', 'clients': 2}]


def test_sockets(watched: Watched) -> None:
    found = watched.run('sockets', '--to', 'tea').objects
    assert sorted(each['sid'] for each in found) == watched.sids


def test_top(watched: Watched) -> None:
    found = watched.run('top', '--count', '2', '--interval', '0.1').objects
    assert sorted({each['uid'] for each in found}) == watched.uids
    assert len(found) == 4


def test_call(watched: Watched) -> None:
    for number, node in enumerate(watched.nodes):
        node.handle_server_side('number', number)
    found = watched.run('call', 'number', '5').objects
    assert sorted(each['response'] for each in found) == [0, 1]


def test_emit(watched: Watched, unique: Callable[[str], str]) -> None:
    event = unique('event')
    watched.run('emit', event, '5', '--to', 'tea')
    for client in watched.clients:
        client.wait_for(event)
        # Its second argument is the offset.
        assert [each[0] for each in client.received(event)] == [5]


def test_tail(watched: Watched, unique: Callable[[str], str]) -> None:
    event = unique('event')
    for namespace in '/', '/chat':
        watched.run('emit', event, '--namespace', namespace)
    found = [each for each in watched.run(
        'tail', '--from', 'start', '--no-follow', '--data', '--kind',
        'broadcast').objects if event in str(each['data'])]
    assert sorted(each['namespace'] for each in found) == ['/', '/chat']


def test_lag(watched: Watched) -> None:
    names = stream_names(watched.options['stream_name'],
                         watched.options['stream_count'])
    found = watched.run('lag').objects
    assert [each['stream'] for each in found] == names
    assert sum(each['length'] for each in found) > 2


def test_sessions(watched: Watched) -> None:
    *found, summary = watched.run('sessions').objects
    assert sorted(each['sid'] for each in found) == watched.sids
    assert summary['complete'] and summary['sessions'] == 2


def test_doctor(watched: Watched) -> None:
    """There is nothing to do."""
    for each in watched.run('doctor').objects:
        assert each['status'] == 'ok', each


def test_exporter(watched: Watched, tmp_path: Path) -> None:
    port = free_port()
    process = OwnProcess(
        [*COMMAND, 'exporter', '--port', str(port), '--timeout', '20'],
        tmp_path / 'exporter.out', env=environment(watched.command_url))
    try:
        wait_until(lambda: f':{port}/metrics' in process.output(), 30.0)
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics',
                                    timeout=30.0) as answer:
            text = answer.read().decode()
    finally:
        process.stop()
    samples = {each.name: each.value
               for family in text_string_to_metric_families(text)
               for each in family.samples}
    assert samples[f'{PREFIX}cluster_servers'] == 2
    assert samples[f'{PREFIX}cluster_complete'] == 1
    assert PASSWORD not in text + process.output()


@pytest.mark.parametrize('command, arguments', [
    ('tail', ['--no-follow']), ('nodes', []), ('emit', ['news']),
    ('doctor', [])])
def test_plain_url_of_a_member_is_named(
        cluster: RedisCluster, unique: Callable[[str], str], command: str,
        arguments: List[str]) -> None:
    """The commands say which URL it takes, as servers do."""
    name = unique('stream')
    for server in (cluster.master_of(name),
                   cluster.others(cluster.master_of(name))[0]):
        done = run_command(command, *arguments, '--stream', name,
                           '--timeout', '1', url=server.url)
        assert done.status == 1
        assert 'redis+cluster://' in done.err, (server.port, done)
