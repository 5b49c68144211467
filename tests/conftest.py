"""What every test may ask for: real servers, and an empty database of either kind."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.servers import Postgres, postgres, redis

# Where processes show code at work that nothing else shows. To measure all of them would more than double what they
# cost: every task that runs in a process would write down all that was ever run there.
MEASURED = ("infra/runners/", "service/cli/", "e2e/test_operations.py", "e2e/test_stories.py")
TESTS = Path(__file__).parent

# How long an example takes says more about the machine than about the code.
settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop the service runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module", autouse=True)
def processes_are_measured_where_it_shows_something(request: pytest.FixtureRequest) -> Iterator[None]:
    """Processes that a test starts count for the coverage in some modules only."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.path.relative_to(TESTS).as_posix().startswith(MEASURED):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands set up logging for their process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    # Those of pytest come and go by themselves.
    for handler in [handler for handler in root.handlers if handler.get_name() == "millrace"]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run: that of TEST_DATABASE_URL, or one of our own.

    A test that stops its server starts one for itself with `tests.servers.postgres()`.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield Postgres(url)
        return
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One Redis for the whole run: that of TEST_REDIS_URL, or one of our own.

    Tests share it, so they choose keys of their own.
    """
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    with redis() as server:
        yield server.url


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that is this test's own."""
    name = f"test_{uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that is this test's own; the file does not exist yet."""
    return f"sqlite:///{tmp_path / 'database.sqlite3'}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database for all tests of a module, once for each kind we support."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'database.sqlite3'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once for each kind we support."""
    # By name, so that the tests with SQLite neither start PostgreSQL nor wait for it.
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url
