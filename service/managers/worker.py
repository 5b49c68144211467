"""A worker: claims jobs, has them run, and records how they ended."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from domain.entity import new_id
from domain.errors import ServiceError
from domain.job_ports import Ended, JobQueue, Leases
from domain.jobs import Job, JobState
from domain.ports import Doorbell
from domain.runs import Reason, RunEnd, ending_of, given_back
from domain.tasks import Tasks
from domain.workers import WorkerInfo, WorkerOptions
from service.managers.caution import Caution
from service.managers.claiming import Claiming
from service.managers.job_measures import JobMeasures
from service.managers.recording import Recording
from service.managers.reports import Reports
from service.managers.runs import ActiveRun, Runs, Stop
from service.managers.steadiness import Steadiness

logger = logging.getLogger("millrace.jobs")

Chore = tuple[Callable[[], Awaitable[float]], str]
"""Something a worker does now and then: it returns in how many seconds it wants to be called again."""


class Worker:
    """Runs the jobs of some queues until it is stopped.

    It survives the loss of everything but itself: without doorbell it polls, without database it waits.
    """

    def __init__(
        self,
        queue: JobQueue,
        tasks: Tasks,
        runs: Runs,
        doorbell: Doorbell,
        make_leases: Callable[["Worker"], Leases],
        options: WorkerOptions,
        *,
        id: str | None = None,
        host: str = "",
        pid: int = 0,
        chores: Sequence[Chore] = (),
        measures: JobMeasures | None = None,
    ) -> None:
        self.id = id or new_id()
        self.options = options
        self._queue = queue
        self._tasks = tasks
        self._runs = runs
        self._doorbell = doorbell
        self._leases = make_leases(self)
        self._reports = Reports(queue)
        self._caution = Caution(options, time.monotonic)
        self._steadiness = Steadiness(options.lease_seconds / 3 + 1)
        self._recording = Recording(queue, self._reports, self._steadiness, self._on_recorded)
        self._host = host
        self._pid = pid
        self._measures = measures
        self._chores = [(self._reap, "the search for lost jobs"), *chores]
        self._active: dict[str, ActiveRun] = {}
        self._claiming = Claiming(
            queue,
            tasks,
            options,
            worker_id=self.id,
            active=self._active,
            caution=self._caution,
            steadiness=self._steadiness,
            start=self._start,
        )
        self._is_stopped = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def info(self) -> WorkerInfo:
        """How it reports itself."""
        return WorkerInfo(
            id=self.id,
            host=self._host,
            pid=self._pid,
            queues=self.options.queues,
            kinds=self._tasks.kinds,
            concurrency=self.options.concurrency,
            running=len(self._active),
            is_draining=not self._claiming.is_going_on,
            processes=self.options.processes,
            busy_processes=self._claiming.busy_processes,
        )

    def wake(self) -> None:
        """Look for jobs, and what has become of those that run."""
        self._claiming.wake()
        self._leases.look()

    def told(self, job_id: str, token: str, state: JobState | None) -> None:
        """Hear of a job that was canceled, or that is no longer this worker's (None)."""
        run = self._active.get(job_id)
        if run is not None and run.job.lease_token == token:
            run.stop(Stop.LOST if state is None else Stop.CANCELED)

    async def run(self) -> None:
        """Work until `stop` has been called and everything that ran has ended or was handed back."""
        self._leases.start()
        try:
            async with self._doorbell.answered(self.options.queues, self.wake):
                stopped = asyncio.create_task(self._is_stopped.wait())
                tasks = [stopped, *(asyncio.create_task(loop) for loop in self._loops())]
                try:
                    # A loop that ends by itself is a bug, and a worker that only seems to work is worse than none.
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done - {stopped}:
                        if task.cancelled():
                            raise RuntimeError(
                                "a loop of the worker was canceled; does a task cancel what it has not made?"
                            )
                        task.result()
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._leases.stop()
            await self._runs.close()
            with suppress(ServiceError):
                await self._queue.leave(self.id)

    def _loops(self) -> list[Any]:
        return [
            self._claiming.run(),
            self._recording.run(),
            self._reporting(),
            *(self._doing(*chore) for chore in self._chores),
        ]

    async def stop(self) -> None:
        """Claim nothing more, let what runs go on for the time of grace, hand back the rest, and end."""
        await self._claiming.stop(self._patience_seconds)
        waiting = {asyncio.create_task(self._is_idle.wait()), asyncio.create_task(self._is_hurried.wait())}
        try:
            await asyncio.wait(waiting, timeout=self.options.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        for run in self._active.values():
            run.stop(Stop.GIVEN_BACK)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds):
                await self._is_idle.wait()
        self._is_stopped.set()

    @property
    def _patience_seconds(self) -> float:
        """How long a worker that stops waits for its database, which may be away; its leases run out by themselves."""
        return max(5.0, self.options.lease_seconds)

    def hurry(self) -> None:
        """End the time of grace of a stop that is under way."""
        self._is_hurried.set()

    # The life of a job here

    def _start(self, job: Job) -> None:
        task = self._tasks.get(job.kind)
        if (former := self._active.get(job.id)) is not None:
            # Its lease had run out, and of all workers this one has got the job again.
            former.stop(Stop.LOST)
        run = self._active[job.id] = self._runs.start(job, task, self._reports.open(job), self._on_end)
        self._caution.begin(job)
        self._is_idle.clear()
        if self._measures is not None:
            self._measures.started(job)
        self._leases.hold(job.id, job.lease_token or "")
        if not self._claiming.is_going_on:
            # It was on its way when the stop came.
            run.stop(Stop.GIVEN_BACK)

    def _on_end(self, run: ActiveRun, end: RunEnd | None) -> None:
        job = run.job
        if run.stopped is Stop.LOST:
            logger.warning("job %s (%s) is no longer ours; its run is discarded", job.id, job.kind)
            if self._measures is not None:
                self._measures.dropped(job)
            self._forget(job)
            return
        is_back = run.stopped is Stop.GIVEN_BACK and (end is None or end.reason is Reason.CANCELED)
        ending = given_back(job) if is_back or end is None else ending_of(job, end, spread=random.random())  # noqa: S311
        self._recording.add(job, ending, run.effect)

    def _on_recorded(self, jobs: Sequence[Job], ended: Ended) -> None:
        if self._measures is not None:
            self._measures.ended(jobs, ended.jobs)
        for job in jobs:
            self._forget(job)
        self._ring(ended)
        self._claiming.wake()

    def _forget(self, job: Job) -> None:
        run = self._active.get(job.id)
        if run is not None and run.job.lease_token == job.lease_token:
            self._leases.drop(job.id)
            self._reports.discard(job)
            self._caution.end(job)
            del self._active[job.id]
        if not self._active:
            self._is_idle.set()

    def _ring(self, ended: Ended) -> None:
        """Wake others for what this worker has handed back, and for what has become ready."""
        for job in (*ended.jobs, *ended.ready):
            if job.state is JobState.QUEUED:
                self._doorbell.ring(job.queue, job.id)

    # Everything else

    async def _reporting(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self._active:
                await self._steadiness.do(self._reports.write, "reports of jobs cannot be written")

    async def _doing(self, chore: Callable[[], Awaitable[float]], name: str) -> None:
        while True:
            seconds = await self._steadiness.do(chore, f"{name} does not work")
            await asyncio.sleep(seconds)

    async def _reap(self) -> float:
        if self._steadiness.is_calm:
            lost = await self._queue.reap(self.options.max_losses)
            for job in lost.jobs:
                logger.warning("job %s (%s) has lost its worker; it is %s now", job.id, job.kind, job.state)
            if self._measures is not None:
                self._measures.lost(lost.jobs)
            self._ring(lost)
        return 1.0
