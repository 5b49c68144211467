"""One run: its end is told once, whatever it is stopped by and whenever."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.entity import new_id, now_utc
from domain.jobs import Job, JobState
from domain.runs import Reason, RunEnd
from domain.tasks import REFERENCE, Task
from infra.database.jobs.store import JobDatabase
from infra.database.sqlite import SqliteEngine
from infra.runners.process import ProcessRunner
from service.managers.reports import Report
from service.managers.runs import ActiveRun, Runs, Stop
from tests.service.managers import works as tasks
from tests.service.managers.works import Works, eventually, gate, queue_name, works


class Running(msgspec.Struct):
    """Runs, and how those have ended that were."""

    runs: Runs
    ends: list[RunEnd | None]
    told: asyncio.Event

    def start(self, task: Task, value: Any = None) -> ActiveRun:
        """Begin to run a task."""
        now = now_utc()
        args = {} if task.args is None else {"value": value}
        timeout = task.timeout_seconds
        job = Job(id=new_id(), kind=task.kind, args=args, run_at=now, submitted_at=now, timeout_seconds=timeout)
        return self.runs.start(job, task, Report(job), self._on_end)

    def _on_end(self, run: ActiveRun, end: RunEnd | None) -> None:
        self.ends.append(end)
        self.told.set()

    async def end(self) -> RunEnd | None:
        """How the run has ended, and that it was told once."""
        async with asyncio.timeout(30):
            await self.told.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        [end] = self.ends
        return end


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Works]:
    folder: Path = tmp_path_factory.mktemp("runs")
    async with works(f"sqlite:///{folder / 'works.db'}") as opened:
        yield opened


@pytest.fixture
async def running(service: Works) -> AsyncIterator[Running]:
    runs = Runs(service.store, ProcessRunner([tasks.sleep_in_process]))
    yield Running(runs, [], asyncio.Event())
    await runs.close()


async def test_a_run_that_ends_by_itself_tells_how(running: Running) -> None:
    running.start(tasks.echo, 5)
    assert await running.end() == RunEnd(reason=Reason.COMPLETED, result=b"5")


async def test_a_run_that_needs_another_ones_result_waits_for_a_database_that_is_away(
    service: Works, running: Running
) -> None:
    queue = queue_name()
    job = await service.add(tasks.echo, 7, queue=queue)
    async with service.working(queue):
        await service.reach(job, JobState.COMPLETED)
    assert isinstance(service.engine, SqliteEngine)
    away = SqliteEngine(service.engine.path)
    running.runs = Runs(JobDatabase(away), ProcessRunner([]))
    running.start(tasks.echo, {REFERENCE: f"job:{job.id}"})
    for _ in range(3):
        await asyncio.sleep(0)
    assert running.ends == []
    await away.start()
    assert await running.end() == RunEnd(reason=Reason.COMPLETED, result=b"7")
    await away.stop()


@pytest.mark.parametrize("task", [tasks.wait, tasks.sleep_in_process])
@pytest.mark.parametrize(
    "why, end", [(Stop.CANCELED, RunEnd(reason=Reason.CANCELED)), (Stop.GIVEN_BACK, None), (Stop.LOST, None)]
)
async def test_a_run_that_is_stopped_before_it_has_begun_ends(
    running: Running, task: Task, why: Stop, end: RunEnd | None
) -> None:
    run = running.start(task, queue_name())
    run.stop(why)
    assert await running.end() == end


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_in_the_first_moments_is_not_lost(service: Works, running: Running, turns: int) -> None:
    # It waits for the result of another job first.
    queue = queue_name()
    other = await service.add(tasks.echo, 1, queue=queue)
    async with service.working(queue):
        await service.reach(other, JobState.COMPLETED)
    now = now_utc()
    args = {"value": {"$ref": f"job:{other.id}"}}
    job = Job(id=new_id(), kind="sleep_in_process", args=args, run_at=now, submitted_at=now)
    run = running.runs.start(job, tasks.sleep_in_process, Report(job), running._on_end)
    for _ in range(turns):
        await asyncio.sleep(0)
    run.stop(Stop.CANCELED)
    end = await running.end()
    assert end is not None
    assert end.reason is Reason.CANCELED


async def test_the_more_urgent_reason_to_stop_counts(running: Running) -> None:
    run = running.start(tasks.wait, queue_name())
    await asyncio.sleep(0)
    run.stop(Stop.CANCELED)
    run.stop(Stop.GIVEN_BACK)
    run.stop(Stop.CANCELED)
    assert run.stopped is Stop.GIVEN_BACK
    assert await running.end() is None


async def test_a_stop_after_the_end_changes_nothing(running: Running) -> None:
    run = running.start(tasks.echo, 5)
    end = await running.end()
    run.stop(Stop.GIVEN_BACK)
    assert await running.end() == end


async def test_what_still_runs_at_the_close_is_broken_off(service: Works) -> None:
    running = Running(Runs(service.store, ProcessRunner([tasks.sleep_in_process])), [], asyncio.Event())
    name = queue_name()
    for task in (tasks.wait, tasks.sleep_in_process, tasks.wait_and_break):
        running.start(task, name)

    async def have_begun() -> bool:
        return len(gate(name)._waiters) == 2

    await eventually(have_begun)
    await running.runs.close()
    await asyncio.sleep(0)
    ends = [end.reason if end is not None else None for end in running.ends]
    assert sorted(str(end) for end in ends) == ["None", "None", "failed"]


async def test_a_task_that_swallows_its_cancellation_does_not_keep_the_worker_from_ending(
    service: Works, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.managers.runs.DEAF_SECONDS", 0.05)
    running = Running(Runs(service.store, ProcessRunner([])), [], asyncio.Event())
    run = running.start(tasks.be_deaf, "deaf")
    await gate("deaf began").wait()
    async with asyncio.timeout(30):
        await running.runs.close()
    assert f"job {run.job.id} (be_deaf) does not end although it is canceled" in caplog.text
    gate("deaf").set()
    assert (await running.end()) == RunEnd(reason=Reason.COMPLETED, result=b'"deaf"')
