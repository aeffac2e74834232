"""The oldest server that is supported and the newest that is here, over TCP
and over a unix socket: what matters most, on each."""
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple

import pytest

from ...integration.conftest import STEADY, start_managers
from ...integration.helpers import BACK_WITHIN, check_outage_lines, \
    log_lengths, numbers, wait_for_outage
from ...support.client import Client
from ...support.node_process import NodeProcess
from ...support.redis_server import RedisServer
from ...support.replicated import ask
from ...support.wait import wait_for_value
from .accounts import losses, Pulses
from .conftest import SILENT

Connect = Callable[..., Client]
Unique = Callable[[str], str]
StartNodes = Callable[..., List[NodeProcess]]


class Reached(NamedTuple):
    """A server, and how nodes reach it."""

    server: RedisServer
    url: str


@pytest.fixture
def server(each_binary: str) -> Iterator[RedisServer]:
    with RedisServer(append_only=True, binary=each_binary) as own:
        yield own.start()


@pytest.fixture(params=['tcp', 'unix'])
def reached(request: pytest.FixtureRequest, each_binary: str,
            tmp_path: Path) -> Iterator[Reached]:
    path = tmp_path / 'redis.sock'
    with RedisServer(append_only=True, binary=each_binary, arguments=(
            '--unixsocket', str(path))) as own:
        own.start()
        yield Reached(own, f'unix://{path}' if request.param == 'unix'
                      else own.url)


def test_restart_loses_nothing(reached: Reached, start_nodes: StartNodes,
                               connect: Connect, unique: Unique) -> None:
    """While everybody emits."""
    nodes = start_nodes(2, reached.url, **STEADY)
    start_managers(nodes)
    pulses = Pulses(nodes, [connect(node) for node in nodes], unique)
    pulses.wait_flow()
    starts = log_lengths(nodes)
    reached.server.kill()
    wait_for_outage(nodes, starts)
    reached.server.start()
    pulses.wait_flow()
    for node in nodes:
        node.wait_health('ok', BACK_WITHIN)
    pulses.check_all_arrived()
    check_outage_lines(nodes, starts)


def test_deleted_stream_is_reported(server: RedisServer,
                                    start_nodes: StartNodes, connect: Connect,
                                    unique: Unique) -> None:
    """Each node tells, and what comes then arrives."""
    stream = unique('stream')
    nodes = start_nodes(2, server.url, stream_name=stream, block_time=0.2,
                        **SILENT)
    start_managers(nodes)
    clients = [connect(node) for node in nodes]
    assert ask(server, 'DEL', stream) == 1
    for node in nodes:
        wait_for_value(lambda: losses(node), {'streams_deleted': 1},
                       what='what is told of losses')
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
    """One that was away for longer than the stream keeps entries tells
    exactly how many it has missed."""
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
