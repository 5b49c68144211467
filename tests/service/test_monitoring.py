"""What is measured of a whole service: jobs, models, schedules, and the database's connections."""

import asyncio
import contextvars
import os
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from domain.errors import Misconfigured, Unavailable
from domain.tasks import task
from domain.work_readings import WorkReading
from service.http.application import Service
from service.managers.monitoring import Monitoring
from service.managers.readings import PATIENCE_SECONDS, Readings
from tests.metrics import Samples, scraped, total, value
from tests.sample import builder, serving, settings
from tests.service.api.jobs_service import eventually
from tests.service.api.model_service import builder as model_builder
from tests.service.api.model_service import classy


class Ends(msgspec.Struct):
    """How a job ends, by a number of its own."""

    how: str
    number: int = 0


@task(retries=1, retry_delay=0.01)
async def end(args: Ends) -> str:
    if args.how == "fail":
        raise ValueError("no")
    if args.how == "wait":
        await asyncio.sleep(60)
    return args.how


def made(url: str, **options: Any) -> Service:
    return (
        builder(url)
        .with_jobs(grace_seconds=0, **options)
        .with_tasks(end)
        .with_schedules()
        .with_monitoring()
        .build(settings())
    )


async def ended(client: httpx.AsyncClient, how: str, **more: Any) -> str:
    reply = await client.post("/api/v1/tasks/end/$execute", json={"args": {"how": how}, **more})
    assert reply.status_code == 202, reply.text
    id: str = reply.json()["job_id"]

    async def is_over() -> bool:
        status = (await client.get(f"/api/v1/jobs/{id}")).json()["status"]
        return status in {"completed", "failed", "canceled"}

    if how != "wait":
        await eventually(is_over)
    return id


async def test_jobs_are_measured_from_their_submission_to_their_end(database_url: str) -> None:
    async with serving(made(database_url)) as client:
        for _ in range(3):
            await ended(client, "complete")
        await ended(client, "fail")

        async def all_recorded() -> Samples | None:
            samples = await scraped(client)
            return samples if total(samples, "millrace_jobs_finished_total") == 4 else None

        samples: Samples = await eventually(all_recorded)
    assert value(samples, "millrace_jobs_finished_total", kind="end", state="completed") == 3
    assert value(samples, "millrace_jobs_finished_total", kind="end", state="dead") == 1
    assert value(samples, "millrace_job_retries_total", kind="end") == 1
    assert value(samples, "millrace_job_start_delay_seconds_count", kind="end") == 5
    assert 0 <= (value(samples, "millrace_job_start_delay_seconds_sum", kind="end") or -1) < 5
    assert value(samples, "millrace_job_duration_seconds_count", kind="end", state="completed") == 3
    assert value(samples, "millrace_job_duration_seconds_count", kind="end", state="retrying") == 1


async def test_what_waits_runs_and_is_dead_is_read_from_the_database(database_url: str) -> None:
    async with serving(made(database_url, max_concurrency=1)) as client:
        await ended(client, "fail")
        running = await ended(client, "wait")
        for _ in range(2):
            await ended(client, "wait")
        later = {"args": {"how": "complete"}, "delay_seconds": 600}
        await client.post("/api/v1/tasks/end/$execute", json=later)
        # Queues are named by clients.
        for number in range(5):
            await client.post("/api/v1/tasks/end/$execute", json={**later, "queue": f"mine-{number}"})
        schedule = {"name": "daily", "task": "end", "args": {"how": "complete"}, "cron": "0 0 * * *"}
        assert (await client.post("/api/v1/schedules", json=schedule)).status_code == 201

        async def is_read() -> Samples | None:
            samples = await scraped(client)
            is_there = value(samples, "millrace_jobs", queue="other", kind="end", state="scheduled") == 5
            has_begun = value(samples, "millrace_jobs", queue="default", kind="end", state="running") == 1
            is_waiting = (value(samples, "millrace_jobs_oldest_queued_seconds", queue="default") or 0) > 0
            return samples if is_there and has_begun and is_waiting else None

        samples: Samples = await eventually(is_read)
        assert value(samples, "millrace_jobs", queue="default", kind="end", state="queued") == 2
        assert value(samples, "millrace_jobs", queue="default", kind="end", state="scheduled") == 1
        assert value(samples, "millrace_jobs", queue="default", kind="end", state="dead") == 1
        assert {dict(labels)["queue"] for name, labels in samples if name == "millrace_jobs"} == {"default", "other"}
        assert value(samples, "millrace_schedules", state="active") == 1
        assert value(samples, "millrace_schedules_overdue_seconds") == 0
        assert value(samples, "millrace_workers", state="working") == 1
        assert (value(samples, "millrace_jobs_reading_age_seconds") or 0) < 5
        await client.post(f"/api/v1/jobs/{running}/$cancel")


