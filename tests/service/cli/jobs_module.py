"""A module with tasks as a user writes it, and a way to work on its jobs past the commands."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from service.app import load_app
from service.background import Opened
from service.container import open_container
from tests.infra.queue.wakes import until
from tests.service.cli.modules import bare

T = TypeVar("T")
TASKS = """
import asyncio
import os
import time

import msgspec

from domain.tasks import RunningJob, task


class Number(msgspec.Struct):
    value: int = 0


@task()
async def add(args: Number) -> int:
    return args.value + 1


@task()
async def fail() -> None:
    raise ValueError("no luck,\\nnone at all")


@task()
async def talk(args: Number, job: RunningJob) -> None:
    for number in range(args.value):
        job.log(f"line {number}")


@task()
async def hold(job: RunningJob) -> None:
    job.progress(1)
    await asyncio.sleep(3600)


@task()
async def cling(job: RunningJob) -> None:
    job.progress(1)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@task(queue="heavy")
def grind(job: RunningJob) -> int:
    job.progress(1, message=str(os.getpid()))
    while not job.is_canceled:
        time.sleep(0.01)
    return 1
"""
CALLS = ".with_database().with_jobs(grace_seconds=%s).with_tasks(add, fail, talk, hold, cling, grind)"


def module(folder: Path, *, grace_seconds: float = 0) -> Path:
    """Write the module."""
    return bare(folder, CALLS % grace_seconds, before=TASKS)


def opened(work: Callable[[Opened], Awaitable[T]]) -> T:
    """Do something with the module's opened background, in this process."""
    app = load_app("main.py")

    async def inner() -> T:
        async with open_container(app.settings, app.design) as container:
            assert container.background is not None
            return await work(container.background)

    return asyncio.run(inner())


def submit(kind: str, **args: Any) -> str:
    """Submit a job of a task; its id."""
    options = args.pop("options", {})

    async def work(background: Opened) -> str:
        return (await background.managers.jobs.submit(kind, args, **options)).job.id

    return opened(work)


class Row(NamedTuple):
    """What the module's embedded database says of a job."""

    state: str
    attempt: int
    losses: int
    lease_token: str | None
    progress: str | None


def find(id: str) -> Row:
    """A job as it is now; to open the module's service for that would take far longer."""
    [row] = ask(f"SELECT {', '.join(Row._fields)} FROM millrace_jobs WHERE id = '{id}'")
    return Row(*row)


def events(id: str) -> list[str]:
    """The history of a job in words."""
    return [text for (text,) in ask(f"SELECT type FROM millrace_job_events WHERE job_id = '{id}' ORDER BY id")]


def ask(query: str) -> list[Any]:
    """What a query finds in the module's embedded database."""
    with closing(sqlite3.connect("var/bare.db")) as connection:
        return connection.execute(query).fetchall()


def run_all() -> None:
    """Work until no job waits any more."""

    async def work(background: Opened) -> None:
        worker = background.make_worker(background.options)
        running = asyncio.create_task(worker.run())

        async def is_quiet() -> bool:
            stats = await background.managers.jobs.stats()
            return not any(queue.queued or queue.running for queue in stats if queue.queue in worker.options.queues)

        await until(is_quiet)
        await worker.stop()
        await running

    opened(work)
