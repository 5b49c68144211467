"""Databases of jobs for tests: migrated once, emptied for each test, and opened as often as there are workers."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from domain.entity import new_id
from domain.job_ports import Ended
from domain.jobs import STATUSES, Ending, Job, JobState, NewJob
from infra.database.engine import DatabaseEngine
from infra.database.jobs.store import JobDatabase
from infra.database.migrate import up
from infra.database.piccolo_app import PRODUCT
from tests.infra.database.engines import opened

TABLES = (
    "millrace_jobs",
    "millrace_job_events",
    "millrace_job_logs",
    "millrace_job_edges",
    "millrace_graphs",
    "millrace_workers",
    "millrace_schedules",
    "millrace_ticks",
)
WORKER = new_id()
_migrated: set[str] = set()


@asynccontextmanager
async def open_jobs(url: str, *, is_emptied: bool = False, **options: Any) -> AsyncIterator[JobDatabase]:
    """The jobs of a database; `is_emptied` removes what others have left there."""
    async with opened(url, **options) as engine:
        if url not in _migrated or ":memory:" in url:
            await up(engine, [PRODUCT])
            _migrated.add(url)
        if is_emptied:
            await empty(engine)
        yield JobDatabase(engine)


async def empty(engine: DatabaseEngine) -> None:
    """Remove everything that is known of jobs."""
    async with engine.transaction():
        for table in TABLES:
            await engine.execute(f"DELETE FROM {table}")


def new(kind: str = "work", **values: Any) -> NewJob:
    """A job that is about to be submitted."""
    return NewJob(kind=kind, **values)


async def claim(
    jobs: JobDatabase,
    limit: int = 100,
    *,
    queue: str = "default",
    kinds: Sequence[str] = ("work",),
    worker_id: str = WORKER,
    lease_seconds: float = 60.0,
) -> list[Job]:
    """Lease jobs as a worker that knows one kind."""
    return await jobs.claim(queue, kinds, limit, worker_id=worker_id, lease_seconds=lease_seconds)


async def running(jobs: JobDatabase, **values: Any) -> Job:
    """A new job, claimed."""
    [job] = await jobs.insert([new(**values)])
    [claimed] = await claim(jobs, queue=job.queue)
    assert claimed.id == job.id
    return claimed


def ending(job: Job, state: JobState = JobState.COMPLETED, **values: Any) -> Ending:
    """The end of a run under the lease that the job has."""
    return Ending(
        job_id=job.id,
        lease_token=job.lease_token or "",
        state=state,
        is_in_graph=job.graph_id is not None,
        **values,
    )


async def finish(jobs: JobDatabase, *claimed: Job, state: JobState = JobState.COMPLETED, **values: Any) -> Ended:
    """Record the same end for some runs."""
    return await jobs.finish([ending(job, state, **values) for job in claimed])


async def get(jobs: JobDatabase, id: str) -> Job:
    """A job as it stands."""
    [job] = await jobs.find_many([id])
    check(job)
    return job


async def states(jobs: JobDatabase, ids: Iterable[str]) -> list[JobState]:
    """The states of jobs, in the order of `ids`."""
    found = {job.id: job.state for job in await jobs.find_many(list(ids))}
    return [found[id] for id in ids]


def check(job: Job) -> None:
    """What is true of every job at any moment."""
    assert job.status is STATUSES[job.state]
    is_running = job.state in {JobState.RUNNING, JobState.CANCELING}
    assert (job.lease_token is not None) is (job.lease_until is not None) is is_running
    assert (job.finished_at is not None) is job.is_final
    assert 0 <= job.losses <= job.attempt
    assert job.is_final or (job.waits_for > 0) is (job.state is JobState.BLOCKED)


async def expire(jobs: JobDatabase, *ids: str) -> None:
    """Let the leases of these jobs run out, as if their worker had been gone for long."""
    arguments = jobs.arguments()
    chosen = jobs.ids(arguments, ids)
    await jobs.engine.execute(
        f"UPDATE {jobs.table} SET lease_until = {jobs.dialect.ago('3600.0')} "
        f"WHERE {chosen} AND lease_until IS NOT NULL",
        *arguments.values,
    )


async def move(jobs: JobDatabase, column: str, seconds: float, *ids: str) -> None:
    """Set a moment of these jobs so many seconds from now."""
    arguments = jobs.arguments()
    moment = jobs.dialect.later(arguments.bind(seconds))
    chosen = jobs.ids(arguments, ids)
    await jobs.engine.execute(f"UPDATE {jobs.table} SET {column} = {moment} WHERE {chosen}", *arguments.values)


async def count(engine: DatabaseEngine, table: str) -> int:
    """How many rows a table has."""
    [(rows,)] = await engine.fetch(f"SELECT count(*) FROM {table}")
    return int(rows)


async def event_types(jobs: JobDatabase, id: str) -> list[str]:
    """The history of a job in words."""
    return [event.type for event in await jobs.events(id, after=0, limit=1_000)]
