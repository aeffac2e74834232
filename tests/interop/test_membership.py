"""Servers in both languages join, leave and die, and the others notice."""
from typing import Any, Callable, List, Tuple

import pytest

from ..integration.test_membership import MISSED_WITHIN, QUICK
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_server import RedisServer
from .helpers import check_received, LANGUAGES, NEW, OLD, Server, Transport, \
    Unique, wait_counted, wait_until_heard

Connect = Callable[..., Any]

#: Heartbeats so rare that no test waits for one.
RARE = {'heartbeat_interval': 50.0, 'heartbeat_timeout': 60.0}

#: Two of each language, in this order.
Four = Tuple[NodeProcess, NodeProcess, JsServer, JsServer]


@pytest.fixture
def four(redis_server: RedisServer, unique: Unique,
         start_nodes: Callable[..., List[NodeProcess]],
         start_js: Callable[..., List[JsServer]]) -> Four:
    """Servers with short heartbeats, which know each other. A test may end
    some of them."""
    options = {'stream_name': unique('stream'), **QUICK}
    nodes = start_nodes(2, redis_server.url, **options)
    js_servers = start_js([OLD, OLD], redis_server.url, **options)
    for node in nodes:
        node.start_manager()
    wait_for_count([*nodes, *js_servers], 4)
    return (*nodes, *js_servers)  # type: ignore[return-value]


def wait_for_count(servers: List[Server], count: int) -> None:
    """Wait until each of them counts that many, however busy the machine."""
    wait_counted(servers, count, MISSED_WITHIN)


def check_working(servers: List[Server], connect_js: Connect,
                  unique: Unique) -> None:
    """Check that these servers receive each other's events, and wait for no
    other server when they send a request."""
    clients = [connect_js(server) for server in servers]
    wait_until_heard(servers, clients, unique)
    for server in servers:
        event = unique('event')
        server.emit(event, 1)
        check_received(server, clients, unique, **{
            event: [[(1,)]] * len(clients)})
        assert {each['sid'] for each in server.fetch_sockets()} == {
            client.sid for client in clients}


@pytest.fixture
def rare(redis_server: RedisServer, unique: Unique) -> Any:
    """Where servers meet, and what options they have."""
    return redis_server.url, {'stream_name': unique('stream'), **RARE}


def test_server_in_nodejs_joins_late(
        rare: Any, start_nodes: Callable[..., List[NodeProcess]],
        start_js: Callable[..., List[JsServer]]) -> None:
    """Servers in Python have written nothing in most of their namespaces by
    then. They answer it in each of them, and as it may not read yet, write
    heartbeats there from then on."""
    url, options = rare
    nodes = start_nodes(2, url, **{**options, 'heartbeat_interval': 2.0})
    for node in nodes:
        node.start_manager()
    wait_counted(nodes, 2)
    late, = start_js([OLD], url, **options)
    wait_counted([late, *nodes], 3)


def test_server_in_python_joins_late(
        rare: Any, start_nodes: Callable[..., List[NodeProcess]],
        start_js: Callable[..., List[JsServer]]) -> None:
    """It announces itself, and leaves, in each namespace of a server in
    Node.js."""
    url, options = rare
    js, = start_js([OLD], url, **options)
    node, = start_nodes(1, url, **options)
    node.start_manager()
    wait_counted([js, node], 2)
    node.close_manager()
    wait_counted([js], 1)


def test_leaving_server(four: Four, connect_js: Connect,
                        unique: Unique) -> None:
    """Servers in both languages process its goodbye."""
    python, leaving, js, leaving_js = four
    leaving.close_manager()
    wait_for_count([python, js, leaving_js], 3)
    assert leaving_js.leave() == 0
    wait_for_count([python, js], 2)
    check_working([python, js], connect_js, unique)


def test_killed_server(four: Four, connect_js: Connect,
                       unique: Unique) -> None:
    python, dying, js, dying_js = four
    dying.kill()
    wait_for_count([python, js, dying_js], 3)
    dying_js.kill()
    wait_for_count([python, js], 2)
    check_working([python, js], connect_js, unique)


