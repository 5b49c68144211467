"""A service with tasks of every kind, served on both of its stages: alone, and with workers elsewhere."""

import asyncio
import os
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Any

import httpx
import msgspec
import uvicorn
from msgspec import Meta

from domain.context import current_context
from domain.errors import Invalid
from domain.registration import ServiceInfo
from domain.retries import PermanentFailure, RetryLater
from domain.tasks import Artifact, RunningJob, task
from infra.database.engine import DatabaseEngine
from service.builder import ServiceBuilder
from service.container import Container, open_container
from service.http.application import Service
from service.managers.background import Background
from service.managers.worker import Worker
from service.settings import Settings

PATIENCE_SECONDS = 30
JOBS, TASKS, GRAPHS, SCHEDULES = (f"/api/v1/{noun}" for noun in ("jobs", "tasks", "graphs", "schedules"))
UNKNOWN = "01K00000000000000000000ZZZ"
ARTIFACT = "01M82S91T3S0BWE6F2H0ZV7T6S"

gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


class Sum(msgspec.Struct):
    """Two numbers."""

    first: int
    second: Annotated[int, Meta(ge=0, le=1_000)] = 1


class Gate(msgspec.Struct):
    """Something that is waited for by its name."""

    name: str = "never"


class Tenant(msgspec.Struct):
    """Whose work it is."""

    tenant: str
    gate: str = "never"


class Note(msgspec.Struct):
    """Any text."""

    text: str = ""


class Anything(msgspec.Struct):
    """Any JSON."""

    value: Any = None


@task()
async def add(args: Sum) -> int:
    """Add two numbers."""
    return args.first + args.second


@task()
async def echo(args: Anything) -> Any:
    """Return what it got."""
    return args.value


@task()
async def nothing() -> None:
    """Do nothing."""


@task()
async def hold(args: Gate) -> str:
    """Wait for a gate."""
    await gates[args.name].wait()
    return args.name


@task(priority=7, timeout=600, retries=3, queue="slow")
async def linger(args: Gate) -> None:
    """Wait for a gate in a queue of its own."""
    await gates[args.name].wait()


@task(concurrency_key="tenant-{tenant}", concurrency_limit=2)
async def rent(args: Tenant) -> None:
    """Wait for a gate, two for each tenant."""
    await gates[args.gate].wait()


@task(unique_key="only-{name}")
async def once(args: Gate) -> None:
    """Wait for a gate, one for each gate."""
    await gates[args.name].wait()


@task()
async def fail(args: Note) -> None:
    """Fail in a way that could be mended."""
    raise ValueError(args.text or "no luck")


@task(retries=2, retry_delay=0, max_retry_delay=0)
async def wear_out(args: Note) -> None:
    """Fail at every attempt."""
    raise ValueError(args.text or "no luck")


@task(retries=5, retry_delay=0)
async def recover(job: RunningJob) -> int:
    """Fail twice."""
    job.log(f"attempt {job.attempt} of {job.max_attempts}")
    if job.attempt < 3:
        raise ValueError("not yet")
    return job.attempt


@task(retries=1)
async def postpone() -> None:
    """Ask for an hour."""
    raise RetryLater("the tide is out", after_seconds=3600)


@task(retries=5)
async def give_up() -> None:
    """Fail for good."""
    raise PermanentFailure("hopeless")


@task(retries=5)
async def refuse() -> None:
    """Fail with an error of ours that no retry can help."""
    raise Invalid("not like this")


@task()
async def store() -> Artifact:
    """Say that the result is an artifact."""
    return Artifact(ARTIFACT)


@task()
async def report(args: Gate, job: RunningJob) -> None:
    """Say how far it is, and wait for a gate."""
    job.progress(25, step="boil", message="water is warm")
    job.log("first")
    await gates[args.name].wait()
    job.progress(100, step="done")
    job.log("second")


@task()
async def surroundings() -> Any:
    """Return the context it runs in."""
    return msgspec.to_builtins(current_context())


@task()
def surroundings_of_a_process() -> Any:
    """Return the context it runs in, from a process of its own."""
    return msgspec.to_builtins(current_context())


@task()
def chatter(args: Note) -> int:
    """Print, from a process of its own."""
    print(args.text or "hello")
    print("careful", file=sys.stderr)
    return os.getpid()


@task()
def grind(job: RunningJob) -> None:
    """Work in a process until it is told to stop."""
    job.progress(1, step="grind", message=str(os.getpid()))
    while True:
        job.check()
        time.sleep(0.01)


@task()
def burn(job: RunningJob) -> None:
    """Keep a core busy until it is told to stop."""
    job.progress(1)
    while True:
        job.check()


@task()
def sulk(job: RunningJob) -> None:
    """Work in a process, and listen to nobody."""
    job.progress(1, step="sulk", message=str(os.getpid()))
    while True:
        time.sleep(1)


