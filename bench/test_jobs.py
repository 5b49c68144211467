"""What the background work promises: how soon jobs begin, how many are done, and what it costs when there are none."""

import asyncio
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from bench import budgets, results
from bench.budgets import POLLING, POSTGRES, SQLITE, Promise
from bench.conftest import serving
from bench.holding import compared, hold
from bench.jobs_service import UNATTENDED
from bench.load import load
from bench.operations import OPERATIONS, Requests, get, post
from bench.results import Figure
from bench.submitter import Submitter
from bench.workers import Arq, Idle, processor_seconds


@pytest.fixture(params=[POSTGRES, SQLITE])
def submitter(request: pytest.FixtureRequest) -> tuple[str, Submitter]:
    """Somebody who submits jobs, and where they are kept."""
    name = {POSTGRES: "postgres_submitter", SQLITE: "sqlite_submitter"}[request.param]
    return request.param, request.getfixturevalue(name)


async def test_a_job_begins_at_once_when_the_worker_is_idle(submitter: tuple[str, Submitter]) -> None:
    where, somebody = submitter

    async def measure() -> Sequence[Figure]:
        delays = []
        for _ in range(budgets.START_WARM_UP + budgets.START_SAMPLES):
            # It looks around once more after each job.
            await asyncio.sleep(0.02)
            delays.append(await somebody.delay())
        p50, p99 = (results.milliseconds(delays[budgets.START_WARM_UP :], percent) for percent in (50, 99))
        return [Figure(budgets.START[where], p50, f"p99 {p99:.1f} ms")]

    await hold(measure)


async def test_one_worker_does_many_jobs_also_in_comparison_with_arq(
    postgres_submitter: Submitter, arq_peer: Arq
) -> None:
    async def measure() -> Sequence[Figure]:
        await postgres_submitter.done(budgets.BACKLOG)
        best, _ = max(
            [(setting, await theirs(setting)) for setting in budgets.ARQ_SETTINGS], key=lambda found: found[1]
        )
        rounds = [(await _rate(postgres_submitter), await theirs(best)) for _ in range(budgets.JOB_ROUNDS)]
        ratio = compared(budgets.DONE_AGAINST_ARQ, rounds, "ours", f"arq (max_jobs={best[0]}, poll_delay={best[1]})")
        return [Figure(budgets.DONE[POSTGRES], median(ours for ours, _ in rounds)), ratio]

    async def theirs(setting: tuple[int, float]) -> float:
        return await asyncio.to_thread(arq_peer.done, budgets.BACKLOG, setting)

    await hold(measure)


async def test_the_worker_inside_of_a_service_does_many_jobs_too(sqlite_submitter: Submitter) -> None:
    async def measure() -> Sequence[Figure]:
        await sqlite_submitter.done(budgets.BACKLOG)
        rates = [await _rate(sqlite_submitter) for _ in range(budgets.JOB_ROUNDS)]
        return [Figure(budgets.DONE[SQLITE], median(rates))]

    await hold(measure)


async def _rate(somebody: Submitter) -> float:
    return budgets.BACKLOG / await somebody.done(budgets.BACKLOG)


async def test_jobs_are_submitted_one_by_one_in_comparison_with_arq(
    postgres_submitter: Submitter, arq_peer: Arq
) -> None:
    async def measure() -> Sequence[Figure]:
        await postgres_submitter.submitted(budgets.ONE_BY_ONE)
        rounds = [(await ours(), await theirs()) for _ in range(budgets.JOB_ROUNDS)]
        return [compared(budgets.SUBMITTED_AGAINST_ARQ, rounds, "submit", "arq")]

    async def ours() -> float:
        return budgets.ONE_BY_ONE / await postgres_submitter.submitted(budgets.ONE_BY_ONE)

    async def theirs() -> float:
        return await asyncio.to_thread(arq_peer.enqueued, budgets.ONE_BY_ONE)

    await hold(measure)


async def test_many_jobs_are_submitted_at_once(submitter: tuple[str, Submitter]) -> None:
    where, somebody = submitter

    async def measure() -> Sequence[Figure]:
        await somebody.added(budgets.BULK)
        rounds = [(await bulk(), await one_by_one()) for _ in range(budgets.JOB_ROUNDS)]
        return [compared(budgets.SUBMITTED_IN_BULK[where], rounds, "bulk", "submit")]

    async def bulk() -> float:
        return budgets.BULK / await somebody.added(budgets.BULK)

    async def one_by_one() -> float:
        return budgets.ONE_BY_ONE / await somebody.submitted(budgets.ONE_BY_ONE)

    await hold(measure)


