"""A user of the access control list that has only the rights it needs."""
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from redis_streams_adapter import RedisStreamsManager

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.commands import row_of
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.sentinels import SentinelSet
from ...support.wait import wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import start_pulses


#: The commands that a process that only writes needs, and those that a node
#: needs.
WRITER = ('xadd', 'xread', 'xinfo|stream')
NODE = (*WRITER, 'time')

#: Those that write events in batches, and those that avoid duplicate entries
#: after a broken connection.
OPTIONAL = (*row_of('multi'), *row_of('client|info'))

#: The further commands that a node needs for requests, by transport.
REQUESTS = {'pubsub': row_of('subscribe'),
            'sharded-pubsub': (*row_of('ssubscribe'), 'ping')}

#: Those that keep answers to requests out of the stream.
INBOX = row_of('pexpire')

USER, PASSWORD = 'node', 'secret'


class Servers(NamedTuple):
    """A server with a replica."""

    master: RedisServer
    replica: RedisServer


@pytest.fixture(scope='module')
def servers(each_binary: str) -> Iterator[Servers]:
    with RedisServer(binary=each_binary) as master, \
            RedisServer(binary=each_binary) as replica:
        master.start('--repl-diskless-sync-delay', '0')
        replica.start('--replicaof', '127.0.0.1', str(master.port))
        yield Servers(master, replica)


def admit(server: Any, *commands: str, stream: str = '',
          inboxes: bool = False) -> None:
    """Give the user these rights, and no others.

    :param inboxes: those for the keys of inboxes, too.
    """
    rules = [f'+{command}' for command in commands]
    if stream:
        rules.append(f'~{stream}')
    if inboxes:
        rules.append(f'~{stream}:answers:*')
    ask(server, 'ACL', 'SETUSER', USER, 'reset', 'on', f'>{PASSWORD}',
        *rules)


@pytest.mark.parametrize('more', [(), OPTIONAL],
                         ids=['least', 'with options'])
def test_least_rights_suffice_for_node(servers: Servers,
                                       start_nodes: StartNodes,
                                       connect: Connect, unique: Unique,
                                       more: List[str]) -> None:
    """They suffice when connections are killed, too."""
    master, stream = servers.master, unique('stream')
    admit(master, *NODE, *more, stream=stream)
    pulses = start_pulses(
        start_nodes, connect, unique, master.url_of(USER, PASSWORD),
        interval=0.001, stream_name=stream, **STEADY)
    for _ in range(3):
        ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal')
        pulses.wait_flow()
    pulses.check_all_arrived()


@pytest.mark.parametrize('transport', REQUESTS)
def test_least_rights_suffice_for_requests(servers: Servers,
                                           start_nodes: StartNodes,
                                           unique: Unique,
                                           transport: str) -> None:
    """They suffice when namespaces are added, and while nothing is sent."""
    master, name = servers.master, unique('cluster')
    if transport == 'sharded-pubsub' \
            and not master.binary.has_sharded_channels:
        pytest.skip('it has no sharded channels before version 7')
    admit(master, *NODE, *REQUESTS[transport], stream=name)
    ask(master, 'ACL', 'SETUSER', USER, 'resetchannels', f'&{name}#*')
    ask(master, 'ACL', 'LOG', 'RESET')
    ask(master, 'CONFIG', 'RESETSTAT')
    nodes = start_nodes(2, master.url_of(USER, PASSWORD), stream_name=name,
                        channel_prefix=name, request_transport=transport,
                        **STEADY)
    start_managers(nodes)
    for namespace in '/', '/later':
        for node in nodes:
            node.handle_server_side('name', node.name, namespace)
        for node, other in zip(nodes, nodes[::-1]):
            node.wait_server_count(2, namespace)
        for node, other in zip(nodes, nodes[::-1]):
            assert node.server_side_call(
                'name', namespace=namespace) == [other.name]
    wait_until(lambda: 'cmdstat_ping' in ask(master, 'INFO', 'commandstats'),
               what='a listener to send PING')
    for node in nodes:
        assert node.health()['status'] == 'ok'
        assert node.stats()['requests_dropped'] == 0
    denied = [each for entry in ask(master, 'ACL', 'LOG') for each in entry
              if each in REQUESTS[transport]]
    assert denied == []


@pytest.mark.parametrize('commands, inboxes', [
    ((*NODE, *INBOX), True), ((*NODE, *INBOX), False), (NODE, True),
    ((*NODE, 'xdel'), True), ((*NODE, 'pexpire'), True)],
    ids=['all rights', 'no key', 'no command', 'no pexpire', 'no xdel'])
def test_rights_for_inboxes(servers: Servers, start_nodes: StartNodes,
                            unique: Unique, commands: List[str],
                            inboxes: bool) -> None:
    """Without them, answers come in the stream."""
    master, stream = servers.master, unique('stream')
    admit(master, *commands, stream=stream, inboxes=inboxes)
    nodes = start_nodes(2, master.url_of(USER, PASSWORD), stream_name=stream,
                        **STEADY)
    start_managers(nodes)
    for node in nodes:
        node.handle_server_side('name', node.name)
        node.wait_server_count(2)
    for _ in range(3):
        for node, other in zip(nodes, nodes[::-1]):
            assert node.server_side_call('name') == [other.name]
    allowed = inboxes and len(commands) == len(NODE) + len(INBOX)
    with master.client() as admin:
        answers = [fields for _, fields in admin.xrange(stream)
                   if fields[b'type'] == b'10']
        keys = list(admin.scan_iter(f'{stream}:answers:*'))
        lives = [admin.pttl(key) for key in keys]
    assert len(answers) == (0 if allowed else 6)
    assert len(keys) == (2 if allowed else 0)
    assert all(0 < each <= 120_000 for each in lives)
    for node in nodes:
        assert node.health()['status'] == 'ok'
        assert node.stats()['requests_dropped'] == 0


