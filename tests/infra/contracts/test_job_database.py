"""What the database promises about jobs, on both kinds of it: nothing is lost, doubled or held for ever."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.entity import new_id
from domain.errors import Conflict
from domain.job_ports import Dead
from domain.jobs import JobState, JobStatus, NewJob, Progress, Retention
from domain.retries import RetryPolicy
from domain.runs import cut
from domain.workers import WorkerInfo
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import (
    TABLES,
    WORKER,
    check,
    claim,
    count,
    ending,
    event_types,
    expire,
    finish,
    get,
    move,
    new,
    open_jobs,
    running,
    states,
)

HOUR = timedelta(hours=1)


class Undo(Exception):
    """What a block raises to have its change undone."""


@asynccontextmanager
async def undone(jobs: JobDatabase) -> AsyncIterator[None]:
    """A transaction that fails at the end of the block."""
    with suppress(Undo):
        async with jobs.transaction():
            yield
            raise Undo


# Submitting


async def test_a_job_comes_back_as_it_was_submitted(jobs: JobDatabase) -> None:
    wanted = new(
        args={"text": 'a"b\\ \u2028 é \U0001f600', "numbers": [1, 1.5, 2**70, -0.1, None, True], "": {}},
        tags=("a", "é"),
        label="a label",
        queue="mail",
        priority=-7,
        retry_policy=RetryPolicy(retries=3, first_delay_seconds=0.25, factor=3.0, max_delay_seconds=9.0),
        timeout_seconds=0.1 + 0.2,
        unique_key="u",
        concurrency_key="c",
        concurrency_limit=5,
        schedule_id=new_id(),
        fire_at=datetime(2025, 1, 31, 12, 0, 0, 1, UTC),
        trace_id="trace",
        principal="ada",
        tenant="acme",
    )
    [job] = await jobs.insert([wanted])
    for name in set(NewJob.__struct_fields__) - {"run_at", "delay_seconds", "tags"}:
        assert getattr(job, name) == getattr(wanted, name), name
    assert job.tags == ["a", "é"]
    assert job.max_attempts == 4
    assert (job.state, job.attempt, job.losses, job.revision) == (JobState.QUEUED, 0, 0, 1)
    assert job == await get(jobs, job.id)
    assert abs(job.submitted_at - datetime.now(UTC)) < HOUR
    assert await event_types(jobs, job.id) == ["submitted"]


@pytest.mark.parametrize(
    "values, state",
    [
        ({}, JobState.QUEUED),
        ({"delay_seconds": 0.0}, JobState.QUEUED),
        ({"delay_seconds": 3600.0}, JobState.SCHEDULED),
        ({"delay_seconds": 31_536_000.0}, JobState.SCHEDULED),
        ({"run_at": datetime(2001, 1, 1, tzinfo=UTC)}, JobState.QUEUED),
        ({"run_at": datetime(1, 1, 1, tzinfo=UTC)}, JobState.QUEUED),
        ({"run_at": datetime(9999, 12, 31, tzinfo=UTC)}, JobState.SCHEDULED),
        ({"delay_seconds": 3600.0, "waits_for": 1}, JobState.BLOCKED),
    ],
)
async def test_a_job_waits_for_its_time(jobs: JobDatabase, values: dict[str, Any], state: JobState) -> None:
    [job] = await jobs.insert([new(**values)])
    assert job.state is state
    check(job)
    if "run_at" in values:
        assert job.run_at == values["run_at"]
    seconds = await jobs.seconds_until(job.id)
    delay = values.get("delay_seconds")
    if delay is not None:
        assert delay - 60 < seconds < delay + 0.1
    assert len(await claim(jobs)) == (state is JobState.QUEUED)


async def test_an_unfinished_job_keeps_others_with_its_unique_key_out(jobs: JobDatabase) -> None:
    first, double, other, free = (new(unique_key=key) for key in ("a", "a", "b", None))
    assert {job.id for job in await jobs.insert([first, double, other, free])} == {first.id, other.id, free.id}
    assert await jobs.insert([new(unique_key="a")]) == []
    assert [job.id for job in await jobs.find_unique(["a", "zzz"])] == [first.id]
    claimed = {job.id: job for job in await claim(jobs)}
    assert await jobs.insert([new(unique_key="a")]) == []
    await finish(jobs, claimed[first.id])
    assert await jobs.find_unique(["a"]) == []
    [again] = await jobs.insert([new(unique_key="a")])
    with pytest.raises(Conflict, match="unique_key"):
        await jobs.requeue({first.id: 0})
    assert (await get(jobs, first.id)).state is JobState.COMPLETED
    assert (await get(jobs, again.id)).state is JobState.QUEUED


async def test_an_id_is_given_once(jobs: JobDatabase) -> None:
    [job] = await jobs.insert([new()])
    with pytest.raises(Conflict):
        await jobs.insert([new(), new(id=job.id)])
    assert await count(jobs.engine, "millrace_jobs") == 1


async def test_what_is_undone_leaves_no_job(jobs: JobDatabase) -> None:
    async with undone(jobs):
        await jobs.insert([new(unique_key="a"), new()])
        [job] = await claim(jobs, limit=1)
        await finish(jobs, job)
    for table in TABLES:
        assert await count(jobs.engine, table) == 0
    [job] = await jobs.insert([new(unique_key="a")])
    async with undone(jobs):
        await jobs.delete([job.id])
    assert await event_types(jobs, job.id) == ["submitted"]


async def test_of_many_who_submit_the_same_key_at_once_one_does(jobs: JobDatabase, jobs_url: str) -> None:
    async with open_jobs(jobs_url) as other:
        keys = [f"key {number}" for number in range(10)]
        batches = [[new(unique_key=key) for key in (keys if turn % 2 else reversed(keys))] for turn in range(8)]
        found = await asyncio.gather(
            *((jobs, other)[turn % 2].insert(batch) for turn, batch in enumerate(batches)), return_exceptions=True
        )
    kept = [job.unique_key for batch in found if not isinstance(batch, BaseException) for job in batch]
    assert not [error for error in found if isinstance(error, BaseException)]
    assert sorted(map(str, kept)) == sorted(keys)


# Claiming


async def test_jobs_are_claimed_in_order_of_priority_time_and_id(jobs: JobDatabase) -> None:
    early, late = datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)
    wanted = [
        new(priority=1, run_at=late),
        new(priority=0, run_at=early, id="0" * 25 + "1"),
        new(priority=0, run_at=early, id="0" * 25 + "2"),
        new(priority=0, run_at=late),
        new(priority=-1, run_at=early),
    ]
    await jobs.insert(wanted[::-1])
    assert [job.id for job in await claim(jobs, 2)] == [job.id for job in wanted[:2]]
    assert [job.id for job in await claim(jobs)] == [job.id for job in wanted[2:]]
    assert await claim(jobs) == []


async def test_jobs_with_and_without_key_share_one_order(jobs: JobDatabase) -> None:
    wanted = [
        new(priority=3),
        new(priority=2, concurrency_key="a"),
        new(priority=1),
        new(priority=0, concurrency_key="b"),
    ]
    await jobs.insert(wanted)
    assert [(await claim(jobs, 1))[0].id for _ in wanted] == [job.id for job in wanted]


async def test_a_worker_gets_jobs_of_its_queue_and_of_kinds_that_it_knows(jobs: JobDatabase) -> None:
    mail, report, other = await jobs.insert([new("mail"), new("report"), new("mail", queue="other")])
    assert await claim(jobs, kinds=()) == []
    assert await claim(jobs, kinds=("unknown",)) == []
    assert await claim(jobs, queue="empty", kinds=("mail", "report")) == []
    assert [job.id for job in await claim(jobs, kinds=("mail",))] == [mail.id]
    assert [job.id for job in await claim(jobs, kinds=("mail", "report"))] == [report.id]
    assert [job.id for job in await claim(jobs, queue="other", kinds=("mail",))] == [other.id]


async def test_a_claimed_job_runs_under_a_lease(jobs: JobDatabase) -> None:
    await jobs.insert([new(), new()])
    first, second = await claim(jobs, lease_seconds=15.0)
    for job in (first, second):
        check(job)
        assert (job.state, job.attempt, job.worker_id, job.revision) == (JobState.RUNNING, 1, WORKER, 2)
        assert job.started_at is not None
        assert job.lease_until is not None
        assert timedelta(seconds=14) < job.lease_until - job.started_at < timedelta(seconds=16)
    assert [event.worker_id for event in await jobs.events(first.id, after=0, limit=9)] == [None, WORKER]


async def many_claim(
    url: str, total: int, work: Callable[[JobDatabase, Any], Awaitable[None]], *, workers: int = 6, **options: Any
) -> None:
    """Let workers on two engines claim and work until `total` jobs are done."""
    done = 0

    async def labour(jobs: JobDatabase, worker_id: str) -> None:
        nonlocal done
        while done < total:
            claimed = await claim(jobs, 5, worker_id=worker_id, **options)
            for job in claimed:
                await work(jobs, job)
                done += 1
            if not claimed:
                await asyncio.sleep(0.005)

    async with open_jobs(url) as first, open_jobs(url) as second, asyncio.timeout(60):
        await asyncio.gather(*(labour((first, second)[number % 2], new_id()) for number in range(workers)))


async def test_no_two_workers_get_the_same_job(jobs: JobDatabase, jobs_url: str) -> None:
    wanted = [new(priority=number % 3) for number in range(300)]
    await jobs.insert(wanted)
    seen: Counter[str] = Counter()

    async def work(own: JobDatabase, job: Any) -> None:
        seen[job.id] += 1
        assert [ended.id for ended in (await finish(own, job)).jobs] == [job.id]

    await many_claim(jobs_url, len(wanted), work)
    assert seen == Counter(job.id for job in wanted)
    for job in wanted[:20]:
        assert await event_types(jobs, job.id) == ["submitted", "running", "completed"]
    assert await count(jobs.engine, "millrace_job_events") == 3 * len(wanted)


async def test_no_more_jobs_of_a_key_run_than_its_limit(jobs: JobDatabase, jobs_url: str) -> None:
    limits = {"a": 1, "b": 2, "c": 3}
    wanted = [new(concurrency_key=key, concurrency_limit=limit) for key, limit in limits.items() for _ in range(60)]
    wanted += [new() for _ in range(60)]
    await jobs.insert(wanted)
    taken: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def work(own: JobDatabase, job: Any) -> None:
        key = job.concurrency_key
        if key is not None:
            found = await own.holders(key)
            assert job.id in {holder.id for holder in found}
            assert len(found) <= limits[key]
            taken[key] += 1
            most[key] = max(most[key], len(found))
        await finish(own, job)

    await many_claim(jobs_url, len(wanted), work)
    assert taken == dict.fromkeys(limits, 60)
    assert most == limits


async def test_a_slot_is_free_again_however_its_job_has_ended(jobs: JobDatabase) -> None:
    await jobs.insert([new(concurrency_key="k") for _ in range(6)])

    async def only() -> Any:
        [job] = await claim(jobs)
        assert await claim(jobs) == []
        return job

    await finish(jobs, await only())
    await finish(jobs, await only(), state=JobState.RETRYING, delay_seconds=3600.0)
    await jobs.delete([(await only()).id])
    await jobs.cancel([(lost := await only()).id])
    await expire(jobs, lost.id)
    assert [job.state for job in (await jobs.reap(3)).jobs] == [JobState.CANCELED]
    await finish(jobs, lost := await only(), state=JobState.QUEUED, is_undone=True)
    assert (await only()).id == lost.id


async def test_behind_many_that_find_no_slot_others_are_found(jobs: JobDatabase) -> None:
    await jobs.insert([new(concurrency_key="busy", priority=2) for _ in range(450)])
    await jobs.insert([new(concurrency_key=f"key {number % 3}", concurrency_limit=2) for number in range(300)])
    first = await claim(jobs, 5)
    assert Counter(job.concurrency_key for job in first) == {"busy": 1, "key 0": 2, "key 1": 1, "key 2": 1}
    assert Counter(job.concurrency_key for job in await claim(jobs, 5)) == {"key 1": 1, "key 2": 1}
    assert await claim(jobs, 5) == []


@pytest.mark.parametrize("key", [None, "k"])
async def test_of_jobs_that_may_kill_their_worker_one_is_taken_at_a_time(jobs: JobDatabase, key: str | None) -> None:
    await jobs.insert([new(priority=1, concurrency_key=key, concurrency_limit=9) for _ in range(3)])
    first = await claim(jobs)
    await expire(jobs, *(job.id for job in first))
    await jobs.reap(3)
    safe = await jobs.insert([new(concurrency_key=key, concurrency_limit=9) for _ in range(4)])

    async def cautious(limit: int, *, is_risk_taken: bool) -> list[str]:
        claimed = await jobs.claim(
            "default",
            ["work"],
            limit,
            worker_id=WORKER,
            lease_seconds=60.0,
            risky_losses=1,
            is_risk_taken=is_risk_taken,
        )
        return [job.id for job in claimed]

    assert await cautious(1, is_risk_taken=False) == [safe[0].id]
    assert await cautious(3, is_risk_taken=True) == [first[0].id, safe[1].id, safe[2].id]
    assert await cautious(1, is_risk_taken=True) == [first[1].id]
    # Who is not careful takes all of them.
    assert [job.id for job in await claim(jobs)] == [first[2].id, safe[3].id]


async def test_a_lock_of_somebody_else_is_passed_by(jobs: JobDatabase, jobs_url: str) -> None:
    if not jobs.is_postgres:
        pytest.skip("with SQLite there is one who writes, and the others wait")
    held, free, keyed = await jobs.insert([new(), new(), new(concurrency_key="k")])
    async with open_jobs(jobs_url) as other, other.transaction():
        await other.lock([held.id, keyed.id])
        assert [job.id for job in await claim(jobs)] == [free.id]
    assert {job.id for job in await claim(jobs)} == {held.id, keyed.id}


# Time


async def test_jobs_whose_time_has_come_are_queued(jobs: JobDatabase) -> None:
    assert await jobs.promote() is None
    soon, later = await jobs.insert([new(delay_seconds=3600.0), new(delay_seconds=7200.0)])
    seconds = await jobs.promote()
    assert seconds is not None
    assert 3500 < seconds < 3600.1
    await move(jobs, "run_at", -1.0, soon.id)
    assert await jobs.promote() == 0.01
    assert await states(jobs, [soon.id, later.id]) == [JobState.QUEUED, JobState.SCHEDULED]
    assert await event_types(jobs, soon.id) == ["submitted", "due"]
    assert [job.id for job in await claim(jobs)] == [soon.id]
    seconds = await jobs.promote()
    assert seconds is not None
    assert seconds > 7000


async def test_a_retry_waits_by_the_clock_of_the_database(jobs: JobDatabase) -> None:
    job = await running(jobs)
    [again] = (await finish(jobs, job, state=JobState.RETRYING, delay_seconds=100.0, error="E: not now")).jobs
    check(again)
    assert (again.state, again.error, again.attempt) == (JobState.RETRYING, "E: not now", 1)
    assert 90 < await jobs.seconds_until(job.id) < 100.1
    assert await claim(jobs) == []
    await move(jobs, "run_at", -1.0, job.id)
    await jobs.promote()
    [second] = await claim(jobs)
    assert (second.id, second.attempt, second.error) == (job.id, 2, None)
    assert second.lease_token != job.lease_token


# Leases and fences


async def test_a_worker_that_lost_its_lease_changes_nothing(jobs: JobDatabase) -> None:
    old = await running(jobs)
    await expire(jobs, old.id)
    await jobs.reap(3)
    [current] = await claim(jobs)
    before = await get(jobs, old.id)
    for state in (JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.QUEUED, JobState.RETRYING):
        assert await finish(jobs, old, state=state, result=b"1") == (await jobs.finish([]))
    unknown = msgspec.structs.replace(old, lease_token="")
    assert (await finish(jobs, unknown)).jobs == []
    await jobs.report([(old.id, old.lease_token or "", Progress(percent=99.0))])
    await jobs.write_logs([(old.id, old.lease_token or "", "log", "late")])
    assert await jobs.renew([(old.id, old.lease_token or "")], lease_seconds=999.0) == {}
    assert await jobs.held([(old.id, old.lease_token or "")]) == {}
    assert await get(jobs, old.id) == before
    assert await jobs.logs(old.id, after=0, limit=9) == []
    assert await event_types(jobs, old.id) == ["submitted", "running", "lost", "running"]
    assert [job.id for job in (await finish(jobs, current)).jobs] == [old.id]


async def test_of_a_batch_only_those_with_their_lease_end(jobs: JobDatabase) -> None:
    await jobs.insert([new() for _ in range(4)])
    one, two, three, four = await claim(jobs)
    await jobs.delete([two.id])
    await expire(jobs, three.id)
    await jobs.reap(3)
    ended = await jobs.finish([ending(job) for job in (four, three, two, one)])
    assert {job.id for job in ended.jobs} == {one.id, four.id}
    # Recorded twice, because the answer to the first time was lost.
    assert (await jobs.finish([ending(one), ending(four)])).jobs == []
    assert await event_types(jobs, one.id) == ["submitted", "running", "completed"]


async def test_a_lease_is_renewed_while_its_job_runs(jobs: JobDatabase) -> None:
    await jobs.insert([new() for _ in range(4)])
    kept, told, ended, foreign = await claim(jobs, lease_seconds=1.0)
    await jobs.cancel([told.id])
    await finish(jobs, ended)
    leases = [(job.id, job.lease_token or "") for job in (kept, told, ended)] + [(foreign.id, "no token of mine")]
    found = {kept.id: JobState.RUNNING, told.id: JobState.CANCELING}
    assert await jobs.held(leases) == found
    assert await jobs.renew(leases, lease_seconds=3600.0) == found
    after = {job.id: job for job in await jobs.find_many([job.id for job in (kept, told, foreign)])}
    for id, state in found.items():
        assert after[id].state is state
        assert after[id].lease_until > datetime.now(UTC) + HOUR / 2  # type: ignore[operator]
    assert after[foreign.id].lease_until == foreign.lease_until
    # It says nothing about the job, so nobody hears of it.
    assert after[kept.id].revision == kept.revision
    assert await jobs.renew([], lease_seconds=1.0) == {}
    assert await jobs.held([]) == {}


async def test_a_lease_that_ran_out_can_still_be_renewed_and_used(jobs: JobDatabase) -> None:
    first, second = await running(jobs), await running(jobs)
    await expire(jobs, first.id, second.id)
    assert await jobs.renew([(first.id, first.lease_token or "")], lease_seconds=60.0) == {first.id: JobState.RUNNING}
    assert [job.id for job in (await finish(jobs, second)).jobs] == [second.id]
    assert (await jobs.reap(3)).jobs == []


async def test_a_job_that_lost_its_worker_runs_again_and_in_the_end_is_dead(jobs: JobDatabase) -> None:
    [submitted] = await jobs.insert([new()])
    for losses in (1, 2, 3):
        [job] = await claim(jobs)
        assert (await jobs.reap(3)).jobs == []
        await expire(jobs, job.id)
        [lost] = (await jobs.reap(3)).jobs
        check(lost)
        assert (lost.losses, lost.attempt, lost.failures) == (losses, losses, 0)
        assert lost.state is (JobState.QUEUED if losses < 3 else JobState.DEAD)
    assert lost.error == "WorkerLost: the worker disappeared 3 times while it ran this job"
    assert await claim(jobs) == []
    assert (await event_types(jobs, submitted.id))[-3:] == ["lost", "running", "dead"]


async def test_a_job_that_was_to_stop_and_lost_its_worker_is_canceled(jobs: JobDatabase) -> None:
    job = await running(jobs)
    await jobs.cancel([job.id])
    await expire(jobs, job.id)
    [lost] = (await jobs.reap(1)).jobs
    check(lost)
    assert (lost.state, lost.error) == (JobState.CANCELED, None)


async def test_lost_jobs_are_taken_once_and_never_from_the_living(jobs: JobDatabase, jobs_url: str) -> None:
    await jobs.insert([new() for _ in range(40)])
    claimed = await claim(jobs)
    dead, alive = claimed[:20], claimed[20:]
    await expire(jobs, *(job.id for job in claimed))
    await jobs.renew([(job.id, job.lease_token or "") for job in alive], lease_seconds=60.0)
    async with open_jobs(jobs_url) as other:
        found = await asyncio.gather(*((jobs, other)[number % 2].reap(3) for number in range(8)))
    assert sorted(job.id for part in found for job in part.jobs) == [job.id for job in dead]
    assert await states(jobs, [job.id for job in alive]) == [JobState.RUNNING] * 20


async def test_workers_that_all_write_about_the_same_jobs_never_wait_for_each_other_in_a_circle(
    jobs: JobDatabase, jobs_url: str
) -> None:
    await jobs.insert([new(id=new_id()) for _ in range(60)])
    claimed = await claim(jobs)
    leases = [(job.id, job.lease_token or "") for job in claimed]
    reports = [(id, token, Progress(percent=1.0)) for id, token in leases]
    lines = [(id, token, "log", "line") for id, token in leases]
    ids = [id for id, _ in leases]
    async with open_jobs(jobs_url, pool_size=8) as other:
        for _ in range(4):
            await asyncio.gather(
                jobs.renew(leases, lease_seconds=60.0),
                other.renew(leases[::-1], lease_seconds=60.0),
                jobs.report(reports),
                other.report(reports[::-1]),
                other.write_logs(lines[::-1]),
                jobs.write_logs(lines),
            )
        ends = [ending(job) for job in claimed]
        ended, _, canceled, *_ = await asyncio.gather(
            jobs.finish(ends[::-1]),
            other.renew(leases, lease_seconds=60.0),
            other.cancel(ids),
            other.report(reports),
            other.write_logs(lines),
            jobs.cancel(ids[::-1]),
        )
        assert len(ended.jobs) == 60
        assert {job.state for job in canceled.jobs} <= {JobState.CANCELING}
        assert set(await states(jobs, ids)) == {JobState.COMPLETED}
        again = dict.fromkeys(ids, 0)
        await asyncio.gather(jobs.requeue(again), other.requeue(again), other.cancel(ids), jobs.delete(ids))
    assert [await count(jobs.engine, table) for table in TABLES] == [0] * len(TABLES)


# Ends


async def test_a_run_that_was_given_back_does_not_count(jobs: JobDatabase) -> None:
    job = await running(jobs)
    [back] = (await finish(jobs, job, state=JobState.QUEUED, is_undone=True)).jobs
    check(back)
    assert (back.state, back.attempt, back.losses) == (JobState.QUEUED, 0, 0)
    [again] = await claim(jobs)
    assert (again.id, again.attempt) == (job.id, 1)
    assert await event_types(jobs, job.id) == ["submitted", "running", "released", "running"]


async def test_a_run_that_was_given_back_counts_when_the_job_was_canceled_meanwhile(jobs: JobDatabase) -> None:
    job = await running(jobs)
    await jobs.cancel([job.id])
    [ended] = (await finish(jobs, job, state=JobState.QUEUED, is_undone=True)).jobs
    check(ended)
    assert (ended.state, ended.attempt) == (JobState.CANCELED, 1)


@pytest.mark.parametrize(
    "state, expected",
    [
        (JobState.COMPLETED, JobState.COMPLETED),
        (JobState.CANCELED, JobState.CANCELED),
        (JobState.FAILED, JobState.CANCELED),
        (JobState.DEAD, JobState.CANCELED),
        (JobState.RETRYING, JobState.CANCELED),
        (JobState.QUEUED, JobState.CANCELED),
    ],
)
async def test_what_was_told_to_stop_is_canceled_unless_it_was_done(
    jobs: JobDatabase, state: JobState, expected: JobState
) -> None:
    job = await running(jobs)
    [told] = (await jobs.cancel([job.id])).jobs
    check(told)
    assert (told.state, told.status) == (JobState.CANCELING, JobStatus.RUNNING)
    assert (await jobs.cancel([job.id])).jobs == []
    delay = 5.0 if state is JobState.RETRYING else None
    [ended] = (await finish(jobs, job, state=state, delay_seconds=delay)).jobs
    check(ended)
    assert ended.state is expected


async def test_cancel_does_what_the_state_of_a_job_allows(jobs: JobDatabase) -> None:
    runs, done = await running(jobs), await running(jobs)
    await finish(jobs, done)
    retries = await running(jobs)
    await finish(jobs, retries, state=JobState.RETRYING, delay_seconds=99.0)
    queued, later, blocked = await jobs.insert([new(), new(delay_seconds=99.0), new(waits_for=1)])
    ids = [job.id for job in (runs, done, retries, queued, later, blocked)]
    canceled = await jobs.cancel([*ids, new_id()])
    assert {job.id for job in canceled.jobs} == set(ids) - {done.id}
    assert await states(jobs, ids) == [
        JobState.CANCELING,
        JobState.COMPLETED,
        *[JobState.CANCELED] * 4,
    ]
    for job in await jobs.find_many(ids):
        check(job)
    assert await jobs.cancel([]) == await jobs.finish([])
    [taken] = (await jobs.cancel([runs.id], is_at_once=True)).jobs
    check(taken)
    assert taken.state is JobState.CANCELED
    assert (await finish(jobs, runs)).jobs == []
    assert await event_types(jobs, runs.id) == ["submitted", "running", "canceling", "canceled"]


async def test_of_a_cancel_and_an_end_at_the_same_moment_one_comes_first(jobs: JobDatabase, jobs_url: str) -> None:
    async with open_jobs(jobs_url) as other:
        for turn in range(30):
            job = await running(jobs)
            failing = turn % 2 == 0
            state = JobState.RETRYING if failing else JobState.COMPLETED
            ended, canceled = await asyncio.gather(
                finish(jobs, job, state=state, delay_seconds=99.0 if failing else None), other.cancel([job.id])
            )
            assert len(ended.jobs) == 1
            final = await get(jobs, job.id)
            if failing:
                assert final.state is JobState.CANCELED
            else:
                assert final.state is JobState.COMPLETED
                assert {found.state for found in canceled.jobs} <= {JobState.CANCELING}


async def test_an_ended_job_can_run_again_with_all_its_attempts(jobs: JobDatabase) -> None:
    job = await running(jobs, retry_policy=RetryPolicy(retries=2), args={"a": 1}, timeout_seconds=9.0)
    await jobs.report([(job.id, job.lease_token or "", Progress(percent=50.0))])
    await finish(jobs, job, state=JobState.DEAD, error="E", traceback="T", result=b"1", result_ref="job:x")
    waiting = (await jobs.insert([new(delay_seconds=99.0)]))[0]
    [again] = await jobs.requeue({job.id: 0, waiting.id: 0, new_id(): 0})
    check(again)
    fresh = (again.state, again.attempt, again.losses, again.error, again.error_traceback, again.progress)
    assert fresh == (JobState.QUEUED, 0, 0, None, None, None)
    assert (again.result_ref, again.worker_id, again.started_at) == (None, None, None)
    assert (again.args, again.max_attempts, again.timeout_seconds) == ({"a": 1}, 3, 9.0)
    assert again.revision > job.revision
    assert await jobs.result(job.id) is None
    assert await jobs.requeue({job.id: 0}) == []
    assert [found.id for found in await claim(jobs)] == [job.id]


async def test_dead_jobs_are_listed_the_oldest_first(jobs: JobDatabase) -> None:
    dead = [await running(jobs) for _ in range(3)]
    await finish(jobs, *dead, state=JobState.DEAD)
    await finish(jobs, other := await running(jobs), state=JobState.FAILED)
    assert [job.id for job in (await jobs.dead(None, 2)).jobs] == [dead[0].id, dead[1].id]
    assert [job.id for job in (await jobs.dead([dead[2].id, other.id], 9)).jobs] == [dead[2].id]
    assert await jobs.dead([], 9) == Dead([], [])


async def test_dead_jobs_whose_unique_keys_are_taken_are_passed_over(jobs: JobDatabase) -> None:
    dead = [await running(jobs, unique_key=key) for key in "abcdef"]
    await finish(jobs, *dead, state=JobState.DEAD)
    holders = await jobs.insert([new(unique_key=key, delay_seconds=60.0) for key in "abce"])

    async def found(limit: int, *places: int) -> tuple[list[int], list[int]]:
        order = [job.id for job in dead]
        these = await jobs.dead([order[place] for place in places] if places else None, limit)
        return tuple([order.index(job.id) for job in part] for part in (these.jobs, these.passed_over))

    assert await found(1) == ([3], [0])
    assert await found(2) == ([3, 5], [0, 1])
    assert await found(9) == ([3, 5], [0, 1, 2, 4])
    assert await found(9, 4, 5) == ([5], [4])
    await jobs.cancel([holders[0].id])
    assert await found(1) == ([0], [])


async def test_a_removed_job_leaves_nothing(jobs: JobDatabase) -> None:
    job = await running(jobs)
    await jobs.write_logs([(job.id, job.lease_token or "", "log", "line")])
    await finish(jobs, job, result=b"{}")
    [kept] = await jobs.insert([new()])
    assert await jobs.delete([job.id, new_id()]) == 1
    assert await jobs.delete([]) == 0
    rows = {table: await count(jobs.engine, table) for table in TABLES}
    assert rows == {**dict.fromkeys(TABLES, 0), "millrace_jobs": 1, "millrace_job_events": 1}
    assert await event_types(jobs, kept.id) == ["submitted"]
    assert await jobs.result(job.id) is None
    assert await jobs.seconds_until(job.id) == 0.0


async def test_whoever_still_writes_about_a_job_that_is_removed_leaves_nothing(
    jobs: JobDatabase, jobs_url: str
) -> None:
    async with open_jobs(jobs_url, pool_size=4) as other:
        for _ in range(15):
            job = await running(jobs)
            token = job.lease_token or ""
            await asyncio.gather(
                other.write_logs([(job.id, token, "log", "line")] * 20),
                finish(other, job),
                jobs.delete([job.id]),
                other.report([(job.id, token, Progress(percent=1.0))]),
            )
            await jobs.delete([job.id])
    assert [await count(jobs.engine, table) for table in TABLES] == [0] * len(TABLES)


# Results and errors

NUMBERS = (0, 1, -1, 2**63, -(2**63), 2**70, 10**40, 0.0, -0.0, 1.0, 0.1 + 0.2, 1 / 3, 1e22, 1e23, 5e-324, 1e308)
TEXTS = ("", "a", '"', "\\", "\\u0000", "\0", "\n", "é", "\u2028", "\U0001f600", "null", "{}", "1")
leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


async def stored(jobs: JobDatabase, result: bytes) -> bytes:
    """A result as it comes back, by both ways there are."""
    job = await running(jobs)
    await finish(jobs, job, result=result, result_ref=f"job:{job.id}")
    found = await jobs.results([job.id])
    assert (await get(jobs, job.id)).result is None
    assert await jobs.result(job.id) == found[job.id]
    return found[job.id] or b""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(values, min_size=1, max_size=5))
async def test_a_result_is_to_the_byte_what_the_task_returned(jobs: JobDatabase, results: list[Any]) -> None:
    for result in results:
        encoded = msgspec.json.encode(result)
        assert await stored(jobs, encoded) == encoded


@pytest.mark.parametrize(
    "result",
    [
        b"1.0",
        b"1e400",
        b"-0.0",
        b'{"b":1,"a":2,"b":3}',
        b" [1 , 2] ",
        b"[" * 500 + b"]" * 500,
        b'"%s"' % (b"x" * 10**6),
    ],
    ids=lambda result: result[:12].decode(),
)
async def test_a_result_of_any_form_survives(jobs: JobDatabase, result: bytes) -> None:
    assert await stored(jobs, result) == result


async def test_only_completed_jobs_have_results(jobs: JobDatabase) -> None:
    nothing, artifact, failed, waits = [await running(jobs) for _ in range(4)]
    id = new_id()
    await finish(jobs, nothing)
    await finish(jobs, artifact, artifact_id=id, result_ref=f"artifact:{id}")
    await finish(jobs, failed, state=JobState.FAILED)
    found = await jobs.results([job.id for job in (nothing, artifact, failed, waits)] + [new_id()])
    assert found == {nothing.id: None, artifact.id: json.dumps({"artifact_id": id}, separators=(",", ":")).encode()}
    assert (await get(jobs, artifact.id)).artifact_id == id
    assert await jobs.results([]) == {}


async def test_errors_of_any_text_can_be_kept(jobs: JobDatabase) -> None:
    job = await running(jobs)
    text = cut("NUL \0, half of a pair \ud800, \U0001f600, \u2028, \\u0000, '; --")
    [ended] = (await finish(jobs, job, state=JobState.FAILED, error=text, traceback=text * 100)).jobs
    assert ended.error == "NUL \\0, half of a pair \\ud800, \U0001f600, \u2028, \\u0000, '; --"
    assert ended.error_traceback == text * 100
    assert (await jobs.events(job.id, after=0, limit=9))[-1].detail == ended.error


# History and reports


async def test_the_history_of_a_job_is_complete_and_in_order(jobs: JobDatabase) -> None:
    job = await running(jobs, delay_seconds=None)
    await finish(jobs, job, state=JobState.RETRYING, delay_seconds=0.0, error="first")
    await jobs.promote()
    [second] = await claim(jobs)
    await finish(jobs, second, state=JobState.DEAD, error="second")
    await jobs.requeue({job.id: 0})
    await jobs.cancel([job.id])
    events = await jobs.events(job.id, after=0, limit=99)
    assert [(event.type, event.attempt, event.detail) for event in events] == [
        ("submitted", 0, None),
        ("running", 1, None),
        ("retrying", 1, "first"),
        ("due", 1, None),
        ("running", 2, None),
        ("dead", 2, "second"),
        ("requeued", 0, None),
        ("canceled", 0, None),
    ]
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert {event.job_id for event in events} == {job.id}
    rest = await jobs.events(job.id, after=events[2].sequence, limit=2)
    assert rest == events[3:5]
    assert (await get(jobs, job.id)).revision == len(events)


async def test_lines_come_back_in_the_order_they_were_written(jobs: JobDatabase) -> None:
    one, two = await running(jobs), await running(jobs)
    lines = [(one, "stdout", "a"), (two, "log", "b"), (one, "stderr", 'c"\\é\u2028'), (one, "log", "")]
    await jobs.write_logs([(job.id, job.lease_token or "", stream, text) for job, stream, text in lines])
    found = await jobs.logs(one.id, after=0, limit=9)
    assert [(line.stream, line.text, line.attempt) for line in found] == [
        ("stdout", "a", 1),
        ("stderr", 'c"\\é\u2028', 1),
        ("log", "", 1),
    ]
    assert await jobs.logs(one.id, after=found[0].sequence, limit=1) == found[1:2]
    await finish(jobs, one)
    await jobs.write_logs([(one.id, one.lease_token or "", "log", "too late")])
    assert len(await jobs.logs(one.id, after=0, limit=9)) == 3


async def test_progress_is_that_of_the_present_run(jobs: JobDatabase) -> None:
    job = await running(jobs)
    told = Progress(percent=12.5, step='"s"', message="é")
    await jobs.report([(job.id, job.lease_token or "", told)])
    after = await get(jobs, job.id)
    assert after.progress == told
    assert after.revision == job.revision + 1
    await finish(jobs, job, state=JobState.RETRYING, delay_seconds=0.0)
    await jobs.promote()
    [again] = await claim(jobs)
    assert again.progress is None


async def test_a_row_that_later_rules_would_refuse_keeps_nobody_from_the_others(jobs: JobDatabase) -> None:
    odd, plain = await jobs.insert([new(priority=9, trace_id="odd"), new()])
    await jobs.engine.execute("UPDATE millrace_jobs SET priority = 5000, unique_key = '' WHERE trace_id = 'odd'")
    claimed = await claim(jobs)
    assert [job.id for job in claimed] == [odd.id, plain.id]
    await expire(jobs, odd.id, plain.id)
    assert {job.id for job in (await jobs.reap(3)).jobs} == {odd.id, plain.id}


# Looking after them


async def test_why_a_job_waits_can_be_told(jobs: JobDatabase) -> None:
    await jobs.insert([new(priority=1), new(run_at=datetime(2001, 1, 1, tzinfo=UTC)), new(queue="other", priority=9)])
    [job] = await jobs.insert([new(concurrency_key="k", concurrency_limit=2)])
    await jobs.insert([new(), new(priority=-1), new(delay_seconds=99.0, priority=9)])
    assert await jobs.ahead_of(job) == 2
    assert await jobs.holders("k") == []
    claimed = await claim(jobs)
    assert [holder.id for holder in await jobs.holders("k")] == [job.id]
    await jobs.cancel([job.id])
    assert [holder.id for holder in await jobs.holders("k")] == [job.id]
    await finish(jobs, *claimed)
    assert await jobs.holders("k") == []


async def test_the_risks_that_workers_have_taken_lately_are_known(jobs: JobDatabase) -> None:
    await jobs.insert([new() for _ in range(4)])
    first = await claim(jobs)
    lost = [job.id for job in first[:3]]
    await expire(jobs, *lost)
    await jobs.reap(3)
    assert await jobs.risks(1, within_seconds=60.0) == []
    begun = await claim(jobs, 2)
    await move(jobs, "started_at", -61.0, begun[1].id)
    assert [(job.id, job.worker_id) for job in await jobs.risks(1, within_seconds=60.0)] == [(begun[0].id, WORKER)]
    assert [job.id for job in await jobs.risks(1, within_seconds=3600.0)] == lost[:2]
    assert await jobs.risks(2, within_seconds=3600.0) == []
    await jobs.cancel([begun[0].id])
    assert [job.id for job in await jobs.risks(1, within_seconds=60.0)] == [begun[0].id]
    await finish(jobs, *begun)
    assert await jobs.risks(0, within_seconds=3600.0) == [await get(jobs, first[3].id)]


async def test_jobs_of_a_schedule_are_found_until_they_end(jobs: JobDatabase) -> None:
    schedule_id = new_id()
    ticks = [{"schedule_id": schedule_id, "fire_at": datetime(2026, 1, day, tzinfo=UTC)} for day in (1, 2)]
    await jobs.insert([new(**ticks[0]), new(**ticks[1], delay_seconds=9.0), new(schedule_id=schedule_id), new()])
    # The one without a tick was submitted by hand.
    assert len(await jobs.active_of_schedule(schedule_id)) == 2
    await finish(jobs, *await claim(jobs))
    assert [job.state for job in await jobs.active_of_schedule(schedule_id)] == [JobState.SCHEDULED]
    assert await jobs.active_of_schedule(new_id()) == []


async def test_how_each_queue_stands(jobs: JobDatabase) -> None:
    await jobs.insert([new(queue="b") for _ in range(6)])
    done, failed, dead, stops, runs, again = await claim(jobs, queue="b")
    await finish(jobs, done)
    await finish(jobs, failed, state=JobState.FAILED)
    await finish(jobs, dead, state=JobState.DEAD)
    await finish(jobs, again, state=JobState.RETRYING, delay_seconds=99.0)
    await jobs.cancel([stops.id])
    old, _ = await jobs.insert([new(queue="a"), new(queue="a", waits_for=1)])
    await move(jobs, "run_at", -3600.0, old.id)
    await jobs.insert([new(queue="b", delay_seconds=9.0)])
    first, second = await jobs.stats()
    assert first.oldest_seconds is not None
    assert 3599 < first.oldest_seconds < 3700
    assert (first.queue, first.queued, first.blocked) == ("a", 1, 1)
    assert msgspec.to_builtins(second) == {
        "queue": "b",
        "queued": 0,
        "scheduled": 1,
        "retrying": 1,
        "blocked": 0,
        "running": 1,
        "canceling": 1,
        "dead": 1,
        "oldest_seconds": None,
        "completed_per_minute": 1,
        "failed_per_minute": 2,
    }
    await move(jobs, "finished_at", -120.0, done.id, failed.id)
    [_, later] = await jobs.stats()
    assert (later.completed_per_minute, later.failed_per_minute) == (0, 1)
    assert runs.id


async def test_jobs_are_kept_for_as_long_as_their_end_says(jobs: JobDatabase) -> None:
    ends = [JobState.COMPLETED, JobState.CANCELED, JobState.FAILED, JobState.DEAD]
    ended = {}
    for state in ends:
        ended[state] = await running(jobs)
        await finish(jobs, ended[state], state=state)
    await jobs.insert([new(), new(delay_seconds=9.0)])
    days = Retention(completed_days=1.0, canceled_days=2.0, failed_days=3.0, most_jobs=None)

    async def outdated_after(days_ago: float) -> set[str]:
        await move(jobs, "finished_at", -days_ago * 86_400, *(job.id for job in ended.values()))
        found: set[str] = set()
        while some := await jobs.outdated(days):
            found |= set(some)
            await jobs.delete(some)
        return found

    assert await outdated_after(0.9) == set()
    assert await outdated_after(1.1) == {ended[JobState.COMPLETED].id}
    assert await outdated_after(2.1) == {ended[JobState.CANCELED].id}
    assert await outdated_after(3.1) == {ended[JobState.FAILED].id, ended[JobState.DEAD].id}
    assert await count(jobs.engine, "millrace_jobs") == 2
    forever = Retention(completed_days=None, canceled_days=None, failed_days=None, most_jobs=None)
    assert await jobs.outdated(forever) == []


async def test_only_so_many_ended_jobs_are_kept(jobs: JobDatabase) -> None:
    await jobs.insert([new() for _ in range(6)])
    ended = await claim(jobs)
    await finish(jobs, *ended)
    await jobs.insert([new()])
    # All at the same moment, as after a cancel of many.
    await jobs.engine.execute(f"UPDATE millrace_jobs SET finished_at = {jobs.dialect.began} WHERE state = 'completed'")
    ids = [job.id for job in ended]
    for most in (7, 6):
        assert await jobs.outdated(Retention(most_jobs=most)) == []
    assert await jobs.outdated(Retention(most_jobs=4)) == ids[:2]
    assert await jobs.outdated(Retention(most_jobs=0)) == ids


async def test_workers_are_known_for_as_long_as_they_say_so(jobs: JobDatabase) -> None:
    info = WorkerInfo(id=WORKER, host="h" * 300, pid=7, queues=("a", "b"), kinds=('k"', "é"), concurrency=9, running=1)
    await jobs.beat(info)
    stored = msgspec.structs.replace(info, host="h" * 255)
    assert await jobs.workers(within_seconds=30.0) == [stored]
    changed = msgspec.structs.replace(stored, running=3, is_draining=True)
    await jobs.beat(changed)
    assert await jobs.workers(within_seconds=30.0) == [changed]
    await jobs.engine.execute(f"UPDATE millrace_workers SET seen_at = {jobs.dialect.ago('60.0')}")
    assert await jobs.workers(within_seconds=30.0) == []
    await jobs.forget_workers(after_seconds=90.0)
    assert len(await jobs.workers(within_seconds=90.0)) == 1
    await jobs.forget_workers(after_seconds=30.0)
    assert await jobs.workers(within_seconds=90.0) == []
    await jobs.beat(info)
    await jobs.leave(WORKER)
    assert await count(jobs.engine, "millrace_workers") == 0
