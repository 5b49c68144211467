"""`GET /metrics`: its names, its labels, and what clients cannot do to it."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import get
from litestar.response import Stream
from litestar.types import ASGIApp, Receive, Scope, Send

from domain.errors import Misconfigured
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.http.application import Service
from service.http.monitoring import Requests
from service.http.routing import ROUTE
from tests.metrics import Samples, parsed, scraped, value
from tests.sample import builder, serving, settings


def count(samples: Samples, method: str, route: str, status: int) -> float | None:
    labels = {"http_request_method": method, "http_route": route, "http_response_status_code": str(status)}
    return value(samples, "http_server_request_duration_seconds_count", **labels)


def routes(samples: Samples) -> set[tuple[str, str, str]]:
    return {
        (found["http_request_method"], found["http_route"], found["http_response_status_code"])
        for name, labels in samples
        if name == "http_server_request_duration_seconds_count" and (found := dict(labels))
    }


def bare() -> ServiceBuilder:
    return ServiceBuilder(info=ServiceInfo(id="bare", display_name="Bare", version="2.1.0"))


async def test_metrics_are_text_with_the_names_that_dashboards_know(sqlite_url: str) -> None:
    async with serving(builder(sqlite_url).with_monitoring(service_name="till").build(settings())) as client:
        await client.get("/api/v1/items")
        reply = await client.get("/metrics")
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        names = {name for name, _ in parsed(reply.text)}
        assert {
            "python_info",
            "python_gc_objects_collected_total",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "http_server_active_requests",
            "http_server_request_duration_seconds_bucket",
            "http_server_duration_milliseconds_sum",
            "http_server_request_size_bytes_sum",
            "http_server_response_size_bytes_sum",
            "millrace_event_loop_lag_seconds_count",
            "millrace_build_info",
        } <= names
        samples = parsed(reply.text)
        assert value(samples, "target_info", service_name="till", service_version="1.0.0") == 1
        # No jobs and no model, so nothing of them.
        assert not any(name.startswith(("ml_", "millrace_job")) for name in names)


async def test_requests_are_counted_by_the_template_of_their_route(sqlite_url: str) -> None:
    async with serving(builder(sqlite_url).with_monitoring().build(settings())) as client:
        made = (await client.post("/api/v1/items", json={"name": "one"})).json()
        for _ in range(3):
            await client.get(f"/api/v1/items/{made['id']}")
        await client.head("/api/v1/items")
        await client.get("/api/v1/items/nonsense")
        samples = await scraped(client)
    assert count(samples, "POST", "/api/v1/items", 201) == 1
    assert count(samples, "GET", "/api/v1/items/{id}", 200) == 3
    assert count(samples, "GET", "/api/v1/items/{id}", 400) == 1
    assert count(samples, "HEAD", "/api/v1/items", 200) == 1
    assert made["id"] not in str(samples)
    old = {"http_method": "POST", "http_target": "/api/v1/items", "http_status_code": "201"}
    assert value(samples, "http_server_request_size_bytes_sum", **old) == len('{"name":"one"}')
    assert (value(samples, "http_server_response_size_bytes_sum", **old) or 0) > 100
    head = {"http_method": "HEAD", "http_target": "/api/v1/items", "http_status_code": "200"}
    assert value(samples, "http_server_response_size_bytes_sum", **head) == 0


async def test_hostile_paths_and_methods_make_no_labels() -> None:
    async with serving(bare().with_monitoring().build(settings())) as client:
        for number in range(300):
            await client.get(f"/nothing/{number}")
            await client.request(f"BREW{number}", "/metrics")
            await client.request("DELETE", "/metrics")
        await client.get('/no"thing%0A{}\\%00\u2603')
        text = (await client.get("/metrics")).text
    assert routes(parsed(text)) == {
        ("GET", "unmatched", "404"),
        ("_OTHER", "unmatched", "405"),
        ("DELETE", "unmatched", "405"),
    }
    assert "thing" not in text
    assert "BREW" not in text


async def test_a_layer_that_answers_itself_says_for_which_route() -> None:
    requests = Requests()

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = "/books/{id}"  # type: ignore[literal-required]
        await send({"type": "http.response.start", "status": 304, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=requests.layer(answering)),  # type: ignore[arg-type]
        base_url="http://sample.test",
    ) as client:
        assert (await client.get("/books/7")).status_code == 304
    found = {family.name: family.values for family in requests.families()}
    assert [labels for labels, _ in found["http_server_request_duration_seconds"]] == [("GET", "/books/{id}", "304")]


async def test_a_reply_that_is_repeated_is_counted_for_its_route(sqlite_url: str) -> None:
    async with serving(builder(sqlite_url).with_monitoring().build(settings())) as client:
        for name in ("one", "one", "other"):
            await client.post("/api/v1/items", json={"name": name}, headers={"Idempotency-Key": '"k"'})
        samples = await scraped(client)
    assert count(samples, "POST", "/api/v1/items", 201) == 2
    assert count(samples, "POST", "/api/v1/items", 422) == 1
    assert len(routes(samples)) == 2


async def test_requests_are_active_until_their_last_byte_and_failures_are_counted() -> None:
    begun, going = asyncio.Event(), asyncio.Event()

    @get("/slow")
    async def slow() -> Stream:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"a"
            begun.set()
            await going.wait()
            yield b"b"

        return Stream(pieces())

    @get("/broken")
    async def broken() -> None:
        raise ValueError("no")

    async with serving(
        bare().include_router(slow).include_router(broken).with_monitoring().build(settings())
    ) as client:
        waiting = asyncio.create_task(client.get("/slow"))
        await begun.wait()
        samples = await scraped(client)
        assert value(samples, "http_server_active_requests", http_request_method="GET") == 2
        assert count(samples, "GET", "/slow", 200) is None
        going.set()
        await waiting
        assert (await client.get("/broken")).status_code == 500
        samples = await scraped(client)
    assert count(samples, "GET", "/slow", 200) == 1
    assert count(samples, "GET", "/broken", 500) == 1
    # The one that asks.
    assert value(samples, "http_server_active_requests", http_request_method="GET") == 1


async def test_a_late_event_loop_is_seen() -> None:
    async with serving(bare().with_monitoring().build(settings())) as client:
        await asyncio.sleep(0.1)
        time.sleep(0.7)  # noqa: ASYNC251 - this is what is to be seen
        await asyncio.sleep(0.05)
        samples = await scraped(client)
    assert (value(samples, "millrace_event_loop_lag_seconds_sum") or 0) > 0.1


async def test_two_services_of_one_process_measure_for_themselves() -> None:
    async with (
        serving(bare().with_monitoring().build(settings())) as one,
        serving(bare().with_monitoring("/numbers").build(settings())) as other,
    ):
        await one.get("/docs")
        assert count(await scraped(one), "GET", "/docs", 200) == 1
        assert count(await scraped(other, "/numbers"), "GET", "/docs", 200) is None


async def test_a_service_has_measures_of_its_own() -> None:
    app = bare().with_monitoring().build(settings())
    sold = app.measures.counter("books_sold_total", "Books sold", ["shop"])
    async with serving(app) as client:
        sold.add('north "1"\n')
        assert value(await scraped(client), "books_sold_total", shop='north "1"\n') == 1


async def test_without_monitoring_there_is_nothing() -> None:
    for app in (bare().build(settings()), bare().with_monitoring().with_monitoring(enabled=False).build(settings())):
        assert is_bare(app)
        async with serving(app) as client:
            assert (await client.get("/metrics")).status_code == 404
        with pytest.raises(Misconfigured, match="with_monitoring"):
            _ = app.measures


def is_bare(app: Service) -> bool:
    """Whether a request reaches the app without passing anything."""
    layered: ASGIApp = app._layered
    return layered == app._answer


def test_without_monitoring_no_library_for_it_is_loaded() -> None:
    code = (
        "import sys; from domain.registration import ServiceInfo; from service.builder import ServiceBuilder; "
        "ServiceBuilder(info=ServiceInfo(id='a', display_name='A')).with_database().with_health().build(); "
        "names = ('prometheus_client', 'opentelemetry.sdk', 'opentelemetry.trace'); "
        "print([name for name in names if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize("prefix", ["metrics", True, False])
def test_a_prefix_that_is_no_path_is_refused(prefix: Any) -> None:
    with pytest.raises(Misconfigured, match=re.escape(f"with_monitoring('{prefix}')")):
        bare().with_monitoring(prefix)


async def test_the_metrics_are_in_the_documentation() -> None:
    async with serving(bare().with_monitoring(tags=["Numbers"]).build(settings())) as client:
        document: Any = msgspec.json.decode((await client.get("/openapi.json")).content)
        assert (await client.get("/metrics?x=1")).status_code == 400
    operation = document["paths"]["/metrics"]["get"]
    assert operation["tags"] == ["Numbers"]
    assert "text/plain" in operation["responses"]["200"]["content"]
