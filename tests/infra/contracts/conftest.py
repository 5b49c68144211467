"""The databases that every contract is proved on."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from domain.entity import new_id
from infra.database.jobs.store import JobDatabase
from tests.infra.contracts.job_databases import open_jobs
from tests.servers import Postgres, postgres

LOCAL = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def foreign_order_server() -> Iterator[Postgres]:
    """A PostgreSQL whose databases may order text as people do: the system's, for the packaged one knows no ICU."""
    # Older ones cannot make a database with an ICU order.
    found = [folder for folder in LOCAL.glob("*/bin") if int(folder.parent.name) >= 15 and (folder / "initdb").exists()]
    if not found or os.environ.get("TEST_DATABASE_URL"):
        pytest.skip("there is no PostgreSQL with ICU here")
    with postgres(programs=max(found, key=lambda folder: int(folder.parent.name))) as server:
        yield server


@pytest.fixture(scope="session")
def foreign_order_url(foreign_order_server: Postgres) -> Iterator[str]:
    """The URL of a database that orders text by the rules of English."""
    foreign_order_server._execute(
        "CREATE DATABASE foreign_order TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C'"
    )
    yield urlsplit(foreign_order_server.url)._replace(path="/foreign_order").geturl()
    foreign_order_server.drop_database("foreign_order")


@pytest.fixture(scope="session")
def contract_postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of a database that all contracts use one after the other."""
    yield postgres_server.create_database("contracts")
    postgres_server.drop_database("contracts")


@pytest.fixture(
    scope="session", params=["SQLite file", "SQLite in memory", "PostgreSQL", "PostgreSQL in English order"]
)
def any_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of every kind there is; tests make the tables they need anew."""
    kind = request.param
    if kind == "SQLite in memory":
        return "sqlite:///:memory:"
    if kind == "SQLite file":
        return f"sqlite:///{tmp_path_factory.mktemp('contracts') / 'database.sqlite3'}"
    # By name, so that the tests with SQLite neither start PostgreSQL nor wait for it.
    url: str = request.getfixturevalue("contract_postgres_url" if kind == "PostgreSQL" else "foreign_order_url")
    return url


@pytest.fixture(scope="session", params=["SQLite", "PostgreSQL"])
def jobs_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that all tests of jobs use one after the other, and that several may open at a time."""
    if request.param == "SQLite":
        yield f"sqlite:///{tmp_path_factory.mktemp('jobs') / 'database.sqlite3'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    # A name of its own each time, for what was made in an earlier one is gone.
    name = f"jobs_{new_id().lower()}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
async def jobs(jobs_url: str) -> AsyncIterator[JobDatabase]:
    """Jobs in a database without any."""
    async with open_jobs(jobs_url, is_emptied=True) as jobs:
        yield jobs
