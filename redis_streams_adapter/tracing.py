"""Spans of OpenTelemetry: for each event that is emitted, and on each server
that receives it.

Only the API of OpenTelemetry is used. Without its SDK, or with a provider
that records nothing, no context is sent. Imported if the option ``tracing`` is
on; needs the extra ``otel``.

The span of an emit is a producer span, a child of the span in which the
application emits. Its context travels in one more field of the entry,
:data:`FIELD`; over PUB/SUB in a key of that name. Servers of Node.js, and
those of this package without the option, ignore it. A server that reads the
entry makes a consumer span, in a trace of its own, that *links* to the
producer's span: an event has many receivers, and any of them may read it
much later. An entry without a context, and what a client gets when it comes
back, has no span.

No state is kept here. The current span is that of the task that emits.
"""
import json
from contextlib import AbstractContextManager
from typing import Any, Callable, Dict, List, Optional, Tuple

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span, get_tracer, Link, Span, \
    SpanKind
from opentelemetry.trace.propagation.tracecontext import \
    TraceContextTextMapPropagator

from .clients.direct_delivery import DirectDelivery
from .cluster.calls import Cluster
from .cluster.outgoing import Outgoing
from .kinds import Hear, Kinds
from .log_events import SPAN_FAILED
from .protocol.application import Application
from .protocol.codec import Encoder, Packed, unpack
from .protocol.events import Act
from .protocol.messages import Broadcast, Message, MessageType, Target
from .protocol.position import Position
from .protocol.transport import Entry, Way
from .protocol.values import load_msgpack
from .recovery.deliveries import StreamOrderDeliveries
from .recovery.stream_order import StreamOrderDelivery
from .version import VERSION

#: The name of the field: a JSON object of the headers that W3C's "Trace
#: Context" defines, ``traceparent`` and ``tracestate``.
FIELD = b'trace'
KEY = FIELD.decode()

#: Where the name stands among the fields of a message: after those that
#: Node.js writes.
PLACE = 8

#: The largest value that is sent or read, in bytes. W3C demands that a
#: ``tracestate`` of 512 is passed on.
MAX_BYTES = 1024

#: How a text of up to 31 bytes, and one of up to 65,535, begins in msgpack.
SHORT_TEXT, LONG_TEXT = 0xa0, b'\xda'

#: The types of messages with a context.
TRACED = frozenset((MessageType.BROADCAST, MessageType.SERVER_SIDE_EMIT))

_TRACER = get_tracer('redis_streams_adapter', VERSION)
_PROPAGATOR = TraceContextTextMapPropagator()

Received = Callable[[Entry, Act], None]


def current() -> str:
    """The context of the current span; empty if there is none."""
    headers: Dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    if not headers:
        return ''
    text = json.dumps(headers, separators=(',', ':'))
    if len(text) > MAX_BYTES:
        headers.pop('tracestate', None)
        text = json.dumps(headers, separators=(',', ':'))
    return text


def links(text: Any) -> List[Link]:
    """The link to the span whose context another process has sent; empty if
    that is not valid. Total: any value may come."""
    try:
        if len(text) > MAX_BYTES:
            return []
        headers = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return []
    if not isinstance(headers, dict) or not all(
            isinstance(each, str) for each in headers.values()):
        return []
    span = get_current_span(_PROPAGATOR.extract(headers, Context()))
    context = span.get_span_context()
    return [Link(context)] if context.is_valid else []


class _Guarded:
    """A span that never stands between an event and its way. It runs code of
    the application: samplers and processors of spans. If that raises at the
    begin or at the end of a span, it is logged, and the event goes on.

    :param span: makes the span.
    """

    def __init__(self, runtime: Any,
                 span: Callable[[], 'AbstractContextManager[Span]']) -> None:
        self._runtime = runtime
        self._make = span
        self._span: Optional['AbstractContextManager[Span]'] = None

    def __enter__(self) -> None:
        try:
            span = self._make()
            span.__enter__()
            self._span = span
        except Exception:
            self._failed()

    def __exit__(self, *error: Any) -> None:
        if self._span is not None:
            try:
                self._span.__exit__(*error)
            except Exception as exc:
                if exc is not error[1]:
                    self._failed()

    def _failed(self) -> None:
        self._runtime.limited.exception(
            'a span of OpenTelemetry failed', extra=SPAN_FAILED())


