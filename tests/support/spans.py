"""The spans of this process."""
from typing import Any, List

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import \
    InMemorySpanExporter
from opentelemetry.trace import SpanKind

from .wait import wait_until


class Spans:
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            # A process can have one only.
            provider = TracerProvider()
            trace.set_tracer_provider(provider)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def end(self) -> None:
        """Keep no more."""
        self._exporter.shutdown()

    def of(self, kind: SpanKind) -> List[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans()
                if span.kind is kind]

    @property
    def producers(self) -> List[ReadableSpan]:
        return self.of(SpanKind.PRODUCER)

    @property
    def consumers(self) -> List[ReadableSpan]:
        return self.of(SpanKind.CONSUMER)

    def wait_consumers(self, count: int) -> List[ReadableSpan]:
        wait_until(lambda: len(self.consumers) >= count)
        return self.consumers


def check_linked(consumer: ReadableSpan, producer: ReadableSpan) -> None:
    """The one links to the other, and is of another trace."""
    context = producer.context
    link, = consumer.links
    assert (link.context.trace_id, link.context.span_id) == (
        context.trace_id, context.span_id)
    assert link.context.is_remote
    assert consumer.parent is None
    assert consumer.context.trace_id != context.trace_id


def attributes(span: ReadableSpan) -> Any:
    return dict(span.attributes or {})
