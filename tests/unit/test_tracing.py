"""Spans of what is emitted and received, and the context between them."""
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Iterator, List

import pytest
from hypothesis import given, strategies as st
from opentelemetry import trace

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter import kinds, tracing
from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.codec import Encoder, FIELD_NAMES, unpack
from redis_streams_adapter.protocol.messages import Broadcast, EVERYONE, \
    FetchSockets, Heartbeat, ServerSideEmit
from redis_streams_adapter.testing import LocalClient, LocalCluster

from ..support.spans import attributes, check_linked, Spans
from ..support.wait import wait_until
from .fake_server import make_server

OURS = Application('socket.io', 0)
PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.end()


@pytest.fixture
def tracer(spans: Spans) -> Any:
    return trace.get_tracer('tests')


def answer(clients: List[LocalClient], number: int) -> None:
    """Answer the last of so many questions."""
    for client in clients:
        client.wait_for('question', number)
        client.acknowledge(client.events()[-1], 'answer')


# -- the whole way -----------------------------------------------------------

@pytest.mark.parametrize('options', [
    {}, {'publish': 'sync'}, {'connection_state_recovery': True},
    {'request_transport': 'pubsub'}, {'stream_count': 3}], ids=str)
@pytest.mark.parametrize('data', ['text', b'bytes'])
def test_event(spans: Spans, tracer: Any, options: Any, data: Any) -> None:
    with LocalCluster(2, tracing=True, **options) as cluster:
        servers = [make_server(client_manager=manager)
                   for manager in cluster.managers]
        cluster.start()
        clients = [LocalClient(server) for server in servers]
        with tracer.start_as_current_span('request') as request:
            servers[0].emit('news', data)
        cluster.settle()
        for client in clients:
            wait_until(lambda: client.received('news'))
        producer, = spans.producers
        consumer, = spans.wait_consumers(1)
        check_linked(consumer, producer)
        one, other = cluster.managers
        assert producer.parent.span_id \
            == request.get_span_context().span_id  # type: ignore
        stream = one._live().stream('/')
        assert producer.name == f'emit {stream}'
        assert consumer.name == f'receive {stream}'
        common = {'messaging.system': 'redis', 'socketio.namespace': '/',
                  'messaging.destination.name': stream}
        assert attributes(producer) == {
            **common, 'messaging.operation.name': 'emit',
            'messaging.operation.type': 'send', 'socketio.event': 'news',
            'messaging.client.id': one.uid}
        seen = attributes(consumer)
        assert '-' in seen.pop('messaging.message.id')
        assert seen == {
            **common, 'messaging.operation.name': 'receive',
            'messaging.operation.type': 'process',
            'messaging.client.id': other.uid}


@pytest.mark.parametrize('transport', ['stream', 'pubsub', 'sharded-pubsub'])
def test_requests(spans: Spans, transport: str) -> None:
    """Their spans end when the answers are there."""
    with LocalCluster(2, tracing=True,
                      request_transport=transport) as cluster:
        one, other = cluster.managers
        servers = [make_server(client_manager=manager)
                   for manager in cluster.managers]
        other.on_server_side('ask', lambda value: value + 1)
        cluster.start()
        clients = [LocalClient(server) for server in servers]
        for client in clients:
            assert client.reply() is not None
        assert one.server_side_call('ask', 4) == [5]
        producer, = spans.producers
        check_linked(*spans.wait_consumers(1), producer)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.emit_with_ack, 'question')
            answer(clients, 1)
            assert call.result() == ['answer'] * 2
        check_linked(spans.wait_consumers(2)[1], spans.producers[1])
        answers: List[Any] = []
        servers[0].emit('question', callback=answers.append)
        answer(clients, 2)
        wait_until(lambda: len(answers) == 2)
        check_linked(spans.wait_consumers(3)[2], spans.producers[2])
        one.server_side_emit('ask', 1)
        check_linked(spans.wait_consumers(4)[3], spans.producers[3])
        assert [attributes(each)['socketio.event']
                for each in spans.producers] == [
            'ask', 'question', 'question', 'ask']
        # What is no event has no span.
        assert len(one.fetch_sockets()) == 2
        assert len(spans.producers) == len(spans.consumers) == 4


