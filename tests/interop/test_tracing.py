"""The published adapters ignore the context of a span, in the stream and over
PUB/SUB."""
from typing import Any, Callable, Iterator, List

import pytest
from opentelemetry import trace

from redis_streams_adapter import RedisStreamsManager
from redis_streams_adapter.tracing import FIELD

from ..integration.conftest import STEADY
from ..support.js_server import JsServer
from ..support.redis_server import RedisServer
from ..support.spans import Spans
from ..support.wait import wait_until
from .helpers import NEW, NEW_IOREDIS, OLD, Transport, Unique


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.end()


@pytest.mark.parametrize('transport', [
    Transport(OLD, 'stream'), Transport(NEW, 'pubsub'),
    Transport(NEW_IOREDIS, 'pubsub')], ids=lambda each: each.name)
def test_context_is_ignored(
        redis_server: RedisServer, unique: Unique, spans: Spans,
        start_js: Callable[..., List[JsServer]],
        connect_js: Callable[..., Any], transport: Transport) -> None:
    name = unique('traced')
    options = {'stream_name': name, 'channel_prefix': name, **STEADY}
    servers = start_js([transport.generation] * 2, redis_server.url,
                       **options)
    clients = [connect_js(server) for server in servers]
    with RedisStreamsManager(
            redis_server.url, tracing=True,
            request_transport=transport.request_transport,
            **options) as manager:
        wait_until(lambda: manager.server_count() == 3)
        event, heard, asked = unique('event'), unique('heard'), unique('ask')

        def is_heard() -> bool:
            manager.emit(heard, None)
            return all(client.count(heard) for client in clients)

        wait_until(is_heard)
        with trace.get_tracer('tests').start_as_current_span('request'):
            for value in ('text', b'bytes', {'a': [1]}):
                manager.emit(event, value)
        for client in clients:
            client.answer(asked, client.sid)
            wait_until(lambda: client.count(event) == 3)
            assert client.received(event) == [
                ('text',), (b'bytes',), ({'a': [1]},)]
        assert sorted(manager.emit_with_ack(asked, 'x')) == sorted(
            client.sid for client in clients)
        for server in servers:
            server.handle_server_side(event, 'answer')
        assert manager.server_side_call(event, 1) == ['answer'] * 2
        # What they emit has no context.
        servers[0].emit(event, ('last',))
        for client in clients:
            wait_until(lambda: client.count(event) == 4)
    assert spans.consumers == []
    with redis_server.client() as redis:
        traced = [fields for _, fields in redis.xrange(name)
                  if FIELD in fields]
    assert len(traced) >= 4 and b'traceparent' in traced[0][FIELD]
