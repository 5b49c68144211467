"""Operations on schedules: fire what is due exactly once, and say when it will be due."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from domain.context import Context, acting_as
from domain.errors import FieldError, Invalid, InvalidBody, ServiceError
from domain.job_ports import ScheduleStore
from domain.jobs import Job, JobState, NewJob
from domain.ports import Repository
from domain.query import Resource
from domain.schedules import (
    Decision,
    Overlap,
    Plan,
    ScheduledTask,
    Tick,
    TickOutcome,
    between,
    check,
    decide,
    jitter,
    next_fire,
    plan,
    preview,
)
from domain.submissions import Submission, new_job
from domain.validation import problem, rejected
from domain.wire import timestamp_text
from service.managers.base import Manager
from service.managers.hooks import Change, Hooks
from service.managers.jobs import Jobs, Submitted

logger = logging.getLogger("millrace.schedules")

MOST_BACKFILLED = 1_000
_BATCH = 20
_ONE_AFTER_THE_OTHER = (Overlap.BUFFER_ONE, Overlap.BUFFER_ALL, Overlap.CANCEL_OTHER)


class Backfilled(msgspec.Struct, frozen=True):
    """What a backfill did: the jobs it submitted, and the ticks that had been seen to before."""

    job_ids: list[str]
    already_seen_to: list[datetime]


class ScheduleManager(Manager[ScheduledTask]):
    """The schedules of a service.

    Methods raise what those of `Manager` raise. Every moment is the database's: clocks of workers do not count.
    """

    def __init__(
        self,
        resource: Resource[ScheduledTask],
        repository: Repository[ScheduledTask],
        store: ScheduleStore,
        jobs: Jobs,
    ) -> None:
        super().__init__(resource, repository, store, hooks=[_Checked(store, jobs)])
        self._store = store
        self._jobs = jobs

    # Firing

    async def fire_due(self) -> float:
        """Submit what is due; returns in how many seconds to look again.

        Any number of workers may do this at once: a schedule is locked while it fires, and a tick can be recorded
        only once.
        """
        while await self._fire_some():
            pass
        seconds = await self._store.seconds_until_due(self._jobs.tasks.kinds)
        return 1.0 if seconds is None else min(max(seconds, 0.01), 1.0)

    async def _fire_some(self) -> int:
        async with self._store.transaction():
            due = await self._store.due(self._jobs.tasks.kinds, _BATCH)
            if due:
                now = await self._store.now()
                for schedule in due:
                    await self._fire(schedule, plan(schedule, now))
        return len(due)

    async def _fire(self, schedule: ScheduledTask, planned: Plan) -> None:
        with acting_as(Context(request_id=f"schedule-{schedule.id}", principal="schedule")):
            try:
                async with self._store.transaction():
                    ticks = await self._submit(schedule, planned.fire)
            except ServiceError as error:
                # It must not keep the others from firing, nor fire again and again.
                logger.error("schedule %s (%s) could not fire: %s", schedule.id, schedule.name, error)
                ticks = [Tick(fire_at, TickOutcome.FAILED, detail=str(error)) for fire_at in planned.fire]
                await self._store.take(schedule.id, ticks)
            if planned.missed:
                logger.warning("schedule %s (%s) has missed %d ticks", schedule.id, schedule.name, planned.missed)
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
        active = await self._jobs.store.active_of_schedule(schedule.id) if fire else []
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
            job = self._job(schedule, fire_at)
            made[job.id] = job
            ticks.append(Tick(fire_at, TickOutcome.FIRED, job_id=job.id))
            waiting += 1
        return await self._recorded(schedule, ticks, made)

    async def _recorded(self, schedule: ScheduledTask, ticks: list[Tick], made: Mapping[str, NewJob]) -> list[Tick]:
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

    def _job(self, schedule: ScheduledTask, fire_at: datetime | None) -> NewJob:
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
            concurrency_key=f"schedule:{schedule.id}" if schedule.overlap in _ONE_AFTER_THE_OTHER else None,
        )
        context = Context(request_id=f"schedule-{schedule.id}", principal="schedule")
        return new_job(task, submission, context, schedule_id=schedule.id, fire_at=fire_at)

    async def _add(self, jobs: Sequence[NewJob]) -> list[Submitted]:
        return await self._jobs.add(jobs) if jobs else []

    # On request

    async def preview(self, id: str, count: int = 10) -> list[datetime]:
        """When a schedule would fire next."""
        return preview(await self.get(id), await self._store.now(), count)

    async def trigger(self, id: str) -> Job:
        """Submit a schedule's job now, whatever the time and be it paused."""
        async with self._store.transaction():
            job = self._job(await self.get(id), None)
            return (await self._jobs.add([job]))[0].job

    async def backfill(self, id: str, start: datetime, end: datetime) -> Backfilled:
        """Submit the jobs of all ticks from `start` up to `end`, except for those that were seen to before."""
        async with self._store.transaction():
            schedule = await self.get(id, lock=True)
            try:
                fire = between(schedule, start, end, MOST_BACKFILLED)
            except Invalid as error:
                raise rejected([problem("value_error", error.detail, ("end",), timestamp_text(end))]) from None
            made = {job.id: job for job in (self._job(schedule, fire_at) for fire_at in fire)}
            ticks = [
                Tick(job.fire_at, TickOutcome.FIRED, job_id=job.id, detail="backfill")
                for job in made.values()
                if job.fire_at
            ]
            recorded = await self._recorded(schedule, ticks, made)
        new = {tick.fire_at for tick in recorded}
        return Backfilled(
            [tick.job_id for tick in recorded if tick.job_id is not None],
            [fire_at for fire_at in fire if fire_at not in new],
        )

    async def ticks(self, id: str, limit: int = 100) -> list[Tick]:
        """The latest ticks of a schedule and what became of them, newest first."""
        return await self._store.ticks((await self.get(id)).id, limit)


