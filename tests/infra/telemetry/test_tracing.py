"""Spans as the SDK keeps them in memory."""

import asyncio

from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from domain.tracing import Role
from infra.telemetry.tracing import OtelTracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_spans_of_tasks_that_run_at_once_keep_apart() -> None:
    exporter = InMemorySpanExporter()
    tracer = OtelTracer("till", "1.0.0", exporter)

    async def traced(number: int) -> tuple[str, str]:
        outer = tracer.start(f"outer {number}", Role.SERVER, None, {})
        await asyncio.sleep(0.01)
        inner = tracer.start(f"inner {number}", Role.CONSUMER, outer.traceparent, {})
        await asyncio.sleep(0.01)
        # What libraries that are traced themselves would take as their parent.
        current = trace.get_current_span().get_span_context()
        inner.end()
        outer.end()
        return inner.traceparent[:-3], f"00-{current.trace_id:032x}-{current.span_id:016x}"

    pairs = await asyncio.gather(*(traced(number) for number in range(20)))
    await tracer.close()
    assert all(inner == current for inner, current in pairs)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert len({span.context.trace_id for span in spans.values() if span.context is not None}) == 20
    for number in range(20):
        outer, inner = spans[f"outer {number}"], spans[f"inner {number}"]
        assert outer.context is not None
        assert inner.parent is not None
        assert inner.parent.span_id == outer.context.span_id
        assert (outer.kind, inner.kind) == (SpanKind.SERVER, SpanKind.CONSUMER)
        assert outer.parent is None


async def test_who_was_told_not_to_record_tells_nobody() -> None:
    exporter = InMemorySpanExporter()
    tracer = OtelTracer("till", "1.0.0", exporter)
    span = tracer.start("GET", Role.SERVER, PARENT[:-2] + "00", {})
    assert span.traceparent.startswith(PARENT[:36])
    assert span.traceparent.endswith("-00")
    span.end()
    await tracer.close()
    assert exporter.get_finished_spans() == ()


async def test_tracers_of_one_process_do_not_get_each_others_spans() -> None:
    exporters = [InMemorySpanExporter(), InMemorySpanExporter()]
    tracers = [OtelTracer(name, "1.0.0", exporter) for name, exporter in zip("ab", exporters, strict=True)]
    span = tracers[0].start("GET", Role.SERVER, PARENT, {"url.path": "/x"})
    span.update("GET /{id}", {"http.response.status_code": 500})
    span.fail("500")
    span.end()
    for tracer in tracers:
        await tracer.close()
    [found] = exporters[0].get_finished_spans()
    assert (found.name, found.status.description, found.resource.attributes["service.name"]) == (
        "GET /{id}",
        "500",
        "a",
    )
    assert dict(found.attributes or {}) == {"url.path": "/x", "http.response.status_code": 500}
    assert exporters[1].get_finished_spans() == ()
