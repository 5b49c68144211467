"""Background work put together: who works, what tasks can reach, and that nothing stays behind."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from domain.errors import Misconfigured, Unavailable
from domain.jobs import FINAL, Job, JobState
from domain.tasks import RunningJob, task
from service.container import open_container
from service.http.application import Service
from service.managers.jobs import Jobs
from service.settings import Settings
from tests.processes import free_port
from tests.sample import ITEMS, Item, Items, builder, serving
from tests.service.api import jobs_service
from tests.service.api.jobs_service import eventually


class Name(msgspec.Struct):
    """The name of an item."""

    name: str


def made(url: str, settings: Settings, **options: Any) -> Service:
    """A service with items, and with a task that makes them."""

    @task()
    async def make(args: Name, job: RunningJob) -> str:
        item = await app.manager(ITEMS).save(Item(name=args.name))
        # Tables talk to the same database.
        return f"{await Items.count()} {item.name}"

    @task()
    async def submit_another(args: Name) -> str:
        async with app.running.managers["items"].transactions.transaction():
            await app.manager(ITEMS).save(Item(name=f"{args.name}-first"))
            return (await app.jobs.submit(make, args)).job.id

    @post("/make")
    async def made_by_a_request(data: JSONBody[Name], jobs: NamedDependency[Jobs]) -> str:
        return (await jobs.submit(make, data)).job.id

    given = {"grace_seconds": 0.0, **options}
    app = (
        builder(url)
        .with_jobs(**given)
        .with_tasks(make, submit_another)
        .with_schedules()
        .include_router(made_by_a_request)
        .build(settings)
    )
    return app


@pytest.fixture
def make(sqlite_url: str) -> Callable[..., Service]:
    """Makes the service on an empty SQLite database."""
    return lambda settings=None, **options: made(sqlite_url, settings or Settings(), **options)


async def ended(app: Service, id: str) -> Job:
    """A job once it has ended."""

    async def look() -> Job | None:
        job = await app.jobs.get(id)
        return job if job.state in FINAL else None

    found: Job = await eventually(look)
    return found


@asynccontextmanager
async def started(app: Service) -> AsyncIterator[Service]:
    async with serving(app):
        yield app


async def test_a_service_does_its_jobs_itself(make: Callable[..., Service]) -> None:
    async with started(make()) as app:
        job = await ended(app, (await app.jobs.submit("make", {"name": "one"})).job.id)
        assert (job.state, await app.jobs.result(job.id)) == (JobState.COMPLETED, b'"1 one"')


async def test_a_handler_and_a_task_submit_jobs(make: Callable[..., Service]) -> None:
    app = make()
    async with serving(app) as client:
        id = (await client.post("/make", json={"name": "asked"})).text
        assert (await ended(app, id)).state is JobState.COMPLETED
        outer = await ended(app, (await app.jobs.submit("submit_another", {"name": "more"})).job.id)
        assert outer.state is JobState.COMPLETED
        inner = msgspec.json.decode(await app.jobs.result(outer.id))
        assert (await ended(app, inner)).state is JobState.COMPLETED
        # Whoever caused the first caused the second.
        assert (await app.jobs.get(inner)).trace_id == (outer.trace_id or outer.id)
        names = [item.name for item in await app.manager(ITEMS).find_all()]
        assert names == ["asked", "more-first", "more"]


@pytest.mark.parametrize(
    "settings, is_working",
    [
        (Settings(), True),
        (Settings(worker="false"), False),
        (Settings(redis_url="redis://127.0.0.1:{port}"), False),
        (Settings(redis_url="redis://127.0.0.1:{port}", worker="true"), True),
    ],
)
async def test_who_works_is_decided_by_the_settings(
    make: Callable[..., Service], settings: Settings, is_working: bool
) -> None:
    # A Redis that is away is no reason not to start, nor not to submit.
    if settings.redis_url is not None:
        settings = msgspec.structs.replace(settings, redis_url=settings.redis_url.format(port=free_port()))
    async with started(make(settings, poll_seconds=0.05)) as app:
        workers = await eventually_some(app) if is_working else await app.jobs.store.workers(within_seconds=60)
        assert len(workers) == is_working
        id = (await app.jobs.submit("make", {"name": "x"})).job.id
        if is_working:
            # It finds the job by itself.
            assert (await ended(app, id)).state is JobState.COMPLETED
        else:
            assert (await app.jobs.why(id)).reason == "no_worker"


async def eventually_some(app: Service) -> list[Any]:
    """The workers there are, once there is one."""

    async def look() -> list[Any]:
        return list(await app.jobs.store.workers(within_seconds=60))

    found: list[Any] = await eventually(look)
    return found


async def test_a_redis_url_that_is_none_is_named(make: Callable[..., Service]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with started(make(Settings(redis_url="http://x"))):
            pass
    [error] = caught.value.exceptions
    assert isinstance(error, Misconfigured)
    assert str(error).startswith("REDIS_URL: ")


async def test_nothing_stays_behind(tmp_path: Path) -> None:
    app = jobs_service.builder(f"sqlite:///{tmp_path / 'works.db'}").build(Settings())
    async with started(app):
        jobs = [(await app.jobs.submit(name)).job.id for name in ("grind", "hold")]

        async def are_running() -> bool:
            return [(await app.jobs.get(id)).state for id in jobs] == [JobState.RUNNING] * 2

        await eventually(are_running)
        assert "millrace-leases" in {thread.name for thread in threading.enumerate()}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("millrace")]
    # What ran is handed back, and the worker has signed off.
    async with open_container(app.settings, app.design) as container:
        assert container.background is not None
        store = container.background.managers.jobs.store
        assert [job.state for job in await store.find_many(jobs)] == [JobState.QUEUED] * 2
        assert await store.workers(within_seconds=60) == []


async def test_a_service_in_a_hurry_does_not_wait_for_its_jobs_and_hands_them_back(tmp_path: Path) -> None:
    app = jobs_service.builder(f"sqlite:///{tmp_path / 'works.db'}").with_jobs(grace_seconds=3600).build(Settings())
    is_open, must_close = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            is_open.set()
            await must_close.wait()

    living = asyncio.create_task(live())
    await is_open.wait()
    id = (await app.jobs.submit("hold")).job.id

    async def is_running() -> bool:
        return (await app.jobs.get(id)).state is JobState.RUNNING

    await eventually(is_running)
    must_close.set()
    await app.running.draining.wait()
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    async with open_container(app.settings, app.design) as container:
        assert container.background is not None
        [job] = await container.background.managers.jobs.store.find_many([id])
    assert (job.state, job.attempt, job.lease_token) == (JobState.QUEUED, 0, None)


async def test_a_service_that_starts_again_goes_on_where_it_was(make: Callable[..., Service]) -> None:
    app = make(Settings(worker="false"))
    async with started(app):
        id = (await app.jobs.submit("make", {"name": "later"})).job.id
    with pytest.raises(Unavailable):
        await app.jobs.get(id)
    again = make()
    for _ in range(2):
        # The same app may be started more than once.
        async with started(again):
            assert (await ended(again, id)).state is JobState.COMPLETED


async def test_a_container_has_what_an_app_has(make: Callable[..., Service]) -> None:
    app = make()
    async with open_container(app.settings, app.design) as container:
        assert container.background is not None
        assert set(container.managers) == {"items", "jobs", "graphs", "schedules"}
        assert container.background.options.queues == ("default",)
        submitted = await container.background.managers.jobs.submit("make", {"name": "x"})
        listing = await container.manager("jobs").find_many([submitted.job.id])
        assert [job.id for job in listing] == [submitted.job.id]
        worker = container.background.make_worker(container.background.options)
        assert (worker.info.running, worker.info.kinds) == (0, ("make", "submit_another"))
        assert worker.info.pid > 0


async def test_two_workers_made_of_one_container_are_two(tmp_path: Path) -> None:
    app = jobs_service.builder(f"sqlite:///{tmp_path / 'works.db'}").build(Settings())
    async with open_container(app.settings, app.design) as container:
        background = container.background
        assert background is not None
        async with jobs_service.working(container) as first, jobs_service.working(container) as second:
            assert first.id != second.id

            async def are_known() -> bool:
                store = background.managers.jobs.store
                return {info.id for info in await store.workers(within_seconds=60)} == {first.id, second.id}

            await eventually(are_known)
