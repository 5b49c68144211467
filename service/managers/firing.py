"""Fires schedules: what is due is submitted exactly once, whoever looks and however often."""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.context import Context, acting_as
from domain.errors import ServiceError, will_pass
from domain.jobs import Job, JobState, NewJob
from domain.schedule_ports import ScheduleStore
from domain.schedules import Decision, Overlap, Plan, ScheduledTask, Tick, TickOutcome, decide, jitter, plan
from domain.submissions import Submission, new_job
from service.managers.jobs import Jobs, Submitted

logger = logging.getLogger("millrace.schedules")

ONE_AFTER_THE_OTHER = (Overlap.BUFFER_ONE, Overlap.BUFFER_ALL, Overlap.CANCEL_OTHER)
_BATCH = 20
# How long a schedule is left to other workers that this one cannot make sense of.
_ASIDE_SECONDS = 60.0


class Firing:
    """Submits the jobs of ticks. Every moment is the database's: clocks of workers do not count."""

    def __init__(self, store: ScheduleStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._put_aside: dict[str, float] = {}

    async def fire_due(self) -> float:
        """Submit what is due; returns in how many seconds to look again.

        Raises what a database says that is away or was busy: then nothing has fired, and the next call fires it. Any
        number of workers may do this at once: a schedule is locked while it fires, and a tick is recorded only once.
        """
        while await self._fire_some():
            pass
        seconds = await self._store.seconds_until_due(self._jobs.tasks.kinds, without=self._unreadable())
        return 1.0 if seconds is None else min(max(seconds, 0.01), 1.0)

    async def _fire_some(self) -> int:
        async with self._store.transaction():
            due = await self._store.due(self._jobs.tasks.kinds, _BATCH, without=self._unreadable())
            if due:
                now = await self._store.now()
                for schedule in due:
                    try:
                        planned = plan(schedule, now)
                    except ValueError as error:
                        # A zone that only other machines know, say. The others must fire all the same.
                        logger.error("schedule %s (%s) cannot fire here: %s", schedule.id, schedule.name, error)
                        self._put_aside[schedule.id] = time.monotonic() + _ASIDE_SECONDS
                        continue
                    await self._fire(schedule, planned)
        return len(due)

    def _unreadable(self) -> list[str]:
        """The schedules that this worker could not plan a little while ago."""
        now = time.monotonic()
        self._put_aside = {id: until for id, until in self._put_aside.items() if until > now}
        return sorted(self._put_aside)

    async def _fire(self, schedule: ScheduledTask, planned: Plan) -> None:
        with acting_as(Context(request_id=f"schedule-{schedule.id}", principal="schedule")):
            try:
                async with self._store.transaction():
                    ticks = await self._submit(schedule, planned.fire)
            except ServiceError as error:
                if will_pass(error):
                    raise
                # It must not keep the others from firing, nor fire again and again.
                logger.error("schedule %s (%s) could not fire: %s", schedule.id, schedule.name, error)
                ticks = [Tick(fire_at, TickOutcome.FAILED, detail=str(error)) for fire_at in planned.fire]
                await self._store.take(schedule.id, ticks)
            if planned.missed:
                number = f"{'at least ' if planned.missed_is_at_least else ''}{planned.missed}"
                logger.warning("schedule %s (%s) has missed %s ticks", schedule.id, schedule.name, number)
            await self._store.advance(
                schedule.id,
                next_fire_at=planned.next_fire_at,
                last_fire_at=planned.last_fire_at,
                fired=sum(tick.outcome is TickOutcome.FIRED for tick in ticks),
                skipped=sum(tick.outcome is not TickOutcome.FIRED for tick in ticks),
                missed=planned.missed,
            )

    async def _submit(self, schedule: ScheduledTask, fire: Sequence[datetime]) -> list[Tick]:
        """Record ticks, and submit the jobs for those that nobody had recorded before."""
        is_asking = fire and schedule.overlap is not Overlap.ALLOW_ALL
        active = await self._jobs.store.active_of_schedule(schedule.id) if is_asking else []
        running = sum(job.state in {JobState.RUNNING, JobState.CANCELING} for job in active)
        waiting = len(active) - running
        made: dict[str, NewJob] = {}
        ticks: list[Tick] = []
        for fire_at in fire:
            decision = decide(schedule.overlap, running, waiting)
            if decision is Decision.SKIP:
                ticks.append(Tick(fire_at, TickOutcome.SKIPPED))
                continue
            if decision is Decision.REPLACE:
                await self._replace(active, made, ticks)
                waiting = 0
            job = self.job_of(schedule, fire_at)
            made[job.id] = job
            ticks.append(Tick(fire_at, TickOutcome.FIRED, job_id=job.id))
            waiting += 1
        return await self.record(schedule, ticks, made)

    async def record(self, schedule: ScheduledTask, ticks: list[Tick], made: Mapping[str, NewJob]) -> list[Tick]:
        """Submit the jobs of ticks and record them; returns those that nobody had recorded before."""
        jobs = [made[tick.job_id] for tick in ticks if tick.job_id is not None]
        submitted = {job.id: found for job, found in zip(jobs, await self._add(jobs), strict=True)}
        ticks = [
            Tick(tick.fire_at, TickOutcome.SKIPPED, detail=f"job {found.job.id} has the same unique key")
            if tick.job_id is not None and (found := submitted[tick.job_id]).is_duplicate
            else tick
            for tick in ticks
        ]
        taken = await self._store.take(schedule.id, ticks)
        # The schedule is locked, so this is rare: a tick of a backfill.
        if surplus := [tick.job_id for tick in ticks if tick.job_id is not None and tick.fire_at not in taken]:
            await self._jobs.store.delete(surplus)
        return [tick for tick in ticks if tick.fire_at in taken]

    async def _replace(self, active: list[Job], made: dict[str, NewJob], ticks: list[Tick]) -> None:
        """Make way for a new job: cancel those that there are, and do not even submit those that were about to be."""
        await self._jobs.cancel_all([job.id for job in active])
        active.clear()
        for index, tick in enumerate(ticks):
            if tick.job_id is not None and made.pop(tick.job_id, None) is not None:
                ticks[index] = Tick(tick.fire_at, TickOutcome.SKIPPED, detail="replaced by the next one")

    def job_of(self, schedule: ScheduledTask, fire_at: datetime | None) -> NewJob:
        """The job of a tick, or of none."""
        task = self._jobs.tasks.get(schedule.task)
        run_at = None if fire_at is None else fire_at + jitter(schedule.id, fire_at, schedule.jitter_seconds)
        submission = Submission(
            args=schedule.args,
            label=schedule.name,
            tags=schedule.tags,
            queue=schedule.queue,
            priority=schedule.priority,
            timeout_seconds=schedule.timeout_seconds,
            run_at=run_at,
            concurrency_key=f"schedule:{schedule.id}" if schedule.overlap in ONE_AFTER_THE_OTHER else None,
        )
        context = Context(request_id=f"schedule-{schedule.id}", principal="schedule")
        # The limit of the task is for a key of its own.
        limit = {"concurrency_limit": 1} if submission.concurrency_key is not None else {}
        return new_job(task, submission, context, schedule_id=schedule.id, fire_at=fire_at, **limit)

    async def _add(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        return await self._jobs.add(jobs) if jobs else []

    async def tidy(self) -> float:
        """Remove ticks that are older than they are kept; returns in how many seconds to come again."""
        days = self._jobs.retention.tick_days
        gone = await self._store.forget_old_ticks(days) if days is not None else 0
        return 1.0 if gone else 60.0