@pytest.mark.parametrize('language', LANGUAGES)
def test_server_killed_during_a_request(
        four: Four, connect_js: Connect, unique: Unique,
        language: str) -> None:
    """The wait ends when the server's heartbeats are missed, long before the
    timeout: without an error, with the answers of the others."""
    python, other_python, js, other_js = four
    requester: Server = python if language == 'Python' else js
    # It speaks the other language.
    dying: Server = other_js if language == 'Python' else other_python
    clients = {server.name: connect_js(server) for server in four}
    dying.freeze()
    found = requester.fetch_sockets(timeout=60.0)
    assert {each['sid'] for each in found} == {
        client.sid for name, client in clients.items()
        if name != dying.name}
    dying.kill()
    left = [server for server in four if server is not dying]
    event = unique('event')
    for server in left:
        server.handle_server_side(event, 'answer')
    assert requester.server_side_call(event) == ['answer', 'answer']


def test_frozen_server(four: Four, unique: Unique) -> None:
    """It is no longer counted, until it goes on."""
    python, other_python, js, other_js = four
    for frozen in (other_js, other_python):
        frozen.freeze()
        try:
            wait_for_count([python, js], 3)
        finally:
            frozen.thaw()
        wait_for_count(list(four), 4)


# -- the generation without heartbeats ---------------------------------------

@pytest.fixture(params=[Transport(NEW, 'pubsub'),
                        Transport(NEW, 'sharded-pubsub')],
                ids=lambda transport: transport.request_transport)
def pair(request: Any, redis_server: RedisServer, unique: Unique,
         start_nodes: Callable[..., List[NodeProcess]],
         start_js: Callable[..., List[JsServer]]) -> List[Server]:
    """One server in each language, which count subscribers."""
    transport: Transport = request.param
    if transport.is_sharded and not redis_server.binary.has_sharded_channels:
        pytest.skip('this Redis is older than 7.0: no sharded channels')
    options = {'stream_name': unique('stream'),
               'channel_prefix': unique('channel'), **QUICK}
    python, = start_nodes(1, redis_server.url, **options,
                          request_transport=transport.request_transport)
    js, = start_js([transport.generation], redis_server.url, **options,
                   **transport.js_options)
    python.start_manager()
    wait_for_count([python, js], 2)
    return [python, js]


@pytest.mark.parametrize('language, how', [
    ('JavaScript', 'leave'), ('JavaScript', 'kill'),
    ('Python', 'close_manager'), ('Python', 'kill')])
def test_server_unsubscribes(pair: List[Server], connect_js: Connect,
                             unique: Unique, language: str,
                             how: str) -> None:
    leaving, staying = pair if language == 'Python' else reversed(pair)
    getattr(leaving, how)()
    wait_for_count([staying], 1)
    check_working([staying], connect_js, unique)


def test_frozen_server_is_waited_for_until_the_timeout(
        pair: List[Server], connect_js: Connect) -> None:
    """A number of subscribers does not say which server is missing: the wait
    ends at its timeout, with the answers of the others."""
    python, js = pair
    connect_js(python), connect_js(js)
    js.freeze()
    with pytest.raises(RemoteError) as info:
        python.fetch_sockets(timeout=1.0)
    js.thaw()
    assert info.value.types[0] == 'ClusterTimeoutError'
    assert info.value.text == (
        'timeout reached: only 0 responses received out of 1')


def test_silent_server_stays_a_member(
        pair: List[Server], connect_js: Connect, unique: Unique) -> None:
    """Without heartbeats, a server that has emitted once and is silent since
    counts as alive, and its clients are waited for."""
    python, js = pair
    client = connect_js(js)
    wait_until_heard([js], [connect_js(python)], unique)
    event = unique('question')
    # Longer than a server with heartbeats may be silent.
    client.answer_late(event, 2 * QUICK['heartbeat_timeout'], 'answer')
    assert python.emit_with_ack(event, timeout=60.0) == [
        None, 'answer']


def test_another_application_on_the_same_channels(
        pair: List[Server], start_nodes: Callable[..., List[NodeProcess]],
        redis_server: RedisServer, connect_js: Connect) -> None:
    """A server in Python neither counts the servers in Python of another
    application nor sends requests to them, and ignores what they send."""
    python, js = pair
    stranger, = start_nodes(1, redis_server.url, **{
        **python.options, 'stream_name': 'of another application'})
    stranger.start_manager()
    # It counts the server in Node.js: channels do not name applications.
    stranger.wait_server_count(2)
    sids = {connect_js(each).sid for each in pair}
    stranger.handle_server_side('name', 'a stranger')
    for each in pair:
        each.handle_server_side('name', each.name)
    assert python.server_count() == 2
    assert {each['sid'] for each in python.fetch_sockets()} == sids
    assert python.server_side_call('name') == [js.name]
    assert stranger.server_side_events('name') == []
