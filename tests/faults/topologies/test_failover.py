"""A replica takes over from its master, in a Redis Cluster and with
Sentinels: messages flow again, nothing arrives twice or out of order, and
exactly the lost messages are reported."""
from typing import Any

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN
from ...support.replicated import ask, Replicated, SLOW
from ...support.wait import wait_until
from ..fixtures import Connect, StartNodes, Unique
from .accounts import losses, Pulses, start_pulses
from .conftest import SILENT


#: The least number of each node's messages that a test makes Redis lose.
LOST = 20


def entries(replicated: Replicated, name: str) -> Any:
    """The entries of the stream."""
    return ask(replicated.master_of(name), 'XRANGE', name, '-', '+')


def test_failover_reports_every_loss(replicated: Replicated,
                                     start_nodes: StartNodes, connect: Connect,
                                     unique: Unique) -> None:
    """The master is killed while all nodes emit. In a cluster, the nodes know
    the URL of that server alone, and find the others by themselves."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique,
                          replicated.shortest_url(name), stream_name=name,
                          **STEADY)
    master = replicated.master_of(name)
    with replicated.quick_failover():
        master.kill()
        replicated.wait_new_master_of(name, master)
        pulses.wait_flow(timeout=SLOW)
    for node in pulses.nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_losses_reported(lambda: entries(replicated, name))


def test_failover_to_complete_replica_loses_nothing(
        replicated: Replicated, start_nodes: StartNodes, connect: Connect,
        unique: Unique) -> None:
    """No node emits when the master is killed, so that the replica has all.
    Nothing is lost of what is emitted during the failover."""
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
    """Messages that only the master has acknowledged are lost. One node was
    too slow to read them, and reports how many it has missed."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique, replicated.url,
                          count=3, stream_name=name, **STEADY)
    *others, slow = pulses.nodes
    master = replicated.master_of(name)
    with replicated.quick_failover():
        replica = replicated.stop_replicating(master)
        slow.freeze()
        # Two of the nodes read these before they are lost. The first ones
        # may have been on their way to the third node already.
        pulses.wait_flow(LOST + 20, among=range(2))
        master.kill()
        replica.thaw()
        replicated.wait_new_master_of(name, master)
        slow.thaw()
        pulses.wait_flow(timeout=SLOW)
    pulses.check_losses_reported(lambda: entries(replicated, name))
    assert losses(slow)['messages_lost'] >= LOST
    for node in others:
        assert losses(node)['messages_vanished'] >= LOST


def test_min_replicas_prevents_losses(replicated: Replicated,
                                      start_nodes: StartNodes,
                                      connect: Connect,
                                      unique: Unique) -> None:
    """With ``min_replicas``, messages that only the master has are not
    acknowledged. They are sent again to the new master; nodes that have read
    them from the old one do not deliver them twice."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique, replicated.url,
                          stream_name=name, min_replicas=1,
                          redis_options={'socket_timeout': 1.0}, **STEADY)
    master = replicated.master_of(name)
    with replicated.quick_failover():
        replica = replicated.stop_replicating(master)
        for node in pulses.nodes:
            wait_until(lambda: 'replicas' in (
                node.health()['last_error'] or ''),
                what='the missing replica to be noticed')
        master.kill()
        replica.thaw()
        replicated.wait_new_master_of(name, master)
    # Now the new master has a replica.
    pulses.wait_flow()
    for node in pulses.nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_arrived(set_back=True)


def test_frozen_master_reports_every_loss(replicated: Replicated,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """When the old master wakes up, it executes commands that have timed out
    long ago, and notices only then that another one has taken over."""
    name = unique('stream')
    pulses = start_pulses(start_nodes, connect, unique, replicated.url,
                          stream_name=name, block_time=0.5,
                          redis_options={'socket_timeout': 1.0}, **STEADY)
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
    for node in pulses.nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_losses_reported(lambda: entries(replicated, name))
