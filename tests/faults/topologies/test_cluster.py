"""A Redis Cluster moves the slot of the stream, or has several streams:
nothing is lost, and nothing arrives twice."""
import logging
from typing import Any, Iterator, List

import pytest

from redis_streams_adapter import NotStoredError, RedisStreamsManager
from redis_streams_adapter.protocol.routing import stream_index, stream_names

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN, check_working
from ...support.redis_cluster import RedisCluster
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value, wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import losses, start_pulses
from .conftest import SILENT


# -- a slot moves -------------------------------------------------------------

def test_slot_move_loses_nothing(cluster: RedisCluster,
                                 start_nodes: StartNodes, connect: Connect,
                                 unique: Unique) -> None:
    """The slot moves slowly while all nodes emit: for a while, the old server
    has the slot, and the new one has the stream."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique, cluster.url,
                          stream_name=name, **STEADY)
    source = cluster.master_of(name)
    target = cluster.others(source)[0]
    cluster.begin_move(name, source, target)
    pulses.wait_flow()
    cluster.move_keys(name, source, target)
    for node in pulses.nodes:
        node.wait_health('degraded')
        wait_until(lambda: 'ASK' in node.health()['last_error'].upper(),
                   what='the redirection')
    # No node begins a second stream on the old server.
    assert cluster.count_keys(name, source) == 0
    assert cluster.count_keys(name, target) == 1
    cluster.end_move(name, source, target)
    for node in pulses.nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.wait_flow()
    pulses.check_all_arrived()
    assert cluster.count_keys(name, source) == 0


def test_repeated_slot_moves_lose_nothing(cluster: RedisCluster,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """The slot moves as fast as possible, while all nodes emit."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique, cluster.url,
                          interval=0.001, stream_name=name, **STEADY)
    source = home = cluster.master_of(name)
    for _ in range(2):
        for target in [*cluster.others(home), home]:
            cluster.begin_move(name, source, target)
            cluster.move_keys(name, source, target)
            cluster.end_move(name, source, target)
            source = target
        pulses.wait_flow(1)
    pulses.check_all_arrived()


def test_waiting_reader_follows_slot(cluster: RedisCluster,
                                     start_nodes: StartNodes, connect: Connect,
                                     unique: Unique) -> None:
    """Nothing is emitted while the slot moves: a reader that waits for
    entries of the old server has to find the new one, and must not take the
    stream for deleted."""
    name = unique('stream')
    nodes = start_nodes(2, cluster.url, stream_name=name, **SILENT)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    source = cluster.master_of(name)
    for target in [*cluster.others(source), source]:
        cluster.begin_move(name, source, target)
        cluster.move_keys(name, source, target)
        cluster.end_move(name, source, target)
        event = unique('event')
        nodes[0].emit(event)
        for client in clients:
            client.wait_for(event, 1, BACK_WITHIN)
        source = target
    assert [losses(node) for node in nodes] == [{}, {}]


# -- several streams ----------------------------------------------------------

def _name_of_streams_apart(cluster: RedisCluster) -> str:
    """A stream name whose three streams are on three servers."""
    for number in range(1000):
        name = f'apart-{number}'
        if len({cluster.master_of(key).port
                for key in stream_names(name, 3)}) == 3:
            return name
    raise AssertionError('there is no such name')


