"""Clients that stop reading for a while, over a WebSocket."""
import base64
import contextlib
import functools
import json
import random
import threading
from importlib.util import find_spec
from typing import Any, Callable, List, Set

import psutil
import pytest

from ..support.node_process import NodeProcess
from ..support.slow_client import Ended, SlowClient
from ..support.wait import wait_until

#: More events than the buffers of both ends can hold.
EVENTS = 12_000

#: The lengths of the events' texts in characters; every LONG_EVERY-th is long.
SHORT, LONG = 1_000, 1_000_000
LONG_EVERY = 3_000

#: The number of long events that still exceeds the buffers.
LONG_EVENTS = 16

#: How many of them a slow client reads before it is given up, and the seconds
#: that it takes for each: too long to reach the ping, which follows them all.
SLOWLY_READ, PACE = 8, 0.3

#: Every event with such a number holds bytes instead.
BINARY_EVERY = 500

#: PINGs that the client sends before it reads, and events read between two
#: further PINGs.
EARLY_PINGS, PING_EVERY = 20, 100


@functools.lru_cache(EVENTS)
def data_of(number: int) -> Any:
    """An event's data, which compress poorly."""
    length = LONG if number % LONG_EVERY == 1 else SHORT
    data = random.Random(number).randbytes(length * 3 // 4)
    if number % BINARY_EVERY == 2:
        return data
    return base64.b64encode(data).decode()


@pytest.fixture
def node(start_nodes: Callable[..., List[NodeProcess]],
         redis_server: Any, unique: Callable[[str], str]) -> NodeProcess:
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'))
    node.start_manager()
    return node


def test_every_frame_arrives_whole(node: NodeProcess, mode: str) -> None:
    """In order, with answers to PINGs in between; with and without
    compression."""
    with SlowClient(node.url, compress=False) as plain, \
            SlowClient(node.url, compress=True) as compressed:
        # gevent-websocket does not compress.
        assert compressed.compressed is (
            mode != 'gevent' or find_spec('geventwebsocket') is None)
        assert not plain.compressed
        node.script(*(('server', 'emit', ['event', (number, data_of(number))],
                       {}) for number in range(EVENTS)))
        pings = [f'{number}'.encode() for number in range(EARLY_PINGS)]
        for client in (plain, compressed):
            for payload in pings:
                client.ping(payload)
            client.wait_stalled()
        node.emit('end')
        for client in (plain, compressed):
            check_all(client, list(pings))


def check_all(client: SlowClient, pings: List[bytes]) -> None:
    """It receives all events, and then all answers.

    :param pings: the PINGs that it sent before.
    """
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
    assert next(messages) == '42["end"]'
    # Read after the last PING, and answered after it.
    client.say('421["echo"]')
    assert next(messages) == '431[]'
    assert client.pongs == pings


@pytest.fixture
def impatient(start_nodes: Callable[..., List[NodeProcess]],
              redis_server: Any, unique: Callable[[str], str]) -> NodeProcess:
    """A node that gives up a silent client soon."""
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'),
                        connection_state_recovery=True,
                        server={'ping_interval': 1, 'ping_timeout': 1})
    node.start_manager()
    return node


def offset_of(message: str, number: int) -> str:
    """Check that the message is this event.

    :return: its offset.
    """
    name, found, data, offset = json.loads(message[2:])
    assert (name, found) == ('event', number)
    assert data == data_of(1)
    return str(offset)


def check_return(node: NodeProcess, client: SlowClient, offset: str,
                 number: int) -> None:
    """It receives the rest, from this event on."""
    with SlowClient(node.url, compress=False, auth={
            'pid': client.pid, 'offset': offset}) as again:
        assert (again.sid, again.pid) == (client.sid, client.pid)
        messages = again.messages()
        for each in range(number, LONG_EVENTS):
            offset_of(next(messages), each)


def test_clients_that_do_not_answer(impatient: NodeProcess) -> None:
    """One client reads nothing, and one so slowly that no ping reaches it.

    Their connections are ended, together with the events that wait for them,
    which would delay their return. When they return, they have lost nothing.
    """
    with SlowClient(impatient.url, compress=False) as quiet, \
            SlowClient(impatient.url, compress=False) as slow:
        impatient.script(*(
            ('server', 'emit', ['event', (number, data_of(1))], {})
            for number in range(LONG_EVENTS)))
        first = offset_of(next(quiet.messages()), 0)
        messages, number = slow.messages(), 0
        with contextlib.suppress(Ended):
            for message in messages:
                offset = offset_of(message, number)
                number += 1
                if number < SLOWLY_READ:
                    # Its connection is that slow.
                    threading.Event().wait(PACE)
                else:
                    wait_until(lambda: impatient.disconnects_of(slow.sid),
                               what='the disconnect handler')
        assert 0 < number < LONG_EVENTS
        for client in slow, quiet:
            wait_until(lambda: impatient.disconnects_of(client.sid),
                       what='the disconnect handler')
        wait_until(lambda: not remote_ports(impatient) & {
            quiet.port, slow.port}, what='the end of both connections')
    check_return(impatient, quiet, first, 1)
    check_return(impatient, slow, offset, number)


def remote_ports(node: NodeProcess) -> Set[int]:
    """The remote ports of the node's connections."""
    return {each.raddr.port for each
            in psutil.Process(node.process.pid).net_connections('tcp')
            if each.raddr}
