"""The service that is tortured: tasks of every sort, each of which leaves its traces with the witness."""

import asyncio
import os
import time

import msgspec

from domain.registration import ServiceInfo
from domain.retries import PermanentFailure
from domain.tasks import RunningJob, task
from infra.database.current import CURRENT_ENGINE
from service.builder import ServiceBuilder
from tests.torture.witness import failures, opened, seen

NAME = "mill"
LANE_LIMIT = 2


class Pause(msgspec.Struct):
    """How long a task takes."""

    seconds: float = 0.0


class Stumble(msgspec.Struct):
    """How often a task fails before it succeeds."""

    times: int


class Lane(msgspec.Struct):
    """On which lane a task runs, and how long it takes."""

    lane: str
    seconds: float = 0.0


class Sum(msgspec.Struct):
    """What a node adds up, and whether it fails."""

    inputs: list[int] = []
    fails: bool = False


@task()
async def instant(job: RunningJob) -> None:
    """Takes no time."""
    async with seen(CURRENT_ENGINE, job):
        pass


@task()
async def brief(args: Pause, job: RunningJob) -> None:
    """Takes its time."""
    async with seen(CURRENT_ENGINE, job):
        await asyncio.sleep(args.seconds)


@task(process=True)
async def apart(args: Pause, job: RunningJob) -> None:
    """Takes its time in a process of its own."""
    async with opened(os.environ["DATABASE_URL"]) as engine, seen(engine, job):
        job.log("apart")
        await asyncio.sleep(args.seconds)


@task(retries=5, retry_delay=0.1)
async def stumbling(args: Stumble, job: RunningJob) -> int:
    """Fails some times, then succeeds."""
    async with seen(CURRENT_ENGINE, job):
        failed = await failures(CURRENT_ENGINE, job)
        if failed < args.times:
            raise RuntimeError("not yet")
        return failed


@task(concurrency_key="lane-{lane}", concurrency_limit=LANE_LIMIT)
async def keyed(args: Lane, job: RunningJob) -> None:
    """Shares a lane with others."""
    async with seen(CURRENT_ENGINE, job):
        await asyncio.sleep(args.seconds)


@task()
async def node(args: Sum, job: RunningJob) -> int:
    """One more than what those before it have returned."""
    async with seen(CURRENT_ENGINE, job):
        if args.fails:
            raise PermanentFailure("as it was told")
        return 1 + sum(args.inputs)


@task()
async def whose(args: Pause, job: RunningJob) -> int:
    """Says which process has run it, as soon as it can."""
    async with seen(CURRENT_ENGINE, job):
        pass
    await asyncio.sleep(args.seconds)
    return os.getpid()


@task()
async def poison(job: RunningJob) -> None:
    """Ends its worker without a word."""
    async with seen(CURRENT_ENGINE, job):
        os._exit(9)


@task()
def burn(args: Pause) -> None:
    """Keeps a core busy."""
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        pass


def _set(name: str, default: float) -> float:
    return float(os.environ.get(f"TORTURE_{name}", default))


app = (
    ServiceBuilder(info=ServiceInfo(id=NAME, display_name="Mill"))
    .with_database(pool_size=2)
    .with_jobs(
        max_concurrency=20,
        max_processes=2,
        lease_seconds=_set("LEASE_SECONDS", 2.0),
        max_losses=int(_set("LOSSES", 1_000)),
        grace_seconds=_set("GRACE_SECONDS", 0.2),
        poll_seconds=0.2,
    )
    .with_tasks(instant, brief, apart, stumbling, keyed, node, whose, poison, burn)
    .with_schedules()
    .with_health()
    .with_logging(format="json")
    .build()
)
