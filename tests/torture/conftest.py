"""A mill for tests of one fault at a time, and a job whose worker was killed a while ago."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

import httpx
import pytest

from domain.workers import WorkerOptions
from tests.torture.actors import Actor, Company, Server, company
from tests.torture.record import database_now, read
from tests.torture.stage import submitted, until
from tests.torture.witness import create, opened

NO_WORK = {"MILLRACE_WORKER": "false"}
"""For a `millrace serve` that leaves all work to others."""


class Mill(NamedTuple):
    """A service that leaves all work to the workers that a test engages; they are killed after it."""

    company: Company
    server: Server

    def worker(self, *, is_started: bool = True) -> Actor:
        """Engage a worker, and wait until it works."""
        worker = self.company.worker()
        if is_started:
            self.company.start(worker)
        return worker


@pytest.fixture(scope="module")
async def module_mill(
    request: pytest.FixtureRequest, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mill]:
    """The mill on SQLite without Redis, and on PostgreSQL with it."""
    is_postgres = module_database_url.startswith("postgresql")
    redis_url: str | None = request.getfixturevalue("redis_url") if is_postgres else None
    folder = tmp_path_factory.mktemp("mill")
    with company(folder, module_database_url, redis_url=redis_url, losses=2) as made:
        server = made.server(**NO_WORK)
        made.start(server)
        async with opened(made.url) as engine:
            await create(engine)
        yield Mill(made, server)


@pytest.fixture
async def mill(module_mill: Mill) -> AsyncIterator[Mill]:
    """The mill with nobody at work, and nothing to do."""
    yield module_mill
    for actor in module_mill.company.actors:
        if actor is not module_mill.server:
            actor.kill()
    async with opened(module_mill.company.url) as engine:
        left = [job.id for job in (await read(engine)).jobs.values() if not job.is_final]
    async with httpx.AsyncClient(base_url=module_mill.server.url, verify=False) as client:
        for id in left:
            assert (await client.delete(f"/api/v1/jobs/{id}")).status_code == 204


class LostJob(NamedTuple):
    """A job, and when by the database's clock its worker was killed."""

    id: str
    killed_at: datetime
    database_url: str


@pytest.fixture(scope="package")
async def lost_job(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LostJob]:
    """A job with a long timeout whose worker is killed, while another one stands by: all with the usual lease.

    The first tests ask for it, so that by the last one, which needs it, most of the lease is over.
    """
    folder, usual = tmp_path_factory.mktemp("lost"), WorkerOptions()
    url = f"sqlite:///{folder / 'mill.sqlite3'}"
    with company(folder, url, lease_seconds=usual.lease_seconds, losses=usual.max_losses) as made:
        first, second = made.server(), made.worker()
        made.start(first)
        async with opened(url) as engine:
            await create(engine)
            id = submitted(first, "brief", {"seconds": 100}, timeout_seconds=3600)
            await until(engine, lambda record: record.starts[id])
            made.start(second)
            killed_at = await database_now(engine)
            first.kill()
        yield LostJob(id, killed_at, url)