def test_servers_with_and_without_tracing(spans: Spans) -> None:
    """The one ignores the field, the other does not miss it."""
    with LocalCluster(0) as cluster:
        managers = [cluster.manager(tracing=True), cluster.manager()]
        servers = [make_server(client_manager=each) for each in managers]
        cluster.start()
        clients = [LocalClient(server) for server in servers]
        for server in servers:
            server.emit('news', 1)
        cluster.settle()
        for client in clients:
            assert client.received('news') == [(1,), (1,)]
        assert managers[0].stats()['malformed'] == 0
        assert managers[1].stats()['malformed'] == 0
        assert len(spans.producers) == 1 and spans.consumers == []


def test_local_emit_has_no_span(spans: Spans) -> None:
    with LocalCluster(1, tracing=True) as cluster:
        server = make_server(client_manager=cluster.managers[0])
        cluster.start()
        client = LocalClient(server)
        server.emit('news', 1, ignore_queue=True)
        assert client.received('news') == [(1,)]
        assert spans.producers == []


def test_failed_emit_marks_its_span(spans: Spans) -> None:
    with LocalCluster(1, tracing=True) as cluster:
        with pytest.raises(TypeError):
            cluster.managers[0].emit('news', object())
    producer, = spans.producers
    assert not producer.status.is_ok
    assert producer.events[0].name == 'exception'


def test_returning_client_gets_what_it_missed(spans: Spans) -> None:
    """A context does not matter to what was missed."""
    with LocalCluster(2, tracing=True,
                      connection_state_recovery=True) as cluster:
        servers = [make_server(client_manager=manager)
                   for manager in cluster.managers]
        cluster.start()
        client = LocalClient(servers[0])
        pid = client.reply()['pid']
        servers[1].emit('news', 1)
        cluster.settle()
        (number, offset), = client.received('news')
        assert number == 1
        client.lose()
        servers[1].emit('news', 2)
        # Otherwise either may be the first in the stream.
        cluster.settle()
        servers[0].emit('news', 3)
        cluster.settle()
        back = LocalClient(servers[1], auth={'pid': pid, 'offset': offset})
        cluster.settle()
        assert [args[0] for args in back.received('news')] == [2, 3]
        # One for each event, on the server that did not emit it.
        assert len(spans.wait_consumers(3)) == 3


