"""What is known of how often tables have changed, on every database, by everybody who has it open."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from infra.database.engine import DatabaseEngine
from infra.database.generations.counts import Counts, fold, unwatched, watch
from infra.database.generations.opening import open_generations
from infra.database.generations.postgres import PostgresGenerations, touching
from infra.database.generations.sqlite import SqliteGenerations
from infra.database.schema import synchronize
from tests.infra.contracts.databases import items
from tests.infra.database.engines import opened
from tests.sample import Item, Items

# Shorter than in a service, to wait less.
LEASE = 0.3

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Any]:
    """A repository of items whose changes are counted."""
    async with items(url) as repository:
        engine: DatabaseEngine = repository.engine
        await engine.execute("DROP TABLE IF EXISTS millrace_generations")
        async with engine.transaction():
            await synchronize(engine, [Counts])
            assert await watch(engine, [Items]) == ["counting the changes of items"]
        try:
            yield repository
        finally:
            # Others make it by a migration, in the same database.
            await engine.execute("DROP TABLE items")
            await engine.execute("DROP TABLE millrace_generations")


async def certain(known: PostgresGenerations | SqliteGenerations) -> None:
    """Wait until what is known is known without asking."""
    async with asyncio.timeout(10):
        while True:
            await known.current(["items"])
            if known.known(["items"]) is not None:
                return
            await asyncio.sleep(0.05)


CHANGES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "one": lambda repository: repository.insert(Item(name="a")),
    "many": lambda repository: repository.insert_all([Item(name="a"), Item(name="b")]),
    "by the table": lambda _: Items.insert(Items(**row())).run(),
    "in SQL": lambda repository: repository.engine.execute("UPDATE items SET note = 'x'"),
    "in SQL that answers": lambda repository: repository.engine.fetch("UPDATE items SET note = 'y' RETURNING id"),
    "all at once": lambda repository: repository.engine.execute("DELETE FROM items"),
}


def row() -> dict[str, Any]:
    """The values of an item, for the table."""
    item = Item(name="table")
    return {column._meta.name: getattr(item, column._meta.name) for column in Items._meta.columns} | {"detail": None}


async def test_every_way_to_change_a_table_is_known_at_once(any_database_url: str) -> None:
    async with watched(any_database_url) as repository, open_generations(repository.engine, ["items"]) as known:
        await repository.insert(Item(name="first"))
        for name, change in CHANGES.items():
            before = await known.current(["items"])
            await change(repository)
            after = await known.current(["items"])
            assert before is not None, name
            assert after is not None, name
            assert after > before, name
            assert await known.current(["items"]) == after, name


async def test_what_is_not_counted_stays_as_it_is(any_database_url: str) -> None:
    async with watched(any_database_url) as repository, open_generations(repository.engine, ["items"]) as known:
        before = await known.current(["items", "others"])
        with suppress(RuntimeError):
            async with repository.engine.transaction():
                await repository.insert(Item(name="a"))
                raise RuntimeError
        assert await known.current(["items", "others"]) == before
        await known.bump(["others"])
        after = await known.current(["items", "others"])
        assert before is not None
        assert after is not None
        assert after[0] == before[0]
        assert after[1] > before[1]


async def test_inside_of_a_transaction_nothing_is_known(any_database_url: str) -> None:
    async with watched(any_database_url) as repository, open_generations(repository.engine, ["items"]) as known:
        await known.current(["items"])
        async with repository.engine.transaction():
            assert known.known(["items"]) is None
            assert await known.current(["items"]) is None


async def test_a_table_is_counted_once_however_often_that_is_asked_for(any_database_url: str) -> None:
    async with watched(any_database_url) as repository:
        assert await unwatched(repository.engine, [Items]) == []
        assert await watch(repository.engine, [Items]) == []


@asynccontextmanager
async def several(url: str, count: int) -> AsyncIterator[tuple[Any, list[PostgresGenerations | SqliteGenerations]]]:
    """A watched repository, and what `count` that have the database open know, the repository's own first."""
    async with watched(url) as repository, AsyncExitStack() as stack:
        engines = [repository.engine, *[await stack.enter_async_context(opened(url)) for _ in range(count - 1)]]
        yield (
            repository,
            [
                await stack.enter_async_context(open_generations(engine, ["items"], lease_seconds=LEASE))
                for engine in engines
            ],
        )


