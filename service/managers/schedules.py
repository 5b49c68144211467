"""Operations on schedules, by those who own them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.context import Context
from domain.errors import FieldError, Invalid, InvalidBody
from domain.ports import Repository
from domain.query import Resource
from domain.schedule_ports import ScheduleStore
from domain.schedules import (
    BACKFILL,
    ScheduledTask,
    Tick,
    TickOutcome,
    between,
    check,
    next_fire,
    preview,
)
from domain.submissions import Submission, new_job
from domain.validation import problem, rejected
from domain.wire import timestamp_text
from service.managers.base import Manager
from service.managers.firing import ONE_AFTER_THE_OTHER, Firing
from service.managers.hooks import Change, Hooks
from service.managers.jobs import Jobs, Submitted

MOST_BACKFILLED = 1_000


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
        self.firing = Firing(store, jobs)

    # On request

    async def preview(self, id: str, count: int = 10) -> list[datetime]:
        """When a schedule would fire next."""
        return preview(await self.get(id), await self._store.now(), count)

    async def trigger(self, id: str) -> Submitted:
        """Submit a schedule's job now, whatever the time and be it paused."""
        async with self._store.transaction():
            job = self.firing.job_of(await self.get(id), None)
            return (await self._jobs.add([job]))[0]

    async def backfill(self, id: str, start: datetime, end: datetime) -> Backfilled:
        """Submit the jobs of all past ticks from `start` up to `end`, except for those that were seen to before."""
        async with self._store.transaction():
            schedule = await self.get(id, lock=True)
            try:
                fire = between(schedule, start, end, MOST_BACKFILLED)
                if end > (now := await self._store.now()):
                    # What is still to come fires by itself.
                    raise Invalid(f"Only past ticks can be made up for, and now is {timestamp_text(now)}")
            except Invalid as error:
                raise rejected([problem("value_error", error.detail, ("end",), timestamp_text(end))]) from None
            made = {job.id: job for job in (self.firing.job_of(schedule, fire_at) for fire_at in fire)}
            ticks = [
                Tick(job.fire_at, TickOutcome.FIRED, job_id=job.id, detail=BACKFILL)
                for job in made.values()
                if job.fire_at
            ]
            recorded = await self.firing.record(schedule, ticks, made)
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
        offered = self._jobs.tasks.offered
        task = offered.find(schedule.task)
        if task is None:
            kinds = offered.kinds
            errors.append(
                problem("unknown_task", f'there is no task "{schedule.task}"', ("task",), schedule.task, kinds)
            )
        else:
            try:
                # As a job of it would be.
                schedule.args = dict(new_job(task, Submission(args=schedule.args), Context()).args)
            except InvalidBody as error:
                errors += error.errors
            if task.concurrency_key is not None and schedule.overlap in ONE_AFTER_THE_OTHER:
                message = f'"{schedule.overlap}" needs a task without a concurrency key of its own'
                errors.append(problem("conflict", message, ("overlap",), schedule.overlap, ("skip", "allow_all")))
        if errors:
            raise rejected(errors)
