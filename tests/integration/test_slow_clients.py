"""Clients that do not read for a while, on a WebSocket."""
import base64
import functools
import json
import random
from typing import Any, Callable, List, Set

import psutil
import pytest

from ..support.node_process import NodeProcess
from ..support.slow_client import SlowClient
from ..support.wait import wait_until

#: More than the buffers of both ends hold together.
EVENTS = 12_000

#: The lengths of their texts. Each one in so many is longer.
SHORT, LONG = 1_000, 1_000_000
LONG_EVERY = 3_000

#: Each one in so many holds bytes instead.
BINARY_EVERY = 500

#: PINGs that the client sends before it reads, and one for so many events
#: that it has read.
EARLY_PINGS, PING_EVERY = 20, 100


@functools.lru_cache(EVENTS)
def data_of(number: int) -> Any:
    """What an event holds: nothing that could be compressed much."""
    length = LONG if number % LONG_EVERY == 1 else SHORT
    data = random.Random(number).randbytes(length * 3 // 4)
    if number % BINARY_EVERY == 2:
        return data
    return base64.b64encode(data).decode()


@pytest.fixture(params=[False, True], ids=['plain', 'compressed'])
def compress(request: Any) -> bool:
    return bool(request.param)


@pytest.fixture
def node(start_nodes: Callable[..., List[NodeProcess]],
         redis_server: Any, unique: Callable[[str], str]) -> NodeProcess:
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'))
    node.start_manager()
    return node


def test_every_frame_arrives_whole(node: NodeProcess,
                                   compress: bool) -> None:
    """In order, with answers to PINGs in between."""
    with SlowClient(node.url, compress) as client:
        assert client.compressed == compress
        node.script(*(('server', 'emit', ['event', (number, data_of(number))],
                       {}) for number in range(EVENTS)))
        pings = [f'{number}'.encode() for number in range(EARLY_PINGS)]
        for payload in pings:
            client.ping(payload)
        client.wait_stalled()
        messages = client.messages()
        for number in range(EVENTS):
            expected = data_of(number)
            text = next(messages)
            if isinstance(expected, bytes):
                name, found, data = 'event', number, next(messages)
                assert json.loads(text.partition('-')[2]) == [
                    'event', number, {'_placeholder': True, 'num': 0}]
            else:
                name, found, data = json.loads(text[2:])
            assert (name, found) == ('event', number)
            assert data == expected, number
            if number % PING_EVERY == 0:
                pings.append(f'late {number}'.encode())
                client.ping(pings[-1])
        node.emit('end')
        assert next(messages) == '42["end"]'
        assert client.pongs == pings


def test_a_client_that_reads_nothing_is_given_up(
        start_nodes: Callable[..., List[NodeProcess]], redis_server: Any,
        unique: Callable[[str], str]) -> None:
    """With its connection, and what waits for it. When it comes back it has
    lost nothing."""
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'),
                        connection_state_recovery=True,
                        server={'ping_interval': 1, 'ping_timeout': 1})
    node.start_manager()
    with SlowClient(node.url, compress=False) as client:
        node.script(*(('server', 'emit', ['event', (number, data_of(1))], {})
                      for number in range(12)))
        _, _, _, offset = json.loads(next(client.messages())[2:])
        client.wait_stalled()
        assert client.port in remote_ports(node)
        wait_until(lambda: node.disconnects_of(client.sid),
                   what='the disconnect handler')
        wait_until(lambda: client.port not in remote_ports(node),
                   what='the end of the connection')
    with SlowClient(node.url, compress=False, auth={
            'pid': client.pid, 'offset': offset}) as again:
        assert (again.sid, again.pid) == (client.sid, client.pid)
        messages = again.messages()
        for number in range(1, 12):
            name, found, data, _ = json.loads(next(messages)[2:])
            assert (name, found) == ('event', number)
            assert data == data_of(1)


def remote_ports(node: NodeProcess) -> Set[int]:
    """The other ends of the node's connections."""
    return {each.raddr.port for each
            in psutil.Process(node.process.pid).net_connections('tcp')
            if each.raddr}
