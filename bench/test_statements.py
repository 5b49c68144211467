"""What a request costs, without a clock: how many statements the database sees."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from bench.accounts import USERS
from bench.operations import users
from bench.server import service
from tests.sample import serving
from tests.servers import PostgresServer, postgres

_LOGGED = re.compile(r"LOG:  (?:statement|execute [^:]+): (.*)")
URL = USERS.path
ID, UNIQUE = "{id}", "{unique}"
"""Stand for the id of a row, and for something that is new in every request."""


class Observed(NamedTuple):
    """A client of a service, an id, and the statements that its database has seen so far."""

    client: httpx.AsyncClient
    id: str
    seen: Any


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The URL of a database, and a function that returns the statements it has seen."""
    found: tuple[str, Any] = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture(scope="session")
def talkative_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that writes every statement into its log."""
    with postgres(settings={"log_statement": "all"}) as server:
        yield server


@pytest.fixture
def postgresql_database(talkative_server: PostgresServer) -> Iterator[tuple[str, Any]]:
    """A database whose statements stand in the server's log."""
    name = f"bench_{uuid4().hex}"
    log = talkative_server.directory / "log"
    yield talkative_server.create_database(name), lambda: _LOGGED.findall(log.read_text(errors="replace"))
    talkative_server.drop_database(name)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A database whose connections tell every statement."""
    seen: list[str] = []
    with _traced(seen):
        yield f"sqlite:///{tmp_path}/bench.sqlite3", lambda: list(seen)


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


@pytest.fixture
async def observed(database: tuple[str, Any]) -> AsyncIterator[Observed]:
    """The service on an observed database with rows."""
    url, seen = database
    app = service(url)
    rows = users()
    async with serving(app) as client:
        await app.manager(USERS).save_all(rows)
        yield Observed(client, rows[500].id, seen)


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
    async def ask() -> None:
        unique = uuid4().hex
        sent = {name: str(value).replace(UNIQUE, unique) for name, value in body.items()} if body else body
        await observed.client.request(method, URL + target.replace(ID, observed.id), json=sent)

    # The first time, drivers ask the server about its types.
    await ask()
    before = len(observed.seen())
    await ask()
    after = observed.seen()
    assert len(after) - before == expected, after[before:]