async def test_connections_are_counted_and_waiting_for_them_is_measured(database_url: str) -> None:
    app = builder(database_url).with_monitoring().build(settings())
    async with serving(app) as client:
        pool = "shared" if database_url.startswith("postgresql") else "writer"
        manager = app.running.managers["items"]
        async with manager.transactions.transaction():
            # Somebody else's, which must wait where there is one writer only.
            other = asyncio.create_task(
                client.post("/api/v1/items", json={"name": "other"}), context=contextvars.Context()
            )
            await asyncio.sleep(0.3)
            samples = await scraped(client)
            assert total(samples, "millrace_database_connections", pool=pool, state="busy") >= 1
            if pool == "writer":
                assert value(samples, "millrace_database_waiting", pool=pool) == 1
        await other
        samples = await scraped(client)
    assert total(samples, "millrace_database_connections", pool=pool, state="busy") == 0
    assert value(samples, "millrace_database_waiting", pool=pool) == 0
    assert (value(samples, "millrace_database_acquire_seconds_count", pool=pool) or 0) >= 2
    if pool == "writer":
        assert (value(samples, "millrace_database_acquire_seconds_sum", pool=pool) or 0) > 0.2
    else:
        assert value(samples, "millrace_database_connections_limit", pool=pool) == 4


async def test_what_is_asked_of_a_model_is_counted_when_it_is_submitted(sqlite_url: str, tmp_path: Path) -> None:
    # Nobody works.
    kept = {"storage_folder": tmp_path / "storage", "temporary_folder": tmp_path / "scratch", "worker": "false"}
    async with serving(model_builder(sqlite_url, classy()).with_monitoring().build(settings(**kept))) as client:
        samples = await scraped(client)
        assert value(samples, "ml_train_jobs_total") == value(samples, "ml_predict_jobs_total") == 0
        config = (await client.post("/api/v1/configs", json={"name": "c", "data": {}})).json()["id"]
        asked = {"$train": {"config_id": config}, "$predict": {"artifact_id": config}}
        for verb, times in (("$train", 2), ("$predict", 1)):
            sample = await client.get("/api/v1/ml/$generate-sample-data", params={"kind": verb.removeprefix("$")})
            for _ in range(times):
                reply = await client.post(f"/api/v1/ml/{verb}", json={**sample.json(), **asked[verb]})
                assert reply.status_code == 202, reply.text
        refused = await client.post("/api/v1/ml/$train", json={"config_id": "nonsense"})
        assert refused.status_code == 422
        samples = await scraped(client)
    assert value(samples, "ml_train_jobs_total") == 2
    assert value(samples, "ml_predict_jobs_total") == 1


async def test_a_tracer_that_refuses_to_start_leaves_nothing_behind() -> None:
    def refuse() -> Any:
        raise Misconfigured("no")

    monitoring = Monitoring()
    monitoring.make_tracer = refuse
    before = asyncio.all_tasks()
    with pytest.raises(Misconfigured):
        async with monitoring.watching():
            pass
    assert asyncio.all_tasks() == before


def readings(read: Any) -> Readings:
    return Readings(read, queues=["default"], kinds=["end"])


