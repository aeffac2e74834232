"""A master is gone and its replica takes over, in a Redis Cluster and under
Sentinels: messages flow again, nothing comes twice or out of order, and
exactly what is lost is told."""
from typing import Any, Callable, List

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.client import Client
from ...support.node_process import NodeProcess
from ...support.replicated import ask, Replicated, SLOW
from ...support.wait import wait_until
from .accounts import losses, Pulses
from .conftest import SILENT

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]

#: How many messages of each node are lost at least where some are to be.
LOST = 20


def entries(replicated: Replicated, name: str) -> Any:
    """What is in the stream."""
    return ask(replicated.master_of(name), 'XRANGE', name, '-', '+')


def test_failover_reports_every_loss(replicated: Replicated,
                                     start_nodes: StartNodes, connect: Connect,
                                     unique: Unique) -> None:
    """While everybody emits. In a cluster, the nodes were given the address
    of that server only, and find the others all the same."""
    name = unique('stream')
    nodes = start_nodes(2, replicated.shortest_url(name), stream_name=name,
                        **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    pulses = Pulses(nodes, clients, unique)
    pulses.wait_flow()
    master = replicated.master_of(name)
    with replicated.quick_failover():
        master.kill()
        replicated.wait_new_master_of(name, master)
        pulses.wait_flow(timeout=SLOW)
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_told(lambda: entries(replicated, name))


def test_failover_to_complete_replica_loses_nothing(
        replicated: Replicated, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    """Nobody emits when the master is killed: then nothing is lost, of what
    is emitted meanwhile neither."""
    name = unique('stream')
    nodes = start_nodes(2, replicated.url, stream_name=name, **SILENT)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    first = unique('first')
    for node in nodes:
        node.emit(first)
        assert node.flush()
    for client in clients:
        client.wait_for(first, 2)
    master = replicated.master_of(name)
    replicated.wait_replicated(master)
    with replicated.quick_failover():
        master.kill()
        pulses = Pulses(nodes, clients, unique)
        replicated.wait_new_master_of(name, master)
        pulses.wait_flow(timeout=SLOW)
    pulses.check_all_arrived()


def test_failover_to_lagging_replica_reports_losses(
        replicated: Replicated, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    """What the master has acknowledged is lost with it. One node was too
    slow to read it, and tells how much it has missed."""
    name = unique('stream')
    nodes = start_nodes(3, replicated.url, stream_name=name, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    pulses = Pulses(nodes, clients, unique)
    pulses.wait_flow()
    slow, others = nodes[2], nodes[:2]
    master = replicated.master_of(name)
    with replicated.quick_failover():
        replica = replicated.stop_replicating(master)
        slow.freeze()
        # These are read by two of the nodes, and then are gone. The first
        # of them were on their way to the third one already.
        pulses.wait_flow(LOST + 20, among=range(2))
        master.kill()
        replica.thaw()
        replicated.wait_new_master_of(name, master)
        slow.thaw()
        pulses.wait_flow(timeout=SLOW)
    pulses.check_all_told(lambda: entries(replicated, name))
    assert losses(slow)['messages_lost'] >= LOST
    for node in others:
        assert losses(node)['messages_vanished'] >= LOST


def test_min_replicas_prevents_losses(replicated: Replicated,
                                      start_nodes: StartNodes,
                                      connect: Connect,
                                      unique: Unique) -> None:
    """With ``min_replicas``, what only the master has was not acknowledged.
    It is sent again to the one that takes over; those who have read it from
    the old master do not hear of it twice."""
    name = unique('stream')
    nodes = start_nodes(2, replicated.url, stream_name=name, min_replicas=1,
                        redis_options={'socket_timeout': 1.0}, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    pulses = Pulses(nodes, clients, unique)
    pulses.wait_flow()
    master = replicated.master_of(name)
    with replicated.quick_failover():
        replica = replicated.stop_replicating(master)
        for node in nodes:
            wait_until(lambda: 'replicas' in (
                node.health()['last_error'] or ''),
                what='the missing replica to be noticed')
        master.kill()
        replica.thaw()
        replicated.wait_new_master_of(name, master)
    # Now it has a replica again.
    pulses.wait_flow()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_arrived(set_back=True)


def test_frozen_master_reports_every_loss(replicated: Replicated,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """When it wakes up it carries out what was given up long ago, and
    learns only then that another one has taken over."""
    name = unique('stream')
    nodes = start_nodes(2, replicated.url, stream_name=name, block_time=0.5,
                        redis_options={'socket_timeout': 1.0}, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    pulses = Pulses(nodes, clients, unique)
    pulses.wait_flow()
    master = replicated.master_of(name)
    with replicated.quick_failover():
        master.freeze()
        try:
            replicated.wait_new_master_of(name, master)
            pulses.wait_flow(timeout=SLOW)
        finally:
            master.thaw()
        pulses.wait_flow()
    pulses.wait_flow()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_told(lambda: entries(replicated, name))