# -- what is sent ---------------------------------------------------------

def producing(runtime: Any, namespace: str, event: Any) -> _Guarded:
    """The span of an emit, which is the current one meanwhile."""
    return _Guarded(runtime, lambda: _TRACER.start_as_current_span(
        f'emit {runtime.stream(namespace)}', kind=SpanKind.PRODUCER,
        attributes={
            **_attributes(runtime, namespace),
            'messaging.operation.name': 'emit',
            'messaging.operation.type': 'send',
            'socketio.event': str(event)}))


def _attributes(runtime: Any, namespace: str) -> Dict[str, Any]:
    return {'messaging.system': 'redis',
            'messaging.destination.name': runtime.stream(namespace),
            'messaging.client.id': runtime.uid,
            'socketio.namespace': namespace}


class TracedEncoder(Encoder):
    """Adds the context of the current span to events."""

    def event(self, namespace: str, args: Tuple[Any, ...],
              target: Target) -> Tuple[Broadcast, Tuple[bytes, ...]]:
        """See :class:`~redis_streams_adapter.protocol.codec.Encoder`."""
        message, fields = super().event(namespace, args, target)
        return message, _with_context(fields)

    def encode(self, namespace: str, message: Message) -> Tuple[bytes, ...]:
        """See :class:`~redis_streams_adapter.protocol.codec.Encoder`."""
        fields = super().encode(namespace, message)
        return _with_context(fields) if message.type in TRACED else fields

    def pack(self, namespace: str, message: Message,
             application: Application) -> bytes:
        """See :class:`~redis_streams_adapter.protocol.codec.Encoder`."""
        packed = super().pack(namespace, message, application)
        text = current().encode() if message.type in TRACED else b''
        if not text:
            return packed
        # One more key of the map, which has few: its first byte is their
        # number, and what is in it is not read again.
        return b''.join((
            bytes((packed[0] + 1,)), packed[1:],
            bytes((SHORT_TEXT + len(FIELD),)), FIELD,
            LONG_TEXT, len(text).to_bytes(2, 'big'), text))


def _with_context(fields: Tuple[bytes, ...]) -> Tuple[bytes, ...]:
    text = current()
    return (*fields, FIELD, text.encode()) if text else fields


class TracedOutgoing(Outgoing):
    """Each emit has a span. With ``publish='sync'`` it ends when Redis has the
    event."""

    def __init__(self, lifecycle: Any, registry: Any) -> None:
        super().__init__(lifecycle, registry)
        self._traced = lifecycle

    def emit(self, namespace: str, args: Tuple[Any, ...],
             target: Target) -> None:
        """See :class:`~redis_streams_adapter.cluster.outgoing.Outgoing`."""
        with producing(self._traced.runtime(), namespace, args[0]):
            super().emit(namespace, args, target)


class TracedCluster(Cluster):
    """So has each call that sends an event. It ends when the answers are
    there, if the call waits for them."""

    def __init__(self, manager: Any, lifecycle: Any, *args: Any) -> None:
        super().__init__(manager, lifecycle, *args)
        self._traced = lifecycle

    def emit_with_callback(self, namespace: str, args: Tuple[Any, ...],
                           target: Target, callback: Callable[..., Any],
                           local: bool) -> None:
        """See :class:`~redis_streams_adapter.cluster.calls.Cluster`."""
        with producing(self._traced.runtime(), namespace, args[0]):
            super().emit_with_callback(
                namespace, args, target, callback, local)

    def emit_with_ack(self, event: str, data: Any, to: Any, skip_sid: Any,
                      namespace: str, timeout: float) -> List[Any]:
        """See :class:`~redis_streams_adapter.cluster.calls.Cluster`."""
        with producing(self._traced.runtime(), namespace, event):
            return super().emit_with_ack(
                event, data, to, skip_sid, namespace, timeout)

    def server_side_emit(self, event: str, args: Tuple[Any, ...],
                         namespace: str) -> None:
        """See :class:`~redis_streams_adapter.cluster.calls.Cluster`."""
        with producing(self._traced.runtime(), namespace or '/', event):
            super().server_side_emit(event, args, namespace)

    def server_side_call(self, event: str, args: Tuple[Any, ...],
                         namespace: str, timeout: float) -> List[Any]:
        """See :class:`~redis_streams_adapter.cluster.calls.Cluster`."""
        with producing(self._traced.runtime(), namespace, event):
            return super().server_side_call(event, args, namespace, timeout)


