"""The generations of whichever database there is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from infra.database.engine import DatabaseEngine
from infra.database.generations.postgres import LEASE_SECONDS, PostgresGenerations
from infra.database.generations.sqlite import SqliteGenerations
from infra.database.postgres import PostgresEngine


@asynccontextmanager
async def open_generations(
    engine: DatabaseEngine, tables: Sequence[str], *, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[PostgresGenerations | SqliteGenerations]:
    """What knows how often these tables have changed, while the block lasts."""
    made = (
        PostgresGenerations(engine, tables, lease_seconds=lease_seconds)
        if isinstance(engine, PostgresEngine)
        else SqliteGenerations(engine)
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
