"""Finds out why a job is in the state it is in."""

from domain.job_ports import JobStore
from domain.jobs import Job, JobState
from domain.tasks import Tasks
from domain.waiting import Why, why_blocked, why_later, why_over, why_queued, why_running
from domain.workers import WorkerOptions

_ALIVE_SECONDS = 30.0


class Waiting:
    """Asks the store what a job waits for; `options` are those that the workers of the service have."""

    def __init__(self, tasks: Tasks, store: JobStore, options: WorkerOptions) -> None:
        self._tasks = tasks
        self._store = store
        self._options = options

    async def why(self, job: Job) -> Why:
        """Why a job is in its state."""
        if job.state is JobState.BLOCKED:
            return why_blocked(job, await self._store.parents_of(job.id))
        if job.state in {JobState.SCHEDULED, JobState.RETRYING}:
            return why_later(job, await self._store.seconds_until(job.id))
        if job.is_final:
            return why_over(job, await self._store.parents_of(job.id))
        if job.state is not JobState.QUEUED:
            return why_running(job, await self._store.workers(within_seconds=_ALIVE_SECONDS))
        return await self._why_queued(job)

    async def _why_queued(self, job: Job) -> Why:
        task = self._tasks.find(job.kind)
        return why_queued(
            job,
            await self._store.workers(within_seconds=_ALIVE_SECONDS),
            await self._store.holders(job.concurrency_key) if job.concurrency_key is not None else [],
            await self._store.ahead_of(job),
            is_process=task is not None and task.is_process,
            risks=await self._risks(job),
        )

    async def _risks(self, job: Job) -> list[Job]:
        """What a risky job may have to wait for; another one begins beside anything."""
        risky = self._options.risky_losses
        if risky is None or job.losses < risky:
            return []
        return await self._store.risks(risky, within_seconds=self._options.lease_seconds)