class _Checked(Hooks[ScheduledTask]):
    """Keeps what cannot work out of the database, and knows when a schedule fires next."""

    def __init__(self, store: ScheduleStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    async def pre_save(self, entities: Sequence[ScheduledTask]) -> None:
        now = await self._store.now()
        for schedule in entities:
            self._check(schedule)
            schedule.next_fire_at = next_fire(schedule, now)

    async def pre_update(self, changes: Sequence[Change[ScheduledTask]]) -> None:
        for change in changes:
            self._check(change.after)
            if change.fields.keys() & {"cron", "time_zone", "start_at", "end_at", "is_paused"}:
                # What would have fired by the old times, or during a pause, is not made up for.
                change.after.next_fire_at = next_fire(change.after, await self._store.now())

    async def post_delete(self, entities: Sequence[ScheduledTask]) -> None:
        await self._store.forget([schedule.id for schedule in entities])

    def _check(self, schedule: ScheduledTask) -> None:
        errors: list[FieldError] = []
        try:
            check(schedule)
        except InvalidBody as error:
            errors += error.errors
        task = self._jobs.tasks.find(schedule.task)
        if task is None:
            kinds = self._jobs.tasks.kinds
            errors.append(
                problem("unknown_task", f'there is no task "{schedule.task}"', ("task",), schedule.task, kinds)
            )
        else:
            try:
                # As a job of it would be.
                schedule.args = dict(new_job(task, Submission(args=schedule.args), Context()).args)
            except InvalidBody as error:
                errors += error.errors
            if task.concurrency_key is not None and schedule.overlap in _ONE_AFTER_THE_OTHER:
                message = f'"{schedule.overlap}" needs a task without a concurrency key of its own'
                errors.append(problem("conflict", message, ("overlap",), schedule.overlap, ("skip", "allow_all")))
        if errors:
            raise rejected(errors)