LIGHT = (
    *(add, echo, nothing, hold, linger, rent, once, fail, wear_out, recover, postpone, give_up, refuse, store, report),
    surroundings,
)
HEAVY = (surroundings_of_a_process, chatter, grind, burn, sulk)


def builder(url: str) -> ServiceBuilder:
    """The service on the database at `url`."""
    # They belong to the loop of those who wait for them.
    gates.clear()
    return (
        ServiceBuilder(info=ServiceInfo(id="works", display_name="Works"))
        .with_database(url)
        .with_jobs(grace_seconds=0, max_processes=4)
        .with_tasks(*LIGHT, *HEAVY)
        .with_schedules()
        .with_health()
    )


class Stage:
    """A running service as tests see it: its client, and a second way into its database."""

    def __init__(self, app: Service, url: str, client: httpx.AsyncClient, container: Container) -> None:
        self.app = app
        self.url = url
        self.client = client
        self.container = container

    @property
    def background(self) -> Background:
        """The managers, opened apart from those of the service."""
        assert self.container.background is not None
        return self.container.background.managers

    @property
    def engine(self) -> DatabaseEngine:
        """The database, past the service."""
        assert self.container.database is not None
        return self.container.database

    async def get(self, path: str, *, status: int = 200, **more: Any) -> Any:
        """What is at a path; fails unless it answers with `status`."""
        return decoded(await self.client.get(path, **more), status)

    async def post(self, path: str, body: Any = None, *, status: int = 202, **more: Any) -> Any:
        """The reply to a POST; fails unless it has `status`."""
        given = {} if body is None else {"json": body}
        return decoded(await self.client.post(path, **given, **more), status)

    async def delete(self, path: str, *, status: int = 204) -> Any:
        """The reply to a DELETE; fails unless it has `status`."""
        return decoded(await self.client.delete(path), status)

    async def submit(self, name: str, args: Any = None, **more: Any) -> str:
        """Execute a task; returns the id of its job."""
        body = {**({} if args is None else {"args": args}), **more}
        return str((await self.post(f"{TASKS}/{name}/$execute", body))["job_id"])

    async def job(self, id: str) -> dict[str, Any]:
        """A job as it is now."""
        found: dict[str, Any] = await self.get(f"{JOBS}/{id}")
        return found

    async def reach(self, id: str, *states: str) -> dict[str, Any]:
        """The job once it is in one of these states; fails when it ends in another one."""

        async def look() -> dict[str, Any] | None:
            found = await self.job(id)
            if found["state"] in states:
                return found
            assert found["finished_at"] is None, found
            return None

        found: dict[str, Any] = await eventually(look)
        return found

    async def run(self, name: str, args: Any = None, **more: Any) -> dict[str, Any]:
        """A job of a task once it has ended well."""
        return await self.reach(await self.submit(name, args, **more), "completed")


def decoded(reply: httpx.Response, status: int) -> Any:
    """The body of a reply that must have this status."""
    assert reply.status_code == status, (reply.status_code, reply.text)
    return reply.json() if reply.content else None


async def eventually(question: Callable[[], Awaitable[Any]], *, within: float = PATIENCE_SECONDS) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + within
    while not (answer := await question()):
        assert time.monotonic() < deadline, f"not within {within:g} s; the last answer was {answer!r}"
        await asyncio.sleep(0.01)
    return answer


@contextmanager
def opened(*names: str) -> Iterator[None]:
    """Let those pass who wait for these gates, while the block lasts."""
    for name in names:
        gates[name].set()
    try:
        yield
    finally:
        for name in names:
            del gates[name]


@asynccontextmanager
async def served(app: Service) -> AsyncIterator[str]:
    """Serve an app that has been started; the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # Signals are for the test runner.
        serving = asyncio.create_task(server._serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def staged(
    url: str, redis_url: str | None, make: Callable[[str], ServiceBuilder] = builder, **settings: Any
) -> AsyncIterator[Stage]:
    """The service, running: with a worker inside of it, or with Redis and a worker beside it."""
    app = make(url).build(Settings(redis_url=redis_url, **settings))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.lifespan())
        container = await stack.enter_async_context(open_container(app.settings, app.design))
        if redis_url is not None:
            await stack.enter_async_context(working(container))
        root = await stack.enter_async_context(served(app))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=root, timeout=PATIENCE_SECONDS, verify=False)
        )
        yield Stage(app, root, client, container)


@asynccontextmanager
async def working(container: Container, **options: Any) -> AsyncIterator[Worker]:
    """A worker of an opened service that runs for the block."""
    assert container.background is not None
    worker = container.background.make_worker(msgspec.structs.replace(container.background.options, **options))
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running
