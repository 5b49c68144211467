"""A worker: claims jobs, has them run, and records how they ended."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from domain.entity import new_id
from domain.errors import Conflict, Misconfigured, ServiceError, Unavailable
from domain.job_ports import Ended, JobQueue, Leases
from domain.jobs import Ending, Job, JobState, WorkerInfo
from domain.ports import Doorbell
from domain.runs import Reason, RunEnd, cut, ending_of, given_back
from domain.tasks import Tasks
from service.managers.caution import Caution
from service.managers.reports import Reports
from service.managers.runs import ActiveRun, Runs, Stop

logger = logging.getLogger("millrace.jobs")

# How soon trouble with the database is tried again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


DEFAULT_CONCURRENCY = 100


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works.

    `concurrency` jobs run at a time, of those with a process of their own at most `processes`. `poll_seconds` is how
    often it looks for jobs that nobody has rung for. A lease of `lease_seconds` is kept for as long as the worker
    lives; a job that has lost its worker `max_losses` times is dead. A worker that stops lets its jobs go on for
    `grace_seconds` before it hands them back.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = DEFAULT_CONCURRENCY
    processes: int = 2
    poll_seconds: float = 1.0
    lease_seconds: float = 15.0
    max_losses: int = 3
    grace_seconds: float = 10.0


def check_options(options: WorkerOptions) -> None:
    """Raise `Misconfigured` naming the option, its value and what is allowed."""
    least = {
        "max_concurrency": (options.concurrency, 1),
        "max_processes": (options.processes, 1),
        "poll_seconds": (options.poll_seconds, 0.01),
        "lease_seconds": (options.lease_seconds, 2.0),
        "max_losses": (options.max_losses, 1),
        "grace_seconds": (options.grace_seconds, 0.0),
    }
    for name, (value, low) in least.items():
        # So that what is no number at all is refused too.
        if not value >= low:
            raise Misconfigured(f"with_jobs({name}={value}): at least {low:g}")


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
    ) -> None:
        self.id = id or new_id()
        self.options = options
        self._queue = queue
        self._tasks = tasks
        self._runs = runs
        self._doorbell = doorbell
        self._leases = make_leases(self)
        self._reports = Reports(queue)
        self._caution = Caution(options.max_losses, options.lease_seconds, time.monotonic)
        self._host = host
        self._pid = pid
        self._chores = [(self._reap, "the search for lost jobs"), *chores]
        self._active: dict[str, ActiveRun] = {}
        self._ended: list[tuple[Job, Ending]] = []
        self._has_work = asyncio.Event()
        self._has_ended = asyncio.Event()
        self._is_claiming = True
        self._claims = asyncio.Lock()
        self._is_stopped = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._calm_until = 0.0
        self._due_at = 0.0

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
            is_draining=not self._is_claiming,
        )

    def wake(self) -> None:
        """Look for jobs, and what has become of those that run."""
        self._has_work.set()
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
            self._claiming(),
            self._recording(),
            self._reporting(),
            *(self._doing(*chore) for chore in self._chores),
        ]

    async def stop(self) -> None:
        """Claim nothing more, let what runs go on for the time of grace, hand back the rest, and end."""
        self._is_claiming = False
        self._has_work.set()
        # Who cancels a claim that is under way does not learn which jobs it has got, and nobody else gets them either.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds), self._claims:
                pass
        waiting = {asyncio.create_task(self._is_idle.wait()), asyncio.create_task(self._is_hurried.wait())}
        _, pending = await asyncio.wait(
            waiting, timeout=self.options.grace_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
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

    # Claiming

    async def _claiming(self) -> None:
        while True:
            self._has_work.clear()
            wait = self.options.poll_seconds
            if self._is_claiming:
                found, wait = await self._steadily(self._claim_once, "jobs cannot be claimed")
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
        for kinds, room in self._rooms():
            for queue in self.options.queues:
                if room() <= 0 or not kinds or not self._is_claiming:
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
        seconds = self.options.poll_seconds if due is None else min(due, self.options.poll_seconds)
        self._due_at = asyncio.get_running_loop().time() + seconds

    async def _claimed(self, queue: str, kinds: list[str], limit: int) -> list[Job]:
        """Claim jobs. Those that took as long to get as a lease lasts may be another's by now."""
        seconds, began = self.options.lease_seconds, time.monotonic()
        jobs = await self._queue.claim(
            queue,
            kinds,
            limit,
            worker_id=self.id,
            lease_seconds=seconds,
            risky_losses=self._caution.risky_losses,
            is_risk_taken=self._caution.is_risk_taken,
        )
        if time.monotonic() - began < seconds:
            return jobs
        held = await self._queue.renew([(job.id, job.lease_token or "") for job in jobs], lease_seconds=seconds)
        return [job for job in jobs if job.id in held]

    def _rooms(self) -> list[tuple[list[str], Callable[[], int]]]:
        """The kinds that run in the loop and those that run in processes, each with how many more there may be."""
        light = [task.kind for task in self._tasks if not task.is_process]
        heavy = [task.kind for task in self._tasks if task.is_process]

        def room() -> int:
            return self.options.concurrency - len(self._active)

        def heavy_room() -> int:
            return min(room(), self.options.processes - sum(run.task.is_process for run in self._active.values()))

        return [(heavy, heavy_room), (light, room)]

    def _start(self, job: Job) -> None:
        task = self._tasks.get(job.kind)
        if (former := self._active.get(job.id)) is not None:
            # Its lease had run out, and of all workers this one has got the job again.
            former.stop(Stop.LOST)
        run = self._active[job.id] = self._runs.start(job, task, self._reports.open(job), self._on_end)
        self._caution.begin(job)
        self._is_idle.clear()
        self._leases.hold(job.id, job.lease_token or "")
        if not self._is_claiming:
            # It was on its way when the stop came.
            run.stop(Stop.GIVEN_BACK)

    # Recording

    def _on_end(self, run: ActiveRun, end: RunEnd | None) -> None:
        job = run.job
        if run.stopped is Stop.LOST:
            logger.warning("job %s (%s) is no longer ours; its run is discarded", job.id, job.kind)
            self._forget(job)
            return
        is_back = run.stopped is Stop.GIVEN_BACK and (end is None or end.reason is Reason.CANCELED)
        ending = given_back(job) if is_back or end is None else ending_of(job, end, spread=random.random())  # noqa: S311
        self._ended.append((job, ending))
        self._has_ended.set()

    async def _recording(self) -> None:
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            batch, self._ended = self._ended, []
            if batch:
                await self._record(batch)

    async def _record(self, batch: list[tuple[Job, Ending]]) -> None:
        """Write down how runs ended, however long that takes: until then their leases are kept."""
        jobs, endings = [job for job, _ in batch], [ending for _, ending in batch]

        async def write() -> Ended:
            await self._reports.write(jobs)
            return await self._finished(endings)

        recorded: Ended = await self._steadily(write, "the ends of jobs cannot be recorded")
        held = {job.id for job in recorded.jobs}
        for job in jobs:
            if job.id not in held:
                logger.warning("job %s was no longer ours when it ended; its result is discarded", job.id)
            self._forget(job)
        self._ring(recorded)
        self._has_work.set()

    async def _finished(self, endings: list[Ending]) -> Ended:
        try:
            return await self._queue.finish(endings)
        except Exception as error:
            if _will_pass(error):
                raise
            # One ending must not keep the others from being recorded.
            if len(endings) > 1:
                ended = [await self._finished([ending]) for ending in endings]
                return Ended(
                    [job for part in ended for job in part.jobs], [job for part in ended for job in part.ready]
                )
            return await self._refused(endings[0], error)

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
            if _will_pass(again):
                raise
            # Its lease is kept no longer, so others will try.
            logger.exception("the end of job %s cannot be recorded", ending.job_id)
            return Ended([], [])

    def _ring(self, ended: Ended) -> None:
        """Wake others for what this worker has handed back, and for what has become ready."""
        for job in (*ended.jobs, *ended.ready):
            if job.state is JobState.QUEUED:
                self._doorbell.ring(job.queue, job.id)

    def _forget(self, job: Job) -> None:
        run = self._active.get(job.id)
        if run is not None and run.job.lease_token == job.lease_token:
            self._leases.drop(job.id)
            self._reports.discard(job)
            self._caution.end(job)
            del self._active[job.id]
        if not self._active:
            self._is_idle.set()

    # Everything else

    async def _reporting(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self._active:
                await self._steadily(self._reports.write, "reports of jobs cannot be written")

    async def _doing(self, chore: Callable[[], Awaitable[float]], name: str) -> None:
        while True:
            seconds = await self._steadily(chore, f"{name} does not work")
            await asyncio.sleep(seconds)

    async def _reap(self) -> float:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._calm_until:
            lost = await self._queue.reap(self.options.max_losses)
            for job in lost.jobs:
                logger.warning("job %s (%s) has lost its worker; it is %s now", job.id, job.kind, job.state)
            self._ring(lost)
        return 1.0

    async def _steadily(self, work: Callable[[], Awaitable[Any]], trouble: str) -> Any:
        """Do something until it succeeds: the database may be away, and comes back."""
        pause, is_failing = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                result = await work()
            except Exception as error:
                if not is_failing:
                    expected = isinstance(error, ServiceError)
                    logger.warning("%s: %s; trying again", trouble, error, exc_info=None if expected else error)
                is_failing = True
                if isinstance(error, Unavailable):
                    # After an outage nobody could renew a lease; the others get the time to do so.
                    self._calm_until = asyncio.get_running_loop().time() + self.options.lease_seconds / 3 + 1
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if is_failing:
                    logger.warning("%s: no longer", trouble)
                return result


def _will_pass(error: Exception) -> bool:
    """Whether the same statement may succeed later: the database is away, or others were in the way."""
    return isinstance(error, Unavailable) or (isinstance(error, Conflict) and "constraint" not in error.extensions)
