"""What the dashboard shows of servers in Node.js: what can be known."""
from typing import Any, Callable, List

from redis_streams_adapter.dashboard.source import place_of, Source

from ..support.js_server import JsServer
from ..support.wait import wait_until
from .helpers import OLD, Unique


def test_servers_in_node_js(redis_server: Any, unique: Unique,
                            start_js: Callable[..., List[JsServer]]) -> None:
    options = {'heartbeat_interval': 0.5, 'heartbeat_timeout': 2.0}
    name = unique('stream')
    servers = start_js([OLD] * 2, redis_server.url, stream_name=name,
                       **options)
    for server in servers:
        server.wait_server_count(2)
    source = Source(place_of(redis_server.url, name, options), '/')
    try:
        def all_seen() -> Any:
            point, state = source.look()
            return len(state['servers']) == 2 and (point, state)

        point, state = wait_until(all_seen, 30.0)
        for each in state['servers']:
            assert each['language'] == 'javascript'
            assert {name for name, value in each.items()
                    if value is not None} == {'uid', 'language', 'last_seen'}
        assert (point['servers'], point['clients']) == (2, None)
        assert point['length'] > 0
        assert (state['missing'], state['problem']) == ([], None)
        assert state['recoveries'] is None
        assert state['rooms'] == {'count': 0, 'largest': []}
    finally:
        source.close()
