"""A Redis Cluster moves the slot of the stream, or has several streams:
nothing is lost, and nothing arrives twice."""
from typing import Any, List

import pytest

from redis_streams_adapter import NotStoredError, RedisStreamsManager
from redis_streams_adapter.protocol.routing import stream_index, stream_names

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.redis_cluster import RedisCluster
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