def test_streams_on_several_servers_stay_apart(
        cluster: RedisCluster, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    name = _name_of_streams_apart(cluster)
    nodes = start_nodes(2, cluster.url, stream_name=name, stream_count=3,
                        **STEADY)
    start_managers(nodes)
    clients = [connect(node, '/', '/chat') for node in nodes]
    event = unique('event')
    namespaces = ['/', '/chat', '/elsewhere']
    keys = [f'{name}-{stream_index(each, 3)}' for each in namespaces]
    assert len({*keys}) == 3
    for number in range(100):
        for node in nodes:
            node.script(*(('server', 'emit', [event, number],
                           {'namespace': namespace})
                          for namespace in namespaces))
    for node in nodes:
        assert node.flush()
    for client in clients:
        for namespace in ('/', '/chat'):
            wait_for_value(lambda: sorted(
                each.args[0] for each in client.events()
                if (each.name, each.namespace) == (event, namespace)),
                sorted([*range(100)] * 2), what='what has arrived')
    assert len([each for client in clients for each in client.events()
                if each.name == event]) == 800
    for key, namespace in zip(keys, namespaces):
        entries: List[Any] = ask(
            cluster.master_of(key), 'XRANGE', key, '-', '+')
        assert {fields[fields.index('nsp') + 1]
                for _, fields in entries} == {namespace}
        assert sum(event in str(fields) for _, fields in entries) == 200
    assert [losses(node) for node in nodes] == [{}, {}]


# -- a URL that names one server ----------------------------------------------

def test_plain_url_of_a_member_is_named(cluster: RedisCluster,
                                        unique: Unique) -> None:
    """Also if the stream happens to be on that server."""
    name = unique('stream')
    owner = cluster.master_of(name)
    for url in (owner.url, cluster.others(owner)[0].url,
                owner.url.rpartition('/')[0] + '/1'):
        with RedisStreamsManager(url, name, write_only=True,
                                 publish='confirmed') as manager:
            with pytest.raises(NotStoredError, match=r'redis\+cluster://'):
                manager.emit('news', 1)
            health = manager.health()
            assert health['status'] == 'degraded'
            assert 'redis+cluster://' in health['last_error']
            manager.close(timeout=0)
    assert cluster.count_keys(name, owner) == 0


def test_plain_url_of_a_member_is_named_by_servers(
        cluster: RedisCluster, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    """In the log, once for each thing that does not work, and in ``health()``.
    """
    name = unique('stream')
    (node,) = start_nodes(1, cluster.master_of(name).url, stream_name=name,
                          connection_state_recovery=True, **STEADY)
    connect(node)
    node.wait_health('degraded', BACK_WITHIN)
    # The streams, and the sessions.
    wait_for_value(lambda: [
        'redis+cluster://' in line for line in node.logs(logging.WARNING)],
        [True] * 2, BACK_WITHIN, 'the warnings')
    assert 'redis+cluster://' in node.health()['last_error']
    assert node.logs(logging.ERROR) == []


def test_plain_url_of_a_user_that_may_not_ask(cluster: RedisCluster,
                                              unique: Unique) -> None:
    """The cluster shows itself by its redirection."""
    name = unique('stream')
    other = cluster.others(cluster.master_of(name))[0]
    ask(other, 'ACL', 'SETUSER', name, 'on', '>secret', '~*', '&*', '+@all',
        '-cluster')
    try:
        with RedisStreamsManager(other.url_of(name, 'secret'), name,
                                 write_only=True,
                                 publish='confirmed') as manager:
            with pytest.raises(NotStoredError, match=r'redis\+cluster://'):
                manager.emit('news', 1)
            assert 'redis+cluster://' in manager.health()['last_error']
            manager.close(timeout=0)
    finally:
        ask(other, 'ACL', 'DELUSER', name)


@pytest.fixture(scope='module')
def small(redis_binary: str) -> Iterator[RedisCluster]:
    """One master with a replica."""
    with RedisCluster(masters=1) as servers:
        yield servers.start()


def test_plain_url_of_the_only_master_works(
        small: RedisCluster, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    """It has all keys. A service may show a cluster in this way."""
    name = unique('stream')
    nodes = start_nodes(2, small.master_of(name).url, stream_name=name,
                        stream_count=2, connection_state_recovery=True,
                        **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    check_working(nodes, clients, unique)
    for node in nodes:
        node.handle_server_side('name', node.name)
    assert nodes[0].server_side_call('name') == [nodes[1].name]
    for node in nodes:
        assert node.logs(logging.WARNING) == []


@pytest.mark.parametrize('which, database', [('replica', 0), ('master', 1)])
def test_plain_url_that_does_not_work_with_one_master(
        small: RedisCluster, unique: Unique, which: str,
        database: int) -> None:
    """The replica redirects all commands. There is only database 0."""
    name = unique('stream')
    master = small.master_of(name)
    server = master if which == 'master' else small.replica_of(master)
    url = f'{server.url[:-1]}{database}'
    with RedisStreamsManager(url, name, write_only=True,
                             publish='confirmed') as manager:
        with pytest.raises(NotStoredError, match=r'redis\+cluster://'):
            manager.emit('news', 1)
        assert 'redis+cluster://' in manager.health()['last_error']
        manager.close(timeout=0)


def test_cluster_url_of_a_plain_server(redis_server: RedisServer) -> None:
    url = redis_server.url.replace('://', '+cluster://')
    with RedisStreamsManager(url, write_only=True,
                             publish='confirmed') as manager:
        with pytest.raises(NotStoredError, match=r"without '\+cluster'"):
            manager.emit('news', 1)
        manager.close(timeout=0)
