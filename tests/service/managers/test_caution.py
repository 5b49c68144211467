"""How a worker begins with jobs that may be what ended others, and with those it has waited for too long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from domain.entity import new_id
from domain.jobs import Job, JobState, NewJob
from domain.workers import WorkerInfo, WorkerOptions
from infra.database.jobs.slots import Slots
from service.managers.caution import Caution
from tests.infra.database.engines import opened
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, eventually, gate, queue_name, works

LOST = 3


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as found:
        yield found


async def lost(service: Works, queue: str, losses: int) -> Job:
    """A job that waits again after it has lost so many workers."""
    job = await service.add(tasks.wait, queue, queue=queue)
    await service.engine.execute(
        f"UPDATE millrace_jobs SET attempt = {losses}, losses = {losses} WHERE id = '{job.id}'"
    )
    return job


# One at a time


async def test_of_jobs_in_their_last_life_a_worker_begins_with_one_at_a_time(service: Works) -> None:
    queue = queue_name()
    risky = [await lost(service, queue, LOST - 1) for _ in range(3)]
    others = [await lost(service, queue, LOST - 2) for _ in range(3)]
    async with service.working(queue, max_losses=LOST, lease_seconds=3600.0):
        for job in (*others, risky[0]):
            await service.reach(job, JobState.RUNNING)
        assert [(await service.get(job)).state for job in risky[1:]] == [JobState.QUEUED] * 2
        gate(queue).set()
        for job in (*risky, *others):
            assert (await service.ended(job)).state is JobState.COMPLETED
    events = [event for job in risky for event in await service.store.events(job.id, after=0, limit=100)]
    types = [event.type for event in sorted(events, key=lambda event: event.sequence)]
    assert types == ["submitted"] * 3 + ["running", "completed"] * 3


async def test_the_next_begins_when_the_one_before_has_gone_well_for_as_long_as_a_lease_lasts(service: Works) -> None:
    queue = queue_name()
    risky = [await lost(service, queue, LOST - 1) for _ in range(2)]
    async with service.working(queue, max_losses=LOST, lease_seconds=0.5):
        for job in risky:
            await service.reach(job, JobState.RUNNING)
        gate(queue).set()
        for job in risky:
            await service.ended(job)


async def test_two_workers_take_a_risk_each(service: Works) -> None:
    queue = queue_name()
    risky = [await lost(service, queue, LOST - 1) for _ in range(2)]
    options = {"max_losses": LOST, "lease_seconds": 3600.0}
    async with service.working(queue, **options), service.working(queue, **options):
        for job in risky:
            await service.reach(job, JobState.RUNNING)
        gate(queue).set()
        for job in risky:
            await service.ended(job)


async def test_only_a_job_that_caution_keeps_waiting_says_so(service: Works) -> None:
    queue = queue_name()
    jobs = service.opened.managers.jobs
    twice = [await lost(service, queue, LOST - 1) for _ in range(2)]
    once = await lost(service, queue, LOST - 2)
    assert {(await jobs.why(job.id)).reason for job in (*twice, once)} == {"no_worker"}
    async with service.working(queue, max_losses=LOST, lease_seconds=3600.0):
        for job in (twice[0], once):
            await service.reach(job, JobState.RUNNING)
        await eventually(lambda: _serving(service, queue))
        why = await jobs.why(twice[1].id)
        assert (why.reason, why.facts) == ("suspect", {"losses": LOST - 1, "behind": [twice[0].id]})
        gate(queue).set()
        for job in (*twice, once):
            await service.ended(job)


async def _serving(service: Works, queue: str) -> list[WorkerInfo]:
    """The workers that have said that they take jobs of a queue."""
    return [worker for worker in await service.store.workers(within_seconds=30.0) if queue in worker.queues]


async def test_a_job_that_has_lost_workers_and_finds_no_process_says_that(service: Works) -> None:
    queue = queue_name()
    why = service.opened.managers.jobs.why
    kinds = (tasks.sleep_in_process.kind, tasks.wait.kind)
    worker = WorkerInfo(id=new_id(), host="here", pid=1, queues=(queue,), kinds=kinds, concurrency=9)

    async def beat(**values: int) -> None:
        await service.store.beat(msgspec.structs.replace(worker, **values))

    heavy = [await service.add(tasks.sleep_in_process, queue=queue) for _ in range(2)]
    light = await lost(service, queue, LOST - 1)
    for losses in (0, 1, LOST - 1):
        await service.engine.execute(
            f"UPDATE millrace_jobs SET losses = {losses}, attempt = {losses} WHERE queue = '{queue}'"
        )
        await beat(running=0, busy_processes=0)
        assert {(await why(job.id)).reason for job in (*heavy, light)} == {"queued"}
        await beat(running=1, busy_processes=1)
        assert [(await why(job.id)).reason for job in (*heavy, light)] == ["processes", "processes", "queued"]
    options = {"worker_id": worker.id, "lease_seconds": 60.0, "risky_losses": LOST - 1}
    [begun] = await service.store.claim(queue, kinds, 9, **options)
    assert begun.id == heavy[0].id
    assert [(await why(job.id)).reason for job in (heavy[1], light)] == ["processes", "suspect"]
    await beat(running=1, busy_processes=0)
    assert (await why(heavy[1].id)).facts == {"losses": LOST - 1, "behind": [begun.id]}
    await beat(running=9, busy_processes=1)
    assert [(await why(job.id)).reason for job in (heavy[1], light)] == ["processes", "queued"]


@pytest.mark.parametrize("is_keyed", [False, True])
async def test_a_claim_leaves_risky_jobs_alone_except_for_one(service: Works, is_keyed: bool) -> None:
    queue = queue_name()
    keys = {"concurrency_key": queue, "concurrency_limit": 10} if is_keyed else {}
    jobs = [NewJob(kind="work", queue=queue, **keys) for _ in range(4)]
    await service.store.insert(jobs)
    await service.store.claim(queue, ["work"], 2, worker_id=jobs[0].id, lease_seconds=-1.0)
    await service.store.reap(10)
    ids = [job.id for job in jobs]
    assert await _claimed(service, queue, limit=1, is_risk_taken=False) == ids[2:3]
    assert await _claimed(service, queue, limit=9, is_risk_taken=True) == [ids[0], ids[3]]
    assert await _claimed(service, queue, limit=9, is_risk_taken=False) == []
    assert await _claimed(service, queue, limit=1, is_risk_taken=True) == ids[1:2]


async def _claimed(service: Works, queue: str, *, limit: int, is_risk_taken: bool) -> list[str]:
    found = await service.store.claim(
        queue,
        ["work"],
        limit,
        worker_id=NewJob(kind="work").id,
        lease_seconds=60.0,
        risky_losses=1,
        is_risk_taken=is_risk_taken,
    )
    return [job.id for job in found]


def test_with_one_life_only_no_job_is_risky() -> None:
    assert WorkerOptions(max_losses=1).risky_losses is None
    assert WorkerOptions(max_losses=2).risky_losses == 1


def test_a_risk_is_over_when_its_job_has_ended_or_has_gone_well_for_long_enough() -> None:
    now = 100.0
    caution = Caution(WorkerOptions(max_losses=LOST), lambda: now)
    [risky, other] = [_job(losses) for losses in (LOST - 1, LOST - 2)]
    caution.begin(other)
    assert caution.is_risk_taken
    caution.begin(risky)
    caution.end(other)
    assert not caution.is_risk_taken
    now += 15
    assert caution.is_risk_taken
    caution.begin(risky)
    assert not caution.is_risk_taken
    caution.end(risky)
    assert caution.is_risk_taken


def _job(losses: int) -> Job:
    moment = "2026-01-01T00:00:00Z"
    return msgspec.convert({"submitted_at": moment, "run_at": moment, "kind": "work", "losses": losses}, Job)


# Claims that take long


async def test_a_claim_that_took_longer_than_a_lease_lasts_is_looked_at_again(
    service: Works, module_database_url: str
) -> None:
    queue, lease_seconds = queue_name(), 1.0
    job = await service.add(tasks.echo, 1, queue=queue, concurrency_key=queue)
    async with opened(module_database_url) as other, AsyncExitStack() as lock:
        await lock.enter_async_context(other.transaction())
        await Slots(other).lock_slots()
        async with service.working(queue, lease_seconds=lease_seconds):
            await asyncio.sleep(lease_seconds * 1.2)
            await lock.aclose()
            assert (await service.ended(job)).state is JobState.COMPLETED
    assert await service.types(job) == ["submitted", "running", "completed"]
