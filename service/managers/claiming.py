"""Gets a worker its jobs: as many as there is room for, as soon as there are any."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from domain.job_ports import JobQueue
from domain.jobs import Job
from domain.tasks import Tasks
from domain.workers import WorkerOptions
from service.managers.caution import Caution
from service.managers.runs import ActiveRun
from service.managers.steadiness import Steadiness


class Claiming:
    """Claims jobs and hands them to `start`, until it is told to stop. `active` are the runs that take up room."""

    def __init__(
        self,
        queue: JobQueue,
        tasks: Tasks,
        options: WorkerOptions,
        *,
        worker_id: str,
        active: Mapping[str, ActiveRun],
        caution: Caution,
        steadiness: Steadiness,
        start: Callable[[Job], None],
    ) -> None:
        self.is_going_on = True
        self._queue = queue
        self._options = options
        self._worker_id = worker_id
        self._active = active
        self._caution = caution
        self._steadiness = steadiness
        self._start = start
        self._light = [task.kind for task in tasks if not task.is_process]
        self._heavy = [task.kind for task in tasks if task.is_process]
        self._has_work = asyncio.Event()
        self._claims = asyncio.Lock()
        self._due_at = 0.0

    def wake(self) -> None:
        """Look for jobs now."""
        self._has_work.set()

    async def stop(self, patience_seconds: float) -> None:
        """Claim nothing more, and wait that long for a claim that is under way."""
        self.is_going_on = False
        self._has_work.set()
        # Who cancels a claim that is under way does not learn which jobs it has got, and nobody else gets them either.
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds), self._claims:
                pass

    async def run(self) -> None:
        """Claim for as long as the worker lives."""
        while True:
            self._has_work.clear()
            wait = self._options.poll_seconds
            if self.is_going_on:
                found, wait = await self._steadiness.do(self._claim_once, "jobs cannot be claimed")
                if found:
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._has_work.wait()

    async def _claim_once(self) -> tuple[int, float]:
        async with self._claims:
            return await self._claim()

    async def _claim(self) -> tuple[int, float]:
        """Claim as many jobs as there is room for; returns how many there were, and how long to wait for more."""
        clock = asyncio.get_running_loop().time
        # Whoever was rung for need not wait until others have been looked for whose time has come.
        if is_time := clock() >= self._due_at:
            await self._promote()
        found = 0
        for kinds, room in ((self._heavy, self._heavy_room), (self._light, self._room)):
            for queue in self._options.queues:
                if room() <= 0 or not kinds or not self.is_going_on:
                    break
                jobs = await self._claimed(queue, kinds, room())
                found += len(jobs)
                for job in jobs:
                    self._start(job)
        if not is_time:
            await self._promote()
        return found, max(self._due_at - clock(), 0.0)

    async def _promote(self) -> None:
        due = await self._queue.promote()
        seconds = self._options.poll_seconds if due is None else min(due, self._options.poll_seconds)
        self._due_at = asyncio.get_running_loop().time() + seconds

    async def _claimed(self, queue: str, kinds: list[str], limit: int) -> list[Job]:
        """Claim jobs. Those that took as long to get as a lease lasts may be another's by now."""
        seconds, began = self._options.lease_seconds, time.monotonic()
        jobs = await self._queue.claim(
            queue,
            kinds,
            limit,
            worker_id=self._worker_id,
            lease_seconds=seconds,
            risky_losses=self._caution.risky_losses,
            is_risk_taken=self._caution.is_risk_taken,
        )
        if time.monotonic() - began < seconds:
            return jobs
        held = await self._queue.renew([(job.id, job.lease_token or "") for job in jobs], lease_seconds=seconds)
        return [job for job in jobs if job.id in held]

    def _room(self) -> int:
        return self._options.concurrency - len(self._active)

    @property
    def busy_processes(self) -> int:
        """How many runs have a process of their own."""
        return sum(run.task.is_process for run in self._active.values())

    def _heavy_room(self) -> int:
        return min(self._room(), self._options.processes - self.busy_processes)
