"""Jobs as code submits and changes them: in its own transaction, checked, and nobody is woken too early."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from domain.context import Context, acting_as
from domain.errors import Conflict, InvalidBody, InvalidId, NotFound
from domain.graphs import GraphRequest
from domain.jobs import IllegalTransition, Job, JobState, NewJob, Retention
from domain.tasks import Tasks, task
from domain.workers import WorkerOptions
from infra.queue.memory import MemoryDoorbell
from service.managers.dead_letters import Requeued
from service.managers.jobs import Jobs
from tests.infra.queue.wakes import Wakes
from tests.service.managers import works as tasks
from tests.service.managers.works import KINDS, Works, queue_name, works

UNKNOWN = "01K00000000000000000000ZZZ"


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        yield opened


@pytest.fixture
def queue() -> str:
    return queue_name()


@pytest.fixture
async def rung(queue: str) -> AsyncIterator[tuple[MemoryDoorbell, Wakes]]:
    """A doorbell, and how often it was rung for the queue."""
    doorbell, wakes = MemoryDoorbell(), Wakes()
    async with doorbell.answered([queue], wakes):
        yield doorbell, wakes


@pytest.fixture
def jobs(service: Works, rung: tuple[MemoryDoorbell, Wakes]) -> Jobs:
    return make_jobs(service, rung[0])


def make_jobs(service: Works, doorbell: MemoryDoorbell, retention: Retention | None = None) -> Jobs:
    return Jobs(KINDS, service.store, service.engine, doorbell, retention or Retention(), WorkerOptions())


class Abandoned(Exception):
    """Raised to roll back."""


async def claim(service: Works, queue: str, count: int = 1) -> list[Job]:
    """Have somebody run jobs who says nothing."""
    return await service.store.claim(queue, KINDS.kinds, count, worker_id=UNKNOWN, lease_seconds=600)


# Submitting


async def test_a_job_is_part_of_the_transaction_it_is_submitted_in(
    service: Works, jobs: Jobs, rung: tuple[MemoryDoorbell, Wakes], queue: str
) -> None:
    _, wakes = rung
    with suppress(Abandoned):
        async with service.engine.transaction():
            lost = (await jobs.submit(tasks.echo, queue=queue)).job
            assert (await jobs.get(lost.id)).id == lost.id
            raise Abandoned
    assert wakes.count == 0
    with pytest.raises(NotFound):
        await jobs.get(lost.id)
    assert await service.types(lost) == []
    async with service.engine.transaction():
        kept = (await jobs.submit(tasks.echo, queue=queue)).job
        # Nobody could see it yet.
        assert wakes.count == 0
    assert wakes.count == 1
    assert (await jobs.get(kept.id)).state is JobState.QUEUED


async def test_a_savepoint_that_is_undone_takes_its_job_along(
    service: Works, jobs: Jobs, rung: tuple[MemoryDoorbell, Wakes], queue: str
) -> None:
    async with service.engine.transaction():
        kept = (await jobs.submit(tasks.echo, queue=queue)).job
        with suppress(Abandoned):
            async with service.engine.transaction():
                lost = (await jobs.submit(tasks.echo, queue=queue)).job
                raise Abandoned
    assert rung[1].count == 1
    assert await service.store.find_many([kept.id, lost.id]) == [await jobs.get(kept.id)]


async def test_only_jobs_that_can_run_now_are_rung_for(
    service: Works, jobs: Jobs, rung: tuple[MemoryDoorbell, Wakes], queue: str
) -> None:
    await jobs.submit(tasks.echo, queue=queue, delay_seconds=600)
    assert rung[1].count == 0
    # Many are one ring.
    await jobs.add([NewJob(kind="echo", queue=queue) for _ in range(10)])
    assert rung[1].count == 1


async def test_a_task_is_named_by_itself_or_by_its_kind(jobs: Jobs, queue: str) -> None:
    for named in (tasks.echo, "echo"):
        for args in (tasks.Anything({"a": 1}), {"value": {"a": 1}}):
            submitted = await jobs.submit(named, args, queue=queue)
            assert (submitted.job.kind, submitted.job.args, submitted.is_duplicate) == (
                "echo",
                {"value": {"a": 1}},
                False,
            )
    with pytest.raises(NotFound, match='There is no task "ecko"; did you mean "echo"'):
        await jobs.submit("ecko")


async def test_a_job_keeps_who_submitted_it(jobs: Jobs, queue: str) -> None:
    with acting_as(Context(request_id="r-1", principal="ada", tenant="acme")):
        job = (await jobs.submit(tasks.echo, queue=queue)).job
    assert (job.trace_id, job.principal, job.tenant) == ("r-1", "ada", "acme")
    alone = (await jobs.submit(tasks.echo, queue=queue)).job
    assert (alone.trace_id, alone.principal, alone.tenant) == (None, "anonymous", "default")


@pytest.mark.parametrize(
    "options, pointer",
    [
        ({"priority": "high"}, "/priority"),
        ({"queue": "a b"}, "/queue"),
        ({"run_at": datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None)}, "/run_at"),
        ({"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay_seconds": 1}, "/delay_seconds"),
        ({"delay_seconds": -1}, "/delay_seconds"),
        ({"label": "a\0b"}, "/label"),
        ({"prio": 1}, "/prio"),
        ({"unique_key": ""}, "/unique_key"),
    ],
)
async def test_code_is_checked_as_strictly_as_a_client(jobs: Jobs, options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        await jobs.submit(tasks.echo, **options)
    assert [error.pointer for error in caught.value.errors] == [pointer]


async def test_arguments_of_code_are_checked_too(jobs: Jobs) -> None:
    for args, pointer in (({"value": "a\0b"}, "/args/value"), ({"vale": 1}, "/args/vale")):
        with pytest.raises(InvalidBody) as caught:
            await jobs.submit(tasks.echo, args)
        assert [error.pointer for error in caught.value.errors] == [pointer]


async def test_of_jobs_with_one_key_the_first_is_there_for_all(service: Works, jobs: Jobs, queue: str) -> None:
    new = [NewJob(kind="echo", queue=queue, unique_key=f"{queue}-{key}") for key in "abab"]
    submitted = await jobs.add(new)
    assert [item.job.id for item in submitted] == [new[0].id, new[1].id, new[0].id, new[1].id]
    assert [item.is_duplicate for item in submitted] == [False, False, True, True]
    again = await jobs.add(
        [NewJob(kind="echo", queue=queue, unique_key=f"{queue}-a"), NewJob(kind="echo", queue=queue)]
    )
    assert [item.is_duplicate for item in again] == [True, False]
    assert again[0].job.id == new[0].id
    await jobs.cancel(new[0].id)
    assert not (await jobs.submit(tasks.echo, queue=queue, unique_key=f"{queue}-a")).is_duplicate


async def test_a_key_that_is_given_up_again_and_again_is_taken_in_the_end(
    service: Works, jobs: Jobs, queue: str
) -> None:
    key = f"{queue}-key"

    async def give_up() -> None:
        for job in await service.store.find_unique([key]):
            await jobs.cancel_all([job.id])

    for _ in range(20):
        results = await asyncio.gather(
            *(jobs.submit(tasks.echo, queue=queue, unique_key=key) for _ in range(4)), give_up()
        )
        assert all(result is None or result.job.unique_key == key for result in results)


# Looking


async def test_what_is_no_id_and_what_is_not_there(jobs: Jobs) -> None:
    operations = (jobs.get, jobs.events, jobs.logs, jobs.result, jobs.why, jobs.cancel, jobs.retry, jobs.delete)
    for operation in operations:
        with pytest.raises(InvalidId, match="Invalid job ID format: x"):
            await operation("x")
        with pytest.raises(NotFound, match=f"Job with id {UNKNOWN} not found"):
            await operation(UNKNOWN.lower())


async def test_queues_without_jobs_are_among_the_stats(service: Works, rung: tuple[MemoryDoorbell, Wakes]) -> None:
    elsewhere = task(kind="elsewhere", queue=f"q-{queue_name()}")(tasks.echo.function)
    jobs = Jobs(Tasks([elsewhere]), service.store, service.engine, rung[0], Retention(), WorkerOptions())
    found = {stats.queue: stats for stats in await jobs.stats()}
    assert (found[elsewhere.queue].queued, found[elsewhere.queue].oldest_seconds) == (0, None)


# Changing


async def test_the_worker_hears_of_a_cancellation_after_the_commit(
    service: Works, jobs: Jobs, rung: tuple[MemoryDoorbell, Wakes], queue: str
) -> None:
    waiting = await service.add(tasks.echo, queue=queue)
    running = await service.add(tasks.echo, queue=queue, priority=1)
    await claim(service, queue)
    # Nobody runs this one, so nobody needs to hear.
    assert (await jobs.cancel(waiting.id)).state is JobState.CANCELED
    assert rung[1].count == 0
    async with service.engine.transaction():
        assert (await jobs.cancel(running.id)).state is JobState.CANCELING
        assert rung[1].count == 0
    assert rung[1].count == 1
    assert (await jobs.cancel(running.id)).state is JobState.CANCELING
    with pytest.raises(IllegalTransition):
        await jobs.cancel(waiting.id)


async def test_a_running_job_is_removed_and_its_worker_hears_of_it(
    service: Works, jobs: Jobs, rung: tuple[MemoryDoorbell, Wakes], queue: str
) -> None:
    job = await service.add(tasks.echo, queue=queue)
    [held] = await claim(service, queue)
    assert held.lease_token is not None
    await jobs.delete(job.id)
    assert rung[1].count == 1
    assert await service.store.held([(job.id, held.lease_token)]) == {}
    assert await service.types(job) == []
    with pytest.raises(NotFound):
        await jobs.delete(job.id)


async def test_a_removal_that_is_rolled_back_has_not_been(service: Works, jobs: Jobs, queue: str) -> None:
    job = await service.add(tasks.echo, queue=queue)
    with suppress(Abandoned):
        async with service.engine.transaction():
            await jobs.delete(job.id)
            raise Abandoned
    assert await jobs.get(job.id) == await service.get(job)


async def test_dead_jobs_of_a_graph_run_again_with_what_depends_on_them(service: Works, queue: str) -> None:
    graphs = service.opened.managers.graphs
    jobs = service.opened.managers.jobs
    request = {
        "nodes": {
            "bad": {"task": "fail", "args": {"value": "x"}, "queue": queue},
            "then": {"task": "echo", "depends_on": ["bad"], "queue": queue},
        }
    }
    view = await graphs.submit(msgspec.convert(request, GraphRequest))
    bad, then = (view.nodes[name].job_id for name in ("bad", "then"))
    alone = await service.add(tasks.fail, "x", queue=queue)
    async with service.working(queue):
        for id in (bad, alone.id):
            await service.reach((await service.store.find_many([id]))[0], JobState.DEAD)
    changed = (await jobs.requeue_dead([bad, alone.id, then], 100)).jobs
    assert {job.id: job.state for job in changed} == {
        alone.id: JobState.QUEUED,
        bad: JobState.QUEUED,
        then: JobState.BLOCKED,
    }
    assert await jobs.requeue_dead([bad], 100) == Requeued([], {})
    await graphs.delete(view.id)
    await jobs.delete(alone.id)


async def test_a_job_that_somebody_else_runs_again_is_not_run_twice(service: Works, jobs: Jobs, queue: str) -> None:
    job = await service.add(tasks.echo, queue=queue)
    await jobs.cancel(job.id)
    found = await asyncio.gather(*(jobs.retry(job.id) for _ in range(5)), return_exceptions=True)
    assert sorted(type(item).__name__ for item in found) == ["IllegalTransition"] * 4 + ["Job"]
    assert (await service.types(job)).count("requeued") == 1


async def test_a_taken_unique_key_keeps_a_job_from_running_again(service: Works, jobs: Jobs, queue: str) -> None:
    first = (await jobs.submit(tasks.echo, queue=queue, unique_key=queue)).job
    await jobs.cancel(first.id)
    await jobs.submit(tasks.echo, queue=queue, unique_key=queue)
    with pytest.raises(Conflict):
        await jobs.retry(first.id)
    assert (await jobs.get(first.id)).state is JobState.CANCELED


async def test_what_is_older_than_it_is_kept_is_forgotten(service: Works, queue: str) -> None:
    doorbell = MemoryDoorbell()
    kept = make_jobs(
        service, doorbell, Retention(completed_days=None, canceled_days=None, failed_days=None, most_jobs=None)
    )
    old, young, waiting = [await service.add(tasks.echo, queue=queue) for _ in range(3)]
    for job in (old, young):
        await kept.cancel(job.id)
    assert await kept.tidy() == 60.0
    past = datetime(2020, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", ".000000Z")
    await service.engine.execute(f"UPDATE millrace_jobs SET finished_at = '{past}' WHERE id = '{old.id}'")
    jobs = make_jobs(service, doorbell, Retention(canceled_days=30))
    # As long as there is something to forget it comes again soon.
    assert await jobs.tidy() == 1.0
    while await jobs.tidy() == 1.0:
        pass
    assert [job.id for job in await service.store.find_many([old.id, young.id, waiting.id])] == [young.id, waiting.id]


async def test_a_job_that_was_run_again_meanwhile_is_not_removed_for_its_age(service: Works, jobs: Jobs) -> None:
    job = await service.add(tasks.echo, queue=queue_name())
    assert await service.store.delete([job.id], is_over=True) == 0
    assert (await service.get(job)).state is JobState.QUEUED
    await service.store.cancel([job.id])
    assert await service.store.delete([job.id], is_over=True) == 1
