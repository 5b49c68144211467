"""The service whose jobs are measured: accounts, and tasks that do next to nothing, or all that a core can do."""

import time
from typing import Any

import msgspec

from bench.accounts import USERS, Users
from domain.registration import ServiceInfo
from domain.tasks import RunningJob, task
from service.builder import ServiceBuilder

UNATTENDED = "unattended"
"""A queue that no worker takes jobs of."""


class Number(msgspec.Struct):
    """The arguments of a task that needs none."""

    number: int = 0


class Seconds(msgspec.Struct):
    """How long a task works."""

    seconds: float


@task()
async def nothing(args: Number) -> None:
    """Cost what every job costs, and nothing else."""


@task()
async def moment() -> float:
    """When it was run, by the clock that all processes of a machine share."""
    return time.monotonic()


@task()
def burn(args: Seconds, job: RunningJob) -> None:
    """Keep a core busy, in a process of its own."""
    job.progress(step="burning")
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        sum(range(1_000))


def builder(url: str | None = None) -> ServiceBuilder:
    """A service that neither logs nor caches, on the database at `url` or the one of the environment."""
    return (
        ServiceBuilder(info=ServiceInfo(id="accounts", display_name="Accounts"))
        .with_database(url)
        .with_crud(USERS, table=Users)
        .with_tasks(nothing, moment, burn)
        .with_health()
    )


app: Any = builder().build()
"""For `millrace worker`."""
