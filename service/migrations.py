"""Migrations as an operator runs them: each operation opens the database, does one thing and closes it."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from domain.errors import Misconfigured
from infra.database import migrate, migration_files
from infra.database.current import use_engine
from infra.database.engine import DatabaseEngine
from infra.database.migrate import Step
from infra.database.schema import compare
from infra.database.sqlite import SqliteEngine
from service.container import make_engine
from service.design import Design
from service.settings import Settings


async def up(settings: Settings, design: Design) -> list[str]:
    """Run what has not run yet; a line for each thing that was done."""
    async with _opened(settings, design) as engine:
        return await migrate.up(engine, design.migration_apps)


async def down(settings: Settings, design: Design, *, steps: int, is_dropping_data: bool = False) -> list[str]:
    """Undo the latest migrations of the service; the product's own tables stay. Returns the ids, latest first."""
    async with _opened(settings, design) as engine:
        return await migrate.down(engine, design.migration_apps[1:], steps=steps, is_dropping_data=is_dropping_data)


async def plan(settings: Settings, design: Design) -> list[str]:
    """The SQL that `up` would run."""
    async with _looked_into(settings, design) as engine:
        return await migrate.plan(engine, design.migration_apps)


async def status(settings: Settings, design: Design) -> list[Step]:
    """Every migration and whether it has run, oldest first."""
    async with _looked_into(settings, design) as engine:
        return await migrate.status(engine, design.migration_apps)


async def drift(settings: Settings, design: Design) -> str:
    """How the database differs from the declared tables; empty when it does not."""
    async with _looked_into(settings, design) as engine:
        use_engine(engine)
        differences = [await compare(engine, app.tables) for app in design.migration_apps]
        return "; ".join(difference.describe() for difference in differences if not difference.is_clean)


async def server_version(settings: Settings, design: Design) -> str:
    """Kind and version of the database. Raises `Unavailable` when it cannot be reached."""
    async with _looked_into(settings, design) as engine:
        if isinstance(engine, SqliteEngine):
            return f"SQLite {sqlite3.sqlite_version}"
        [(number,)] = await engine.fetch("SHOW server_version")
        return f"PostgreSQL {number}"


async def write(
    design: Design, description: str, *, is_empty: bool = False, ask: Callable[[str], bool] | None = None
) -> Path | None:
    """Write a migration for what has changed since the last one into the service's folder; None when nothing has.

    `ask` answers whether something was renamed; without it that question is a `Misconfigured`.
    """
    _database_of(design)
    *others, own = design.migration_apps
    own = msgspec.structs.replace(own, directory=design.migrations_home)
    return await migration_files.new(own, [*others, own], description=description, is_empty=is_empty, ask=ask)


@asynccontextmanager
async def _opened(settings: Settings, design: Design) -> AsyncIterator[DatabaseEngine]:
    _database_of(design)
    engine = make_engine(settings, design)
    assert engine is not None
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()


@asynccontextmanager
async def _looked_into(settings: Settings, design: Design) -> AsyncIterator[DatabaseEngine]:
    """The database, or an empty one in memory where opening it would only create its file."""
    engine = make_engine(settings, design)
    if isinstance(engine, SqliteEngine) and engine.path is not None and not engine.path.exists():
        assert design.database is not None
        memory = msgspec.structs.replace(design.database, url="sqlite:///:memory:")
        design = msgspec.structs.replace(design, database=memory)
    async with _opened(settings, design) as engine:
        yield engine


def _database_of(design: Design) -> None:
    if design.database is None:
        raise Misconfigured(f"{design.name} has no database: call with_database() on its builder")
