"""The worker within a service: it is there for as long as the service is, whatever its jobs do to it."""

import asyncio
from pathlib import Path

import pytest

from domain.jobs import JobState
from domain.registration import ServiceInfo
from domain.tasks import RunningJob, task
from service.builder import ServiceBuilder
from service.http.application import Service
from service.settings import Settings
from tests.service.managers.works import eventually


def claiming() -> list["asyncio.Task[object]"]:
    """The loops in which workers claim jobs."""
    return [other for other in asyncio.all_tasks() if "Claiming.run" in repr(other.get_coro())]


@task()
async def sabotage(job: RunningJob) -> None:
    """Cancels what it has not made, once."""
    if job.attempt == 1:
        for loop in claiming():
            loop.cancel()


@task()
async def work() -> str:
    return "done"


@pytest.fixture
def app(tmp_path: Path) -> Service:
    builder = ServiceBuilder(info=ServiceInfo(id="sabotaged", display_name="Sabotaged"))
    builder.with_database(f"sqlite:///{tmp_path / 'database.sqlite3'}").with_jobs(lease_seconds=2)
    return builder.with_tasks(sabotage, work).build(Settings())


async def test_a_worker_that_fails_is_replaced(app: Service, caplog: pytest.LogCaptureFixture) -> None:
    async with app.lifespan():
        submitted = [await app.jobs.submit(sabotage), await app.jobs.submit(work, delay_seconds=0.5)]

        async def are_completed() -> bool:
            jobs = [await app.jobs.get(found.job.id) for found in submitted]
            return all(job.state is JobState.COMPLETED for job in jobs)

        await eventually(are_completed)
    [failure] = [record for record in caplog.records if "has failed" in record.message]
    assert "does a task cancel what it has not made?" in str(failure.exc_info and failure.exc_info[1])


async def test_a_service_can_stop_while_it_has_no_worker(app: Service) -> None:
    async with app.lifespan():
        await app.jobs.submit(sabotage)

        async def is_broken() -> bool:
            return not claiming()

        await eventually(is_broken)
    assert app.running.opened_background is None
