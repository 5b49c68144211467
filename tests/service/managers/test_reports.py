"""What runs report: kept in order and within bounds, and written even if it must be tried again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.entity import new_id
from domain.errors import Unavailable
from domain.jobs import Job, JobState, Progress
from service.managers.reports import HEAD_BYTES, TAIL_BYTES, Reports
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, queue_name, works


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(f"sqlite:///{tmp_path / 'works.db'}") as opened:
        yield opened


async def claimed(service: Works) -> Job:
    """A job that somebody runs."""
    queue = queue_name()
    await service.add(tasks.echo, queue=queue)
    [job] = await service.store.claim(queue, ["echo"], 1, worker_id=new_id(), lease_seconds=60)
    return job


async def texts(service: Works, job: Job) -> list[str]:
    return [line.text for line in await service.store.logs(job.id, after=0, limit=100_000)]


async def test_lines_are_kept_in_their_order_and_the_latest_progress(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    report.add({"log": "one"})
    report.add({"progress": {"percent": 10.0}})
    report.add({"stdout": "two"})
    await reports.write()
    report.add({"stderr": "three"})
    report.add({"progress": {"percent": 20.0, "step": "s", "message": "m"}})
    report.add({"progress": {"percent": 30.0}})
    await reports.write([job])
    reports.discard(job)
    lines = await service.store.logs(job.id, after=0, limit=10)
    assert [(line.stream, line.text) for line in lines] == [("log", "one"), ("stdout", "two"), ("stderr", "three")]
    assert (await service.get(job)).progress == Progress(percent=30.0)


async def test_of_too_much_the_beginning_and_the_end_are_kept(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    lines = [f"{number:06} {'x' * 92}" for number in range(10_000)]
    for number, line in enumerate(lines):
        report.add({"log": line})
        if number % 1_000 == 0:
            await reports.write()
    await reports.write([job])
    found = await texts(service, job)
    # A line is a hundred bytes with its end.
    head, tail = HEAD_BYTES // 100, TAIL_BYTES // 100
    assert found[:head] == lines[:head]
    assert found[head] == f"… {10_000 - head - tail} lines left out here …"
    assert found[head + 1 :] == lines[-tail:]


async def test_what_just_exceeds_the_bounds_is_whole(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    lines = [f"{number:06} {'x' * 92}" for number in range(HEAD_BYTES // 100 + 10)]
    for line in lines:
        report.add({"log": line})
    await reports.write()
    # While it runs only the beginning is there: nobody knows yet what the end is.
    assert await texts(service, job) == lines[: HEAD_BYTES // 100]
    await reports.write([job])
    assert await texts(service, job) == lines


async def test_a_task_that_logs_without_end_is_bounded(service: Works) -> None:
    queue = queue_name()
    job = await service.add(tasks.log, 50_000, queue=queue)
    async with service.working(queue):
        await service.reach(job, JobState.COMPLETED)
    found = await texts(service, job)
    assert len("".join(found).encode()) < HEAD_BYTES + TAIL_BYTES
    assert (found[0][:6], found[-1][:6]) == ("000000", "049999")
    assert sum(text.endswith("lines left out here …") for text in found) == 1


async def test_what_could_not_be_written_is_written_the_next_time(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    report.add({"log": "before"})
    report.add({"progress": {"percent": 10.0}})
    await service.engine.stop()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await reports.write([job])
    await service.engine.start()
    report.add({"log": "after"})
    await reports.write([job])
    assert await texts(service, job) == ["before", "after"]
    assert (await service.get(job)).progress == Progress(percent=10.0)


async def test_a_job_that_is_gone_leaves_no_lines(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    report.add({"log": "too late"})
    report.add({"progress": {"percent": 10.0}})
    await service.store.delete([job.id])
    await reports.write([job])
    assert await texts(service, job) == []


async def test_those_who_write_at_once_write_each_line_once(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    report = reports.open(job)
    lines = [str(number) for number in range(100)]
    for line in lines:
        report.add({"log": line})
    await asyncio.gather(*(reports.write() for _ in range(5)))
    assert await texts(service, job) == lines


async def test_the_progress_of_a_lost_run_is_not_stored(service: Works) -> None:
    job, reports = await claimed(service), Reports(service.store)
    reports.open(job).add({"progress": {"percent": 10.0}})
    await service.engine.execute(f"UPDATE millrace_jobs SET lease_token = '{new_id()}' WHERE id = '{job.id}'")
    await reports.write([job])
    assert (await service.get(job)).progress is None
