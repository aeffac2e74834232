"""The messages of one node arrive everywhere in one order."""
import threading
from typing import Any, Callable, Dict, List, Tuple

from ..support.client import Client
from ..support.node_process import NodeProcess
from .conftest import Cluster

Unique = Callable[[str], str]

EMITTERS = 50
EACH = 20


def check_order_of_each(received: List[Tuple[Any, ...]]) -> None:
    """Every emitter's messages arrive in the order of their numbers."""
    numbers: List[List[int]] = [[] for _ in range(EMITTERS)]
    for emitter, number in received:
        numbers[emitter].append(number)
    assert numbers == [list(range(EACH))] * EMITTERS


def test_many_emitters(cluster: Cluster, listeners: List[Client],
                       unique: Unique) -> None:
    event = unique('event')
    cluster.b.storm(event, EMITTERS, EACH)
    for client in listeners:
        client.wait_for(event, EMITTERS * EACH)
        check_order_of_each(client.received(event))
    # The clients of the emitting node see the same order as all others.
    first, *others = [client.received(event) for client in listeners]
    for other in others:
        assert other == first


def test_many_emitters_when_emit_waits_for_redis(
        publishing_pair: List[NodeProcess], connect: Callable[..., Client],
        unique: Unique) -> None:
    clients = [connect(node) for node in publishing_pair]
    event = unique('event')
    publishing_pair[0].storm(event, EMITTERS, EACH)
    for client in clients:
        client.wait_for(event, EMITTERS * EACH)
        check_order_of_each(client.received(event))
    assert clients[0].received(event) == clients[1].received(event)


def test_many_emitters_on_every_node(cluster: Cluster,
                                     listeners: List[Client],
                                     unique: Unique) -> None:
    events = [unique('event') for _ in cluster]
    threads = [threading.Thread(target=node.storm,
                                args=(event, EMITTERS, EACH))
               for node, event in zip(cluster, events)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for event in events:
        seen = []
        for client in listeners:
            client.wait_for(event, EMITTERS * EACH)
            check_order_of_each(client.received(event))
            seen.append(client.received(event))
        assert seen[1] == seen[0]
        assert seen[2] == seen[0]


def test_text_and_bytes_keep_order(cluster: Cluster, listeners: List[Client],
                                   unique: Unique) -> None:
    """They are encoded differently, and still delivered in order."""
    event = unique('event')
    data = [b'%d' % number if number % 2 else str(number)
            for number in range(100)]
    cluster.a.script(*(('server', 'emit', [event, each], {})
                       for each in data))
    for client in listeners:
        client.wait_for(event, 100)
        assert client.received(event) == [(each,) for each in data]


def test_different_addressing_keeps_order(cluster: Cluster,
                                          connect: Callable[..., Client],
                                          unique: Unique) -> None:
    """To all, to a room, to one client: a client that gets them all gets them
    in order."""
    client, event = connect(cluster.b), unique('event')
    room = unique('room')
    cluster.b.enter_room(client.sid, room)
    ways: List[Dict[str, Any]] = [
        {}, {'to': room}, {'to': client.sid}, {'to': [room, client.sid]},
        {'skip_sid': 'unknown'}]
    cluster.a.script(*(('server', 'emit', [event, number],
                        ways[number % len(ways)]) for number in range(50)))
    client.wait_for(event, 50)
    assert client.received(event) == [(number,) for number in range(50)]
