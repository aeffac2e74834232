"""Clients that do not read for a while, on a WebSocket."""
import base64
import contextlib
import functools
import json
import random
import threading
from typing import Any, Callable, List, Set

import psutil
import pytest

from ..support.node_process import NodeProcess
from ..support.slow_client import Ended, SlowClient
from ..support.wait import wait_until

#: More than the buffers of both ends hold together.
EVENTS = 12_000

#: The lengths of their texts. Each one in so many is longer.
SHORT, LONG = 1_000, 1_000_000
LONG_EVERY = 3_000

#: So many long ones are still more.
LONG_EVENTS = 16

#: Seconds that a slow client takes for one: too long to come to the ping,
#: which is behind them all.
PACE = 0.3

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


@pytest.fixture
def node(start_nodes: Callable[..., List[NodeProcess]],
         redis_server: Any, unique: Callable[[str], str]) -> NodeProcess:
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'))
    node.start_manager()
    return node


def test_every_frame_arrives_whole(node: NodeProcess) -> None:
    """In order, with answers to PINGs in between; with and without
    compression."""
    with SlowClient(node.url, compress=False) as plain, \
            SlowClient(node.url, compress=True) as compressed:
        assert compressed.compressed and not plain.compressed
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
    """It gets all events, and then all answers.

    :param pings: what it has asked for.
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
    """One that soon gives a client up."""
    node, = start_nodes(1, redis_server.url, stream_name=unique('stream'),
                        connection_state_recovery=True,
                        server={'ping_interval': 1, 'ping_timeout': 1})
    node.start_manager()
    return node


def take(message: str, number: int) -> str:
    """Make sure that it is this event.

    :return: its offset.
    """
    name, found, data, offset = json.loads(message[2:])
    assert (name, found) == ('event', number)
    assert data == data_of(1)
    return str(offset)


def check_comes_back(node: NodeProcess, client: SlowClient, offset: str,
                     number: int) -> None:
    """It gets the rest, from this event on."""
    with SlowClient(node.url, compress=False, auth={
            'pid': client.pid, 'offset': offset}) as again:
        assert (again.sid, again.pid) == (client.sid, client.pid)
        messages = again.messages()
        for each in range(number, LONG_EVENTS):
            take(next(messages), each)


def test_clients_that_do_not_answer(impatient: NodeProcess) -> None:
    """One reads nothing, and one so slowly that no ping has come to it. Their
    connections are ended, with what waits for them: it would keep them from
    coming back in time. When they do, they have lost nothing."""
    with SlowClient(impatient.url, compress=False) as quiet, \
            SlowClient(impatient.url, compress=False) as slow:
        impatient.script(*(
            ('server', 'emit', ['event', (number, data_of(1))], {})
            for number in range(LONG_EVENTS)))
        first = take(next(quiet.messages()), 0)
        messages, number = slow.messages(), 0
        while not impatient.disconnects_of(slow.sid):
            offset = take(next(messages), number)
            number += 1
            # So slow is its line.
            threading.Event().wait(PACE)
        with contextlib.suppress(Ended):
            for message in messages:
                offset = take(message, number)
                number += 1
        assert 0 < number < LONG_EVENTS
        wait_until(lambda: impatient.disconnects_of(quiet.sid),
                   what='the disconnect handler')
        wait_until(lambda: not remote_ports(impatient) & {
            quiet.port, slow.port}, what='the end of both connections')
    check_comes_back(impatient, quiet, first, 1)
    check_comes_back(impatient, slow, offset, number)


def remote_ports(node: NodeProcess) -> Set[int]:
    """The other ends of the node's connections."""
    return {each.raddr.port for each
            in psutil.Process(node.process.pid).net_connections('tcp')
            if each.raddr}