async def test_a_job_is_submitted_over_http_like_an_entity_is_made(databases: Callable[[], str]) -> None:
    with serving("submissions", databases()) as port:

        async def measure() -> Sequence[Figure]:
            submissions, users = _submissions(), OPERATIONS["post"](())
            for requests in (submissions, users):
                await rate(requests)
            rounds = [(await rate(submissions), await rate(users)) for _ in range(budgets.JOB_ROUNDS)]
            return [compared(budgets.SUBMITTED_AGAINST_POST, rounds, "$execute", "POST")]

        async def rate(requests: Requests) -> float:
            connections, seconds = budgets.CONNECTIONS, budgets.SUBMIT_SECONDS
            return (await asyncio.to_thread(load, port, requests, connections=connections, seconds=seconds)).rate

        await hold(measure)


def _submissions() -> Requests:
    for number in itertools.count():
        body = {"args": {"number": number}, "queue": UNATTENDED}
        yield post("/api/v1/tasks/nothing/$execute", json.dumps(body).encode())


Submit = Callable[[httpx.AsyncClient, float], Awaitable[str]]


async def _burning(client: httpx.AsyncClient, seconds: float) -> str:
    accepted = await client.post("/tasks/burn/$execute", json={"args": {"seconds": seconds}})
    return str(accepted.raise_for_status().json()["job_id"])


async def _training(client: httpx.AsyncClient, seconds: float) -> str:
    config = await client.post("/configs", json={"name": "c", "data": {"seconds": seconds}})
    data = {"columns": ["time_period", "location"], "data": [["2020-01", "here"]]}
    accepted = await client.post("/ml/$train", json={"config_id": config.raise_for_status().json()["id"], "data": data})
    return str(accepted.raise_for_status().json()["job_id"])


@pytest.mark.parametrize(
    "kind, submit, health, polled",
    [
        ("jobs", _burning, budgets.HEALTH, budgets.POLLED),
        ("models", _training, budgets.HEALTH_TRAINING, budgets.POLLED_TRAINING),
    ],
    ids=["jobs", "models"],
)
async def test_health_and_polling_are_answered_while_every_core_is_busy(
    tmp_path: Path, kind: str, submit: Submit, health: Promise, polled: Promise
) -> None:
    with serving(kind, f"sqlite:///{tmp_path}/{kind}.sqlite3") as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:

            async def measure() -> Sequence[Figure]:
                quick = await submit(client, 0.0)
                while not (await _job(client, quick))["finished_at"]:  # noqa: ASYNC110 - nor does it ring
                    await asyncio.sleep(0.1)
                calm = await asks(quick)
                jobs = [await submit(client, 60.0) for _ in range(os.cpu_count() or 1)]
                while not await _are_busy(client, jobs):  # noqa: ASYNC110 - nobody announces it to a client
                    await asyncio.sleep(0.1)
                busy = await asks(jobs[0])
                assert await _are_busy(client, jobs)
                for id in jobs:
                    (await client.delete(f"/jobs/{id}")).raise_for_status()
                return [_answered(promise, busy[promise], calm[promise]) for promise in busy]

            async def asks(job: str) -> dict[Promise, list[float]]:
                asked = {health: "/health", polled: f"/api/v1/jobs/{job}"}
                return {promise: await asyncio.to_thread(_times, port, path) for promise, path in asked.items()}

            await hold(measure)


def _times(port: int, path: str) -> list[float]:
    return load(port, itertools.repeat(get(path)), connections=1, seconds=budgets.BUSY_SECONDS).times


def _answered(promise: Promise, busy: list[float], calm: list[float]) -> Figure:
    p50, p99, before = (results.milliseconds(times, percent) for times, percent in ((busy, 50), (busy, 99), (calm, 99)))
    return Figure(promise, p99, f"p50 {p50:.1f} ms; p99 without jobs {before:.1f} ms")


async def _job(client: httpx.AsyncClient, id: str) -> Any:
    return (await client.get(f"/jobs/{id}")).raise_for_status().json()


async def _are_busy(client: httpx.AsyncClient, ids: Sequence[str]) -> bool:
    jobs = [await _job(client, id) for id in ids]
    # It says so itself, so its process has begun.
    return all(job["status"] == "running" and job["progress"] for job in jobs)


@pytest.mark.parametrize("where", [POSTGRES, POLLING])
async def test_an_idle_worker_costs_next_to_nothing(idle_workers: dict[str, Idle], where: str) -> None:
    idle = idle_workers[where]

    async def measure() -> Sequence[Figure]:
        nonlocal idle
        # It has idled while all the rest was measured.
        await asyncio.sleep(max(0.0, idle.since + budgets.IDLE_SECONDS - time.monotonic()))
        before, idle = idle, Idle(idle.group, time.monotonic(), processor_seconds(idle.group))
        seconds = idle.since - before.since
        return [Figure(budgets.IDLE[where], 100 * (idle.used - before.used) / seconds, f"over {seconds:.0f} s")]

    await hold(measure)