@pytest.mark.parametrize("is_first", [True, False], ids=["told at once", "asked at once"])
async def test_whoever_has_the_database_open_knows_of_a_change_when_it_is_acknowledged(
    database_url: str, is_first: bool
) -> None:
    """Either they have been told, or they have to ask: what they take for certain is never old."""
    async with several(database_url, 3) as (repository, all_known):
        for known in all_known:
            if is_first:
                await certain(known)
        for number in range(60):
            await repository.insert(Item(name=str(number)))
            for known in random.sample(all_known, 3):
                counted = known.known(["items"]) or await known.current(["items"])
                assert counted == (await all_known[0].current(["items"]))
                [(true,)] = await repository.engine.fetch("SELECT count(*) FROM items")
                assert counted is not None
                assert counted[0] >= true


async def test_a_read_after_a_change_asks_once_and_then_no_more(postgres_url: str) -> None:
    async with several(postgres_url, 2) as (repository, (mine, other)):
        await certain(mine)
        await certain(other)
        await repository.insert(Item(name="a"))
        assert other.known(["items"]) is None
        await other.current(["items"])
        assert other.known(["items"]) is not None


async def test_those_that_are_deaf_hold_up_a_change_for_a_lease_and_no_longer(postgres_url: str) -> None:
    async with several(postgres_url, 2) as (repository, (mine, other)):
        await certain(mine)
        await certain(other)
        assert isinstance(other, PostgresGenerations)
        # It hears and cannot answer, like a process that is stopped.
        other._bell._send = lambda _: None  # type: ignore[method-assign]
        other._heard = lambda: None  # type: ignore[method-assign]
        other._bell._heard = lambda: None
        began = time.monotonic()
        await repository.insert(Item(name="a"))
        assert other.known(["items"]) is None
        assert time.monotonic() - began < 2 * LEASE + 1


@pytest.mark.parametrize("steps", range(5))
async def test_it_ends_also_in_the_moment_in_which_it_is_first_asked(postgres_url: str, steps: int) -> None:
    async with (
        watched(postgres_url) as repository,
        asyncio.timeout(20),
        open_generations(repository.engine, ["items"], lease_seconds=LEASE) as known,
    ):
        assert isinstance(known, PostgresGenerations)
        await known._bell._echo.wait()
        await asyncio.sleep(0.05)
        await known.current(["items"])
        for _ in range(steps):
            await asyncio.sleep(0)


async def test_whoever_is_cut_off_asks_again(postgres_url: str) -> None:
    async with several(postgres_url, 2) as (repository, (mine, other)):
        await certain(other)
        await repository.engine.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'millrace cache%'"
        )
        async with asyncio.timeout(0.5):
            while isinstance(other, PostgresGenerations) and other._bell.hears():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        await repository.insert(Item(name="a"))
        await mine.current(["items"])
        assert await other.current(["items"]) == await mine.current(["items"])
        await certain(other)


async def test_the_counts_of_processes_that_have_ended_are_brought_together(postgres_url: str) -> None:
    async with watched(postgres_url) as repository:
        async with opened(postgres_url) as another:
            await another.execute("DELETE FROM items")
        await repository.insert(Item(name="a"))
        await repository.engine.execute(
            "INSERT INTO millrace_generations (key, name, generation) VALUES ('a/b/999999999', 'a/b', 3)"
        )
        sums = "SELECT name, sum(generation) FROM millrace_generations GROUP BY name ORDER BY name"
        before = await repository.engine.fetch(sums)
        await fold(repository.engine)
        assert await repository.engine.fetch(sums) == before
        rows = await repository.engine.fetch("SELECT key FROM millrace_generations ORDER BY key")
        assert "a/b" in {row[0] for row in rows}
        assert "a/b/999999999" not in {row[0] for row in rows}


async def test_statements_are_known_by_what_they_name() -> None:
    touches = touching(["items"])
    assert touches("INSERT INTO items VALUES (1)")
    assert touches("  with x as (select 1) update items set a = 1")
    assert touches("UPDATE ITEMS SET a = 1")
    assert touches("CALL\ntidy_up()")
    assert touches("DO$$ BEGIN PERFORM tidy_up(); END $$")
    assert not touches("DOUBLE")
    assert not touches("SELECT * FROM items")
    assert not touches("INSERT INTO others VALUES (1)")