def test_right_to_use_inboxes_is_withdrawn(
        servers: Servers, start_nodes: StartNodes, unique: Unique) -> None:
    """A server that may no longer write there answers in the stream."""
    master, stream = servers.master, unique('stream')
    admit(master, *NODE, *INBOX, stream=stream, inboxes=True)
    # The one that asks keeps its rights.
    asking, = start_nodes(1, master.url, stream_name=stream, **STEADY)
    other, = start_nodes(1, master.url_of(USER, PASSWORD),
                         stream_name=stream, **STEADY)
    start_managers([asking, other])
    other.handle_server_side('name', 'other')
    asking.wait_server_count(2)
    assert asking.server_side_call('name') == ['other']
    admit(master, *NODE, stream=stream)
    for _ in range(2):
        assert asking.server_side_call('name') == ['other']
    with master.client() as admin:
        assert 2 == len([fields for _, fields in admin.xrange(stream)
                         if fields[b'type'] == b'10'])


def test_least_rights_suffice_for_emitter(servers: Servers,
                                          unique: Unique) -> None:
    master, stream = servers.master, unique('stream')
    admit(master, *WRITER, stream=stream)
    with RedisStreamsManager(master.url_of(USER, PASSWORD), stream,
                             write_only=True) as emitter:
        # So many that it checks for slow readers several times.
        for number in range(1000):
            emitter.emit('event', number)
            if number == 500:
                ask(master, 'CLIENT', 'KILL', 'TYPE', 'normal')
        assert emitter.flush(BACK_WITHIN)
        assert emitter.stats()['outages'] == 0
    assert ask(master, 'XLEN', stream) == 1000


@pytest.mark.parametrize('command, options', [
    *((command, {}) for command in NODE),
    ('xtrim', {'retention': 60.0}),
    ('wait', {'min_replicas': 1}),
    ('select', {}),
])
def test_missing_right_is_reported(servers: Servers, unique: Unique,
                                   command: str,
                                   options: Dict[str, Any]) -> None:
    """A node without the right reports the error, and loses nothing."""
    master, stream = servers.master, unique('stream')
    database = 1 if command == 'select' else 0
    url = f'{master.url_of(USER, PASSWORD)[:-1]}{database}'
    admit(master, *(each for each in NODE if each != command), stream=stream)
    with RedisStreamsManager(url, stream, **options) as manager:
        for number in range(50):
            manager.emit('event', number)

        def reports_error() -> bool:
            health = manager.health()
            error = (health['last_error'] or '').lower()
            return health['status'] == 'degraded' \
                and 'permission' in error \
                and command.partition('|')[0] in error

        wait_until(reports_error, what=lambda: f'error: {manager.health()}')
        admit(master, *NODE, command, stream=stream)
        wait_until(lambda: manager.health()['status'] == 'ok', BACK_WITHIN,
                   what=lambda: f'recovery: {manager.health()}')
        assert manager.flush(BACK_WITHIN)
    with master.client(db=database) as admin:
        assert sum(b'3' == fields[b'type']
                   for _, fields in admin.xrange(stream)) == 50


def test_least_rights_suffice_in_cluster(cluster: RedisCluster,
                                         unique: Unique) -> None:
    stream = unique('stream')
    url = cluster.url.replace('://', f'://{USER}:{PASSWORD}@')
    for server in cluster.servers:
        admit(server, *NODE, stream=stream)
    with RedisStreamsManager(url, stream) as manager:
        wait_until(lambda: 'cluster' in (
            manager.health()['last_error'] or ''), what='an error')
        manager.emit('event', 1)
        for server in cluster.servers:
            admit(server, *NODE, 'cluster|slots', stream=stream)
        assert manager.flush(BACK_WITHIN)
        wait_until(lambda: manager.health()['status'] == 'ok', BACK_WITHIN,
                   what='recovery')


def test_least_rights_suffice_with_sentinels(
        sentinels: SentinelSet, unique: Unique) -> None:
    """The Sentinels have users of their own."""
    stream = unique('stream')
    url = sentinels.url.replace('://', f'://{USER}:{PASSWORD}@')
    for server in sentinels.servers:
        admit(server, *NODE, stream=stream)
    for sentinel in sentinels.sentinels:
        ask(sentinel, 'ACL', 'SETUSER', 'asks', 'reset', 'on', '>other')
    with RedisStreamsManager(url, stream, redis_options={
            'sentinel_kwargs': {'username': 'asks', 'password': 'other'},
            }) as manager:
        wait_until(lambda: 'sentinel' in (
            manager.health()['last_error'] or ''), what='an error')
        manager.emit('event', 1)
        for sentinel in sentinels.sentinels:
            ask(sentinel, 'ACL', 'SETUSER', 'asks', '+sentinel|master')
        assert manager.flush(BACK_WITHIN)
        wait_until(lambda: manager.health()['status'] == 'ok', BACK_WITHIN,
                   what='recovery')
