"""With several streams, every namespace stays on its own, whatever happens
to Redis."""
import logging
from typing import Dict, List

from ..integration.conftest import STEADY, start_managers
from ..integration.helpers import BACK_WITHIN
from ..support.redis_server import RedisServer
from .fixtures import Connect, StartNodes, Unique


COUNT = 3

#: The stream of each namespace, from JavaScript's
#: ``h = (h * 31 + unit) | 0``: 47, 46457863, 1554 and -1014064871. The
#: remainder of the last one is -2 in Node.js, whose servers do not read that
#: stream; here it is that of ``h & 0x7fffffff``.
STREAMS = {'/': 2, '/chat': 1, '/a': 0, '/notifications': 0}

#: The stream of ``/nobody``, which is 2017746898. No server serves it.
UNSERVED = 1


def namespaces_in(redis: RedisServer) -> Dict[str, List[bytes]]:
    """The namespaces that the entries of each stream name."""
    with redis.client() as admin:
        return {key.decode(): sorted({
            fields[b'nsp'] for _, fields in admin.xrange(key)})
            for key in admin.keys()}


def test_namespaces_stay_on_their_streams(redis: RedisServer,
                                          start_nodes: StartNodes,
                                          connect: Connect,
                                          unique: Unique) -> None:
    """They stay through a restart of Redis, also a namespace that no server
    serves."""
    nodes = start_nodes(2, redis.url, stream_count=COUNT,
                        namespaces=list(STREAMS), **STEADY)
    start_managers(nodes)
    clients = [connect(node, *STREAMS) for node in nodes]
    for node in nodes:
        for namespace in STREAMS:
            node.wait_server_count(2, namespace)
    events = {(node, namespace): unique('event')
              for node in nodes for namespace in STREAMS}
    for (node, namespace), event in events.items():
        node.start_pulse(event, 0.01, namespace=namespace)
    unserved = unique('unserved')
    nodes[0].start_pulse(unserved, 0.01, namespace='/nobody')
    for event in events.values():
        for client in clients:
            client.wait_for(event, 20)
    redis.kill()
    for node in nodes:
        node.wait_health('degraded', BACK_WITHIN)
    redis.start()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)

    for (node, namespace), event in events.items():
        emitted = node.stop_pulse(event)
        for client in clients:
            client.wait_for(event, emitted, timeout=BACK_WITHIN)
            assert [(args[0], nsp) for name, args, nsp in client.events()
                    if name == event] == [
                        (number, namespace) for number in range(emitted)]
    unheard = nodes[0].stop_pulse(unserved)
    for node in nodes:
        assert node.flush()
        assert node.logs(logging.ERROR) == []
        stats = node.stats()
        assert stats['messages_lost'] == stats['malformed'] == 0
        assert stats['duplicates'] == 0
    for client in clients:
        assert client.received(unserved) == []
    expected = {f'socket.io-{index}': sorted(
        name.encode() for name, stream in STREAMS.items() if stream == index)
        for index in range(COUNT)}
    expected[f'socket.io-{UNSERVED}'] = sorted([
        *expected[f'socket.io-{UNSERVED}'], b'/nobody'])
    assert namespaces_in(redis) == expected
    with redis.client() as admin:
        stored = [fields for _, fields in admin.xrange(
            f'socket.io-{UNSERVED}') if fields[b'nsp'] == b'/nobody']
    assert len(stored) == unheard
