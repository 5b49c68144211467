"""What the database promises about schedules: what is due is found once, and a tick is taken once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.entity import new_id
from domain.schedules import SCHEDULES, ScheduledTask, Tick, TickOutcome
from infra.database.engine import DatabaseEngine
from infra.database.jobs.store import JobDatabase
from infra.database.postgres import PostgresEngine
from infra.database.repository import PiccoloRepository
from infra.database.schedules import ScheduleDatabase, Schedules
from infra.database.table import bounds_of
from tests.infra.contracts.job_databases import count, new, open_jobs

KINDS = ("report",)
EARLY = datetime(2025, 1, 31, 12, 0, 0, 1, UTC)
MINUTE = timedelta(minutes=1)
FIRED, SKIPPED = TickOutcome.FIRED, TickOutcome.SKIPPED


class Undo(Exception):
    """What a block raises to have its change undone."""


@pytest.fixture
def schedules(jobs: JobDatabase) -> ScheduleDatabase:
    return ScheduleDatabase(jobs.engine)


async def stored(engine: DatabaseEngine, name: str, **values: Any) -> ScheduledTask:
    made: dict[str, Any] = {"name": name, "task": "report", "cron": "* * * * *", "next_fire_at": EARLY}
    schedule = ScheduledTask(**(made | values))
    await repository(engine).insert(schedule)
    return schedule


def repository(engine: DatabaseEngine) -> PiccoloRepository[ScheduledTask]:
    return PiccoloRepository(SCHEDULES.bounded(bounds_of(Schedules)), Schedules, engine)


async def found(engine: DatabaseEngine, schedule: ScheduledTask) -> ScheduledTask:
    after = await repository(engine).find(schedule.id)
    assert after is not None
    return after


async def test_the_present_moment_is_that_of_the_database(schedules: ScheduleDatabase) -> None:
    first = await schedules.now()
    async with schedules.transaction():
        moments = [await schedules.now() for _ in range(5)]
    assert abs(first - datetime.now(UTC)) < MINUTE
    assert first.tzinfo is not None
    assert [first, *moments] == sorted([first, *moments])


async def test_what_is_due_is_found_the_oldest_first(jobs: JobDatabase, schedules: ScheduleDatabase) -> None:
    now = await schedules.now()
    late = await stored(jobs.engine, "late", next_fire_at=now - MINUTE, args={"a": [1.5, "é"]}, tags=["t"])
    later = await stored(jobs.engine, "later", next_fire_at=now - 2 * MINUTE)
    soon = await stored(jobs.engine, "soon", next_fire_at=now + 2 * MINUTE)
    await stored(jobs.engine, "paused", is_paused=True)
    await stored(jobs.engine, "over", next_fire_at=None)
    await stored(jobs.engine, "unknown", task="unknown")
    assert [schedule.name for schedule in await schedules.due(KINDS, 10)] == ["later", "late"]
    assert list(map(msgspec.to_builtins, await schedules.due(KINDS, 10))) == [
        msgspec.to_builtins(schedule) for schedule in (later, late)
    ]
    assert [schedule.name for schedule in await schedules.due(KINDS, 1)] == ["later"]
    assert [schedule.name for schedule in await schedules.due(KINDS, 10, without=[later.id])] == ["late"]
    assert await schedules.due([], 10) == []
    seconds = await schedules.seconds_until_due(KINDS)
    assert seconds is not None
    assert -150 < seconds < -119
    seconds = await schedules.seconds_until_due(KINDS, without=[late.id, later.id])
    assert seconds is not None
    assert 90 < seconds < 120.1
    for schedule in (late, later):
        await schedules.advance(
            schedule.id, next_fire_at=None, last_fire_at=schedule.next_fire_at, fired=1, skipped=0, missed=0
        )
    seconds = await schedules.seconds_until_due(KINDS)
    assert seconds is not None
    assert 90 < seconds < 120.1
    assert await schedules.seconds_until_due([]) is None
    assert (await found(jobs.engine, soon)).fired == 0


async def test_a_tick_is_taken_once(schedules: ScheduleDatabase) -> None:
    one, other, job_id = new_id(), new_id(), new_id()
    moments = [EARLY, EARLY + timedelta(microseconds=1), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]
    ticks = [Tick(moment, FIRED, job_id=job_id, detail='"é') for moment in moments]
    assert await schedules.take(one, []) == set()
    assert await schedules.take(one, ticks[:1]) == {EARLY}
    assert await schedules.take(one, ticks) == set(moments[1:])
    assert await schedules.take(one, [Tick(EARLY, SKIPPED)]) == set()
    assert await schedules.take(other, ticks[:1]) == {EARLY}
    # The same moment, seen from somewhere else.
    assert await schedules.take(one, [Tick(EARLY.astimezone(), FIRED)]) == set()
    assert await schedules.ticks(one, 10) == ticks[::-1]
    assert await schedules.ticks(one, 1) == ticks[-1:]
    await schedules.forget([one, new_id()])
    assert await schedules.ticks(one, 10) == []
    assert len(await schedules.ticks(other, 10)) == 1


async def test_a_tick_that_was_undone_can_be_taken_again(jobs: JobDatabase, schedules: ScheduleDatabase) -> None:
    schedule_id = new_id()
    done = []

    async def note() -> None:
        done.append(await count(jobs.engine, "millrace_ticks"))

    for failing in (True, False):
        try:
            async with schedules.transaction():
                assert await schedules.take(schedule_id, [Tick(EARLY, FIRED)]) == {EARLY}
                await jobs.insert([new()])
                await schedules.on_commit(note)
                if failing:
                    raise Undo
        except Undo:
            assert await count(jobs.engine, "millrace_jobs") == 0
    assert done == [1]
    assert await count(jobs.engine, "millrace_jobs") == 1


async def test_what_became_of_ticks_is_counted(jobs: JobDatabase, schedules: ScheduleDatabase) -> None:
    schedule = await stored(jobs.engine, "counted")
    following = EARLY + MINUTE
    for _ in range(2):
        await schedules.advance(
            schedule.id, next_fire_at=following, last_fire_at=EARLY, fired=2, skipped=3, missed=2**40
        )
    after = await found(jobs.engine, schedule)
    assert (after.next_fire_at, after.last_fire_at) == (following, EARLY)
    assert (after.fired, after.skipped, after.missed) == (4, 6, 2**41)
    # SQLite's clock has milliseconds.
    assert after.updated_at > schedule.updated_at - timedelta(milliseconds=1)
    await schedules.advance(schedule.id, next_fire_at=None, last_fire_at=None, fired=0, skipped=0, missed=0)
    after = await found(jobs.engine, schedule)
    assert (after.next_fire_at, after.last_fire_at) == (None, None)


async def test_of_many_workers_one_fires_each_tick(jobs: JobDatabase, jobs_url: str) -> None:
    start = EARLY
    names = [f"schedule {number}" for number in range(6)]
    for name in names:
        await stored(jobs.engine, name, next_fire_at=start)
    wanted = 8

    async def fire(engine: DatabaseEngine) -> None:
        schedules = ScheduleDatabase(engine)
        # No moment of the past is left over when nothing is due any more.
        while (await schedules.seconds_until_due(KINDS)) is not None:
            async with schedules.transaction():
                for schedule in await schedules.due(KINDS, 2):
                    fire_at = schedule.next_fire_at
                    assert fire_at is not None
                    taken = await schedules.take(schedule.id, [Tick(fire_at, FIRED)])
                    await JobDatabase(engine).insert([new(schedule_id=schedule.id, fire_at=moment) for moment in taken])
                    following = fire_at + MINUTE
                    await schedules.advance(
                        schedule.id,
                        next_fire_at=following if following < start + wanted * MINUTE else None,
                        last_fire_at=fire_at,
                        fired=len(taken),
                        skipped=0,
                        missed=0,
                    )

    async with open_jobs(jobs_url, pool_size=4) as other, asyncio.timeout(60):
        await asyncio.gather(*(fire((jobs, other)[number % 2].engine) for number in range(6)))
    rows = await jobs.engine.fetch("SELECT schedule_id, fire_at FROM millrace_jobs")
    times = Counter((schedule_id, str(fire_at)) for schedule_id, fire_at in rows)
    assert set(times.values()) == {1}
    assert len(times) == len(names) * wanted
    assert await count(jobs.engine, "millrace_ticks") == len(names) * wanted


async def test_a_schedule_that_somebody_fires_is_passed_by(jobs: JobDatabase, jobs_url: str) -> None:
    if not isinstance(jobs.engine, PostgresEngine):
        pytest.skip("with SQLite there is one who writes, and the others wait")
    first, second = await stored(jobs.engine, "first"), await stored(jobs.engine, "second")
    async with open_jobs(jobs_url) as other:
        mine, theirs = ScheduleDatabase(jobs.engine), ScheduleDatabase(other.engine)
        async with mine.transaction():
            [held] = await mine.due(KINDS, 1)
            async with theirs.transaction():
                assert {held.id, *(schedule.id for schedule in await theirs.due(KINDS, 9))} == {first.id, second.id}
            # A tick that is being taken is waited for, and then it is gone.
            await mine.take(held.id, [Tick(EARLY, FIRED)])
            taking = asyncio.create_task(theirs.take(held.id, [Tick(EARLY, FIRED)]))
        assert await taking == set()


async def test_a_row_that_a_later_rule_would_refuse_does_not_keep_the_others_from_firing(
    jobs: JobDatabase, schedules: ScheduleDatabase
) -> None:
    now = await schedules.now()
    odd = await stored(jobs.engine, "odd", next_fire_at=now - 2 * MINUTE)
    await stored(jobs.engine, "sound", next_fire_at=now - MINUTE)
    await jobs.engine.execute(f"UPDATE millrace_schedules SET priority = 99999 WHERE id = '{odd.id}'")
    assert [schedule.name for schedule in await schedules.due(KINDS, 10)] == ["odd", "sound"]


async def test_old_ticks_are_forgotten_some_at_a_time(
    jobs: JobDatabase, schedules: ScheduleDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.database.schedules._MOST_FORGOTTEN", 2)
    schedule, now = await stored(jobs.engine, "old"), await schedules.now()
    await schedules.take(schedule.id, [Tick(now + number * MINUTE, TickOutcome.FIRED) for number in range(5)])
    assert await schedules.forget_old_ticks(1.0) == 0
    assert [await schedules.forget_old_ticks(-1.0) for _ in range(4)] == [2, 2, 1, 0]
    assert await schedules.ticks(schedule.id, 10) == []
