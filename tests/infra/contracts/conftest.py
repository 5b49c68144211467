"""The databases that every contract is proved on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.servers import Postgres

LOCAL = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def foreign_order_server() -> Iterator[Postgres]:
    """A PostgreSQL whose databases may order text as people do: the system's, for the packaged one knows no ICU."""
    found = sorted(LOCAL.glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not found or os.environ.get("TEST_DATABASE_URL"):
        pytest.skip("there is no PostgreSQL with ICU here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "find_postgres", lambda: found[-1])
        with servers.postgres() as server:
            yield server


@pytest.fixture
def foreign_order_url(foreign_order_server: Postgres) -> Iterator[str]:
    """The URL of an empty database that orders text by the rules of English."""
    foreign_order_server._execute(
        "CREATE DATABASE foreign_order TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C'"
    )
    yield foreign_order_server.url.replace("/postgres", "/foreign_order").replace("//foreign_order@", "//postgres@")
    foreign_order_server.drop_database("foreign_order")


@pytest.fixture(params=["SQLite file", "SQLite in memory", "PostgreSQL", "PostgreSQL with English order"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of every kind there is."""
    kind = request.param
    if kind == "SQLite in memory":
        return "sqlite:///:memory:"
    name = {"SQLite file": "sqlite_url", "PostgreSQL": "postgres_url"}.get(kind, "foreign_order_url")
    url: str = request.getfixturevalue(name)
    return url
