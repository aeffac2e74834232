"""A server in Python answers requests over the stream and over plain PUB/SUB,
whichever transport it uses itself. It answers over sharded PUB/SUB if that is
its transport."""
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


def check_answers(requester: Server, servers: List[Server],
                  clients: List[Any], unique: Unique) -> None:
    """Check that all servers, with one client each, answer every kind of
    request of one of them."""
    wait_until_heard(servers, clients, unique)
    requester.wait_server_count(len(servers))
    assert {each['sid'] for each in requester.fetch_sockets()} == {
        client.sid for client in clients}
    event = unique('event')
    for number, client in enumerate(clients):
        client.answer(event, [number, b'\x00'])
    assert sorted(requester.emit_with_ack(event)) == [
        [number, b'\x00'] for number in range(len(clients))]
    others = [server for server in servers if server is not requester]
    for server in others:
        server.handle_server_side(event, ['answer', b'\x00'])
    assert requester.server_side_call(event) == [
        ['answer', b'\x00']] * len(others)


def start(redis_server: RedisServer, unique: Unique,
          start_nodes: StartNodes, start_js: StartJs, generation: Generation,
          transports: List[str], **js_options: Any) -> List[Server]:
    """One server in Python for each transport, and then one in Node.js."""
    options = {'stream_name': unique('stream'),
               'channel_prefix': unique('channel'), **STEADY}
    nodes = [start_nodes(1, redis_server.url, request_transport=transport,
                         **options)[0] for transport in transports]
    for node in nodes:
        node.start_manager()
    return [*nodes, *start_js([generation], redis_server.url, **options,
                              **js_options)]


@pytest.mark.parametrize('generation', [OLD, NEW, NEW_IOREDIS],
                         ids=lambda generation: generation.name)
def test_servers_with_several_transports_answer(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect,
        generation: Generation) -> None:
    """While a cluster is moved from one transport to another, servers in
    Node.js still get all answers."""
    servers = start(redis_server, unique, start_nodes, start_js, generation,
                    ['stream', 'pubsub'])
    clients = [connect_js(server) for server in servers]
    check_answers(servers[-1], servers, clients, unique)


def test_server_side_events_over_the_stream_arrive(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect) -> None:
    """The newer adapter publishes such events, but also reads them from the
    stream."""
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
def test_servers_answer_over_sharded_channels(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect,
        generation: Generation) -> None:
    """All servers use them, because a server in Node.js then subscribes to
    nothing else."""
    # Redis 7.0 brought both sharded channels and this count.
    if not redis_server.binary.has_sharded_channels:
        pytest.skip('this Redis has no sharded channels')
    servers = start(redis_server, unique, start_nodes, start_js, generation,
                    ['sharded-pubsub', 'sharded-pubsub'],
                    use_sharded_pub_sub=True)
    clients = [connect_js(server) for server in servers]
    for requester in servers[-2:]:
        check_answers(requester, servers, clients, unique)


@pytest.mark.parametrize('generation', [OLD, NEW],
                         ids=lambda generation: generation.name)
def test_answers_about_many_clients(
        redis_server: RedisServer, unique: Unique, start_nodes: StartNodes,
        start_js: StartJs, connect_js: Connect,
        generation: Generation) -> None:
    """A server in Node.js gets them whole, one in Python in pages."""
    transport = 'stream' if generation is OLD else 'pubsub'
    servers = start(redis_server, unique, start_nodes, start_js, generation,
                    [transport] * 2)
    clients = [connect_js(server) for server in (*servers, *servers[:1] * 45)]
    wait_until_heard(servers, clients[:3], unique)
    sids = sorted(client.sid for client in clients)
    text = '"]}' * 100
    servers[0].save_session(clients[-1].sid, {'text': text})
    for server in servers:
        server.wait_server_count(3)
        found = server.fetch_sockets()
        assert sorted(each['sid'] for each in found) == sids
        assert [each['data'] for each in found
                if each['sid'] == clients[-1].sid] == [{'text': text}]
    room = unique('room')
    servers[0].sockets_join([room])
    for server in servers[:2]:
        wait_for_value(
            lambda: server.invoke('manager', 'all_rooms').get(room), 48)
