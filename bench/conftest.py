"""The servers and databases that are measured, and the table at the end."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from bench import jobs_service, record, results
from bench.accounts import USERS
from bench.budgets import POLLING, POSTGRES
from bench.operations import PAGE, users
from bench.server import service
from bench.submitter import Submitter, submitting
from bench.workers import Arq, Idle, arq, processor_seconds, served, working
from service.settings import Settings
from tests.servers import PostgresServer, postgres, redis


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop the service runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for both sides."""
    with postgres() as server:
        yield server


class Sides(NamedTuple):
    """Two servers with the same rows: their ports, and the ids of the rows."""

    service: int
    limit: int
    ids: Sequence[str]


@pytest.fixture(scope="session")
def postgresql_sides(postgres_server: PostgresServer) -> Iterator[Sides]:
    """The service and its limit, each on a PostgreSQL database of its own."""
    name = f"bench_{uuid4().hex}"
    url = postgres_server.create_database(name)
    ids = asyncio.run(_fill(url))
    twin = postgres_server.create_database(f"{name}_limit", template=name)
    with _sides(url, twin, ids) as sides:
        yield sides


@pytest.fixture(scope="session")
def sqlite_sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """The service and its limit, each on a SQLite file of its own."""
    folder: Path = tmp_path_factory.mktemp("bench")
    ids = asyncio.run(_fill(f"sqlite:///{folder}/service.sqlite3"))
    shutil.copy(folder / "service.sqlite3", folder / "limit.sqlite3")
    with _sides(f"sqlite:///{folder}/service.sqlite3", f"sqlite:///{folder}/limit.sqlite3", ids) as sides:
        yield sides


@pytest.fixture(scope="session")
def cached_postgresql_sides(postgres_server: PostgresServer) -> Iterator[Sides]:
    """The service with a cache, on PostgreSQL, and an app that only sends bytes."""
    with _cached_sides(postgres_server.create_database(f"bench_{uuid4().hex}")) as sides:
        yield sides


@pytest.fixture(scope="session")
def cached_sqlite_sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """The same on a SQLite file."""
    with _cached_sides(f"sqlite:///{tmp_path_factory.mktemp('cached')}/service.sqlite3") as sides:
        yield sides


@contextmanager
def _cached_sides(url: str) -> Iterator[Sides]:
    ids = asyncio.run(_fill(url))
    with ExitStack() as stack:
        service = stack.enter_context(serving("cached", url))
        bytes_of = f"http://127.0.0.1:{service}{PAGE}"
        yield Sides(service, stack.enter_context(serving("bytes", bytes_of)), ids)


async def _fill(url: str) -> list[str]:
    app = service(url)
    rows = users()
    async with app.lifespan():
        await app.manager(USERS).save_all(rows)
    return [row.id for row in rows]


@contextmanager
def _sides(url: str, twin: str, ids: Sequence[str]) -> Iterator[Sides]:
    with ExitStack() as stack:
        yield Sides(stack.enter_context(serving("service", url)), stack.enter_context(serving("limit", twin)), ids)


@contextmanager
def serving(kind: str, url: str) -> Iterator[int]:
    """A server process of a kind that `bench.server` knows, on the database at `url`; yields its port."""
    with served(kind, url) as (port, _):
        yield port


# Background work


@pytest.fixture(scope="session")
def databases() -> Iterator[Callable[[], str]]:
    """Makes databases with the tables of a service with jobs, on a PostgreSQL that loses nothing it has committed."""
    with postgres(fsync=True) as server:
        template = f"template_{uuid4().hex}"
        asyncio.run(_migrate(server.create_database(template)))
        yield lambda: server.create_database(f"bench_{uuid4().hex}", template=template)


async def _migrate(url: str) -> None:
    async with jobs_service.builder(url).build(Settings(worker="false")).lifespan():
        pass


@pytest.fixture(scope="session")
def redis_urls() -> Iterator[list[str]]:
    """Databases of one Redis, for those who have nothing to do with each other."""
    with redis() as server:
        yield [f"{server.url.removesuffix('/0')}/{number}" for number in range(4)]


class Workers(NamedTuple):
    """Worker processes: where the busy one has its jobs and hears its bell, and since when the others idle."""

    url: str
    redis_url: str
    idle: Mapping[str, Idle]


@pytest.fixture(scope="session")
async def workers(databases: Callable[[], str], redis_urls: list[str]) -> AsyncIterator[Workers]:
    """One worker with jobs to do, and two without, which idle while everything else is measured."""
    bells = {POSTGRES: redis_urls[1], POLLING: None}
    with ExitStack() as stack:
        url = databases()
        stack.enter_context(working(url, redis_urls[0]))
        places = {where: databases() for where in bells}
        groups = {where: stack.enter_context(working(places[where], bell)) for where, bell in bells.items()}
        for where, bell in bells.items():
            async with submitting(places[where], redis_url=bell) as submitter:
                # From the first such task on there is a process that starts the others.
                await submitter.burn(0)
        now = time.monotonic()
        idle = {where: Idle(group, now, processor_seconds(group)) for where, group in groups.items()}
        yield Workers(url, redis_urls[0], idle)


@pytest.fixture(scope="session")
def idle_workers(workers: Workers) -> Mapping[str, Idle]:
    """The workers without jobs."""
    return workers.idle


@pytest.fixture(scope="session")
async def postgres_submitter(workers: Workers) -> AsyncIterator[Submitter]:
    """Somebody who leaves jobs to a worker process."""
    async with submitting(workers.url, redis_url=workers.redis_url) as submitter:
        yield submitter


@pytest.fixture(scope="session")
async def sqlite_submitter(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Submitter]:
    """Somebody who does the jobs in the same process."""
    folder: Path = tmp_path_factory.mktemp("jobs")
    async with submitting(f"sqlite:///{folder}/jobs.sqlite3", is_working=True) as submitter:
        yield submitter


@pytest.fixture(scope="session")
def arq_peer(redis_urls: list[str]) -> Iterator[Arq]:
    """Bare arq on the same Redis."""
    with arq(redis_urls[2]) as peer:
        yield peer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of everything that was measured, and its record for the report."""
    if results.RESULTS or results.FIGURES:
        record.keep(record.measured())
    for line in results.table():
        terminalreporter.write_line(line)
