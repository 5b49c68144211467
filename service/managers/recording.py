"""Writes down how runs have ended, in bundles, however long that takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from domain.errors import will_pass
from domain.job_ports import Effect, Ended, JobQueue
from domain.jobs import Ending, Job, JobState
from domain.runs import cut
from service.managers.reports import Reports
from service.managers.steadiness import Steadiness

logger = logging.getLogger("millrace.jobs")


class Recording:
    """Takes the ends of runs and calls `on_recorded` with those jobs and with what has become of others by them."""

    def __init__(
        self,
        queue: JobQueue,
        reports: Reports,
        steadiness: Steadiness,
        on_recorded: Callable[[Sequence[Job], Ended], None],
    ) -> None:
        self._queue = queue
        self._reports = reports
        self._steadiness = steadiness
        self._on_recorded = on_recorded
        self._ended: list[tuple[Job, Ending, Effect | None]] = []
        self._has_ended = asyncio.Event()

    def add(self, job: Job, ending: Ending, effect: Effect | None = None) -> None:
        """Record soon how a run has ended, and do `effect` in the same transaction if it is still ours."""
        self._ended.append((job, ending, effect))
        self._has_ended.set()

    async def run(self) -> None:
        """Record for as long as the worker lives."""
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            batch, self._ended = self._ended, []
            if plain := [(job, ending) for job, ending, effect in batch if effect is None]:
                jobs, endings = [job for job, _ in plain], [ending for _, ending in plain]
                await self._record(jobs, partial(self._finished, endings))
            for job, ending, effect in batch:
                if effect is not None:
                    await self._record([job], partial(self._finished_with, ending, effect))

    async def _record(self, jobs: Sequence[Job], finish: Callable[[], Awaitable[Ended]]) -> None:
        """Until they are written the leases of these jobs are kept."""

        async def write() -> Ended:
            await self._reports.write(jobs)
            return await finish()

        recorded = await self._steadiness.do(write, "the ends of jobs cannot be recorded")
        held = {job.id for job in recorded.jobs}
        for job in jobs:
            if job.id not in held:
                logger.warning("job %s was no longer ours when it ended; its result is discarded", job.id)
        self._on_recorded(jobs, recorded)

    async def _finished(self, endings: list[Ending]) -> Ended:
        try:
            return await self._queue.finish(endings)
        except Exception as error:
            if will_pass(error):
                raise
            # One ending must not keep the others from being recorded.
            if len(endings) > 1:
                ended = [await self._finished([ending]) for ending in endings]
                return Ended(
                    [job for part in ended for job in part.jobs], [job for part in ended for job in part.ready]
                )
            return await self._refused(endings[0], error)

    async def _finished_with(self, ending: Ending, effect: Effect) -> Ended:
        try:
            async with self._queue.transaction():
                ended = await self._queue.finish([ending])
                for job in ended.jobs:
                    await effect(job)
                return ended
        except Exception as error:
            if will_pass(error):
                raise
            return await self._refused(ending, error)

    async def _refused(self, ending: Ending, error: Exception) -> Ended:
        """What cannot be stored is the fault of the task, which must end all the same."""
        message = cut(f"The result cannot be stored: {error}")
        failed = Ending(
            job_id=ending.job_id,
            lease_token=ending.lease_token,
            state=JobState.FAILED,
            error=message,
            is_in_graph=ending.is_in_graph,
        )
        try:
            return await self._queue.finish([failed])
        except Exception as again:
            if will_pass(again):
                raise
            # Its lease is kept no longer, so others will try.
            logger.exception("the end of job %s cannot be recorded", ending.job_id)
            return Ended([], [])
