"""The databases that managers are proved on."""

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.database.repository import PiccoloRepository
from infra.database.schema import synchronize
from service.managers.base import Manager
from tests.infra.contracts.test_bulk import MEMBERS, Member, Members
from tests.infra.database.engines import opened
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


@pytest.fixture
async def members(shared_database_url: str) -> AsyncIterator[Manager[Member]]:
    """What has unique values."""
    async with opened(shared_database_url) as engine:
        await engine.execute("DROP TABLE IF EXISTS members")
        await synchronize(engine, [Members])
        yield Manager(MEMBERS, PiccoloRepository(MEMBERS, Members, engine), engine)
