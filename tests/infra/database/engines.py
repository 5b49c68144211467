"""Engines for tests: started for a block, with a small table to write to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from infra.database.current import use_engine
from infra.database.engine import DatabaseEngine, DatabaseOptions, create_engine


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[DatabaseEngine]:
    """An engine for `url`, in use for the block."""
    defaults = DatabaseOptions(url=url, pool_size=2, max_overflow=2, acquire_timeout_seconds=5)
    engine = create_engine(msgspec.structs.replace(defaults, **options), home=Path("unused"), name="test")
    await engine.start()
    try:
        use_engine(engine)
        yield engine
    finally:
        await engine.stop()


async def with_numbers(engine: DatabaseEngine, *numbers: int) -> None:
    """Create the table `numbers` with these rows."""
    await engine.execute("CREATE TABLE numbers (id integer PRIMARY KEY, value integer NOT NULL DEFAULT 0)")
    for number in numbers:
        await add(engine, number)


async def add(engine: DatabaseEngine, number: int) -> None:
    """Add a row."""
    await engine.execute(f"INSERT INTO numbers (id) VALUES ({engine.dialect.placeholder(1)})", number)


async def numbers(engine: DatabaseEngine) -> list[int]:
    """The ids of all rows."""
    return [row[0] for row in await engine.fetch("SELECT id FROM numbers ORDER BY id")]
