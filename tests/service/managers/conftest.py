"""The databases that managers are proved on."""

from collections.abc import Iterator

import pytest

from tests.servers import Postgres


@pytest.fixture(scope="session")
def managers_postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of a database that these tests use one after the other."""
    yield postgres_server.create_database("managers")
    postgres_server.drop_database("managers")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of each kind we support; tests make the tables they need anew."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('managers') / 'database.sqlite3'}"
    url: str = request.getfixturevalue("managers_postgres_url")
    return url
