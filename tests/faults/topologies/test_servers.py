"""The oldest and the newest installed server, over TCP and over a Unix
socket: what matters most, on each."""
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN, check_outage_lines, \
    log_lengths, numbers, wait_for_outage
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value
from ..fixtures import Connect, StartNodes, Unique
from .accounts import losses, start_pulses
from .conftest import SILENT


class Address(NamedTuple):
    """A server, and the URL by which nodes reach it."""

    server: RedisServer
    url: str


@pytest.fixture
def server(each_binary: str) -> Iterator[RedisServer]:
    with RedisServer(append_only=True, binary=each_binary) as started:
        yield started.start()


@pytest.fixture(params=['tcp', 'unix'])
def address(request: pytest.FixtureRequest, each_binary: str,
            tmp_path: Path) -> Iterator[Address]:
    path = tmp_path / 'redis.sock'
    with RedisServer(append_only=True, binary=each_binary, arguments=(
            '--unixsocket', str(path))) as started:
        started.start()
        yield Address(started, f'unix://{path}' if request.param == 'unix'
                      else started.url)


def test_restart_loses_nothing(address: Address, start_nodes: StartNodes,
                               connect: Connect, unique: Unique) -> None:
    """Redis restarts while all nodes emit."""
    pulses = start_pulses(start_nodes, connect, unique, address.url, **STEADY)
    nodes = list(pulses.nodes)
    starts = log_lengths(nodes)
    address.server.kill()
    wait_for_outage(nodes, starts)
    address.server.start()
    pulses.wait_flow()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_arrived()
    check_outage_lines(nodes, starts)


def test_deleted_stream_is_reported(server: RedisServer,
                                    start_nodes: StartNodes, connect: Connect,
                                    unique: Unique) -> None:
    """Each node reports the deletion, and later events arrive."""
    stream = unique('stream')
    nodes = start_nodes(2, server.url, stream_name=stream, block_time=0.2,
                        **SILENT)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    assert ask(server, 'DEL', stream) == 1
    for node in nodes:
        wait_for_value(lambda: losses(node), {'streams_deleted': 1},
                       what='the reported losses')
    event = unique('event')
    for number in range(10):
        nodes[0].emit(event, number)
    for client in clients:
        client.wait_for(event, 10)
        assert numbers(client, event) == list(range(10))
    for node in nodes:
        assert losses(node) == {'streams_deleted': 1}


def test_reader_counts_trimmed_messages(server: RedisServer,
                                        start_nodes: StartNodes,
                                        connect: Connect,
                                        unique: Unique) -> None:
    """A reader that was away for longer than the stream keeps entries reports
    exactly how many messages it has missed."""
    nodes = start_nodes(2, server.url, max_len=100, **STEADY)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    event = unique('event')
    nodes[1].freeze()
    try:
        nodes[0].script(*(('server', 'emit', [event, number], {})
                          for number in range(1000)))
        assert nodes[0].flush(BACK_WITHIN)
    finally:
        nodes[1].thaw()
    clients[1].wait_for(event)
    last = unique('last')
    nodes[0].emit(last)
    for client in clients:
        client.wait_for(last)
    assert numbers(clients[0], event) == list(range(1000))
    got = numbers(clients[1], event)
    assert got == sorted({*got}) and {*got} <= {*range(1000)}
    assert len(got) < 1000
    assert losses(nodes[1]) == {'messages_lost': 1000 - len(got)}
    assert losses(nodes[0]) == {}
