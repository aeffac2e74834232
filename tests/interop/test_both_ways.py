"""A server of ours answers a request over the stream and over plain PUB/SUB,
whatever its own transport; over sharded PUB/SUB if that is its transport."""
from typing import Any, Callable, List

import pytest

from ..integration.conftest import STEADY
from ..support.js_server import Generation, JsServer
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from ..support.wait import wait_for_value
from .helpers import NEW, NEW_IOREDIS, OLD, Server, Unique, wait_until_heard

Connect = Callable[..., Any]
StartNodes = Callable[..., List[NodeProcess]]
StartJs = Callable[..., List[JsServer]]


def check_answers(asker: Server, servers: List[Server],
                  clients: List[Any], unique: Unique) -> None:
    """All servers, with a client each, answer one of them, with all that can
    be asked."""
    wait_until_heard(servers, clients, unique)
    asker.wait_server_count(len(servers))
    assert {each['sid'] for each in asker.fetch_sockets()} == {
        client.sid for client in clients}
    event = unique('event')
    for number, client in enumerate(clients):
        client.answer(event, [number, b'\x00'])
    assert sorted(asker.emit_with_ack(event)) == [
        [number, b'\x00'] for number in range(len(clients))]
    others = [server for server in servers if server is not asker]
    for server in others:
        server.handle_server_side(event, ['answer', b'\x00'])
    assert asker.server_side_call(event) == [
        ['answer', b'\x00']] * len(others)


def start(redis_server: RedisServer, unique: Unique,
          start_nodes: StartNodes, start_js: StartJs, generation: Generation,
          transports: List[str], **js_options: Any) -> List[Server]:
    """One server of ours for each way of asking, and then one in Node.js."""
    options = {'stream_name': unique('stream'),
               'channel_prefix': unique('channel'), **STEADY}
    ours = [start_nodes(1, redis_server.url, request_transport=transport,
                        **options)[0] for transport in transports]
    for node in ours:
        node.start_manager()
    return [*ours, *start_js([generation], redis_server.url, **options,
                             **js_options)]


@pytest.mark.parametrize('generation', [OLD, NEW, NEW_IOREDIS],
                         ids=lambda generation: generation.name)
def test_whoever_asks(redis_server: RedisServer, unique: Unique,
                      start_nodes: StartNodes, start_js: StartJs,
                      connect_js: Connect, generation: Generation) -> None:
    """A cluster that is being moved from one way to the other is still
    whole for the servers in Node.js."""
    servers = start(redis_server, unique, start_nodes, start_js, generation,
                    ['stream', 'pubsub'])
    clients = [connect_js(server) for server in servers]
    check_answers(servers[-1], servers, clients, unique)


def test_events_for_servers_over_the_stream(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect) -> None:
    """The newer adapter takes from the stream what it publishes itself."""
    servers = start(redis_server, unique, start_nodes, start_js, NEW,
                    ['stream'])
    python, js = servers
    wait_until_heard(servers, [connect_js(js)], unique)
    event = unique('event')
    js.handle_server_side(event)
    python.server_side_emit(event, 'over', b'\x00')
    python.server_side_emit(event, 'the stream')
    wait_for_value(lambda: js.server_side_events(event),
                   [['over', b'\x00'], ['the stream']],
                   what='the server-side events')


@pytest.mark.parametrize('generation', [NEW, NEW_IOREDIS],
                         ids=lambda generation: generation.name)
def test_whoever_asks_over_sharded_channels(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect,
        generation: Generation) -> None:
    """All servers take them, for a server in Node.js hears nothing else."""
    # Both are there since 7.0.
    if not redis_server.counts_entries():
        pytest.skip('this Redis has no sharded channels')
    servers = start(redis_server, unique, start_nodes, start_js, generation,
                    ['sharded-pubsub', 'sharded-pubsub'],
                    use_sharded_pub_sub=True)
    clients = [connect_js(server) for server in servers]
    for asker in servers[-2:]:
        check_answers(asker, servers, clients, unique)
