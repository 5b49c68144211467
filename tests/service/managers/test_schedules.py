"""Schedules as workers see them: every tick once, and nothing that is broken keeps the others from firing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import Conflict, InvalidBody, NotFound
from domain.jobs import Job, JobState
from domain.schedules import CatchUp, Overlap, ScheduledTask, TickOutcome
from domain.wire import timestamp_text
from infra.database.postgres import PostgresEngine
from service.managers.schedules import ScheduleManager
from tests.service.managers.works import Works, eventually, queue_name, works

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        yield opened


@pytest.fixture
async def schedules(service: Works) -> AsyncIterator[ScheduleManager]:
    manager = service.opened.managers.schedules
    yield manager
    await manager.delete_all([schedule.id for schedule in await manager.find_all()])


async def make(schedules: ScheduleManager, **more: Any) -> ScheduledTask:
    """A new schedule that is due every midnight."""
    given = {"name": queue_name(), "task": "echo", "cron": "0 0 * * *", "queue": queue_name(), **more}
    return await schedules.save(ScheduledTask(**given))


async def since(service: Works, schedule: ScheduledTask, days: int) -> None:
    """Have nobody been there for some days."""
    first, before = (timestamp_text(MIDNIGHT - timedelta(days=number)) for number in (days - 1, days))
    await service.engine.execute(
        f"UPDATE millrace_schedules SET next_fire_at = '{first}', last_fire_at = '{before}' WHERE id = '{schedule.id}'"
    )


async def jobs_of(service: Works, schedule: ScheduledTask) -> list[Job]:
    """The unfinished jobs of a schedule by tick."""
    rows = await service.engine.fetch(
        f"SELECT id FROM millrace_jobs WHERE schedule_id = '{schedule.id}' AND status IN ('pending', 'running')"
    )
    found = await service.store.find_many([id for (id,) in rows])
    return sorted(found, key=lambda job: job.fire_at or MIDNIGHT)


async def test_what_is_due_fires_once_however_many_fire_it(service: Works, schedules: ScheduleManager) -> None:
    made = [await make(schedules, overlap=Overlap.ALLOW_ALL, catch_up=CatchUp.ALL) for _ in range(30)]
    for schedule in made:
        await since(service, schedule, 3)
    waits = await asyncio.gather(*(schedules.firing.fire_due() for _ in range(8)))
    assert all(0 < seconds <= 1.0 for seconds in waits)
    for schedule in made:
        assert [job.fire_at for job in await jobs_of(service, schedule)] == [
            MIDNIGHT - timedelta(days=days) for days in (2, 1, 0)
        ]
        found = await schedules.get(schedule.id)
        assert (found.fired, found.skipped, found.missed) == (3, 0, 0)
        assert (found.last_fire_at, found.next_fire_at) == (MIDNIGHT, MIDNIGHT + timedelta(days=1))


@pytest.mark.parametrize(
    "overlap, outcomes",
    [
        (Overlap.SKIP, "fired skipped skipped"),
        (Overlap.BUFFER_ONE, "fired skipped skipped"),
        (Overlap.BUFFER_ALL, "fired fired fired"),
        (Overlap.CANCEL_OTHER, "skipped skipped fired"),
        (Overlap.ALLOW_ALL, "fired fired fired"),
    ],
)
async def test_ticks_that_are_caught_up_with_together_overlap_too(
    service: Works, schedules: ScheduleManager, overlap: Overlap, outcomes: str
) -> None:
    schedule = await make(schedules, overlap=overlap, catch_up=CatchUp.ALL)
    await since(service, schedule, 3)
    await schedules.firing.fire_due()
    ticks = (await schedules.ticks(schedule.id))[::-1]
    assert [tick.outcome.value for tick in ticks] == outcomes.split()
    if overlap is Overlap.CANCEL_OTHER:
        assert [tick.detail for tick in ticks] == ["replaced by the next one"] * 2 + [None]
    jobs = await jobs_of(service, schedule)
    assert [job.id for job in jobs] == [tick.job_id for tick in ticks if tick.job_id is not None]
    limited = {job.concurrency_key for job in jobs}
    is_one_by_one = overlap in {Overlap.BUFFER_ONE, Overlap.BUFFER_ALL, Overlap.CANCEL_OTHER}
    assert limited == {f"schedule:{schedule.id}" if is_one_by_one else None}


async def test_a_waiting_job_is_replaced_by_the_next(service: Works, schedules: ScheduleManager) -> None:
    schedule = await make(schedules, overlap=Overlap.CANCEL_OTHER)
    [first] = await service.store.insert([schedules.firing.job_of(schedule, MIDNIGHT - timedelta(days=1))])
    await since(service, schedule, 1)
    await schedules.firing.fire_due()
    assert (await service.get(first)).state is JobState.CANCELED
    assert [job.fire_at for job in await jobs_of(service, schedule)] == [MIDNIGHT]


@pytest.mark.parametrize("overlap", Overlap)
async def test_what_was_submitted_by_hand_neither_keeps_ticks_from_firing_nor_is_canceled_by_them(
    service: Works, schedules: ScheduleManager, overlap: Overlap
) -> None:
    schedule = await make(schedules, overlap=overlap)
    triggered = (await schedules.trigger(schedule.id)).job
    span = (MIDNIGHT - timedelta(days=9), MIDNIGHT - timedelta(days=6))
    made = await schedules.backfill(schedule.id, *span)
    await since(service, schedule, 1)
    await schedules.firing.fire_due()
    by_hand = [triggered.id, *made.job_ids]
    jobs = {job.id: job for job in await jobs_of(service, schedule)}
    assert [jobs[id].state for id in by_hand] == [JobState.QUEUED] * 4
    assert [job.fire_at for job in jobs.values() if job.id not in by_hand] == [MIDNIGHT]


async def test_what_is_still_to_come_cannot_be_made_up_for(schedules: ScheduleManager) -> None:
    schedule = await make(schedules)
    with pytest.raises(InvalidBody, match="Only past ticks can be made up for") as caught:
        await schedules.backfill(schedule.id, MIDNIGHT, MIDNIGHT + timedelta(days=9))
    assert [error.pointer for error in caught.value.errors] == ["/end"]
    assert await schedules.ticks(schedule.id) == []


@pytest.mark.parametrize("naive", ["start", "end", "start end"])
async def test_a_span_without_a_time_zone_cannot_be_made_up_for(schedules: ScheduleManager, naive: str) -> None:
    schedule = await make(schedules)
    span = {"start": MIDNIGHT - timedelta(days=3), "end": MIDNIGHT}
    span |= {name: span[name].replace(tzinfo=None) for name in naive.split()}
    with pytest.raises(InvalidBody, match="need a time zone"):
        await schedules.backfill(schedule.id, **span)


async def test_one_after_the_other_holds_whatever_the_limit_of_the_task(
    service: Works, schedules: ScheduleManager
) -> None:
    schedule = await make(schedules, task="share", args={}, overlap=Overlap.BUFFER_ALL, catch_up=CatchUp.ALL)
    await since(service, schedule, 3)
    await schedules.firing.fire_due()
    jobs = await jobs_of(service, schedule)
    assert [(job.concurrency_key, job.concurrency_limit) for job in jobs] == [(f"schedule:{schedule.id}", 1)] * 3


async def test_a_tick_that_a_busy_database_refuses_fires_the_next_time(
    service: Works, schedules: ScheduleManager
) -> None:
    if not isinstance(service.engine, PostgresEngine):
        pytest.skip("SQLite knows no deadlocks: one writes after the other")
    schedule = await make(schedules)
    await since(service, schedule, 1)
    # As the victim of a deadlock is told.
    await service.engine.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"
    )
    await service.engine.execute(
        "CREATE TRIGGER refused BEFORE INSERT ON millrace_jobs FOR EACH ROW "
        f"WHEN (NEW.schedule_id = '{schedule.id}') EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(Conflict, match="came first"):
        await schedules.firing.fire_due()
    await service.engine.execute("DROP FUNCTION refuse CASCADE")
    assert await schedules.ticks(schedule.id) == []
    await schedules.firing.fire_due()
    assert [tick.outcome for tick in await schedules.ticks(schedule.id)] == [TickOutcome.FIRED]


async def test_ticks_of_a_batch_that_was_the_victim_of_a_deadlock_fire_the_next_time(
    service: Works, schedules: ScheduleManager
) -> None:
    if not isinstance(service.engine, PostgresEngine):
        pytest.skip("SQLite knows no deadlocks: one writes after the other")
    early, late = [await make(schedules, overlap=Overlap.CANCEL_OTHER) for _ in range(2)]
    # What fires first has the job with the higher id, and so is locked in another order than by whoever records ends.
    lower, higher = [
        (await service.store.insert([schedules.firing.job_of(schedule, MIDNIGHT - timedelta(days=5))]))[0]
        for schedule in (late, early)
    ]
    for schedule, days in ((early, 2), (late, 1)):
        await since(service, schedule, days)
    is_held = asyncio.Event()

    async def is_waited_for() -> bool:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(await service.engine.fetch(waiting))

    async def record() -> None:
        """Lock both, as the end of both would; PostgreSQL finds the deadlock where it was waited the longest."""
        async with service.engine.transaction():
            await service.store.lock([lower.id])
            is_held.set()
            await eventually(is_waited_for)
            await service.store.lock([higher.id])

    recording = asyncio.create_task(record())
    await is_held.wait()
    with pytest.raises(Conflict, match="came first"):
        await schedules.firing.fire_due()
    await recording
    assert [await schedules.ticks(schedule.id) for schedule in (early, late)] == [[], []]
    await schedules.firing.fire_due()
    for schedule in (early, late):
        assert [tick.outcome for tick in await schedules.ticks(schedule.id)] == [TickOutcome.FIRED]


async def test_a_schedule_that_this_machine_cannot_read_leaves_the_others_alone(
    service: Works, schedules: ScheduleManager, caplog: pytest.LogCaptureFixture
) -> None:
    strange, sound = await make(schedules), await make(schedules)
    # As one of a later version, or of a machine with newer time zones.
    await service.engine.execute(f"UPDATE millrace_schedules SET time_zone = 'Mars/Olympus' WHERE id = '{strange.id}'")
    for schedule in (strange, sound):
        await since(service, schedule, 1)
    await schedules.firing.fire_due()
    await schedules.firing.fire_due()
    assert [tick.outcome for tick in await schedules.ticks(sound.id)] == [TickOutcome.FIRED]
    assert await schedules.ticks(strange.id) == []
    assert [message.partition(": ")[0] for message in caplog.messages if "cannot fire here" in message] == [
        f"schedule {strange.id} ({strange.name}) cannot fire here"
    ]


async def test_a_schedule_that_this_machine_cannot_read_is_not_looked_for_all_the_time(
    service: Works, schedules: ScheduleManager
) -> None:
    strange = await make(schedules)
    await service.engine.execute(f"UPDATE millrace_schedules SET time_zone = 'Mars/Olympus' WHERE id = '{strange.id}'")
    await since(service, strange, 1)
    assert await schedules.firing.fire_due() == 1.0


async def test_which_ticks_were_seen_to_is_forgotten_after_a_time(service: Works, schedules: ScheduleManager) -> None:
    schedule = await make(schedules, overlap=Overlap.ALLOW_ALL, catch_up=CatchUp.ALL)
    await since(service, schedule, 3)
    await schedules.firing.fire_due()
    assert await schedules.firing.tidy() == 60.0
    long_ago = timestamp_text(datetime.now(UTC) - timedelta(days=91))
    await service.engine.execute(
        f"UPDATE millrace_ticks SET at = '{long_ago}' WHERE schedule_id = '{schedule.id}' "
        f"AND fire_at < '{timestamp_text(MIDNIGHT)}'"
    )
    assert await schedules.firing.tidy() == 1.0
    assert [tick.fire_at for tick in await schedules.ticks(schedule.id)] == [MIDNIGHT]


async def test_one_that_cannot_fire_is_recorded_and_not_tried_again(
    service: Works, schedules: ScheduleManager, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = await make(schedules), await make(schedules)
    await service.engine.execute(f"UPDATE millrace_schedules SET args = '{{\"x\":1}}' WHERE id = '{broken.id}'")
    for schedule in (broken, sound):
        await since(service, schedule, 1)
    await schedules.firing.fire_due()
    await schedules.firing.fire_due()
    [tick] = await schedules.ticks(broken.id)
    assert (tick.fire_at, tick.outcome, tick.job_id) == (MIDNIGHT, TickOutcome.FAILED, None)
    assert tick.detail is not None
    assert "/args/x" in tick.detail
    assert [tick.outcome for tick in await schedules.ticks(sound.id)] == [TickOutcome.FIRED]
    assert [message for message in caplog.messages if "could not fire" in message] == [
        f"schedule {broken.id} ({broken.name}) could not fire: {tick.detail}"
    ]
    found = await schedules.get(broken.id)
    assert (found.fired, found.skipped, found.next_fire_at) == (0, 1, MIDNIGHT + timedelta(days=1))


async def test_ticks_that_nobody_was_there_for_are_counted_and_said(
    service: Works, schedules: ScheduleManager, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = await make(schedules, catch_up=CatchUp.NONE, misfire_grace_seconds=0.0)
    await since(service, schedule, 400)
    await schedules.firing.fire_due()
    assert (await schedules.get(schedule.id)).missed == 400
    assert caplog.messages == [f"schedule {schedule.id} ({schedule.name}) has missed 400 ticks"]
    assert await schedules.ticks(schedule.id) == []


async def test_a_schedule_of_a_task_that_is_not_known_here_waits_for_who_knows_it(
    service: Works, schedules: ScheduleManager
) -> None:
    schedule = await make(schedules)
    await service.engine.execute(f"UPDATE millrace_schedules SET task = 'strange' WHERE id = '{schedule.id}'")
    await since(service, schedule, 1)
    await schedules.firing.fire_due()
    assert await schedules.ticks(schedule.id) == []
    with pytest.raises(NotFound, match='There is no task "strange"'):
        await schedules.trigger(schedule.id)
    # It can be seen, and it can be mended.
    assert (await schedules.preview(schedule.id))[0] == MIDNIGHT + timedelta(days=1)
    with pytest.raises(InvalidBody) as caught:
        await schedules.patch(schedule.id, {"priority": 1})
    assert [error.pointer for error in caught.value.errors] == ["/task"]
    assert (await schedules.patch(schedule.id, {"task": "echo"})).task == "echo"


@pytest.mark.parametrize(
    "change",
    [{"cron": "0 12 * * *"}, {"time_zone": "Asia/Tokyo"}, {"is_paused": True}, {"start_at": "2030-01-01T00:00:00Z"}],
)
async def test_a_change_of_the_times_lets_the_past_be(
    service: Works, schedules: ScheduleManager, change: dict[str, Any]
) -> None:
    schedule = await make(schedules, catch_up=CatchUp.ALL)
    await since(service, schedule, 3)
    changed = await schedules.patch(schedule.id, change)
    assert changed.next_fire_at is not None
    assert changed.next_fire_at > datetime.now(UTC) - timedelta(seconds=1)
    await schedules.firing.fire_due()
    assert await schedules.ticks(schedule.id) == []


async def test_another_change_leaves_the_times_alone(service: Works, schedules: ScheduleManager) -> None:
    schedule = await make(schedules, catch_up=CatchUp.ALL, overlap=Overlap.ALLOW_ALL)
    await since(service, schedule, 3)
    await schedules.patch(schedule.id, {"priority": 7, "args": {"value": 5}})
    await schedules.firing.fire_due()
    jobs = await jobs_of(service, schedule)
    assert [(job.priority, job.args) for job in jobs] == [(7, {"value": 5})] * 3


async def test_a_schedule_that_has_ended_fires_no_more(service: Works, schedules: ScheduleManager) -> None:
    schedule = await make(
        schedules,
        start_at=MIDNIGHT - timedelta(days=9),
        end_at=MIDNIGHT - timedelta(days=1),
        catch_up=CatchUp.ALL,
        overlap=Overlap.ALLOW_ALL,
    )
    assert (schedule.next_fire_at, await schedules.preview(schedule.id)) == (None, [])
    await since(service, schedule, 4)
    await schedules.firing.fire_due()
    found = await schedules.get(schedule.id)
    # The end itself is not part of it.
    assert (found.fired, found.next_fire_at) == (2, None)
    assert found.last_fire_at == MIDNIGHT - timedelta(days=2)


async def test_a_tick_of_a_removed_schedule_is_nobodys(service: Works, schedules: ScheduleManager) -> None:
    schedule = await make(schedules)
    await since(service, schedule, 1)
    await schedules.firing.fire_due()
    await schedules.delete(schedule.id)
    assert not await service.engine.fetch(f"SELECT 1 FROM millrace_ticks WHERE schedule_id = '{schedule.id}'")
    assert len(await jobs_of(service, schedule)) == 1
