"""Streams of health, and probes that hang."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from domain.health import CheckResult, HealthState
from service.api.health import Probe
from service.http.application import Service
from tests.sample import builder, serving, settings

MEMORY = "sqlite:///:memory:"


@pytest.fixture
async def running() -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    app = builder(MEMORY).build(settings())
    async with serving(app) as client:
        yield app, client


@pytest.mark.parametrize("wrong", ["0", "-1", "60.1", "nan", "inf", "x", ""])
async def test_a_poll_interval_out_of_range_is_unprocessable(
    running: tuple[Service, httpx.AsyncClient], wrong: str
) -> None:
    _, client = running
    reply = await client.get("/health/$stream", params={"poll_interval": wrong})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == ["query", "poll_interval"]


async def test_a_stream_sends_health_until_the_service_stops(running: tuple[Service, httpx.AsyncClient]) -> None:
    app, client = running
    # The transport of the test collects the whole reply, so the stream must end by itself.
    asyncio.get_running_loop().call_later(0.2, app.running.draining.set)
    reply = await client.get("/health/$stream", params={"poll_interval": "0.05"})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    events = reply.text.split("\n\n")
    assert events[-1] == ""
    assert len(events) >= 3
    for event in events[:-1]:
        assert event.startswith("data: ")
        assert json.loads(event.removeprefix("data: "))["status"] == "healthy"


async def test_a_stopping_service_is_not_ready(running: tuple[Service, httpx.AsyncClient]) -> None:
    app, client = running
    assert (await client.get("/health/ready")).status_code == 200
    app.running.draining.set()
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200


async def test_a_check_that_hangs_or_raises_is_unhealthy_and_the_others_are_not_kept_waiting() -> None:
    async def hanging() -> CheckResult:
        await asyncio.Event().wait()
        raise AssertionError

    async def raising() -> CheckResult:
        raise ValueError("gone")

    async def good() -> CheckResult:
        return CheckResult(HealthState.HEALTHY)

    status = await Probe({"a": hanging, "b": raising, "c": good}, timeout_seconds=0.05).status()
    assert status.status is HealthState.UNHEALTHY
    assert status.checks is not None
    assert status.checks["a"].message == "Check failed: no answer within 0.05 s"
    assert status.checks["b"].message == "Check failed: gone"
    assert status.checks["c"] == CheckResult(HealthState.HEALTHY)


async def test_a_service_without_checks_is_healthy() -> None:
    status = await Probe({}).status()
    assert (status.status, status.checks) == (HealthState.HEALTHY, None)


async def test_info_and_system_say_what_runs_here(running: tuple[Service, httpx.AsyncClient]) -> None:
    _, client = running
    info = await client.get("/api/v1/info")
    assert info.json() == {"id": "sample", "display_name": "Sample", "version": "1.0.0", "description": None}
    system = (await client.get("/api/v1/system")).json()
    assert list(system) == ["current_time", "timezone", "python_version", "platform", "hostname"]
    assert system["current_time"].endswith("Z")
    assert all(isinstance(value, str) for value in system.values())
    assert (await client.get("/api/v1/system/apps")).json() == []
    assert (await client.get("/api/v1/system/apps/$schema")).json()["type"] == "array"
