"""Several streams: servers in both languages use the same stream for a
namespace."""
from typing import Any, Callable, List

import pytest

from ..integration.conftest import STEADY
from ..support.js_server import Generation, JsServer
from ..support.node_process import NodeProcess
from ..support.redis_server import RedisServer
from .helpers import check_received, NEW, NEW_IOREDIS, Unique, wait_until_heard


@pytest.mark.parametrize('generation', [NEW, NEW_IOREDIS],
                         ids=lambda generation: generation.name)
# The remainders of '/', 47, and of '/chat', 46457863, are 2 and 1, 3 and 3.
@pytest.mark.parametrize('count, streams', [(3, {'/': 2, '/chat': 1}),
                                            (4, {'/': 3, '/chat': 3})])
def test_streams(redis_server: RedisServer, unique: Unique,
                 start_nodes: Callable[..., List[NodeProcess]],
                 start_js: Callable[..., List[JsServer]],
                 connect_js: Callable[..., Any], generation: Generation,
                 count: int, streams: Any) -> None:
    name = unique('stream')
    options = {'stream_name': name, 'stream_count': count, **STEADY}
    (python,) = start_nodes(1, redis_server.url, **options)
    (js,) = start_js([generation], redis_server.url, **options)
    python.start_manager()
    servers = [python, js]
    clients = [connect_js(server, *streams) for server in servers]
    for namespace, index in streams.items():
        wait_until_heard(servers, clients, unique, namespace)
        for server in servers:
            event = unique('event')
            for number in range(20):
                server.emit(event, (number, b'\x00'), namespace=namespace)
            check_received(server, clients, unique, namespace, **{
                event: [[(number, b'\x00') for number in range(20)]] * 2})
        with redis_server.client() as redis:
            writers = {fields[b'uid'].decode() for _, fields
                       in redis.xrange(f'{name}-{index}')
                       if fields[b'nsp'] == namespace.encode()}
        assert writers == {server.uid(namespace) for server in servers}
