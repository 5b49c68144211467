"""A worker on either database: what it makes of every way a run can go, and how it leaves."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.entity import new_id
from domain.errors import Misconfigured
from domain.jobs import Job, JobState, NewJob
from domain.workers import WorkerOptions, check_options
from infra.database.postgres import PostgresEngine
from service.managers.worker import Worker
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, eventually, gate, queue_name, works


@pytest.fixture(scope="module")
async def service(module_database_url: str) -> AsyncIterator[Works]:
    async with works(module_database_url) as opened:
        yield opened


@pytest.fixture
def queue() -> str:
    return queue_name()


async def running(service: Works, job: Job) -> Job:
    return await service.reach(job, JobState.RUNNING)


async def counting(worker: Worker, number: int) -> bool:
    """Whether so many run, as the worker knows a moment after the database does."""
    return worker.info.running == number


# How runs end


async def test_a_failed_job_is_tried_again_until_its_attempts_are_used_up(service: Works, queue: str) -> None:
    job = await service.add(tasks.fail, "no", queue=queue)
    async with service.working(queue):
        waiting = await service.reach(job, JobState.RETRYING)
        ended = await service.ended(job)
    # Somewhere between now and the policy's delay.
    longest = timedelta(seconds=tasks.fail.retry_policy.ceiling_seconds(waiting.attempt) + 0.001)
    assert timedelta() <= waiting.run_at - waiting.updated_at <= longest
    assert (ended.state, ended.attempt, ended.error) == (JobState.DEAD, 4, "ValueError: no")
    types = ["submitted", *["running", "retrying", "due"] * 3, "running", "dead"]
    assert await service.types(job) == types


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
async def test_a_task_that_asks_for_time_gets_exactly_that(service: Works, queue: str, seconds: float) -> None:
    job = await service.add(tasks.postpone, seconds, queue=queue)
    async with service.working(queue):
        if seconds:
            waiting = await service.reach(job, JobState.RETRYING)
            assert abs(waiting.run_at - waiting.updated_at - timedelta(seconds=seconds)) < timedelta(milliseconds=1)
        else:
            assert (await service.ended(job)).attempt == 4


FAILURES = [
    (tasks.give_up, JobState.FAILED, "tests.service.managers.works.OwnMistake: never again"),
    (tasks.dawdle, JobState.DEAD, "TimeoutError: the task took longer than 0.05 s and was stopped"),
    (tasks.time_out, JobState.FAILED, "TimeoutError: of my own"),
    (tasks.cancel_itself, JobState.FAILED, "asyncio.exceptions.CancelledError: me"),
    (tasks.be_canceled, JobState.FAILED, "asyncio.exceptions.CancelledError"),
    (tasks.leave, JobState.FAILED, "SystemExit: 3"),
    (tasks.be_odd, JobState.FAILED, "tests.service.managers.works.Odd: as ever"),
    (tasks.give_up_by_itself, JobState.FAILED, "domain.tasks.Canceled"),
    (tasks.return_object, JobState.FAILED, "TypeError: the task returned a object that is no JSON: "),
    (tasks.return_too_much, JobState.FAILED, "ValueError: the result has 1048578 bytes of JSON and 1048576 are"),
    (tasks.return_surrogate, JobState.FAILED, "TypeError: the task returned a str that is no JSON: "),
]


async def test_every_way_to_fail_is_recorded_and_the_worker_goes_on(service: Works, queue: str) -> None:
    jobs = [(await service.add(task, queue=queue), state, error) for task, state, error in FAILURES]
    async with service.working(queue):
        for job, state, error in jobs:
            ended = await service.ended(job)
            assert (ended.state, (ended.error or "")[: len(error)]) == (state, error)
        after = await service.add(tasks.echo, 5, queue=queue)
        assert (await service.ended(after)).state is JobState.COMPLETED


async def test_a_result_is_kept_to_the_letter_whatever_is_in_it(service: Works, queue: str) -> None:
    values = [0, 2**70, 0.1 + 0.2, "nul \\u0000", {"": None}]
    jobs = [await service.add(tasks.echo, value, queue=queue) for value in values]
    nul = await service.add(tasks.return_nul, queue=queue)
    async with service.working(queue):
        for job in (*jobs, nul):
            await service.reach(job, JobState.COMPLETED)
    assert [await service.store.result(job.id) for job in jobs] == [msgspec.json.encode(value) for value in values]
    assert await service.store.result(nul.id) == b'{"name":["a\\u0000b"]}'


@pytest.fixture(params=["result"])
async def refusing(service: Works, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A word that the database refuses in results, or in labels of jobs that end."""
    word, table = "unspeakable", "millrace_jobs"
    what = {"result": "NEW.result", "label": "NEW.finished_at IS NOT NULL AND NEW.label"}[request.param]
    if isinstance(service.engine, PostgresEngine):
        await service.engine.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such word'; END $$"
        )
        condition = f"EACH ROW WHEN ({what}::text LIKE '%{word}%') EXECUTE FUNCTION refuse()"
        await service.engine.execute(f"CREATE TRIGGER refusing BEFORE UPDATE ON {table} FOR {condition}")
    else:
        condition = f"WHEN {what} LIKE '%{word}%' BEGIN SELECT RAISE(ABORT, 'no such word'); END"
        await service.engine.execute(f"CREATE TRIGGER refusing BEFORE UPDATE ON {table} {condition}")
    yield word
    if isinstance(service.engine, PostgresEngine):
        await service.engine.execute(f"DROP TRIGGER refusing ON {table}")
        await service.engine.execute("DROP FUNCTION refuse()")
    else:
        await service.engine.execute("DROP TRIGGER refusing")


