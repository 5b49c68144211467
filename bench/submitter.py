"""Somebody who submits jobs and waits for their ends: as a service does that leaves its jobs to workers, or its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.jobs_service import UNATTENDED, Number, Seconds, builder, burn, moment, nothing
from domain.context import current_context
from domain.jobs import NewJob
from domain.submissions import Submission, new_job
from service.http.application import Service
from service.settings import Settings

PATIENCE_SECONDS = 60


class Submitter:
    """A service in this process; all it does is measured in seconds."""

    def __init__(self, app: Service) -> None:
        self._jobs = app.jobs
        self._engine: Any = app.jobs.store.engine  # type: ignore[attr-defined]

    async def delay(self) -> float:
        """How long it takes from the commit of a submission to the start of the task."""
        submitted = await self._jobs.submit(moment)
        committed = time.monotonic()
        await self.ended(submitted.job.id)
        return float(await self._jobs.result(submitted.job.id)) - committed

    async def burn(self, seconds: float) -> None:
        """Have a process work for so long, and wait for its end."""
        await self.ended((await self._jobs.submit(burn, Seconds(seconds))).job.id)

    async def done(self, count: int) -> float:
        """How long it takes until no-op jobs are done that were submitted all at once, from their commit."""
        jobs = _new(count)
        await self._jobs.add(jobs)
        committed = time.perf_counter()
        # A row is found faster than many. Others may still run when the last of them is over.
        await self.ended(jobs[-1].id)
        await self.ended(jobs[0].id, jobs[-1].id)
        return time.perf_counter() - committed

    async def submitted(self, count: int) -> float:
        """How long it takes to submit jobs one after the other."""
        started = time.perf_counter()
        for number in range(count):
            await self._jobs.submit(nothing, Number(number), queue=UNATTENDED)
        return time.perf_counter() - started

    async def added(self, count: int) -> float:
        """How long it takes to submit jobs all at once, their making included."""
        started = time.perf_counter()
        await self._jobs.add(_new(count, queue=UNATTENDED))
        return time.perf_counter() - started

    async def ended(self, first: str, last: str | None = None) -> None:
        """Wait for the end of a job, or of all whose ids are in a range."""
        low, high = (self._engine.dialect.placeholder(number) for number in (1, 2))
        question = f"SELECT count(*) FROM millrace_jobs WHERE id >= {low} AND id <= {high} AND finished_at IS NULL"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self._engine.fetch(question, first, last or first))[0][0]:  # noqa: ASYNC110 - nor does it ring
                await asyncio.sleep(0.005)


def _new(count: int, **options: Any) -> list[NewJob]:
    context = current_context()
    return [new_job(nothing, Submission(args={"number": number}, **options), context) for number in range(count)]


@asynccontextmanager
async def submitting(url: str, *, redis_url: str | None = None, is_working: bool = False) -> AsyncIterator[Submitter]:
    """A service with jobs on the database at `url`; it runs them itself if it `is_working`."""
    app = builder(url).build(Settings(redis_url=redis_url, worker=str(is_working).lower()))
    async with app.lifespan():
        submitter = Submitter(app)
        # Whoever is to do the jobs may still be starting.
        await submitter.delay()
        yield submitter