class Raising:
    """A processor of spans that fails.

    :param place: the method that raises.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.raised = 0

    def __getattr__(self, name: str) -> Any:
        def method(*_: Any, **__: Any) -> None:
            if name == self.place:
                self.raised += 1
                raise ZeroDivisionError(name)

        return method


@pytest.mark.parametrize('place', ['on_start', 'on_end'])
@pytest.mark.parametrize('options', [
    {}, {'connection_state_recovery': True}, {'request_transport': 'pubsub'}],
    ids=str)
def test_errors_of_a_tracer_lose_nothing(
        spans: Spans, place: str, options: Any) -> None:
    provider: Any = trace.get_tracer_provider()
    processor = Raising(place)
    provider.add_span_processor(processor)
    try:
        with LocalCluster(2, tracing=True, **options) as cluster:
            servers = [make_server(client_manager=manager)
                       for manager in cluster.managers]
            heard: List[Any] = []
            cluster.managers[1].on_server_side('event', heard.append)
            cluster.start()
            clients = [LocalClient(server) for server in servers]
            for number in range(3):
                servers[0].emit('news', number)
            cluster.managers[0].server_side_emit('event', 5)
            cluster.settle()
            for each in clients:
                assert [args[0] for args in each.received('news')] == [0, 1, 2]
            wait_until(lambda: heard == [5])
            assert processor.raised >= 4
    finally:
        # It cannot be taken away.
        processor.place = ''


def test_errors_of_a_call_pass_on(spans: Spans) -> None:
    with LocalCluster(1, tracing=True) as cluster:
        cluster.start()
        with pytest.raises(TypeError):
            cluster.managers[0].emit('news', {1j: 2})
    assert len(spans.producers) == 1


# -- the context -------------------------------------------------------------

def test_context_follows_the_fields_of_nodejs(tracer: Any) -> None:
    encoder = tracing.TracedEncoder('me')
    plain = Encoder('me')
    message = Broadcast(('a', 1))
    for encode in (lambda each: each.encode('/', message),
                   lambda each: each.event('/', ('a', 1), EVERYONE)[1],
                   lambda each: each.encode('/', ServerSideEmit(('a',)))):
        assert encode(encoder) == encode(plain)
        with tracer.start_as_current_span('x') as span:
            fields = encode(encoder)
        assert fields[:-2] == encode(plain)
        assert fields[tracing.PLACE] == tracing.FIELD not in FIELD_NAMES
        linked, = tracing.links(fields[tracing.PLACE + 1])
        assert linked.context.span_id == span.get_span_context().span_id


def test_what_is_no_event_has_no_context(tracer: Any) -> None:
    encoder = tracing.TracedEncoder('me')
    plain = Encoder('me')
    with tracer.start_as_current_span('x'):
        assert encoder.encode('/', Heartbeat()) == plain.encode(
            '/', Heartbeat())
        request = FetchSockets(EVERYONE, 'id')
        assert encoder.pack('/', request, OURS) == plain.pack(
            '/', request, OURS)


@pytest.mark.parametrize('message', [
    Broadcast(('a', b'x', 2.5), EVERYONE, 'id'), ServerSideEmit(('b',), 'id')],
    ids=lambda message: type(message).__name__)
def test_context_over_pubsub(tracer: Any, message: Any) -> None:
    encoder = tracing.TracedEncoder('me')
    plain = Encoder('me').pack('/', message, OURS)
    assert encoder.pack('/', message, OURS) == plain
    assert type(tracing.unpack_traced(plain, OURS)) is not tracing.TracedPacked
    with tracer.start_as_current_span('x') as span:
        packed = encoder.pack('/', message, OURS)
    found: Any = tracing.unpack_traced(packed, OURS)
    assert found.linked[0].context.span_id == span.get_span_context().span_id
    # Another server ignores it.
    assert unpack(packed, OURS) == found == unpack(plain, OURS)


def test_long_state_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def inject(headers: Any) -> None:
        headers.update(traceparent=PARENT, tracestate='x' * 2000)

    monkeypatch.setattr(tracing, '_PROPAGATOR',
                        SimpleNamespace(inject=inject))
    assert json.loads(tracing.current()) == {'traceparent': PARENT}


def test_state_is_passed_on() -> None:
    linked, = tracing.links(json.dumps(
        {'traceparent': PARENT, 'tracestate': 'vendor=1'}).encode())
    assert linked.context.trace_state['vendor'] == '1'


@pytest.mark.parametrize('value', [
    b'', b'{', b'[]', b'1', b'null', b'\xff', b'{"traceparent":1}', None, 5,
    b'{"traceparent":"00-0-0-01"}', b'{}', b'[' * 1000, b'x' * 2000,
    json.dumps({'traceparent': PARENT, 'x': 'y' * 2000}).encode()])
def test_invalid_context_is_ignored(value: Any) -> None:
    assert tracing.links(value) == []


@given(st.binary(max_size=40) | st.text(max_size=40) | st.dictionaries(
    st.sampled_from(['traceparent', 'tracestate']),
    st.text(max_size=60)).map(json.dumps))
def test_any_context_can_be_read(value: Any) -> None:
    assert len(tracing.links(value)) <= 1


# -- the option --------------------------------------------------------------

def test_off_is_the_default(make_manager: Any) -> None:
    """Then the parts are of the classes that know of no spans."""
    manager = make_manager()
    assert type(manager._outgoing) is kinds.PLAIN.outgoing
    assert type(manager._live().encoder) is kinds.PLAIN.encoder
    assert manager._parts._kinds is kinds.PLAIN
    assert make_manager(tracing=True)._parts._kinds is tracing.KINDS


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'redis_streams_adapter.tracing')
    monkeypatch.setitem(sys.modules, 'opentelemetry.context', None)
    with pytest.raises(ConfigurationError, match=r'tracing.*\[otel\]'):
        RedisStreamsManager(tracing=True)