def shown(readings: Readings) -> dict[str, Any]:
    return {family.name: family.values for family in readings.families()}


async def test_nobody_waits_long_for_a_slow_database() -> None:
    going = asyncio.Event()

    async def read() -> WorkReading:
        await going.wait()
        return WorkReading(workers={"working": 3})

    slow = readings(read)
    began = time.monotonic()
    await slow.renew()
    assert PATIENCE_SECONDS - 0.1 < time.monotonic() - began < PATIENCE_SECONDS + 1
    assert "millrace_workers" not in shown(slow)
    going.set()
    await slow.renew()
    assert dict(shown(slow)["millrace_workers"]) == {("working",): 3, ("stopping",): 0}
    await slow.close()


async def test_many_who_ask_at_once_and_again_read_once() -> None:
    reads = 0

    async def read() -> WorkReading:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0.05)
        return WorkReading()

    busy = readings(read)
    for _ in range(5):
        await asyncio.gather(*(busy.renew() for _ in range(20)))
    assert reads == 1


async def test_a_database_that_is_away_leaves_the_last_reading_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[WorkReading | Exception] = [WorkReading(overdue_seconds=7), Unavailable("away"), Unavailable("away")]

    async def read() -> WorkReading:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("service.managers.readings.FRESH_SECONDS", 0.0)
    shaky = readings(read)
    while answers:
        await shaky.renew()
        await asyncio.sleep(0.01)
    found = shown(shaky)
    assert found["millrace_schedules_overdue_seconds"] == [((), 7)]
    assert found["millrace_jobs_reading_failures"] == [((), 2)]
    await shaky.close()


async def test_a_cache_shows_how_much_use_it_is(sqlite_url: str) -> None:
    async with serving(builder(sqlite_url).with_cache().with_monitoring().build(settings())) as client:
        await client.post("/api/v1/items", json={"name": "one"})
        for _ in range(4):
            assert (await client.get("/api/v1/items")).status_code == 200
        samples = await scraped(client)
    # What never reached a route is counted for it all the same.
    reads = {"http_request_method": "GET", "http_route": "/api/v1/items", "http_response_status_code": "200"}
    assert value(samples, "http_server_request_duration_seconds_count", **reads) == 4
    assert value(samples, "millrace_cache_requests_total", http_route="/api/v1/items", outcome="hits") == 3
    assert value(samples, "millrace_cache_requests_total", http_route="/api/v1/items", outcome="misses") == 1
    assert (value(samples, "millrace_cache_hits_total", tier="memory") or 0) >= 3
    assert value(samples, "millrace_cache_entries", tier="memory") == 1
    assert (value(samples, "millrace_cache_bytes", tier="memory") or 0) > 100
    assert value(samples, "millrace_cache_breaker_state", tier="memory") == 0
    assert value(samples, "millrace_cache_load_seconds_count") == 1
    for name in ("misses", "evictions", "errors"):
        assert value(samples, f"millrace_cache_{name}_total", tier="memory") is not None
    for name in ("stale", "coalesced", "invalidations"):
        assert value(samples, f"millrace_cache_{name}_total") == 0


async def test_of_several_processes_each_says_which_one_it_is(sqlite_url: str) -> None:
    app = builder(sqlite_url).with_tasks(end).with_monitoring().build(settings(workers=2))
    async with serving(app) as client:
        await client.get("/api/v1/items")
        samples = await scraped(client)
    pid = str(os.getpid())
    assert value(samples, "millrace_event_loop_lag_seconds_count", pid=pid) is not None
    assert value(samples, "python_gc_collections_total", generation="0", pid=pid) is not None
    # What the database says is the same for all.
    assert value(samples, "millrace_workers", state="working") is not None
    assert {name for name, labels in samples if "pid" not in dict(labels)} == {
        "target_info",
        "millrace_build_info",
        "millrace_jobs_oldest_queued_seconds",
        "millrace_schedules",
        "millrace_schedules_overdue_seconds",
        "millrace_workers",
    }