async def test_what_the_database_refuses_fails_its_job_and_no_other(
    service: Works, queue: str, refusing: str, caplog: pytest.LogCaptureFixture
) -> None:
    # They end in the same instant, so they are recorded together.
    jobs = [await service.add(tasks.echo, value, queue=queue) for value in (0, refusing, 2)]
    async with service.working(queue):
        ended = [await service.ended(job) for job in jobs]
    assert [job.state for job in ended] == [JobState.COMPLETED, JobState.FAILED, JobState.COMPLETED]
    assert [await service.store.result(job.id) for job in jobs] == [b"0", None, b"2"]
    assert ended[1].error is not None
    assert ended[1].error.startswith("The result cannot be stored: ")
    assert caplog.messages == []


@pytest.mark.parametrize("refusing", ["label"], indirect=True)
async def test_an_end_that_cannot_be_recorded_at_all_is_given_up(
    service: Works, queue: str, refusing: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = await service.add(tasks.echo, 1, queue=queue, label=refusing)
    async with service.working(queue, lease_seconds=60.0) as worker:
        await running(service, job)

        async def is_idle() -> bool:
            return worker.info.running == 0

        await eventually(is_idle)
        after = await service.add(tasks.echo, 2, queue=queue)
        await service.reach(after, JobState.COMPLETED)
    assert f"the end of job {job.id} cannot be recorded" in caplog.text
    assert (await service.get(job)).state is JobState.RUNNING
    await service.store.delete([job.id])


async def test_what_a_database_cannot_hold_is_written_so_that_it_can(service: Works, queue: str) -> None:
    job = await service.add(tasks.log_oddly, queue=queue)
    async with service.working(queue):
        ended = await service.ended(job)
    [line] = await service.store.logs(job.id, after=0, limit=10)
    assert line.text.startswith("nul \\0 surrogate \\ud800 yyy")
    assert len(line.text) == 16 * 1024
    assert ended.progress is not None
    assert ended.progress.percent == 100.0


# What a run is given


async def test_a_run_has_the_surroundings_of_who_submitted_it(service: Works, queue: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    known = {"principal": "ada", "tenant": "acme", "traceparent": trace}
    job = await service.add(tasks.surroundings, queue=queue, trace_id="t-1", **known)
    alone = await service.add(tasks.surroundings, queue=queue)
    async with service.working(queue):
        for item in (job, alone):
            await service.reach(item, JobState.COMPLETED)
    found = [msgspec.json.decode(await service.store.result(item.id) or b"") for item in (job, alone)]
    assert found == [
        {"request_id": "t-1", **known},
        # Its lines in the log are found by something in any case.
        {"request_id": alone.id, "principal": "anonymous", "tenant": "default", "traceparent": ""},
    ]


async def test_references_are_replaced_by_what_they_refer_to(service: Works, queue: str) -> None:
    first, nothing = [await service.add(tasks.echo, value, queue=queue) for value in ({"a": [1]}, None)]
    async with service.working(queue):
        for job in (first, nothing):
            await service.reach(job, JobState.COMPLETED)
        value = {"deep": [{"$ref": f"job:{first.id}"}, {"$ref": f"job:{nothing.id}"}, {"$ref": 5}]}
        job = await service.add(tasks.echo, value, queue=queue)
        await service.reach(job, JobState.COMPLETED)
    result = msgspec.json.decode(await service.store.result(job.id) or b"")
    assert result == {"deep": [{"a": [1]}, None, {"$ref": 5}]}


async def test_a_reference_to_what_is_gone_fails_the_job(service: Works, queue: str) -> None:
    job = await service.add(tasks.echo, {"$ref": "job:01K00000000000000000000ZZZ"}, queue=queue)
    async with service.working(queue):
        ended = await service.ended(job)
    assert ended.state is JobState.FAILED
    assert ended.error == "domain.errors.Invalid: The result of job 01K00000000000000000000ZZZ is not there any more"


async def test_arguments_that_no_longer_fit_fail_the_job(service: Works, queue: str) -> None:
    [job] = await service.store.insert([NewJob(kind="fail", args={"value": 1, "extra": 2}, queue=queue)])
    [wrong] = await service.store.insert([NewJob(kind="log", args={"value": "many"}, queue=queue)])
    async with service.working(queue):
        assert (await service.ended(job)).error == "ValueError: 1"
        assert (await service.ended(wrong)).state is JobState.FAILED


# How much at a time


async def test_no_more_jobs_run_than_there_is_room_for(service: Works, queue: str) -> None:
    jobs = [await service.add(tasks.wait, queue, queue=queue) for _ in range(5)]
    async with service.working(queue, concurrency=2) as worker:
        for job in jobs[:2]:
            await running(service, job)
        await eventually(lambda: counting(worker, 2))
        assert [(await service.get(job)).state for job in jobs[2:]] == [JobState.QUEUED] * 3
        gate(queue).set()
        for job in jobs:
            await service.reach(job, JobState.COMPLETED)


async def test_jobs_in_processes_leave_room_for_light_ones(service: Works, queue: str) -> None:
    heavy = [await service.add(tasks.sleep_in_process, queue=queue, priority=5) for _ in range(2)]
    light = await service.add(tasks.echo, 1, queue=queue)
    async with service.working(queue, concurrency=3, processes=1):
        await service.reach(light, JobState.COMPLETED)
        states = sorted([(await service.get(job)).state for job in heavy])
        assert states == [JobState.QUEUED, JobState.RUNNING]
        await service.store.cancel([job.id for job in heavy])
        for job in heavy:
            await service.reach(job, JobState.CANCELED)


async def test_a_worker_leaves_alone_what_it_does_not_know(service: Works, queue: str) -> None:
    [strange] = await service.store.insert([NewJob(kind="strange", queue=queue, priority=9)])
    elsewhere = await service.add(tasks.echo, queue=queue_name(), priority=9)
    job = await service.add(tasks.echo, queue=queue)
    async with service.working(queue):
        await service.reach(job, JobState.COMPLETED)
    for item in (strange, elsewhere):
        assert (await service.get(item)).state is JobState.QUEUED


async def test_two_workers_share_the_work_and_do_nothing_twice(service: Works, queue: str) -> None:
    jobs = await service.store.insert([NewJob(kind="echo", args={"value": n}, queue=queue) for n in range(200)])
    async with (
        service.working(queue, concurrency=5) as first,
        service.working(queue, concurrency=5) as second,
    ):
        ended = [await service.reach(job, JobState.COMPLETED) for job in jobs]
    assert {job.worker_id for job in ended} == {first.id, second.id}
    assert {job.attempt for job in ended} == {1}


# Being canceled


@pytest.mark.parametrize("task", [tasks.wait, tasks.wait_and_complain, tasks.wait_and_break])
async def test_a_canceled_job_is_canceled_however_it_stops(service: Works, queue: str, task: Any) -> None:
    job = await service.add(task, queue, queue=queue)
    async with service.working(queue) as worker:
        await running(service, job)
        await service.store.cancel([job.id])
        worker.wake()
        ended = await service.ended(job)
    assert (ended.state, ended.error) == (JobState.CANCELED, None)


async def test_a_job_that_finishes_all_the_same_has_finished(service: Works, queue: str) -> None:
    job = await service.add(tasks.finish_anyway, queue, queue=queue)
    async with service.working(queue) as worker:
        await running(service, job)
        await service.store.cancel([job.id])
        worker.wake()
        ended = await service.ended(job)
    assert (ended.state, await service.store.result(job.id)) == (JobState.COMPLETED, b'"finished"')


# Leaving


async def test_a_worker_that_stops_lets_its_jobs_finish(service: Works, queue: str) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    waiting = None
    async with service.working(queue, grace_seconds=60) as worker:
        await running(service, job)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        assert worker.info.is_draining
        waiting = await service.add(tasks.echo, queue=queue)
        gate(queue).set()
        await stopping
    assert (await service.get(job)).state is JobState.COMPLETED
    # It has claimed nothing more.
    assert (await service.get(waiting)).state is JobState.QUEUED


@pytest.mark.parametrize("task", [tasks.wait, tasks.wait_and_complain, tasks.wait_and_break, tasks.sleep_in_process])
async def test_what_does_not_finish_is_handed_back_and_taken_over_at_once(
    service: Works, queue: str, task: Any
) -> None:
    job = await service.add(task, queue, queue=queue)
    # It would look again in an hour, unless it is woken.
    async with service.working(queue, poll_seconds=3600, concurrency=1) as second:
        busy = await service.get(job)
        first = await running(service, job)
        assert first.worker_id == second.id
        async with service.working(queue, poll_seconds=3600) as third:
            await service.reach(job, JobState.RUNNING)
            await second.stop()

            async def is_taken_over() -> bool:
                found = await service.get(job)
                return found.worker_id == third.id and found.state is JobState.RUNNING

            await eventually(is_taken_over)
            again = await service.get(job)
            assert (again.attempt, again.losses, again.error) == (1, 0, None)
            assert again.started_at is not None
            assert again.started_at - busy.submitted_at < timedelta(seconds=15)
            assert await service.types(job) == ["submitted", "running", "released", "running"]
    # Nobody took it up again in the middle of leaving.
    assert (await service.get(job)).state is JobState.QUEUED


async def test_who_is_in_a_hurry_does_not_wait_for_the_time_of_grace(service: Works, queue: str) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    async with service.working(queue, grace_seconds=3600) as worker:
        await running(service, job)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        worker.hurry()
        async with asyncio.timeout(30):
            await stopping
    assert (await service.get(job)).state is JobState.QUEUED
    assert worker.id not in {info.id for info in await service.store.workers(within_seconds=60)}


async def test_a_job_canceled_while_it_is_handed_back_is_canceled(service: Works, queue: str) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    async with service.working(queue):
        await running(service, job)
        await service.store.cancel([job.id])
    assert (await service.get(job)).state is JobState.CANCELED


# Losing a job


async def test_the_run_of_a_lost_job_is_discarded(service: Works, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    async with service.working(queue) as worker:
        await running(service, job)
        token = new_id()
        await service.engine.execute(
            f"UPDATE millrace_jobs SET lease_token = '{token}', lease_until = NULL WHERE id = '{job.id}'"
        )

        async def is_idle() -> bool:
            return worker.info.running == 0

        await eventually(is_idle)
    found = await service.get(job)
    assert (found.state, found.lease_token) == (JobState.RUNNING, token)
    assert f"job {job.id} (wait) is no longer ours; its run is discarded" in caplog.text
    await service.store.delete([job.id])


async def test_a_result_that_comes_too_late_is_discarded(
    service: Works, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    # So long that nobody has looked before it ends.
    async with service.working(queue, lease_seconds=3600) as worker:
        held = await running(service, job)
        await service.engine.execute(f"UPDATE millrace_jobs SET lease_token = '{new_id()}' WHERE id = '{job.id}'")
        gate(queue).set()

        async def is_idle() -> bool:
            return worker.info.running == 0

        await eventually(is_idle)
    found = await service.get(job)
    assert (found.state, found.result_ref, found.revision) == (JobState.RUNNING, None, held.revision)
    assert f"job {job.id}" in caplog.text
    assert "discarded" in caplog.text
    await service.store.delete([job.id])


async def test_a_job_that_comes_back_to_the_worker_that_had_lost_it_runs_once(service: Works, queue: str) -> None:
    job = await service.add(tasks.wait, queue, queue=queue)
    async with service.working(queue, poll_seconds=3600) as worker:
        await running(service, job)
        # As if its lease had run out while the database was away.
        await service.engine.execute(
            "UPDATE millrace_jobs SET status = 'pending', state = 'queued', lease_token = NULL, lease_until = NULL "
            f"WHERE id = '{job.id}'"
        )
        worker.wake()

        async def runs_again() -> bool:
            found = await service.get(job)
            return found.state is JobState.RUNNING and found.attempt == 2

        await eventually(runs_again)

        async def waits_once() -> bool:
            return len(gate(queue)._waiters) == 1

        await eventually(waits_once)
        await eventually(lambda: counting(worker, 1))
        # The lease of the second run is kept, for longer than it lasts.
        before = (await service.get(job)).lease_until

        async def is_renewed() -> bool:
            return (await service.get(job)).lease_until != before

        await eventually(is_renewed)
        gate(queue).set()
        ended = await service.reach(job, JobState.COMPLETED)
    assert (ended.attempt, await service.store.result(job.id)) == (2, b"2")


async def test_jobs_of_workers_that_are_gone_run_again_and_poison_stops(service: Works, queue: str) -> None:
    jobs = [await service.add(tasks.echo, number, queue=queue) for number in range(3)]
    gone = {"worker_id": new_id(), "lease_seconds": -1.0}
    for job, losses in zip(jobs, (0, 1, 2), strict=True):
        await service.engine.execute(f"UPDATE millrace_jobs SET losses = {losses} WHERE id = '{job.id}'")
    assert len(await service.store.claim(queue, ["echo"], 3, **gone)) == 3  # type: ignore[arg-type]
    async with service.working(queue, max_losses=3):
        ended = [await service.ended(job) for job in jobs]
    assert [job.state for job in ended] == [JobState.COMPLETED, JobState.COMPLETED, JobState.DEAD]
    assert [job.losses for job in ended] == [1, 2, 3]
    assert ended[2].error == "WorkerLost: the worker disappeared 3 times while it ran this job"
    assert await service.types(jobs[0]) == ["submitted", "running", "lost", "running", "completed"]


# Trouble


async def test_a_worker_survives_an_absence_of_its_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with works(f"sqlite:///{tmp_path / 'works.db'}") as service:
        queue = queue_name()
        first = await service.add(tasks.wait, queue, queue=queue)
        second = await service.add(tasks.echo, queue=queue, delay_seconds=0.2)
        async with service.working(queue, lease_seconds=60):
            await running(service, first)
            await service.engine.stop()
            gate(queue).set()

            async def has_complained() -> bool:
                return "the ends of jobs cannot be recorded" in caplog.text

            await eventually(has_complained)
            await service.engine.start()
            for job in (first, second):
                await service.reach(job, JobState.COMPLETED)
    assert "trying again" in caplog.text
    assert "the ends of jobs cannot be recorded: no longer" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_database_in_memory_is_worked_on_too() -> None:
    async with works("sqlite:///:memory:") as service:
        queue = queue_name()
        job = await service.add(tasks.wait, queue, queue=queue)
        async with service.working(queue):
            before = (await running(service, job)).lease_until

            async def is_renewed() -> bool:
                return (await service.get(job)).lease_until != before

            await eventually(is_renewed)
            gate(queue).set()
            await service.reach(job, JobState.COMPLETED)


async def test_a_short_lease_is_kept_too(service: Works, queue: str, caplog: pytest.LogCaptureFixture) -> None:
    async with service.working(queue, lease_seconds=2.0) as worker:

        async def is_known() -> bool:
            return worker.id in {info.id for info in await service.store.workers(within_seconds=60)}

        await eventually(is_known)
        job = await service.add(tasks.wait, queue, queue=queue)
        held = await running(service, job)
        seen = {held.lease_until}

        async def is_renewed_often() -> bool:
            seen.add((await service.get(job)).lease_until)
            return len(seen) > 4

        await eventually(is_renewed_often)
        gate(queue).set()
        ended = await service.reach(job, JobState.COMPLETED)
    assert (ended.attempt, ended.losses, caplog.messages) == (1, 0, [])


@pytest.mark.parametrize(
    "name, value",
    [
        ("concurrency", 0),
        ("processes", 0),
        ("poll_seconds", 0.0),
        ("lease_seconds", 1.9),
        ("max_losses", 0),
        ("grace_seconds", -1.0),
        ("grace_seconds", float("nan")),
    ],
)
def test_options_that_cannot_work_are_named(name: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=rf"with_jobs\((max_)?{name}={value}\): at least"):
        check_options(msgspec.structs.replace(WorkerOptions(), **{name: value}))


def test_the_usual_options_work() -> None:
    check_options(WorkerOptions())
    assert logging.getLogger("millrace.jobs").name
