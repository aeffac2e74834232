"""Servers of both languages come, leave and die, and the others notice."""
from typing import Any, Callable, List, Tuple

import pytest

from ..integration.test_membership import MISSED_WITHIN, QUICK
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess, RemoteError
from ..support.redis_server import RedisServer
from .helpers import check_received, LANGUAGES, NEW, OLD, Server, Transport, \
    Unique, wait_counted, wait_until_heard

Connect = Callable[..., Any]

#: Two of each language, in this order.
Four = Tuple[NodeProcess, NodeProcess, JsServer, JsServer]


@pytest.fixture
def four(redis_server: RedisServer, unique: Unique,
         start_nodes: Callable[..., List[NodeProcess]],
         start_js: Callable[..., List[JsServer]]) -> Four:
    """Servers with heartbeats, of which some shall go: each knows all
    others."""
    options = {'stream_name': unique('stream'), **QUICK}
    ours = start_nodes(2, redis_server.url, **options)
    theirs = start_js([OLD, OLD], redis_server.url, **options)
    for node in ours:
        node.start_manager()
    wait_for_count([*ours, *theirs], 4)
    return (*ours, *theirs)  # type: ignore[return-value]


def wait_for_count(servers: List[Server], count: int) -> None:
    """Wait until each of them counts that many, however busy the machine."""
    wait_counted(servers, count, MISSED_WITHIN)


def check_working(servers: List[Server], connect_js: Connect,
                  unique: Unique) -> None:
    """Those that are left hear each other, and ask nobody else."""
    clients = [connect_js(server) for server in servers]
    wait_until_heard(servers, clients, unique)
    for server in servers:
        event = unique('event')
        server.emit(event, 1)
        check_received(server, clients, unique, **{
            event: [[(1,)]] * len(clients)})
        assert {each['sid'] for each in server.fetch_sockets()} == {
            client.sid for client in clients}


def test_who_leaves(four: Four, connect_js: Connect,
                    unique: Unique) -> None:
    """Its goodbye is understood in the other language."""
    python, leaving, js, leaving_js = four
    leaving.close_manager()
    wait_for_count([python, js, leaving_js], 3)
    assert leaving_js.leave() == 0
    wait_for_count([python, js], 2)
    check_working([python, js], connect_js, unique)


def test_who_is_killed(four: Four, connect_js: Connect,
                       unique: Unique) -> None:
    python, dying, js, dying_js = four
    dying.kill()
    wait_for_count([python, js, dying_js], 3)
    dying_js.kill()
    wait_for_count([python, js], 2)
    check_working([python, js], connect_js, unique)


@pytest.mark.parametrize('language', LANGUAGES)
def test_who_dies_while_it_is_asked(four: Four, connect_js: Connect,
                                    unique: Unique, language: str) -> None:
    """The wait ends when the other is missed, long before its timeout:
    without an error, with what the rest have answered."""
    python, other_python, js, other_js = four
    asker: Server = python if language == 'Python' else js
    # Of the other language than who asks.
    dying: Server = other_js if language == 'Python' else other_python
    clients = {server.name: connect_js(server) for server in four}
    dying.freeze()
    found = asker.fetch_sockets(timeout=60.0)
    assert {each['sid'] for each in found} == {
        client.sid for name, client in clients.items()
        if name != dying.name}
    dying.kill()
    left = [server for server in four if server is not dying]
    event = unique('event')
    for server in left:
        server.handle_server_side(event, 'answer')
    assert asker.server_side_call(event) == ['answer', 'answer']


def test_who_sleeps(four: Four, unique: Unique) -> None:
    """It is missed, and is back when it wakes up."""
    python, other_python, js, other_js = four
    for sleeper in (other_js, other_python):
        sleeper.freeze()
        try:
            wait_for_count([python, js], 3)
        finally:
            sleeper.thaw()
        wait_for_count(list(four), 4)


# -- the generation that has no heartbeat -----------------------------------

@pytest.fixture(params=[Transport(NEW, 'pubsub'),
                        Transport(NEW, 'sharded-pubsub')],
                ids=lambda transport: transport.request_transport)
def pair(request: Any, redis_server: RedisServer, unique: Unique,
         start_nodes: Callable[..., List[NodeProcess]],
         start_js: Callable[..., List[JsServer]]) -> List[Server]:
    """One of each language, which count those that are subscribed."""
    transport: Transport = request.param
    if transport.is_sharded and not redis_server.counts_entries():
        pytest.skip('this Redis is older than 7.0: no sharded channels')
    options = {'stream_name': unique('stream'),
               'channel_prefix': unique('channel'), **QUICK}
    ours = start_nodes(1, redis_server.url, **options,
                       request_transport=transport.request_transport)
    theirs = start_js([transport.generation], redis_server.url, **options,
                      **transport.js_options)
    ours[0].start_manager()
    wait_for_count([*ours, *theirs], 2)
    return [*ours, *theirs]


@pytest.mark.parametrize('how', ['leave', 'kill'])
def test_who_unsubscribes(pair: List[Server], connect_js: Connect,
                          unique: Unique, how: str) -> None:
    python, js = pair
    getattr(js, how)()
    wait_for_count([python], 1)
    check_working([python], connect_js, unique)


@pytest.mark.parametrize('how', ['close_manager', 'kill'])
def test_our_end_unsubscribes(pair: List[Server], connect_js: Connect,
                              unique: Unique, how: str) -> None:
    python, js = pair
    getattr(python, how)()
    wait_for_count([js], 1)
    check_working([js], connect_js, unique)


def test_who_dies_while_it_is_asked_by_channel(
        pair: List[Server], connect_js: Connect) -> None:
    """Nobody tells who it was: the wait ends at its timeout, with what the
    rest have answered."""
    python, js = pair
    connect_js(python), connect_js(js)
    js.freeze()
    with pytest.raises(RemoteError) as info:
        python.fetch_sockets(timeout=1.0)
    js.thaw()
    assert info.value.types[0] == 'ClusterTimeoutError'
    assert info.value.text == (
        'timeout reached: only 0 responses received out of 1')


def test_silence_means_nothing_by_channel(
        pair: List[Server], connect_js: Connect, unique: Unique) -> None:
    """A server that has emitted once and then says nothing is as much alive
    as before, and its clients are waited for."""
    python, js = pair
    client = connect_js(js)
    wait_until_heard([js], [connect_js(python)], unique)
    event = unique('question')
    # It takes longer than a node with heartbeats may be silent.
    client.answer_late(event, 2 * QUICK['heartbeat_timeout'], 'answer')
    assert python.emit_with_ack(event, timeout=60.0) == [
        None, 'answer']


def test_another_application_on_the_same_channels(
        pair: List[Server], start_nodes: Callable[..., List[NodeProcess]],
        redis_server: RedisServer, connect_js: Connect) -> None:
    """Its servers in Python are no servers in Node.js: they are neither
    counted nor asked, and what they say is not heard."""
    python, js = pair
    stranger, = start_nodes(1, redis_server.url, **{
        **python.options, 'stream_name': 'of another application'})
    stranger.start_manager()
    # The other one in Node.js is taken for its own: channels do not tell.
    stranger.wait_server_count(2)
    ours = {connect_js(each).sid for each in pair}
    stranger.handle_server_side('who', 'a stranger')
    for each in pair:
        each.handle_server_side('who', each.name)
    assert python.server_count() == 2
    assert {each['sid'] for each in python.fetch_sockets()} == ours
    assert python.server_side_call('who') == [js.name]
    assert stranger.server_side_events('who') == []
