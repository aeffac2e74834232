"""Spans of two servers on one Redis."""
import contextlib
from typing import Any, Callable, Iterator, List

import pytest
import socketio

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.testing import LocalClient
from redis_streams_adapter.tracing import FIELD

from ..support.spans import check_linked, Spans
from ..support.wait import wait_until

Make = Callable[..., List[socketio.Server]]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.end()


@pytest.fixture
def make_servers(redis_server: Any,
                 unique: Callable[[str], str]) -> Iterator[Make]:
    """Makes two servers in this process, with threads: spans are kept in
    memory."""
    with contextlib.ExitStack() as stack:
        def make(**options: Any) -> List[socketio.Server]:
            name = unique('traced')
            managers = [RedisStreamsManager(
                redis_server.url, name, tracing=True, channel_prefix=name,
                **options) for _ in range(2)]
            servers = [socketio.Server(
                async_mode='threading', client_manager=manager)
                for manager in managers]
            for manager in managers:
                stack.callback(manager.close)
                manager.start()
            for manager in managers:
                wait_until(lambda: manager.server_count() == 2)
            return servers

        yield make


@pytest.mark.parametrize('options', [
    {}, {'publish': 'sync'}, {'connection_state_recovery': True},
    {'request_transport': 'pubsub'}], ids=str)
def test_links(make_servers: Make, spans: Spans, options: Any,
               redis_server: Any) -> None:
    servers = make_servers(**options)
    one, other = (server.manager for server in servers)
    clients = [LocalClient(server) for server in servers]
    for server in servers:
        server.emit('news', 1)
    for client in clients:
        client.wait_for('news', 2)
    spans.wait_consumers(2)
    for producer in spans.producers:
        consumer, = (each for each in spans.consumers if
                     each.links[0].context.span_id == producer.context.span_id)
        check_linked(consumer, producer)
    assert [each.attributes['messaging.client.id']
            for each in spans.producers] == [one.uid, other.uid]
    other.on_server_side('ask', lambda value: value + 1)
    assert one.server_side_call('ask', 1) == [2]
    check_linked(spans.wait_consumers(3)[2], spans.producers[2])
    with redis_server.client() as redis:
        name = one._options.stream_name
        entries = [fields for _, fields in redis.xrange(name)
                   if fields[b'type'] == b'3']
    assert all(FIELD in fields for fields in entries) and len(entries) == 2
