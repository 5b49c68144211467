"""Traces from a request through its job, as a collector sees them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from litestar import get

from domain.context import current_context
from domain.errors import Misconfigured
from domain.tasks import task
from service.http.application import Service
from tests.infra.telemetry.collector import Collector, Told, collecting
from tests.sample import builder, serving, settings
from tests.service.api.jobs_service import eventually

SERVER, CONSUMER = 2, 5
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Name(msgspec.Struct):
    """A name."""

    name: str


@task()
async def light(args: Name) -> str:
    if args.name == "fail":
        raise ValueError("no")
    return current_context().traceparent


@task()
def heavy(args: Name) -> str:
    """In a process of its own."""
    return current_context().traceparent


@get("/broken")
async def broken() -> None:
    raise ValueError("no")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def traced(url: str) -> Service:
    made = builder(url).with_tasks(light, heavy).include_router(broken)
    return made.with_monitoring(service_name="till", enable_traces=True).build(settings())


def context_of(span: Told) -> str:
    return f"00-{span.trace_id}-{span.span_id}-01"


@pytest.mark.parametrize("kind", ["light", "heavy"])
async def test_a_trace_leads_from_a_request_to_its_job(database_url: str, collector: Collector, kind: str) -> None:
    app = traced(database_url)
    async with serving(app) as client:
        body = {"args": {"name": "x"}}
        reply = await client.post(f"/api/v1/tasks/{kind}/$execute", json=body, headers={"traceparent": PARENT})
        id = reply.json()["job_id"]

        async def is_over() -> bool:
            return bool((await client.get(f"/api/v1/jobs/{id}")).json()["status"] == "completed")

        await eventually(is_over)
        seen = (await client.get(f"/api/v1/jobs/{id}/$result")).json()
        shown = (await client.get(f"/api/v1/jobs/{id}")).json()
    request = collector.named("POST /api/v1/tasks/{name}/$execute")
    assert (request.kind, request.trace_id, request.parent) == (SERVER, PARENT.split("-")[1], PARENT.split("-")[2])
    assert reply.headers["traceresponse"] == context_of(request)
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["http.route"] == "/api/v1/tasks/{name}/$execute"
    assert request.attributes["millrace.request_id"] == reply.headers["x-request-id"]
    assert request.resource["service.name"] == "till"
    run = collector.named(f"run {kind}")
    assert (run.kind, run.trace_id, run.parent) == (CONSUMER, request.trace_id, request.span_id)
    assert (run.attributes["messaging.message.id"], run.attributes["millrace.job.attempt"]) == (id, 1)
    assert not request.is_failed
    assert not run.is_failed
    # What the task asks of others can be part of it.
    assert seen == context_of(run)
    assert "traceparent" not in shown


async def test_failures_and_unknown_paths_are_told_apart(sqlite_url: str, collector: Collector) -> None:
    async with serving(traced(sqlite_url)) as client:
        assert (await client.get("/broken")).status_code == 500
        assert (await client.get("/no/such/path")).status_code == 404
        reply = await client.post("/api/v1/tasks/light/$execute", json={"args": {"name": "fail"}})
        id = reply.json()["job_id"]

        async def is_over() -> bool:
            return bool((await client.get(f"/api/v1/jobs/{id}")).json()["status"] == "failed")

        await eventually(is_over)
        await client.get("/api/v1/items", headers={"traceparent": "nonsense"})
    assert collector.named("GET /broken").is_failed
    lost = collector.named("GET unmatched")
    assert not lost.is_failed
    assert lost.attributes["url.path"] == "/no/such/path"
    assert collector.named("run light").is_failed
    # A trace that nobody has begun begins here.
    first = collector.named("GET /api/v1/items")
    assert first.parent == ""
    assert first.trace_id != lost.trace_id


async def test_a_job_without_a_request_begins_a_trace(sqlite_url: str, collector: Collector) -> None:
    app = traced(sqlite_url)
    async with serving(app):
        job = (await app.jobs.submit(light, {"name": "x"})).job

        async def is_over() -> bool:
            return (await app.jobs.get(job.id)).is_final

        await eventually(is_over)
    assert collector.named("run light").parent == ""


async def test_a_collector_that_is_away_costs_nobody_anything(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as gone:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    monkeypatch.setattr("infra.telemetry.tracing._CLOSING_SECONDS", 0.2)
    async with serving(traced(sqlite_url)) as client:
        assert (await client.get("/api/v1/items")).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 2


async def test_without_traces_nothing_is_told(sqlite_url: str, collector: Collector) -> None:
    async with serving(builder(sqlite_url).with_tasks(light).with_monitoring().build(settings())) as client:
        reply = await client.get("/api/v1/items", headers={"traceparent": PARENT})
        assert "traceresponse" not in reply.headers
    assert collector.spans == []


def test_who_wants_traces_without_the_libraries_is_told_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from domain.registration import ServiceInfo; "
        "from service.builder import ServiceBuilder; "
        "ServiceBuilder(info=ServiceInfo(id='a', display_name='A')).with_monitoring(enable_traces=True).build()"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert ended.returncode == 1
    assert f"{Misconfigured.__name__}: with_monitoring(enable_traces=True) needs opentelemetry" in ended.stderr
    assert "pip install 'millrace[traces]'" in ended.stderr