# -- what is received -----------------------------------------------------

def consuming(runtime: Any, namespace: str, linked: List[Link],
              entry: Optional[Position]) -> _Guarded:
    """The span of an event that was received, which is the current one
    meanwhile. A trace of its own: whatever the reader's task did before is
    not its parent."""
    attributes = _attributes(runtime, namespace)
    if entry is not None:
        attributes['messaging.message.id'] = str(entry)
    return _Guarded(runtime, lambda: _TRACER.start_as_current_span(
        f'receive {attributes["messaging.destination.name"]}', Context(),
        SpanKind.CONSUMER, {
            **attributes, 'messaging.operation.name': 'receive',
            'messaging.operation.type': 'process'}, linked))


def receiving(runtime: Any, received: Received) -> Received:
    """What is called instead of ``received`` of a delivery."""
    def traced(entry: Entry, act: Act) -> None:
        fields = entry.fields
        linked = links(fields[PLACE + 1]) if len(fields) > PLACE + 1 \
            and fields[PLACE] == FIELD else []
        if not linked:
            received(entry, act)
            return
        with consuming(runtime, act.namespace, linked, entry.id):
            received(entry, act)

    return traced


class TracedDirectDelivery(DirectDelivery):
    """Each event that is received has a span."""

    def __init__(self, runtime: Any, *args: Any) -> None:
        super().__init__(*args)
        self._receive = receiving(runtime, super().received)

    def received(self, entry: Entry, act: Act) -> None:
        """See :class:`~redis_streams_adapter.runtime.delivery.Delivery`."""
        self._receive(entry, act)


class TracedStreamOrderDeliveries(StreamOrderDeliveries):
    """The same with recovery."""

    def __init__(self, runtime: Any, *args: Any) -> None:
        super().__init__(*args)
        self._runtime = runtime

    def of_stream(self, writer_id: bytes, arrived: Callable[[], Position]
                  ) -> StreamOrderDelivery:
        """See :class:`~redis_streams_adapter.runtime.delivery.\
Deliveries`."""
        delivery = super().of_stream(writer_id, arrived)
        delivery.received = receiving(self._runtime, delivery.received)
        return delivery


class TracedPacked(Packed):
    """A message that came over PUB/SUB with a context.

    :param linked: set once, by what makes it.
    """

    linked: List[Link]


def unpack_traced(packed: bytes,
                  application: Application) -> Optional[Packed]:
    """See :func:`~redis_streams_adapter.protocol.codec.unpack`.

    :raises DecodeError: it is no request and no answer.
    """
    message = unpack(packed, application)
    if message is None or message.message.type not in TRACED:
        return message
    # Requests are rare: it is read twice.
    content = load_msgpack(packed)
    linked = links(content.get(KEY)) if isinstance(content, dict) else []
    if not linked:
        return message
    traced = TracedPacked(*message)
    traced.linked = linked
    return traced


def hearing(runtime: Any, hear: Hear) -> Hear:
    """What is called instead of ``hear``."""
    def traced(packed: Packed, way: Way) -> None:
        if isinstance(packed, TracedPacked):
            with consuming(runtime, packed.namespace, packed.linked, None):
                hear(packed, way)
        else:
            hear(packed, way)

    return traced


#: The parts of a manager with the option ``tracing``.
KINDS = Kinds(
    TracedEncoder, TracedOutgoing, TracedCluster, TracedDirectDelivery,
    TracedStreamOrderDeliveries, unpack_traced, hearing)
