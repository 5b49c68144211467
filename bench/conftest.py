"""The servers and databases that are measured, and the table at the end."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from bench import results
from bench.accounts import USERS
from bench.operations import users
from bench.server import service
from tests.servers import PostgresServer, postgres

ROOT = Path(__file__).parents[1]


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


async def _fill(url: str) -> list[str]:
    app = service(url)
    rows = users()
    async with app.lifespan():
        await app.manager(USERS).save_all(rows)
    return [row.id for row in rows]


@contextmanager
def _sides(url: str, twin: str, ids: Sequence[str]) -> Iterator[Sides]:
    with ExitStack() as stack:
        yield Sides(stack.enter_context(_serving("service", url)), stack.enter_context(_serving("limit", twin)), ids)


@contextmanager
def _serving(kind: str, url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.server", kind, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(20)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of everything that was measured."""
    for line in results.table():
        terminalreporter.write_line(line)
