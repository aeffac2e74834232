"""An observer of servers in Node.js alone: it sees them, and is not counted.
"""
from typing import Any, Callable, List

import pytest

from redis_streams_adapter.observer import Observer

from ..support.js_server import Generation, JsServer
from ..support.wait import DEADLINE, wait_until
from .helpers import NEW, OLD, Unique, wait_until_heard

Connect = Callable[..., Any]
StartJs = Callable[..., List[JsServer]]

TIMES = {'heartbeat_interval': 0.5, 'heartbeat_timeout': 2.0}


@pytest.mark.parametrize('generation, transport', [
    (OLD, 'stream'), (NEW, 'pubsub')], ids=['0.2', '0.3'])
def test_servers_in_node_js_alone(
        redis_server: Any, unique: Unique, start_js: StartJs,
        connect_js: Connect, generation: Generation, transport: str) -> None:
    options = {'stream_name': unique('stream'),
               'channel_prefix': unique('channel'), **TIMES}
    servers = start_js([generation] * 2, redis_server.url, **options)
    for server in servers:
        server.wait_server_count(2)
    clients = [connect_js(server) for server in servers]
    wait_until_heard(servers, clients, unique)
    with Observer(redis_server.url, request_transport=transport,
                  **options) as observer:
        assert {each.sid for each in observer.fetch_sockets(
            timeout=2 * DEADLINE)} == {client.sid for client in clients}
        found = observer.cluster_stats(2 * DEADLINE)
        assert all(each.language == 'javascript' for each in found)
        assert all(set(each[3:]) == {None} for each in found)
        if generation is OLD:
            # Those of 0.3 are only seen when they emit.
            assert len(found) == 2
            assert [each[2:] for each in observer.nodes()] == [
                (None, None, 'javascript')] * 2
        assert observer.server_count() == 2
        for server in servers:
            assert server.server_count() == 2
    wait_until(lambda: all(
        server.server_count() == 2 for server in servers))
