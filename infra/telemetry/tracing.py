"""Tells an OpenTelemetry collector of spans, over HTTP. Its address and all else are the variables of the SDK."""

import asyncio
import contextvars
import threading
from contextlib import suppress

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from domain.tracing import Attributes, Role, Span

_KINDS = {Role.SERVER: SpanKind.SERVER, Role.CONSUMER: SpanKind.CONSUMER}
_CLOSING_SECONDS = 3.0


class OtelTracer:
    """`domain.tracing.Tracer` with a provider of its own, so that services of one process do not get each other's."""

    def __init__(self, service_name: str, service_version: str, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": service_name, "service.version": service_version})
        # Closed by `close`, not by the interpreter at its end.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("millrace")

    def start(self, name: str, role: Role, parent: str | None, attributes: Attributes) -> Span:
        """Start a span; libraries that are traced themselves find it as the current one."""
        # Without a parent an empty context: whatever is the current span here is none of its business.
        around = Context() if parent is None else set_span_in_context(NonRecordingSpan(_context_of(parent)), Context())
        return _Started(self._tracer.start_span(name, around, _KINDS[role], dict(attributes)))

    async def close(self) -> None:
        """Tell what has not been told yet, for a moment; a collector that is away keeps nobody."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):
                # Unless nobody has waited for it.
                loop.call_soon_threadsafe(closed.set)

        # A thread of its own: the end of the loop, and that of the process, would wait for one of the loop's.
        threading.Thread(target=close, name="millrace-traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await closed.wait()


class _Started:
    """A span that is the current one of this task until it ends."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self._token: contextvars.Token[Context] = contexts.attach(set_span_in_context(span))

    @property
    def traceparent(self) -> str:
        found = self._span.get_span_context()
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    def update(self, name: str, attributes: Attributes) -> None:
        self._span.update_name(name)
        self._span.set_attributes(dict(attributes))

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        self._span.end()
        contexts.detach(self._token)


def _context_of(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
