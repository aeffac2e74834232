"""Servers of both languages come, leave and die, and the others notice:
by heartbeat, with the generation of the adapter that has one."""
from typing import Any, Callable, List, Tuple

import pytest

from ..integration.test_membership import MISSED_WITHIN, QUICK
from ..support.js_server import JsServer
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from .helpers import check_received, LANGUAGES, OLD, Server, Unique, \
    wait_until_heard

Connect = Callable[..., Any]

#: Two of each language, in this order.
Four = Tuple[NodeProcess, NodeProcess, JsServer, JsServer]


@pytest.fixture
def four(redis_server: RedisServer, unique: Unique,
         start_nodes: Callable[..., List[NodeProcess]],
         start_js: Callable[..., List[JsServer]]) -> Four:
    """Servers of which some shall go: each knows all others."""
    options = {'stream_name': unique('stream'), **QUICK}
    ours = start_nodes(2, redis_server.url, **options)
    theirs = start_js([OLD, OLD], redis_server.url, **options)
    for node in ours:
        node.start_manager()
    wait_for_count([*ours, *theirs], 4)
    return (*ours, *theirs)  # type: ignore[return-value]


def wait_for_count(servers: List[Server], count: int) -> None:
    """Wait until each of them counts so many, in each namespace."""
    for server in servers:
        for namespace in ('/', '/chat'):
            server.wait_server_count(count, namespace, MISSED_WITHIN)


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
