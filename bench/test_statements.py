"""What a request and a job cost, without a clock: how many statements the database sees, and how many rows it reads."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from bench import jobs_service
from bench.accounts import USERS
from bench.operations import users
from bench.server import service
from domain.entity import new_id
from domain.jobs import Ending, Job, JobState, NewJob
from infra.database.engine import DatabaseEngine
from infra.database.jobs.store import JobDatabase
from infra.database.migrate import up
from infra.database.piccolo_app import PRODUCT
from service.http.application import Service
from service.settings import Settings
from tests.infra.database.engines import opened
from tests.sample import serving
from tests.servers import PostgresServer, postgres

_LOGGED = re.compile(r"LOG:  (?:statement|execute [^:]+): (.*)")
URL = USERS.path
ID, UNIQUE = "{id}", "{unique}"
"""Stand for the id of a row, and for something that is new in every request."""
JOBS, WORKER = 100, new_id()


class Observed(NamedTuple):
    """A client of a service, the ids of its rows, and the statements that its database has seen so far."""

    client: httpx.AsyncClient
    ids: Iterator[str]
    seen: Any


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database it is."""
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def database(kind: str, request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The URL of a database, and a function that returns the statements it has seen."""
    found: tuple[str, Any] = request.getfixturevalue(f"{kind}_database")
    return found


@pytest.fixture(scope="module")
def postgresql_database() -> Iterator[tuple[str, Any]]:
    """A database whose statements stand in the server's log."""
    with postgres(settings={"log_statement": "all"}) as server:
        log = server.directory / "log"
        url = server.create_database(f"bench_{uuid4().hex}")
        yield url, lambda: _LOGGED.findall(log.read_text(errors="replace"))


@pytest.fixture(scope="module")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A database whose connections tell every statement."""
    seen: list[str] = []
    with _traced(seen):
        yield f"sqlite:///{tmp_path_factory.mktemp('bench')}/bench.sqlite3", lambda: list(seen)


@contextmanager
def _traced(seen: list[str]) -> Iterator[None]:
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect = connect


@pytest.fixture(scope="module")
async def observed(database: tuple[str, Any]) -> AsyncIterator[Observed]:
    """The service on an observed database with rows."""
    url, seen = database
    app = service(url)
    rows = users()
    async with serving(app) as client:
        await app.manager(USERS).save_all(rows)
        yield Observed(client, iter([row.id for row in rows]), seen)


@pytest.mark.parametrize(
    "method, target, body, expected",
    [
        ("GET", f"/{ID}", None, 1),
        ("GET", f"/{ID}?fields=id,name", None, 1),
        ("GET", "", None, 1),
        ("GET", "?page=2&size=50", None, 1),
        ("GET", "?limit=50", None, 1),
        ("GET", "?limit=50&sort=-age&search=user", None, 1),
        ("GET", '?filter={"age":{"gte":30}}&sort=-age&fields=id,name', None, 1),
        ("GET", "/$stats", None, 1),
        ("GET", "/$schema", None, 0),
        ("GET", "?sort=nonsense", None, 0),
        ("GET", "/nonsense", None, 0),
        ("POST", "/$query", {"search": "user"}, 1),
        ("POST", "", {"name": "New", "email": f"{UNIQUE}@example.com"}, 1),
        ("POST", "", {"name": "No e-mail address"}, 0),
        # The row is locked, compared and written in one transaction: BEGIN, SELECT, UPDATE, COMMIT.
        ("PATCH", f"/{ID}", {"name": UNIQUE}, 4),
        ("DELETE", f"/{ID}", None, 1),
    ],
)
async def test_a_request_takes_as_few_statements_as_it_can(
    observed: Observed, method: str, target: str, body: dict[str, Any] | None, expected: int
) -> None:
    id = next(observed.ids)

    async def ask() -> None:
        unique = uuid4().hex
        sent = {name: str(value).replace(UNIQUE, unique) for name, value in body.items()} if body else body
        await observed.client.request(method, URL + target.replace(ID, id), json=sent)

    # The first time, drivers ask the server about its types.
    await ask()
    before = len(observed.seen())
    await ask()
    after = observed.seen()
    assert len(after) - before == expected, after[before:]


# Jobs. SQLite needs a transaction for what is one statement to PostgreSQL: BEGIN, the change, its history, COMMIT.
CHANGE = {"postgresql": 1, "sqlite": 4}


class ObservedJobs(NamedTuple):
    """A service whose jobs nobody does, a client of it, and the statements that its database has seen so far."""

    app: Service
    client: httpx.AsyncClient
    seen: Any

    async def statements(self, *calls: Any) -> Sequence[str]:
        """What the database sees of the second of two calls: the first time, drivers ask it about its types."""
        first, second = calls
        await first
        before = len(self.seen())
        await second
        found: Sequence[str] = self.seen()[before:]
        return found


@pytest.fixture(scope="module")
async def observed_jobs(database: tuple[str, Any]) -> AsyncIterator[ObservedJobs]:
    """The service with jobs on an observed database."""
    url, seen = database
    app = jobs_service.builder(url).build(Settings(worker="false"))
    async with serving(app) as client:
        yield ObservedJobs(app, client, seen)


async def test_a_submission_is_one_change_however_many_jobs_it_has(observed_jobs: ObservedJobs, kind: str) -> None:
    path, jobs = "/api/v1/tasks/nothing/$execute", observed_jobs.app.jobs
    over_http = await observed_jobs.statements(*(observed_jobs.client.post(path) for _ in range(2)))
    assert len(over_http) == CHANGE[kind], over_http
    in_bulk = await observed_jobs.statements(*(jobs.add(_new(JOBS)) for _ in range(2)))
    assert len(in_bulk) == CHANGE[kind], in_bulk


async def test_a_worker_needs_a_look_and_two_changes_for_many_jobs(observed_jobs: ObservedJobs, kind: str) -> None:
    store: Any = observed_jobs.app.jobs.store
    await observed_jobs.app.jobs.add(_new(2 * JOBS))
    claimed: list[list[Job]] = []

    async def claim() -> None:
        claimed.append(await _claim(store))

    claiming = await observed_jobs.statements(claim(), claim())
    assert len(claiming) == 1 + CHANGE[kind], claiming
    finishing = await observed_jobs.statements(*(_finish(store, jobs) for jobs in claimed))
    assert len(finishing) == CHANGE[kind], finishing


async def test_a_worker_that_finds_nothing_changes_nothing(observed_jobs: ObservedJobs) -> None:
    store: Any = observed_jobs.app.jobs.store
    while await _claim(store):
        pass
    assert len(await observed_jobs.statements(_claim(store), _claim(store))) == 1
    assert len(await observed_jobs.statements(store.promote(), store.promote())) == 1


async def test_what_a_worker_reads_does_not_grow_with_the_queue_nor_with_the_past(
    postgres_server: PostgresServer,
) -> None:
    database = postgres_server.create_database(f"bench_{uuid4().hex}")
    async with opened(database, pool_size=1, max_overflow=0) as engine:
        await up(engine, [PRODUCT])
        store = JobDatabase(engine)
        await store.insert(_new(10 * JOBS))
        while jobs := await _claim(store):
            await _finish(store, jobs)
        # What PostgreSQL knows of the table is from a quiet hour, and its plans are made for good before the burst.
        await engine.execute("ANALYZE")
        for _ in range(10):
            await store.insert(_new(1))
            await _finish(store, await _claim(store))
        await store.insert(_new(30 * JOBS))
        before, done = await _rows_read(engine), 0
        while jobs := await _claim(store):
            await store.renew([(job.id, job.lease_token or "") for job in jobs], lease_seconds=15.0)
            await _finish(store, jobs)
            done += len(jobs)
        assert (await _rows_read(engine) - before) / done < 20


def _new(count: int) -> list[NewJob]:
    return [NewJob(kind=jobs_service.nothing.kind, args={"number": number}) for number in range(count)]


async def _claim(store: JobDatabase) -> list[Job]:
    kinds = [jobs_service.nothing.kind, jobs_service.moment.kind]
    return await store.claim("default", kinds, JOBS, worker_id=WORKER, lease_seconds=15.0)


async def _finish(store: JobDatabase, jobs: Sequence[Job]) -> None:
    await store.finish(
        [Ending(job_id=job.id, lease_token=job.lease_token or "", state=JobState.COMPLETED) for job in jobs]
    )


async def _rows_read(engine: DatabaseEngine) -> int:
    """How many entries of tables and indexes of jobs the database has looked at."""
    await engine.fetch("SELECT pg_stat_force_next_flush()")
    [(count,)] = await engine.fetch(
        "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname LIKE 'millrace_job%')"
        " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE 'millrace_job%')"
    )
    return int(count)
