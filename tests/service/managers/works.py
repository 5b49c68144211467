"""Tasks that behave in every way there is, and a service of them to be worked on."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from domain.context import current_context
from domain.entity import new_id
from domain.jobs import FINAL, Job, JobState, NewJob
from domain.registration import ServiceInfo
from domain.retries import RetryLater
from domain.tasks import Canceled, RunningJob, Task, Tasks, task
from infra.database.engine import DatabaseEngine
from infra.database.jobs.store import JobDatabase
from service.background import Opened
from service.builder import ServiceBuilder
from service.container import open_container
from service.managers.worker import Worker
from service.settings import Settings

PATIENCE_SECONDS = 30
_gates: dict[str, asyncio.Event] = {}


class Anything(msgspec.Struct):
    """Any JSON."""

    value: Any = None


class Odd(BaseException):
    """What nobody expects to be raised."""


class OwnMistake(Exception):
    """An error that is declared to be permanent."""


def gate(name: str) -> asyncio.Event:
    """What tasks wait for, by its name."""
    return _gates.setdefault(name, asyncio.Event())


@task()
async def echo(args: Anything) -> Any:
    return args.value


@task()
async def surroundings() -> Any:
    return msgspec.to_builtins(current_context())


@task()
async def wait(args: Anything, job: RunningJob) -> int:
    await gate(args.value).wait()
    return job.attempt


@task()
async def wait_and_complain(args: Anything, job: RunningJob) -> None:
    """Stop in a way of its own when it must."""
    try:
        await gate(args.value).wait()
    except asyncio.CancelledError:
        job.check()
        raise


@task()
async def wait_and_break(args: Anything) -> None:
    """Break when it must stop."""
    try:
        await gate(args.value).wait()
    except asyncio.CancelledError:
        raise ConnectionError("the line is cut") from None


@task()
async def finish_anyway(args: Anything) -> str:
    """Not be stopped."""
    try:
        await gate(args.value).wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return "finished"


@task()
async def be_deaf(args: Anything) -> str:
    """Swallow every cancellation."""
    gate(f"{args.value} began").set()
    while not gate(args.value).is_set():
        with suppress(asyncio.CancelledError):
            await gate(args.value).wait()
    return str(args.value)


@task(retries=3, retry_delay=0.2)
async def fail(args: Anything) -> None:
    raise ValueError(args.value)


@task(retries=3, permanent=[OwnMistake])
async def give_up() -> None:
    raise OwnMistake("never again")


@task(retries=3)
async def postpone(args: Anything) -> None:
    raise RetryLater("later", after_seconds=args.value)


@task(timeout=0.05, retries=1, retry_delay=0)
async def dawdle() -> None:
    await asyncio.sleep(3600)


@task(timeout=3600)
async def time_out() -> None:
    raise TimeoutError("of my own")


@task()
async def cancel_itself() -> None:
    raise asyncio.CancelledError("me")


@task()
async def be_canceled() -> None:
    inner = asyncio.create_task(asyncio.sleep(3600))
    inner.cancel()
    await inner


@task()
async def leave() -> None:
    raise SystemExit(3)


@task()
async def be_odd() -> None:
    raise Odd("as ever")


@task()
async def give_up_by_itself() -> None:
    raise Canceled


@task()
async def return_object() -> Any:
    return object()


@task()
async def return_too_much() -> Any:
    return "x" * (1024 * 1024)


@task()
async def return_nul() -> Any:
    return {"name": ["a\0b"]}


@task()
async def return_surrogate() -> Any:
    return "\ud800"


@task()
async def log(args: Anything, job: RunningJob) -> None:
    for number in range(args.value):
        job.log(f"{number:06} " + "x" * 93)


@task()
async def log_oddly(job: RunningJob) -> None:
    job.log("nul \0 surrogate \ud800 " + "y" * 100_000)
    job.progress(float("nan"), step="s\0", message="\ud800" * 2_000)
    job.progress(150.0)


@task(concurrency_limit=3)
async def share() -> None:
    pass


@task()
def sleep_in_process(job: RunningJob) -> None:
    job.progress(1, message=str(os.getpid()))
    while True:
        job.check()
        time.sleep(0.01)


@task()
def spell_in_process(args: Anything) -> str:
    if args.value == "broken":
        raise ValueError("no such word")
    return str(args.value).upper()


TASKS: tuple[Task, ...] = (
    *(echo, surroundings, wait, wait_and_complain, wait_and_break, finish_anyway, fail, give_up, postpone, dawdle),
    *(time_out, cancel_itself, be_canceled, leave, be_odd, give_up_by_itself, return_object, return_too_much),
    *(return_nul, return_surrogate, log, log_oddly, share, sleep_in_process, spell_in_process),
)
KINDS = Tasks(TASKS)


class Works:
    """A service that nobody works for, unless a test has somebody work; every test has a queue of its own."""

    def __init__(self, engine: DatabaseEngine, opened: Opened) -> None:
        self.engine = engine
        self.opened = opened
        self.store = JobDatabase(engine)

    async def add(self, kind: Task, value: Any = None, **more: Any) -> Job:
        """Store a job without waking anybody."""
        args = {} if kind.args is None else {"value": value}
        new = NewJob(kind=kind.kind, args=args, retry_policy=kind.retry_policy, timeout_seconds=kind.timeout_seconds)
        [job] = await self.store.insert([msgspec.structs.replace(new, **more)])
        return job

    async def get(self, job: Job) -> Job:
        """A job as it is now."""
        [found] = await self.store.find_many([job.id])
        return found

    async def reach(self, job: Job, *states: JobState) -> Job:
        """A job once it is in one of these states; fails when it ends in another one."""

        async def look() -> Job | None:
            found = await self.get(job)
            if found.state in states:
                return found
            assert found.state not in FINAL, found
            return None

        found: Job = await eventually(look)
        return found

    async def ended(self, job: Job) -> Job:
        """A job once it has ended, however it has."""
        return await self.reach(job, *FINAL)

    async def types(self, job: Job) -> list[str]:
        """The history of a job in words."""
        return [event.type for event in await self.store.events(job.id, after=0, limit=1_000)]

    @asynccontextmanager
    async def working(self, *queues: str, **options: Any) -> AsyncIterator[Worker]:
        """A worker of these queues that runs for the block."""
        given = {"queues": queues, "grace_seconds": 0.0, "poll_seconds": 0.05, "lease_seconds": 3.0, **options}
        worker = self.opened.make_worker(msgspec.structs.replace(self.opened.options, **given))
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.stop()
            await running


@asynccontextmanager
async def works(url: str) -> AsyncIterator[Works]:
    """The service on the database at `url`."""
    _gates.clear()
    info = ServiceInfo(id="works", display_name="Works")
    app = ServiceBuilder(info=info).with_database(url).with_tasks(*TASKS).with_schedules().build(Settings())
    async with open_container(app.settings, app.design) as container:
        assert container.database is not None
        assert container.background is not None
        yield Works(container.database, container.background)


async def eventually(question: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := await question()):
        assert time.monotonic() < deadline, f"the last answer was {answer!r}"
        await asyncio.sleep(0.01)
    return answer


def queue_name() -> str:
    """A queue that nobody else has."""
    return new_id()
